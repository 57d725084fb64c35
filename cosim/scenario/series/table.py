"""Tables of series: a column of numbers and, where there is one, the column of time beside it (CSV or Parquet)."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cosim.errors import InputError, did_you_mean
from cosim.files import TABLE_BYTES, read_text

Array = NDArray[np.float64]
End = Literal["start", "end"]
MOST_ROWS = 5_000_000
"""Most rows of a table (a year of minutes has 525,600)."""
_STARTS = frozenset(
    "time timestamp datetime date stamp ts localtime validtime intervalstart intervalbegin intervalbeginning "
    "periodstart periodbegin periodbeginning hourbeginning start starttime begin starting from timestart utc".split()
)
_ENDS = frozenset("intervalend intervalending periodend periodending hourending end endtime ending to timeend".split())
_HOURS = ("hour", "hour_of_year", "hour_of_day")


@dataclass(frozen=True, slots=True)
class SeriesTable:
    """A column of a table.

    Attributes:
        values: (rows,) finite numbers as they stand in the table.
        stamps: (rows,) what the time column says, if there is one.
        stamped: whether a stamp is the start or the end of the time that its value holds for.
        utc: whether the name of the time column says that it is UTC.
        hourly: whether a column counts the hours from 0.
        lines: (rows,) line of each row in a CSV file, number of each row (from 1) in a Parquet file.
    """

    values: Array
    stamps: tuple[datetime, ...] | None
    stamped: End
    utc: bool
    hourly: bool
    lines: Sequence[int]
    word: str

    def place(self, row: int) -> str:
        """Where a row is, in words: its line or row, and its time if it has one."""
        where = f"{self.word} {self.lines[row]}"
        return where if self.stamps is None else f"{where} ({self.stamps[row].isoformat()})"


def read_table(path: Path, column: str | None, time: str | None, hourly: bool, file: str, key: str) -> SeriesTable:
    """A column of a CSV or Parquet file and its times.

    Args:
        column: the column of numbers; time: that of time, if the scenario names one.
        hourly: whether a column of hours counts where there is no time.
        file: the table's name in messages; key: the series'.

    Raises:
        InputError: an unreadable table, no such column, a number or a time that is none; with its line.
    """
    parquet = path.suffix.lower() in (".parquet", ".pq")
    header, cells, lines = _parquet(path, file, key) if parquet else _csv(path, file, key)
    word = "row" if parquet else "line"
    if column is None or header.count(column) != 1:
        hint = did_you_mean(column or "", header)
        allowed = ", ".join(header) or "the table has no header"
        raise InputError(f"no such column{hint}", file=file, key=key, value=column, allowed=allowed)
    numbers = _numbers(cells(column), column, lines, word, file)
    of_time = _time_column([name for name in header if name != column], time, file, key)
    stamps, counted = None, False
    if of_time is not None:
        stamps = tuple(
            _stamp(cell, f"{word} {line}", of_time, file) for cell, line in zip(cells(of_time), lines, strict=True)
        )
    elif hourly and (hours := next((h for h in _HOURS if h in header and h != column), None)) is not None:
        _check_hours(_numbers(cells(hours), hours, lines, word, file), hours, lines, word, file)
        counted = True
    base, utc = _plain(of_time or "")
    return SeriesTable(numbers, stamps, "end" if base in _ENDS else "start", utc, counted, lines, word)


def _csv(path: Path, file: str, key: str) -> tuple[list[str], Any, list[int]]:
    try:
        rows = list(csv.reader(read_text(path, TABLE_BYTES, key).splitlines()))
    except csv.Error as error:
        raise InputError(f"not readable as a CSV table: {error}", file=file, key=key) from None
    header = [cell.strip() for cell in rows[0]] if rows else []
    body = [(line, row) for line, row in enumerate(rows[1:], start=2) if any(cell.strip() for cell in row)]

    def cells(name: str) -> list[Any]:
        place = header.index(name)
        return [row[place].strip() if place < len(row) else "" for _, row in body]

    return header, cells, [line for line, _ in body]


def _parquet(path: Path, file: str, key: str) -> tuple[list[str], Any, list[int]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path)
        header, rows = list(table.schema_arrow.names), table.metadata.num_rows
        if rows > MOST_ROWS:
            raise InputError("the table is too long", file=file, key=key, value=f"{rows:,} rows",
                             allowed=f"at most {MOST_ROWS:,} rows")  # fmt: skip
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"not readable as a Parquet table: {str(error)[:200]}", file=file, key=key) from None

    def cells(name: str) -> list[Any]:
        try:
            found: list[Any] = table.read(columns=[name]).column(name).to_pylist()
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            raise InputError(f"the column is not readable: {str(error)[:200]}", file=file, key=name) from None
        return found

    return header, cells, list(range(1, rows + 1))


def _numbers(cells: Sequence[Any], column: str, lines: Sequence[int], word: str, file: str) -> Array:
    values = np.empty(len(cells))
    for row, cell in enumerate(cells):
        try:
            value = math.nan if isinstance(cell, bool) else float(cell)
        except (TypeError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            raise InputError(f"not a finite number on {word} {lines[row]}", file=file, key=column,
                             value=str(cell)[:100], allowed="a number")  # fmt: skip
        values[row] = value
    return values


def _check_hours(hours: Array, column: str, lines: Sequence[int], word: str, file: str) -> None:
    wrong = np.flatnonzero(hours != np.arange(hours.size))
    if wrong.size:
        row = int(wrong[0])
        raise InputError(f"hours are not in order on {word} {lines[row]}", file=file, key=column,
                         value=float(hours[row]), allowed=str(row))  # fmt: skip


def _plain(name: str) -> tuple[str, bool]:
    """A column's name in small letters alone, without a word for the zone, and whether that word is UTC."""
    words = re.findall(r"[a-z0-9]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower())
    utc = len(words) > 1 and words[-1] in ("utc", "gmt", "z")
    if utc or (len(words) > 1 and words[-1] == "local"):
        words = words[:-1]
    return "".join(words), utc or name.lower() == "utc"


def _time_column(header: list[str], stated: str | None, file: str, key: str) -> str | None:
    """The column of time: the one that the scenario names, else the one with a usual name."""
    if stated is not None:
        if header.count(stated) != 1:
            raise InputError(f"no such column{did_you_mean(stated, header)}", file=file, key=f"{key}.time",
                             value=stated, allowed=", ".join(header))  # fmt: skip
        return stated
    usual = {name: base for name in header if (base := _plain(name)[0]) in _STARTS | _ENDS}
    found = [name for name, base in usual.items() if base not in _ENDS] or list(usual)
    if len(found) > 1:
        raise InputError("several columns may be the time", file=file, key=f"{key}.time", value=", ".join(found),
                         allowed="time: the name of one of them")  # fmt: skip
    return found[0] if found else None


def _stamp(cell: Any, place: str, column: str, file: str) -> datetime:
    """A cell of the time column as a time in whole seconds, with a zone if it says one."""
    found: datetime | None = None
    if isinstance(cell, datetime):
        found = cell
    elif isinstance(cell, date):
        found = datetime(cell.year, cell.month, cell.day)
    elif isinstance(cell, str) and not re.fullmatch(r"\s*\d*\s*", cell):
        try:
            found = datetime.fromisoformat(cell.strip())
        except ValueError:
            found = None
    if found is None or found.microsecond:
        raise InputError(f"not a date and time on {place}", file=file, key=column, value=str(cell)[:100],
                         allowed="ISO 8601 in whole seconds, as 2024-07-15 13:00 or "
                         "2024-07-15T13:00:00-07:00")  # fmt: skip
    return found
