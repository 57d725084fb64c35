"""Backing off from kinks closes the interval of the payment; a leader without a point is told why."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cosim.errors import InputError, RunFailure
from cosim.experiments.benchmarks.leader.instances import Shape, instance
from cosim.optimization.bilevel.back_off import solve_backed_off
from cosim.optimization.bilevel.model.infeasibility import family, why_infeasible, why_unbounded
from cosim.optimization.bilevel.solver import BilevelProblem, solve
from cosim.optimization.qp.parametric import ParametricQP


def kinked() -> BilevelProblem:
    """A source at 5 and more up to 1, beyond it one at 20: the price jumps at 1, and there the leader stays.

    The limit of the first source is written with a trace of the second, so that it is a limit and no bound.
    """
    follower = ParametricQP.build(
        hessian=np.diag([0.2, 0.2]), cost=[5.0, 20.0], eq_matrix=[[1.0, 1.0]], eq_rhs=[0.0], eq_theta=[[1.0]],
        ineq_matrix=[[1.0, -1e-6], [-1.0, 0.0], [0.0, -1.0]], ineq_rhs=[1.0, 0.0, 0.0],
        parameters=["take"], theta_lower=[0.0], theta_upper=[5.0],
    )  # fmt: skip
    leader = ParametricQP.build(
        cost=[0.0, 12.0], eq_matrix=[[1.0, 1.0]], eq_rhs=[3.0], ineq_matrix=-np.eye(2), ineq_rhs=[0.0, 0.0],
        variables=["take", "elsewhere"],
    )  # fmt: skip
    return BilevelProblem(follower, leader)


def test_backing_off_makes_the_price_unique_at_little_cost() -> None:
    problem = kinked()
    bold, careful = solve(problem, gap=1e-7), solve_backed_off(problem, 1e-3, gap=1e-7)
    assert bold.theta == pytest.approx([1.0], abs=1e-5)
    assert bold.certificate.payment_pessimistic > 1.5 * bold.certificate.payment_optimistic
    spread = careful.certificate.payment_pessimistic - careful.certificate.payment_optimistic
    assert spread == pytest.approx(0.0, abs=1e-6)
    assert bold.leader_cost <= careful.leader_cost <= bold.leader_cost * 1.002
    assert careful.bound <= bold.leader_cost + 1e-6


def test_a_margin_is_positive_and_the_leader_keeps_to_its_own_variables() -> None:
    with pytest.raises(InputError, match="positive"):
        solve_backed_off(kinked(), 0.0)
    with pytest.raises(InputError, match="payment"):
        solve_backed_off(replace(kinked(), payment=False), 1e-3)


def test_limits_that_cannot_hold_together_are_named_by_family() -> None:
    problem = instance(Shape(2, 3, 4, step_h=6.0), 0)
    much = replace(problem.leader, ineq_rhs=9.0 * problem.leader.ineq_rhs)
    assert set(why_infeasible(much, problem.follower)) == {"work", "site work"}
    assert why_infeasible(problem.leader, problem.follower) == ()
    with pytest.raises(RunFailure, match="cannot hold together: work, site work"):
        solve(BilevelProblem(problem.follower, much))


def test_a_leader_without_an_end_is_named() -> None:
    leader = ParametricQP.build(cost=[-1.0, 0.0], ineq_matrix=[[-1.0, 0.0]], ineq_rhs=[0.0], variables=["sold", "b"])
    assert why_unbounded(leader) == ("sold",)


@pytest.mark.parametrize(
    ("name", "expected"), [("v_low[101]:up@21", "v_low"), ("work 3", "work"), ("t0 low1", "t"), ("7", "7")]
)
def test_families(name: str, expected: str) -> None:
    assert family(name) == expected


def test_progress_tells_a_bound_that_rises_and_a_cost_that_falls() -> None:
    told: list[tuple[float, float, float]] = []
    found = solve(
        instance(Shape(3, 4, 6, step_h=4.0), 2), gap=1e-5, progress=lambda *values: told.append(values)
    )
    assert found.status == "optimal" and told
    costs, bounds, gaps = (list(part) for part in zip(*told, strict=True))
    assert costs == sorted(costs, reverse=True) and bounds == sorted(bounds) and gaps[-1] <= 1.0
    assert bounds[-1] <= found.leader_cost + 1e-6
