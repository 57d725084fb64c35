"""Linear programs with tangents answer like the quadratic ones they stand in for."""

from __future__ import annotations

import numpy as np
import pytest

from cosim.optimization.bilevel.model.single_level import SingleLevel, single_level
from cosim.optimization.bilevel.relaxation.outer_approximation import TangentRelaxation
from cosim.optimization.bilevel.relaxation.relaxation import DUAL_ZERO, OPEN, SLACK_ZERO, Decisions, Point, Relaxation
from cosim.optimization.qp.arrays import Vector
from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.solvers.qp_solver import QPSolver
from tests.optimization.hourly import day
from tests.optimization.random_programs import random_qp


def _hour(seed: int, slope: float = 0.0) -> SingleLevel:
    follower, _ = day(seed, hours=1, slope=slope)
    return _alone(follower)


def _alone(follower: ParametricQP) -> SingleLevel:
    leader = ParametricQP.build(cost=np.zeros(len(follower.parameters)), variables=follower.parameters)
    return single_level(follower, leader, payment=True)


def _pattern(follower: ParametricQP, theta: Vector) -> Decisions:
    """All pairs decided as the follower's answer has them."""
    answer = QPSolver(follower).solve(theta).require()
    slack = follower.ineq_rhs + follower.ineq_theta @ theta - follower.ineq_matrix @ answer.x
    return np.where(answer.sigma > slack, SLACK_ZERO, DUAL_ZERO).astype(np.int8)


def _some(rng: np.random.Generator, follower: ParametricQP) -> Decisions:
    """Some pairs decided as an answer has them, now and then one the other way."""
    decisions = _pattern(follower, rng.uniform(follower.theta_lower, follower.theta_upper))
    decisions[rng.random(len(decisions)) < 0.6] = OPEN
    for i in rng.integers(len(decisions), size=rng.integers(3)):
        decisions[i] = SLACK_ZERO
    return decisions


def _agree(linear: Point, quadratic: Point) -> bool:
    """Whether an answer is the other one but for what it says it may be short of."""
    rounding = 1e-6 * (1.0 + abs(quadratic.objective))
    return quadratic.objective - linear.short - rounding <= linear.objective <= quadratic.objective + rounding


@pytest.mark.parametrize("slope", [0.0, 5.0])
@pytest.mark.parametrize("seed", range(3))
def test_linear_and_quadratic_programs_agree(seed: int, slope: float) -> None:
    level, rng, optima = _hour(seed, slope), np.random.default_rng(seed), 0
    linear, quadratic = TangentRelaxation(level), Relaxation(level)
    plain = quadratic.cost.copy()
    for _ in range(12):
        decisions = _some(rng, level.follower)
        linear.cost = quadratic.cost = plain.copy()
        linear.cost[level.theta_at] -= rng.uniform(0.0, 120.0, len(level.theta_at))
        one, other = linear.solve(decisions), quadratic.solve(decisions)
        assert one.status == other.status
        if one.status == "optimal":
            optima += 1
            assert _agree(one, other)
    assert 2 < optima < 12


@pytest.mark.parametrize("seed", range(3))
def test_where_complementarity_holds_the_answer_is_exact(seed: int) -> None:
    level = _hour(seed)
    linear, quadratic = TangentRelaxation(level), Relaxation(level)
    decisions = _pattern(level.follower, np.full(3, 0.3))
    one, other = linear.solve(decisions), quadratic.solve(decisions)
    assert one.status == other.status == "optimal"
    assert one.objective == pytest.approx(other.objective, rel=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_what_an_answer_may_stay_below_the_optimum_is_told_and_true(seed: int) -> None:
    level = _hour(seed)
    linear, quadratic = TangentRelaxation(level), Relaxation(level)
    linear.enough = 5.0
    nothing = np.zeros(linear.pairs, dtype=np.int8)
    found = linear.solve(nothing)
    broken = float(linear.violations(found.z, nothing).sum())
    assert _agree(found, quadratic.solve(nothing))
    assert found.short <= linear.allowed(broken, found.objective)


def test_an_answer_stops_at_a_value_that_suffices() -> None:
    level = _hour(0)
    linear, quadratic = TangentRelaxation(level), Relaxation(level)
    nothing = np.zeros(linear.pairs, dtype=np.int8)
    exact = quadratic.solve(nothing).objective
    linear.suffices = exact - 0.2 * abs(exact)
    found = linear.solve(nothing)
    assert linear.suffices <= found.objective <= exact + 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_squares_that_share_variables_are_one_group(seed: int) -> None:
    level = _alone(random_qp(seed))
    assert level.qp.hessian.count_nonzero() > len(level.qp.variables) / 4
    linear, quadratic = TangentRelaxation(level), Relaxation(level)
    nothing = np.zeros(linear.pairs, dtype=np.int8)
    assert _agree(linear.solve(nothing), quadratic.solve(nothing))


def test_the_reduced_cost_of_a_parameter_at_the_end_of_its_box_is_what_a_wider_box_is_worth() -> None:
    level = _hour(0)
    linear = TangentRelaxation(level)
    linear.cost[level.theta_at] -= np.array([500.0, 400.0, 300.0])
    nothing = np.zeros(linear.pairs, dtype=np.int8)
    found = linear.solve(nothing)
    assert found.reduced_cost is not None
    assert found.z[level.theta_at] == pytest.approx(level.follower.theta_upper)
    assert np.all(found.reduced_cost < -1.0)
