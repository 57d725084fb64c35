"""How well a point meets the optimality conditions of a QP, and one Newton-like step that makes it meet them
better.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg

from cosim.optimization.arrays import Indices, Matrix, Vector, block_diagonal
from cosim.optimization.parametric import ParametricQP

Point: TypeAlias = tuple[Vector, Vector, Vector]
_DENSE_UP_TO = 100
_DENSE_ENTRIES = 60_000
_ENOUGH = 1e-10
_SHIFT = 1e-9
_REFINEMENTS = 4
_ROUNDS = 5
_NEAR = 1e-2


class Matrices:
    """H, A and G of a ParametricQP, ready for many products: dense where the problem is so small that this is faster,
    else in one matrix each for all that x and for all that the duals are multiplied with.

    Args:
        qp: the problem. like: of a problem with the same A and G.
    """

    def __init__(self, qp: ParametricQP, like: Matrices | None = None) -> None:
        n, p, m = len(qp.variables), len(qp.eq_rows), len(qp.ineq_rows)
        self.dense = n * (n + p + m) <= _DENSE_ENTRIES
        self._primal = _held(sp.csr_array(sp.vstack([qp.hessian, qp.eq_matrix, qp.ineq_matrix])), self.dense)
        self._dual: Matrix = self._transposed(qp) if like is None else like._dual
        self._cuts = np.array([n, n + p])

    def _transposed(self, qp: ParametricQP) -> Matrix:
        both = block_diagonal([sp.csr_array(qp.eq_matrix.T), sp.csr_array(qp.ineq_matrix.T)])
        return _held(both, self.dense)

    @cached_property
    def _entries(self) -> tuple[Indices, Indices, Vector]:
        """Row, column and value of all that x is multiplied with."""
        entries = sp.coo_array(self._primal)
        row, column = (index.astype(np.int64) for index in entries.coords)
        return row, column, entries.data

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Variables, equations, inequalities."""
        n, np_ = self._cuts.tolist()
        return n, np_ - n, self._primal.shape[0] - np_

    def at(self, x: Vector) -> tuple[Vector, Vector, Vector]:
        """Hx, Ax and Gx."""
        hx, ax, gx = np.split(self._primal @ x, self._cuts)
        return hx, ax, gx

    def back(self, nu: Vector, sigma: Vector) -> tuple[Vector, Vector]:
        """A'nu and G'sigma."""
        both = self._dual @ np.concatenate([nu, sigma])
        return both[: self._cuts[0]], both[self._cuts[0] :]

    def system(self, diagonal: Vector | None, active: Indices) -> Matrix:
        """[H + diagonal, B'; B, 0] with the equations and these rows as B; dense or csc."""
        n, p, m = self.sizes
        place = np.full(n + p + m, -1)
        place[: n + p] = np.arange(n + p)
        place[n + p + active] = n + p + np.arange(len(active))
        row, column, value = self._entries
        row = place[row]
        below = row >= n
        down, across, entry = row[below], column[below], value[below]
        own = row >= 0
        i, j = np.concatenate([row[own], across]), np.concatenate([column[own], down])
        every = np.concatenate([value[own], entry])
        if diagonal is not None:
            spots = np.arange(n)
            i, j, every = np.concatenate([i, spots]), np.concatenate([j, spots]), np.concatenate([every, diagonal])
        size = n + p + len(active)
        found = sp.csc_array((every, (i, j)), shape=(size, size))
        return found.toarray() if size <= _DENSE_UP_TO else found


def _held(matrix: Matrix, dense: bool) -> Matrix:
    return matrix.toarray() if dense else matrix


