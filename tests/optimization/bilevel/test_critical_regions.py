"""Critical regions of a follower against clearing it, and what presolve takes out against leaving it in."""

from __future__ import annotations

import numpy as np
import pytest

from cosim.experiments.benchmarks.leader.instances import Shape, instance
from cosim.optimization.bilevel.primal.critical_regions import CriticalRegions
from cosim.optimization.qp.blocks import split
from cosim.optimization.qp.fixed_variables import without_fixed, without_separate
from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.qp.presolve import presolve
from cosim.optimization.solvers.polish import Conditions, Matrices
from cosim.optimization.solvers.qp_solver import solve_qp
from tests.optimization.random_programs import random_qp


@pytest.mark.parametrize("seed", range(8))
def test_a_piece_answers_as_the_follower_does_wherever_it_holds(seed: int) -> None:
    qp = random_qp(seed, box=1.0)
    (block,) = split(qp)
    regions = CriticalRegions(block, qp.constant_theta)
    rng, held = np.random.default_rng(seed), 0
    for _ in range(30):
        theta = rng.uniform(-1.0, 1.0, 3)
        region = regions.at(theta)
        assert region is not None and region.holds(theta)
        assert np.linalg.eigvalsh(region.hessian)[0] > -1e-7
        for near in theta + 0.05 * rng.normal(size=(4, 3)):
            if region.holds(near) and np.all(np.abs(near) <= 1.0):
                held += 1
                found = solve_qp(qp, near).require()
                answer = region.answer @ near + region.answer_at
                assert answer[: len(found.x)] == pytest.approx(found.x, abs=1e-6)
                assert region.payment(near) == pytest.approx(float(qp.sensitivity(found) @ near), rel=1e-6, abs=1e-6)
    assert held > 20


