"""Branch and bound on the complementarities of a bilevel problem, with no big-M anywhere.

A node decides for some pairs (dual, slack) which of the two is zero and leaves the others out; its QP is a
lower bound. Branching takes the pair with the largest dual * slack, whose sum is exactly what the payment is
underestimated by. Incumbents are sought near a node's parameters (see `incumbents`). Where the follower falls apart
into blocks, the tree over their convex hulls (see `hull_tree`) comes first: its bound is much tighter.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from cosim.optimization.bilevel.model.settlement import Box
from cosim.optimization.bilevel.primal.incumbents import Incumbents
from cosim.optimization.bilevel.primal.region_search import region_search
from cosim.optimization.bilevel.relaxation.relaxation import OPEN, Decisions, Relaxation, both
from cosim.optimization.bilevel.tree.cache import SearchCache
from cosim.optimization.bilevel.tree.hull_tree import HullResult, HullTree
from cosim.optimization.bilevel.tree.lagrangian import decompose
from cosim.optimization.qp.arrays import Vector, relative_gap
from cosim.optimization.qp.best_first import BestFirst

Progress: TypeAlias = Callable[[float, float, float], None]
_SETTLED = 1e-7


@dataclass(frozen=True, slots=True)
class BranchResult:
    """The best point found and how good it can be at most.

    Attributes:
        z: all variables of the single-level form; None if no point was found.
        decisions: the pattern of the best point.
        exact: whether z needs no sharpening.
        bound: a proven lower bound of the leader's cost.
        nodes: nodes of the tree.
        status: 'optimal' (gap reached), 'time limit', 'gap open' (the tree is exhausted, but a solver gave up
            on some node), 'infeasible' or 'unbounded'.
    """

    z: Vector | None
    decisions: Decisions | None
    exact: bool
    bound: float
    nodes: int
    status: str


@dataclass(frozen=True, slots=True)
class _Node:
    bound: float
    depth: int
    decisions: Decisions
    point: Vector | None
    box: Box | None


class BranchAndBound:
    """The tree over one relaxation.

    Args:
        relaxation: of the bilevel problem.
        gap: relative gap at which to stop.
        time_limit_s: wall time; the best point and bound so far are returned.
        start: parameters th from which a first incumbent is sought; those of the relaxation if left out.
        payment: whether the objective contains the payment; then regions serve incumbents, and blocks, if there are
            any, the bound.
        progress: called now and then with the best cost, the bound and the gap.
        cache: of solves before this one.
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
        cache: SearchCache | None = None,
    ) -> None:
        self._deadline = time.perf_counter() + time_limit_s
        self._relaxation, self._gap, self._start = relaxation, gap, start
        self._progress, self._cache = progress, cache
        if cache is not None:
            cache.begin(relaxation.settings)
        self._regions = region_search(
            relaxation.level,
            payment=payment,
            least=relaxation.settings.improvement * gap,
            known=None if cache is None else cache.regions,
            settings=relaxation.settings,
        )
        self._points = Incumbents(relaxation, payment=payment, regions=self._regions, deadline=self._deadline)
        self._queue, self._opened = BestFirst[_Node](), 0

    def run(self) -> BranchResult:
        """Search until the gap or the time limit is reached."""
        root = np.zeros(self._relaxation.pairs, dtype=np.int8)
        points, start = self._points, self._start
        if start is not None:
            points.near(start)
            if points.z is None:
                points.at(start)
        # The hulls of blocks need no relaxation of the whole, only a point to begin with.
        queue, by_blocks = self._queue, self._by_blocks()
        if by_blocks is None or not by_blocks.finished:
            self._open(root, self._relaxation.root(), -np.inf, 0)
            by_blocks = self._by_blocks() if by_blocks is None and queue else by_blocks
        floor, before = (-np.inf, 0) if by_blocks is None else (by_blocks.bound, by_blocks.nodes)
        if by_blocks is not None and by_blocks.finished:
            queue.clear()
            queue.close(floor)
        nodes, status = self._search(floor)
        lower = min(points.best, max(floor, queue.bound))
        gap = relative_gap(points.best, lower)
        if not status:
            status = "infeasible" if points.z is None else "optimal" if gap <= self._gap else "gap open"
        return BranchResult(points.z, points.decisions, points.exact, lower, before + nodes + 1, status)

    def _search(self, floor: float) -> tuple[int, str]:
        """Work on the open nodes, best bound first, until the gap is closed.

        Args:
            floor: a bound that is known otherwise.

        Returns:
            How many nodes were opened, and 'unbounded', 'time limit' or nothing.
        """
        queue, nodes = self._queue, 0
        for bound, node in queue:
            lower = max(floor, min(bound, queue.closed))
            self._report(lower)
            closed = relative_gap(self._points.best, lower) <= self._gap
            if closed or time.perf_counter() > self._deadline:
                queue.push(bound, node)
                return nodes, "" if closed else "time limit"
            nodes += 1
            children = self._children(node)
            if children is None and bound == -np.inf:
                queue.push(bound, node)
                return nodes, "unbounded"
            if children is None:
                queue.close(bound)
                continue
            for child, box in children:
                self._open(child, box, bound, node.depth + 1)
        return nodes, ""

    def _by_blocks(self) -> HullResult | None:
        """The tree over the follower's blocks, if it has any; finds incumbents on the way."""
        if self._regions is None or self._points.optimum is None:
            return None
        parts = decompose(self._relaxation.level, self._regions, self._cache, self._relaxation.settings)
        if parts is None:
            return None
        return HullTree(parts, self._relaxation, self._points, self._gap, self._deadline, self._report).run()

    def _report(self, bound: float) -> None:
        """Tell whoever waits how far the search is."""
        if self._progress is not None:
            bound = min(bound, self._points.best)
            self._progress(self._points.best, bound, relative_gap(self._points.best, bound))

    def _open(self, decisions: Decisions, box: Box | None, floor: float, depth: int) -> None:
        """Solve a new node, look for an incumbent near it, and close it or put it into the queue."""
        found, settings = self._relaxation.solve(decisions, box=box), self._relaxation.settings
        theta_at = self._relaxation.level.theta_at
        point: Vector | None
        if found.status == "infeasible":
            return
        if found.status == "optimal":
            bound, point = max(floor, found.objective), found.z
            self._opened += 1
            violation = float(
                self._relaxation.violations(found.z, decisions).sum() + self._relaxation.errors(found.z).sum()
            )
            if violation <= _SETTLED * max(1.0, abs(found.objective)):
                self._points.accept(found, decisions, violation)
            elif self._opened <= settings.eager_nodes or self._opened % settings.node_stride == 0:
                # Nearby nodes lead to the same incumbents, so after the first few only some are asked.
                self._points.near(found.z[theta_at])
        else:
            # Unbounded, or a solver gave up: the parent's bound stays valid, and branching goes on from any
            # point.
            bound, point = floor, self._relaxation.any_point(decisions, box)
            if point is not None:
                self._points.near(point[theta_at])
        if relative_gap(self._points.best, bound) <= self._gap:
            self._queue.close(bound)
        else:
            self._queue.push(bound, _Node(bound, depth, decisions, point, box), -depth)

    def _children(self, node: _Node) -> list[tuple[Decisions, Box | None]] | None:
        """What is decided in the two nodes below, and their boxes; None if there is nothing left to decide."""
        pair, products = self._pair(node), self._relaxation.level.products
        if products is not None and node.point is not None and node.box is not None:
            errors = self._relaxation.errors(node.point)
            worst = 0.0 if pair is None else self._relaxation.violations(node.point, node.decisions)[pair]
            if errors.max(initial=0.0) > (_SETTLED if pair is None else worst):
                halves = products.split(node.point, int(np.argmax(errors)), node.box)
                return [(node.decisions, half) for half in halves]
        return None if pair is None else [(child, node.box) for child in both(node.decisions, pair)]

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
