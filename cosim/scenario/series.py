"""Time series over the horizon: read from a CSV table, or given as a list or a constant.

A table or list holds one value per ``source_step_s`` (an hour unless said otherwise), each holding for all of
that time. Exactly one day of values repeats day after day and is read by the time of day; a longer table is
used from its start. Shorter market steps take the value of the hour they lie in, longer ones the mean.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cosim.errors import InputError, did_you_mean
from cosim.files import TABLE_BYTES, is_file, read_text

Array = NDArray[np.float64]
Source = str | Path | float | Sequence[float]

_DAY_S = 86_400
_FOLDERS = ("prices", "profiles", "workloads")


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
    source: Source,
    column: str | None = None,
    *,
    steps: int,
    step_s: int,
    source_step_s: int = 3600,
    base_dir: Path | None = None,
    start_of_day_s: int = 0,
    key: str = "series",
) -> Array:
    """Values of a series in every step of the horizon.

    Args:
        source: path of a CSV table, name of a shipped one, a list of values, or one constant value.
        column: column of the table.
        steps: number of market steps.
        step_s: length of a market step, in seconds.
        source_step_s: length of time that one value of the source holds, in seconds.
        base_dir: folder that relative paths start from, before the shipped tables are looked through.
        start_of_day_s: seconds from midnight to the first step; shifts a series of one day.
        key: name of the series in error messages.

    Returns:
        (steps,) read-only values, in the unit of the source.

    Raises:
        InputError: no such table or column, an empty or too short series, or a value that is not finite.
    """
    file: str | None = None
    if isinstance(source, str | Path):
        table, file = find_table(source, base_dir, key)
        values = _read_column(table, column, source_step_s, file, key)
    elif isinstance(source, int | float):
        values = np.full(1, float(source))
        source_step_s = steps * step_s
    else:
        values = _from_list(source, key)
    if values.size == 0:
        raise InputError(
            "the series is empty", file=file, key=column or key, allowed="one day of values or more"
        )
    _check_finite(values, column or key, file)
    result = _resample(values, steps, step_s, source_step_s, start_of_day_s, column or key, file)
    result.setflags(write=False)
    return result


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


def _read_column(
    table: Path, column: str | None, source_step_s: int, file: str, key: str
) -> Array:
    try:
        rows = list(csv.reader(read_text(table, TABLE_BYTES, key).splitlines()))
    except csv.Error as error:
        raise InputError(f"not readable as a CSV table: {error}", file=file, key=key) from None
    header = [cell.strip() for cell in rows[0]] if rows else []
    if column is None or header.count(column) != 1:
        hint = did_you_mean(column or "", header)
        allowed = ", ".join(header) or "the table has no header"
        raise InputError(f"no such column{hint}", file=file, key=key, value=column, allowed=allowed)
    body = [(line, row) for line, row in enumerate(rows[1:], start=2) if any(cell.strip() for cell in row)]
    place = header.index(column)
    values = np.array([_number(row, place, line, column, file) for line, row in body], dtype=np.float64)
    if "hour" in header and source_step_s == 3600:
        hours = [_number(row, header.index("hour"), line, "hour", file) for line, row in body]
        wrong = next((i for i, hour in enumerate(hours) if hour != i), None)
        if wrong is not None:
            raise InputError(
                f"hours are not in order on line {body[wrong][0]}",
                file=file,
                key="hour",
                value=hours[wrong],
                allowed=str(wrong),
            )
    return values


def _number(row: list[str], place: int, line: int, column: str, file: str) -> float:
    text = row[place].strip() if place < len(row) else ""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(
            f"not a finite number on line {line}", file=file, key=column, value=text, allowed="a number"
        )
    return value


def _from_list(source: Sequence[float], key: str) -> Array:
    try:
        values = np.asarray(source).astype(np.float64, casting="same_kind")
    except (TypeError, ValueError):
        values = np.empty((0, 0))
    if values.ndim != 1:
        raise InputError("not a list of numbers", key=key, value=source)
    return values


def _check_finite(values: Array, key: str, file: str | None) -> None:
    wrong = np.flatnonzero(~np.isfinite(values))
    if wrong.size:
        index = int(wrong[0])
        raise InputError(
            f"value {index} of the series is not a finite number",
            file=file,
            key=key,
            value=float(values[index]),
        )


def _resample(
    values: Array,
    steps: int,
    step_s: int,
    source_step_s: int,
    start_of_day_s: int,
    key: str,
    file: str | None,
) -> Array:
    """Values per market step: the mean over each step, weighted by how long it lies in each source step."""
    is_day = values.size * source_step_s == _DAY_S
    begins_s = (start_of_day_s if is_day else 0) + step_s * np.arange(steps, dtype=np.int64)
    ends_s, first = begins_s + step_s, begins_s // source_step_s
    needed = int((ends_s[-1] - 1) // source_step_s) + 1
    if not is_day and needed > values.size:
        raise InputError(
            f"the series is too short: {steps} steps of {step_s} s need {needed} values",
            file=file,
            key=key,
            value=f"{values.size} values",
            allowed=f"{_DAY_S // source_step_s} values (one day, repeated), or {needed} and more",
        )
    result = np.zeros(steps)
    for k in range(-(-step_s // source_step_s) + 1):  # the most source steps that a market step can touch
        source = first + k
        overlap_s = np.minimum(ends_s, (source + 1) * source_step_s) - np.maximum(begins_s, source * source_step_s)
        result += values[source % values.size] * (np.maximum(overlap_s, 0) / step_s)
    return np.clip(result, values.min(), values.max())  # a mean, which rounding may not put outside
