"""Clarabel behind the two-sided form: an interior-point method with a homogeneous embedding and iterative refinement.

It also converges where strict complementarity fails and where the factorisations of PIQP and HiGHS break down.
"""

from __future__ import annotations

import clarabel
import numpy as np
import scipy.sparse as sp

from cosim.optimization.qp.arrays import Vector
from cosim.optimization.qp.two_sided import Form, Limits, with_diagonal
from cosim.optimization.solvers.contract import Raw, unsolved

_FINEST = 1e-10
_STATUS = {
    "Solved": "optimal",
    "AlmostSolved": "rough",
    "PrimalInfeasible": "infeasible",
    "AlmostPrimalInfeasible": "infeasible",
    "DualInfeasible": "unbounded",
    "AlmostDualInfeasible": "unbounded",
}


class Clarabel:
    """Clarabel, set up anew for every solve. Duals at a kink are near the face's centre.

    Args:
        form, tolerance: the problem, and how accurate an answer has to be (1e-10 at the finest).
    """

    def __init__(self, form: Form, tolerance: float) -> None:
        self._form = form
        identity = sp.eye_array(form.hessian.shape[0], format="csr")
        self._sides = sp.csr_array(sp.vstack([form.row_matrix, identity]))
        settings = clarabel.DefaultSettings()
        settings.verbose, settings.max_threads = False, 1
        settings.direct_solve_method = "qdldl"
        settings.tol_feas = settings.tol_gap_abs = settings.tol_gap_rel = max(tolerance, _FINEST)
        self._settings = settings

    def solve(self, cost: Vector, diagonal: Vector | None, limits: Limits) -> Raw:
        form, p = self._form, self._form.eq_matrix.shape[0]
        lower = np.concatenate([limits.lower, limits.x_lower])
        upper = np.concatenate([limits.upper, limits.x_upper])
        if np.any(lower > upper):
            return unsolved(form, "infeasible")
        # Sides that meet are one equation: two inequalities in its place have no interior.
        fixed = np.flatnonzero(lower == upper)
        above = np.flatnonzero(np.isfinite(upper) & (lower < upper))
        below = np.flatnonzero(np.isfinite(lower) & (lower < upper))
        matrix = sp.vstack([form.eq_matrix, self._sides[fixed], self._sides[above], -self._sides[below]])
        rhs = np.concatenate([limits.eq_rhs, upper[fixed], upper[above], -lower[below]])
        cones = [clarabel.ZeroConeT(p + len(fixed)), clarabel.NonnegativeConeT(len(above) + len(below))]
        hessian = sp.csc_matrix(sp.triu(with_diagonal(form.hessian, diagonal)))
        solver = clarabel.DefaultSolver(hessian, cost, sp.csc_matrix(matrix), rhs, cones, self._settings)
        found = solver.solve()
        status = _STATUS.get(str(found.status), "failed")
        if status not in ("optimal", "rough"):
            return unsolved(form, status)
        dual, net = np.array(found.z), np.zeros(len(lower))
        ends = np.cumsum([p, len(fixed), len(above)])
        equalities, at_fixed, at_above, at_below = np.split(dual, ends)
        net[fixed] += at_fixed
        net[above] += at_above
        net[below] -= at_below
        rows = form.row_matrix.shape[0]
        return Raw(status, np.array(found.x), equalities, net[:rows], net[rows:])
