"""Solving a QP again with the rows that were active the last time as equations.

Between two rounds of a negotiation the active set changes little. Active bounds fix their variables, the other active
rows become equations, and one sparse linear system remains. Rows with duals of the wrong sign then leave the active
set and violated rows enter it, all at once (the primal-dual active-set method of Hintermueller, Ito and Kunisch 2002).
The method ends after a few systems or not at all: its answer is checked, and the caller needs another solver as well.
"""

from __future__ import annotations

import numpy as np

from cosim.optimization.solvers.polish import Conditions, Mask, Point, size

_ROUNDS = 4
_MOST = 40
_WRONG_DUAL, _BROKEN = 1e-10, 1e-11
_ACCURATE = 1e-10


class ActiveSet:
    """The rows that were active when a problem was solved last, for problems that differ in vectors and Hessian."""

    def __init__(self) -> None:
        self._last: tuple[Point, Mask] | None = None
        self._failed = self._pause = 0

    def remember(self, conditions: Conditions, point: Point) -> None:
        """Store the active set of a solution."""
        x, _, sigma = point
        slack = conditions.rhs - conditions.matrices.at(x)[2]
        self._last = point, np.isfinite(conditions.rhs) & (sigma > slack)

    def solve(self, conditions: Conditions) -> tuple[Point, float] | None:
        """A solution and its residual; None if there is none. After each failure more calls are skipped."""
        if self._last is None:
            return None
        if self._pause:
            self._pause -= 1
            return None
        found = self._search(conditions)
        self._failed = 0 if found else self._failed + 1
        self._pause = 2**self._failed // 4
        return found

    def _search(self, conditions: Conditions) -> tuple[Point, float] | None:
        assert self._last is not None
        point, active = self._last
        finite = np.isfinite(conditions.rhs)
        active = active & finite
        for _ in range(_ROUNDS):
            point, slack = conditions.held(point, active)
            x, nu, sigma = point
            if not np.all(np.isfinite(x)):
                return None
            wrong = active & (sigma < -_WRONG_DUAL * (1.0 + size(sigma)))
            broken = finite & ~active & (slack < -_BROKEN * (1.0 + size(x)))
            changes = np.count_nonzero(wrong) + np.count_nonzero(broken)
            if changes == 0:
                point = x, nu, np.maximum(sigma, 0.0)
                error = conditions.residual(point)
                if error > _ACCURATE:
                    return None
                self._last = point, active
                return point, error
            if changes > _MOST:
                return None
            active = (active & ~wrong) | broken
        return None
