"""What notes say of prices: a split of the payment that adds up, and prices beyond the cap."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

import cosim
from cosim.results.price_notes import RENT, beyond_cap, payment_parts
from cosim.simulation.runner import RunResult

SITES = [
    {"name": "balanced", "bus": "48", "it_peak_kw": 900, "it_idle_kw": 200, "pue": 1.2, "power_factor": 0.95},
    {"name": "phase", "bus": "114", "connection": "a", "it_peak_kw": 300, "it_idle_kw": 100, "pue": 1.1,
     "power_factor": 0.98},
    {"name": "legs", "bus": "66", "connection": "per_phase", "it_peak_kw": 300, "it_idle_kw": 100, "pue": 1.3,
     "power_factor": 0.9},
]  # fmt: skip


@cache
def run(settlement: str = "active+reactive", feeder: str = "ieee37", v_min_pu: float = 0.98) -> RunResult:
    overrides: dict[str, Any] = {
        "clock.start": "2024-07-15T16:00:00",
        "clock.steps": 2,
        "network.v_min_pu": v_min_pu,
        "market.settlement": settlement,
    }
    if feeder == "ieee123":
        overrides |= {"network.feeder": feeder, "generators": [], "remove": ["datacenters"], "datacenters": SITES}
    return cosim.run("ieee37_stress", mode="uncoordinated", overrides=overrides)


@pytest.mark.parametrize("feeder", ["ieee37", "ieee123"])
@pytest.mark.parametrize("settlement", ["active", "active+reactive"])
def test_the_parts_add_up_to_what_is_paid(settlement: str, feeder: str) -> None:
    found = run(settlement, feeder)
    sites = SITES if feeder == "ieee123" else [
        {"name": f"dc{bus}", "bus": bus} for bus in ("718", "736", "740")
    ]  # fmt: skip
    bus_of = {str(site["name"]): str(site["bus"]) for site in sites}
    parts = payment_parts(found.tables, bus_of, 1.0, settlement == "active+reactive")
    assert sum(parts.values()) == pytest.approx(found.kpis["dca_payment_usd"], rel=1e-9)


def test_a_payment_for_limits_is_told_with_where_it_stays() -> None:
    parts = payment_parts(run().tables, {f"dc{bus}": bus for bus in ("718", "736", "740")}, 1.0, True)
    rent = sum(parts.get(part, 0.0) for part in RENT)
    assert rent > run().kpis["dso_cost_usd"]  # type: ignore[operator]
    assert any("congestion rent" in note and f"{rent:,.2f} USD" in note for note in run().notes)


def test_prices_beyond_the_cap_are_told_with_their_parts() -> None:
    assert run().prices["dlmp_p"].max() > 2000
    (note,) = beyond_cap(run().tables, 2000.0)
    assert note in run().notes
    assert "voltage limits" in note and "network.price_cap_usd_per_mwh = 2,000" in note
    assert beyond_cap(run().tables, 1e5) == []


def test_nothing_is_told_where_no_limit_binds() -> None:
    assert not [note for note in run(v_min_pu=0.9).notes if "congestion rent" in note or "DLMPs are beyond" in note]


def test_a_note_on_prices_beyond_the_cap_says_what_is_charged_at_most() -> None:
    (note,) = beyond_cap(run().tables, 2000.0, 120.0)
    assert note.endswith("what is charged is at most market.price_cap_usd_per_mwh = 120 USD/MWh")
