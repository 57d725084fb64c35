"""The bound of the decomposition into blocks lies between the convex relaxation and the optimum."""

from __future__ import annotations

import time

import numpy as np
import pytest

from cosim.optimization.bilevel.model.single_level import single_level
from cosim.optimization.bilevel.primal.incumbents import Incumbents
from cosim.optimization.bilevel.primal.region_search import region_search
from cosim.optimization.bilevel.relaxation.relaxation import Relaxation
from cosim.optimization.bilevel.settings import DEFAULT, SearchSettings
from cosim.optimization.bilevel.solver import BilevelProblem, solve
from cosim.optimization.bilevel.tree.domain import Domain
from cosim.optimization.bilevel.tree.hull_tree import HullTree
from cosim.optimization.bilevel.tree.lagrangian import Decomposition, decompose
from cosim.optimization.qp.parametric import ParametricQP
from tests.optimization.hourly import day
from tests.optimization.random_programs import random_qp

SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))]


@pytest.mark.parametrize("seed", SEEDS)
def test_bound_is_valid_and_not_weaker_than_the_relaxation(seed: int) -> None:
    follower, leader = day(seed, hours=3)
    level = single_level(follower, leader, payment=True)
    relaxation = Relaxation(level)
    root = relaxation.solve(np.zeros(relaxation.pairs, dtype=np.int8)).objective
    regions = region_search(level, payment=True)
    assert regions is not None
    parts = decompose(level, regions)
    assert parts is not None
    deadline = time.perf_counter() + 30
    points = Incumbents(relaxation, payment=True, regions=regions, deadline=deadline)
    points.near(0.5 * (follower.theta_lower + follower.theta_upper))
    told: list[float] = []
    found = HullTree(parts, relaxation, points, 1e-6, deadline, told.append).run()
    optimum = solve(BilevelProblem(follower, leader), gap=1e-7).leader_cost
    assert root - 1e-6 * abs(root) <= found.bound <= optimum + 1e-6 * abs(optimum)
    assert found.finished and told == sorted(told)


@pytest.mark.parametrize("seed", SEEDS)
def test_any_multipliers_give_a_lower_bound(seed: int) -> None:
    follower, leader = day(seed, hours=3)
    level = single_level(follower, leader, payment=True)
    regions = region_search(level, payment=True)
    assert regions is not None
    parts = decompose(level, regions)
    assert parts is not None
    optimum = solve(BilevelProblem(follower, leader), gap=1e-7).leader_cost
    rng, whole = np.random.default_rng(seed), _whole(follower)
    for _ in range(6):
        value = parts.evaluate(rng.uniform(0.0, 80.0, len(follower.parameters)), whole, 1e-7)
        assert value is not None and value <= optimum + 1e-6 * abs(optimum)


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_what_is_left_out_is_no_part_of_the_optimum(seed: int) -> None:
    pytest.importorskip("pyscipopt")
    follower, leader = day(seed, hours=2)
    least = solve(BilevelProblem(follower, leader), solver="scip", gap=1e-6, time_limit_s=60).leader_cost
    level = single_level(follower, leader, payment=True)
    regions = region_search(level, payment=True)
    assert regions is not None
    parts = decompose(level, regions)
    start = regions.at(0.5 * (follower.theta_lower + follower.theta_upper))
    optimum = None if start is None else regions.descend(start, np.inf)
    assert parts is not None and optimum is not None
    mu, whole = parts.take(optimum, regions), _whole(follower)
    value = parts.evaluate(mu, whole, 1e-7)
    assert value is not None and parts.prune(mu, least * (1 + 1e-5) - value) > 0
    rng = np.random.default_rng(seed)
    for spread in (0.0, 0.01, 0.1, 1.0):
        value = parts.evaluate(mu * (1 + spread * rng.normal(size=len(mu))), whole, 1e-7)
        assert value is not None and value <= least * (1 + 1e-5)


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_whatever_is_decided_a_block_with_a_point_has_one_in_the_model(seed: int) -> None:
    follower, leader = day(seed, hours=2)
    level = single_level(follower, leader, payment=True)
    regions = region_search(level, payment=True)
    assert regions is not None
    parts = decompose(level, regions)
    optimum = None if (start := regions.at(follower.theta_lower + 0.1)) is None else regions.solve(start)
    assert parts is not None and optimum is not None
    mu, finite = parts.take(optimum, regions), 0
    for pair in range(0, len(follower.ineq_rows), 5):
        for decision in (1, 2):
            domain = _whole(follower).decided(pair)[decision - 1]
            value = parts.evaluate(mu, domain, 1e-6)
            if value is not None and np.isfinite(value):
                finite += 1
                step = parts.propose(mu, parts.first_step(mu), domain)
                assert step is None or np.isfinite(step.value)
                assert all(
                    any(pricing.lies_in(c, part) for c in columns)
                    for pricing, columns, part in zip(parts.pricing, parts.columns, parts.parts(domain), strict=True)
                )
    assert finite > 10


def test_a_follower_in_one_piece_is_left_alone() -> None:
    follower = random_qp(0)
    leader = ParametricQP.build(cost=np.ones(3), variables=follower.parameters)
    level = single_level(follower, leader, payment=True)
    regions = region_search(level, payment=True)
    assert regions is not None and decompose(level, regions) is None


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_blocks_and_scip_agree(seed: int) -> None:
    pytest.importorskip("pyscipopt")
    follower, leader = day(seed, hours=2)
    ours = solve(BilevelProblem(follower, leader), gap=1e-6)
    theirs = solve(BilevelProblem(follower, leader), solver="scip", gap=1e-5, time_limit_s=60)
    assert ours.leader_cost == pytest.approx(theirs.leader_cost, rel=2e-5)


