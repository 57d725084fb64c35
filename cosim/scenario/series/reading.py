"""Time series over the horizon: from a table (CSV or Parquet), a list or a constant to a value for each market step.

A table with a column of time is aligned by date with the calendar. One without is placed by what is plain of it: hours
that a column counts from 0 (24: a day, which repeats; 8,760 or 8,784: those of a year), ``step_s`` and ``begins``, or a
day of 24 values. What is not plain is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cosim.constants import HOUR_S
from cosim.errors import InputError, did_you_mean
from cosim.files import is_file
from cosim.scenario.calendar import MarketCalendar, zone_of
from cosim.scenario.series.axis import DAY_S, Axis, Repeat, positions, regular_axis, resampled, stamped_axis
from cosim.scenario.series.spec import SeriesSpec
from cosim.scenario.series.table import SeriesTable, read_table
from cosim.scenario.series.units import OURS, Quantity, conversion

Array = NDArray[np.float64]
_FOLDERS = ("prices", "profiles", "workloads")
_YEARS_H = (8760, 8784)


@dataclass(frozen=True, slots=True)
class Series:
    """(steps,) read-only values of a series, and what a reader of the run should know of how they came about."""

    values: Array
    notes: tuple[str, ...] = ()


def shipped_series() -> list[str]:
    """Names of the tables that come with the package, as ``prices/caiso_np15_july_2024_mean_day``."""
    root = resources.files("cosim.data")
    return sorted(
        f"{folder}/{table.name.removesuffix('.csv')}"
        for folder in _FOLDERS
        for table in (root / folder).iterdir()
        if table.name.endswith(".csv") and table.name != "SOURCES.csv"
    )


def read_series(
    spec: SeriesSpec, calendar: MarketCalendar, *, base_dir: Path | None = None, key: str = "series",
    quantity: Quantity | None = None,
) -> Series:
    """Values of a series in every step of the horizon.

    Args:
        spec: the series as the scenario has it.
        calendar: whose steps get a value each.
        base_dir: folder that relative paths start from, before the shipped tables are looked through.
        key: name of the series in messages.
        quantity: what it measures: units are then read, turned into ours or refused.

    Raises:
        InputError: no such table or column, no values, a value that is not finite, a unit of something else, times out
            of order, twice, with gaps or not covering the horizon, or a place in time that is not plain.
    """
    file: str | None = None
    repeat, notes = spec.repeat, list[str]()
    if spec.file is not None:
        path, file = find_table(spec.file, base_dir, key)
        table = read_table(path, spec.column, spec.time, spec.step_s in (None, HOUR_S), file, key)
        raw = table.values
        _check_not_empty(raw, file, key)
        axis, repeat = _axis_of_table(table, spec, calendar, key, file)
    else:
        raw = np.array([spec.constant] if spec.values is None else spec.values, dtype=np.float64)
        _check_not_empty(raw, file, key)
        if spec.constant is None:
            axis, repeat = _axis_of_list(raw.size, spec, calendar, key)
    unit, other = conversion(spec.column, spec.unit, quantity, spec.scale != 1.0, key, file)
    if other is not None and quantity is not None:
        raw = raw * unit.factor + unit.offset
        notes.append(f"{key}: the values of {file or 'the list'} were turned from {other} into {OURS[quantity]}")
    if spec.constant is not None:
        values = np.full(calendar.steps, raw[0])
    else:
        values, told = _on_steps(raw, axis, calendar, spec, repeat, key, file)
        notes += told
    values = values * spec.scale + spec.offset
    values.setflags(write=False)
    return Series(values, tuple(notes))


def _check_not_empty(values: Array, file: str | None, key: str) -> None:
    if values.size == 0:
        raise InputError("the series is empty", file=file, key=key, allowed="one day of values or more")


def _axis_of_table(
    table: SeriesTable, spec: SeriesSpec, calendar: MarketCalendar, key: str, file: str
) -> tuple[Axis, Repeat | None]:
    """Where a table's values lie, and what repeats."""
    if table.stamps is not None:
        for name in ("step_s", "begins"):
            if getattr(spec, name) is not None:
                raise InputError("the table has a column of time, which says this itself", file=file,
                                 key=f"{key}.{name}", value=getattr(spec, name), allowed="leave it out")  # fmt: skip
        named = spec.timezone or ("UTC" if table.utc else None)
        zone = None if named is None else zone_of(named, f"{key}.timezone")
        at_end = (spec.stamp or table.stamped) == "end"
        axis = stamped_axis(table.stamps, calendar, zone, at_end, spec.rule == "hold", table.place, key, file)
        return axis, spec.repeat
    for name in ("timezone", "stamp"):
        if getattr(spec, name) is not None:
            raise InputError("the table has no column of time", file=file, key=f"{key}.{name}",
                             value=getattr(spec, name), allowed="time: the name of its column of time")  # fmt: skip
    count = table.values.size
    if table.hourly and spec.begins is None and count in _YEARS_H:
        first = datetime(calendar.start.year, 1, 1)
        days = (datetime(first.year + 1, 1, 1) - first).days
        if spec.repeat is None and 24 * days != count:
            raise InputError(f"{count} hours are not those of the year {first.year}", file=file, key=key,
                             value=f"{count} hours, {days} days",
                             allowed="repeat: year (29 February then takes the values of the 28th, or is left out), or "
                             "begins: the date of the first row")  # fmt: skip
        if spec.repeat == "year" and 24 * days != count:
            first = first.replace(year=2023 if count == _YEARS_H[0] else 2024)
        return regular_axis(calendar, first, count, HOUR_S, wall=True), spec.repeat
    if count == 24 and spec.step_s is None and spec.begins is None:
        return _day(calendar, HOUR_S, count), spec.repeat or "day"
    step_s = HOUR_S if table.hourly else spec.step_s
    if step_s is None:
        raise InputError("the table does not say how long a value holds", file=file, key=f"{key}.step_s",
                         allowed="step_s: seconds; or a column of time, or of hours from 0")  # fmt: skip
    if count * step_s == DAY_S and spec.begins is None:
        return _day(calendar, step_s, count), spec.repeat or "day"
    if spec.begins is None:
        raise InputError("the table does not say when its first row begins", file=file, key=f"{key}.begins",
                         value=f"{count} values of {step_s} s",
                         allowed="begins: a date and time, or begins: clock (the scenario's start)")  # fmt: skip
    return _from(spec.begins, count, step_s, calendar, key), spec.repeat


