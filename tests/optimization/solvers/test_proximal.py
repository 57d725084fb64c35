"""A problem held near a point."""

from __future__ import annotations

import numpy as np
import pytest

from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.solvers.proximal import ProximalSolver
from cosim.optimization.solvers.qp_solver import QPSolver

COLUMNS = np.array([[0, 1], [2, 3]])
LINEAR = np.array([[1.0, -2.0], [0.5, 0.0]])
NEAR = np.array([[0.3, 0.4], [0.9, 0.1]])


def in_a_box() -> ProximalSolver:
    """min x'x + the added terms over 0 <= x <= 1."""
    both = np.vstack([np.eye(4), -np.eye(4)])
    qp = ParametricQP.build(
        hessian=2 * np.eye(4), cost=np.zeros(4), ineq_matrix=both, ineq_rhs=np.concatenate([np.ones(4), np.zeros(4)])
    )
    return ProximalSolver(QPSolver(qp), COLUMNS)


def test_a_multiple_of_the_identity_holds_as_a_number_does() -> None:
    solver, matrices = in_a_box(), np.tile(7.0 * np.eye(2), (2, 1, 1))
    assert solver.solve(LINEAR, NEAR, matrices).x == pytest.approx(solver.solve(LINEAR, NEAR, 7.0).x, abs=1e-9)


def test_a_matrix_holds_as_stiffly_as_it_says_in_each_direction() -> None:
    """Inside the box the derivative 2 x + linear + W (x - near) vanishes."""
    matrices = np.array([[[50.0, 30.0], [30.0, 40.0]], [[9.0, -2.0], [-2.0, 60.0]]])
    found = in_a_box().solve(LINEAR, NEAR, matrices).x[COLUMNS]
    slope = 2 * found + LINEAR + np.einsum("gij,gj->gi", matrices, found - NEAR)
    assert slope == pytest.approx(np.zeros((2, 2)), abs=1e-8)


def test_another_matrix_is_taken_up() -> None:
    solver = in_a_box()
    loose, tight = (solver.solve(LINEAR, NEAR, np.tile(w * np.eye(2), (2, 1, 1))).x[COLUMNS] for w in (1.0, 1e4))
    assert np.abs(tight - NEAR).max() < 1e-3 < np.abs(loose - NEAR).max()
