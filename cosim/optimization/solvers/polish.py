"""The residual of a QP's optimality conditions at a point, and Newton steps on its active set that reduce it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg
from numpy.typing import NDArray

from cosim.optimization.qp.arrays import Indices, Matrix, Vector, block_diagonal
from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.qp.two_sided import Bounds

Point: TypeAlias = tuple[Vector, Vector, Vector]
Mask: TypeAlias = NDArray[np.bool_]
_DENSE_UP_TO = 100
_DENSE_ENTRIES = 60_000
_ENOUGH = 1e-10
_SHIFT = 1e-9
_REFINEMENTS = 4
_REFINED = 1e-14
_ROUNDS = 5
_NEAR = 1e-2


class Matrices:
    """H, A and G of a ParametricQP, stored for many products: [H; A; G] for products with x and [A', G'] for products
    with the duals, dense where the problem is so small that this is faster.

    Args:
        qp: the problem. bounds: rows of G that are to fix their variables where they are active.
        like: of a problem with the same A, G and bounds.
    """

    def __init__(self, qp: ParametricQP, bounds: Bounds | None = None, like: Matrices | None = None) -> None:
        n, p, m = len(qp.variables), len(qp.eq_rows), len(qp.ineq_rows)
        self.dense = n * (n + p + m) <= _DENSE_ENTRIES
        self._constraints: Matrix = _vstack(qp.eq_matrix, qp.ineq_matrix) if like is None else like._constraints
        self._primal = _held(_vstack(qp.hessian, self._constraints), self.dense)
        self._dual: Matrix = self._transposed(qp) if like is None else like._dual
        self._cuts = np.array([n, n + p])
        nothing = np.zeros(0, dtype=np.int64)
        self.bounds: Bounds = like.bounds if like else bounds or Bounds(nothing, nothing, np.zeros(0))

    def _transposed(self, qp: ParametricQP) -> Matrix:
        both = block_diagonal([sp.csr_array(qp.eq_matrix.T), sp.csr_array(qp.ineq_matrix.T)])
        return _held(both, self.dense)

    @cached_property
    def _entries(self) -> tuple[Indices, Indices, Vector]:
        """Row, column and value of the entries of [H; A; G]."""
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

    def system(self, diagonal: Vector | None, free: Indices, active: Indices) -> tuple[Matrix, Vector]:
        """[H + diagonal + dI, B'; B, -dI] in the free variables, with the equations and the active rows as B, dense or
        csc; and its small shift (d, -d), which keeps it regular.
        """
        n, p, m = self.sizes
        k = len(free)
        place = np.full(n + p + m, -1)
        place[free] = np.arange(k)
        place[n : n + p] = k + np.arange(p)
        place[n + p + active] = k + p + np.arange(len(active))
        row, column, value = self._entries
        row, column = place[row], place[column]
        there = (row >= 0) & (column >= 0)
        row, column, value = row[there], column[there], value[there]
        below = row >= k
        spots = np.arange(k + p + len(active))
        shift = np.where(spots < k, _SHIFT, -_SHIFT)
        on_diagonal = shift.copy()
        if diagonal is not None:
            on_diagonal[:k] += diagonal[free]
        i, j = np.concatenate([row, column[below], spots]), np.concatenate([column, row[below], spots])
        found = sp.csc_array((np.concatenate([value, value[below], on_diagonal]), (i, j)), shape=2 * (len(spots),))
        return found.toarray() if len(spots) <= _DENSE_UP_TO else found, shift


def _vstack(upper: Matrix, lower: Matrix) -> Matrix:
    """Two matrices (csr) one above the other, as csr."""
    pointers = np.concatenate([upper.indptr, lower.indptr[1:] + upper.indptr[-1]])
    entries = np.concatenate([upper.data, lower.data]), np.concatenate([upper.indices, lower.indices])
    return sp.csr_array((*entries, pointers), shape=(upper.shape[0] + lower.shape[0], upper.shape[1]))


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

    def gaps(self, point: Point) -> tuple[Vector, Vector, Vector]:
        """(H + diagonal)x + cost + A'nu + G'sigma, eq_rhs - Ax, and rhs - Gx."""
        x, nu, sigma = point
        curved, equality, inequality = self._at(x)
        from_equations, from_rows = self.matrices.back(nu, sigma)
        return self.cost + curved + from_equations + from_rows, self.eq_rhs - equality, self.rhs - inequality

    def residual(self, point: Point) -> float:
        """The largest of: stationarity, primal violation, negative dual, and dual times slack; each over its own
        scale.
        """
        x, nu, sigma = point
        curved, equality, inequality = self._at(x)
        from_equations, from_rows = self.matrices.back(nu, sigma)
        stationarity = curved + self.cost + from_equations + from_rows
        scale = 1.0 + max(size(curved), size(self.cost), size(from_rows))
        finite = np.isfinite(self.rhs)
        rhs, dual = self.rhs[finite], sigma[finite]
        slack = rhs - inequality[finite]
        primal_scale = 1.0 + max(size(rhs), size(self.eq_rhs), size(x))
        return max(
            size(stationarity) / scale,
            size(equality - self.eq_rhs) / primal_scale,
            -float(np.min(slack, initial=0.0)) / primal_scale,
            -float(np.min(dual, initial=0.0)) / scale,
            size(np.minimum(np.abs(dual) / scale, np.abs(slack) / primal_scale)),
        )

    def polish(self, point: Point) -> tuple[Point, float]:
        """Solve the optimality conditions with the active rows as equations; the result is kept if its residual is less
        and it lies near the point.

        A small proximal term, removed by iterative refinement, keeps the system regular where active rows are linearly
        dependent or the Hessian is singular. The nearest solution is found, so that prices that are not unique stay
        close to those of the solver.

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
            near, raw_sigma = self._newton(point, active)
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

    def _newton(self, point: Point, active: Mask) -> tuple[Point | None, Vector]:
        """The point that solves the conditions with these rows as equations, None if it is far away; and its duals of
        either sign.
        """
        found, _ = self.held(point, active)
        x, nu, sigma = found
        before = point[0], point[1], np.where(active, point[2], 0.0)
        if not all(np.all(np.isfinite(part)) for part in found):
            return None, sigma
        duals = max(size(before[1]), size(before[2]))
        moved = size(x - before[0]), size(np.concatenate([nu - before[1], sigma - before[2]]))
        if moved[0] > _NEAR * (1.0 + size(before[0])) or moved[1] > _NEAR * (1.0 + duals):
            return None, sigma
        return (x, nu, np.maximum(sigma, 0.0)), sigma

    def held(self, point: Point, active: Mask) -> tuple[Point, Vector]:
        """The point that solves the conditions with the active rows as equations, duals of either sign; and the slack
        of all rows there. Of several solutions the nearest.

        Active bounds fix their variables and leave the system; their duals are the residuals of stationarity.
        """
        x, nu, sigma = point[0].copy(), point[1], point[2]
        n, p, bounds = len(x), len(nu), self.matrices.bounds
        on = active[bounds.rows]
        limits, fixed, scale = bounds.rows[on], bounds.variables[on], bounds.scales[on]
        x[fixed] = self.rhs[limits] / scale
        is_free, general = np.ones(n, dtype=bool), active.copy()
        is_free[fixed], general[bounds.rows] = False, False
        free, rows = np.flatnonzero(is_free), np.flatnonzero(general)
        held = np.where(general, sigma, 0.0)
        stationarity, equality, slack = self.gaps((x, nu, held))
        right = np.concatenate([-stationarity[free], equality, slack[rows]])
        step = solve_symmetric(*self.matrices.system(self.diagonal, free, rows), right)
        x[free] += step[: len(free)]
        nu = nu + step[len(free) : len(free) + p]
        held[rows] += step[len(free) + p :]
        stationarity, _, slack = self.gaps((x, nu, held))
        dual = -stationarity[fixed] / scale
        # of two bounds that hold one variable the sign says which of them it is
        twice = np.bincount(fixed, minlength=n)[fixed] > 1
        held[limits] = np.where(twice, np.maximum(dual, 0.0), dual)
        return (x, nu, held), slack


def solve_symmetric(system: Matrix, shift: Vector, right: Vector) -> Vector:
    """Solve S z = right by iterative refinement with the factors of ``system`` = S + diag(shift)."""
    if isinstance(system, np.ndarray):
        inverse = np.linalg.inv(system)
        solve = inverse.__matmul__
    else:
        solve = scipy.sparse.linalg.splu(system, relax=1, panel_size=1).solve
    step = solve(right)
    enough = _REFINED * size(right)
    for _ in range(_REFINEMENTS):
        left = right - system @ step + shift * step
        if size(left) <= enough:
            break
        step = step + solve(left)
    return np.asarray(step)


def size(values: Vector) -> float:
    """Largest magnitude."""
    return float(np.max(np.abs(values), initial=0.0))
