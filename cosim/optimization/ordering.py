"""Rows across blocks, stored so that a factorisation takes the blocks first.

Sparse factorisations by minimum degree begin with what has the fewest neighbours. A row that joins many blocks by a
few entries each then goes before the columns of large dense blocks, and joins them into one dense matrix. Stored with a
zero at every other column of the blocks it joins it goes last, with the same neighbours that it has then anyway.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from cosim.optimization.arrays import Indices, Matrix

_MOST = 2


def joining_last(matrix: Matrix, blocks: Sequence[Indices]) -> Matrix:
    """The matrix (csr) with zeros stored as described, for rows with fewer entries than the largest block has columns.

    Where more than twice as many rows as that join blocks (a chain through time, say) there is nothing to be gained, and
    the matrix stays as it is.

    Args:
        blocks: disjoint columns of each.
    """
    largest = max((len(block) for block in blocks), default=0)
    block_of = np.full(matrix.shape[1], -1, dtype=np.int64)
    for b, block in enumerate(blocks):
        block_of[block] = b
    entries = sp.coo_array(matrix)
    entries.eliminate_zeros()
    row, column = entries.coords
    inside = block_of[column] >= 0
    touched = sp.csr_array(
        (np.ones(int(inside.sum())), (row[inside], block_of[column[inside]])), (matrix.shape[0], len(blocks))
    )
    touched.sum_duplicates()
    joins = (np.diff(touched.indptr) > 1) & (np.bincount(row, minlength=matrix.shape[0]) < largest)
    which = np.flatnonzero(joins)
    if not 0 < len(which) <= _MOST * largest:
        return matrix
    more = [np.concatenate([blocks[b] for b in touched.indices[touched.indptr[i] : touched.indptr[i + 1]]]) for i in which]
    index = (
        np.concatenate([row, np.repeat(which, [len(columns) for columns in more])]),
        np.concatenate([column, *more]),
    )
    data = np.concatenate([entries.data, np.zeros(len(index[0]) - len(row))])
    return sp.csr_array(sp.coo_array((data, index), shape=matrix.shape))
