"""Answers against pricing that know nothing of optimality conditions: a grid with the follower cleared, and SCIP."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cosim.experiments.benchmarks.leader.instances import Shape, instance
from cosim.optimization.bilevel.solver import BilevelProblem, solve
from cosim.optimization.qp.blocks import split
from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.solvers.qp_solver import QPSolver

_LEVELS = 121


def one_site(seed: int, slope: float) -> BilevelProblem:
    """One site, six steps of four hours, a total to be placed, and a cost of delay."""
    follower = instance(Shape(1, 3, 6, step_h=4.0, slope=slope), seed).follower
    low, high = follower.theta_lower, follower.theta_upper
    total = float(low.sum() + 0.5 * (high - low).sum())
    leader = ParametricQP.build(
        cost=0.4 * np.arange(6), eq_matrix=np.ones((1, 6)), eq_rhs=[total], variables=follower.parameters
    )
    return BilevelProblem(follower, leader)


def by_grid(problem: BilevelProblem) -> float:
    """Least cost over a grid of power by dynamic programming over steps, the follower cleared at every grid point."""
    follower, least = problem.follower, np.full(1, 0.0)
    for block in split(follower):
        if not len(block.parameters):
            continue
        (at,) = block.parameters.tolist()
        solver = QPSolver(replace(block.qp, constant_theta=follower.constant_theta[[at]]))
        power = np.linspace(follower.theta_lower[at], follower.theta_upper[at], _LEVELS)
        cost = np.empty(_LEVELS)
        for k, value in enumerate(power):
            found = solver.solve(np.array([value])).require()
            cost[k] = (float(solver.qp.sensitivity(found)[0]) + problem.leader.cost[at]) * value
        wider = np.full(len(least) + _LEVELS - 1, np.inf)
        for k in range(_LEVELS):
            wider[k : k + len(least)] = np.minimum(wider[k : k + len(least)], least + cost[k])
        least = wider
    return float(least[(len(least) - 1) // 2])


@pytest.mark.parametrize(
    ("seed", "slope"),
    [
        pytest.param(seed, slope, marks=() if (seed, slope) in ((0, 6.0), (1, 0.0)) else pytest.mark.slow)
        for seed in range(4) for slope in (0.0, 6.0)
    ],
)  # fmt: skip
def test_dynamic_programming_over_a_grid_finds_the_same_optimum(seed: int, slope: float) -> None:
    problem = one_site(seed, slope)
    found = solve(problem, gap=1e-6)
    grid = by_grid(problem)
    spacing = (problem.follower.theta_upper - problem.follower.theta_lower) / (_LEVELS - 1)
    # Where a price jumps the grid has to stay on its cheaper side, up to a spacing in every step.
    assert found.bound - 1e-6 * abs(grid) <= grid <= found.leader_cost + 2.0 * float(spacing @ np.abs(found.price))


def changed(seed: int, kind: str) -> BilevelProblem:
    """A small day with something unusual."""
    problem = instance(Shape(2, 2, 4, step_h=6.0, slope=4.0 if seed % 2 else 0.0), seed)
    follower, leader = problem.follower, problem.leader
    if kind == "negative prices":
        cost = follower.cost.copy()
        cost[[i for i, name in enumerate(follower.variables) if name.endswith(" x0")]] -= 75.0 * 6.0
        follower = replace(follower, cost=cost)
    elif kind == "box without width":
        middle = 0.5 * (follower.theta_lower + follower.theta_upper)
        lower, upper = follower.theta_lower.copy(), follower.theta_upper.copy()
        lower[:2] = upper[:2] = middle[:2]
        follower = follower.with_theta_box(lower, upper)
        leader = replace(
            leader,
            eq_rhs=np.concatenate([[6.0 * middle[:2].sum()], leader.eq_rhs[1:]]),
            ineq_rhs=np.zeros_like(leader.ineq_rhs),
        )
    elif kind == "a generator that never runs":
        cost = follower.cost.copy()
        cost[[i for i, name in enumerate(follower.variables) if name.endswith(" x1")]] = 900.0 * 6.0
        follower = replace(follower, cost=cost)
    elif kind == "a limit that binds all day":
        # The second generator stands still, so every step of the voltage band is short.
        rhs = follower.ineq_rhs.copy()
        rhs[[i for i, name in enumerate(follower.ineq_rows) if " low" in name]] *= 0.6
        follower = replace(follower, ineq_rhs=rhs)
    return BilevelProblem(follower, leader)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "kind",
    ["negative prices", "box without width", "a generator that never runs", "a limit that binds all day"],
)
def test_unusual_days_end_where_scip_ends(kind: str, seed: int) -> None:
    pytest.importorskip("pyscipopt")
    problem = changed(seed, kind)
    ours = solve(problem, gap=1e-6)
    theirs = solve(problem, solver="scip", gap=1e-6, time_limit_s=60)
    assert ours.status == "optimal" and ours.certificate.passed
    assert ours.leader_cost == pytest.approx(theirs.leader_cost, rel=2e-5, abs=1e-4)
    assert ours.bound <= theirs.leader_cost + 1e-5 * max(1.0, abs(theirs.leader_cost))
