"""Windows that share hours: what a solve leaves to the next one changes nothing but the work it takes."""

from __future__ import annotations

import numpy as np
import pytest

from cosim.optimization.bilevel.solver import BilevelProblem, solve
from cosim.optimization.bilevel.tree.cache import SearchCache
from cosim.optimization.qp.parametric import ParametricQP, stack
from tests.optimization.hourly import day, hour


def window(first: int, hours: int = 4) -> BilevelProblem:
    """Some hours of a longer day; the leader places a total of each parameter in them."""
    rng = np.random.default_rng(5)
    seeds = rng.integers(0, 1000, 12)
    parts = [
        hour(np.random.default_rng(seeds[t]), f"h{t} ", 30.0 + 3 * t, 0.8 + 0.05 * t, 4.0)
        for t in range(first, first + hours)
    ]
    follower = stack(parts)
    total = np.zeros((3, len(follower.parameters)))
    for i in range(3):
        total[i, i::3] = 1.0
    leader = ParametricQP.build(
        cost=np.zeros(3 * hours), eq_matrix=total, eq_rhs=np.full(3, 0.3 * hours), variables=follower.parameters,
    )  # fmt: skip
    return BilevelProblem(follower, leader)


@pytest.mark.parametrize("first", [0, 3])
def test_windows_that_roll_on_have_the_same_optimum_with_memory(first: int) -> None:
    cache = SearchCache()
    for k in range(3):
        problem = window(first + k)
        alone, after = solve(problem, gap=1e-6), solve(problem, gap=1e-6, cache=cache)
        assert after.leader_cost == pytest.approx(alone.leader_cost, rel=2e-6)
        assert after.bound <= alone.leader_cost * (1 + 1e-7)


def test_hours_seen_before_are_known() -> None:
    cache = SearchCache()
    known = []
    for k in range(3):
        solve(window(k), gap=1e-4, cache=cache)
        known.append(cache.reused)
    assert known == [0, 3, 3]


def test_the_same_problem_again_finds_the_same_point_with_fewer_programs() -> None:
    follower, leader = day(0, hours=6)
    problem, cache = BilevelProblem(follower, leader), SearchCache()
    first, again = (solve(problem, gap=1e-5, cache=cache) for _ in range(2))
    assert cache.reused == 6
    assert again.theta == pytest.approx(first.theta, abs=1e-6)
    assert again.nodes <= first.nodes
