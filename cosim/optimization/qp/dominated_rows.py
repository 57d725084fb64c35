"""Inequalities ``matrix z <= rhs`` over a box ``low <= z <= high``: which of them can ever bind.

Everything here takes dense arrays and works on all rows at once, so that tens of thousands of limits of a large feeder
are looked through in a fraction of a second.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cosim.optimization.qp.arrays import Vector

STRICT = 1e-7
TIE = 1e-12


def largest(matrix: Vector, low: Vector, high: Vector) -> Vector:
    """(..., k) largest value of each row (..., k, n) over its box (..., n), 0 * infinity being 0."""
    finite = np.isfinite(low) & np.isfinite(high)
    below, above = np.where(finite, low, 0.0), np.where(finite, high, 0.0)
    middle, reach = (below + above) / 2, (above - below) / 2
    most = (matrix @ middle[..., None] + np.abs(matrix) @ reach[..., None])[..., 0]
    somewhere = np.flatnonzero(~finite.reshape(-1, finite.shape[-1]).all(axis=0))
    if len(somewhere):
        part, low, high = matrix[..., somewhere], low[..., None, somewhere], high[..., None, somewhere]
        with np.errstate(invalid="ignore"):
            beyond = np.where(part > 0, part * high, part * low)
        counted = (part != 0) & ~finite[..., None, somewhere]
        most = most + np.where(counted, beyond, 0.0).sum(axis=-1)
    return np.asarray(most)


def can_bind(matrix: Vector, rhs: Vector, low: Vector, high: Vector) -> NDArray[np.bool_]:
    """(..., k) False for rows that keep a positive slack everywhere in the box; as for :func:`largest`."""
    return np.asarray(rhs - largest(matrix, low, high) <= STRICT * (1.0 + np.abs(rhs)))


def implied(matrix: Vector, rhs: Vector, low: Vector, high: Vector) -> tuple[NDArray[np.bool_], Vector]:
    """Rows that another one implies everywhere in the box.

    Row i goes if some row j has ``(matrix_i - matrix_j) z <= rhs_i - rhs_j`` for every z in the box. The relation is
    transitive, so a row that went need not be compared again: the tightest rows are taken first, and what each of
    them implies leaves the comparison. Of rows that imply each other the first stays.

    Returns:
        (k,) whether the row goes, and the slack it always keeps behind the one that implies it.
    """
    gone, slack = np.zeros(len(rhs), dtype=bool), np.zeros(len(rhs))
    finite = np.isfinite(low) & np.isfinite(high)
    open_part, open_low, open_high = matrix[:, ~finite], low[~finite], high[~finite]
    middle = matrix[:, finite] @ ((low[finite] + high[finite]) / 2) - rhs
    reach = matrix[:, finite] * ((high[finite] - low[finite]) / 2)
    for i in np.argsort(rhs - largest(matrix, low, high), kind="stable"):
        if gone[i]:
            continue
        # a row that exceeds this one's in the middle of the box is not implied by it
        rest = np.flatnonzero(~gone & (middle <= middle[i] + TIE))
        excess = middle[rest] - middle[i] + np.abs(reach[rest] - reach[i]).sum(axis=1)
        if len(open_low):
            excess += largest(open_part[rest] - open_part[i], open_low, open_high)
        goes = (excess < -TIE) | ((np.abs(excess) <= TIE) & (rest > i))
        goes &= rest != i
        gone[rest[goes]] = True
        slack[rest[goes]] = -excess[goes]
    return gone, slack
