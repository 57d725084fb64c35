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
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from cosim.optimization.arrays import Vector
from cosim.optimization.decomposition import decompose
from cosim.optimization.dual_face import DualFace
from cosim.optimization.qp_solvers import QPSolver
from cosim.optimization.relaxation import DUAL_ZERO, OPEN, SLACK_ZERO, Decisions, Point, Relaxation

_ZERO = 1e-7
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
    """

    def __init__(
        self,
        relaxation: Relaxation,
        *,
        gap: float,
        time_limit_s: float,
        start: Vector | None = None,
        payment: bool = False,
    ) -> None:
        self._relaxation, self._gap, self._limit, self._start = relaxation, gap, time_limit_s, start
        self._payment = payment
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
        closed, nodes, status = np.inf, 0, ""
        closed = min(closed, self._open(root, -np.inf, 0, 0, heap))
        floor = self._by_blocks() if heap else -np.inf
        while heap:
            lower = max(floor, min(heap[0].bound, closed))
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
                closed = min(closed, self._open(child, node.bound, node.depth - 1, 2 * nodes + side, heap))
        objective, z, decisions = self._best
        lower = min(objective, max(floor, min(closed, heap[0].bound if heap else np.inf)))
        if not status:
            reached = relative_gap(objective, lower) <= self._gap
            status = "infeasible" if z is None else "optimal" if reached else "gap open"
        return BranchResult(
            z,
            decisions,
            objective,
            lower,
            relative_gap(objective, lower),
            nodes + 1,
            self._relaxation.solves,
            time.perf_counter() - self._began,
            status,
        )

    def _by_blocks(self) -> float:
        """The bound of the decomposition into blocks, if there is one; finds incumbents on the way."""
        parts = decompose(self._relaxation.level, payment=self._payment, minimise=self._minimise_block)
        if parts is None:
            return -np.inf
        return parts.run(
            lambda bound: self._best[0] - self._gap * max(1.0, abs(self._best[0])) - bound,
            self._propose,
            self._gap,
            self._began + self._limit,
        )

    def _minimise_block(
        self, relaxation: Relaxation, gap: float
    ) -> tuple[float, float, Vector, Decisions] | None:
        left = self._limit - (time.perf_counter() - self._began)
        found = BranchAndBound(relaxation, gap=gap, time_limit_s=left).run()
        if found.z is None or found.decisions is None or not np.isfinite(found.bound):
            return None
        return found.bound, found.objective, found.z, found.decisions

    def _propose(self, theta: Vector, pattern: Decisions | None) -> None:
        """Try a whole pattern's cell, then the follower's answer at these parameters."""
        if pattern is not None:
            self._walk(self._cell(pattern), pattern)
        self._improve(theta)

    def _open(self, decisions: Decisions, floor: float, depth: int, order: int, heap: list[_Node]) -> float:
        """Solve a new node, look for an incumbent near it, and put it on the heap; the bound if it is closed
        at once.
        """
        found = self._relaxation.solve(decisions)
        point: Vector | None
        if found.status == "infeasible":
            return np.inf
        if found.status == "optimal":
            bound, point = max(floor, found.objective), found.z
            self._opened += 1
            if not np.any(decisions == OPEN):
                self._offer(found, decisions)
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
