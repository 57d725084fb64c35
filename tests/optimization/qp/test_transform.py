"""Exact transformations of a parametric QP, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.qp.transform import map_parameters, rename, with_rows
from cosim.optimization.solvers.qp_solver import solve_qp

Array = NDArray[np.float64]
SEEDS = st.integers(0, 10_000)
QUICK = settings(max_examples=60)


def limited(seed: int, limits: int = 12) -> ParametricQP:
    """A strictly convex QP in a box with many nearly parallel limits, feasible for every parameter in its box."""
    rng = np.random.default_rng(seed)
    n, k = 3, 2
    directions = rng.normal(size=n) + 0.15 * rng.normal(size=(limits, n))
    box = np.vstack([np.eye(n), -np.eye(n)])
    return ParametricQP.build(
        hessian=np.diag(1.0 + rng.random(n)),
        cost=3 * rng.normal(size=n),
        ineq_matrix=np.vstack([box, directions]),
        ineq_rhs=np.concatenate([np.ones(2 * n), 0.2 + rng.random(limits)]),
        ineq_theta=np.vstack([np.zeros((2 * n, k)), 0.1 * rng.normal(size=(limits, k))]),
        theta_lower=-0.5 * np.ones(k),
        theta_upper=0.5 * np.ones(k),
        ineq_rows=[f"box{i}" for i in range(2 * n)] + [f"limit{i}" for i in range(limits)],
    )


@QUICK
@given(SEEDS, st.lists(st.floats(-0.2, 0.2), min_size=3, max_size=3))
def test_mapped_parameters_give_the_same_problem(seed: int, where: list[float]) -> None:
    qp, phi = limited(seed), np.array(where)
    matrix = np.random.default_rng(seed).normal(size=(2, 3))
    mapped = map_parameters(qp, sp.csr_array(matrix), ("a", "b", "c"), -np.ones(3), np.ones(3))
    old, new = solve_qp(qp, matrix @ phi), solve_qp(mapped, phi)
    assert old.status == new.status
    if old.optimal:
        assert new.objective == pytest.approx(old.objective, rel=1e-7, abs=1e-7)


def test_prices_of_mapped_parameters_follow_by_the_chain_rule() -> None:
    qp = limited(5)
    matrix = np.array([[1.0, 0.5, 0.0], [0.0, 0.3, 2.0]])
    mapped = map_parameters(qp, sp.csr_array(matrix), ("a", "b", "c"), -np.ones(3), np.ones(3))
    old, new = solve_qp(qp, np.zeros(2)).require(), solve_qp(mapped, np.zeros(3)).require()
    assert mapped.sensitivity(new) == pytest.approx(matrix.T @ qp.sensitivity(old), abs=1e-6)


def test_a_mapped_problem_bears_its_new_names_and_box() -> None:
    mapped = map_parameters(limited(0), sp.csr_array(np.ones((2, 1))), ("only",), np.array([-1.0]), np.array([2.0]))
    assert mapped.parameters == ("only",)
    assert (float(mapped.theta_lower[0]), float(mapped.theta_upper[0])) == (-1.0, 2.0)


def test_renaming_changes_names_and_nothing_else() -> None:
    qp = limited(1)
    new = rename(qp, "v.{}".format, "r.{}".format, "p.{}".format)
    assert new.variables == ("v.x0", "v.x1", "v.x2")
    assert new.parameters == ("p.theta0", "p.theta1") and new.ineq_rows[0] == "r.box0"
    new_x, old_x = (solve_qp(one, np.zeros(2)).require().x for one in (new, qp))
    assert new_x == pytest.approx(old_x, abs=1e-9)


def test_renaming_leaves_parameters_alone_unless_asked() -> None:
    assert rename(limited(1), "v.{}".format, "r.{}".format).parameters == ("theta0", "theta1")


def test_a_further_row_is_kept_for_every_parameter() -> None:
    qp = limited(2)
    free = solve_qp(qp, np.zeros(2)).require()
    row = np.array([[1.0, 0.0, 0.0]])
    tighter = with_rows(qp, sp.csr_array(row), np.array([free.x[0] - 0.1]), ("further",))
    for theta in (np.zeros(2), np.array([0.3, -0.3])):
        assert solve_qp(tighter, theta).require().x[0] <= free.x[0] - 0.1 + 1e-8
    assert tighter.ineq_rows == (*qp.ineq_rows, "further")
