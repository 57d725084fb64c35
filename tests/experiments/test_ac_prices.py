"""Prices of the AC tangent against the slope of the AC-feasible optimal cost, by difference quotients."""

from __future__ import annotations

import pytest

from cosim.experiments.benchmarks.network.ac_prices import AcClearing
from cosim.grid.feeder.phases import Terminal

WITHIN_PCT = 1.0
NOON = 12
WITH_NEUTRAL: dict[str, object] = {
    "network.feeder": "ieee13",
    "network.v_max_pu": 1.07,
    "remove": ["generators", "datacenters"],
    "generators": [
        {"name": "dg", "bus": "675", "p_max_kw": 600, "s_kva": 700, "cost_usd_per_mwh": 25, "cost_usd_per_mw2h": 20}
    ],
    "datacenters": [{"name": "dc", "bus": "671", "it_peak_kw": 300, "it_idle_kw": 90, "pue": 1.2}],
    "workload.site_weight": {},
}


@pytest.mark.slow
def test_where_a_voltage_limit_binds_price_is_the_slope_of_the_optimal_cost() -> None:
    clearing = AcClearing("ieee37_stress", [Terminal("740", "delta", ("ca",)), Terminal("728", "delta", ("bc",))])
    rows = clearing.compare(NOON, 0.9)
    assert all(row["limit binds"] for row in rows)
    assert max(abs(float(str(row["voltage part"]))) for row in rows) > 1.0
    assert max(float(str(row["apart %"])) for row in rows) <= WITHIN_PCT


@pytest.mark.slow
def test_with_a_neutral_price_is_the_slope_of_the_optimal_cost() -> None:
    clearing = AcClearing("ieee37", [Terminal("652", "wye", ("a",)), Terminal("675", "wye", ("c",))], WITH_NEUTRAL)
    rows = clearing.compare(NOON, 1.0)
    assert max(float(str(row["apart %"])) for row in rows) <= WITHIN_PCT


@pytest.mark.slow
@pytest.mark.parametrize("step", [3, 19])
def test_price_is_the_slope_in_the_night_and_in_the_evening(step: int) -> None:
    probes = [Terminal(bus, "delta", (leg,)) for bus, leg in (("701", "ab"), ("736", "bc"), ("718", "ab"))]
    rows = AcClearing("ieee37_stress", probes).compare(step, 0.9)
    assert max(float(str(row["apart %"])) for row in rows) <= WITHIN_PCT
