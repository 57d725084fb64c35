"""Leader and follower: the payment's identities, independent solvers that agree, and certificates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from cosim.errors import InputError, RunFailure
from cosim.experiments.benchmarks.leader.reduction import reduce
from cosim.optimization.bilevel.model.certificate import certify
from cosim.optimization.bilevel.model.strong_duality import discretisation_bound, payment_by_strong_duality
from cosim.optimization.bilevel.solver import BilevelProblem, solve
from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.solvers.qp_solver import solve_qp
from tests.optimization.hourly import day
from tests.optimization.random_programs import random_qp


def small(seed: int, rank: int | None = None) -> BilevelProblem:
    """A random follower with two parameters and a leader that must place a total of them."""
    follower = random_qp(seed, variables=3, rows=4, equalities=1, parameters=2, rank=rank, box=1.0)
    rng = np.random.default_rng(seed)
    leader = ParametricQP.build(
        hessian=0.5 * np.eye(2), cost=rng.normal(size=2), ineq_matrix=[[-1.0, -1.0]], ineq_rhs=[-0.3],
        variables=["theta0", "theta1"],
    )  # fmt: skip
    return BilevelProblem(follower, leader)


@pytest.mark.parametrize("seed", range(10))
def test_payment_by_strong_duality_is_price_times_quantity(seed: int) -> None:
    qp = random_qp(seed, rank=3)
    theta = np.random.default_rng(seed).uniform(-0.2, 0.2, 3)
    found = solve_qp(qp, theta).require()
    paid = payment_by_strong_duality(qp, theta, found.x, found.nu, found.sigma)
    assert paid == pytest.approx(float(qp.sensitivity(found) @ theta), rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("seed", range(6))
def test_reducing_the_follower_does_not_change_the_payment(seed: int) -> None:
    qp = random_qp(seed, rank=2)
    theta = np.full(3, 0.1)
    found = solve_qp(qp, theta).require()
    small_qp = reduce(qp).qp
    other = solve_qp(small_qp, theta).require()
    one = payment_by_strong_duality(qp, theta, found.x, found.nu, found.sigma)
    two = payment_by_strong_duality(small_qp, theta, other.x, other.nu, other.sigma)
    assert two == pytest.approx(one, rel=1e-7)


@pytest.mark.parametrize("seed", range(8))
def test_branch_and_scip_agree(seed: int) -> None:
    pytest.importorskip("pyscipopt")
    problem = small(seed, rank=1 if seed % 2 else None)
    ours = solve(problem, gap=1e-7)
    theirs = solve(problem, solver="scip", gap=1e-7, time_limit_s=30)
    assert ours.leader_cost == pytest.approx(theirs.leader_cost, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_highs_by_tangents_and_branch_agree(seed: int) -> None:
    problem = small(seed)
    ours = solve(problem, gap=1e-6)
    theirs = solve(problem, solver="highs", gap=1e-5, time_limit_s=30)
    assert theirs.solver == "highs"
    assert theirs.leader_cost == pytest.approx(ours.leader_cost, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_no_parameter_on_a_grid_is_better(seed: int) -> None:
    problem = small(seed)
    found = solve(problem, gap=1e-7)
    for a in np.linspace(-1, 1, 9):
        for b in np.linspace(max(-1.0, 0.3 - a), 1, 5):
            theta = np.array([a, b])
            here = solve_qp(problem.follower, theta).require()
            cost = problem.leader.objective(theta) + problem.follower.sensitivity(here) @ theta
            assert cost >= found.bound - 1e-6


@pytest.mark.parametrize("bits", [3, 6])
def test_mccormick_is_within_its_bound_of_strong_duality(bits: int) -> None:
    linear = small(2)
    problem = replace(linear, leader=replace(linear.leader, hessian=0 * linear.leader.hessian))
    exact = solve(problem, gap=1e-7)
    coarse = solve(problem, "kkt-mccormick", "highs", bits=bits, gap=1e-6, time_limit_s=60)
    assert coarse.certificate.discretisation > 0
    assert coarse.bound <= exact.leader_cost + 1e-5
    assert coarse.leader_cost - exact.leader_cost <= coarse.certificate.discretisation + 1e-5
    assert exact.leader_cost <= coarse.leader_cost + 1e-5


@pytest.mark.parametrize("seed", range(12))
def test_the_answer_is_never_worse_than_the_start(seed: int) -> None:
    """Even with no time for a tree, where the start is all there is."""
    problem = small(seed)
    theta = np.random.default_rng(seed).uniform(0.2, 0.9, 2)
    cleared = solve_qp(problem.follower, theta).require()
    at_start = problem.leader.objective(theta) + float(problem.follower.sensitivity(cleared) @ theta)
    found = solve(problem, start=theta, time_limit_s=0.05)
    assert found.leader_cost <= at_start + 1e-6 * max(1.0, abs(at_start))


def test_each_bit_halves_the_discretisation_bound() -> None:
    one = discretisation_bound(np.array([40.0]), np.array([2.0]), 4)
    assert one == pytest.approx(40.0 * 2.0 / 64)
    assert discretisation_bound(np.array([40.0]), np.array([2.0]), 5) == pytest.approx(one / 2)


def test_follower_variables_may_enter_the_leader() -> None:
    """min (x - 3)^2 with x = argmin x^2/2 - th x = th, but the leader's row x <= 2 binds."""
    follower = ParametricQP.build(
        hessian=[[1.0]],
        cost=[0.0],
        cost_theta=[[-1.0]],
        variables=["x"],
        parameters=["th"],
        theta_lower=[0],
        theta_upper=[9],
    )
    leader = ParametricQP.build(
        hessian=[[0, 0], [0, 2.0]],
        cost=[0, -6.0],
        constant=9.0,
        ineq_matrix=[[0, 1.0]],
        ineq_rhs=[2.0],
        variables=["th", "x"],
    )
    found = solve(BilevelProblem(follower, leader, payment=False), gap=1e-8)
    assert found.leader_cost == pytest.approx(1.0, abs=1e-7)
    assert found.theta == pytest.approx([2.0], abs=1e-6)


