"""Helpers for sparse matrices against dense ones."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from cosim.optimization.qp.arrays import rows, stacked


@given(st.integers(0, 2**32 - 1), st.integers(0, 6), st.integers(1, 5), st.integers(0, 8))
def test_rows_are_those_of_the_dense_matrix(seed: int, height: int, width: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = sp.random_array((height, width), density=0.5, rng=rng, format="csr")
    which = rng.integers(0, height, count if height else 0)
    assert np.array_equal(rows(matrix, which).toarray(), matrix.toarray()[which])


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(0, 5))
def test_bands_stand_on_their_columns(seed: int, height: int, identity: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = sp.random_array((height, 4), density=0.5, rng=rng, format="csr")
    at, own = rng.permutation(9)[:4], rng.permutation(9)[:identity]
    found = stacked(9, [[(matrix, at, 2.0)], [(None, own, -1.0)]]).toarray()
    assert np.array_equal(found[:height], 2.0 * matrix.toarray() @ np.eye(9)[at])
    assert np.array_equal(found[height:], -np.eye(9)[own])
