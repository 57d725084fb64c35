"""Screening drops only rows that never bind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.optimization.qp.bound_propagation import screen
from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.solvers.qp_solver import solve_qp
from tests.optimization.random_programs import random_qp, with_states


@given(
    seed=st.integers(0, 40),
    where=st.lists(st.floats(-0.2, 0.2), min_size=3, max_size=3),
)
@settings(max_examples=60)
def test_screening_never_changes_the_optimum(seed: int, where: list[float]) -> None:
    qp = random_qp(seed) if seed % 2 else with_states(seed, states=6)
    screened, kept = screen(qp)
    theta = np.array(where)
    before, after = solve_qp(qp, theta).require(), solve_qp(screened, theta).require()
    assert after.objective == pytest.approx(before.objective, rel=1e-8)
    assert (qp.ineq_rhs + qp.ineq_theta @ theta - qp.ineq_matrix @ after.x).min() > -1e-6
    assert screened.ineq_rows == tuple(np.array(qp.ineq_rows)[kept])


def test_rows_without_a_limit_implied_and_looser_ones_leave() -> None:
    qp = ParametricQP.build(
        cost=[1.0, 1.0],
        ineq_matrix=[[1, 0], [-1, 0], [0, 1], [0, -1], [1, 1], [1, 0], [1, -1], [1, 1]],
        ineq_rhs=[1, 0, 1, 0, 5, 9, np.inf, 1.5],
        ineq_theta=[[1], [0], [0], [0], [0], [0], [0], [0]],
        theta_lower=[0],
        theta_upper=[0.5],
        ineq_rows=["x", "x0", "y", "y0", "wide", "looser", "open", "sum"],
    )
    assert set(qp.ineq_rows) - set(screen(qp)[0].ineq_rows) == {"wide", "looser", "open"}


def test_a_row_that_can_just_bind_is_kept() -> None:
    qp = ParametricQP.build(
        cost=[1.0, 1.0],
        ineq_matrix=[[1, 0], [-1, 0], [0, 1], [0, -1], [1, 1]],
        ineq_rhs=[1, 0, 1, 0, 2],
    )
    assert screen(qp)[0].ineq_rows == qp.ineq_rows


def test_an_open_parameter_box_keeps_what_it_could_move() -> None:
    qp = ParametricQP.build(
        cost=[1.0],
        ineq_matrix=[[1], [-1], [2.0]],
        ineq_rhs=[1, 0, 9],
        ineq_theta=[[0], [0], [1]],
        theta_lower=[-np.inf],
    )
    assert screen(qp)[0].ineq_rows == qp.ineq_rows
