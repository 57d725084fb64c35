"""All optimal duals of a QP at one of its solutions: one point, or a face where prices are not unique."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from cosim.errors import RunFailure
from cosim.optimization.arrays import Matrix, Vector, rows
from cosim.optimization.null_space import null_space
from cosim.optimization.parametric import ParametricQP, Theta
from cosim.optimization.qp_solvers import QPSolver
from cosim.optimization.solution import QPSolution

_RANK = 1e-10
_HELD = 1e-9
_ACCEPT = 1e-6
_TOLERANCES = (1e-9, 1e-7)


@dataclass(frozen=True, slots=True)
class DualPoint:
    """One optimal dual.

    Attributes:
        nu, sigma: the duals, (p,) and (m,).
        price: the gradient of the optimal value that they make, (k,).
        value: what was asked for: the distance to the target, or direction'price (infinite if the face is
            unbounded in that direction; then the duals are not numbers).
    """

    nu: Vector
    sigma: Vector
    price: Vector
    value: float


class DualFace:
    """The set of (nu, sigma >= 0) that prove a solution optimal, sigma being zero on rows with slack.

    For a convex program the optimal value is convex in right-hand-side parameters, and its derivative in the
    direction d is the largest d'price over this face.

    Args:
        qp: the problem.
        solution: an optimum of it.
        theta: its parameter values, a mapping by name or a vector.
        tolerance: slack below which a row counts as binding, relative to the size of its limit.
    """

    def __init__(
        self, qp: ParametricQP, solution: QPSolution, theta: Theta | None = None, *, tolerance: float = 1e-6
    ) -> None:
        solution.require()
        self._qp, self._solution = qp, solution
        rhs = qp.ineq_rhs + qp.ineq_theta @ qp.theta_vector(theta)
        slack = rhs - qp.ineq_matrix @ solution.x
        binding = np.isfinite(rhs) & (slack <= tolerance * (1.0 + np.abs(rhs)))
        self._binding = np.flatnonzero(binding)
        self._duals = np.concatenate([solution.nu, solution.sigma[self._binding]])
        self._conditions = sp.hstack([qp.eq_matrix.T, rows(qp.ineq_matrix, self._binding).T])
        self._to_price = -sp.csr_array(sp.hstack([qp.eq_theta.T, rows(qp.ineq_theta, self._binding).T]))
        self._price = qp.sensitivity(solution)

    def nearest(self, target: Vector) -> DualPoint:
        """The optimal dual whose price is nearest to `target`, (k,), in the Euclidean sense."""
        away = self._price - np.asarray(target, dtype=float)
        # Steps of a window do not share duals; one QP over all of them would be badly scaled.
        free = null_space(self._conditions, _RANK)
        change = np.zeros(len(self._duals))
        if free.shape[1] and np.any(away):
            moves = self._to_price @ free
            curved = (moves.T @ moves).toarray()
            # In units of the largest distance; changes that leave the price are held small, so that an active-set
            # solver can take it: interior points give up where most rows touch.
            unit = float(np.abs(away).max())
            problem = ParametricQP.build(
                hessian=curved + _HELD * max(1.0, float(np.abs(curved).max())) * np.eye(len(curved)),
                cost=moves.T @ (away / unit),
                ineq_matrix=self._signs(len(self._duals)) @ free,
                ineq_rhs=self._duals[len(self._solution.nu) :] / unit,
            )
            change = free @ (unit * QPSolver(problem, "daqp", accept=_ACCEPT).solve().require().x)
        found = self._at(change)
        return DualPoint(found.nu, found.sigma, found.price, float(np.linalg.norm(found.price - target)))

    def extreme(self, direction: Vector) -> DualPoint:
        """The optimal dual with the largest direction'price, `direction` being (k,)."""
        direction = np.asarray(direction, dtype=float)
        size = len(self._duals)
        problem = ParametricQP.build(
            cost=-(self._to_price.T @ direction),
            eq_matrix=self._conditions,
            eq_rhs=np.zeros(self._conditions.shape[0]),
            ineq_matrix=self._signs(size),
            ineq_rhs=self._duals[len(self._solution.nu) :],
        )
        for tolerance in _TOLERANCES:
            step = QPSolver(problem, "highs", tolerance=tolerance).solve()
            if step.status != "infeasible":
                # No change at all is a point, so that only too close a look finds none.
                break
        if step.status == "unbounded":
            qp = self._qp
            nu, sigma, price = (np.full(len(of), np.nan) for of in (qp.eq_rows, qp.ineq_rows, qp.parameters))
            return DualPoint(nu, sigma, price, np.inf)
        if not step.optimal:
            raise RunFailure(f"the extreme of a dual face could not be found: {step.status}")
        found = self._at(step.x)
        return DualPoint(found.nu, found.sigma, found.price, float(direction @ found.price))

    def _signs(self, size: int) -> Matrix:
        """The rows that keep sigma from falling below zero, in terms of the change from the known duals."""
        p, b = len(self._solution.nu), len(self._binding)
        return sp.csr_array((-np.ones(b), (np.arange(b), p + np.arange(b))), shape=(b, size))

    def _at(self, change: Vector) -> DualPoint:
        p = len(self._solution.nu)
        duals = self._duals + change
        sigma = np.zeros_like(self._solution.sigma)
        sigma[self._binding] = np.maximum(duals[p:], 0.0)
        return DualPoint(duals[:p], sigma, self._price + self._to_price @ change, 0.0)
