"""Branch and bound over the blocks of a follower: each node's bound is that of the convex hulls of all blocks.

A node decides some pairs. Its bound is the best L(mu) of the decomposition with these decisions. What stays open
is a block whose hull is met between two of its cells; the pair that tells the cells apart is decided next.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from cosim.optimization.arrays import Vector
from cosim.optimization.decomposition import Decomposition, Step
from cosim.optimization.relaxation import DUAL_ZERO, OPEN, SLACK_ZERO, Decisions, Relaxation

_ROUNDS = 60
_RESTRICTIONS = 8
_PART = 0.02
_LEAST = 1e-7
_SERIOUS, _FASTER, _SLOWER = 0.5, 2.0, 3.0
_WORTH = 0.1
_USED = 1e-3


class Incumbents(Protocol):
    """Who keeps the best point of the whole problem."""

    @property
    def best(self) -> float:
        """Cost of the best point; infinite as long as there is none."""
        ...

    def propose(self, theta: Vector, pattern: Decisions) -> None:
        """Look for a point near these parameters, and one where these pairs are decided."""
        ...

    def report(self, bound: float) -> None:
        """Told of the best bound whenever it moves."""
        ...

    def payments(self, theta: Vector) -> Vector | None:
        """Price times parameter, (k,), of the follower's answer at theta; None if there is none."""
        ...


@dataclass(order=True, slots=True)
class _Node:
    bound: float
    order: int
    held: Decisions = field(compare=False)
    center: Vector = field(compare=False)
    leader_cost: float = field(compare=False)
    step: float = field(compare=False)


@dataclass(frozen=True, slots=True)
class HullResult:
    """The bound, how many nodes it took, and whether the tree was finished (else time, or a block gave up)."""

    bound: float
    nodes: int
    finished: bool


