"""The QP solvers, each behind the same two-sided form; `qp_solver.QPSolver` is the interface to use.

minimise 1/2 x'Px + c'x   subject to   Ax = b,  lower <= Gx <= upper,  x_lower <= x <= x_upper
"""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import Any

import daqp
import highspy
import numpy as np
import piqp
import scipy.sparse as sp

from cosim.optimization.qp.arrays import Matrix, Vector
from cosim.optimization.qp.two_sided import Form, Limits, full_form, with_diagonal
from cosim.optimization.solvers.contract import Backend, Raw, unsolved

_COARSER = 1000.0
_NO_SIGN = 1e-14
_REGULARISATION = 1e-7
_FALLS = 1e-7


class Piqp:
    """PIQP, a proximal interior-point method, sparse or dense. Duals at a kink are near the face's centre.

    Args:
        form, tolerance: the problem, and how accurate an answer has to be.
        dense: whether to factor dense matrices.
        max_iterations: after which it gives up.
        patient: whether it then tries again with a tolerance a thousand times coarser.
        verdicts: whether it may report infeasibility and unboundedness. PIQP's certificates of these are sometimes
            wrong; they are switched off where the problem is known to have an optimum.
    """

    def __init__(
        self,
        form: Form,
        tolerance: float,
        *,
        dense: bool = False,
        max_iterations: int = 100,
        patient: bool = True,
        verdicts: bool = True,
    ) -> None:
        self._form, self._dense, self._patient = form, dense, patient
        self._solver = piqp.DenseSolver() if dense else piqp.SparseSolver()
        self._tolerance = tolerance
        self._set_tolerance(tolerance)
        self._solver.settings.max_iter = max_iterations
        if not verdicts:
            self._solver.settings.eps_primal_inf = self._solver.settings.eps_dual_inf = _NO_SIGN
        self._ready = self._shifted = self._other = False

    def rows(self, form: Form) -> None:
        """Replace the numbers of the rows; the sparsity pattern stays. Only for the sparse solver."""
        self._form, self._other = form, self._ready

    def _set_tolerance(self, tolerance: float) -> None:
        settings = self._solver.settings
        settings.eps_abs = settings.eps_rel = tolerance
        settings.eps_duality_gap_abs = settings.eps_duality_gap_rel = tolerance

    def solve(self, cost: Vector, diagonal: Vector | None, limits: Limits) -> Raw:
        form, solver = self._form, self._solver
        if np.any(limits.lower > limits.upper) or np.any(limits.x_lower > limits.x_upper):
            return unsolved(form, "infeasible")
        vectors = {
            "c": cost, "b": limits.eq_rhs, "h_l": limits.lower, "h_u": limits.upper,
            "x_l": limits.x_lower, "x_u": limits.x_upper,
        }  # fmt: skip
        if not self._ready:
            hessian = with_diagonal(form.hessian, diagonal)
            solver.setup(
                P=self._give(hessian), A=self._give(form.eq_matrix), G=self._give(form.row_matrix), **vectors
            )
        elif diagonal is not None or self._shifted:
            solver.update(P=self._give(with_diagonal(form.hessian, diagonal)), **vectors)
        elif self._other:
            solver.update(G=self._give(form.row_matrix), **vectors)
        else:
            solver.update(**vectors)
        self._ready, self._shifted, self._other = True, diagonal is not None, False
        status = solver.solve()
        if status == piqp.PIQP_MAX_ITER_REACHED and self._patient:
            # At degenerate points the last digit may be out of reach; polishing takes over from a thousand times
            # coarser.
            self._set_tolerance(_COARSER * self._tolerance)
            status = solver.solve()
            self._set_tolerance(self._tolerance)
        if status in (piqp.PIQP_SOLVED, piqp.PIQP_MAX_ITER_REACHED):
            out, name = solver.result, "optimal" if status == piqp.PIQP_SOLVED else "rough"
            return Raw(name, out.x.copy(), out.y.copy(), out.z_u - out.z_l, out.z_bu - out.z_bl)
        if status == piqp.PIQP_PRIMAL_INFEASIBLE:
            return unsolved(form, "infeasible")
        return unsolved(form, "unbounded" if status == piqp.PIQP_DUAL_INFEASIBLE else "failed")

    def _give(self, matrix: Matrix) -> Matrix:
        return matrix.toarray() if self._dense else sp.csc_matrix(matrix)


