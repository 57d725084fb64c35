"""Decomposition of a follower into blocks that share no variable, such as the hours of a day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import scipy.sparse.csgraph

from cosim.optimization.qp.arrays import Indices, Matrix, rows
from cosim.optimization.qp.parametric import ParametricQP


@dataclass(frozen=True)
class Block:
    """A part of a follower that shares no variable with the rest.

    Attributes:
        qp: the part, with those parameters that enter it.
        variables, parameters, eq_rows, ineq_rows: where its columns and rows lie in the whole.
    """

    qp: ParametricQP
    variables: Indices
    parameters: Indices
    eq_rows: Indices
    ineq_rows: Indices


def split(qp: ParametricQP, *, by_parameter: bool = False) -> list[Block]:
    """The blocks of a problem. Rows without any variable belong to the first block.

    Args:
        qp: the problem.
        by_parameter: whether blocks that share a parameter are merged; then each parameter enters one block at most,
            and the payment for it is a matter of that block alone.
    """
    n = len(qp.variables)
    links = abs(qp.hessian) + _neighbours(qp.eq_matrix) + _neighbours(qp.ineq_matrix)
    count, label = (
        scipy.sparse.csgraph.connected_components(links, directed=False)
        if n
        else (0, np.zeros(0, dtype=np.int64))
    )
    labels: tuple[Indices, ...] = (label, _row_labels(qp.eq_matrix, label), _row_labels(qp.ineq_matrix, label))
    if by_parameter and count:
        count, labels = _joined(count, labels, (qp.cost_theta, qp.eq_theta, qp.ineq_theta))
    at, eq, ineq = (_grouped(of, count) for of in labels)
    hessian = _sorted(qp.hessian, at.order, at.order)
    by_theta = [_sorted(m, o.order, None) for m, o in ((qp.cost_theta, at), (qp.eq_theta, eq), (qp.ineq_theta, ineq))]
    eq_matrix, ineq_matrix = _sorted(qp.eq_matrix, eq.order, at.order), _sorted(qp.ineq_matrix, ineq.order, at.order)
    none, out = np.zeros(0, dtype=np.int64), []
    for b in range(count):
        mine, of_eq, of_ineq = at.of(b), eq.of(b), ineq.of(b)
        used = [_columns_used(m, o, b) for m, o in zip(by_theta, (at, eq, ineq), strict=True)]
        theta = np.unique(np.concatenate([none, *used]))
        parts = [_part(m, o, b, theta) for m, o in zip(by_theta, (at, eq, ineq), strict=True)]
        sub = ParametricQP(
            hessian=_square(hessian, at, at, b),
            cost=qp.cost[mine],
            cost_theta=parts[0],
            eq_matrix=_square(eq_matrix, eq, at, b),
            eq_rhs=qp.eq_rhs[of_eq],
            eq_theta=parts[1],
            ineq_matrix=_square(ineq_matrix, ineq, at, b),
            ineq_rhs=qp.ineq_rhs[of_ineq],
            ineq_theta=parts[2],
            constant=0.0,
            constant_theta=np.zeros(len(theta)),
            variables=tuple(qp.variables[i] for i in mine),
            parameters=tuple(qp.parameters[i] for i in theta),
            eq_rows=tuple(qp.eq_rows[i] for i in of_eq),
            ineq_rows=tuple(qp.ineq_rows[i] for i in of_ineq),
            theta_lower=qp.theta_lower[theta],
            theta_upper=qp.theta_upper[theta],
        )
        out.append(Block(sub, mine, theta, of_eq, of_ineq))
    return out


@dataclass(frozen=True, slots=True)
class _Groups:
    """Rows or columns in order of their block: `order` lists them, block b from `start[b]` to `start[b + 1]`."""

    order: Indices
    start: Indices

    def of(self, b: int) -> Indices:
        return self.order[self.start[b] : self.start[b + 1]]


def _grouped(label: Indices, count: int) -> _Groups:
    return _Groups(
        np.argsort(label, kind="stable").astype(np.int64),
        np.concatenate([[0], np.cumsum(np.bincount(label, minlength=count))]).astype(np.int64),
    )


def _sorted(matrix: Matrix, row_order: Indices, column_order: Indices | None) -> Matrix:
    """A matrix without stored zeros, its rows (and columns) in another order."""
    out = rows(matrix, row_order)
    if column_order is not None:
        place = np.empty(len(column_order), dtype=np.int64)
        place[column_order] = np.arange(len(column_order))
        out = sp.csr_array((out.data.copy(), place[out.indices], out.indptr.copy()), shape=out.shape)
    out.eliminate_zeros()
    out.sort_indices()
    return out


def _slice(matrix: Matrix, of_rows: _Groups, b: int) -> tuple[Indices, slice]:
    """Row pointers of a block, from zero, and where its entries lie."""
    pointers = matrix.indptr[of_rows.start[b] : of_rows.start[b + 1] + 1]
    return pointers - pointers[0], slice(int(pointers[0]), int(pointers[-1]))


def _square(matrix: Matrix, of_rows: _Groups, of_columns: _Groups, b: int) -> Matrix:
    pointers, entries = _slice(matrix, of_rows, b)
    first, last = of_columns.start[b], of_columns.start[b + 1]
    return sp.csr_array(
        (matrix.data[entries], matrix.indices[entries] - first, pointers), shape=(len(pointers) - 1, int(last - first))
    )


def _columns_used(matrix: Matrix, of_rows: _Groups, b: int) -> Indices:
    _, entries = _slice(matrix, of_rows, b)
    used: Indices = matrix.indices[entries][matrix.data[entries] != 0.0].astype(np.int64)
    return used


def _part(matrix: Matrix, of_rows: _Groups, b: int, columns: Indices) -> Matrix:
    """A block's rows of a matrix over all parameters, as one over the block's own."""
    pointers, entries = _slice(matrix, of_rows, b)
    there = matrix.data[entries] != 0.0
    counted = np.concatenate([[0], np.cumsum(there)])[pointers]
    index = np.searchsorted(columns, matrix.indices[entries][there])
    return sp.csr_array((matrix.data[entries][there], index, counted), shape=(len(pointers) - 1, len(columns)))


def _neighbours(matrix: Matrix) -> Matrix:
    """(n, n) with a nonzero where two variables stand in one row."""
    pattern = abs(matrix)
    return sp.csr_array(pattern.T @ pattern)


def _joined(count: int, labels: tuple[Indices, ...], by_theta: Sequence[Matrix]) -> tuple[int, tuple[Indices, ...]]:
    """Number of blocks and labels of columns and rows after blocks that share a parameter are merged."""
    entries = [sp.coo_array(matrix) for matrix in by_theta]
    for one in entries:
        one.eliminate_zeros()
    row = np.concatenate([label[one.coords[0]] for label, one in zip(labels, entries, strict=True)])
    column = np.concatenate([one.coords[1] for one in entries])
    enters = sp.csr_array((np.ones(len(row)), (row, column)), shape=(count, by_theta[0].shape[1]))
    count, joined = scipy.sparse.csgraph.connected_components(enters @ enters.T, directed=False)
    return count, tuple(joined[label].astype(np.int64) for label in labels)


def _row_labels(matrix: Matrix, label: Indices) -> Indices:
    out = np.zeros(matrix.shape[0], dtype=np.int64)
    entries = sp.coo_array(matrix)
    entries.eliminate_zeros()
    row, column = entries.coords
    out[row] = label[column]
    return out