class HullTree:
    """The tree over one decomposition.

    Args:
        parts: the decomposition.
        relaxation: of the same problem, for the first multipliers.
        incumbents: keeps the best point.
        missing: how far a bound is from closing the gap to the best point; not positive when it is closed.
        deadline: `time.perf_counter()` at which to stop.
    """

    def __init__(
        self,
        parts: Decomposition,
        relaxation: Relaxation,
        incumbents: Incumbents,
        missing: Callable[[float], float],
        deadline: float,
    ) -> None:
        self._parts, self._relaxation, self._incumbents = parts, relaxation, incumbents
        self._missing, self._deadline = missing, deadline

    def run(self) -> HullResult:
        """Search until the gap is closed, the time is up, or a block cannot be minimised."""
        held = np.zeros(self._relaxation.pairs, dtype=np.int8)
        first = self._relaxation.multipliers(held)
        if first is None:
            return HullResult(-np.inf, 0, False)
        point, mu = first
        own = self._leader_cost(point.z, mu)
        root = _Node(point.objective, 0, held, mu, own, self._parts.first_step(mu))
        self._restrict(root)
        heap = [root]
        closed, nodes = np.inf, 0
        while heap:
            lower = min(heap[0].bound, closed)
            self._incumbents.report(lower)
            if self._missing(lower) <= 0 or self._late():
                break
            node = heapq.heappop(heap)
            nodes += 1
            step = self._bound(node, min(closed, heap[0].bound) if heap else closed)
            if step is None and self._missing(node.bound) > 0:
                return HullResult(min(lower, closed), nodes, False)
            if self._missing(node.bound) <= 0 or step is None:
                closed = min(closed, node.bound)
                continue
            pair = self._pair(node, step)
            if pair is None:
                return HullResult(min(lower, node.bound, closed), nodes, False)
            for k, side in enumerate((DUAL_ZERO, SLACK_ZERO)):
                child = node.held.copy()
                child[pair] = side
                new = _Node(node.bound, 2 * nodes + k, child, node.center, node.leader_cost, node.step)
                heapq.heappush(heap, new)
        lower = min(heap[0].bound, closed) if heap else closed
        return HullResult(lower, nodes, not heap or self._missing(lower) <= 0)

    def _restrict(self, root: _Node) -> None:
        """Better multipliers for the root: those of the relaxation in which each block stays in the leaf that was
        best at the last ones. Where that leads to the same leaves again the bound is exact.
        """
        parts, held, mu, own = self._parts, root.held, root.center, root.leader_cost
        best, tight = -np.inf, held
        for _ in range(_RESTRICTIONS):
            value = parts.evaluate(mu, own, held, self._enough())
            if value is None or value <= best:
                return
            best, root.center, root.leader_cost = value, mu, own
            root.bound = max(root.bound, value)
            self._incumbents.report(root.bound)
            if self._missing(root.bound) <= 0 or self._late():
                return
            leaves = held.copy()
            for oracle, answer in zip(parts.oracles, parts.answers, strict=True):
                leaves[oracle.rows] = answer.decisions
            if np.array_equal(leaves, tight):
                return
            tight = leaves
            found = self._relaxation.multipliers(tight)
            if found is None or found[0].objective > self._incumbents.best:
                # The leaves do not go together: their multipliers would lead far away.
                return
            point, mu = found
            own = self._leader_cost(point.z, mu)

    def _leader_cost(self, z: Vector, mu: Vector) -> float:
        """The leader's own cost + mu'th at a point that minimises it."""
        level = self._parts.level
        return level.leader.objective(z[level.leader_at]) + float(mu @ z[level.theta_at])

    def _late(self) -> bool:
        return time.perf_counter() > self._deadline

    def _enough(self) -> float:
        """Violation of a block's point that is too small to matter for the gap."""
        best = self._incumbents.best
        if not np.isfinite(best):
            return _LEAST
        allowed = best - self._missing(0.0)  # the gap in money, for missing(0) = best - gap
        return max(_LEAST, _PART * allowed / len(self._parts.oracles))

    def _bound(self, node: _Node, others: float) -> Step | None:
        """Raise a node's bound until it closes the gap or the model promises little more; its last step.

        None if a block gave up, or the node has no point (then its bound is infinite).
        """
        parts = self._parts
        value = parts.evaluate(node.center, node.leader_cost, node.held, self._enough())
        if value is None:
            return None
        best = value
        node.bound = max(node.bound, value)
        last: Step | None = None
        for number in range(_ROUNDS):
            if self._missing(node.bound) <= 0 or node.bound == np.inf:
                break
            step = parts.propose(node.center, node.step, node.held)
            if step is None:
                break
            last = step
            value = parts.evaluate(step.mu, step.leader_cost, node.held, self._enough())
            if value is None:
                return None
            promised, gained = step.value - best, value - best
            if gained > 0:
                node.center, node.leader_cost, best = step.mu, step.leader_cost, value
                if gained > _SERIOUS * promised:
                    node.step *= _FASTER
            elif gained < -promised:
                node.step /= _SLOWER
            node.bound = max(node.bound, value)
            self._incumbents.report(min(node.bound, others))
            missing = self._missing(node.bound)
            if (promised < _WORTH * missing and number > 0) or self._late():
                break
        if last is not None and self._missing(node.bound) > 0:
            self._ask(last, node.held)
        return last

    def _ask(self, step: Step, held: Decisions) -> None:
        """Offer the parameters of a step, and what all columns of each block's mixture agree on."""
        pattern = held.copy()
        for oracle, mixture in zip(self._parts.oracles, step.mixtures, strict=True):
            used = [c.answer for c, w in mixture if w > _USED]
            if used:
                loose = np.all([answer.dual_zero for answer in used], axis=0)
                binding = np.all([answer.slack_zero for answer in used], axis=0) & ~loose
                agreed = np.where(binding, SLACK_ZERO, np.where(loose, DUAL_ZERO, OPEN))
                pattern[oracle.rows] = np.where(held[oracle.rows] == OPEN, agreed, held[oracle.rows])
        self._incumbents.propose(step.theta, pattern)

    def _pair(self, node: _Node, step: Step) -> int | None:
        """The undecided pair that best tells apart the cells between which a block's hull is met."""
        paid = self._incumbents.payments(step.theta)
        best, found = 0.0, None
        for oracle, mixture in zip(self._parts.oracles, step.mixtures, strict=True):
            used = [(c, w) for c, w in mixture if w > _USED]
            if len(used) < 2:
                continue
            held = node.held[oracle.rows]
            binding = sum(w * ~c.answer.dual_zero for c, w in used)
            loose = sum(w * ~c.answer.slack_zero for c, w in used)
            apart = np.where(held == OPEN, np.minimum(binding, loose), 0.0)
            weight = 1.0
            if paid is not None:
                mixed = sum(w * c.payment for c, w in used) / sum(w for _, w in used)
                weight = max(float(paid[oracle.parameters].sum()) - mixed, 1e-6)
            at = int(np.argmax(apart))
            if weight * apart[at] > best:
                best, found = weight * float(apart[at]), int(oracle.rows[at])
        return found if found is not None else self._violated(node)

    def _violated(self, node: _Node) -> int | None:
        """The most violated pair of the node's relaxation."""
        found = self._relaxation.multipliers(node.held)
        if found is None:
            return None
        product = self._relaxation.violations(found[0].z, node.held)
        return int(np.argmax(product)) if product.max(initial=0.0) > _LEAST else None
