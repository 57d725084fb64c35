"""At a kink of the value function there are many optimal duals; the ends are its one-sided slopes."""

from __future__ import annotations

import numpy as np
import pytest

from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.qp.solution import QPSolution
from cosim.optimization.solvers.dual_face import DualFace
from cosim.optimization.solvers.qp_solver import solve_qp
from tests.optimization.random_programs import random_qp


def merit_order() -> ParametricQP:
    """Demand theta served by three plants of 1, 2 and 5 per unit and capacity 10 each: a kink at 10 and at
    20.
    """
    return ParametricQP.build(
        cost=[1.0, 2.0, 5.0],
        eq_matrix=[[1.0, 1, 1]],
        eq_rhs=[0.0],
        eq_theta=[[1.0]],
        ineq_matrix=np.vstack([np.eye(3), -np.eye(3)]),
        ineq_rhs=[10.0, 10, 10, 0, 0, 0],
        theta_lower=[0],
        theta_upper=[30],
    )


def test_ends_of_the_face_are_the_slopes_on_either_side() -> None:
    qp = merit_order()
    face = DualFace(qp, solve_qp(qp, [20.0]), [20.0])
    assert face.extreme([1.0]).price == pytest.approx([5.0])
    assert face.extreme([-1.0]).price == pytest.approx([2.0])


def test_nearest_price_is_the_target_inside_and_the_end_outside() -> None:
    qp = merit_order()
    face = DualFace(qp, solve_qp(qp, [20.0]), [20.0])
    inside, outside = face.nearest([3.0]), face.nearest([9.0])
    assert inside.price == pytest.approx([3.0], abs=1e-7)
    assert inside.value == pytest.approx(0.0, abs=1e-7)
    assert outside.price == pytest.approx([5.0], abs=1e-7)


def test_away_from_a_kink_the_face_is_a_point() -> None:
    qp = merit_order()
    face = DualFace(qp, solve_qp(qp, [15.0]), [15.0])
    assert face.extreme([1.0]).price == pytest.approx(face.extreme([-1.0]).price)


def test_at_the_edge_of_feasibility_the_price_has_no_upper_end() -> None:
    qp = merit_order()
    assert DualFace(qp, solve_qp(qp, [30.0]), [30.0]).extreme([1.0]).value == np.inf


@pytest.mark.parametrize("seed", range(6))
def test_extremes_are_one_sided_finite_differences(seed: int) -> None:
    """The second problem is the first with its curved part removed, so that kinks are many."""
    qp = random_qp(seed, rank=1)
    rng = np.random.default_rng(seed)
    theta, direction, step = rng.uniform(-0.1, 0.1, 3), rng.normal(size=3), 1e-6
    here = solve_qp(qp, theta).require()
    slope = (solve_qp(qp, theta + step * direction).objective - here.objective) / step
    assert DualFace(qp, here, theta).extreme(direction).value == pytest.approx(slope, rel=1e-4, abs=1e-4)


def test_every_point_of_the_face_proves_the_optimum() -> None:
    qp = merit_order()
    here = solve_qp(qp, [20.0])
    for point in (DualFace(qp, here, [20.0]).extreme([1.0]), DualFace(qp, here, [20.0]).extreme([-1.0])):
        gradient = qp.hessian @ here.x + qp.cost + qp.eq_matrix.T @ point.nu + qp.ineq_matrix.T @ point.sigma
        assert gradient == pytest.approx(np.zeros(3), abs=1e-8)
        assert point.sigma.min() >= 0
        assert point.sigma @ (qp.ineq_rhs - qp.ineq_matrix @ here.x) == pytest.approx(0.0, abs=1e-7)


NEARLY = 1e-6
"""Angle between the two rows of :func:`nearly_parallel`."""


def nearly_parallel() -> ParametricQP:
    """min (x1^2 + x2^2) / 2 with x1 >= theta and x1 + NEARLY x2 >= 2 theta - 1: at theta = 1 the first row holds x at
    a price of 1, a hair further the second one does at a price of 2.
    """
    return ParametricQP.build(
        hessian=np.eye(2),
        cost=[0.0, 0.0],
        ineq_matrix=[[-1.0, 0.0], [-1.0, -NEARLY]],
        ineq_rhs=[0.0, 1.0],
        ineq_theta=[[-1.0], [-2.0]],
        theta_lower=[0],
        theta_upper=[3],
    )


def known_optimum() -> QPSolution:
    return QPSolution(np.array([1.0, 0.0]), np.zeros(0), np.array([1.0, 0.0]), 0.5, "optimal", "by hand")


def test_a_reach_finds_the_price_that_a_hair_further_is_the_only_one() -> None:
    qp = nearly_parallel()
    exact, reaching = (DualFace(qp, known_optimum(), [1.0], reach=reach) for reach in (0.0, 10 * NEARLY))
    further = solve_qp(qp, [1.0 + 1e-7])
    assert qp.sensitivity(further) == pytest.approx([2.0], rel=1e-5)
    assert exact.extreme([1.0]).price == pytest.approx([1.0])
    assert reaching.extreme([1.0]).price == pytest.approx([2.0], abs=1e-4)
    assert reaching.extreme([-1.0]).price == pytest.approx([1.0], abs=1e-4)


def test_the_nearest_price_reaches_for_a_target_that_it_can_meet() -> None:
    face = DualFace(nearly_parallel(), known_optimum(), [1.0], reach=10 * NEARLY)
    assert face.nearest([1.5]).price == pytest.approx([1.5], abs=1e-5)
    assert face.nearest([5.0]).price == pytest.approx([1.0], abs=1e-9)
