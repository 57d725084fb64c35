"""Inequalities of which no two can bind together, whatever the parameters in their box: where one binds, the dual of
the other is zero.

Two kinds are found: the two sides of one range, and, where a variable's bound binds, the rows that this leaves a slack
by interval arithmetic (the output limit of a generator that stands still, say).
"""

from __future__ import annotations

from functools import cached_property
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp

from cosim.optimization.qp.arrays import Indices, Matrix, rows
from cosim.optimization.qp.bound_propagation import largest, smallest, variable_bounds
from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.qp.two_sided import BOUND, NOTHING, Placement, place_rows

_Pairs: TypeAlias = tuple[Indices, Indices]
_APART = 1e-6


class Conflicts:
    """The conflicts of a problem, found for all of its rows together when the first is asked for."""

    def __init__(self, qp: ParametricQP) -> None:
        self._qp = qp

    @cached_property
    def _found(self) -> Matrix:
        return conflicts(self._qp)

    def beside(self, among: Indices) -> list[Indices]:
        """For each of these rows those of them that cannot bind together with it, both by their place among them; rows
        elsewhere in the problem are taken to have none with them.
        """
        place = np.full(len(self._qp.ineq_rows), -1, dtype=np.int64)
        place[among] = np.arange(len(among))
        mine = rows(self._found, among)
        return np.split(place[mine.indices], mine.indptr[1:-1])


def conflicts(qp: ParametricQP) -> Matrix:
    """(m, m) symmetric, 1 where two rows of G x <= h + W th cannot both bind at any parameters in their box."""
    put, m = place_rows(qp), len(qp.ineq_rows)
    pairs = [_opposite(qp, put), *_beside_bounds(qp, put)]
    one, two = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
    found = sp.csr_array((np.ones(2 * len(one)), (np.concatenate([one, two]), np.concatenate([two, one]))), (m, m))
    found.sum_duplicates()
    found.data[:] = 1.0
    return found


def _opposite(qp: ParametricQP, put: Placement) -> _Pairs:
    """Upper and lower sides of ranges that are never of width zero."""
    sides: dict[tuple[int, int], dict[bool, int]] = {}
    for i in np.flatnonzero(put.kind != NOTHING).tolist():
        sides.setdefault((int(put.kind[i]), int(put.place[i])), {})[bool(put.scale[i] > 0)] = i
    both = np.array([(pair[True], pair[False]) for pair in sides.values() if len(pair) == 2], dtype=np.int64)
    one, two = both.reshape(-1, 2).T
    size_one, size_two = np.abs(put.scale[one]), np.abs(put.scale[two])
    moved = sp.diags_array(1.0 / size_one) @ rows(qp.ineq_theta, one)
    moved = sp.csr_array(moved + sp.diags_array(1.0 / size_two) @ rows(qp.ineq_theta, two))
    width = qp.ineq_rhs[one] / size_one + qp.ineq_rhs[two] / size_two
    apart = width + smallest(moved, qp.theta_lower, qp.theta_upper) > _APART
    return one[apart], two[apart]


def _beside_bounds(qp: ParametricQP, put: Placement) -> list[_Pairs]:
    """Bounds of variables, upper and lower ones, and the rows that keep a slack where these bind."""
    lower, upper = variable_bounds(qp)
    entries = sp.coo_array(qp.ineq_matrix)
    entries.eliminate_zeros()
    row, column = entries.coords
    most = np.where(entries.data > 0, entries.data * upper[column], entries.data * lower[column])
    slack = qp.ineq_rhs - largest(qp.ineq_matrix, lower, upper)
    slack += smallest(qp.ineq_theta, qp.theta_lower, qp.theta_upper)
    fixed = np.diff(qp.ineq_theta.indptr) == 0
    out = []
    for is_upper in (True, False):
        bound_of = np.full(len(lower), -1, dtype=np.int64)
        mine = np.flatnonzero((put.kind == BOUND) & ((put.scale > 0) == is_upper) & fixed)
        bound_of[put.place[mine]] = mine
        known = (bound_of[column] >= 0) & np.isfinite(most) & np.isfinite(slack[row])
        bound, other = bound_of[column[known]], row[known]
        # The slack with everything else at its worst, and this variable where its bound binds.
        left = slack[other] + most[known] - entries.data[known] * qp.ineq_rhs[bound] / put.scale[bound]
        apart = (left > _APART * (1.0 + np.abs(qp.ineq_rhs[other]))) & (bound != other)
        out.append((bound[apart], other[apart]))
    return out
