"""Forecasts that are made of what is known alone: the contract for one's own, persistence, and vintages from a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cosim.errors import InputError
from cosim.scenario.calendar import MarketCalendar, zone_of
from cosim.scenario.forecasts.spec import ForecastSpec
from cosim.scenario.series.axis import DAY_S, positions, resampled, stamped_axis
from cosim.scenario.series.reading import find_table
from cosim.scenario.series.table import SeriesTable, read_table
from cosim.scenario.series.units import Quantity, conversion

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Moment:
    """When a forecast is made, and what for.

    Attributes:
        now_s: seconds from the beginning of the first step of the horizon; negative before it.
        over: steps that are over by then, so that their values are known.
        first: the step that the forecast begins with.
    """

    now_s: int
    over: int
    first: int


@dataclass(frozen=True, slots=True, eq=False)
class SeriesFacts:
    """What a forecast is told once of its series.

    Attributes:
        key: of the series in the scenario. history: values of the steps of the day before the first step, as far as
            they are known: the last one is that of the step before the horizon.
        lower, upper: what values cannot go beyond.
    """

    key: str
    calendar: MarketCalendar
    history: Array
    lower: float
    upper: float


class ForecastModel(Protocol):
    """A forecast of one's own: a class that is made with :class:`SeriesFacts` (and ``parameters=``, where it has a
    pydantic model ``Parameters``)."""

    def forecast(self, moment: Moment, known: Array) -> Array:
        """Values (steps from ``moment.first`` to the end of the horizon,) from those that are known (steps over,)."""


class Persistence:
    """The same time of the last day that is known, or the last value that is known.

    Args:
        facts: of the series; with a history of a day, or of a value.
    """

    def __init__(self, facts: SeriesFacts, last: str) -> None:
        self._facts, self._last = facts, last

    def forecast(self, moment: Moment, known: Array) -> Array:
        """See :class:`ForecastModel`."""
        facts = self._facts
        past = np.concatenate([facts.history, known])
        steps = np.arange(moment.first, facts.calendar.steps)
        if self._last == "value":
            return np.full(len(steps), past[-1])
        day = steps_of_a_day(facts.calendar)
        place = steps + len(facts.history)
        back = np.maximum(-(-(place - len(past) + 1) // day), 0)
        return np.asarray(past[place - day * back])


def steps_of_a_day(calendar: MarketCalendar) -> int:
    """Steps of 24 hours.

    Raises:
        InputError: a day is not a whole number of steps.
    """
    if DAY_S % calendar.step_s:
        raise InputError("a day is not a whole number of steps, so no step has the same time of the day before",
                         key="clock.step_s", value=calendar.step_s, allowed="a divisor of 86400")  # fmt: skip
    return DAY_S // calendar.step_s


class Vintages:
    """Forecasts from a table, each row with when it was issued, the time it is for, and the value.

    The newest vintage that was issued by a moment counts, for the steps that it covers; for others an older one.
    """

    def __init__(self, spec: ForecastSpec, calendar: MarketCalendar, base_dir: Path, key: str,
                 quantity: Quantity | None, at: str) -> None:  # fmt: skip
        self._at, self._key, self._calendar = at, key, calendar
        path, self._file = find_table(spec.file or "", base_dir, at)
        for column, said in ((spec.issued, "issued"), (spec.time, "time")):
            if column == spec.column:
                raise InputError("the column of values cannot be one of times", file=self._file, key=f"{at}.{said}",
                                 value=column)  # fmt: skip
        value, issued = (read_table(path, spec.column, c, False, self._file, at) for c in (spec.time, spec.issued))
        unit, _ = conversion(spec.column, None, quantity, False, at, self._file)
        raw = value.values * unit.factor + unit.offset
        zone = None if spec.timezone is None else zone_of(spec.timezone, f"{at}.timezone")
        found: dict[int, list[int]] = {}
        for row, stamp in enumerate(_seconds(issued, calendar, zone, self._file, at)):
            found.setdefault(stamp, []).append(row)
        self._vintages: list[tuple[int, Array]] = []
        for moment_s, rows in sorted(found.items()):
            assert value.stamps is not None
            stamps = [value.stamps[row] for row in rows]
            axis = stamped_axis(stamps, calendar, zone, value.stamped == "end", False,
                                lambda i, rows=rows: value.place(rows[i]), at, self._file)  # type: ignore[misc]
            begins, _ = positions(calendar, axis, None)
            covered = (begins >= axis.begins_s[0]) & (begins + calendar.step_s <= axis.ends_s[-1])
            values = np.full(calendar.steps, np.nan)
            if covered.any():
                values[covered] = resampled(raw[rows], axis, begins[covered], calendar.step_s, "mean", repeats=False)
            self._vintages.append((moment_s, values))

    def check(self, moment: Moment, until: int) -> None:
        """Refuse vintages that say nothing of a step that a window needs."""
        found = self.forecast(moment, np.zeros(0))[: until - moment.first]
        if np.isnan(found).any():
            step = moment.first + int(np.flatnonzero(np.isnan(found))[0])
            raise InputError(
                "no vintage that is issued when the window opens says anything of one of its steps", file=self._file,
                key=self._at, value=f"{self._key}, window that opens {self._calendar.local(moment.now_s).isoformat()}, "
                f"step {step} at {self._calendar.timestamp(step).isoformat()}",
                allowed="vintages issued by then that cover the window",
            )  # fmt: skip

    def forecast(self, moment: Moment, known: Array) -> Array:
        """See :class:`ForecastModel`; nan where no vintage says anything."""
        out = np.full(self._calendar.steps - moment.first, np.nan)
        for issued_s, values in self._vintages:
            if issued_s <= moment.now_s:
                newer = values[moment.first :]
                out = np.where(np.isnan(newer), out, newer)
        return out


def _seconds(table: SeriesTable, calendar: MarketCalendar, zone: object, file: str, key: str) -> Sequence[int]:
    """Seconds from the beginning of the first step of the times in a table."""
    out = []
    for row, stamp in enumerate(table.stamps or ()):
        if (stamp.tzinfo is not None or zone is not None) and calendar.timezone is None:
            raise InputError("the times have a zone and the clock of the scenario has none", file=file, key=key,
                             value=f"{stamp.isoformat()} on {table.place(row)}",
                             allowed="clock.timezone, or a clock.start with a zone")  # fmt: skip
        out.append(calendar.elapsed_s(stamp if stamp.tzinfo or zone is None else stamp.replace(tzinfo=zone)))  # type: ignore[arg-type]
    return out