class Daqp:
    """DAQP, a dual active-set method for small problems with a positive definite Hessian: exact duals, warm
    starts.
    """

    def __init__(self, form: Form, tolerance: float) -> None:
        self._hessian = form.hessian.toarray()
        self._form = form
        self._matrix = np.ascontiguousarray(np.vstack([form.eq_matrix.toarray(), form.row_matrix.toarray()]))
        n, p, m = form.hessian.shape[0], form.eq_matrix.shape[0], form.row_matrix.shape[0]
        self._sense = np.concatenate([np.zeros(n), np.full(p, 5), np.zeros(m)]).astype(np.int32)
        self._tolerance = tolerance
        self._n, self._p = n, p

    def solve(self, cost: Vector, diagonal: Vector | None, limits: Limits) -> Raw:
        hessian = self._hessian if diagonal is None else self._hessian + np.diag(diagonal)
        upper = np.concatenate([limits.x_upper, limits.eq_rhs, limits.upper])
        lower = np.concatenate([limits.x_lower, limits.eq_rhs, limits.lower])
        x, _, flag, info = daqp.solve(
            hessian,
            cost,
            self._matrix,
            np.clip(upper, -1e30, 1e30),
            np.clip(lower, -1e30, 1e30),
            self._sense.copy(),
            primal_tol=max(self._tolerance, 1e-11),
            dual_tol=1e-12,
        )
        if flag not in (1, 2):
            return unsolved(self._form, {-1: "infeasible", -3: "unbounded"}.get(flag, "failed"))
        lam = np.asarray(info["lam"])
        return Raw("optimal", x, lam[self._n : self._n + self._p], lam[self._n + self._p :], lam[: self._n])


@cache
def introduce_highs() -> None:
    """Suppress the banner of HiGHS: from 1.16 on it is printed once a process, before output can be switched off."""
    sys.stdout.flush()
    try:
        shown = os.dup(1)
    except OSError:  # nobody listens
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 1)
        highspy.Highs()  # type: ignore[no-untyped-call]
    finally:
        os.dup2(shown, 1)
        os.close(nothing)
        os.close(shown)


def quiet_highs() -> Any:
    """A HiGHS instance on one thread that prints nothing."""
    introduce_highs()
    solver: Any = highspy.Highs()  # type: ignore[no-untyped-call]
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("threads", 1)
    return solver


def linear_program(cost: Vector, rows: Matrix, limits: Limits) -> Any:
    """The linear program of `limits` as HiGHS takes it; ``rows`` (csr) are those of the equations and of the rest."""
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(cost), rows.shape[0]
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = cost, limits.x_lower, limits.x_upper
    lp.row_lower_ = np.concatenate([limits.eq_rhs, limits.lower])
    lp.row_upper_ = np.concatenate([limits.eq_rhs, limits.upper])
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = rows.indptr, rows.indices, rows.data
    return lp


_DUAL_SIMPLEX, _PRIMAL_SIMPLEX = 1, 4  # the basis stays primal feasible where only the cost changes


class Highs:
    """HiGHS: the simplex method for LPs, an active-set method for QPs."""

    def __init__(self, form: Form, tolerance: float, *, time_limit_s: float = 20.0) -> None:
        self._form = form
        self._rows = sp.csr_array(sp.vstack([form.eq_matrix, form.row_matrix]))
        self._solver = quiet_highs()
        self._ready = False
        self._sides: tuple[Vector, ...] = ()
        for option, value in {
            "time_limit": time_limit_s,
            "primal_feasibility_tolerance": max(tolerance, 1e-10),
            "dual_feasibility_tolerance": max(tolerance, 1e-10),
            "qp_regularization_value": 0.0,
        }.items():
            self._solver.setOptionValue(option, value)

    def solve(self, cost: Vector, diagonal: Vector | None, limits: Limits) -> Raw:
        solver, form = self._solver, self._form
        n, p = form.hessian.shape[0], form.eq_matrix.shape[0]
        if diagonal is not None:
            self._ready = False
        if np.any(limits.lower > limits.upper) or np.any(limits.x_lower > limits.x_upper):
            return unsolved(form, "infeasible")
        row_lower = np.concatenate([limits.eq_rhs, limits.lower])
        row_upper = np.concatenate([limits.eq_rhs, limits.upper])
        sides = (row_lower, row_upper, limits.x_lower, limits.x_upper)
        if self._ready:
            # a linear program again, with other vectors: the last basis is a good one to start from
            every, rows = np.arange(n, dtype=np.int32), np.arange(len(row_lower), dtype=np.int32)
            solver.changeColsCost(n, every, cost)
            held = all(np.array_equal(a, b) for a, b in zip(sides, self._sides, strict=True))
            if not held:
                solver.changeColsBounds(n, every, limits.x_lower, limits.x_upper)
                solver.changeRowsBounds(len(rows), rows, row_lower, row_upper)
            solver.setOptionValue("simplex_strategy", _PRIMAL_SIMPLEX if held else _DUAL_SIMPLEX)
        else:
            lower = sp.csc_array(sp.tril(with_diagonal(form.hessian, diagonal)))
            lower.eliminate_zeros()
            solver.passModel(self._model(cost, limits, lower))
            self._ready = lower.nnz == 0
        self._sides = sides
        solver.run()
        status = solver.getModelStatus()
        if status == highspy.HighsModelStatus.kSolveError:
            # Without regularisation the reduced Hessian of flat directions cannot be factored; with it the answer is a
            # little off, which is polished away.
            solver.setOptionValue("qp_regularization_value", _REGULARISATION)
            solver.run()
            solver.setOptionValue("qp_regularization_value", 0.0)
            status = solver.getModelStatus()
        if status == highspy.HighsModelStatus.kOptimal:
            out = solver.getSolution()
            duals = -np.array(out.row_dual)
            return Raw("optimal", np.array(out.col_value), duals[:p], duals[p:], -np.array(out.col_dual))
        if status == highspy.HighsModelStatus.kInfeasible:
            return unsolved(form, "infeasible")
        return unsolved(form, "unbounded" if status == highspy.HighsModelStatus.kUnbounded else "failed")

    def _model(self, cost: Vector, limits: Limits, lower: Matrix) -> Any:
        """The model as HiGHS takes it; ``lower`` is the lower triangle of the Hessian."""
        model = highspy.HighsModel()
        model.lp_ = linear_program(cost, self._rows, limits)
        if lower.nnz:
            model.hessian_.dim_ = len(cost)
            model.hessian_.format_ = highspy.HessianFormat.kTriangular
            model.hessian_.start_, model.hessian_.index_ = lower.indptr, lower.indices
            model.hessian_.value_ = lower.data
        return model


