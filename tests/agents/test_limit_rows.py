"""Shadow prices of limits are what loosening them saves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cosim.agents.dso.clearing import ClearingModel, Limits
from cosim.agents.dso.limit_rows import LimitRows
from cosim.grid.feeder.flows import flow_ends
from cosim.grid.linear.branch_flows import LinearFlows
from cosim.protocol.roles import Array
from cosim.scenario.network_limits import limits_of_network

from .conftest import Day, opened

HOURS = 0.25
START: dict[str, Any] = {
    "clock.start": "2024-07-15T13:00:00", "clock.step_s": 900, "clock.gate_s": 900, "clock.steps": 1,
    "clock.window_steps": 1,
}  # fmt: skip
UNBALANCED = {"buses": ["740", "718"]}
CASES: dict[str, tuple[dict[str, Any], float, float]] = {
    # overrides, share of the declared demand, by how much a limit is moved (kW, kVA, pu, %)
    "voltage": ({"network.v_min_pu": 0.965, "network.model": "ac-linear"}, 0.9, 1e-5),
    "voltage of a bus": ({"network.voltage_limits": [{"buses": ["740"], "v_min_pu": 0.97}]}, 0.9, 1e-5),
    "rating": ({"network.branch_rating_kva": {"711-740": 560}}, 0.9, 0.05),
    "vuf": ({"network.unbalance": {**UNBALANCED, "limit_pct": 0.95}}, 0.8, 1e-4),
    "pvur": ({"network.unbalance": {**UNBALANCED, "pvur_limit_pct": 0.93}}, 0.8, 1e-4),
}


def rows_of(day: Day, p_mw: Array) -> pd.DataFrame:
    """Rows of the table of limits of the only step at a demand."""
    operator, clearing = day.operator, day.clearing
    result = clearing.step(0, p_mw, clearing.solve(p_mw), HOURS)
    limits = limits_of_network(operator.scenario.network, operator.feeder)
    flows = LinearFlows(flow_ends(operator.feeder), result.network).at(result.network, result.states)
    squares = result.network.voltages.at(result.states)
    return pd.DataFrame(LimitRows(limits, clearing.model, result.network, HOURS).of(0, result, squares, flows))


def cost(day: Day, p_mw: Array, changed: Mapping[str, Any]) -> float:
    """Least cost of the same step on the same network with other limits, USD."""
    operator, before = day.operator, day.operator.limits
    limits: Limits = replace(before, **changed)
    model = ClearingModel(
        day.clearing.networks[0], operator.terminals, operator.resources, limits, HOURS,
        operator.scenario.market.slope_usd_per_mwh_per_mw, operator.scenario.market.reactive_price_usd_per_mvarh,
    )  # fmt: skip
    own = model.own(0, operator.price[:1]).steps
    window = operator._clearing(day.clearing.networks, model.reduced(day.clearing.networks, own), p_mw, p_mw, model)
    return window.solve(p_mw).objective


def moved(limits: Limits, case: str, by: float) -> dict[str, Any]:
    """The limits of a case loosened."""
    if case == "voltage":
        return {"v_min_pu": limits.v_min_pu - by}
    if case == "voltage of a bus":
        return {"bus_voltage_pu": {bus: (low - by, high) for bus, (low, high) in limits.bus_voltage_pu.items()}}
    if case == "rating":  # by a phase, kVA
        return {"branch_rating_mva": {k: mva + 3 * by / 1000 for k, mva in limits.branch_rating_mva.items()}}
    key = {"vuf": "unbalance_limit_pct", "pvur": "pvur_limit_pct"}[case]
    return {key: getattr(limits, key) + by}


@pytest.mark.parametrize("case", CASES)
def test_a_shadow_price_is_the_slope_of_the_cost(case: str) -> None:
    """Of all limits that are moved together: the sum of their prices, by central differences."""
    overrides, share, by = CASES[case]
    day = opened("ieee37_stress_svg", {**START, **overrides})
    p_mw = share * day.declared_p_mw
    rows = rows_of(day, p_mw)
    kind = {"voltage": "voltage_low", "voltage of a bus": "voltage_low"}.get(case, case)
    mine = rows[rows["kind"] == kind]
    if case == "voltage of a bus":
        mine = mine[mine["element"] == "740"]
    per = 1000.0 if kind == "rating" else 1.0
    tight, loose = (cost(day, p_mw, moved(day.operator.limits, case, x)) for x in (-by, by))
    expected = per * (tight - loose) / (2 * by) / HOURS
    assert expected > 0.1
    assert mine["shadow_price"].sum() == pytest.approx(expected, rel=2e-3)
    assert (rows["shadow_price"] >= 0).all()


def test_the_price_of_a_unit_that_gives_its_most_is_what_more_of_it_saves() -> None:
    day = opened("ieee37_stress_svg", {**START, "clock.start": "2024-07-15T19:00:00"})
    p_mw = 0.8 * day.declared_p_mw
    rows = rows_of(day, p_mw)
    (row,) = rows[(rows["kind"] == "unit_p_max") & (rows["element"] == "dg720")].to_dict("records")
    assert (row["value"], row["limit"]) == pytest.approx((300.0, 300.0))
    generator = next(r for r in day.operator.resources if r.name == "dg720")
    costs = []
    for change in (-1e-3, 1e-3):
        generator.p_max_mw = 0.3 + change
        costs.append(cost(day, p_mw, {}))
    assert row["shadow_price"] == pytest.approx((costs[0] - costs[1]) / 2e-3 / HOURS, rel=1e-3)


def test_the_price_of_a_ramp_is_what_a_steeper_one_saves() -> None:
    """Of a ramp that joins two steps of a window, by central differences of the window's cost."""
    start = {**START, "clock.start": "2024-07-15T08:00:00", "clock.step_s": 3600, "clock.steps": 2,
             "clock.window_steps": 2, "generators.dg720.ramp_kw_per_step": 40}  # fmt: skip
    day = opened("ieee37_stress", start)
    p_mw, clearing = day.declared_p_mw, day.clearing
    (row,) = (r for t in range(2) for r in clearing.step(t, p_mw, clearing.solve(p_mw), 1.0).joined)
    assert row.name == "dg720/ramp_up" and row.value == pytest.approx(0.04)
    generator = next(r for r in day.operator.resources if r.name == "dg720")
    costs = []
    for change in (-1e-4, 1e-4):
        generator.ramp_mw_per_step = 0.04 + change
        own = clearing.model.own(0, day.operator.price[:2])
        day.operator._known = {id(clearing.model): own}
        reduced = clearing.model.reduced(clearing.networks, own.steps)
        window = day.operator._clearing(clearing.networks, reduced, p_mw, p_mw, clearing.model)
        costs.append(window.solve(p_mw).objective)
    assert row.dual > 0.1
    assert row.dual == pytest.approx((costs[0] - costs[1]) / 2e-4, rel=1e-3)


def test_a_broken_limit_says_by_how_much() -> None:
    day = opened("ieee37_stress", {**START, "network.branch_rating_kva": {"711-740": 90}})
    rows = rows_of(day, day.declared_p_mw).query("kind == 'rating'")
    assert set(rows["phase"]) == {"a", "b", "c"} and set(rows["status"]) == {"broken"}
    states = day.clearing.step(0, day.declared_p_mw, day.clearing.solve(day.declared_p_mw), HOURS).states
    network = day.clearing.networks[0]
    p, q = network.flows_p.at(states), network.flows_q.at(states)
    for row in rows.to_dict("records"):
        k = network.flows_p.labels.index(("711-740", row["phase"]))
        assert row["value"] == pytest.approx(1000 * np.hypot(p[k], q[k]))
        assert row["beyond"] == pytest.approx(row["value"] - 30.0)
        assert row["beyond_pct"] == pytest.approx(100 * row["beyond"] / 30.0)


def test_what_is_kept_without_effort_is_not_told() -> None:
    day = opened("ieee37", {**START, "network.v_min_pu": 0.9, "network.v_max_pu": 1.1})
    rows = rows_of(day, day.declared_p_mw)
    assert not len(rows) or set(rows["kind"].str[:5]) == {"unit_"}
