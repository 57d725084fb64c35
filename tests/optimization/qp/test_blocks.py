"""Blocks that share a parameter: one block to what asks what a parameter costs."""

from __future__ import annotations

import numpy as np
import pytest

from cosim.optimization.bilevel.model.single_level import single_level
from cosim.optimization.bilevel.primal.region_search import region_search
from cosim.optimization.bilevel.solver import BilevelProblem, solve
from cosim.optimization.qp.blocks import split
from cosim.optimization.qp.parametric import ParametricQP

# Per step: demand th of site 0 is met by x (cost x^2 / 2, at most 3) and an import at 4; apart from that a soft limit
# of th at 2 costs 5 for each unit beyond. What site 1 takes costs 1.5 whatever it is and enters no row.
STEPS = 2


def follower() -> ParametricQP:
    eq, ineq, theta = np.zeros((STEPS, 3 * STEPS)), np.zeros((5 * STEPS, 3 * STEPS)), np.zeros((5 * STEPS, 2 * STEPS))
    rhs = np.zeros(5 * STEPS)
    for t in range(STEPS):
        own, imported, beyond = 3 * t, 3 * t + 1, 3 * t + 2
        eq[t, [own, imported]] = 1.0
        ineq[5 * t, own], rhs[5 * t] = 1.0, 3.0
        ineq[5 * t + 1, own] = ineq[5 * t + 2, imported] = ineq[5 * t + 3, beyond] = -1.0
        ineq[5 * t + 4, beyond], theta[5 * t + 4, t], rhs[5 * t + 4] = -1.0, -1.0, 2.0
    eq_theta = np.hstack([np.eye(STEPS), np.zeros((STEPS, STEPS))])
    return ParametricQP.build(
        hessian=np.diag([1.0, 0.0, 0.0] * STEPS),
        cost=np.array([0.0, 4.0, 5.0] * STEPS),
        eq_matrix=eq,
        eq_rhs=np.zeros(STEPS),
        eq_theta=eq_theta,
        ineq_matrix=ineq,
        ineq_rhs=rhs,
        ineq_theta=theta,
        constant_theta=np.array([0.0] * STEPS + [1.5] * STEPS),
        theta_lower=np.full(2 * STEPS, 0.5),
        theta_upper=np.full(2 * STEPS, 4.0),
    )


def problem() -> BilevelProblem:
    """A total of 7 over both steps of site 0 and of 3 at site 1, the second step liked better."""
    totals = np.zeros((2, 2 * STEPS))
    totals[0, :STEPS] = totals[1, STEPS:] = 1.0
    of = follower()
    leader = ParametricQP.build(
        cost=np.array([0.0, -0.5, 0.0, -0.1]), eq_matrix=totals, eq_rhs=[7.0, 3.0], variables=of.parameters
    )
    return BilevelProblem(of, leader)


def by_hand() -> float:
    """The least cost: site 0 over a grid of its first step, with the price at 3 on its cheaper side."""

    def paid(th: float) -> float:
        return th * ((4.0 if th > 3.0 else th) + 5.0)

    grid = np.linspace(3.0, 4.0, 65)
    return min(paid(th) + paid(7.0 - th) - 0.5 * (7.0 - th) for th in grid.tolist()) + 1.5 * 3.0 - 0.1 * 2.5


def test_variables_that_share_no_row_are_apart_unless_asked_by_parameter() -> None:
    apart, joined = split(follower()), split(follower(), by_parameter=True)
    assert len(apart) == 2 * STEPS
    assert [block.parameters.tolist() for block in joined] == [[0], [1]]


def test_blocks_joined_hold_every_row_and_variable_once() -> None:
    of = follower()
    joined = split(of, by_parameter=True)
    for name, count in (("variables", 3 * STEPS), ("eq_rows", STEPS), ("ineq_rows", 5 * STEPS)):
        assert sorted(np.concatenate([getattr(block, name) for block in joined]).tolist()) == list(range(count))


def test_rows_without_variables_join_what_their_parameters_enter() -> None:
    of = ParametricQP.build(
        hessian=np.eye(2), cost=np.zeros(2), eq_matrix=np.eye(2), eq_rhs=[0.0, 0.0], eq_theta=np.eye(2),
        ineq_matrix=np.zeros((1, 2)), ineq_rhs=[3.0], ineq_theta=[[0.0, -1.0]],
        theta_lower=[0.0, 0.0], theta_upper=[1.0, 1.0],
    )  # fmt: skip
    (block,) = split(of, by_parameter=True)
    assert block.parameters.tolist() == [0, 1]


@pytest.mark.parametrize("solver", ["branch", "scip", "highs"])
def test_what_is_paid_for_a_shared_parameter_is_paid_once(solver: str) -> None:
    if solver == "scip":
        pytest.importorskip("pyscipopt")
    of = problem()
    if solver == "branch":
        found = solve(of, gap=1e-6)
    else:
        found = solve(of, "kkt-mccormick", solver, gap=1e-6, bits=4, time_limit_s=60)
    assert found.bound <= by_hand() + 1e-4
    assert found.leader_cost == pytest.approx(by_hand(), abs=max(1e-4, found.certificate.discretisation))


def test_pieces_serve_where_components_share_a_parameter() -> None:
    of = problem()
    keep = np.arange(STEPS)
    whole = of.follower
    used = ParametricQP.build(
        hessian=whole.hessian, cost=whole.cost, eq_matrix=whole.eq_matrix, eq_rhs=whole.eq_rhs,
        eq_theta=whole.eq_theta[:, keep], ineq_matrix=whole.ineq_matrix, ineq_rhs=whole.ineq_rhs,
        ineq_theta=whole.ineq_theta[:, keep], theta_lower=[0.5] * STEPS, theta_upper=[4.0] * STEPS,
    )  # fmt: skip
    leader = ParametricQP.build(cost=np.zeros(STEPS), variables=used.parameters)
    found = region_search(single_level(used, leader, payment=True), payment=True)
    assert found is not None and len(found.blocks) == STEPS
