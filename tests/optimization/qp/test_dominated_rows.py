"""Rows over a box: what is said of all of it is true in each corner."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from cosim.optimization.qp.dominated_rows import can_bind, implied, largest


@pytest.mark.parametrize("seed", range(20))
def test_largest_value_is_met_in_a_corner(seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix, low = rng.normal(size=(6, 4)), -rng.random(4)
    high = low + rng.random(4)
    corners = np.array(list(itertools.product(*zip(low, high, strict=True))))
    assert largest(matrix, low, high) == pytest.approx((matrix @ corners.T).max(axis=1))
    rhs = largest(matrix, low, high) + np.array([-0.1, 0.0, 0.1, -1e-3, 1e-3, 1.0])
    assert can_bind(matrix, rhs, low, high).tolist() == [True, True, False, True, False, False]


@pytest.mark.parametrize("seed", range(20))
def test_an_implied_row_is_implied_by_one_that_stays(seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=3) + 0.2 * rng.normal(size=(30, 3))
    rhs, low, high = rng.random(30), -np.ones(3), np.ones(3)
    gone, slack = implied(matrix, rhs, low, high)
    corners = np.array(list(itertools.product(*zip(low, high, strict=True))))
    excess = matrix @ corners.T - rhs[:, None]
    assert 0 < gone.sum() < 30
    for i in np.flatnonzero(gone):
        assert slack[i] >= -1e-12
        assert any(np.all(excess[i] <= excess[j] + 1e-9) for j in np.flatnonzero(~gone))


def test_an_open_column_matters_only_where_rows_differ_in_it() -> None:
    matrix, rhs = np.array([[1.0, 1.0], [1.0, 1.0], [1.0, 2.0]]), np.array([1.0, 2.0, 3.0])
    gone, _ = implied(matrix, rhs, np.array([0.0, -np.inf]), np.array([1.0, np.inf]))
    assert gone.tolist() == [False, True, False]
    assert largest(matrix, np.array([0.0, 0.0]), np.array([1.0, np.inf])).tolist() == [np.inf] * 3
    assert largest(np.array([[1.0, 0.0]]), np.array([0.0, -np.inf]), np.array([1.0, np.inf])).tolist() == [1.0]
