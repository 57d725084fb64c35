"""Series files with times, zones, gaps, steps and units, against values by hand and against pandas."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosim.errors import InputError
from cosim.scenario.calendar import MarketCalendar
from cosim.scenario.loading import load_scenario
from cosim.scenario.preparation import prepare
from cosim.scenario.series.reading import Series, read_series
from cosim.scenario.series.spec import SeriesSpec
from cosim.scenario.series.units import UNITS, conversion, unit_named
from tests.scenario.series_cases import BERLIN, CASES, COLUMN, YEAR, Case, rows

YEAR_OVERRIDES = {"clock.start": "2024-02-28T00:00", "clock.steps": 48, "clock.window_steps": 24}


def read(case: Case, folder: Path) -> Series:
    """The price of a scenario that is ieee37 with the case's clock and series."""
    (folder / "table.csv").write_text(case.text)
    overrides = {
        "clock.start": case.start, "clock.steps": case.steps, "clock.window_steps": case.steps,
        "clock.step_s": case.step_s, "clock.gate_s": 900,
        "market.price_usd_per_mwh": {"file": "table.csv", "column": COLUMN, **case.series},
    }  # fmt: skip
    if case.timezone is not None:
        overrides["clock.timezone"] = case.timezone
    scenario, _ = load_scenario("ieee37", overrides)
    prepared = prepare(scenario, folder / "mine.yaml")
    return Series(prepared.price_usd_per_mwh, tuple(prepared.notes))


@pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
def test_a_file_is_read_as_it_is_meant_or_refused(case: Case, tmp_path: Path) -> None:
    if isinstance(case.values, str):
        with pytest.raises(InputError, match=case.values):
            read(case, tmp_path)
    else:
        assert read(case, tmp_path).values.tolist() == pytest.approx(case.values)


