"""Tables of a study, from hourly limits made by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cosim.hosting.limits import HourlyLimits
from cosim.hosting.study.capacity import Battery
from cosim.hosting.study.schemas import ALL_CASES
from cosim.hosting.study.tables import (
    Site,
    capacity_table,
    curtailment_table,
    duration_table,
    flexible,
    limit_parts,
    over_all_cases,
)

from .hand_made import BASE_CASE, OUTAGE, STEPS, hand_made

SITE = Site(np.ones(STEPS), (("hours", 0.03), ("hours", 0.6), ("energy", 0.5)), 1000.0, Battery(0.5, 0.05))


@pytest.fixture(scope="module")
def limits() -> HourlyLimits:
    return hand_made()


@pytest.fixture(scope="module")
def capacity(limits: HourlyLimits) -> pd.DataFrame:
    return capacity_table({False: limits}, SITE)


def row(table: pd.DataFrame, case: str, connection: str, of: str, means: str = "none") -> pd.Series:
    chosen = (table["case"] == case) & (table["connection"] == connection) & (table["means"] == means)
    return table[chosen & (table["budget_of"] == of)].iloc[0]


def test_the_firm_capacity_of_all_cases_is_the_least_of_any(capacity: pd.DataFrame) -> None:
    assert [row(capacity, c, "weak", "firm")["capacity_kw"] for c in (BASE_CASE, OUTAGE, ALL_CASES)] == [100, 80, 80]


def test_what_binds_is_named_with_its_case_and_whether_it_is_broken_without_the_site(capacity: pd.DataFrame) -> None:
    weak, strong = (row(capacity, ALL_CASES, name, "firm") for name in ("weak", "strong"))
    assert (weak["kind"], weak["element"], weak["phase"], weak["in_case"]) == ("voltage low", "b", "ca", OUTAGE)
    assert weak["broken_in_base"] and not row(capacity, BASE_CASE, "weak", "firm")["broken_in_base"]
    assert (strong["kind"], strong["element"], strong["broken_in_base"]) == ("rating", "line1", False)


def test_what_is_broken_without_the_site_is_told_apart(capacity: pd.DataFrame, limits: HourlyLimits) -> None:
    weak = row(capacity, OUTAGE, "weak", "firm")
    assert weak["broken_steps_pct"] == pytest.approx(100 * 3 / STEPS)  # steps 10, 11 and 12
    assert (weak["capacity_kw"], weak["unbroken_kw"]) == (80, 100)  # the 80 kW are those of step 12
    base = row(capacity, BASE_CASE, "weak", "firm")
    assert (base["broken_steps_pct"], base["unbroken_kw"]) == (0, 100)


def test_a_capacity_that_nothing_limits_is_open_ended(capacity: pd.DataFrame) -> None:
    flexible_row = capacity[(capacity["connection"] == "strong") & (capacity["budget_pct"] == 60)].iloc[0]
    assert flexible_row["capacity_kw"] == 1000 and flexible_row["open_ended"]
    assert not capacity[capacity["connection"] == "weak"]["open_ended"].any()


def test_one_hour_in_48_is_less_than_three_percent(capacity: pd.DataFrame) -> None:
    assert flexible(capacity, 3.0)["weak"] == pytest.approx(100, abs=0.1)  # the 80 kW of one step are given up
    assert flexible(capacity, 0.0, means="battery")["weak"] > 80


def test_a_step_without_a_solution_of_the_feeder_alone_limits_nobody(limits: HourlyLimits) -> None:
    parts = pd.concat(list(limit_parts({False: limits})))
    unknown = parts[parts["limit_kw"].isna()]
    assert set(unknown["case"]) == {OUTAGE} and set(unknown["step"]) == {30}
    duration = duration_table({False: limits})
    assert duration["limit_kw"].notna().all()


def test_parts_come_in_the_order_of_the_key_with_one_row_a_step(limits: HourlyLimits) -> None:
    parts = pd.concat(list(limit_parts({False: limits})), ignore_index=True)
    key = ["case", "connection", "means", "step"]
    assert len(parts) == 2 * 2 * STEPS
    pd.testing.assert_frame_equal(parts, parts.sort_values(key, ignore_index=True))


def test_a_duration_curve_falls_from_the_largest_to_the_least_limit(limits: HourlyLimits) -> None:
    curve = over_all_cases(duration_table({False: limits}))
    weak = curve[curve["connection"] == "weak"].set_index("at_least_pct")["limit_kw"]
    assert weak[0] == 300 and weak[100] == 80 and (weak.diff().dropna() <= 0).all()
    assert weak[50] == 300 and weak[51] == 100  # half of the steps are night


def test_curves_of_curtailment_begin_at_the_firm_capacity(limits: HourlyLimits) -> None:
    table = curtailment_table({False: limits}, SITE)
    first = table[table["means"] == "none"].groupby("connection").first()
    assert first["capacity_kw"].to_dict() == {"strong": 400, "weak": 80}
    assert (first["limited_hours_pct"] == 0).all() and (first["not_served_pct"] == 0).all()
    assert (table.groupby(["connection", "means"])["not_served_pct"].diff().dropna() >= -1e-9).all()


def test_a_case_in_which_the_feeder_never_has_a_solution_is_left_out_of_all(limits: HourlyLimits) -> None:
    dead = hand_made()
    dead.p_kw[1] = np.nan
    table = capacity_table({False: dead}, SITE)
    assert set(table["case"]) == {BASE_CASE}
    assert flexible(table, 0.0)["weak"] == 100
