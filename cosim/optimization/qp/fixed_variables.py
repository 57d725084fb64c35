"""Presolve: removal of variables whose optimal value is known for all parameters, and of rows that are empty then.

Fixed variables have a lower bound equal to their upper one: a photovoltaic generator at night. Both bounds always bind,
so that their duals are not unique and no bound of them can be proven. Separate variables share neither a row nor a
square with another variable, such as the slack of limits that cannot bind.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp

from cosim.optimization.qp.arrays import Indices, Matrix, Vector, columns, rows
from cosim.optimization.qp.parametric import ParametricQP

_End: TypeAlias = tuple[float, int, float]
_WIDTH = 1e-12


@dataclass(frozen=True, slots=True)
class _Held:
    """A removed variable: its value, the rows that are its upper and lower bound there (-1 for none), and its
    coefficients in them.
    """

    variable: int
    value: float
    upper: int
    upper_slope: float
    lower: int
    lower_slope: float


@dataclass(frozen=True)
class WithoutFixed:
    """A problem without its fixed (or separate) variables.

    Attributes:
        qp: the reduced problem, with the same optima and the same prices.
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
            # Bounds of variables removed later may contain this one, so that its reduced cost is known only now.
            cost = float(gradient[held.variable])
            at, slope = (held.upper, held.upper_slope) if cost <= 0 else (held.lower, held.lower_slope)
            if at < 0:
                continue
            dual[at] = -cost / slope
            gradient += rows(down, [at]).toarray().ravel() * dual[at] if dual[at] else 0.0
        return full, dual


def without_fixed(qp: ParametricQP, keep: Collection[str] = ()) -> WithoutFixed:
    """Remove fixed variables whose linear cost does not depend on parameters, except those in `keep`.

    It is done one variable after the other, because a row without the removed variable may become a bound of another.
    """
    n, m = len(qp.variables), len(qp.ineq_rows)
    may = np.array([name not in set(keep) for name in qp.variables], dtype=bool)
    may &= np.diff(qp.cost_theta.indptr) == 0
    plain = np.diff(qp.ineq_theta.indptr) == 0
    matrix = _clean(qp.ineq_matrix)
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
    return _without(qp, held, gone)


def without_separate(qp: ParametricQP, keep: Collection[str] = ()) -> WithoutFixed:
    """Remove separate variables that do not depend on parameters, except those in `keep`."""
    m = len(qp.ineq_rows)
    matrix, eq, square = (_clean(part) for part in (qp.ineq_matrix, qp.eq_matrix, qp.hessian))
    alone = np.array([name not in set(keep) for name in qp.variables], dtype=bool)
    alone &= np.diff(_clean(qp.cost_theta).indptr) == 0
    alone[eq.indices] = False
    coupled = sp.coo_array(square)
    off = coupled.coords[0] != coupled.coords[1]
    alone[coupled.coords[0][off]] = False
    plain = (np.diff(matrix.indptr) == 1) & (np.diff(_clean(qp.ineq_theta).indptr) == 0)
    alone[matrix.indices[~np.repeat(plain, np.diff(matrix.indptr))]] = False
    by_column, entries, none = sp.csc_array(matrix), np.diff(matrix.indptr), np.zeros(m, dtype=bool)
    curvature, held, gone = square.diagonal(), [], np.zeros(m, dtype=bool)
    for j in np.flatnonzero(alone).tolist():
        ends = _ends(by_column, j, qp.ineq_rhs, entries, plain, none)
        found = _separate(ends, j, float(qp.cost[j]), float(curvature[j]))
        if found is not None:
            held.append(found)
            gone[by_column.indices[by_column.indptr[j] : by_column.indptr[j + 1]]] = True
    return _without(qp, held, gone)


def _without(qp: ParametricQP, held: list[_Held], gone: np.ndarray) -> WithoutFixed:
    """The problem with these variables at their values and without these rows."""
    if not held:
        n, m = len(qp.variables), len(qp.ineq_rows)
        return WithoutFixed(qp, np.arange(n, dtype=np.int64), np.arange(m, dtype=np.int64), qp, ())
    value, out = np.zeros(len(qp.variables)), np.zeros(len(qp.variables), dtype=bool)
    value[[one.variable for one in held]] = [one.value for one in held]
    out[[one.variable for one in held]] = True
    stay, left = np.flatnonzero(~out), np.flatnonzero(~gone)
    cost = qp.cost + qp.hessian @ value
    rest = replace(
        qp,
        hessian=rows(columns(qp.hessian, stay), stay),
        cost=cost[stay],
        cost_theta=rows(qp.cost_theta, stay),
        eq_matrix=columns(qp.eq_matrix, stay),
        eq_rhs=qp.eq_rhs - qp.eq_matrix @ value,
        ineq_matrix=rows(columns(_clean(qp.ineq_matrix), stay), left),
        ineq_rhs=(qp.ineq_rhs - qp.ineq_matrix @ value)[left],
        ineq_theta=rows(qp.ineq_theta, left),
        constant=qp.constant + float(qp.cost @ value + 0.5 * value @ (qp.hessian @ value)),
        variables=tuple(qp.variables[j] for j in stay),
        ineq_rows=tuple(qp.ineq_rows[i] for i in left),
    )
    return WithoutFixed(rest, stay.astype(np.int64), left.astype(np.int64), qp, tuple(held))


def _only(matrix: Matrix, row: int, out: np.ndarray) -> int:
    """The only variable left in a row."""
    index = matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]]
    return int(index[~out[index]][0])


def _fixed(
    by_column: Matrix, j: int, rhs: Vector, entries: Indices, plain: np.ndarray, gone: np.ndarray
) -> _Held | None:
    """Variable j at the value at which its bounds fix it; None if they do not."""
    low, high = _ends(by_column, j, rhs, entries, plain, gone)
    if not np.isfinite(low[0]) or abs(high[0] - low[0]) > _WIDTH * (1.0 + abs(low[0])):
        return None
    return _Held(j, low[0], high[1], high[2], low[1], low[2])


def _separate(ends: tuple[_End, _End], j: int, cost: float, curvature: float) -> _Held | None:
    """Variable j at the optimum of its own cost; None where that is unbounded or infeasible."""
    low, high = ends
    if curvature <= 0 and cost == 0.0:
        # Any value is an optimum, and no bound has a dual.
        value = min(max(0.0, low[0]), high[0])
        return _Held(j, value, -1, 1.0, -1, 1.0) if low[0] <= high[0] else None
    best = -cost / curvature if curvature > 0 else -np.sign(cost) * np.inf
    value = min(max(best, low[0]), high[0])
    if low[0] > high[0] or not np.isfinite(value):
        return None
    return _Held(j, float(value), high[1] if best > high[0] else -1, high[2], low[1] if best < low[0] else -1, low[2])


def _ends(
    by_column: Matrix, j: int, rhs: Vector, entries: Indices, plain: np.ndarray, gone: np.ndarray
) -> tuple[_End, _End]:
    """Lower and upper bound of variable j from rows without any other variable: value, row and coefficient each."""
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
    return low, high


def _clean(matrix: Matrix) -> Matrix:
    """A copy without stored zeros."""
    out = matrix.copy()
    out.eliminate_zeros()
    return out
