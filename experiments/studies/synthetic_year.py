"""A synthetic year of 8,760 hours, made from the mean-day tables that come with the package.

    python -m cosim.experiments.studies.synthetic_year --out year.csv

Each hour is the hour of the mean day times a season, a factor for weekends, weather of the day (a first-order
autoregression) and noise of its own; photovoltaic output is the clear sky of the day of the year times cloudiness. It
is a test load of realistic shape, not a record of any year. The numbers follow from the seed alone.
"""

from __future__ import annotations

import argparse
import csv
import io
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cosim.scenario.calendar import MarketCalendar
from cosim.scenario.series.reading import read_series
from cosim.scenario.series.spec import SeriesSpec

Array = NDArray[np.float64]
DAYS, SEED, FIRST_WEEKDAY = 365, 1, 6
"""The year begins on a Sunday, as 2023 did."""
_DAY = MarketCalendar(datetime(2023, 1, 1), 3600, 24, 24, "day_ahead", 1800, 5)
COLUMNS = ("hour", "price_usd_per_mwh", "load_scale", "pv_per_unit", "utilisation")
LATITUDE_DEG, SYSTEM_LOSSES = 34.0, 0.14


def year(seed: int = SEED) -> dict[str, Array]:
    """Columns of the year by name, each (8760,)."""
    rng = np.random.default_rng(seed)
    day = np.arange(1, DAYS + 1)
    weekend = (day - 1 + FIRST_WEEKDAY) % 7 >= 5
    summer = np.cos(2 * np.pi * (day - 200) / DAYS)
    hot = _weather(rng, 0.7)
    load = _mean_day("profiles/load_residential_commercial", "scale")
    price = _mean_day("prices/caiso_np15_july_2024_mean_day", "price_usd_per_mwh")
    work = _mean_day("workloads/google_cluster_mean_day", "utilisation")
    of_day = {
        "price_usd_per_mwh": (1 + 0.15 * summer) * np.where(weekend, 0.9, 1.0) * np.exp(0.15 * hot),
        "load_scale": (0.9 + 0.07 * summer) * np.where(weekend, 0.93, 1.0) * (1 + 0.02 * hot),
        "utilisation": np.where(weekend, 0.95, 1.0) * (1 + 0.02 * _weather(rng, 0.5)),
    }
    noise = {"price_usd_per_mwh": 0.05, "load_scale": 0.01, "utilisation": 0.02}
    found = {"hour": np.arange(24.0 * DAYS)}
    for name, mean in (("price_usd_per_mwh", price), ("load_scale", load), ("utilisation", work)):
        hours = of_day[name][:, None] * mean * np.exp(noise[name] * rng.standard_normal((DAYS, 24)))
        found[name] = hours.ravel()
    cloud = np.clip(0.85 + 0.2 * _weather(rng, 0.6), 0.2, 1.0)
    found["pv_per_unit"] = (cloud[:, None] * clear_sky_per_unit(day)).ravel()
    found["utilisation"] = np.clip(found["utilisation"], 0.0, 0.95)
    return {name: found[name] for name in COLUMNS}


def clear_sky_per_unit(day: NDArray[np.int_]) -> Array:
    """(days, 24) output of horizontal modules under a clear sky, kW per kW.

    Haurwitz (1945): GHI = 1098 cos z exp(-0.057 / cos z) W/m^2; Cooper (1969): declination =
    23.45 deg sin(360 deg (284 + n) / 365); middle of the hour, standard time on the zone's meridian.
    """
    declination = np.radians(23.45 * np.sin(2 * np.pi * (284 + day) / 365))[:, None]
    angle = np.radians(15 * (np.arange(24) + 0.5 - 12))
    latitude = np.radians(LATITUDE_DEG)
    height = np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(declination) * np.cos(angle)
    up = np.maximum(height, 1e-6)
    return np.where(height > 0, (1 - SYSTEM_LOSSES) * 1.098 * up * np.exp(-0.057 / up), 0.0)


def _weather(rng: np.random.Generator, memory: float) -> Array:
    """(days,) standard normal numbers, each remembering this share of the one before."""
    steps = rng.standard_normal(DAYS)
    state = np.empty(DAYS)
    state[0] = steps[0]
    for d in range(1, DAYS):
        state[d] = memory * state[d - 1] + np.sqrt(1 - memory**2) * steps[d]
    return state


def _mean_day(file: str, column: str) -> Array:
    return read_series(SeriesSpec(file=file, column=column), _DAY).values


def table(seed: int = SEED) -> str:
    """The year as CSV, rounded to what the mean days are known to."""
    digits = {"hour": 0, "price_usd_per_mwh": 2, "load_scale": 4, "pv_per_unit": 4, "utilisation": 4}
    columns = year(seed)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(zip(*([f"{v:.{digits[c]}f}" for v in columns[c]] for c in COLUMNS), strict=True))
    return stream.getvalue()


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="CSV file to write")
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    options.out.write_text(table(options.seed), encoding="utf-8")


if __name__ == "__main__":
    _main()
