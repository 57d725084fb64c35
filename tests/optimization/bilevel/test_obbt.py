"""Proven bounds hold at every optimum of the follower, and come block by block."""

from __future__ import annotations

import numpy as np
import pytest

from cosim.optimization.bilevel.relaxation.obbt import FollowerBounds
from cosim.optimization.qp.blocks import split
from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.solvers.qp_solver import solve_qp
from tests.optimization.hourly import day
from tests.optimization.random_programs import random_qp


@pytest.mark.parametrize("seed", [0, *(pytest.param(k, marks=pytest.mark.slow) for k in range(1, 6))])
def test_duals_slacks_and_prices_stay_within_their_bounds(seed: int) -> None:
    qp = random_qp(seed, rank=2)
    bounds = FollowerBounds(qp)
    duals = np.array([bounds.dual(i) for i in range(len(qp.ineq_rows))])
    slacks = np.array([bounds.slack(i) for i in range(len(qp.ineq_rows))])
    low, high = np.array([bounds.price(i) for i in range(3)]).T
    assert np.all(np.isfinite(duals))
    for theta in np.random.default_rng(seed).uniform(-0.2, 0.2, (25, 3)):
        found = solve_qp(qp, theta).require()
        slack = qp.ineq_rhs + qp.ineq_theta @ theta - qp.ineq_matrix @ found.x
        price = qp.sensitivity(found)
        assert np.all(found.sigma <= duals)
        assert np.all(slack[found.sigma < 1e-9] <= slacks[found.sigma < 1e-9] + 1e-7)
        assert np.all((low <= price) & (price <= high))


def test_the_price_of_a_soft_limit_bounds_its_dual() -> None:
    """min x + 50 s with x >= th - s: that dual is at most 50, and a limit out of reach has none."""
    qp = ParametricQP.build(
        cost=[1.0, 50.0], ineq_matrix=[[-1.0, -1], [1, 0], [0, -1], [0, 1], [1, 1]],
        ineq_rhs=[0.0, 2, 0, 9, 99],
        ineq_theta=[[-1.0], [0], [0], [0], [0]],
        theta_lower=[0], theta_upper=[5],
    )  # fmt: skip
    assert FollowerBounds(qp).dual(0) == pytest.approx(50.0, rel=1e-4)
    assert FollowerBounds(qp).dual(4) == 0.0


def test_a_dual_that_can_run_away_has_no_bound() -> None:
    """Two rows that pin one variable: at th = 1 both bind and their duals may grow together."""
    qp = ParametricQP.build(
        cost=[1.0],
        ineq_matrix=[[-1.0], [1]],
        ineq_rhs=[0.0, 1],
        ineq_theta=[[-1.0], [0]],
        theta_lower=[0],
        theta_upper=[1],
    )
    assert FollowerBounds(qp).dual(0) == np.inf


def test_hours_that_share_no_variable_are_blocks() -> None:
    follower, _ = day(0, hours=5)
    blocks = split(follower)
    assert len(blocks) == 5
    assert sorted(i for block in blocks for i in block.ineq_rows) == list(range(len(follower.ineq_rows)))
    assert all(len(block.parameters) == 3 for block in blocks)
