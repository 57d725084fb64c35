"""Runs that several tests look at, each made once, and what the tests recompute from their tables."""

from __future__ import annotations

from functools import cache
from typing import Any

import pandas as pd
import pytest

import cosim
from cosim.scenario.loading import load_scenario
from cosim.scenario.preparation import prepare
from cosim.simulation.runner import Comparison, RunResult
from cosim.simulation.simulation import Simulation

MODES = ("uncoordinated", "decentralized", "welfare", "centralized")
SCENARIOS = ("ieee37", "ieee37_svg", "ieee37_stress", "ieee37_stress_svg")
# The hours of the highest prices, in which the voltage limits of the stressed scenarios bind.
EVENING: dict[str, Any] = {"clock.start": "2024-07-15T16:00:00", "clock.steps": 6}
BUS = {"dc718": "718", "dc736": "736", "dc740": "740"}
LEGS = ("ab", "bc", "ca")


@cache
def evening(scenario: str) -> Comparison:
    """All modes of a shipped scenario over the evening."""
    return cosim.compare(scenario, modes=MODES, overrides=EVENING)


def evening_run(scenario: str, mode: str) -> RunResult:
    """One mode of :func:`evening`; a mode that failed fails the test that asks for it."""
    comparison = evening(scenario)
    if mode not in comparison.runs:
        pytest.fail(f"{mode} failed on {scenario}: {comparison.failures[mode]}")
    return comparison.runs[mode]


def evening_of(scenario: str, mode: str = "decentralized", **changes: Any) -> RunResult:
    """One run over the evening, with further keys given as ``network__losses=False``."""
    return cosim.run(scenario, mode=mode, overrides={**EVENING, **dotted(changes)})


def simulation_of(scenario: str, mode: str = "decentralized", **changes: Any) -> Simulation:
    """A simulation of the evening that has not run yet, so that a test can look into it afterwards."""
    overrides = {**EVENING, "mode": mode, **dotted(changes)}
    return Simulation(prepare(*load_scenario(scenario, overrides)))


def dotted(changes: dict[str, Any]) -> dict[str, Any]:
    return {key.replace("__", "."): value for key, value in changes.items()}


def kpi(run: RunResult, name: str) -> float:
    """A key figure that must be there."""
    value = run.kpis[name]
    assert value is not None, name
    return value


def payment_usd(run: RunResult, hours: float = 1.0) -> pd.Series:
    """Payment of each step: the price of what each data center is connected to, times what it draws.

    A three-phase connection is an equal share of the three legs, so it pays the mean of their prices.
    """
    prices = {(row["step"], row["bus"], row["phase"]): row for row in run.prices.to_dict("records")}
    paid = {int(step): 0.0 for step in run.steps["step"]}
    for row in run.demand.to_dict("records"):
        legs = LEGS if row["phase"] == "abc" else (row["phase"],)
        at = [prices[row["step"], BUS[row["datacenter"]], leg] for leg in legs]
        price_p, price_q = (sum(float(leg[c]) for leg in at) / len(at) for c in ("dlmp_p", "dlmp_q"))
        paid[row["step"]] += hours * (price_p * row["p_kw"] + price_q * row["q_kvar"]) / 1000.0
    return pd.Series(paid)


@pytest.fixture(scope="session")
def stressed_day() -> RunResult:
    """A whole day of the stressed feeder, negotiated."""
    return cosim.run("ieee37_stress", mode="decentralized")
