"""Whether a bilevel problem has a point and a lower end, decided by linear programs before a MIP solver is asked.

The single-level form is a union of polyhedra, one for each choice of which of dual and slack is zero in every pair.
On each the leader's cost is convex, so it has no lower end there exactly if the polyhedron has a point and a direction
d that it contains without end, with Hd = 0 and c'd < 0 (Frank and Wolfe 1956; Eaves 1971). Where the relaxation has no
such direction nothing has; otherwise a search over the pairs decides.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from cosim.errors import RunFailure
from cosim.optimization.bilevel.model.single_level import SingleLevel
from cosim.optimization.bilevel.relaxation.relaxation import OPEN, Decisions, Relaxation, both
from cosim.optimization.bilevel.settings import DEFAULT, SearchSettings
from cosim.optimization.qp.arrays import Vector, rows
from cosim.optimization.qp.two_sided import Limits, full_form
from cosim.optimization.solvers.backends import Highs, directions, falls, flat_directions

_TOLERANCE = 1e-9
_MOVES = 1e-7


def verdict(level: SingleLevel, deadline: float = np.inf, settings: SearchSettings = DEFAULT) -> str:
    """'infeasible', 'unbounded', or 'bounded'.

    'bounded' says that the cost has a lower end where there are points; 'infeasible' only that not even the relaxation
    has one.

    Args:
        level: the single-level form.
        deadline: `time.perf_counter()` at which to stop.
        settings: of the search.

    Raises:
        RunFailure: it could not be decided in time, or within `verdict_nodes` choices of pairs.
    """
    return _Search(level, settings).run(deadline)


class _Search:
    """The pairs decided one after the other, and two linear programs for each choice: of points, and of directions."""

    def __init__(self, level: SingleLevel, settings: SearchSettings) -> None:
        self._level, self._relaxation = level, Relaxation(level, settings)
        qp = level.qp
        self._size = len(qp.variables)
        base = full_form(0.0 * qp.hessian, qp.eq_matrix, rows(qp.ineq_matrix, self._relaxation.first_rows))
        self._points = Highs(base, _TOLERANCE)
        self._rays = Highs(flat_directions(base, qp.hessian), _TOLERANCE)
        self._still = np.zeros(0, dtype=np.int64)
        if level.products is not None:
            # Parameters and rests of products have proven ranges, and with them the products.
            held = level.products
            self._still = np.concatenate([held.theta_at, held.rest_at, held.product_at])

    def run(self, deadline: float) -> str:
        todo, nodes = [np.zeros(self._relaxation.pairs, dtype=np.int8)], 0
        while todo:
            decisions = todo.pop()
            nodes += 1
            limits = self._relaxation.decided(decisions)
            point = self._point(limits)
            if point is None:
                if nodes == 1:
                    return "infeasible"
                continue
            ray = self._ray(limits)
            if ray is None:
                continue
            pair = self._undecided(decisions, point, ray)
            if pair is None:
                return "unbounded"
            if nodes >= self._relaxation.settings.verdict_nodes or time.perf_counter() > deadline:
                raise RunFailure("it could not be decided whether a bilevel problem has a lower end")
            todo += both(decisions, pair)
        return "bounded"

    def _point(self, limits: Limits) -> Vector | None:
        found = self._points.solve(np.zeros(self._size), None, limits)
        return found.x if found.status == "optimal" else None

    def _ray(self, limits: Limits) -> Vector | None:
        """A direction in which the relaxation's cost falls without end, if there is one."""
        cone = directions(limits, self._size)
        lower, upper = cone.x_lower.copy(), cone.x_upper.copy()
        lower[self._still] = upper[self._still] = 0.0
        cost = self._level.qp.cost
        found = self._rays.solve(cost, None, replace(cone, x_lower=lower, x_upper=upper))
        return found.x if found.status == "optimal" and falls(cost, found.x) else None

    def _undecided(self, decisions: Decisions, point: Vector, ray: Vector) -> int | None:
        """The open pair in which dual and slack are most apart from one being zero all along the ray; None if in each
        pair one is zero all along it.
        """
        level = self._level
        follower = level.follower
        runs = follower.ineq_theta @ ray[level.theta_at] - follower.ineq_matrix @ ray[level.x_at]
        dual = np.maximum(point[level.sigma_at], 0.0) / _scale(point) + np.maximum(ray[level.sigma_at], 0.0)
        slack = np.maximum(level.slack(point), 0.0) / _scale(point) + np.maximum(runs, 0.0)
        both_there = np.where(decisions == OPEN, np.minimum(dual, slack), 0.0)
        worst = int(np.argmax(both_there)) if len(both_there) else 0
        return worst if len(both_there) and both_there[worst] > _MOVES else None


def _scale(point: Vector) -> float:
    return 1.0 + float(np.max(np.abs(point), initial=0.0))
