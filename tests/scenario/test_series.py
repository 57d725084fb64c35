"""Time series, and the tables that come with the package."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosim.errors import InputError
from cosim.experiments.studies import synthetic_year
from cosim.scenario.calendar import MarketCalendar
from cosim.scenario.series.reading import Array, read_series, shipped_series
from cosim.scenario.series.spec import SeriesSpec

DAY = [float(hour) for hour in range(24)]
PRICES = "prices/caiso_np15_july_2024_mean_day"


def table(folder: Path, text: str) -> Path:
    path = folder / "series.csv"
    path.write_text(text, encoding="utf-8")
    return path


def calendar(steps: int, step_s: int = 3600, start: str = "2024-07-15T00:00") -> MarketCalendar:
    gate_s = min(step_s, 1800)
    return MarketCalendar(datetime.fromisoformat(start), step_s, steps, steps, "day_ahead", gate_s, min(5, gate_s))


def of(values: list[float] | float, steps: int, step_s: int = 3600, start: str = "2024-07-15T00:00") -> Array:
    """Values of an inline series."""
    source = {"constant": values} if isinstance(values, float) else {"values": values}
    return read_series(SeriesSpec.model_validate(source), calendar(steps, step_s, start)).values


def from_file(name: Path | str, column: str, steps: int, base_dir: Path | None = None) -> Array:
    spec = SeriesSpec(file=str(name), column=column)
    return read_series(spec, calendar(steps), base_dir=base_dir, key="x").values


# Placing a series on the horizon


def test_one_day_repeats() -> None:
    assert of(DAY, 60).tolist() == (DAY * 3)[:60]


def test_one_day_is_read_by_the_time_of_day() -> None:
    assert of(DAY, 5, start="2024-07-15T22:00").tolist() == [22, 23, 0, 1, 2]


def test_a_longer_list_is_used_from_the_start() -> None:
    values = of([float(v) for v in range(48)], 30, start="2024-07-15T22:00")
    assert values.tolist() == list(range(30))


def test_shorter_steps_take_the_value_of_their_hour() -> None:
    assert of(DAY, 9, 900).tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2]


def test_longer_steps_take_the_mean() -> None:
    assert of(DAY, 3, 4 * 3600).tolist() == [1.5, 5.5, 9.5]
    assert of(DAY, 2, 5400).tolist() == pytest.approx([1 / 3, 5 / 3])


@given(
    values=st.lists(st.floats(-1e3, 1e3), min_size=24, max_size=24),
    step_s=st.sampled_from([300, 900, 1800, 2700, 5400, 7200, 10_800]),
    start=st.sampled_from(["00:00", "00:15", "01:30", "23:00"]),
)
def test_the_mean_of_a_day_is_kept_whatever_the_steps(values: list[float], step_s: int, start: str) -> None:
    spec = SeriesSpec(values=tuple(values), step_s=3600)
    placed = read_series(spec, calendar(86_400 // step_s, step_s, f"2024-07-15T{start}")).values
    assert placed.mean() == pytest.approx(np.mean(values), abs=1e-9)


def test_a_constant_holds_in_every_step() -> None:
    assert of(3.5, 7, 900).tolist() == [3.5] * 7


def test_values_of_other_length_than_an_hour() -> None:
    spec = SeriesSpec(values=(1.0, 3.0, 5.0, 7.0), step_s=1800)
    assert read_series(spec, calendar(2)).values.tolist() == [2.0, 6.0]


def test_a_series_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        of(DAY, 3)[0] = 1.0


# Reading tables


def test_a_table_beside_the_scenario_is_found_first(tmp_path: Path) -> None:
    table(tmp_path, "hour,price\n" + "".join(f"{h},{h}.5\n" for h in range(24)))
    assert from_file("series.csv", "price", 2, tmp_path).tolist() == [0.5, 1.5]


@pytest.mark.parametrize("name", [PRICES, f"{PRICES}.csv", PRICES.split("/")[1]])
def test_a_shipped_table_is_found_by_name(name: str, tmp_path: Path) -> None:
    assert from_file(name, "price_usd_per_mwh", 1, tmp_path).tolist() == [42.7]


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("", "x", "no such column"),
        ("hour,x\n", "x", "empty"),
        ("hour,y\n0,1\n", "x", "no such column"),
        ("hour,x,x\n0,1,1\n", "x", "no such column"),
        ("hour,x\n0,1\n1,nan\n", "x", "not a finite number on line 3"),
        ("hour,x\n0,1\n1,inf\n", "x", "not a finite number on line 3"),
        ("hour,x\n0,1\n1,\n", "x", "not a finite number on line 3"),
        ("hour,x\n0,1\n1\n", "x", "not a finite number on line 3"),
        ("hour,x\n0,1\n1,cheap\n", "x", "not a finite number on line 3"),
        ("hour,x\n0,1\n2,1\n", "hour", "hours are not in order on line 3"),
        ("hour,x\n0,1\n1,1\n", "x.begins", "does not say when its first row begins"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_its_name(
    text: str, key: str, message: str, tmp_path: Path
) -> None:
    path = table(tmp_path, text)
    with pytest.raises(InputError, match=message) as error:
        from_file(path, "x", 24)
    assert error.value.file == str(path)
    assert error.value.key == key


def test_a_short_list_says_how_long_it_is_needed() -> None:
    with pytest.raises(InputError, match="24 steps of 3600 s need it from 2024-07-15T00:00:00 to 2024-07-16T00:00:00"):
        of(DAY[:-1], 24)


@pytest.mark.parametrize("bad", [[], [1.0, math.nan] * 12, ["a"] * 24, [[1.0]] * 24, math.inf])
def test_inline_values_are_a_list_of_finite_numbers(bad: Any) -> None:
    with pytest.raises((InputError, ValueError)):
        of(bad, 24)


def test_a_wrong_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'caiso_np15_july_2024_mean_day'"):
        from_file("caiso_np15_july_2024_mean", "price_usd_per_mwh", 1)
    with pytest.raises(InputError, match="did you mean 'price_usd_per_mwh'"):
        from_file(PRICES, "price_usd_mwh", 1)


def test_a_table_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "series.csv"
    path.write_bytes(b"hour,x\n0,\xff\xfe\n")
    with pytest.raises(InputError, match="not readable"):
        from_file(path, "x", 1)


# The shipped tables


def sources() -> list[tuple[str, dict[str, str]]]:
    return [
        (folder, row)
        for folder in ("prices", "profiles", "workloads")
        for row in csv.DictReader(
            (resources.files("cosim.data") / folder / "SOURCES.csv").read_text(encoding="utf-8").splitlines()
        )
    ]


def shipped(name: str, column: str) -> list[float]:
    return [float(v) for v in from_file(name, column, 24)]


def test_every_shipped_table_has_a_named_source() -> None:
    named = {f"{folder}/{row['file'].removesuffix('.csv')}" for folder, row in sources()}
    assert named == set(shipped_series())
    assert all(row["source"] and row["unit"] for _, row in sources())


@pytest.mark.parametrize(("folder", "row"), [s for s in sources() if s[1]["file"] != "synthetic_year.csv"])
def test_every_shipped_table_is_one_day_of_its_column(folder: str, row: dict[str, str]) -> None:
    values = from_file(f"{folder}/{row['file']}", row["column"], 48)
    assert values[:24].tolist() == values[24:].tolist()


def monthly_mean_day(path: Path, column: str, zone: str) -> list[float]:
    """Mean by local hour over July 2024 of a table in UTC."""
    hours: dict[int, list[float]] = defaultdict(list)
    for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines()):
        local = datetime.fromisoformat(row["time_utc"]).replace(tzinfo=UTC).astimezone(ZoneInfo(zone))
        if (local.year, local.month) == (2024, 7):
            hours[local.hour].append(float(row[column]))
    return [float(np.mean(hours[hour])) for hour in range(24)]


@pytest.mark.parametrize(
    ("name", "column", "zone"),
    [
        ("caiso_np15", "caiso_np15_da_usd_per_mwh", "America/Los_Angeles"),
        ("pjm_dom", "pjm_dom_rt_usd_per_mwh", "America/New_York"),
    ],
)
def test_prices_are_the_mean_day_of_the_market_data(
    name: str, column: str, zone: str, reference: Path
) -> None:
    mean = monthly_mean_day(reference / "series" / "prices_2024_hourly.csv", column, zone)
    assert shipped(f"{name}_july_2024_mean_day", "price_usd_per_mwh") == pytest.approx(mean, abs=0.0501)


def test_the_workload_is_the_mean_day_of_the_cluster(reference: Path) -> None:
    rows = csv.DictReader(
        (reference / "series" / "google_cluster_cpu_hourly.csv").read_text(encoding="utf-8").splitlines()
    )
    use = np.array([float(row["cpu_utilisation"]) for row in rows]).reshape(365, 24)
    assert shipped("google_cluster_mean_day", "utilisation") == pytest.approx(use.mean(axis=0), abs=5.1e-5)


def test_the_load_shape_is_that_of_the_reliability_test_system() -> None:
    night_and_morning = [64, 60, 58, 56, 56, 58, 64, 76, 87, 95, 99, 100]
    afternoon_and_evening = [99, 100, 100, 97, 96, 96, 93, 92, 92, 93, 87, 72]
    scale = shipped("load_residential_commercial", "scale")
    assert [round(100 * s, 9) for s in scale] == night_and_morning + afternoon_and_evening
    assert max(scale) == 1.0


def clear_sky_pv(hour: float, latitude_deg: float = 34.0, day: int = 197) -> float:
    """Output per kW of modules, from Haurwitz's irradiance and Cooper's declination.

    ``hour`` is in daylight saving time, which is solar time plus one hour on the time zone's meridian.
    """
    declination = math.radians(23.45 * math.sin(math.tau * (284 + day) / 365))
    latitude = math.radians(latitude_deg)
    hour_angle = math.radians(15 * (hour - 1 - 12))
    cos_zenith = math.sin(latitude) * math.sin(declination)
    cos_zenith += math.cos(latitude) * math.cos(declination) * math.cos(hour_angle)
    if cos_zenith <= 0:
        return 0.0
    return 0.86 * 1098 * cos_zenith * math.exp(-0.057 / cos_zenith) / 1000


def test_pv_output_follows_the_clear_sky_formula_at_mid_hour() -> None:
    expected = [clear_sky_pv(hour + 0.5) for hour in range(24)]
    assert shipped("pv_clear_sky", "per_unit") == pytest.approx(expected, abs=5.1e-5)


def test_the_shipped_year_is_what_its_seed_makes() -> None:
    shipped_year = resources.files("cosim.data") / "profiles" / "synthetic_year.csv"
    assert shipped_year.read_text(encoding="utf-8") == synthetic_year.table()


def test_a_year_of_another_seed_is_another_year() -> None:
    assert synthetic_year.table(2) != synthetic_year.table(1)


def test_the_clear_sky_of_the_year_is_that_of_the_shipped_day() -> None:
    """Day 197 in standard time, an hour before daylight saving time."""
    day = synthetic_year.clear_sky_per_unit(np.array([197]))[0]
    assert np.roll(day, 1) == pytest.approx(shipped("profiles/pv_clear_sky", "per_unit"), abs=1e-4)
