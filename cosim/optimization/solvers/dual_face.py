"""All optimal duals of a QP at one of its solutions: one point, or a face where prices are not unique."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from cosim.errors import RunFailure
from cosim.optimization.qp.arrays import Matrix, Vector, columns, rows
from cosim.optimization.qp.parametric import ParametricQP, Theta
from cosim.optimization.qp.solution import QPSolution
from cosim.optimization.solvers.null_space import blocks, null_space
from cosim.optimization.solvers.qp_solver import QPSolver

_RANK = 1e-10
_HELD = 1e-9
_ACCEPT = 1e-6
_MET = 1e-6
"""How near to a target a price counts as met, relative."""
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

    Where two binding rows are nearly parallel, widely different duals belong to primal solutions that differ by less
    than a solver's tolerance. With a ``reach`` the face contains the duals that are optimal for any x within the reach
    of the solution: their stationarity at the solution is violated by |H| reach at most.

    Args:
        qp: the problem.
        solution: an optimum of it.
        theta: its parameter values, a mapping by name or a vector.
        tolerance: slack below which a row counts as binding, relative to the size of its limit.
        reach: how far each variable may lie from the solution, in its units; 0: the duals of this very x.
    """

    def __init__(
        self,
        qp: ParametricQP,
        solution: QPSolution,
        theta: Theta | None = None,
        *,
        tolerance: float = 1e-6,
        reach: float = 0.0,
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
        self._off = reach * np.asarray(abs(qp.hessian).sum(axis=1)).ravel()

    def nearest(self, target: Vector) -> DualPoint:
        """The optimal dual whose price is nearest to `target`, (k,), in the Euclidean sense.

        The reach is used only in blocks where it makes the price meet the target; elsewhere the duals are those of the
        solution itself.
        """
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
        if self._off.any() and not _met(found.price - target, np.asarray(target)):
            found = self._at(change + self._to_target(np.asarray(target), change))
        return DualPoint(found.nu, found.sigma, found.price, float(np.linalg.norm(found.price - target)))

    def _to_target(self, target: Vector, before: Vector) -> Vector:
        """The further change of the duals that meets the target within the reach, in the blocks where one does.

        Args:
            target: (k,). before: change of the duals from the known ones so far.
        """
        away = self._price + self._to_price @ before - target
        change, p = np.zeros(len(self._duals)), len(self._solution.nu)
        for held, _ in blocks(sp.coo_array(self._conditions)):
            conditions, moves = columns(self._conditions, held), columns(self._to_price, held)
            used, seen = np.unique(conditions.nonzero()[0]), np.unique(moves.nonzero()[0])
            off = self._off[used]
            if not off.any() or _met(away[seen], target[seen]):
                continue
            conditions, moves = rows(conditions, used), rows(moves, seen).toarray()
            unit = float(np.abs(away[seen]).max())
            curved = moves.T @ moves
            signed = held >= p
            problem = ParametricQP.build(
                hessian=curved + _HELD * max(1.0, float(np.abs(curved).max())) * np.eye(len(held)),
                cost=moves.T @ (away[seen] / unit),
                ineq_matrix=sp.vstack([conditions, -conditions, sp.csr_array(-np.eye(len(held))[signed])]),
                ineq_rhs=np.concatenate([off, off, np.maximum((self._duals + before)[held[signed]], 0.0)]) / unit,
            )
            step = QPSolver(problem, "daqp", accept=_ACCEPT).solve()
            if step.optimal and _met(away[seen] + unit * (moves @ step.x), target[seen]):
                change[held] = unit * step.x
        return change

    def extreme(self, direction: Vector) -> DualPoint:
        """The optimal dual with the largest direction'price, `direction` being (k,)."""
        direction = np.asarray(direction, dtype=float)
        for solver in self._changes:
            step = solver.solve(extra_linear=-(self._to_price.T @ direction))
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

    @cached_property
    def _changes(self) -> list[QPSolver]:
        """The linear program of all changes that stay on the face, without a cost, by tolerance of its solver."""
        size = len(self._duals)
        exact, curved = np.flatnonzero(self._off == 0.0), np.flatnonzero(self._off)
        loose, off = rows(self._conditions, curved), self._off[curved]
        problem = ParametricQP.build(
            cost=np.zeros(size),
            eq_matrix=rows(self._conditions, exact),
            eq_rhs=np.zeros(len(exact)),
            ineq_matrix=sp.vstack([self._signs(size), loose, -loose]),
            ineq_rhs=np.concatenate([self._duals[len(self._solution.nu) :], off, off]),
        )
        return [QPSolver(problem, "highs", tolerance=tolerance) for tolerance in _TOLERANCES]

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


def _met(away: Vector, target: Vector) -> bool:
    """Whether prices that are so far away from their target count as there."""
    return bool(np.abs(away).max(initial=0.0) <= _MET * (1.0 + np.abs(target).max(initial=0.0)))