@pytest.mark.parametrize("source", [{"constant": 2.0}, {"values": [1.0, 2.0]}, {"file": "f.csv", "column": "x"}])
def test_a_series_written_out_in_full_is_the_same_series(source: dict[str, object]) -> None:
    spec = SeriesSpec.model_validate(source)
    assert SeriesSpec.model_validate(spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize("source", [{"constant": 2.0, "repeat": "day"}, {"values": [1.0], "column": "x"}])
def test_a_key_that_means_nothing_for_a_source_is_refused(source: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="takes no"):
        SeriesSpec.model_validate(source)


def test_every_case_has_a_name_of_its_own() -> None:
    assert len({c.name for c in CASES}) == len(CASES)


def day(steps: int, step_s: int, start: str = "2024-03-01T00:00") -> MarketCalendar:
    return MarketCalendar(datetime.fromisoformat(start), step_s, steps, steps, "day_ahead", 60, 5)


@given(
    values=st.lists(st.floats(-100, 100), min_size=97, max_size=97),
    step_s=st.sampled_from([300, 900, 1200, 1800, 3600, 7200]),
    late_s=st.sampled_from([0, 300, 900, 4500]),
)
def test_means_are_those_of_pandas(values: list[float], step_s: int, late_s: int) -> None:
    stamps = pd.date_range("2024-03-01", periods=97, freq="15min")
    fine = pd.Series(values, stamps).resample("300s").ffill()
    start = stamps[0] + pd.Timedelta(seconds=late_s)
    steps = (90 * 900 - late_s) // step_s
    by_hand = fine[start:].groupby(np.arange(fine[start:].size) * 300 // step_s).mean()[:steps]
    calendar = day(steps, step_s, start.isoformat())
    spec = SeriesSpec(values=tuple(values), step_s=900, begins="2024-03-01T00:00")
    assert read_series(spec, calendar).values == pytest.approx(by_hand.to_numpy(), abs=1e-9)


@given(values=st.lists(st.floats(0, 100), min_size=8, max_size=8), step_s=st.sampled_from([600, 900, 3600, 7200]))
def test_energies_are_kept(values: list[float], step_s: int) -> None:
    spec = SeriesSpec(values=tuple(values), step_s=3600, begins="clock", rule="sum")
    placed = read_series(spec, day(8 * 3600 // step_s, step_s)).values
    assert placed.sum() == pytest.approx(sum(values), abs=1e-9)


def test_parquet_says_the_same_as_csv(tmp_path: Path) -> None:
    (case,) = (c for c in CASES if c.name == "UTC read in Berlin")
    frame = pd.read_csv(__import__("io").StringIO(case.text), parse_dates=["time"])
    frame.to_parquet(tmp_path / "table.parquet")
    series = {"file": "table.parquet"}
    same = Case(case.name, case.text, case.values, case.start, timezone=case.timezone, series=series)
    assert read(same, tmp_path).values.tolist() == case.values


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "table.parquet").write_bytes(b"PAR1 this is none")
    with pytest.raises(InputError, match="not readable as a Parquet table"):
        read_series(SeriesSpec(file="table.parquet", column="x"), day(2, 3600), base_dir=tmp_path)


def test_a_conversion_is_told(tmp_path: Path) -> None:
    (case,) = (c for c in CASES if c.name == "dollars per kWh")
    assert any("turned from usd_per_kwh into usd_per_mwh" in note for note in read(case, tmp_path).notes)


def test_a_29_february_that_is_not_there_is_told(tmp_path: Path) -> None:
    case = Case("leap", YEAR, [], "2024-02-28T00:00", 3, 86_400, series={"repeat": "year"})
    assert "market.price_usd_per_mwh: 29 February takes the values of 28 February" in read(case, tmp_path).notes


def test_a_change_of_clocks_is_told(tmp_path: Path) -> None:
    (case,) = (c for c in CASES if c.name == "the day of 25 hours")
    assert "clocks are put back by 3600 s before step 2" in read(case, tmp_path).notes


def test_local_times_of_the_steps_follow_the_zone() -> None:
    overrides = {"clock.timezone": BERLIN, "clock.start": "2024-03-31T00:00", "clock.steps": 4}
    stamps = prepare(*load_scenario("ieee37", overrides)).calendar.timestamps()
    assert [s.hour for s in stamps] == [0, 1, 3, 4]


def test_a_profile_follows_the_clock_on_the_wall() -> None:
    overrides = {"clock.timezone": BERLIN, "clock.start": "2024-03-31T00:00", "clock.steps": 4,
                 "network.load_scale": {"values": [h / 24 for h in range(24)]}}  # fmt: skip
    scale = prepare(*load_scenario("ieee37", overrides)).load_scale
    assert (24 * scale).tolist() == pytest.approx([0, 1, 3, 4])


def test_a_long_table_is_read_in_its_own_time(tmp_path: Path) -> None:
    """35,136 quarter-hours of a leap year in UTC: 1 July, 00:00 in Berlin is 22:00 UTC on 30 June."""
    text = rows("time_utc,x", "2024-01-01T00:00:00", 900, range(35_136))
    case = Case("long", text, [], "2024-07-01T00:00", 1, 900, timezone=BERLIN)
    since = (datetime(2024, 6, 30, 22) - datetime(2024, 1, 1)).total_seconds() / 900
    assert read(case, tmp_path).values.tolist() == [since]


@pytest.mark.parametrize(
    ("column", "unit"),
    [("load_percent", "percent"), ("Load (%)", "percent"), ("DA price $/MWh", "usd_per_mwh"), ("€/kWh", "eur_per_kwh"),
     ("dry_bulb_c", "c"), ("temp °F", "f"), ("p_mw", "mw"), ("price", None), ("abc", None), ("scale", None)],
)  # fmt: skip
def test_a_unit_is_read_off_a_columns_name(column: str, unit: str | None) -> None:
    assert unit_named(column) == unit


@pytest.mark.parametrize(
    ("unit", "ours"), [("f", [(32, 0), (212, 100)]), ("k", [(273.15, 0)]), ("c", [(7, 7)])]
)
def test_temperatures_come_to_celsius(unit: str, ours: list[tuple[float, float]]) -> None:
    found, _ = conversion(None, unit, "temperature", False, "weather", None)
    assert [found.factor * t + found.offset for t, _ in ours] == pytest.approx([c for _, c in ours])


def test_percent_is_a_hundredth() -> None:
    assert UNITS["percent"].factor == 0.01