@dataclass(frozen=True, slots=True)
class Conditions:
    """The optimality conditions of min 1/2 x'(H + diagonal)x + cost'x, Ax = eq_rhs, Gx <= rhs."""

    matrices: Matrices
    cost: Vector
    diagonal: Vector | None
    eq_rhs: Vector
    rhs: Vector

    def residual(self, point: Point) -> float:
        """The largest of: stationarity, primal violation, negative dual, and dual times slack; each over its own
        scale.
        """
        x, nu, sigma = point
        curved, equality, inequality = self._at(x)
        from_equations, from_rows = self.matrices.back(nu, sigma)
        stationarity = curved + self.cost + from_equations + from_rows
        scale = 1.0 + max(_size(curved), _size(self.cost), _size(from_rows))
        finite = np.isfinite(self.rhs)
        rhs, dual = self.rhs[finite], sigma[finite]
        slack = rhs - inequality[finite]
        primal_scale = 1.0 + max(_size(rhs), _size(self.eq_rhs), _size(x))
        return max(
            _size(stationarity) / scale,
            _size(equality - self.eq_rhs) / primal_scale,
            -float(np.min(slack, initial=0.0)) / primal_scale,
            -float(np.min(dual, initial=0.0)) / scale,
            _size(np.minimum(np.abs(dual) / scale, np.abs(slack) / primal_scale)),
        )

    def polish(self, point: Point) -> tuple[Point, float]:
        """Solve the optimality conditions with the active rows as equations; kept if better and near.

        A small proximal term, refined away, keeps the system regular where active rows are dependent or a
        direction is flat: then the nearest solution is found, so prices that are not unique stay where the solver
        had put them.

        Returns:
            The better point, and its residual.
        """
        best, least = point, self.residual(point)
        x, nu, sigma = point
        finite = np.isfinite(self.rhs)
        active = finite & (sigma > self.rhs - self._at(x)[2])
        if least <= _ENOUGH and len(x) + len(nu) + np.count_nonzero(active) > _DENSE_UP_TO:
            return best, least
        for _ in range(_ROUNDS):
            near, raw_sigma = self._newton(point, np.flatnonzero(active))
            if near is None:
                break
            error = self.residual(near)
            if error < least:
                best, least = near, error
            if error <= _ENOUGH:
                break
            slack = self.rhs - self._at(near[0])[2]
            corrected = finite & np.where(active, raw_sigma > 0, slack < 0)
            if np.array_equal(corrected, active):
                break
            active = corrected
        return best, least

    def _at(self, x: Vector) -> tuple[Vector, Vector, Vector]:
        """(H + diagonal)x, Ax and Gx."""
        curved, equality, inequality = self.matrices.at(x)
        return (curved if self.diagonal is None else curved + self.diagonal * x), equality, inequality

    def _newton(self, point: Point, active: Indices) -> tuple[Point | None, Vector]:
        """The point that solves the conditions with these rows as equations, and its duals of either sign."""
        x, nu, sigma = point
        n, p = len(x), len(nu)
        held = np.zeros_like(sigma)
        held[active] = sigma[active]
        curved, equality, inequality = self._at(x)
        from_equations, from_rows = self.matrices.back(nu, held)
        stationarity = -(self.cost + curved + from_equations + from_rows)
        feasibility = np.concatenate([self.eq_rhs - equality, (self.rhs - inequality)[active]])
        system = self.matrices.system(self.diagonal, active)
        step = _solve_symmetric(system, n, np.concatenate([stationarity, feasibility]))
        new = np.zeros_like(sigma)
        if not np.all(np.isfinite(step)):
            return None, new
        duals = max(_size(nu), _size(held))
        if _size(step[:n]) > _NEAR * (1.0 + _size(x)) or _size(step[n:]) > _NEAR * (1.0 + duals):
            return None, new
        new[active] = sigma[active] + step[n + p :]
        return (x + step[:n], nu + step[n : n + p], np.maximum(new, 0.0)), new


def _solve_symmetric(system: Matrix, n: int, right: Vector) -> Vector:
    """Solve [H B'; B 0] z = right by refinement with the factors of [H + dI, B'; B, -dI]; H is (n, n)."""
    shift = np.where(np.arange(len(right)) < n, _SHIFT, -_SHIFT)
    if isinstance(system, np.ndarray):
        inverse = np.linalg.inv(system + np.diag(shift))
        step = inverse @ right
        for _ in range(_REFINEMENTS):
            step = step + inverse @ (right - system @ step)
        return np.asarray(step)
    factor = scipy.sparse.linalg.splu(system + sp.diags_array(shift, format="csc"))
    step = factor.solve(right)
    for _ in range(_REFINEMENTS):
        step = step + factor.solve(right - system @ step)
    return np.asarray(step)


def _size(values: Vector) -> float:
    return float(np.max(np.abs(values), initial=0.0))
