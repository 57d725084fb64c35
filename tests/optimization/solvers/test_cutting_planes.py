"""Tangents of a convex function, against the function itself in one problem."""

from __future__ import annotations

import numpy as np
import pytest

from cosim.errors import InputError
from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.solvers.cutting_planes import CutModel
from cosim.optimization.solvers.qp_solver import solve_qp

COLUMNS = np.array([[0, 1], [2, 3]])


def budget(seed: int) -> ParametricQP:
    """Four amounts between 0 and 2 that add up to 3, at random linear costs."""
    eye = np.eye(4)
    return ParametricQP.build(
        cost=np.random.default_rng(seed).normal(size=4), eq_matrix=np.ones((1, 4)), eq_rhs=[3.0],
        ineq_matrix=np.vstack([-eye, eye]), ineq_rhs=[0.0] * 4 + [2.0] * 4,
    )  # fmt: skip


def squares(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """F_g = |y_g|^2 and its slope."""
    return (y**2).sum(axis=1), 2 * y


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_tangents_lead_to_the_optimum_of_the_whole(seed: int, together: bool) -> None:
    problem = budget(seed)
    whole = solve_qp(
        ParametricQP.build(
            hessian=2 * np.eye(4), cost=problem.cost, eq_matrix=problem.eq_matrix, eq_rhs=problem.eq_rhs,
            ineq_matrix=problem.ineq_matrix, ineq_rhs=problem.ineq_rhs,
        )
    ).require()  # fmt: skip
    model, y, best = CutModel(problem, COLUMNS), np.ones((2, 2)), np.inf
    centre = y
    for _ in range(40):
        values, slopes = squares(y)
        model.add(np.array([values.sum()]) if together else values, slopes, y)
        cost = float(problem.cost @ y.ravel() + values.sum())
        if cost < best:
            best, centre = cost, y
        y = model.minimise(centre, 0.5).x[COLUMNS]
    assert best == pytest.approx(whole.objective, abs=1e-4)


def test_the_slope_told_holds_the_point_there() -> None:
    """Paying the slopes as prices, the same point is the best one, up to the proximal term."""
    problem, y = budget(1), np.full((2, 2), 0.75)
    model = CutModel(problem, COLUMNS)
    for _ in range(5):
        model.add(*squares(y), y)
        found = model.minimise(y, 1e-6)
        y = found.x[COLUMNS]
    paid = problem.cost + found.slope.ravel()
    least = solve_qp(
        ParametricQP.build(
            cost=paid, eq_matrix=problem.eq_matrix, eq_rhs=problem.eq_rhs, ineq_matrix=problem.ineq_matrix,
            ineq_rhs=problem.ineq_rhs,
        )
    ).require()  # fmt: skip
    assert paid @ found.x == pytest.approx(least.objective, abs=1e-4)


@pytest.mark.parametrize("values", [np.zeros(3), np.zeros(0)])
def test_a_tangent_of_another_shape_is_refused(values: np.ndarray) -> None:
    with pytest.raises(InputError, match="does not fit"):
        CutModel(budget(0), COLUMNS).add(values, np.zeros((2, 2)), np.zeros((2, 2)))