def test_a_row_without_variables_does_no_harm() -> None:
    follower = ParametricQP.build(
        cost=[1.0], ineq_matrix=[[-1.0], [0.0]], ineq_rhs=[1.0, 0.0], variables=["x"]
    )
    leader = ParametricQP.build(cost=[1.0], variables=["x"])
    assert solve(BilevelProblem(follower, leader, payment=False)).leader_cost == pytest.approx(-1.0)


def _whole(follower: ParametricQP) -> Domain:
    """Nothing decided."""
    return Domain(np.zeros(len(follower.ineq_rows), dtype=np.int8))


def _parts(
    seed: int, hours: int = 3, settings: SearchSettings = DEFAULT
) -> tuple[Decomposition, np.ndarray, Domain]:
    """A decomposition, some multipliers, and no decisions."""
    follower, leader = day(seed, hours=hours)
    level = single_level(follower, leader, payment=True)
    regions = region_search(level, payment=True)
    assert regions is not None
    parts = decompose(level, regions, settings=settings)
    assert parts is not None
    mu = np.random.default_rng(seed).uniform(0.0, 80.0, len(follower.parameters))
    return parts, mu, _whole(follower)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_bound_that_suffices_is_reached_and_not_above_the_whole_one(seed: int) -> None:
    parts, mu, held = _parts(seed)
    whole = parts.evaluate(mu, held, 1e-7)
    assert whole is not None
    again, _, _ = _parts(seed)
    suffices = whole - 1.0
    part = again.evaluate(mu, held, 1e-7, suffices=suffices)
    assert part is not None
    assert suffices <= part <= whole + 1e-6 * abs(whole)


@pytest.mark.parametrize("seed", [1, 4, 5])
def test_searches_broken_off_come_to_the_same_bound_when_asked_again(seed: int) -> None:
    parts, mu, held = _parts(seed)
    whole = parts.evaluate(mu, held, 1e-7)
    assert whole is not None
    short, _, _ = _parts(seed, settings=SearchSettings(most_programs=2))
    values = [short.evaluate(mu, held, 1e-7) for _ in range(60)]
    sure = [value for value in values if value is not None]
    assert len(sure) == len(values) and sure == sorted(sure)
    assert sure[0] < whole - 1e-3 * abs(whole) and sure[-1] == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize("seed", [1, 4, 5])
def test_a_column_of_a_search_that_was_broken_off_never_lies_below_what_is_proven_later(seed: int) -> None:
    parts, mu, held = _parts(seed, settings=SearchSettings(most_programs=2))
    for _ in range(60):
        parts.evaluate(mu, held, 1e-7)
    for block, columns, least in zip(parts.pricing, parts.columns, parts.minima, strict=True):
        prices = mu[block.parameters]
        assert min(c.payment - float(prices @ c.theta) for c in columns) >= least - 1e-6 * (1 + abs(least))


def _divided(parts: Decomposition, whole: Domain, rng: np.random.Generator) -> list[tuple[int, list[Domain]]]:
    """Each block that can be told apart along some direction, with the two domains."""
    found = []
    for number, block in enumerate(parts.pricing):
        k = len(block.parameters)
        for _ in range(50):
            direction = rng.normal(size=k)
            halves = parts.divide(whole, number, direction, float(direction @ rng.uniform(0.05, 0.6, k)))
            if halves is not None:
                found.append((number, halves))
                break
    return found


@pytest.mark.parametrize("seed", [1, 4, 5])
def test_the_better_of_two_cells_is_the_whole_whatever_the_multipliers(seed: int) -> None:
    parts, mu, whole = _parts(seed)
    rng, told = np.random.default_rng(seed), 0
    parts.evaluate(mu, whole, 1e-7)
    for _, halves in _divided(parts, whole, rng):
        for spread in (0.0, 0.3, 1.0):
            at = mu * (1.0 + spread * rng.normal(size=len(mu)))
            value, *apart = (parts.evaluate(at, domain, 1e-7) for domain in (whole, *halves))
            assert value is not None and min(v for v in apart if v is not None) == pytest.approx(value, rel=1e-6)
            told += abs(apart[0] - apart[1]) > 1e-3  # type: ignore[operator]
    assert told > 2


@pytest.mark.parametrize("seed", [1, 4])
def test_a_minimum_within_a_cell_is_a_point_of_that_cell(seed: int) -> None:
    parts, mu, whole = _parts(seed)
    parts.evaluate(mu, whole, 1e-7)
    divided = _divided(parts, whole, np.random.default_rng(seed))
    for number, halves in divided:
        block = parts.pricing[number]
        for domain in halves:
            part = parts.parts(domain)[number]
            found = block.minimise(mu[block.parameters], part, 1e-7, None, np.inf)
            assert found is not None
            assert found.column is None or block.lies_in(found.column, part)
    assert divided


def test_cells_of_one_search_are_none_of_a_later_one_that_shares_its_leaves() -> None:
    parts, mu, whole = _parts(1)
    parts.evaluate(mu, whole, 1e-7)
    number, halves = _divided(parts, whole, np.random.default_rng(1))[0]
    block = parts.pricing[number]
    later = block.copy(block.block, block.regions)
    part = parts.parts(halves[0])[number]
    prices = mu[block.parameters]
    assert block.minimise(prices, part, 1e-7, None, np.inf) is not None
    with pytest.raises(KeyError):
        later.minimise(prices, part, 1e-7, None, np.inf)
    found, same = (one.minimise(prices, parts.parts(whole)[number], 1e-7, None, np.inf) for one in (block, later))
    assert found is not None and same is not None and same.bound == pytest.approx(found.bound, abs=1e-6)
