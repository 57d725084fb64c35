"""Branch and bound over the blocks of a follower: each node's bound is that of the convex hulls of all blocks.

A node confines blocks to some leaves of their own trees, or decides pairs. Its bound is the largest L(mu) of the
decomposition in that domain (see `bundle`). Where the optimum over the hulls combines several leaves of a block,
branching separates these leaves (see `hull_branching`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cosim.optimization.bilevel.primal.incumbents import Incumbents
from cosim.optimization.bilevel.relaxation.relaxation import Relaxation
from cosim.optimization.bilevel.tree.bundle import Ascent, Goal, Node
from cosim.optimization.bilevel.tree.hull_branching import Branching
from cosim.optimization.bilevel.tree.lagrangian import Decomposition
from cosim.optimization.qp.arrays import Vector
from cosim.optimization.qp.best_first import BestFirst


@dataclass(frozen=True, slots=True)
class HullResult:
    """The bound, the number of nodes, and whether the tree was finished (else time limit, or an unsolved block)."""

    bound: float
    nodes: int
    finished: bool


class HullTree:
    """The tree over one decomposition.

    Args:
        parts: the decomposition.
        relaxation: of the same problem.
        points: keeps the best point; it has one over regions.
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
        assert points.regions is not None
        self._parts, self._report = parts, report
        self._goal, self._settings = Goal(points, gap, deadline), relaxation.settings
        self._ascent = Ascent(parts, relaxation, self._goal, report)
        self._branching = Branching(parts, relaxation, points.regions)

    def run(self) -> HullResult:
        """Search until the gap is closed, the time limit is reached, or a block cannot be minimised."""
        goal, queue, nodes, finished = self._goal, BestFirst[Node](), 0, True
        first = self._ascent.first()
        queue.push(first.bound, first)
        for bound, node in queue:
            lower = min(bound, queue.closed)
            self._report(lower)
            if goal.missing(lower) <= 0 or goal.late():
                queue.push(bound, node)
                break
            nodes += 1
            step = self._ascent.bound(node, queue.bound)
            if nodes == 1 and step is not None:
                queue.close(self._prune(node))
            missing = goal.missing(node.bound)
            if missing <= 0:
                queue.close(node.bound)
                continue
            known = np.isfinite(node.bound) and not goal.late()
            children = self._branching.children(node.domain, step, missing) if known else None
            if children is None:
                queue.push(node.bound, node)
                finished = False
                break
            for child in children:
                queue.push(node.bound, Node(node.bound, child, node.center, node.step))
        finished &= not queue or goal.missing(queue.bound) <= 0
        return HullResult(queue.bound, nodes, finished)

    def _prune(self, root: Node) -> float:
        """Prune leaves that contain no point whose cost is lower by more than the gap; the least cost that a pruned
        point may have.
        """
        goal, settings = self._goal, self._settings
        done = goal.missing(root.bound) <= 0 or not settings.prune_leaves
        value = None if done else self._ascent.value(root, root.center, whole=True)
        if value is None or not np.isfinite(value):
            return np.inf
        # Pruned points lie a little inside the gap, so that rounding does not keep it open.
        inside = goal.missing(value) + settings.inside * goal.allowed
        return value + inside if self._parts.prune(root.center, inside) else np.inf

    def root(self) -> Vector:
        """The multipliers with the best bound of the root that was found."""
        node = self._ascent.first()
        self._ascent.bound(node, np.inf)
        return node.center
