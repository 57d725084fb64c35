"""The interface to all QP solvers: set up once, after which only vectors change from solve to solve."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np

from cosim.errors import InputError
from cosim.optimization.qp.arrays import Vector, rows
from cosim.optimization.qp.parametric import ParametricQP, Theta
from cosim.optimization.qp.solution import QPSolution
from cosim.optimization.qp.two_sided import (
    BOUND,
    NOTHING,
    ROW,
    Form,
    Limits,
    Placement,
    full_diagonal,
    full_form,
    place_rows,
    two_sided,
    with_diagonal,
)
from cosim.optimization.qp.unsolved import UnsolvedProgram
from cosim.optimization.solvers.active_set import ActiveSet
from cosim.optimization.solvers.backends import make_backend, prove
from cosim.optimization.solvers.contract import Backend, Raw
from cosim.optimization.solvers.polish import Conditions, Matrices, Point

FINE = 1e-13
"""Tolerance for well-conditioned problems solved many times: one more iteration makes polishing unnecessary."""
SOLVERS = ("auto", "piqp", "piqp-dense", "daqp", "clarabel", "highs")
AFTER_EACH_OTHER = ("piqp", "clarabel", "highs")
"""The order of solvers after the chosen one has failed: HiGHS last, because its active-set method may take long."""


class QPSolver:
    """A ParametricQP that is solved many times.

    Solvers get the two-sided form, in which rows of G with one variable are bounds and rows with proportional
    coefficients are the two sides of one range. The duals are returned row by row of G.

    Args:
        qp: the problem.
        solver: one of `SOLVERS`; 'auto' picks by size and curvature (see `choose`).
        tolerance: of the solver; tight, because polishing an answer takes longer than another iteration.
        polish: whether to improve the answer by solving the optimality conditions on its active set.
        accept: residual above which an answer is refused and the next solver is tried.
        alone: whether only the chosen solver is tried; a residual of up to 100 times `accept` is then accepted.
        like: the solver of a problem that differs in the Hessian alone, with which all other data are shared.
    """

    def __init__(
        self,
        qp: ParametricQP,
        solver: str = "auto",
        *,
        tolerance: float = 1e-12,
        polish: bool = True,
        accept: float = 1e-7,
        alone: bool = False,
        like: QPSolver | None = None,
    ) -> None:
        if solver not in SOLVERS:
            raise InputError("unknown QP solver", key="solver", value=solver, allowed=", ".join(SOLVERS))
        self.qp, self.name = qp, choose(qp) if solver == "auto" else solver
        self._tolerance, self._polish, self._accept, self._alone = tolerance, polish, accept, alone
        self._like = like
        self._placement: Placement = place_rows(qp) if like is None else like._placement
        self._matrices: Matrices = Matrices(qp, self._placement.bounds, None if like is None else like._matrices)
        self._active: ActiveSet = ActiveSet() if like is None else like._active
        self._backends: dict[str, Backend] = {}

    @cached_property
    def _form(self) -> Form:
        if self._like is not None:
            return replace(self._like._form, hessian=full_diagonal(self.qp.hessian))
        return full_form(self.qp.hessian, self.qp.eq_matrix, rows(self.qp.ineq_matrix, self._placement.first_rows))

    def solve(
        self,
        theta: Theta | None = None,
        extra_linear: Vector | None = None,
        extra_diagonal: Vector | None = None,
        follow: bool = False,
    ) -> QPSolution:
        """Solve at `theta`.

        Args:
            theta: parameter values, a mapping by name or a vector.
            extra_linear: (n,), added to the linear cost.
            extra_diagonal: (n,), not negative, added to the diagonal of the Hessian (a proximal term).
            follow: whether to try the active set of the last solve first (also of the solver given as `like`). It pays
                where successive solves resemble each other and the problem is strictly convex.

        Returns:
            The solution, whatever its status; call `require()` on it where only an optimum will do. Its
            objective includes the extra terms.
        """
        qp = self.qp
        at = qp.theta_vector(theta)
        cost = qp.cost + qp.cost_theta @ at
        if extra_linear is not None:
            cost = cost + extra_linear
        eq_rhs = qp.eq_rhs + qp.eq_theta @ at
        rhs = qp.ineq_rhs + qp.ineq_theta @ at
        limits, possible = self.limits(eq_rhs, rhs)
        if not possible:
            return self._nothing("infeasible", "presolve")
        conditions = Conditions(self._matrices, cost, extra_diagonal, eq_rhs, rhs)
        constant = qp.constant + float(qp.constant_theta @ at)
        if follow:
            known = self._active.solve(conditions)
            if known is not None:
                return self._solution(conditions, known[0], known[1], constant, "active-set")
        tried: list[str] = []
        best: QPSolution | None = None
        for name in dict.fromkeys((self.name,) if self._alone else (self.name, *AFTER_EACH_OTHER)):
            tried.append(name)
            raw = self._backend(name).solve(cost, extra_diagonal, limits)
            if raw.status in ("infeasible", "unbounded"):
                verdict = prove(self._form, cost, extra_diagonal, limits)
                if verdict != "bounded":
                    return self._nothing(verdict, " > ".join(tried))
            if raw.status not in ("rough", "optimal"):
                continue
            point, error = self._finish(raw, conditions)
            if not np.isfinite(error):
                continue  # a point that is not a number would win every comparison that follows
            if best is None or error < best.residual:
                best = self._solution(conditions, point, error, constant, " > ".join(tried))
                if follow:
                    self._active.remember(conditions, point)
            if best.residual <= self._accept:
                return best
        if best is not None and best.residual <= 100 * self._accept:
            return best
        return self._nothing("failed", " > ".join(tried), conditions)

    def _backend(self, name: str) -> Backend:
        if name not in self._backends:
            self._backends[name] = make_backend(name, self._form, self._tolerance)
        return self._backends[name]

    def limits(self, eq_rhs: Vector, rhs: Vector) -> tuple[Limits, bool]:
        """The sides of the two-sided form for these right-hand sides, see `two_sided`."""
        return two_sided(self._placement, len(self.qp.variables), eq_rhs, rhs)

    def _finish(self, raw: Raw, conditions: Conditions) -> tuple[Point, float]:
        """A solver's answer with duals row by row, polished, and its residual."""
        put = self._placement
        net = np.where(
            put.kind == BOUND,
            raw.bounds[np.where(put.kind == BOUND, put.place, 0)] if len(raw.bounds) else 0.0,
            raw.rows[np.where(put.kind == ROW, put.place, 0)] if len(raw.rows) else 0.0,
        )
        sigma = np.where(put.kind == NOTHING, 0.0, np.maximum(net / put.scale, 0.0))
        sigma[~np.isfinite(conditions.rhs)] = 0.0
        point = (raw.x, raw.equalities, sigma)
        return conditions.polish(point) if self._polish else (point, conditions.residual(point))

    def _solution(
        self, conditions: Conditions, point: Point, error: float, constant: float, solver: str
    ) -> QPSolution:
        x, nu, sigma = point
        objective = constant + float(conditions.cost @ x + 0.5 * x @ (self.qp.hessian @ x))
        if conditions.diagonal is not None:
            objective += 0.5 * float(conditions.diagonal @ (x * x))
        return QPSolution(x, nu, sigma, objective, "optimal", solver, error)

    def _nothing(self, status: str, solver: str, failed: Conditions | None = None) -> QPSolution:
        qp = self.qp
        value = {"infeasible": np.inf, "unbounded": -np.inf}.get(status, np.nan)
        x, nu, sigma = (np.full(len(names), np.nan) for names in (qp.variables, qp.eq_rows, qp.ineq_rows))
        program = None
        if failed is not None:
            hessian = with_diagonal(full_diagonal(qp.hessian), failed.diagonal)
            program = UnsolvedProgram(
                hessian, qp.eq_matrix, qp.ineq_matrix, failed.cost, failed.eq_rhs, failed.rhs
            )
        return QPSolution(x, nu, sigma, value, status, solver, program=program)


def choose(qp: ParametricQP) -> str:
    """The solver for a problem of this size: DAQP for small strictly convex ones, PIQP dense or sparse, HiGHS
    for LPs.
    """
    n, m = len(qp.variables), len(qp.eq_rows) + len(qp.ineq_rows)
    if n <= 40 and m <= 200 and n > 0:
        values = np.linalg.eigvalsh(qp.hessian.toarray())
        if values[0] > 1e-9 * max(1.0, values[-1]):
            return "daqp"
    return "piqp-dense" if n <= 60 and m <= 300 else "piqp"


def solve_qp(qp: ParametricQP, theta: Theta | None = None, *, solver: str = "auto") -> QPSolution:
    """Solve a QP once at `theta`; in a loop keep a `QPSolver` instead.

    Args:
        theta: the parameter values, a mapping by name or a vector.
        solver: one of `SOLVERS`.
    """
    return QPSolver(qp, solver).solve(theta)
