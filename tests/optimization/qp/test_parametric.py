"""A parametric QP: signs, prices, and what fix, free, join and stack mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cosim.errors import InputError, RunFailure
from cosim.optimization.qp.parametric import ParametricQP, join, stack
from cosim.optimization.solvers.qp_solver import QPSolver, solve_qp
from tests.optimization.random_programs import random_qp

SEEDS = range(5)


@pytest.mark.parametrize("solver", ["auto", "piqp", "piqp-dense", "daqp", "highs"])
@pytest.mark.parametrize("seed", SEEDS)
def test_solution_meets_the_optimality_conditions(seed: int, solver: str) -> None:
    qp = random_qp(seed, cost_theta=True)
    theta = np.array([0.1, -0.05, 0.15])
    found = solve_qp(qp, theta, solver=solver).require()
    cost = qp.cost + qp.cost_theta @ theta
    slack = qp.ineq_rhs + qp.ineq_theta @ theta - qp.ineq_matrix @ found.x
    gradient = qp.hessian @ found.x + cost + qp.eq_matrix.T @ found.nu + qp.ineq_matrix.T @ found.sigma
    assert np.abs(gradient).max() < 1e-8
    assert np.abs(qp.eq_matrix @ found.x - qp.eq_rhs - qp.eq_theta @ theta).max() < 1e-8
    assert slack.min() > -1e-8
    assert found.sigma.min() >= 0
    assert abs(found.sigma @ slack) < 1e-7
    assert found.objective == pytest.approx(qp.objective(found.x, theta), rel=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_all_solvers_agree_on_value_and_prices(seed: int) -> None:
    qp = random_qp(seed, variables=12, rows=20, rank=5)
    theta = np.full(3, 0.03)
    first = solve_qp(qp, theta, solver="highs").require()
    for solver in ("piqp", "piqp-dense", "daqp"):
        other = solve_qp(qp, theta, solver=solver).require()
        assert other.objective == pytest.approx(first.objective, rel=1e-9)
        assert qp.sensitivity(other) == pytest.approx(qp.sensitivity(first), rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("seed", range(10))
def test_sensitivity_is_the_central_finite_difference(seed: int) -> None:
    qp = random_qp(seed, cost_theta=True)
    theta = np.array([0.02, -0.03, 0.05])
    price = qp.sensitivity(solve_qp(qp, theta).require())
    step = 1e-6
    for i in range(3):
        move = step * np.eye(3)[i]
        slope = (solve_qp(qp, theta + move).objective - solve_qp(qp, theta - move).objective) / (2 * step)
        assert slope == pytest.approx(price[i], rel=1e-5, abs=1e-5)


def test_extra_terms_shift_the_objective_as_if_they_were_in_the_problem() -> None:
    qp = random_qp(3)
    n = len(qp.variables)
    linear, diagonal = np.linspace(-1, 1, n), np.linspace(0.5, 2, n)
    solver = QPSolver(qp)
    plain = solver.solve(np.zeros(3)).require()
    shifted = solver.solve(np.zeros(3), extra_linear=linear, extra_diagonal=diagonal).require()
    explicit = solve_qp(replace(qp, cost=qp.cost + linear, hessian=qp.hessian + np.diag(diagonal)), np.zeros(3))
    assert shifted.x == pytest.approx(explicit.x, abs=1e-8)
    assert shifted.objective == pytest.approx(explicit.objective, rel=1e-9)
    assert solver.solve(np.zeros(3)).x == pytest.approx(plain.x, abs=1e-8)


def test_fixing_a_parameter_is_solving_at_its_value() -> None:
    qp = random_qp(1, cost_theta=True)
    fixed = qp.fix({"theta1": 0.12})
    assert fixed.parameters == ("theta0", "theta2")
    whole = solve_qp(qp, {"theta0": 0.1, "theta1": 0.12, "theta2": -0.1}).require()
    part = solve_qp(fixed, {"theta0": 0.1, "theta2": -0.1}).require()
    assert part.objective == pytest.approx(whole.objective, rel=1e-9)
    assert fixed.sensitivity(part) == pytest.approx(qp.sensitivity(whole)[[0, 2]], rel=1e-7)


@pytest.mark.parametrize("seed", SEEDS)
def test_freed_parameters_take_the_best_values_of_their_box(seed: int) -> None:
    qp = random_qp(seed)
    freed = qp.free(["theta0", "theta2"])
    found = solve_qp(freed, {"theta1": 0.05}).require()
    at = dict(zip(freed.variables, found.x, strict=True))
    theta = {"theta0": at["theta0"], "theta1": 0.05, "theta2": at["theta2"]}
    assert solve_qp(qp, theta).objective == pytest.approx(found.objective, rel=1e-7)
    rng = np.random.default_rng(seed)
    for _ in range(20):
        other = solve_qp(qp, {"theta1": 0.05, "theta0": rng.uniform(-0.2, 0.2), "theta2": rng.uniform(-0.2, 0.2)})
        assert other.objective >= found.objective - 1e-8


def test_a_parameter_that_multiplies_variables_cannot_be_freed() -> None:
    with pytest.raises(InputError, match="cannot be freed"):
        random_qp(0, cost_theta=True).free(["theta0"])


def renamed(qp: ParametricQP, tag: str) -> ParametricQP:
    names = {
        field: tuple(name + tag for name in getattr(qp, field))
        for field in ("variables", "parameters", "eq_rows", "ineq_rows")
    }
    return replace(qp, **names)


def test_stacked_problems_solve_side_by_side() -> None:
    one, two = renamed(random_qp(1), "@1"), renamed(random_qp(2), "@2")
    both = stack([one, two])
    theta = np.array([0.1, 0.0, -0.1, 0.05, 0.1, -0.2])
    found, first, second = solve_qp(both, theta), solve_qp(one, theta[:3]), solve_qp(two, theta[3:])
    assert found.objective == pytest.approx(first.objective + second.objective, rel=1e-9)
    prices = np.concatenate([one.sensitivity(first), two.sensitivity(second)])
    assert both.sensitivity(found) == pytest.approx(prices, rel=1e-7, abs=1e-8)


def test_stacked_problems_may_not_share_names() -> None:
    with pytest.raises(InputError, match="share a name"):
        stack([random_qp(1), random_qp(2)])


def test_joined_problems_share_variables_of_one_name() -> None:
    buyer = ParametricQP.build(hessian=[[2.0]], cost=[-8.0], variables=["q"])
    seller = ParametricQP.build(hessian=[[2.0]], cost=[0.0], variables=["q"])
    assert solve_qp(join([buyer, seller])).x == pytest.approx([2.0])


def test_infeasible_and_unbounded_are_told_apart() -> None:
    infeasible = ParametricQP.build(
        hessian=np.eye(2), cost=[0, 0], ineq_matrix=[[1, 1], [-1, -1]], ineq_rhs=[0, -1]
    )
    unbounded = ParametricQP.build(hessian=np.diag([1.0, 0]), cost=[0, 1], ineq_matrix=[[1, 1]], ineq_rhs=[3])
    for solver in ("auto", "piqp", "highs"):
        assert solve_qp(infeasible, solver=solver).status == "infeasible"
        assert solve_qp(unbounded, solver=solver).status == "unbounded"
    with pytest.raises(RunFailure, match="infeasible"):
        solve_qp(infeasible).require()


def test_a_free_direction_without_cost_does_not_spoil_the_prices() -> None:
    qp = ParametricQP.build(
        hessian=np.diag([2.0, 0.0]),
        cost=[0.0, 0.0],
        ineq_matrix=[[-1.0, 0], [0, 1], [0, -1]],
        ineq_rhs=[0, 5, 5],
        ineq_theta=[[-1.0], [0], [0]],
        theta_lower=[0],
        theta_upper=[2],
    )
    assert qp.sensitivity(solve_qp(qp, [1.5]).require()) == pytest.approx([3.0], rel=1e-9)


def test_wrong_shapes_and_names_are_refused() -> None:
    with pytest.raises(InputError, match="wrong shape"):
        replace(random_qp(0), cost=np.zeros(2))
    with pytest.raises(InputError, match="twice"):
        ParametricQP.build(cost=[1, 2], variables=["a", "a"])
    with pytest.raises(InputError, match="missing or unknown parameter"):
        solve_qp(random_qp(0), {"theta0": 1.0})
    with pytest.raises(InputError, match="unknown QP solver"):
        solve_qp(random_qp(0), np.zeros(3), solver="abacus")
