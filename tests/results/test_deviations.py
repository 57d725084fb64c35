"""Who bears deviations, by hand."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from cosim.results.accounts.deviations import deviation_sheet, deviation_totals
from cosim.results.kpis import compute_kpis
from cosim.results.tables import Tables, empty

from .conftest import LIMITS
from .test_kpis import FACTS

ROWS = pd.DataFrame({
    "step": [0, 0, 1], "aggregator": ["a", "b", "a"], "datacenter": ["d1", "d2", "d1"], "phase": "abc",
    "position_kw": [100.0, 200.0, 100.0], "drawn_kw": [120.0, 200.0, 70.0], "deviation_kw": [20.0, 0.0, -30.0],
    "deviation_kvar": 0.0, "day_ahead_usd_per_mwh": 50.0, "real_time_usd_per_mwh": [60.0, 60.0, 40.0],
    "day_ahead_usd_per_mvarh": 0.0, "real_time_usd_per_mvarh": 0.0, "day_ahead_payment_usd": [2.5, 5.0, 2.5],
    "deviation_payment_usd": [0.6, 0.0, -0.6], "deviation_day_ahead_usd": [0.5, 0.0, -0.75],
})  # fmt: skip
"""Half-hour steps: what is bought costs 10 USD/MWh more, and what is sold brings 10 USD/MWh less, than day ahead."""


def test_bought_sold_and_paid_are_told_apart_by_site() -> None:
    found = deviation_totals(ROWS, 0.5).set_index("datacenter")
    assert found.loc["d1", ["held_mwh", "drawn_mwh", "bought_mwh", "sold_mwh"]].tolist() == pytest.approx(
        [0.1, 0.095, 0.01, 0.015]
    )
    assert found["deviation_cost_usd"].to_dict() == pytest.approx({"d1": 0.25, "d2": 0.0})


def test_the_sheet_adds_up_to_its_last_row() -> None:
    sheet = deviation_sheet(ROWS, 0.5)
    assert sheet is not None and sheet.rows[-1][2] == ("0.20", "0.20", "0.01", "0.01", "10.00", "0.00", "0.25")
    assert deviation_sheet(empty("deviations"), 0.5) is None


def test_key_figures_have_both_payments_and_energy_beyond_and_short_together(tables: Tables) -> None:
    found = compute_kpis(replace(tables, deviations=ROWS), FACTS, LIMITS)
    names = ("day_ahead_payment_usd", "deviation_payment_usd", "deviation_mwh")
    assert [found[n].value for n in names] == pytest.approx([10.0, 0.0, FACTS.step_hours * 0.05])
