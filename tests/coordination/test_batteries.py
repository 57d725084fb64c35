"""Batteries at negative prices: no battery charges and discharges at once, in any mode."""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest

from cosim.agents.dca.aggregator import DataCenterAggregator
from cosim.coordination.welfare import optimum, planner_problem
from cosim.optimization.qp.exclusive import closed
from cosim.optimization.solvers.qp_solver import solve_qp
from cosim.scenario.loading import load_scenario
from cosim.scenario.preparation import prepare
from cosim.simulation.simulation import Simulation

MODES = ("uncoordinated", "decentralized", "welfare", "centralized")
FULL, ETA = 0.1, 0.8
BATTERY = {"energy_kwh": 1000 * FULL, "power_kw": 50, "efficiency": ETA, "reserve": 0.5, "initial": 1.0,
           "wear_usd_per_mwh": 0}  # fmt: skip
STEPS = 4


def simulation_of(mode: str, **battery: float) -> Simulation:
    overrides: dict[str, Any] = {
        "mode": mode,
        "clock.steps": STEPS,
        "clock.window_steps": STEPS,
        "market.price_usd_per_mwh": {"constant": -40},
        "datacenters.dc718.battery": {**BATTERY, **battery},
    }
    return Simulation(prepare(*load_scenario("ieee37", overrides)))


@cache
def run(mode: str) -> Simulation:
    simulation = simulation_of(mode)
    simulation.run()
    return simulation


@pytest.mark.parametrize("mode", MODES)
def test_the_charge_follows_from_what_the_battery_takes_or_gives(mode: str) -> None:
    """With one direction a step, what the site draws beyond its work tells the charge after each step."""
    simulation = run(mode)
    tables = simulation.books.tables()
    site = simulation.prepared.scenario.datacenters[0]
    drawn = tables.demand.query("datacenter == 'dc718'").groupby("step")["p_kw"].sum() / 1000
    served = tables.work.query("datacenter == 'dc718'").groupby("step")["served_mwh"].sum()
    net = (drawn - site.pue * (site.it_idle_kw / 1000 + served)).to_numpy()
    charge = FULL + np.cumsum(ETA * np.maximum(net, 0.0) - np.maximum(-net, 0.0) / ETA)
    (aggregator,) = simulation.market.aggregators
    assert isinstance(aggregator, DataCenterAggregator)
    assert charge[-1] == pytest.approx(float(aggregator.charge_mwh[0]), abs=1e-6)
    assert charge.max() <= FULL + 1e-6
    assert charge.min() >= FULL / 2 - 1e-6


def test_welfare_is_the_best_of_all_directions() -> None:
    simulation = simulation_of("welfare")
    window = next(iter(simulation.prepared.calendar.windows()))
    market = simulation.market
    market.operator.open_window(window, market.declared(window))
    problem = planner_problem(market)
    every = [solve_qp(closed(problem, set(sides)), np.zeros(0)) for sides in product(*problem.exclusive)]
    least = min(found.objective for found in every if found.optimal)
    best = optimum(market)
    assert best.social_cost_usd == pytest.approx(least, rel=1e-6)
    assert best.bound_usd == pytest.approx(least, rel=1e-6)
    assert solve_qp(problem, np.zeros(0)).objective < least - 0.1  # burning energy would pay


def test_no_mode_is_better_than_the_yardstick() -> None:
    for mode in MODES:
        books = run(mode).books
        assert books.welfare_usd is not None
        assert float(books.tables().steps["social_cost_usd"].sum()) >= books.welfare_usd - 1e-5


def test_an_aggregator_that_gave_up_a_direction_says_so() -> None:
    assert any("one direction" in note for note in run("decentralized").books.notes)


def test_a_battery_without_losses_has_nothing_to_choose() -> None:
    simulation = simulation_of("welfare", efficiency=1.0)
    window = next(iter(simulation.prepared.calendar.windows()))
    simulation.market.operator.open_window(window, simulation.market.declared(window))
    assert planner_problem(simulation.market).exclusive == ()
