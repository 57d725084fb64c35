"""Branch and bound on the complementarities of a bilevel problem, with no big-M anywhere.

A node decides for some pairs (dual, slack) which of the two is zero and leaves the others out; its QP is a
lower bound. Branching takes the pair with the largest dual * slack, whose sum is exactly what the payment is
underestimated by. Incumbents: clear the follower at a node's parameters, decide every pair as that answer
does, and solve that cell: a feasible point of the bilevel problem, the best with this pattern. A local search
then walks to neighbouring cells.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from cosim.optimization.arrays import Vector
from cosim.optimization.decomposition import decompose
from cosim.optimization.dual_face import DualFace
from cosim.optimization.hull_tree import HullResult, HullTree
from cosim.optimization.qp_solvers import QPSolver
from cosim.optimization.relaxation import DUAL_ZERO, OPEN, SLACK_ZERO, Decisions, Point, Relaxation

Progress: TypeAlias = Callable[[float, float, float], None]
_ZERO = 1e-7
_SETTLED = 1e-7
_NEARBY = 60
_WALK = 12
_EAGER, _EVERY = 20, 10


@dataclass(frozen=True, slots=True)
class BranchResult:
    """The best point found and how good it can be at most.

    Attributes:
        z: all variables of the single-level form; None if no point was found.
        decisions: the pattern of the best point's cell.
        objective, bound: the leader's cost at z, and a proven lower bound of it.
        gap: (objective - bound) / max(1, |objective|).
        nodes, solves: nodes of the tree, and QPs solved in all.
        status: 'optimal' (gap reached), 'time limit', 'gap open' (the tree is exhausted, but a solver gave up
            on some node), 'infeasible' or 'unbounded'.
    """

    z: Vector | None
    decisions: Decisions | None
    objective: float
    bound: float
    gap: float
    nodes: int
    solves: int
    time_s: float
    status: str


@dataclass(order=True, slots=True)
class _Node:
    bound: float
    depth: int
    order: int
    decisions: Decisions = field(compare=False)
    point: Vector | None = field(compare=False)


def relative_gap(objective: float, bound: float) -> float:
    """(objective - bound) over the size of the objective, absolute below one unit of money."""
    if not np.isfinite(objective) or not np.isfinite(bound):
        return np.inf
    return max(0.0, (objective - bound) / max(1.0, abs(objective)))


class BranchAndBound:
    """The tree over one relaxation.

    Args:
        relaxation: of the bilevel problem.
        gap: relative gap at which to stop.
        time_limit_s: wall time; the best point and bound so far are returned.
        start: parameters th from which a first incumbent is sought.
        payment: whether the objective contains the payment; then blocks, if there are any, are used for the
            bound.
        progress: called now and then with the best cost, the bound and the gap.
    """

    def __init__(
        self,
        relaxation: Relaxation,
        *,
        gap: float,
        time_limit_s: float,
        start: Vector | None = None,
        payment: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self._relaxation, self._gap, self._limit, self._start = relaxation, gap, time_limit_s, start
        self._payment, self._progress = payment, progress
        self._follower = relaxation.follower_solver
        self._seen: dict[bytes, float] = {}
        self._best: tuple[float, Vector | None, Decisions | None] = (np.inf, None, None)
        self._opened = 0
        self._began = time.perf_counter()

    def run(self) -> BranchResult:
        """Search until the gap or the time limit is reached."""
        root = np.zeros(self._relaxation.pairs, dtype=np.int8)
        if self._start is not None:
            self._take(self._start)
            self._improve(self._start)
        heap: list[_Node] = []
        closed = self._open(root, -np.inf, 0, 0, heap)
        floor, by_blocks, before = -np.inf, self._by_blocks() if heap else None, 0
        if by_blocks is not None:
            floor, before = by_blocks.bound, by_blocks.nodes
            if by_blocks.finished:
                closed, heap = min(closed, floor), []
        lower, nodes, status = self._search(heap, closed, floor)
        objective, z, decisions = self._best
        lower = min(objective, lower)
        if not status:
            reached = relative_gap(objective, lower) <= self._gap
            status = "infeasible" if z is None else "optimal" if reached else "gap open"
        return BranchResult(
            z,
            decisions,
            objective,
            lower,
            relative_gap(objective, lower),
            before + nodes + 1,
            self._relaxation.solves,
            time.perf_counter() - self._began,
            status,
        )

    def _search(
        self, heap: list[_Node], closed: float, floor: float, most_nodes: float = np.inf, proof: bool = True
    ) -> tuple[float, int, str]:
        """Work on these open nodes, best bound first, until the gap is closed.

        Args:
            heap: open nodes. closed: least bound of the nodes closed so far.
            floor: a bound that is known otherwise.
            most_nodes: where to stop. proof: whether the bound is to be one of the whole problem.

        Returns:
            The bound, how many nodes were opened, and 'unbounded', 'time limit' or nothing.
        """
        nodes, status = 0, ""
        while heap and nodes < most_nodes:
            lower = max(floor, min(heap[0].bound, closed))
            if proof:
                self.report(lower)
            if relative_gap(self._best[0], lower) <= self._gap:
                break
            if time.perf_counter() - self._began > self._limit:
                status = "time limit"
                break
            node = heapq.heappop(heap)
            nodes += 1
            pair = self._pair(node)
            if pair is None:
                if node.bound == -np.inf:
                    status = "unbounded"
                    heapq.heappush(heap, node)
                    break
                closed = min(closed, node.bound)
                continue
            for side in (DUAL_ZERO, SLACK_ZERO):
                child = node.decisions.copy()
                child[pair] = side
                order = 2 * nodes + side
                closed = min(closed, self._open(child, node.bound, node.depth - 1, order, heap, proof))
        return max(floor, min(closed, heap[0].bound if heap else np.inf)), nodes, status

    def _by_blocks(self) -> HullResult | None:
        """The tree over the follower's blocks, if it has any; finds incumbents on the way."""
        parts = decompose(self._relaxation.level, payment=self._payment)
        if parts is None:
            return None

        def missing(bound: float) -> float:
            return self.best - self._gap * max(1.0, abs(self.best)) - bound

        return HullTree(parts, self._relaxation, self, missing, self._began + self._limit).run()

    @property
    def best(self) -> float:
        """Cost of the best point so far; infinite as long as there is none."""
        return self._best[0]

    def report(self, bound: float) -> None:
        """Tell whoever waits how far the search is."""
        if self._progress is not None:
            bound = min(bound, self.best)
            self._progress(self.best, bound, relative_gap(self.best, bound))

    def payments(self, theta: Vector) -> Vector | None:
        """Price times parameter, (k,), of the follower's answer at theta; None if there is none."""
        answer = self._follower.solve(theta)
        if not answer.optimal:
            return None
        price: Vector = self._relaxation.level.follower.price(answer.nu, answer.sigma) * theta
        return price

    def propose(self, theta: Vector, pattern: Decisions) -> None:
        """Look for incumbents near the follower's answer at theta, and by a small tree where these pairs are decided."""
        self._improve(theta)
        heap: list[_Node] = []
        self._open(pattern, -np.inf, 0, 0, heap, proof=False)
        self._search(heap, np.inf, -np.inf, _NEARBY, proof=False)

    def _open(
        self, decisions: Decisions, floor: float, depth: int, order: int, heap: list[_Node], proof: bool = True
    ) -> float:
        """Solve a new node, look for an incumbent near it, and put it on the heap; the bound if it is closed
        at once. Without `proof` a node that the solver gives up is dropped: fit for finding points, not for bounds.
        """
        found = self._relaxation.solve(decisions, proof=proof)
        point: Vector | None
        if found.status == "infeasible" or (found.status != "optimal" and not proof):
            return np.inf
        if found.status == "optimal":
            bound, point = max(floor, found.objective), found.z
            self._opened += 1
            violation = float(self._relaxation.violations(found.z, decisions).sum())
            if violation <= _SETTLED * max(1.0, abs(found.objective)):
                self._accept(found, decisions, violation)
            elif self._opened <= _EAGER or self._opened % _EVERY == 0:
                # Nearby nodes lead to the same incumbents, so after the first few only some are asked.
                self._improve(found.z[self._relaxation.level.theta_at])
        else:
            # Unbounded, or a solver gave up: the parent's bound stays valid, and branching goes on from any
            # point.
            bound, point = floor, self._relaxation.any_point(decisions)
            if point is not None:
                self._improve(point[self._relaxation.level.theta_at])
        if relative_gap(self._best[0], bound) <= self._gap:
            return bound
        heapq.heappush(heap, _Node(bound, depth, order, decisions, point))
        return np.inf

    def _accept(self, found: Point, decisions: Decisions, violation: float) -> None:
        """Offer a relaxed point whose undecided pairs are complementary, with what it underestimates added."""
        level = self._relaxation.level
        binds = found.z[level.sigma_at] > level.slack(found.z)
        whole = np.where(binds, SLACK_ZERO, DUAL_ZERO).astype(np.int8)
        whole[decisions != OPEN] = decisions[decisions != OPEN]
        self._offer(replace(found, objective=found.objective + violation), whole)
        if np.any(decisions == OPEN):
            self._walk(self._cell(whole), whole)

    def _pair(self, node: _Node) -> int | None:
        """The undecided pair with the largest product of dual and slack; None if all are decided."""
        undecided = np.flatnonzero(node.decisions == OPEN)
        if len(undecided) == 0:
            return None
        if node.point is None:
            return int(undecided[0])
        level = self._relaxation.level
        dual = np.maximum(node.point[level.sigma_at], 0.0)
        slack = np.maximum(level.slack(node.point), 0.0)
        product = (dual * slack)[undecided]
        if product.max() > 0:
            return int(undecided[np.argmax(product)])
        return int(undecided[np.argmin(np.abs(dual - slack)[undecided])])

    def _improve(self, theta: Vector) -> None:
        """Clear the follower at theta, take the best point of its cell, and walk on while neighbours are
        better.
        """
        answer = self._follower.solve(theta)
        if not answer.optimal:
            return
        follower = self._relaxation.level.follower
        slack = follower.ineq_rhs + follower.ineq_theta @ theta - follower.ineq_matrix @ answer.x
        decisions = np.where(answer.sigma > slack, SLACK_ZERO, DUAL_ZERO).astype(np.int8)
        decisions[(slack <= _ZERO) & (answer.sigma <= _ZERO)] = SLACK_ZERO
        self._walk(self._cell(decisions), decisions)

    def _take(self, theta: Vector) -> None:
        """Offer the point at exactly these parameters: the leader's best rest, the follower's answer, and of its
        duals those that cost the leader least. Unlike a cell it is never lost to a pattern that was read off wrongly.
        """
        level = self._relaxation.level
        leader, follower = level.leader, level.follower
        at = [leader.variables.index(name) for name in follower.parameters]
        rows = sp.csr_array((np.ones(len(at)), (np.arange(len(at)), at)), shape=(len(at), len(leader.variables)))
        held = replace(
            leader,
            eq_matrix=sp.csr_array(sp.vstack([leader.eq_matrix, rows])),
            eq_rhs=np.concatenate([leader.eq_rhs, theta]),
            eq_theta=sp.csr_array((len(leader.eq_rows) + len(at), 0)),
            eq_rows=leader.eq_rows + tuple(f"at {name}" for name in follower.parameters),
        )
        answer, rest = self._follower.solve(theta), QPSolver(held).solve()
        if not (self._payment and answer.optimal and rest.optimal):
            return
        dual = DualFace(follower, answer, theta).extreme(-theta)
        if not np.isfinite(dual.value):
            return
        z = np.zeros(len(level.qp.variables))
        for place, values in (
            (level.leader_at, rest.x), (level.x_at, answer.x), (level.nu_at, dual.nu), (level.sigma_at, dual.sigma),
        ):  # fmt: skip
            z[place] = values
        z[level.theta_at] = theta
        decisions = np.where(level.slack(z) <= 1e-6, SLACK_ZERO, DUAL_ZERO).astype(np.int8)
        self._offer(Point("optimal", z, level.qp.objective(z), np.zeros(len(decisions))), decisions)

    def _walk(self, found: Point | None, decisions: Decisions) -> None:
        """Offer a cell's point, and go on to neighbouring cells as long as they are better."""
        for _ in range(_WALK):
            if found is None or not found.objective < self._best[0] + 1e-9 * max(1.0, abs(self._best[0])):
                return
            self._offer(found, decisions)
            turned = found.wish > _ZERO * max(1.0, float(np.max(np.abs(found.wish), initial=0.0)))
            turned &= self._at_zero(found.z)
            if not np.any(turned):
                return
            together, alone = decisions.copy(), decisions.copy()
            together[turned] = 3 - decisions[turned]
            first = int(np.argmax(np.where(turned, found.wish, -np.inf)))
            alone[first] = 3 - decisions[first]
            found, decisions = self._better(together, alone)

    def _better(self, *patterns: Decisions) -> tuple[Point | None, Decisions]:
        """The first of these cells that beats the incumbent."""
        for pattern in patterns:
            found = self._cell(pattern)
            if found is not None and found.objective < self._best[0] - 1e-9 * max(1.0, abs(self._best[0])):
                return found, pattern
        return None, patterns[0]

    def _at_zero(self, z: Vector) -> npt.NDArray[np.bool_]:
        """Pairs whose dual and slack are both zero, so that turning them does not leave the point."""
        level = self._relaxation.level
        at_zero: npt.NDArray[np.bool_] = (np.abs(z[level.sigma_at]) <= 1e-5) & (
            np.abs(level.slack(z)) <= 1e-5
        )
        return at_zero

    def _cell(self, decisions: Decisions) -> Point | None:
        """The optimum of a wholly decided relaxation, each pattern at most once."""
        key = decisions.tobytes()
        if key in self._seen:
            return None
        found = self._relaxation.solve(decisions, proof=False)
        self._seen[key] = found.objective
        return found if found.status == "optimal" else None

    def _offer(self, found: Point, decisions: Decisions) -> None:
        if found.objective < self._best[0]:
            self._best = (found.objective, found.z, decisions.copy())
