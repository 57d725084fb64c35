"""Taking out variables that their bounds hold at one value whatever the parameters, and rows that this empties.

A generator without sun, a box without width: each leaves several rows that always bind together, whose duals nothing
determines. Without them the rest has fewer pairs and cleaner duals.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from cosim.optimization.arrays import Indices, Matrix, Vector, columns, rows
from cosim.optimization.parametric import ParametricQP

_WIDTH = 1e-12


@dataclass(frozen=True, slots=True)
class _Held:
    """One variable: its value, and the rows that hold it from above and below with its coefficients in them."""

    variable: int
    value: float
    upper: int
    upper_slope: float
    lower: int
    lower_slope: float


@dataclass(frozen=True)
class WithoutFixed:
    """A problem without its fixed variables.

    Attributes:
        qp: what is left; same optima, same prices.
        kept_variables, kept_rows: where its columns and inequalities lie in the whole.
    """

    qp: ParametricQP
    kept_variables: Indices
    kept_rows: Indices
    _whole: ParametricQP
    _held: tuple[_Held, ...]

    def recover(self, x: Vector, nu: Vector, sigma: Vector) -> tuple[Vector, Vector]:
        """x and sigma of the whole problem from those of the rest; nu is the same."""
        whole = self._whole
        full = np.zeros(len(whole.variables))
        full[self.kept_variables] = x
        for held in self._held:
            full[held.variable] = held.value
        dual = np.zeros(len(whole.ineq_rows))
        dual[self.kept_rows] = sigma
        gradient = whole.hessian @ full + whole.cost + whole.eq_matrix.T @ nu + whole.ineq_matrix.T @ dual
        down = sp.csc_array(whole.ineq_matrix)
        for held in reversed(self._held):
            # Of later ones the rows may contain this variable, so its reduced cost is known only now.
            cost = float(gradient[held.variable])
            at, slope = (held.upper, held.upper_slope) if cost <= 0 else (held.lower, held.lower_slope)
            dual[at] = -cost / slope
            gradient += rows(down, [at]).toarray().ravel() * dual[at] if dual[at] else 0.0
        return full, dual


def without_fixed(qp: ParametricQP, keep: Collection[str] = ()) -> WithoutFixed:
    """Take out fixed variables whose linear cost no parameter moves, except those in `keep`, one after the other: one
    that is taken out may leave another with bounds of its own.
    """
    n, m = len(qp.variables), len(qp.ineq_rows)
    may = np.array([name not in set(keep) for name in qp.variables], dtype=bool)
    may &= np.diff(qp.cost_theta.indptr) == 0
    plain = np.diff(qp.ineq_theta.indptr) == 0
    matrix = qp.ineq_matrix.copy()
    matrix.eliminate_zeros()
    by_column = sp.csc_array(matrix)
    rhs, entries = qp.ineq_rhs.copy(), np.diff(matrix.indptr)
    gone, held, out = np.zeros(m, dtype=bool), [], np.zeros(n, dtype=bool)
    queue = sorted({_only(matrix, i, out) for i in np.flatnonzero((entries == 1) & plain).tolist()})
    while queue:
        j = queue.pop(0)
        found = None if out[j] or not may[j] else _fixed(by_column, j, rhs, entries, plain, gone)
        if found is None:
            continue
        held.append(found)
        out[j] = True
        part = slice(by_column.indptr[j], by_column.indptr[j + 1])
        for i, slope in zip(by_column.indices[part].tolist(), by_column.data[part].tolist(), strict=True):
            rhs[i] -= slope * found.value
            entries[i] -= 1
            gone[i] |= bool(entries[i] == 0 and plain[i] and rhs[i] >= -1e-9 * (1.0 + abs(qp.ineq_rhs[i])))
            if entries[i] == 1 and plain[i]:
                queue.append(_only(matrix, i, out))
    stay, left = np.flatnonzero(~out), np.flatnonzero(~gone)
    value = np.zeros(n)
    value[[one.variable for one in held]] = [one.value for one in held]
    cost = qp.cost + qp.hessian @ value
    rest = replace(
        qp,
        hessian=rows(columns(qp.hessian, stay), stay),
        cost=cost[stay],
        cost_theta=rows(qp.cost_theta, stay),
        eq_matrix=columns(qp.eq_matrix, stay),
        eq_rhs=qp.eq_rhs - qp.eq_matrix @ value,
        ineq_matrix=rows(columns(matrix, stay), left),
        ineq_rhs=rhs[left],
        ineq_theta=rows(qp.ineq_theta, left),
        constant=qp.constant + float(qp.cost @ value + 0.5 * value @ (qp.hessian @ value)),
        variables=tuple(qp.variables[j] for j in stay),
        ineq_rows=tuple(qp.ineq_rows[i] for i in left),
    )
    return WithoutFixed(rest, stay.astype(np.int64), left.astype(np.int64), qp, tuple(held))


def _only(matrix: Matrix, row: int, out: np.ndarray) -> int:
    """The one variable that a row still has."""
    index = matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]]
    return int(index[~out[index]][0])


def _fixed(
    by_column: Matrix, j: int, rhs: Vector, entries: Indices, plain: np.ndarray, gone: np.ndarray
) -> _Held | None:
    """How variable j is held at one value by rows that have no other variable; None if it is not."""
    low, high = (-np.inf, -1, 1.0), (np.inf, -1, 1.0)
    part = slice(by_column.indptr[j], by_column.indptr[j + 1])
    for i, slope in zip(by_column.indices[part].tolist(), by_column.data[part].tolist(), strict=True):
        if entries[i] != 1 or not plain[i] or gone[i]:
            continue
        end = float(rhs[i] / slope)
        if slope > 0 and end < high[0]:
            high = (end, i, slope)
        elif slope < 0 and end > low[0]:
            low = (end, i, slope)
    if not np.isfinite(low[0]) or abs(high[0] - low[0]) > _WIDTH * (1.0 + abs(low[0])):
        return None
    return _Held(j, low[0], high[1], high[2], low[1], low[2])
