"""Bounds of variables by interval propagation, and removal of inequalities that cannot bind for any parameters in
their box.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cosim.optimization.qp.arrays import Indices, Matrix, Vector, rows
from cosim.optimization.qp.parametric import ParametricQP

_STRICT = 1e-7
_PASSES = 3


def screen(qp: ParametricQP) -> tuple[ParametricQP, Indices]:
    """Drop rows of G that keep a positive slack at every feasible point for every parameter in the box.

    A row is removed only if the remaining rows imply it strictly, so that the feasible set stays the same and the
    multiplier of the removed row is always zero.

    Args:
        qp: the problem; open parameter boxes are allowed but drop little.

    Returns:
        The smaller problem, and where its rows lie among those of the problem before.
    """
    lower, upper = variable_bounds(qp)
    activity = largest(qp.ineq_matrix, lower, upper) - smallest(
        qp.ineq_theta, qp.theta_lower, qp.theta_upper
    )
    entries = np.diff(_nonzero(qp.ineq_matrix).indptr)
    single = entries == 1
    # Neither a variable nor a parameter: its multiplier means nothing, and may be zero.
    empty = entries + np.diff(_nonzero(qp.ineq_theta).indptr) == 0
    gone = (qp.ineq_rhs == np.inf) | (empty & (qp.ineq_rhs >= 0.0))
    with np.errstate(invalid="ignore"):
        gone |= ~single & (qp.ineq_rhs - activity > _STRICT * (1.0 + np.abs(qp.ineq_rhs)))
    gone[_dominated(qp, single & ~gone)] = True
    kept = np.flatnonzero(~gone).astype(np.int64)
    return keep_rows(qp, kept), kept


def keep_rows(qp: ParametricQP, kept: Indices) -> ParametricQP:
    """The problem with only these of its inequalities."""
    return replace(
        qp,
        ineq_matrix=rows(qp.ineq_matrix, kept),
        ineq_rhs=qp.ineq_rhs[kept],
        ineq_theta=rows(qp.ineq_theta, kept),
        ineq_rows=tuple(qp.ineq_rows[i] for i in kept),
    )


def variable_bounds(qp: ParametricQP) -> tuple[Vector, Vector]:
    """Bounds that every feasible x keeps for some parameter in the box: from rows with one variable and
    equalities.

    Rows with one variable give a bound directly; equalities then bound their variables by those of the
    others.
    """
    n = len(qp.variables)
    lower, upper = np.full(n, -np.inf), np.full(n, np.inf)
    loosest = qp.ineq_rhs + largest(qp.ineq_theta, qp.theta_lower, qp.theta_upper)
    matrix = _nonzero(qp.ineq_matrix)
    for i in np.flatnonzero(np.diff(matrix.indptr) == 1).tolist():
        j, g = matrix.indices[matrix.indptr[i]], matrix.data[matrix.indptr[i]]
        if g > 0:
            upper[j] = min(upper[j], loosest[i] / g)
        else:
            lower[j] = max(lower[j], loosest[i] / g)
    eq = _nonzero(qp.eq_matrix)
    high = qp.eq_rhs + largest(qp.eq_theta, qp.theta_lower, qp.theta_upper)
    low = qp.eq_rhs + smallest(qp.eq_theta, qp.theta_lower, qp.theta_upper)
    for _ in range(_PASSES):
        before = lower.copy(), upper.copy()
        for i in range(eq.shape[0]):
            _propagate(eq, i, low[i], high[i], lower, upper)
        if np.array_equal(before[0], lower) and np.array_equal(before[1], upper):
            break
    return lower, upper


def _propagate(eq: Matrix, i: int, low: float, high: float, lower: Vector, upper: Vector) -> None:
    """Tighten the bounds of each variable of equality i (low <= row <= high) by those of the others."""
    index = eq.indices[eq.indptr[i] : eq.indptr[i + 1]]
    data = eq.data[eq.indptr[i] : eq.indptr[i + 1]]
    rising = data > 0
    least = data * np.where(rising, lower[index], upper[index])
    most = data * np.where(rising, upper[index], lower[index])
    top, bottom = (high - _others(least)) / data, (low - _others(most)) / data
    upper[index] = np.minimum(upper[index], np.where(rising, top, bottom))
    lower[index] = np.maximum(lower[index], np.where(rising, bottom, top))


def _others(values: Vector) -> Vector:
    """For each value the sum of all others; without differences, because values may be infinite."""
    out = np.zeros(len(values))
    out[1:] = np.cumsum(values[:-1])
    out[:-1] += np.cumsum(values[:0:-1])[::-1]
    return out


def _dominated(qp: ParametricQP, single: NDArray[np.bool_]) -> list[int]:
    """Bounds of one variable that another bound of the same variable and side always undercuts."""
    matrix = _nonzero(qp.ineq_matrix)
    loosest = qp.ineq_rhs + largest(qp.ineq_theta, qp.theta_lower, qp.theta_upper)
    tightest = qp.ineq_rhs + smallest(qp.ineq_theta, qp.theta_lower, qp.theta_upper)
    groups: dict[tuple[int, bool], list[int]] = {}
    for i in np.flatnonzero(single).tolist():
        at = matrix.indptr[i]
        groups.setdefault((int(matrix.indices[at]), bool(matrix.data[at] > 0)), []).append(i)
    out: list[int] = []
    for group in groups.values():
        size = {i: abs(float(matrix.data[matrix.indptr[i]])) for i in group}
        best = min(group, key=lambda i: loosest[i] / size[i])
        for i in group:
            gap = tightest[i] / size[i] - loosest[best] / size[best]
            if i != best and gap > _STRICT * (1.0 + abs(qp.ineq_rhs[i])):
                out.append(i)
    return out


def _nonzero(matrix: Matrix) -> Matrix:
    out = matrix.copy()
    out.eliminate_zeros()
    return out


def largest(matrix: Matrix, lower: Vector, upper: Vector) -> Vector:
    """The largest value of each row of matrix @ z for lower <= z <= upper."""
    out = np.zeros(matrix.shape[0])
    entries = sp.coo_array(_nonzero(matrix))
    row, column = entries.coords
    np.add.at(
        out, row, np.where(entries.data > 0, entries.data * upper[column], entries.data * lower[column])
    )
    return out


def smallest(matrix: Matrix, lower: Vector, upper: Vector) -> Vector:
    """The smallest value of each row of matrix @ z for lower <= z <= upper."""
    return -largest(-matrix, lower, upper)
