"""How well a point meets the optimality conditions of a QP, and one Newton-like step that makes it meet them
better.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg

from cosim.optimization.arrays import Indices, Matrix, Vector, rows

Point: TypeAlias = tuple[Vector, Vector, Vector]
_DENSE_UP_TO = 100
_DENSE_ENTRIES = 60_000
_ENOUGH = 1e-10
_SHIFT = 1e-9
_REFINEMENTS = 4
_ROUNDS = 5
_NEAR = 1e-2


@dataclass(frozen=True, slots=True)
class Matrices:
    """H, A and G of a ParametricQP, dense where the problem is so small that this is faster."""

    hessian: Matrix
    eq_matrix: Matrix
    ineq_matrix: Matrix

    @classmethod
    def of(cls, hessian: Matrix, eq_matrix: Matrix, ineq_matrix: Matrix) -> Matrices:
        n = hessian.shape[0]
        if n * (n + eq_matrix.shape[0] + ineq_matrix.shape[0]) <= _DENSE_ENTRIES:
            return cls(hessian.toarray(), eq_matrix.toarray(), ineq_matrix.toarray())
        return cls(hessian, eq_matrix, ineq_matrix)


def residual(
    qp: Matrices, cost: Vector, diagonal: Vector | None, eq_rhs: Vector, rhs: Vector, point: Point
) -> float:
    """The largest of: stationarity, primal violation, negative dual, and dual times slack; each over its own
    scale.
    """
    x, nu, sigma = point
    curved = qp.hessian @ x + (0.0 if diagonal is None else diagonal * x)
    from_rows = qp.ineq_matrix.T @ sigma
    stationarity = curved + cost + qp.eq_matrix.T @ nu + from_rows
    scale = 1.0 + max(_size(curved), _size(cost), _size(from_rows))
    finite = np.isfinite(rhs)
    slack = (rhs - qp.ineq_matrix @ x)[finite]
    equality = qp.eq_matrix @ x - eq_rhs
    primal_scale = 1.0 + max(_size(rhs[finite]), _size(eq_rhs), _size(x))
    dual = sigma[finite]
    return max(
        _size(stationarity) / scale,
        _size(equality) / primal_scale,
        _size(np.minimum(slack, 0.0)) / primal_scale,
        _size(np.minimum(dual, 0.0)) / scale,
        _size(np.minimum(np.abs(dual) / scale, np.abs(slack) / primal_scale)),
    )


def polish(
    qp: Matrices, cost: Vector, diagonal: Vector | None, eq_rhs: Vector, rhs: Vector, point: Point
) -> Point:
    """Solve the optimality conditions with the active rows as equations; the result is kept if better and
    near.

    A small proximal term, refined away, keeps the system regular where active rows are dependent or a
    direction is flat: then the nearest solution is found, so prices that are not unique stay where the solver
    had put them.
    """
    best, least = point, residual(qp, cost, diagonal, eq_rhs, rhs, point)
    x, _, sigma = point
    finite = np.isfinite(rhs)
    active = finite & (sigma > rhs - qp.ineq_matrix @ x)
    if least <= _ENOUGH and len(x) + len(point[1]) + np.count_nonzero(active) > _DENSE_UP_TO:
        return point
    for _ in range(_ROUNDS):
        near, raw_sigma = _newton(qp, cost, diagonal, eq_rhs, rhs, point, np.flatnonzero(active))
        if near is None:
            break
        error = residual(qp, cost, diagonal, eq_rhs, rhs, near)
        if error < least:
            best, least = near, error
        slack = rhs - qp.ineq_matrix @ near[0]
        corrected = finite & np.where(active, raw_sigma > 0, slack < 0)
        if error <= _ENOUGH or np.array_equal(corrected, active):
            break
        active = corrected
    return best


def _newton(
    qp: Matrices,
    cost: Vector,
    diagonal: Vector | None,
    eq_rhs: Vector,
    rhs: Vector,
    point: Point,
    active: Indices,
) -> tuple[Point | None, Vector]:
    """The point that solves the conditions with these rows as equations, and its duals of either sign."""
    x, nu, sigma = point
    n, p = len(x), len(nu)
    if isinstance(qp.hessian, np.ndarray):
        hessian: Matrix = qp.hessian if diagonal is None else qp.hessian + np.diag(diagonal)
        held: Matrix = np.vstack([qp.eq_matrix, qp.ineq_matrix[active]])
    else:
        hessian = qp.hessian if diagonal is None else qp.hessian + sp.diags_array(diagonal)
        held = sp.vstack([qp.eq_matrix, rows(qp.ineq_matrix, active)], format="csr")
    duals = np.concatenate([nu, sigma[active]])
    stationarity = -(cost + hessian @ x + held.T @ duals)
    feasibility = np.concatenate([eq_rhs, rhs[active]]) - held @ x
    step = _solve_symmetric(hessian, held, np.concatenate([stationarity, feasibility]))
    new = np.zeros_like(sigma)
    if not np.all(np.isfinite(step)):
        return None, new
    if _size(step[:n]) > _NEAR * (1.0 + _size(x)) or _size(step[n:]) > _NEAR * (1.0 + _size(duals)):
        return None, new
    new[active] = sigma[active] + step[n + p :]
    return (x + step[:n], nu + step[n : n + p], np.maximum(new, 0.0)), new


def _solve_symmetric(hessian: Matrix, held: Matrix, right: Vector) -> Vector:
    """Solve [H A'; A 0] z = right by refinement with the factors of [H + dI, A'; A, -dI]."""
    n, m = hessian.shape[0], held.shape[0]
    shift = np.concatenate([np.full(n, _SHIFT), np.full(m, -_SHIFT)])
    if n + m <= _DENSE_UP_TO:
        dense, top = (part if isinstance(part, np.ndarray) else part.toarray() for part in (hessian, held))
        system: Matrix = np.block([[dense, top.T], [top, np.zeros((m, m))]])
        inverse = np.linalg.inv(system + np.diag(shift))
        step = inverse @ right
        for _ in range(_REFINEMENTS):
            step = step + inverse @ (right - system @ step)
        return np.asarray(step)
    hessian, held = sp.csr_array(hessian), sp.csr_array(held)
    system = sp.csc_array(sp.block_array([[hessian, held.T], [held, sp.csr_array((m, m))]]))
    factor = scipy.sparse.linalg.splu(sp.csc_array(system + sp.diags_array(shift)))
    step = factor.solve(right)
    for _ in range(_REFINEMENTS):
        step = step + factor.solve(right - system @ step)
    return np.asarray(step)


def _size(values: Vector) -> float:
    return float(np.max(np.abs(values), initial=0.0))
