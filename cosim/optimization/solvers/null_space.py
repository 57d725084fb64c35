"""The null space of a sparse matrix that falls into small blocks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from cosim.optimization.qp.arrays import Indices, Matrix, Vector


def null_space(matrix: Matrix, rank: float) -> Matrix:
    """A basis of all z with matrix z = 0, (columns of the matrix, dimensions), block by block.

    Blocks share neither rows nor columns, so each is small enough for its singular values and the basis is sparse.

    Args:
        matrix: any sparse matrix.
        rank: singular values up to this share of a block's largest count as zero.
    """
    entries = sp.coo_array(matrix)
    rows_of, columns_of, values = [], [], []
    dimensions = 0
    for held, kernel in _kernels(entries, rank):
        count = kernel.shape[1]
        values.append(kernel.ravel())
        rows_of.append(np.repeat(held, count))
        columns_of.append(np.tile(np.arange(dimensions, dimensions + count), len(held)))
        dimensions += count
    if not values:
        return sp.csr_array((entries.shape[1], 0))
    where = (np.concatenate(rows_of), np.concatenate(columns_of))
    return sp.csr_array((np.concatenate(values), where), shape=(entries.shape[1], dimensions))


def _kernels(entries: Matrix, rank: float) -> Iterator[tuple[Indices, Vector]]:
    """Columns of each block, and the null space of the block in them; blocks of one shape are decomposed together."""
    alike: dict[tuple[int, ...], list[tuple[Indices, Vector]]] = {}
    for held, dense in blocks(entries):
        alike.setdefault(dense.shape, []).append((held, dense))
    for same in alike.values():
        _, sizes, right = np.linalg.svd(np.stack([dense for _, dense in same]))
        ranks = np.count_nonzero(sizes > rank * sizes.max(axis=1, keepdims=True), axis=1)
        for (held, _), count, turned in zip(same, ranks, right, strict=True):
            yield held, turned[count:].T
    for alone in np.setdiff1d(np.arange(entries.shape[1]), entries.coords[1]):
        yield np.array([alone]), np.eye(1)


def blocks(entries: Matrix) -> Iterator[tuple[Indices, Vector]]:
    """Columns of each block, and the block itself."""
    rows, count = entries.shape
    row, column = (index.astype(np.int64) for index in entries.coords)
    ends = sp.coo_array((np.ones(len(row)), (row, rows + column)), shape=(rows + count, rows + count))
    block = connected_components(ends, directed=False)[1][row]
    order = np.argsort(block, kind="stable")
    for part in np.split(order, np.flatnonzero(np.diff(block[order])) + 1):
        if len(part):
            held, place = np.unique(column[part], return_inverse=True)
            in_rows, height = np.unique(row[part], return_inverse=True)
            dense = np.zeros((len(in_rows), len(held)))
            np.add.at(dense, (height, place), entries.data[part])
            yield held, dense