def test_a_payment_needs_parameters_in_right_hand_sides_only() -> None:
    follower = random_qp(0, cost_theta=True)
    leader = ParametricQP.build(cost=np.zeros(3), variables=follower.parameters)
    with pytest.raises(InputError, match="right-hand sides only"):
        BilevelProblem(follower, leader)


def test_a_leader_without_the_parameters_is_refused() -> None:
    with pytest.raises(InputError, match="no variable of the leader"):
        BilevelProblem(random_qp(0), ParametricQP.build(cost=[1.0], variables=["other"]))


@pytest.mark.parametrize(
    "wrong",
    [
        {"formulation": "magic"},
        {"solver": "abacus"},
        {"complementarity": "hope"},
        {"formulation": "kkt-mccormick"},
    ],
)
def test_wrong_options_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(InputError, match="unknown option|works on strong duality"):
        solve(small(0), **wrong)  # type: ignore[arg-type]


def test_an_impossible_leader_is_reported() -> None:
    problem = small(0)
    impossible = replace(problem.leader, ineq_rhs=np.array([-5.0]))
    with pytest.raises(RunFailure, match="infeasible"):
        solve(replace(problem, leader=impossible))


def _with_empty_rows(limit: float, equal: float) -> BilevelProblem:
    """A problem whose leader has an inequality and an equality without any variable."""
    problem = small(0)
    leader = problem.leader
    nothing = sp.csr_array((1, len(leader.variables)))
    return replace(
        problem,
        leader=replace(
            leader,
            ineq_matrix=sp.csr_array(sp.vstack([leader.ineq_matrix, nothing])),
            ineq_rhs=np.append(leader.ineq_rhs, limit),
            ineq_theta=sp.csr_array((len(leader.ineq_rows) + 1, 0)),
            ineq_rows=(*leader.ineq_rows, "empty limit"),
            eq_matrix=sp.csr_array(sp.vstack([leader.eq_matrix, nothing])),
            eq_rhs=np.append(leader.eq_rhs, equal),
            eq_theta=sp.csr_array((len(leader.eq_rows) + 1, 0)),
            eq_rows=(*leader.eq_rows, "empty equality"),
        ),
    )