def make_backend(name: str, form: Form, tolerance: float) -> Backend:
    """The backend of that name: 'piqp', 'piqp-dense', 'daqp', 'clarabel' or 'highs'."""
    if name == "daqp":
        return Daqp(form, tolerance)
    if name == "clarabel":
        # Seldom asked, so imported only then.
        from cosim.optimization.solvers.clarabel_backend import Clarabel

        return Clarabel(form, tolerance)
    if name == "highs":
        return Highs(form, tolerance)
    return Piqp(form, tolerance, dense=name == "piqp-dense")


def prove(form: Form, cost: Vector, diagonal: Vector | None, limits: Limits) -> str:
    """'infeasible', 'unbounded' or 'bounded', decided by two linear programs instead of an interior-point
    heuristic.

    A feasible convex QP is unbounded exactly when some direction d has Pd = 0, keeps every constraint and
    lowers c'd.
    """
    hessian = with_diagonal(form.hessian, diagonal)
    n = hessian.shape[0]
    flat = full_form(sp.csc_array((n, n)), form.eq_matrix, form.row_matrix)
    if Highs(flat, 1e-9).solve(np.zeros(n), None, limits).status == "infeasible":
        return "infeasible"
    return "unbounded" if falls_without_end(form, hessian, cost, limits) else "bounded"


def falls_without_end(form: Form, hessian: Matrix, cost: Vector, limits: Limits) -> bool:
    """Whether a convex cost has no lower end on the (nonempty) set of these limits, decided by one linear program."""
    ray = Highs(flat_directions(form, hessian), 1e-9).solve(cost, None, directions(limits, hessian.shape[0]))
    return ray.status == "optimal" and falls(cost, ray.x)


def flat_directions(form: Form, hessian: Matrix) -> Form:
    """The form of directions d with Ad = 0 and Pd = 0, whose rows are those of `form`."""
    n = hessian.shape[0]
    return full_form(sp.csc_array((n, n)), sp.vstack([form.eq_matrix, hessian]), form.row_matrix)


def directions(limits: Limits, flat: int) -> Limits:
    """The directions, none longer than 1, along which points that keep these limits may go on without end.

    Args:
        limits: of a nonempty set.
        flat: how many equations Pd = 0 come after the others.
    """

    def cone(side: Vector, sign: float) -> Vector:
        return np.where(np.isfinite(side), 0.0, sign * np.inf)

    return Limits(
        eq_rhs=np.zeros(len(limits.eq_rhs) + flat),
        lower=cone(limits.lower, -1),
        upper=cone(limits.upper, 1),
        x_lower=np.maximum(cone(limits.x_lower, -1), -1.0),
        x_upper=np.minimum(cone(limits.x_upper, 1), 1.0),
    )


def falls(cost: Vector, direction: Vector) -> bool:
    """Whether a linear cost falls along a direction by more than rounding."""
    return float(cost @ direction) < -_FALLS * (1.0 + float(np.max(np.abs(cost), initial=0.0)))
