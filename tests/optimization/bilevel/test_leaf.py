"""What a leaf knows at multipliers for which it was never solved."""

from __future__ import annotations

import numpy as np
import pytest

from cosim.optimization.bilevel.model.single_level import single_level
from cosim.optimization.bilevel.relaxation.relaxation import SLACK_ZERO, Relaxation
from cosim.optimization.bilevel.tree.domain import BlockDomain
from cosim.optimization.bilevel.tree.leaf import Leaf, bounds
from cosim.optimization.qp.arrays import Vector
from cosim.optimization.qp.parametric import ParametricQP
from tests.optimization.hourly import day


class _Hour:
    """The relaxation of one hour with some pairs decided, to be solved at any multipliers."""

    def __init__(self, seed: int) -> None:
        self.follower, _ = day(seed, hours=1)
        leader = ParametricQP.build(cost=np.zeros(3), variables=self.follower.parameters)
        self.relaxation = Relaxation(single_level(self.follower, leader, payment=True))
        self.plain = self.relaxation.cost.copy()
        self.leaf = Leaf(BlockDomain(np.zeros(self.relaxation.pairs, dtype=np.int8)))
        self.leaf.part.held[int(np.argmax(self.violations(np.full(3, 40.0))))] = SLACK_ZERO

    def violations(self, mu: Vector) -> Vector:
        self.relaxation.cost = self.plain.copy()
        self.relaxation.cost[self.relaxation.level.theta_at] -= mu
        found = self.relaxation.solve(self.leaf.part.held)
        return self.relaxation.violations(found.z, self.leaf.part.held)

    def solve(self, mu: Vector, *, note: bool) -> float:
        self.relaxation.cost = self.plain.copy()
        self.relaxation.cost[self.relaxation.level.theta_at] -= mu
        found = self.relaxation.solve(self.leaf.part.held)
        assert found.status == "optimal" and found.reduced_cost is not None
        if note:
            self.leaf.take(mu, found, found.objective, found.z[self.relaxation.level.theta_at], found.reduced_cost, 6)
        return found.objective

    def bound(self, mu: Vector) -> float:
        return float(bounds([self.leaf], mu, self.follower.theta_lower, self.follower.theta_upper)[0])


@pytest.mark.parametrize("seed", range(4))
def test_the_bound_at_other_multipliers_is_never_above_the_minimum_there(seed: int) -> None:
    hour, rng = _Hour(seed), np.random.default_rng(seed)
    for mu in rng.uniform(0.0, 120.0, (3, 3)):
        hour.solve(mu, note=True)
    for mu in rng.uniform(0.0, 120.0, (20, 3)):
        least = hour.solve(mu, note=False)
        assert hour.bound(mu) <= least + 1e-6 * (1.0 + abs(least))


@pytest.mark.parametrize("seed", range(4))
def test_the_bound_at_multipliers_solved_for_is_the_minimum(seed: int) -> None:
    hour, rng = _Hour(seed), np.random.default_rng(seed)
    asked = rng.uniform(0.0, 120.0, (3, 3))
    least = [hour.solve(mu, note=True) for mu in asked]
    assert [hour.bound(mu) for mu in asked] == pytest.approx(least, rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_where_parameters_are_at_the_end_of_their_box_and_are_pulled_on_the_bound_moves_along(seed: int) -> None:
    hour = _Hour(seed)
    low, high = np.full(3, 5000.0), np.full(3, 5500.0)
    hour.solve(low, note=True)
    assert hour.bound(high) == pytest.approx(hour.solve(high, note=False), rel=1e-6)


def test_a_part_of_a_leaf_knows_what_the_leaf_knows() -> None:
    hour = _Hour(0)
    hour.solve(np.full(3, 40.0), note=True)
    part = hour.leaf.below(hour.leaf.part.decided(0)[0])
    limits = hour.follower.theta_lower, hour.follower.theta_upper
    mine, whole = bounds([part, hour.leaf], np.full(3, 50.0), *limits)
    assert mine == whole > -np.inf


def test_an_unsolved_leaf_knows_nothing() -> None:
    leaf = Leaf(BlockDomain(np.zeros(2, dtype=np.int8)))
    assert bounds([leaf], np.zeros(1), np.zeros(1), np.ones(1)).tolist() == [-np.inf]