def _axis_of_list(
    count: int, spec: SeriesSpec, calendar: MarketCalendar, key: str
) -> tuple[Axis, Repeat | None]:
    """Where a list's values lie: the hours of a day, or one value a market step from the start on."""
    step_s = spec.step_s
    if step_s is None:
        if count == 24 and calendar.step_s != HOUR_S and calendar.steps == count:
            raise InputError("24 values may be the hours of a day or one a market step", key=f"{key}.step_s",
                             allowed=f"step_s: {HOUR_S}, or step_s: {calendar.step_s}")  # fmt: skip
        hours_of_a_day = count == 24 and spec.begins is None
        step_s = HOUR_S if hours_of_a_day else calendar.step_s
        if not hours_of_a_day and calendar.step_s != HOUR_S and count != calendar.steps:
            raise InputError("the list does not say how long a value holds", key=f"{key}.step_s",
                             value=f"{count} values, {calendar.steps} steps of {calendar.step_s} s",
                             allowed="step_s: seconds; or 24 values (the hours of a day), or one a step")  # fmt: skip
    if count * step_s == DAY_S and spec.begins is None:
        return _day(calendar, step_s, count), spec.repeat or "day"
    return _from(spec.begins or "clock", count, step_s, calendar, key), spec.repeat


def _day(calendar: MarketCalendar, step_s: int, count: int) -> Axis:
    midnight = calendar.start.replace(hour=0, minute=0, second=0)
    return regular_axis(calendar, midnight, count, step_s, wall=True)


def _from(begins: str, count: int, step_s: int, calendar: MarketCalendar, key: str) -> Axis:
    """Values one after another from a date on, or from the scenario's start."""
    try:
        first = calendar.start if begins == "clock" else datetime.fromisoformat(begins)
    except ValueError:
        raise InputError("not a date and time", key=f"{key}.begins", value=begins,
                         allowed="clock, or local time in ISO 8601, as 2024-07-15T00:00:00") from None  # fmt: skip
    if first.tzinfo is not None:
        if calendar.timezone is None:
            raise InputError("the date has a zone and the clock of the scenario has none", key=f"{key}.begins",
                             value=begins, allowed="clock.timezone, or local time without a zone")  # fmt: skip
        first = first.astimezone(calendar.timezone).replace(tzinfo=None)
    return regular_axis(calendar, first, count, step_s, wall=calendar.timezone is None)


def _on_steps(
    raw: Array, axis: Axis, calendar: MarketCalendar, spec: SeriesSpec, repeat: Repeat | None, key: str,
    file: str | None,
) -> tuple[Array, list[str]]:
    """Values in the steps, and what was assumed; a series that does not cover the horizon is refused."""
    try:
        begins_s, leap = positions(calendar, axis, repeat)
    except ValueError as covered:
        raise InputError(f"the series does not cover just one {repeat}", file=file, key=f"{key}.repeat",
                         value=f"{covered} from {axis.first.isoformat()} on",
                         allowed={"year": "365 or 366 days"}.get(str(repeat), f"one {repeat}")) from None  # fmt: skip
    if repeat is None and (begins_s[0] < axis.begins_s[0] or begins_s[-1] + calendar.step_s > axis.ends_s[-1]):
        first, last = calendar.timestamp(0), calendar.local(calendar.steps * calendar.step_s)
        until = calendar.local(int(axis.ends_s[-1]))
        what = "ends too early" if begins_s[0] >= axis.begins_s[0] else "begins too late"
        raise InputError(
            f"the series {what}: {calendar.steps} steps of {calendar.step_s} s need it from {first.isoformat()} to "
            f"{last.isoformat()}", file=file, key=key,
            value=f"{raw.size} values, {axis.first.isoformat()} to {until.isoformat()}",
            allowed="a horizon (clock.start, clock.steps) within it, or repeat: day, week or year",
        )  # fmt: skip
    values = resampled(raw, axis, begins_s, calendar.step_s, spec.rule, repeats=repeat is not None)
    return values, [f"{key}: 29 February takes the values of 28 February"] if leap else []


def find_table(name: str | Path, base_dir: Path | None, key: str) -> tuple[Path, str]:
    """The table of this name (a path from ``base_dir``, else a shipped one) and how to call it in messages.

    Raises:
        InputError: no such table.
    """
    path = (base_dir or Path()) / name
    if is_file(path):
        return path, str(path)
    shipped = shipped_series()
    wanted = str(name).removesuffix(".csv")
    matches = [s for s in shipped if wanted in (s, s.split("/")[1])]
    if len(matches) == 1:
        return Path(str(resources.files("cosim.data"))) / f"{matches[0]}.csv", f"{matches[0]}.csv"
    hint = did_you_mean(wanted, [*shipped, *(s.split("/")[1] for s in shipped)])
    raise InputError(
        f"no such table of values{hint}",
        key=key,
        value=str(name),
        allowed=f"a path to a .csv file, or one of {', '.join(shipped)}",
    )