@pytest.mark.parametrize("slope", [0.0, 5.0])
def test_regions_of_a_day_need_no_other_solver(slope: float, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = instance(Shape(4, 5, 4, step_h=6.0, slope=slope, tight=True), 7)
    follower = presolve(problem.follower, problem.leader).qp
    for block in split(follower, by_parameter=True):
        regions = CriticalRegions(block, follower.constant_theta[block.parameters])
        monkeypatch.setattr(regions, "_solver", None)
        low, high = block.qp.theta_lower, block.qp.theta_upper
        for share in np.random.default_rng(1).uniform(size=(10, len(low))):
            region = regions.at(low + share * (high - low))
            assert region is not None and region.holds(low + share * (high - low))


@pytest.mark.parametrize("seed", range(4))
def test_beyond_a_side_lies_another_piece_that_touches_it(seed: int) -> None:
    qp = random_qp(seed, box=1.0)
    (block,) = split(qp)
    regions, theta, crossed = CriticalRegions(block, qp.constant_theta), np.zeros(3), 0
    region = regions.at(theta)
    assert region is not None
    for row in range(len(region.rhs)):
        on_side = theta + (region.rhs[row] - region.matrix[row] @ theta) * region.matrix[row]
        if region.holds(on_side) and np.all(np.abs(on_side) < 0.99):
            other = regions.across(region, row, on_side)
            assert other is not None and other is not region
            crossed += bool(np.all(other.matrix @ on_side <= other.rhs + 1e-6))
    assert crossed or not len(region.rhs)


@pytest.mark.parametrize("seed", range(4))
def test_the_least_of_a_piece_is_that_of_its_quadratic_program(seed: int) -> None:
    qp = random_qp(seed, box=1.0)
    (block,) = split(qp)
    region, rng = CriticalRegions(block, qp.constant_theta).at(np.full(3, 0.1)), np.random.default_rng(seed)
    assert region is not None
    for _ in range(5):
        mu = rng.normal(size=3)
        program = ParametricQP.build(
            hessian=region.hessian, cost=region.linear - mu,
            ineq_matrix=np.vstack([region.matrix, np.eye(3), -np.eye(3)]),
            ineq_rhs=np.concatenate([region.rhs, np.ones(6)]),
        )  # fmt: skip
        least = solve_qp(program, solver="highs").require().objective
        assert region.least(mu, -np.ones(3), np.ones(3)) == pytest.approx(least, abs=1e-6)
    assert region.least(mu, np.full(3, 2.0), np.full(3, 3.0)) == np.inf or region.holds(np.full(3, 2.0))


@pytest.mark.parametrize("seed", range(6))
def test_fixed_variables_come_back_with_duals_that_prove_the_optimum(seed: int) -> None:
    qp = instance(Shape(2, 9, 12), seed).follower
    smaller = without_fixed(qp)
    assert len(smaller.kept_variables) < len(qp.variables)
    theta = 0.5 * (qp.theta_lower + qp.theta_upper)
    found, whole = solve_qp(smaller.qp, theta).require(), solve_qp(qp, theta).require()
    assert found.objective == pytest.approx(whole.objective, rel=1e-9)
    assert smaller.qp.sensitivity(found) == pytest.approx(qp.sensitivity(whole), rel=1e-5, abs=1e-5)
    x, sigma = smaller.recover(found.x, found.nu, found.sigma)
    sides = (qp.eq_rhs + qp.eq_theta @ theta, qp.ineq_rhs + qp.ineq_theta @ theta)
    assert Conditions(Matrices(qp), qp.cost, None, *sides).residual((x, found.nu, sigma)) < 1e-7


def test_one_fixed_variable_may_fix_another() -> None:
    # p is 0, so p + q <= 0 and p - q <= 0 hold q at 0, whose reduced cost goes to the first of them.
    qp = ParametricQP.build(
        hessian=np.eye(3), cost=[1.0, -3.0, 2.0],
        ineq_matrix=[[1, 0, 0], [-1, 0, 0], [1, 1, 0], [1, -1, 0], [0, 0, -1]], ineq_rhs=[0, 0, 0, 0, 0],
        ineq_theta=[[0], [0], [0], [0], [-1]], parameters=["t"], theta_lower=[0.0], theta_upper=[1.0],
    )  # fmt: skip
    smaller = without_fixed(qp)
    assert smaller.qp.variables == ("x2",) and smaller.qp.ineq_rows == ("in4",)
    found = solve_qp(smaller.qp, [0.5]).require()
    x, sigma = smaller.recover(found.x, found.nu, found.sigma)
    assert x == pytest.approx([0.0, 0.0, 0.5]) and sigma == pytest.approx([0.0, 4.0, 3.0, 0.0, 2.5])


def test_a_variable_that_the_leader_names_stays() -> None:
    qp = ParametricQP.build(hessian=np.eye(1), cost=[1.0], ineq_matrix=[[1.0], [-1.0]], ineq_rhs=[0.0, 0.0])
    assert without_fixed(qp, {"x0"}).qp.variables == ("x0",)
    assert without_fixed(qp).qp.variables == ()


def test_lone_variables_come_back_with_duals_that_prove_the_optimum() -> None:
    # x0 is tied to t; x1 lies at its upper bound, x2 at its lower one, x3 inside, x4 costs nothing.
    whole = ParametricQP.build(
        hessian=np.diag([2.0, 1.0, 0.0, 4.0, 0.0]), cost=[1.0, -3.0, 5.0, -4.0, 0.0],
        ineq_matrix=[[-1, 0, 0, 0, 0], [0, 2, 0, 0, 0], [0, 0, -1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, -1]],
        ineq_rhs=[0.0, 4.0, 0.5, 3.0, -1.0], ineq_theta=[[-1], [0], [0], [0], [0]],
        parameters=["t"], theta_lower=[0.0], theta_upper=[1.0],
    )  # fmt: skip
    smaller = without_separate(whole)
    assert smaller.qp.variables == ("x0",) and smaller.qp.ineq_rows == ("in0",)
    found = solve_qp(smaller.qp, [0.5]).require()
    assert found.objective == pytest.approx(solve_qp(whole, [0.5], solver="highs").require().objective)
    x, sigma = smaller.recover(found.x, found.nu, found.sigma)
    assert x == pytest.approx([0.5, 2.0, -0.5, 1.0, 1.0]) and sigma == pytest.approx([2.0, 0.5, 5.0, 0.0, 0.0])


def test_a_lone_variable_without_an_end_stays() -> None:
    whole = ParametricQP.build(cost=[-1.0, 1.0], ineq_matrix=[[-1.0, 0.0], [0.0, -1.0]], ineq_rhs=[0.0, 0.0])
    assert without_separate(whole).qp.variables == ("x0",)
    assert without_separate(whole, {"x1"}).qp.variables == ("x0", "x1")
