"""Rows across blocks are stored with zeros so that a factorisation takes them last."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from cosim.optimization.solvers.ordering import joining_last

_BLOCKS = [np.arange(0, 5), np.arange(5, 10), np.arange(10, 15)]


def _matrix(*rows: dict[int, float]) -> sp.csr_array:
    dense = np.zeros((len(rows), 16))
    for i, row in enumerate(rows):
        for j, value in row.items():
            dense[i, j] = value
    return sp.csr_array(dense)


def test_the_numbers_stay_as_they_are() -> None:
    matrix = _matrix({0: 1.0, 5: 2.0, 15: 3.0}, {1: 4.0, 2: 5.0})
    before = matrix.toarray()
    assert np.array_equal(joining_last(matrix, _BLOCKS).toarray(), before)
    assert np.array_equal(matrix.toarray(), before)


def test_a_row_across_blocks_gets_every_column_of_those_it_joins() -> None:
    found = joining_last(_matrix({0: 1.0, 5: 2.0}, {1: 4.0}), _BLOCKS)
    assert sorted(found.indices[found.indptr[0] : found.indptr[1]]) == list(range(10))


def test_a_row_within_a_block_stays_short() -> None:
    found = joining_last(_matrix({0: 1.0, 5: 2.0}, {1: 4.0}), _BLOCKS)
    assert found.indptr[2] - found.indptr[1] == 1


def test_a_row_with_more_entries_than_a_block_has_columns_stays_as_it_is() -> None:
    matrix = _matrix({j: 1.0 for j in (0, 1, 5, 6, 10, 11)})
    assert joining_last(matrix, _BLOCKS).nnz == matrix.nnz


def test_many_rows_across_blocks_stay_as_they_are() -> None:
    matrix = _matrix(*[{j: 1.0, j + 5: -1.0} for j in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0)])
    assert joining_last(matrix, _BLOCKS).nnz == matrix.nnz


def test_without_blocks_nothing_happens() -> None:
    matrix = _matrix({0: 1.0, 5: 2.0})
    assert joining_last(matrix, []).nnz == matrix.nnz
