"""Tariffs: what is charged is what was posted, and demand answers nothing else."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from cosim.simulation.runner import RunResult

from .conftest import evening_of, kpi

TARIFFS: dict[str, Any] = {
    "flat": {"constant": 55.0},
    "time_of_use": {"values": [40.0, 40.0, 90.0, 90.0, 90.0, 40.0]},
    "pass_through": None,
}


@cache
def by(name: str) -> RunResult:
    """The evening under a tariff, or as negotiated."""
    if name == "negotiated":
        return evening_of("ieee37_stress")
    series = TARIFFS[name]
    changes = {} if series is None else {"market__tariff_usd_per_mwh": series}
    return evening_of("ieee37_stress", decentralized__rule="tariff", **changes)


@pytest.fixture(params=list(TARIFFS))
def charged(request: pytest.FixtureRequest) -> tuple[str, RunResult]:
    return request.param, by(request.param)


def test_the_payment_is_the_tariff_times_the_energy(charged: tuple[str, RunResult]) -> None:
    name, run = charged
    energy = run.demand.groupby("step")["p_kw"].sum() / 1000.0
    price = {
        "flat": [55.0] * 6,
        "time_of_use": TARIFFS["time_of_use"]["values"],
        "pass_through": run.steps["price_sub_usd_per_mwh"].tolist(),
    }[name]
    assert run.steps["dca_payment_usd"].to_numpy() == pytest.approx(energy.to_numpy() * price, rel=1e-9)


def test_nobody_says_that_a_tariff_was_agreed_on(charged: tuple[str, RunResult]) -> None:
    _, run = charged
    assert not run.steps["converged"].any() and len(run.rounds) == 1


def test_no_tariff_is_cheaper_for_society_than_the_negotiation(charged: tuple[str, RunResult]) -> None:
    _, run = charged
    assert kpi(run, "social_cost_usd") >= kpi(by("negotiated"), "social_cost_usd") * (1 - 1e-6)


def test_demand_leaves_the_dear_hours_of_a_tariff_by_time_of_use() -> None:
    def dear(name: str) -> float:
        demand = by(name).demand
        return float(demand[demand["step"].isin([2, 3, 4])]["p_kw"].sum())

    assert dear("time_of_use") < dear("flat")
