"""A solve that starts from the rows active the last time gives what a solve from nothing gives."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.qp.solution import QPSolution
from cosim.optimization.solvers.qp_solver import QPSolver

SIZE, ROWS, EQUATIONS = 60, 30, 8


def random_qp(seed: int, narrow: int = 0) -> ParametricQP:
    """A strictly convex QP in a box with coupled rows; right-hand sides and cost move with one parameter each."""
    rng = np.random.default_rng(seed)
    low, high = np.zeros(SIZE), np.full(SIZE, 2.0)
    low[:narrow] = high[:narrow] = 0.5
    inside = rng.uniform(0.2, 1.0, SIZE)
    inside[:narrow] = 0.5
    general = sp.random_array((ROWS, SIZE), density=0.1, rng=rng).toarray()
    equal = sp.random_array((EQUATIONS, SIZE), density=0.2, rng=rng).toarray()
    return ParametricQP.build(
        hessian=np.diag(rng.uniform(0.5, 2.0, SIZE)), cost=rng.normal(size=SIZE), eq_matrix=equal,
        eq_rhs=equal @ inside, ineq_matrix=np.vstack([np.eye(SIZE), -np.eye(SIZE), general]),
        ineq_rhs=np.concatenate([high, -low, general @ inside + 0.1]),
    )  # fmt: skip


def follow(qp: ParametricQP, costs: np.ndarray) -> list[QPSolution]:
    solver = QPSolver(qp, "piqp")
    return [solver.solve(np.zeros(0), extra_linear=extra, follow=True) for extra in costs]


@pytest.mark.parametrize("narrow", [0, 5])
@pytest.mark.parametrize("step", [0.02, 0.3, 3.0])
@pytest.mark.parametrize("seed", range(4))
def test_following_gives_the_same_optimum_and_duals(seed: int, step: float, narrow: int) -> None:
    qp = random_qp(seed, narrow)
    costs = np.cumsum(np.random.default_rng(seed).normal(size=(12, SIZE)) * step, axis=0)
    for extra, found in zip(costs, follow(qp, costs), strict=True):
        fresh = QPSolver(qp, "piqp").solve(np.zeros(0), extra_linear=extra)
        assert found.residual <= 1e-10 and found.sigma.min() >= 0
        assert found.x == pytest.approx(fresh.x, abs=1e-7)
        assert found.objective == pytest.approx(fresh.objective, rel=1e-10, abs=1e-10)
        assert found.nu == pytest.approx(fresh.nu, abs=1e-5)


def test_small_steps_are_followed_without_another_solver() -> None:
    costs = np.cumsum(np.random.default_rng(1).normal(size=(12, SIZE)) * 0.02, axis=0)
    assert [found.solver for found in follow(random_qp(1), costs)] == ["piqp", *["active-set"] * 11]


def test_a_different_problem_is_left_to_the_solver() -> None:
    costs = np.random.default_rng(2).normal(size=(3, SIZE)) * 100
    assert [found.solver for found in follow(random_qp(2), costs)] == ["piqp"] * 3


def test_a_problem_without_a_point_is_still_found_out() -> None:
    qp = ParametricQP.build(
        hessian=np.eye(SIZE), cost=np.zeros(SIZE), ineq_matrix=np.vstack([np.eye(SIZE), -np.eye(SIZE)]),
        ineq_rhs=np.ones(2 * SIZE), eq_matrix=np.ones((1, SIZE)), eq_rhs=[0.0], eq_theta=[[1.0]],
        parameters=["total"], theta_lower=[0.0], theta_upper=[100.0],
    )  # fmt: skip
    solver = QPSolver(qp, "piqp")
    statuses = [solver.solve([total], follow=True).status for total in (30.0, 31.0, 61.0, 32.0)]
    assert statuses == ["optimal", "optimal", "infeasible", "optimal"]


def test_another_hessian_starts_from_the_same_rows() -> None:
    qp = random_qp(3)
    first = QPSolver(qp, "piqp")
    first.solve(np.zeros(0), follow=True)
    steeper = ParametricQP.build(
        hessian=qp.hessian.toarray() * 1.01, cost=qp.cost, eq_matrix=qp.eq_matrix, eq_rhs=qp.eq_rhs,
        ineq_matrix=qp.ineq_matrix, ineq_rhs=qp.ineq_rhs,
    )  # fmt: skip
    found = QPSolver(steeper, "piqp", like=first).solve(np.zeros(0), follow=True)
    fresh = QPSolver(steeper, "piqp").solve(np.zeros(0))
    assert (found.solver, fresh.solver) == ("active-set", "piqp")
    assert found.x == pytest.approx(fresh.x, abs=1e-8)
