"""Bounds around a good point keep all points that are as good; MIP solvers find the same optimum with them."""

from __future__ import annotations

import time

import numpy as np
import pytest

from cosim.optimization.bilevel.mip.formulation import Repairs
from cosim.optimization.bilevel.model.single_level import single_level
from cosim.optimization.bilevel.relaxation.obbt import Cutoff, FollowerBounds
from cosim.optimization.bilevel.solver import BilevelProblem, solve
from cosim.optimization.bilevel.tree.objective_cutoff import find_cutoff
from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.qp.presolve import Presolved, presolve
from tests.optimization.hourly import day

NONE = Repairs(tighten=False, cut=False, start=False)


def known(seed: int, slope: float) -> tuple[Presolved, ParametricQP, Cutoff]:
    follower, leader = day(seed, hours=4, slope=slope)
    ready = presolve(follower, leader)
    found = find_cutoff(single_level(ready.qp, leader, payment=True), None, 1e-3, time.perf_counter() + 60)
    assert found is not None
    return ready, leader, found


@pytest.mark.parametrize("slope", [pytest.param(0.0, marks=pytest.mark.slow), 4.0])
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_the_optimum_lies_within_all_bounds(seed: int, slope: float) -> None:
    ready, leader, cutoff = known(seed, slope)
    best = solve(BilevelProblem(ready.qp, leader), gap=1e-6, time_limit_s=60)
    bounds = FollowerBounds(ready.qp, 2, cutoff)
    slack = ready.qp.ineq_rhs + ready.qp.ineq_theta @ best.theta - ready.qp.ineq_matrix @ best.x
    near = 1e-6
    for k in range(len(best.theta)):
        low, high = bounds.parameter(k)
        assert low - near <= best.theta[k] <= high + near
        low, high = bounds.price(k)
        assert low - near * 100 <= best.price[k] <= high + near * 100
    for i in range(len(slack)):
        assert best.sigma[i] <= bounds.dual(i) + near * 100
        assert best.sigma[i] > near or slack[i] <= bounds.slack(i) + near


def test_a_cutoff_narrows_prices() -> None:
    ready, _, cutoff = known(0, 4.0)
    wide, narrow = FollowerBounds(ready.qp), FollowerBounds(ready.qp, 0, cutoff)
    count = range(len(ready.qp.parameters))
    width = [[high - low for low, high in map(b.price, count)] for b in (wide, narrow)]
    assert np.all(np.array(width[1]) <= np.array(width[0]) + 1e-6)
    assert np.sum(width[1]) < 0.5 * np.sum(width[0])


def test_the_bound_of_a_cutoff_is_one_of_the_problem() -> None:
    ready, leader, cutoff = known(1, 0.0)
    best = solve(BilevelProblem(ready.qp, leader), gap=1e-6, time_limit_s=60)
    assert cutoff.bound <= best.leader_cost + 1e-5 <= cutoff.cost + 2e-5


@pytest.mark.parametrize("solver", ["scip", "highs"])
@pytest.mark.parametrize("formulation", ["strong-duality", "kkt-mccormick"])
def test_repairs_do_not_change_what_is_found(solver: str, formulation: str) -> None:
    pytest.importorskip({"scip": "pyscipopt", "highs": "highspy"}[solver])
    follower, leader = day(0, hours=2)
    problem = BilevelProblem(follower, leader)
    exact = solve(problem, gap=1e-5)
    found = solve(problem, formulation, solver, gap=1e-4, time_limit_s=60)
    allowed = 2e-4 * abs(exact.leader_cost) + found.certificate.discretisation
    assert found.bound <= exact.leader_cost * (1 + 2e-5)
    assert abs(found.leader_cost - exact.leader_cost) <= allowed


@pytest.mark.parametrize(
    "repairs",
    [NONE, *(pytest.param(Repairs(**{k: False}), marks=pytest.mark.slow) for k in ("tighten", "cut", "start"))],
)
def test_each_repair_may_be_left_out(repairs: Repairs) -> None:
    pytest.importorskip("pyscipopt")
    follower, leader = day(0, hours=2)
    exact = solve(BilevelProblem(follower, leader), gap=1e-5)
    found = solve(
        BilevelProblem(follower, leader), "kkt-mccormick", "scip", bits=2, gap=1e-3, time_limit_s=20, repairs=repairs
    )
    assert found.bound <= exact.leader_cost * (1 + 2e-5) <= found.leader_cost * (1 + 4e-5)
