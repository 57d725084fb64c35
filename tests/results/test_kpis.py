"""Key figures against numbers worked out by hand from the tables of conftest.py."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from cosim.results.kpis import MEASURES, RunFacts, compute_kpis, shown, values_of
from cosim.results.record import VoltageLimits
from cosim.results.tables import Tables

from .conftest import FACTS, LIMITS, Rows

# Steps: payment 10 + 20 + 30, own cost 1 each, operator 30 each. Demand: 100, 150, 200 kW and thrice 50 kW,
# for an hour each. Voltages: 1.00, 0.98, 0.96, 0.94 at four buses, on three legs, in three steps; AC is lower
# by 0.001 and unknown in the last step.
BY_HAND = {
    "dca_payment_usd": 60.0,
    "dca_cost_usd": 63.0,
    "dso_cost_usd": 90.0,
    "social_cost_usd": 93.0,
    "welfare_gap": 13.0 / 80.0,
    "dca_regret_usd": None,
    "dso_regret_usd": None,
    "energy_mwh": 0.6,
    "unserved_mwh": 4 * 0.3 - 4 * (0.05 + 0.1 + 0.14),
    "slack_mwh": 0.006,
    "v_min_pu": 0.94,
    "v_max_pu": 1.0,
    "ac_v_min_pu": 0.939,
    "ac_v_max_pu": 0.999,
    "ac_error_max_pu": 0.001,
    "ac_import_excess": (30.0 * 1 + 40.0 * 0 - 50.0 * 1) / (30.0 * 1000 + 40.0 * 1001 + 50.0 * 1002),
    "violations_linear": 9,
    "violations_ac": 6,
    "vuf_max_pct": 0.3,
    "lvur_max_pct": 0.6,
    "pvur_max_pct": 0.9,
    "dlmp_min_usd_per_mwh": 30.0,
    "dlmp_max_usd_per_mwh": 51.5,
    "rounds_median": 4.0,
    "converged_share": 2 / 3,
    "messages_sent": 3,
    "messages_lost": 1,
    "mip_gap": 1e-4,
    "wall_s": 2.0,
    "solver_s": 0.5,
}


@pytest.mark.parametrize("name", list(BY_HAND))
def test_a_key_figure_is_what_the_tables_say(tables: Tables, name: str) -> None:
    found = values_of(compute_kpis(tables, FACTS, LIMITS))[name]
    expected = BY_HAND[name]
    assert found is None if expected is None else found == pytest.approx(expected, abs=1e-12)


def test_every_key_figure_has_its_unit_and_none_is_left_out(tables: Tables) -> None:
    found = compute_kpis(tables, FACTS, LIMITS)
    # there are no limits of connections, one run only, one settlement, and no scenarios
    unasked = ("limited_", "perfect_", "value_of_", "day_ahead_", "deviation_", "expected_")
    told = [name for name in MEASURES if not name.startswith(unasked)]
    assert list(found) == told and set(found) == set(BY_HAND)
    assert {name: kpi.unit for name, kpi in found.items()} == {name: MEASURES[name].unit for name in told}


def test_a_voltage_on_its_limit_is_no_violation_and_the_tolerance_counts(tables: Tables) -> None:
    at_limit = VoltageLimits(0.94, 1.05)
    assert compute_kpis(tables, FACTS, at_limit)["violations_linear"].value == 0
    assert compute_kpis(tables, FACTS, at_limit)["violations_ac"].value == 6
    assert compute_kpis(tables, FACTS, at_limit, tolerance_pu=0.002)["violations_ac"].value == 0


def test_a_voltage_above_the_upper_limit_is_a_violation(tables: Tables) -> None:
    assert compute_kpis(tables, FACTS, VoltageLimits(0.9, 0.99))["violations_linear"].value == 9


def test_energy_counts_the_length_of_a_step(tables: Tables) -> None:
    quarter = compute_kpis(tables, replace(FACTS, step_hours=0.25), LIMITS)
    assert quarter["energy_mwh"].value == pytest.approx(0.15)


def test_what_does_not_apply_is_none(rows: Rows) -> None:
    for row in rows["voltages"]:
        row["v_ac_pu"] = None
    found = values_of(compute_kpis(Tables.from_rows({**rows, "unbalance": []}), RunFacts(1.0), LIMITS))
    for name in (
        "welfare_gap",
        "mip_gap",
        "wall_s",
        "ac_v_min_pu",
        "ac_error_max_pu",
        "violations_ac",
        "vuf_max_pct",
    ):
        assert found[name] is None


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("social_cost_usd", 1234.5, "1,234.50"),
        ("social_cost_usd", None, "–"),
        ("social_cost_usd", math.nan, "–"),
        ("violations_ac", 3, "3"),
        ("violations_ac", 3.0, "3"),
        ("slack_mwh", 0.0, "0.0000"),
        ("slack_mwh", 2e-6, "2.0e-06"),
        ("slack_mwh", -1e-17, "0.0000"),
        ("welfare_gap", 1.234e-7, "1.23e-07"),
    ],
)
def test_a_key_figure_as_text(name: str, value: float | None, text: str) -> None:
    assert shown(name, value) == text