@pytest.mark.parametrize("solver", ["branch", "scip", "highs"])
def test_rows_of_the_leader_without_variables_that_hold_change_nothing(solver: str) -> None:
    if solver == "scip":
        pytest.importorskip("pyscipopt")
    found = solve(_with_empty_rows(1.0, 0.0), solver=solver, gap=1e-5)
    assert found.leader_cost == pytest.approx(solve(small(0), gap=1e-6).leader_cost, rel=2e-5)


@pytest.mark.parametrize("wrong", [(-1.0, 0.0), (1.0, 2.0), (1.0, -2.0)])
@pytest.mark.parametrize("solver", ["branch", "scip", "highs"])
def test_rows_of_the_leader_without_variables_that_do_not_hold_leave_nothing(
    solver: str, wrong: tuple[float, float]
) -> None:
    if solver == "scip":
        pytest.importorskip("pyscipopt")
    with pytest.raises(RunFailure, match="infeasible"):
        solve(_with_empty_rows(*wrong), solver=solver)


def test_a_wrong_answer_fails_its_certificate() -> None:
    problem = small(1)
    found = solve(problem, gap=1e-6)
    worse = certify(problem.follower, found.theta, found.x + 0.1, found.nu, found.sigma, payment=found.payment)
    with pytest.raises(RunFailure, match="certificate"):
        worse.require()
    cheaper = certify(problem.follower, found.theta, found.x, found.nu, found.sigma, payment=found.payment - 1.0)
    assert not cheaper.passed
    tight = np.full(len(found.sigma), np.inf)
    tight[np.argmax(found.sigma)] = found.sigma.max()
    capped = certify(
        problem.follower,
        found.theta,
        found.x,
        found.nu,
        found.sigma,
        payment=found.payment,
        dual_bounds=tight,
    )
    assert not capped.passed


@pytest.mark.parametrize("seed", range(4))
def test_solution_is_the_optimistic_end_of_its_price_interval(seed: int) -> None:
    found = solve(small(seed, rank=1), gap=1e-7)
    proof = found.certificate
    assert proof.payment_optimistic <= proof.payment_pessimistic + 1e-7
    assert found.payment == pytest.approx(proof.payment_optimistic, rel=1e-5, abs=1e-5)


def test_a_good_start_is_used() -> None:
    problem = small(3)
    first = solve(problem, gap=1e-7)
    again = solve(problem, gap=1e-7, start=first.theta)
    assert again.leader_cost == pytest.approx(first.leader_cost, rel=1e-6)


def test_a_time_limit_returns_the_best_so_far_with_its_gap() -> None:
    follower, leader = day(1)
    found = solve(BilevelProblem(follower, leader), gap=0.0, time_limit_s=1.5)
    assert found.status == "time limit"
    assert found.bound < found.leader_cost < found.bound * 1.05
    assert found.gap == pytest.approx((found.leader_cost - found.bound) / found.leader_cost)


@pytest.mark.parametrize("slope", [pytest.param(0.0, marks=pytest.mark.slow), 4.0])
def test_a_day_of_hourly_blocks_is_solved_to_a_thousandth(slope: float) -> None:
    follower, leader = day(0, slope=slope)
    found = solve(BilevelProblem(follower, leader), gap=1e-3, time_limit_s=30)
    assert found.status == "optimal"
    assert found.gap <= 1e-3
    assert found.certificate.follower_error < 1e-7
