"""Bilevel problems without a best point: every solver says so, and says why alike."""

from __future__ import annotations

import numpy as np
import pytest

from cosim.errors import RunFailure
from cosim.optimization.bilevel.model.single_level import single_level
from cosim.optimization.bilevel.relaxation.verdict import verdict
from cosim.optimization.bilevel.solver import BilevelProblem, solve
from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.qp.presolve import presolve
from cosim.optimization.qp.solution import NoSolution
from cosim.optimization.solvers import mip_solvers

WAYS = [("branch", "big-m"), ("scip", "big-m"), ("scip", "sos1"), ("scip", "indicator"), ("gurobi", "big-m"),
        ("highs", "big-m")]  # fmt: skip


def leader(low: float = 0.0, high: float = 3.0, cost: float = 0.0) -> ParametricQP:
    return ParametricQP.build(cost=[cost], ineq_matrix=[[1.0], [-1.0]], ineq_rhs=[high, -low], variables=["t"])


def follower(dear: float = 5.0, total: float = 2.0) -> ParametricQP:
    """min x1 + dear x2, x1 + x2 = total, x1 <= t, x2 <= 1, x >= 0: at t = total - 1 its duals have no end."""
    return ParametricQP.build(
        cost=[1.0, dear], eq_matrix=[[1.0, 1.0]], eq_rhs=[total],
        ineq_matrix=[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]], ineq_rhs=[0.0, 1.0, 0.0, 0.0],
        ineq_theta=[[1.0], [0.0], [0.0], [0.0]], parameters=["t"], theta_lower=[0.0], theta_upper=[3.0],
    )  # fmt: skip


def refusal(problem: BilevelProblem, solver: str, complementarity: str) -> NoSolution:
    if solver != "branch" and solver not in mip_solvers.installed():
        pytest.skip(f"{solver} is not installed")
    with pytest.raises(NoSolution) as refused:
        solve(problem, solver=solver, complementarity=complementarity)
    return refused.value


@pytest.mark.parametrize(("solver", "complementarity"), WAYS)
def test_a_price_that_falls_for_ever_is_refused_as_unbounded(solver: str, complementarity: str) -> None:
    refused = refusal(BilevelProblem(follower(), leader()), solver, complementarity)
    assert str(refused) == "a bilevel problem has no solution to offer: unbounded"


def test_the_same_follower_is_bounded_where_the_leader_stays_off_its_kink() -> None:
    """Although the relaxation without complementarities has no lower end."""
    for low, high in ((1.2, 3.0), (1.5, 2.0)):
        problem = BilevelProblem(follower(), leader(low, high))
        ready = presolve(problem.follower, problem.leader).qp
        assert verdict(single_level(ready, problem.leader, payment=True)) == "bounded"
        # For t in (1, 2) the price is -(5 - 1), for t above 2 it is zero: least at t = 2, where both hold.
        assert solve(problem, solver="branch", gap=1e-7).leader_cost == pytest.approx(-4.0 * 2.0, abs=1e-5)


@pytest.mark.parametrize(("solver", "complementarity"), WAYS)
def test_a_follower_without_an_end_is_named(solver: str, complementarity: str) -> None:
    endless = ParametricQP.build(
        cost=[-1.0], ineq_matrix=[[-1.0]], ineq_rhs=[0.0], ineq_theta=[[1.0]], parameters=["t"], theta_lower=[0.0],
        theta_upper=[3.0],
    )  # fmt: skip
    refused = refusal(BilevelProblem(endless, leader()), solver, complementarity)
    assert refused.status == "infeasible" and "the follower's cost has no lower end" in str(refused)


@pytest.mark.parametrize(("solver", "complementarity"), WAYS)
def test_a_range_that_is_empty_is_named(solver: str, complementarity: str) -> None:
    refused = refusal(BilevelProblem(follower(), leader(4.0, 5.0)), solver, complementarity)
    assert refused.status == "infeasible" and "range of t" in str(refused)


# The duals at t = 0 have no end, so that HiGHS, which has no SOS1, takes no part.
@pytest.mark.parametrize(("solver", "complementarity"), WAYS[:-1])
def test_rows_of_zeros_change_nothing(solver: str, complementarity: str) -> None:
    if solver != "branch" and solver not in mip_solvers.installed():
        pytest.skip(f"{solver} is not installed")
    # x = t is served at the price 2 t - 6 of this follower, which the leader pays: least at t = 1.5.
    qp = ParametricQP.build(
        hessian=[[2.0]], cost=[-6.0], eq_matrix=[[1.0], [0.0]], eq_rhs=[0.0, 0.0], eq_theta=[[1.0], [0.0]],
        ineq_matrix=[[0.0], [1.0], [-1.0]], ineq_rhs=[0.0, 4.0, 0.0], parameters=["t"], theta_lower=[0.0],
        theta_upper=[3.0],
    )  # fmt: skip
    found = solve(BilevelProblem(qp, leader()), solver=solver, complementarity=complementarity, gap=1e-6)
    assert found.leader_cost == pytest.approx(-4.5, abs=1e-5)


def test_a_row_of_zeros_that_cannot_hold_is_infeasible() -> None:
    pytest.importorskip("pyscipopt")
    qp = ParametricQP.build(
        hessian=[[2.0]], cost=[-6.0], eq_matrix=[[0.0]], eq_rhs=[1.0], parameters=["t"], eq_theta=[[0.0]],
        theta_lower=[0.0], theta_upper=[3.0],
    )  # fmt: skip
    assert refusal(BilevelProblem(qp, leader()), "scip", "sos1").status == "infeasible"


def test_an_error_inside_a_solver_is_a_failure_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyscipopt")

    class Broken:
        def solve(self, *_: object, **__: object) -> None:
            raise Exception("SCIP: error in LP solver!")

    monkeypatch.setattr(mip_solvers, "SolverFactory", lambda _: Broken())
    with pytest.raises(RunFailure, match="solver scip gave up: SCIP: error in LP solver"):
        solve(BilevelProblem(follower(), leader(1.2, 2.0)), solver="scip", complementarity="sos1")


@pytest.mark.parametrize("solver", ["scip", "gurobi"])
def test_a_bound_is_stated_below_the_optimum_by_the_solvers_own_tolerance(solver: str) -> None:
    if solver not in mip_solvers.installed():
        pytest.skip(f"{solver} is not installed")
    found = solve(BilevelProblem(follower(), leader(1.2, 2.0)), solver=solver, complementarity="sos1", gap=1e-8)
    assert found.bound <= -8.0 - 0.5 * 8.0 * mip_solvers.BOUND_TOLERANCE
    assert found.bound >= -8.0 - 2.0 * 8.0 * mip_solvers.BOUND_TOLERANCE
    assert np.isclose(found.gap, (found.leader_cost - found.bound) / abs(found.leader_cost))
