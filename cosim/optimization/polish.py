"""How well a point meets the optimality conditions of a QP, and one Newton-like step that makes it meet them better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg

from cosim.optimization.arrays import Matrix, Vector, rows

Point: TypeAlias = tuple[Vector, Vector, Vector]
_DENSE_UP_TO = 160
_DENSE_ENTRIES = 60_000
_ENOUGH = 1e-10


@dataclass(frozen=True, slots=True)
class Matrices:
    """H, A and G of a ParametricQP, dense where the problem is so small that sparse products would cost more."""

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
    """The largest of: stationarity, primal violation, negative dual, and dual times slack; each over its own scale."""
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
    """Solve the optimality conditions with the active rows as equations; the result is kept if better and near.

    Where the active rows are dependent (prices not unique) the system is singular, the step is far or wild, and the
    solver's own point stays.
    """
    before = residual(qp, cost, diagonal, eq_rhs, rhs, point)
    x, nu, sigma = point
    n, p = len(x), len(nu)
    slack = rhs - qp.ineq_matrix @ x
    active = np.flatnonzero(np.isfinite(rhs) & (sigma > slack))
    size = n + p + len(active)
    if before <= _ENOUGH and size > _DENSE_UP_TO:
        return point
    if isinstance(qp.hessian, np.ndarray):
        hessian: Matrix = qp.hessian if diagonal is None else qp.hessian + np.diag(diagonal)
        held: Matrix = np.vstack([qp.eq_matrix, qp.ineq_matrix[active]])
    else:
        hessian = qp.hessian if diagonal is None else qp.hessian + sp.diags_array(diagonal)
        held = sp.vstack([qp.eq_matrix, rows(qp.ineq_matrix, active)], format="csr")
    duals = np.concatenate([nu, sigma[active]])
    right = np.concatenate([
        -(cost + hessian @ x + held.T @ duals),
        np.concatenate([eq_rhs, rhs[active]]) - held @ x,
    ])  # fmt: skip
    step = _solve_symmetric(hessian, held, right)
    if step is None or not np.all(np.isfinite(step)):
        return point
    dual_scale, primal_scale = 1.0 + _size(duals), 1.0 + _size(x)
    if _size(step[:n]) > 1e-3 * primal_scale or _size(step[n:]) > 1e-3 * dual_scale:
        return point
    new = np.zeros_like(sigma)
    new[active] = sigma[active] + step[n + p :]
    better = (x + step[:n], nu + step[n : n + p], np.maximum(new, 0.0))
    return better if residual(qp, cost, diagonal, eq_rhs, rhs, better) < before else point


def _solve_symmetric(hessian: Matrix, held: Matrix, right: Vector) -> Vector | None:
    m = held.shape[0]
    if hessian.shape[0] + m <= _DENSE_UP_TO:
        dense, top = (part if isinstance(part, np.ndarray) else part.toarray() for part in (hessian, held))
        system = np.block([[dense, top.T], [top, np.zeros((m, m))]])
        try:
            return np.asarray(np.linalg.solve(system, right))
        except np.linalg.LinAlgError:
            return None
    system = sp.csc_array(sp.block_array([[hessian, sp.csr_array(held).T], [held, sp.csr_array((m, m))]]))
    try:
        return np.asarray(scipy.sparse.linalg.splu(system).solve(right))
    except RuntimeError:
        return None


def _size(values: Vector) -> float:
    return float(np.max(np.abs(values), initial=0.0))
