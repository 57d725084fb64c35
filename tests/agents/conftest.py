"""A cleared day of the stressed feeder, made once for all tests of the operator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from cosim.agents.dso import DistributionSystemOperator
from cosim.agents.dso.window import WindowClearing
from cosim.coordination.base import Market
from cosim.protocol.roles import Array
from cosim.scenario.calendar import Window
from cosim.scenario.loading import load_scenario
from cosim.scenario.preparation import prepare
from cosim.simulation.runner import RunResult
from cosim.simulation.simulation import Simulation


@dataclass(frozen=True)
class Day:
    """An opened window: the operator, its clearing problem, and the demand of work that runs on arrival."""

    market: Market
    operator: DistributionSystemOperator
    clearing: WindowClearing
    declared_p_mw: Array
    window: Window


def opened(name: str, overrides: dict[str, object] | None = None) -> Day:
    """The first window of a scenario, opened."""
    simulation = Simulation(prepare(*load_scenario(name, overrides)))
    window = next(iter(simulation.prepared.calendar.windows()))
    declared = simulation.market.declared(window)
    operator = simulation.market.operators[0]
    assert isinstance(operator, DistributionSystemOperator)
    operator.open_window(window, declared)
    return Day(simulation.market, operator, operator.clearing, declared, window)


@pytest.fixture(scope="package")
def stressed() -> Day:
    """ieee37_stress, whose declared demand breaks limits and whose reduced demand makes them bind."""
    return opened("ieee37_stress")


@pytest.fixture(scope="package")
def binding(stressed: Day) -> Array:
    """A demand (steps, terminals) at which voltage limits bind or nearly bind without being broken."""
    return np.asarray(0.93 * stressed.declared_p_mw)


def by_kw(result: RunResult, unit: str) -> Array:
    """(steps,) kW that a unit generates."""
    mine = result.dispatch[result.dispatch["unit"] == unit]
    return np.asarray(mine.groupby("step")["p_kw"].sum())
