"""The block-wise null space against the singular values of the whole matrix."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp

from cosim.optimization.solvers.null_space import null_space


def blocks(seed: int) -> sp.csr_array:
    """Small blocks of any rank in shuffled rows and columns, with a row and columns of nothing but zeros."""
    rng = np.random.default_rng(seed)
    parts = [
        rng.normal(size=(rows, rank)) @ rng.normal(size=(rank, columns))
        for rows, columns, rank in ((2, 4, 2), (2, 4, 1), (3, 2, 2), (3, 3, 1), (1, 1, 1))
    ]
    whole = scipy.linalg.block_diag(*parts, np.zeros((1, 2)))
    return sp.csr_array(whole[rng.permutation(whole.shape[0])][:, rng.permutation(whole.shape[1])])


@pytest.mark.parametrize("seed", range(5))
def test_it_spans_what_the_singular_values_of_the_whole_leave(seed: int) -> None:
    matrix = blocks(seed)
    free, whole = null_space(matrix, 1e-10).toarray(), scipy.linalg.null_space(matrix.toarray(), rcond=1e-10)
    assert free @ free.T == pytest.approx(whole @ whole.T, abs=1e-12)


def test_a_matrix_of_full_rank_leaves_nothing() -> None:
    assert null_space(sp.eye_array(3, format="csr"), 1e-10).shape == (3, 0)
