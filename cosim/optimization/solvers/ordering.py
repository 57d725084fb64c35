"""Rows across blocks, stored so that a factorisation takes the blocks first.

Sparse factorisations by minimum degree begin with what has the fewest neighbours. A row that joins many blocks by a
few entries each then goes before the columns of large dense blocks, and joins them into one dense matrix. Stored with a
zero at every other column of the blocks it joins it goes last, with the same neighbours that it has then anyway.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from cosim.optimization.qp.arrays import Indices, Matrix

_MOST = 2


def joining_last(matrix: Matrix, blocks: Sequence[Indices]) -> Matrix:
    """The matrix (csr) with zeros stored as described, for rows with fewer entries than the largest block has columns.

    Where more than twice as many rows as that join blocks (a chain through time, say) nothing is gained, and the matrix
    stays as it is.

    Args:
        blocks: disjoint columns of each.
    """
    largest = max((len(block) for block in blocks), default=0)
    there = sp.csr_array(abs(matrix) > 0.0, dtype=float)
    member = sp.csr_array(
        (
            np.ones(sum(map(len, blocks))),
            (np.concatenate([*blocks, []]).astype(np.int64), np.repeat(np.arange(len(blocks)), [*map(len, blocks)])),
        ),
        shape=(matrix.shape[1], len(blocks)),
    )
    touched = sp.csr_array(there @ member)
    joins = (np.diff(touched.indptr) > 1) & (np.diff(there.indptr) < largest)
    if not 0 < np.count_nonzero(joins) <= _MOST * largest:
        return matrix
    around = sp.coo_array(sp.diags_array(joins.astype(float)) @ touched @ member.T)
    base = sp.coo_array(matrix)
    row, column = (np.concatenate([a, b]) for a, b in zip(base.coords, around.coords, strict=True))
    return sp.csr_array((np.concatenate([base.data, np.zeros(around.nnz)]), (row, column)), shape=matrix.shape)
