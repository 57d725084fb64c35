"""Elimination of the variables that equalities define, and the way back to them and to their duals."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import scipy.sparse.csgraph
import scipy.sparse.linalg

from cosim.errors import InputError
from cosim.optimization.qp.arrays import Indices, Matrix, Vector, columns, csr, rows
from cosim.optimization.qp.parametric import ParametricQP, Theta
from cosim.optimization.qp.solution import QPSolution

_NOISE = 1e-14


@dataclass(frozen=True)
class Reduction:
    """A smaller problem with the same optima, prices and value, and how to recover what left it.

    Attributes:
        qp: the reduced problem; its inequalities are those of `full`, in the same order and under the same
            names.
        full: the problem before.
        eliminated, defining: the variables that left and the equalities that defined them.
        offset, by_theta, by_x: the eliminated variables are offset + by_theta th + by_x x.
    """

    qp: ParametricQP
    full: ParametricQP
    eliminated: Indices
    defining: Indices
    offset: Vector
    by_theta: Vector
    by_x: Vector

    def recover_x(self, x: Vector, theta: Theta | None = None) -> Vector:
        """All variables of the full problem from those of the reduced one, (n_full,)."""
        full = self.full
        out = np.empty(len(full.variables))
        out[_others(len(full.variables), self.eliminated)] = x
        out[self.eliminated] = self.offset + self.by_theta @ full.theta_vector(theta) + self.by_x @ x
        return out

    def recover_nu(self, nu: Vector, sigma: Vector) -> Vector:
        """All equality duals of the full problem, (p_full,), by the adjoint of the eliminated equations."""
        full = self.full
        stay = _others(len(full.eq_rows), self.defining)
        out = np.empty(len(full.eq_rows))
        out[stay] = nu
        if len(self.eliminated) == 0:
            return out
        eq = columns(full.eq_matrix, self.eliminated)
        right = full.cost[self.eliminated] + rows(eq, stay).T @ nu
        right = right + columns(full.ineq_matrix, self.eliminated).T @ sigma
        out[self.defining] = scipy.sparse.linalg.splu(sp.csc_array(rows(eq, self.defining))).solve(-right, trans="T")
        return out

    def recover(self, solution: QPSolution, theta: Theta | None = None) -> QPSolution:
        """The full problem's solution from the reduced problem's."""
        return replace(
            solution,
            x=self.recover_x(solution.x, theta),
            nu=self.recover_nu(solution.nu, solution.sigma),
        )


def reduce(qp: ParametricQP, keep: Collection[str] = (), keep_rows: Collection[str] = ()) -> Reduction:
    """Eliminate as many variables outside `keep` as equalities define.

    Variables that carry a quadratic cost, or whose cost a parameter moves, always stay: eliminating them would put
    parameters into quadratic terms. The bounds of an eliminated variable remain as rows.

    Args:
        qp: the problem.
        keep: names of variables that must remain.
        keep_rows: names of equalities that must remain, because their duals are wanted without recovering all.

    Raises:
        InputError: for a name in `keep` that is no variable, or in `keep_rows` that is no equality.
    """
    for key, wanted, known in (("keep", keep, qp.variables), ("keep_rows", keep_rows, qp.eq_rows)):
        unknown = set(wanted) - set(known)
        if unknown:
            raise InputError("unknown name to keep in a reduction", key=key, value=min(unknown))
    curved = np.asarray(abs(qp.hessian).sum(axis=0)).ravel() + np.asarray(abs(qp.cost_theta).sum(axis=1)).ravel()
    candidates = np.array(
        [i for i, name in enumerate(qp.variables) if name not in keep and curved[i] == 0.0], dtype=np.int64
    )
    held = set(keep_rows)
    defining = np.array([i for i, name in enumerate(qp.eq_rows) if name not in held], dtype=np.int64)
    eq_rows, gone = _square_part(rows(columns(qp.eq_matrix, candidates), defining))
    eq_rows, gone = defining[eq_rows], candidates[gone]
    stay = _others(len(qp.variables), gone)
    left = _others(len(qp.eq_rows), eq_rows)
    k = len(qp.parameters)
    if len(gone):
        block = rows(qp.eq_matrix, eq_rows)
        factor = scipy.sparse.linalg.splu(sp.csc_array(columns(block, gone)))
        offset = factor.solve(qp.eq_rhs[eq_rows])
        by_theta = _clean(factor.solve(rows(qp.eq_theta, eq_rows).toarray())) if k else np.zeros((len(gone), 0))
        by_x = _clean(-factor.solve(columns(block, stay).toarray())) if len(stay) else np.zeros((len(gone), 0))
    else:
        offset, by_theta, by_x = np.zeros(0), np.zeros((0, k)), np.zeros((0, len(stay)))
    eq, ineq = rows(qp.eq_matrix, left), qp.ineq_matrix
    eq_gone, ineq_gone = columns(eq, gone), columns(ineq, gone)
    cost_gone = qp.cost[gone]
    reduced = replace(
        qp,
        hessian=csr(columns(rows(qp.hessian, stay), stay), (len(stay), len(stay))),
        cost=qp.cost[stay] + by_x.T @ cost_gone,
        cost_theta=rows(qp.cost_theta, stay),
        eq_matrix=csr(columns(eq, stay) + _times(eq_gone, by_x), (len(left), len(stay))),
        eq_rhs=qp.eq_rhs[left] - eq_gone @ offset,
        eq_theta=csr(rows(qp.eq_theta, left) - _times(eq_gone, by_theta), (len(left), k)),
        ineq_matrix=csr(columns(ineq, stay) + _times(ineq_gone, by_x), (len(qp.ineq_rows), len(stay))),
        ineq_rhs=qp.ineq_rhs - ineq_gone @ offset,
        ineq_theta=csr(qp.ineq_theta - _times(ineq_gone, by_theta), (len(qp.ineq_rows), k)),
        constant=qp.constant + float(cost_gone @ offset),
        constant_theta=qp.constant_theta + by_theta.T @ cost_gone,
        variables=tuple(qp.variables[i] for i in stay),
        eq_rows=tuple(qp.eq_rows[i] for i in left),
    )
    return Reduction(reduced, qp, gone, eq_rows, offset, by_theta, by_x)


def _square_part(matrix: Matrix) -> tuple[Indices, Indices]:
    """Rows and columns of a largest nonsingular square part of a matrix.

    A matching in the sparsity pattern finds it where numbers do not conspire, which an LU factorisation
    confirms; otherwise QR with pivoting decides.
    """
    matrix = csr(matrix, matrix.shape)
    matrix.eliminate_zeros()
    if matrix.nnz == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    partner = np.asarray(scipy.sparse.csgraph.maximum_bipartite_matching(matrix, perm_type="column"))
    chosen_rows = np.flatnonzero(partner >= 0).astype(np.int64)
    chosen_columns = np.sort(partner[chosen_rows]).astype(np.int64)
    if _nonsingular(columns(rows(matrix, chosen_rows), chosen_columns)):
        return chosen_rows, chosen_columns
    dense = matrix.toarray()
    triangle, order = scipy.linalg.qr(dense, mode="r", pivoting=True)
    diagonal = np.abs(np.diag(triangle))
    rank = int(np.sum(diagonal > 1e-10 * diagonal[0]))
    chosen_columns = np.sort(order[:rank]).astype(np.int64)
    _, order = scipy.linalg.qr(dense[:, chosen_columns].T, mode="r", pivoting=True)
    return np.sort(order[:rank]).astype(np.int64), chosen_columns


def _nonsingular(matrix: Matrix) -> bool:
    try:
        factor = scipy.sparse.linalg.splu(sp.csc_array(matrix))
    except RuntimeError:
        return False
    pivots = np.abs(factor.U.diagonal())
    return bool(pivots.min() > 1e-10 * pivots.max())


def _clean(values: Vector) -> Vector:
    """Set to zero what is rounding noise against the largest number of its row."""
    largest = np.max(np.abs(values), axis=1, keepdims=True, initial=0.0)
    values[np.abs(values) < _NOISE * largest] = 0.0
    return values


def _times(sparse: Matrix, dense: Vector) -> Matrix:
    return sp.csr_array(_clean(np.asarray(sparse @ dense)))


def _others(count: int, which: Indices) -> Indices:
    mask = np.ones(count, dtype=bool)
    mask[which] = False
    return np.flatnonzero(mask).astype(np.int64)
