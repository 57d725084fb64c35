"""The penalty of ADMM as a matrix."""

from __future__ import annotations

import numpy as np
import pytest

from cosim.coordination.rules.metric import bounded, learned, scaled

SOFT = np.tile(50.0 * np.eye(3), (2, 1, 1))
ACROSS = np.array([2.0, 1.0, 2.0]) / 3
ALONG = np.array([[1.0, -2.0, 0.0], [1.0, 0.0, -1.0]]).T


def test_curvature_within_bounds_is_learned_from_its_secants() -> None:
    """Three secants of a quadratic cost, of which BFGS keeps the last exactly."""
    curved = np.diag([100.0, 200.0, 400.0]) + 20.0
    metric = SOFT
    for step in np.eye(3) * 0.1:
        metric = learned(metric, np.tile(step, (2, 1)), np.tile(curved @ step, (2, 1)), 50.0, 2000.0)
    assert metric[0] @ step == pytest.approx(curved @ step)


def test_a_jump_of_the_price_makes_it_stiff_across_the_limit_only() -> None:
    moved, risen = np.tile(0.01 * ACROSS, (2, 1)), np.tile(900.0 * ACROSS, (2, 1))
    found = learned(SOFT, moved, risen, 50.0, 2000.0)[0]
    assert found @ ACROSS == pytest.approx(2000.0 * ACROSS)
    assert found @ ALONG == pytest.approx(50.0 * ALONG, abs=1e-9)


def test_where_nothing_moved_nothing_is_learned() -> None:
    moved = np.array([[0.1, 0.0, 0.0], [0.0, 0.0, 0.0]])
    found = learned(SOFT, moved, np.full((2, 3), 30.0), 50.0, 2000.0)
    assert found[1] == pytest.approx(SOFT[1]) and not np.allclose(found[0], SOFT[0])


def test_it_is_scaled_along_one_direction_only() -> None:
    found = scaled(SOFT, np.tile(0.02 * ACROSS, (2, 1)), 4.0)[1]
    assert found @ ACROSS == pytest.approx(200.0 * ACROSS) and found @ ALONG == pytest.approx(50.0 * ALONG, abs=1e-9)


def test_no_direction_leaves_the_bounds() -> None:
    values = np.linalg.eigvalsh(bounded(np.array([np.diag([1.0, 70.0, 1e6])]), 50.0, 2000.0))[0]
    assert values == pytest.approx([50.0, 70.0, 2000.0])


def test_scaling_back_undoes_it() -> None:
    along = np.tile(0.02 * (ACROSS + ALONG[:, 0]), (2, 1))
    assert scaled(scaled(SOFT, along, 4.0), along, 0.25) == pytest.approx(SOFT)
