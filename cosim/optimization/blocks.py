"""The parts of a follower that share no variable with each other: the hours of a day, say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import scipy.sparse.csgraph

from cosim.optimization.arrays import Indices, Matrix, columns, csr, rows
from cosim.optimization.parametric import ParametricQP


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


def split(qp: ParametricQP) -> list[Block]:
    """The blocks of a problem. Rows without any variable belong to the first block."""
    n = len(qp.variables)
    links = abs(qp.hessian) + _neighbours(qp.eq_matrix) + _neighbours(qp.ineq_matrix)
    count, label = (
        scipy.sparse.csgraph.connected_components(links, directed=False)
        if n
        else (0, np.zeros(0, dtype=np.int64))
    )
    eq_label, ineq_label = _row_labels(qp.eq_matrix, label), _row_labels(qp.ineq_matrix, label)
    out = []
    for block in range(count):
        at, eq, ineq = (
            np.flatnonzero(which == block).astype(np.int64) for which in (label, eq_label, ineq_label)
        )
        parts = (rows(qp.cost_theta, at), rows(qp.eq_theta, eq), rows(qp.ineq_theta, ineq))
        theta = np.flatnonzero(sum(abs(part).sum(axis=0) for part in parts)).astype(np.int64)
        sub = ParametricQP(
            hessian=csr(columns(rows(qp.hessian, at), at), (len(at), len(at))),
            cost=qp.cost[at],
            cost_theta=columns(parts[0], theta),
            eq_matrix=columns(rows(qp.eq_matrix, eq), at),
            eq_rhs=qp.eq_rhs[eq],
            eq_theta=columns(parts[1], theta),
            ineq_matrix=columns(rows(qp.ineq_matrix, ineq), at),
            ineq_rhs=qp.ineq_rhs[ineq],
            ineq_theta=columns(parts[2], theta),
            constant=0.0,
            constant_theta=np.zeros(len(theta)),
            variables=tuple(qp.variables[i] for i in at),
            parameters=tuple(qp.parameters[i] for i in theta),
            eq_rows=tuple(qp.eq_rows[i] for i in eq),
            ineq_rows=tuple(qp.ineq_rows[i] for i in ineq),
            theta_lower=qp.theta_lower[theta],
            theta_upper=qp.theta_upper[theta],
        )
        out.append(Block(sub, at, theta, eq, ineq))
    return out


def _neighbours(matrix: Matrix) -> Matrix:
    """Links between the variables of each row: all to the first."""
    pattern = abs(matrix)
    return sp.csr_array(pattern.T @ pattern)


def _row_labels(matrix: Matrix, label: Indices) -> Indices:
    out = np.zeros(matrix.shape[0], dtype=np.int64)
    entries = sp.coo_array(matrix)
    entries.eliminate_zeros()
    row, column = entries.coords
    out[row] = label[column]
    return out
