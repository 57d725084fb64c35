"""Branch and bound over the blocks of a follower: each node's bound is that of the convex hulls of all blocks.

A node decides some pairs. Its bound is the best L(mu) of the decomposition with these decisions. What stays open
is a block whose hull is met between two of its cells; the pair that tells the cells apart is decided next.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from cosim.optimization.arrays import Vector
from cosim.optimization.charge import Box
from cosim.optimization.decomposition import Decomposition, Step
from cosim.optimization.incumbents import Incumbents
from cosim.optimization.pieces import Piece
from cosim.optimization.region import Region
from cosim.optimization.relaxation import OPEN, Relaxation

_ROUNDS = 60
_ROUGH, _FINE = 0.9, 0.05
_LEAST = 1e-7
_CLOSER = 0.25
_LONGEST, _TRIES = 1e4, 8
_VAIN = 2
_SERIOUS, _FASTEST, _SLOWEST = 0.5, 5.0, 0.1
_WORTH, _LITTLE, _BETTER = 0.05, 0.5, 0.1
_FAR, _LEAP = 3.0, 1.2
_USED = 1e-3
_RECENTRES = 6
_NARROWER, _INSIDE = 4, 0.01
_APART = 1e-9
_NOISE = 1e-3
_TORN = 0.02
_TOGETHER, _ONWARD, _ALIKE = 0.2, 2.0, 0.7


@dataclass(order=True, slots=True)
class _Node:
    bound: float
    order: int
    region: Region = field(compare=False)
    center: Vector = field(compare=False)
    step: float = field(compare=False)


@dataclass(frozen=True, slots=True)
class HullResult:
    """The bound, how many nodes and QPs it took, and whether the tree was finished (else time, or a block gave up)."""

    bound: float
    nodes: int
    solves: int
    finished: bool


class HullTree:
    """The tree over one decomposition.

    Args:
        parts: the decomposition.
        relaxation: of the same problem.
        points: keeps the best point; it has one over pieces.
        gap: relative gap at which to stop.
        deadline: `time.perf_counter()` at which to stop.
        report: told of the best bound whenever it moves.
    """

    def __init__(
        self,
        parts: Decomposition,
        relaxation: Relaxation,
        points: Incumbents,
        gap: float,
        deadline: float,
        report: Callable[[float], None],
    ) -> None:
        assert points.patch is not None and points.pieces is not None
        self._parts, self._relaxation, self._points, self._pieces = parts, relaxation, points, points.pieces
        self._gap, self._deadline, self._report = gap, deadline, report
        self._taken = points.patch
        self._longest = np.inf

    def run(self) -> HullResult:
        """Search until the gap is closed, the time is up, or a block cannot be minimised."""
        heap = [self._first()]
        closed, nodes = np.inf, 0

        def result(bound: float, finished: bool) -> HullResult:
            return HullResult(bound, nodes, self._parts.solves, finished)

        while heap:
            lower = min(heap[0].bound, closed)
            self._report(lower)
            if self._missing(lower) <= 0 or self._late():
                break
            node = heapq.heappop(heap)
            nodes += 1
            step = self._bound(node, min(closed, heap[0].bound) if heap else closed)
            if nodes == 1:
                step, closed = self._narrow(node, step)
            if self._missing(node.bound) <= 0:
                closed = min(closed, node.bound)
                continue
            known = np.isfinite(node.bound) and not self._late()
            children = self._children(node, step) if known else None
            if children is None:
                return result(min(node.bound, closed, heap[0].bound if heap else np.inf), False)
            for k, child in enumerate(children):
                heapq.heappush(heap, _Node(node.bound, 2 * nodes + k, child, node.center, node.step))
        lower = min(heap[0].bound, closed) if heap else closed
        return result(lower, not heap or self._missing(lower) <= 0)

    def _narrow(self, root: _Node, step: Step | None) -> tuple[Step | None, float]:
        """Leave out what cannot be part of a point that is better by more than the gap, and raise the root's bound
        over the hulls of the rest, as long as that is worth it; the last step, and the cost from which on points
        were left out.
        """
        most = np.inf
        for _ in range(_NARROWER):
            missing = self._missing(root.bound)
            if step is None or missing <= 0 or self._late():
                break
            value = self._parts.evaluate(root.center, root.region, self._enough(root.bound, _FINE), self._deadline)
            if value is None or not np.isfinite(value):
                break
            # What is left out lies a little inside the gap, so that rounding does not keep it open.
            inside = self._missing(value) + _INSIDE * self._gap * max(1.0, abs(self._points.best))
            if not self._parts.prune(root.center, inside):
                break
            most, before = min(most, value + inside), root.bound
            step = self._bound(root, most)
            if root.bound - before < _BETTER * missing:
                break
        return step, most

    def root(self) -> Vector:
        """The multipliers with the best bound of the root that was found."""
        node = self._first()
        self._bound(node, np.inf)
        return node.center

    def _first(self) -> _Node:
        """The node with nothing decided, at the multipliers of the best point."""
        mu = self._parts.take(self._taken, self._pieces)
        region = Region(np.zeros(self._relaxation.pairs, dtype=np.int8), self._relaxation.root())
        step = self._parts.first_step(mu)
        self._longest = _LONGEST * step
        return _Node(-np.inf, 0, region, mu, step)

    def _missing(self, bound: float) -> float:
        """How far a bound is from closing the gap to the best point; not positive when it is closed."""
        best = self._points.best
        return best - self._gap * max(1.0, abs(best)) - bound

    def _late(self) -> bool:
        return time.perf_counter() > self._deadline

    def _enough(self, bound: float, accuracy: float) -> float:
        """How far a block's bound may stay below its minimum: all of them together this part of the gap, less where
        that could be all that is missing.
        """
        allowed, missing = accuracy * self._gap * max(1.0, abs(self._points.best)), self._missing(bound)
        if 0 < missing < allowed:
            allowed = _CLOSER * missing
        return max(_LEAST, allowed / len(self._parts.oracles))

    def _value(self, node: _Node, mu: Vector, accuracy: float) -> float | None:
        """L(mu) of a node, or as much of it as closes the gap."""
        suffices = self._points.best - self._gap * max(1.0, abs(self._points.best))
        enough = self._enough(node.bound, accuracy)
        return self._parts.evaluate(mu, node.region, enough, self._deadline, suffices)

    def _bound(self, node: _Node, others: float) -> Step | None:
        """Raise a node's bound until it closes the gap or the model promises little more; its last step.

        None if that takes no step, a block gave up, the time is up, or the node has no point (then its bound is
        infinite).
        """
        parts = self._parts
        best = self._at_center(node)
        if best is None:
            return None
        best = self._recentre(node, best)
        last: Step | None = None
        vain = 0
        for number in range(_ROUNDS):
            if self._missing(node.bound) <= 0 or self._late():
                break
            step = self._proposed(node, best)
            if step is None:
                break
            before, way = parts.size, None if last is None else last.apart
            last, mu, promised = step, step.mu, step.value - best
            # The model is concave: a part of the way promises at least that part, and far away it is far too hopeful.
            missing = self._missing(node.bound)
            if promised > _FAR * missing:
                part = _LEAP * missing / promised
                mu, promised = node.center + part * (step.mu - node.center), part * promised
            value = self._value(node, mu, _FINE)
            if value is None:
                return None
            gained = value - best
            serious = gained > _SERIOUS * promised
            if gained > 0:
                node.center, best = mu, value
            vain = 0 if serious else vain + 1
            if promised > _NOISE * missing and (serious or vain > _VAIN or gained < -promised):
                vain = 0
                # To where the value would be best along the step, were it a parabola; the same way again goes faster.
                parabola = _SERIOUS * promised / max(promised - gained, _APART)
                if serious and way is not None and _alike(way, step.apart):
                    parabola *= _ONWARD
                node.step *= min(max(parabola, _SLOWEST), _FASTEST)
            node.bound = max(node.bound, value)
            self._report(min(node.bound, others))
            if number > 1 and number & (number + 1) == 0 and self._missing(node.bound) > 0:
                self._ask(last)
            stalled = value <= best and parts.size == before
            if stalled or (not serious and promised < _LITTLE * self._missing(node.bound) and number > 0):
                break
        if last is not None and self._missing(node.bound) > 0:
            self._ask(last)
        return last

    def _at_center(self, node: _Node) -> float | None:
        """The value at a node's center; None if it closes the gap, or there is none to be had.

        Often a rough value is enough. A model of rough ones would promise what is only roughness.
        """
        value: float | None = None
        for accuracy in (_ROUGH, _FINE):
            value = self._value(node, node.center, accuracy)
            if value is None:
                return None
            node.bound = max(node.bound, value)
            if self._missing(node.bound) <= 0:
                return None
        return value

    def _proposed(self, node: _Node, best: float) -> Step | None:
        """The next step. One that promises little where leader and mixtures are apart is too short, and lengthened."""
        found, length = None, node.step
        for _ in range(_TRIES):
            step = self._parts.propose(node.center, length, node.region)
            if step is None:
                # Long steps are the harder ones to find.
                length *= _SLOWEST
                continue
            found, node.step = step, length
            enough = step.value - best >= _WORTH * self._missing(node.bound) or length >= self._longest
            if enough or np.abs(step.apart).sum() <= _TOGETHER * self._parts.width:
                break
            length *= _FASTEST
        return found

    def _ask(self, step: Step) -> None:
        """Search for a point near the parameters of a step, and over the pieces that its mixtures come from."""
        others: list[list[Piece]] = [[] for _ in self._pieces.blocks]
        for home, mixture in zip(self._parts.home, step.mixtures, strict=True):
            if sum(weight > _USED for _, weight in mixture) > 1:
                found = [self._pieces.blocks[home].at(c.theta) for c, weight in mixture if weight > _USED]
                others[home] = [piece for piece in found if piece is not None]
        self._points.near(step.theta, others)
        self._take()

    def _recentre(self, node: _Node, best: float) -> float:
        """As long as the blocks' last columns lead to a clearly better point, go to the multipliers that hold it; the
        value at the node's center.
        """
        for _ in range(_RECENTRES):
            missing, before = self._missing(node.bound), self._points.best
            if missing <= 0 or self._late():
                break
            mu = self._switch()
            if mu is None or before - self._points.best < _BETTER * missing or not node.region.whole:
                break
            value = self._value(node, mu, _FINE)
            if value is None:
                break
            if value > best:
                node.center, best = mu, value
                node.bound = max(node.bound, value)
        return best

    def _switch(self) -> Vector | None:
        """From the best point, try for each block the piece of its last column; the multipliers of a new best."""
        others: list[list[Piece]] = [[] for _ in self._pieces.blocks]
        for home, columns in zip(self._parts.home, self._parts.columns, strict=True):
            piece = self._pieces.blocks[home].at(columns[-1].theta)
            others[home] = [] if piece is None else [piece]
        self._points.onward(others)
        return self._take()

    def _take(self) -> Vector | None:
        """Give the model the best point as columns when it is a new one; the multipliers that hold it."""
        if self._points.patch is None or self._points.patch is self._taken:
            return None
        self._taken = self._points.patch
        return self._parts.take(self._taken, self._pieces)

    def _children(self, node: _Node, step: Step | None) -> list[Region] | None:
        """The regions of the two nodes below; None if there is nothing to tell apart."""
        torn = None if step is None else self._torn(node, step)
        if torn is not None:
            return torn
        pair = None if step is None else self._pair(node, step)
        if pair is None and step is not None and node.region.box is not None:
            boxes = self._halves(node.region.box, step)
            if boxes is not None:
                return [replace(node.region, box=box) for box in boxes]
        pair = self._violated(node) if pair is None else pair
        return None if pair is None else node.region.decided(pair)

    def _torn(self, node: _Node, step: Step) -> list[Region] | None:
        """Split the block whose hull is met farthest below its payment, between the leaves that tear it apart."""
        best, found = 0.0, None
        for b, (home, mixture) in enumerate(zip(self._parts.home, step.mixtures, strict=True)):
            used = [(c, w) for c, w in mixture if w > _USED]
            if len(used) < 2:
                continue
            weights = np.array([w for _, w in used])
            weights /= weights.sum()
            at = np.array([c.theta for c, _ in used])
            mean = weights @ at
            piece = self._pieces.blocks[home].at(mean)
            if piece is None:
                continue
            gap = piece.payment(mean) - float(weights @ np.array([c.payment for c, _ in used]))
            if gap > best:
                _, _, axes = np.linalg.svd(np.sqrt(weights)[:, None] * (at - mean), full_matrices=False)
                best, found = gap, (b, axes[0], float(mean @ axes[0]))
        if found is None or best < _TORN * self._missing(node.bound):
            return None
        return self._parts.divide(node.region, *found)

    def _halves(self, box: Box, step: Step) -> tuple[Box, Box] | None:
        """Two boxes that tell apart the points between which a block's hull is met, along the parameter in which they
        are farthest apart for the width of its rest.
        """
        best, found = _APART, None
        for oracle, mixture in zip(self._parts.oracles, step.mixtures, strict=True):
            used = [(c, w) for c, w in mixture if w > _USED]
            if len(used) < 2:
                continue
            at = np.array([c.theta for c, _ in used])
            weight = np.array([w for _, w in used]) / sum(w for _, w in used)
            spread = np.sqrt(np.maximum(weight @ at**2 - (weight @ at) ** 2, 0.0))
            here = box.part(oracle.parameters)
            worth = spread * (here.high - here.low)
            k = int(np.argmax(worth))
            if worth[k] > best:
                best, found = float(worth[k]), (int(oracle.parameters[k]), float(weight @ at[:, k]))
        return None if found is None else box.split(*found)

    def _pair(self, node: _Node, step: Step) -> int | None:
        """The undecided pair that best tells apart the cells between which a block's hull is met."""
        best, found = 0.0, None
        blocks = zip(self._parts.oracles, self._parts.home, self._parts.columns, step.mixtures, strict=True)
        for oracle, home, columns, mixture in blocks:
            used = [(c, w) for c, w in mixture if w > _USED]
            if len(used) < 2:
                continue
            held = node.region.held[oracle.rows]
            # How far from zero the dual is where the row binds, and the slack where it does not.
            weights = np.array([w for _, w in used])
            binding = weights @ _shares([c.dual for c, _ in used], [c.dual for c in columns])
            loose = weights @ _shares([c.slack for c, _ in used], [c.slack for c in columns])
            apart = np.where(held == OPEN, np.minimum(binding, loose), 0.0)
            sure = np.where(oracle.told_apart(held), apart, 0.0)
            if sure.max(initial=0.0) > 0:
                # Both sides of such a pair have fewer leaves than the node.
                apart = sure
            whole = sum(w for _, w in used)
            theta = sum((w / whole * c.theta for c, w in used), np.zeros(len(oracle.parameters)))
            weight, mixed = 1.0, sum(w * c.payment for c, w in used) / whole
            piece = self._pieces.blocks[home].at(theta)
            if piece is not None:
                weight = max(piece.payment(theta) - mixed, 1e-6)
            at = int(np.argmax(apart))
            if weight * apart[at] > best:
                best, found = weight * float(apart[at]), int(oracle.rows[at])
        return found

    def _violated(self, node: _Node) -> int | None:
        """The most violated pair of the node's relaxation."""
        found = self._relaxation.solve(node.region.held, box=node.region.box)
        if found.status != "optimal":
            return None
        product = self._relaxation.violations(found.z, node.region.held)
        return int(np.argmax(product)) if product.max(initial=0.0) > _LEAST else None


def _alike(one: Vector, other: Vector) -> bool:
    """Whether two steps lead the same way."""
    return float(one @ other) > _ALIKE * float(np.linalg.norm(one) * np.linalg.norm(other))


def _shares(values: Sequence[Vector], every: Sequence[Vector]) -> Vector:
    """Each value as a share of the largest of its kind."""
    shares: Vector = np.array(values) / np.maximum(np.max(every, axis=0), _APART)
    return shares
