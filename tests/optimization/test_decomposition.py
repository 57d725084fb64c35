"""The bound of the decomposition into blocks lies between the convex relaxation and the optimum."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hourly import day
from random_programs import random_qp

from cosim.optimization.arrays import Vector
from cosim.optimization.bilevel import BilevelProblem, solve
from cosim.optimization.branch import BranchAndBound
from cosim.optimization.decomposition import decompose
from cosim.optimization.parametric import ParametricQP
from cosim.optimization.relaxation import Decisions, Relaxation, single_level


def minimise(relaxation: Relaxation, gap: float) -> tuple[float, float, Vector, Decisions] | None:
    found = BranchAndBound(relaxation, gap=gap, time_limit_s=10).run()
    if found.z is None or found.decisions is None:
        return None
    return found.bound, found.objective, found.z, found.decisions


@pytest.mark.parametrize("seed", range(3))
def test_bound_is_valid_and_not_weaker_than_the_relaxation(seed: int) -> None:
    follower, leader = day(seed, hours=4)
    level = single_level(follower, leader, payment=True)
    relaxation = Relaxation(level)
    root = relaxation.solve(np.zeros(relaxation.pairs, dtype=np.int8)).objective
    parts = decompose(level, payment=True, minimise=minimise)
    assert parts is not None
    optimum = solve(BilevelProblem(follower, leader), gap=1e-7).leader_cost
    bound = parts.run(
        lambda value: optimum - value, lambda theta, pattern: None, 1e-6, time.perf_counter() + 20
    )
    assert root - 1e-6 * abs(root) <= bound <= optimum + 1e-6 * abs(optimum)


def test_a_follower_in_one_piece_is_left_alone() -> None:
    follower = random_qp(0)
    leader = ParametricQP.build(cost=np.ones(3), variables=follower.parameters)
    level = single_level(follower, leader, payment=True)
    assert decompose(level, payment=True, minimise=minimise) is None


@pytest.mark.parametrize("seed", range(2))
def test_blocks_and_scip_agree(seed: int) -> None:
    pytest.importorskip("pyscipopt")
    follower, leader = day(seed, hours=2)
    ours = solve(BilevelProblem(follower, leader), gap=1e-6)
    theirs = solve(BilevelProblem(follower, leader), solver="scip", gap=1e-5, time_limit_s=60)
    assert ours.leader_cost == pytest.approx(theirs.leader_cost, rel=2e-5)


def test_a_row_without_variables_does_no_harm() -> None:
    follower = ParametricQP.build(
        cost=[1.0], ineq_matrix=[[-1.0], [0.0]], ineq_rhs=[1.0, 0.0], variables=["x"]
    )
    leader = ParametricQP.build(cost=[1.0], variables=["x"])
    assert solve(BilevelProblem(follower, leader, payment=False)).leader_cost == pytest.approx(-1.0)
