"""The uncertain day that the benchmarks of this folder share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cosim.agents.dso import DistributionSystemOperator
from cosim.scenario.loading import load_scenario
from cosim.scenario.preparation import prepare
from cosim.simulation.simulation import Simulation

FORECASTS: dict[str, Any] = {
    "series": [
        {"name": "price", "of": "market.price_usd_per_mwh", "kind": "error", "std_1h": 0.05, "std_24h": 0.15},
        {"name": "load", "of": "network.load_scale", "kind": "error", "std_1h": 0.02, "std_24h": 0.05},
        {"name": "sun", "of": "generators.*.profile", "kind": "error", "std_1h": 0.10, "std_24h": 0.25},
    ],
    "correlations": [{"between": ["price", "load"], "value": 0.5}],
}


def uncertain(
    scenario: str, scenarios: int, steps: int = 24, changes: Mapping[str, Any] | None = None
) -> Simulation:
    """A day of a scenario with errors of price, load and sun, agreed on over so many scenarios."""
    found = {"clock.steps": steps, "clock.window_steps": steps, "forecasts": FORECASTS, "mode": "welfare",
             "market.stochastic.scenarios": scenarios}  # fmt: skip
    return Simulation(prepare(*load_scenario(scenario, {**found, **(changes or {})})))


def opened(scenario: str, scenarios: int, steps: int = 24, changes: Mapping[str, Any] | None = None) -> Simulation:
    """The same with its first window opened."""
    simulation = uncertain(scenario, scenarios, steps, changes)
    window = next(iter(simulation.prepared.calendar.windows()))
    assert simulation.information is not None
    simulation.information.open(window)
    simulation.market.operator.open_window(window, simulation.market.declared(window))
    return simulation


def operator_of(simulation: Simulation) -> DistributionSystemOperator:
    """The only operator of a simulation."""
    (operator,) = simulation.market.operators
    assert isinstance(operator, DistributionSystemOperator)
    return operator
