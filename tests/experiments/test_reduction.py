"""Elimination keeps the optimum, the duals and the prices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from cosim.errors import InputError
from cosim.experiments.benchmarks.leader.reduction import reduce
from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.solvers.qp_solver import solve_qp
from tests.optimization.random_programs import with_states


@pytest.mark.parametrize("seed", range(8))
def test_reduced_and_explicit_agree_to_seven_digits(seed: int) -> None:
    qp = with_states(seed)
    theta = np.array([0.1, -0.15, 0.05])
    small = reduce(qp, qp.variables[:3])
    assert len(small.eliminated) >= 15
    explicit, reduced = solve_qp(qp, theta).require(), solve_qp(small.qp, theta).require()
    back = small.recover(reduced, theta)
    assert reduced.objective == pytest.approx(explicit.objective, rel=1e-9)
    assert small.qp.sensitivity(reduced) == pytest.approx(qp.sensitivity(explicit), rel=1e-7, abs=1e-8)
    assert back.x == pytest.approx(explicit.x, rel=1e-7, abs=1e-8)
    assert back.nu == pytest.approx(explicit.nu, rel=1e-7, abs=1e-7)
    assert back.sigma == pytest.approx(explicit.sigma, rel=1e-7, abs=1e-7)
    assert qp.sensitivity(back) == pytest.approx(qp.sensitivity(explicit), rel=1e-7, abs=1e-8)


def test_variables_to_keep_and_variables_with_quadratic_cost_stay() -> None:
    qp = with_states(0)
    small = reduce(qp, [qp.variables[-1]])
    curved = [name for name, h in zip(qp.variables, abs(qp.hessian).sum(axis=0), strict=True) if h > 0]
    assert set(curved) | {qp.variables[-1]} <= set(small.qp.variables)


@pytest.mark.parametrize("row", range(3))
def test_equalities_to_keep_stay_and_have_their_dual(row: int) -> None:
    qp = with_states(0)
    name, theta = qp.eq_rows[row], np.array([0.1, -0.15, 0.05])
    small = reduce(qp, qp.variables[:3], [name])
    dual = solve_qp(small.qp, theta).require().nu[small.qp.eq_rows.index(name)]
    assert dual == pytest.approx(solve_qp(qp, theta).require().nu[row], rel=1e-7, abs=1e-8)


@pytest.mark.parametrize("names", [(["nobody"], []), ([], ["nothing"])])
def test_names_to_keep_must_be_known(names: tuple[list[str], list[str]]) -> None:
    with pytest.raises(InputError, match="unknown name"):
        reduce(with_states(0), *names)


def test_a_matching_that_is_singular_in_numbers_is_seen_through() -> None:
    qp = ParametricQP.build(
        cost=[1.0, 1, 1],
        eq_matrix=[[1.0, 1, 1], [1, 1, 2]],
        eq_rhs=[3.0, 4.0],
        ineq_matrix=-np.eye(3),
        ineq_rhs=np.zeros(3),
    )
    small = reduce(qp)
    assert len(small.eliminated) == 2
    assert small.recover(solve_qp(small.qp)).objective == pytest.approx(solve_qp(qp).objective)


def test_dependent_equalities_remain_as_rows() -> None:
    qp = with_states(2, states=4)
    doubled = replace(
        qp,
        eq_matrix=sp.csr_array(sp.vstack([qp.eq_matrix, qp.eq_matrix[[-1]]])),
        eq_rhs=np.append(qp.eq_rhs, qp.eq_rhs[-1]),
        eq_theta=sp.csr_array(sp.vstack([qp.eq_theta, qp.eq_theta[[-1]]])),
        eq_rows=(*qp.eq_rows, "again"),
    )
    theta = np.full(3, 0.05)
    small = reduce(doubled)
    assert solve_qp(small.qp, theta).objective == pytest.approx(solve_qp(qp, theta).objective, rel=1e-8)
