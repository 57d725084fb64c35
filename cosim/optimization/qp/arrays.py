"""The array types of the optimization layer and the few helpers that keep them in one format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

Vector: TypeAlias = npt.NDArray[np.float64]
Indices: TypeAlias = npt.NDArray[np.int64]
Matrix: TypeAlias = Any  # scipy.sparse.csr_array of floats; its stubs differ between scipy releases
_NONE: Indices = np.zeros(0, dtype=np.int64)


def csr(matrix: object, shape: tuple[int, int]) -> Matrix:
    """A matrix, dense or sparse, as csr of floats without duplicates; None stands for zeros."""
    if matrix is None:
        return sp.csr_array(shape, dtype=float)
    if isinstance(matrix, sp.csr_array) and matrix.dtype == np.float64 and matrix.has_canonical_format:
        return matrix
    if not sp.issparse(matrix):
        matrix = np.asarray(matrix, dtype=float).reshape(shape)
    out: Matrix = sp.csr_array(matrix, dtype=float)
    out.sum_duplicates()
    return out


def columns(matrix: Matrix, which: list[int] | Indices) -> Matrix:
    """These columns of a matrix, as csr; also right when there are none."""
    index, (height, width) = np.asarray(which, dtype=np.int64), matrix.shape
    if not len(index):
        return sp.csr_array((height, 0))
    every = len(index) == width and np.array_equal(index, np.arange(width))
    if every and matrix.format == "csr" and matrix.has_sorted_indices:
        return matrix.copy()
    return sp.csr_array(sp.csc_array(matrix)[:, index])


def rows(matrix: Matrix, which: list[int] | Indices) -> Matrix:
    """These rows of a matrix, as csr; also right when there are none, and without scipy's general indexing."""
    whole, index = sp.csr_array(matrix), np.asarray(which, dtype=np.int64)
    first, count = whole.indptr[index], np.diff(whole.indptr)[index]
    pointers = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(count)])
    entries = np.repeat(first - pointers[:-1], count) + np.arange(pointers[-1])
    return sp.csr_array((whole.data[entries], whole.indices[entries], pointers), shape=(len(index), whole.shape[1]))


def blocks_from_dense(blocks: Sequence[Vector]) -> Matrix:
    """Dense matrices of as many columns each along the diagonal, as csr without their zeros."""
    below = np.concatenate(blocks)
    of_row = np.repeat(np.arange(len(blocks)), [len(b) for b in blocks])
    row, column = np.nonzero(below)
    pointers = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(np.bincount(row, minlength=len(below)))])
    n = below.shape[1]
    entries = (below[row, column], column + n * of_row[row], pointers)
    return sp.csr_array(entries, shape=(len(below), n * len(blocks)))


def block_diagonal(matrices: Sequence[Matrix]) -> Matrix:
    """Matrices (csr) side by side along the diagonal, as csr; zeros that they store stay stored."""
    across = np.cumsum([0, *(m.shape[1] for m in matrices)])
    entries = np.cumsum([0, *(m.nnz for m in matrices)])
    indices = [m.indices + shift for m, shift in zip(matrices, across[:-1], strict=True)]
    pointers = [m.indptr[1:] + shift for m, shift in zip(matrices, entries[:-1], strict=True)]
    nothing = np.zeros(0, dtype=np.int64)
    return sp.csr_array(
        (
            np.concatenate([np.zeros(0), *(m.data for m in matrices)]),
            np.concatenate([nothing, *indices]),
            np.concatenate([np.zeros(1, dtype=np.int64), *pointers]),
        ),
        shape=(sum(m.shape[0] for m in matrices), int(across[-1])),
    )


def stacked(size: int, bands: Sequence[Sequence[tuple[Matrix | None, Indices, float]]]) -> Matrix:
    """Bands of rows one below the other over `size` columns, as csr.

    A band is a sum of matrices (csr, or csc for a transposed one; None is the identity), each with the columns it
    stands on and a factor.
    The entries are put together without scipy's stacking functions, which are slow for many small blocks.
    """
    value, row, column, first = [np.zeros(0)], [_NONE], [_NONE], 0
    for band in bands:
        height = 0
        for matrix, at, factor in band:
            if matrix is None:
                height = len(at)
                value.append(np.full(height, factor))
                row.append(first + np.arange(height))
                column.append(at)
                continue
            height = matrix.shape[0]
            major = np.repeat(np.arange(len(matrix.indptr) - 1), np.diff(matrix.indptr))
            i, j = (matrix.indices, major) if matrix.format == "csc" else (major, matrix.indices)
            value.append(factor * matrix.data)
            row.append(first + i)
            column.append(at[j])
        first += height
    entries = (np.concatenate(value), (np.concatenate(row), np.concatenate(column)))
    return sp.csr_array(entries, shape=(first, size))


def relative_gap(objective: float, bound: float) -> float:
    """(objective - bound) over the size of the objective, absolute below one unit of money."""
    if not np.isfinite(objective) or not np.isfinite(bound):
        return np.inf
    return max(0.0, (objective - bound) / max(1.0, abs(objective)))
