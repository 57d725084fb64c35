"""Where the values of a series lie in time, and what they come to in the steps of the market.

Times are whole seconds from the calendar's start: seconds that pass, where the calendar has a time zone and the series
has dates, else seconds on the clock on the wall (which are the same without a zone).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cosim.errors import InputError
from cosim.scenario.calendar import MarketCalendar, occurs

Array = NDArray[np.float64]
Seconds = NDArray[np.int64]
Rule = Literal["mean", "hold", "interpolate", "sum"]
Repeat = Literal["day", "week", "year"]
DAY_S = 86_400
_PERIOD_S = {"day": (DAY_S,), "week": (7 * DAY_S,), "year": (365 * DAY_S, 366 * DAY_S)}


@dataclass(frozen=True, slots=True)
class Axis:
    """The time that each value of a series holds for.

    Attributes:
        begins_s: (values,) rising starts.
        ends_s: (values,) ends: the start of the next value; the last holds as long as most.
        first: local time at which the first value begins.
        wall: whether these are seconds on the clock on the wall, not seconds that pass.
    """

    begins_s: Seconds
    ends_s: Seconds
    first: datetime
    wall: bool

    @property
    def length_s(self) -> int:
        """All of the time that the series covers."""
        return int(self.ends_s[-1] - self.begins_s[0])


def regular_axis(calendar: MarketCalendar, first: datetime, count: int, step_s: int, wall: bool) -> Axis:
    """Values one after another from a local time on."""
    begin = calendar.wall_s(first) if wall else calendar.elapsed_s(first)
    begins = begin + step_s * np.arange(count, dtype=np.int64)
    return Axis(begins, begins + step_s, first, wall)


def stamped_axis(
    stamps: Sequence[datetime],
    calendar: MarketCalendar,
    zone: tzinfo | None,
    at_end: bool,
    irregular: bool,
    place: Callable[[int], str],
    key: str,
    file: str,
) -> Axis:
    """The axis of values with a time each.

    Args:
        zone: of stamps that say none; without one they are in the calendar's.
        at_end: whether a stamp is the end of its value's time.
        irregular: whether values may hold for unlike times.
        place: where a row is, in words.
        key, file: the series and its table in messages.

    Raises:
        InputError: stamps with and without a zone, a zone where the calendar has none, a local time that does not
            occur, a time twice or out of order, or a gap; with its row.
    """

    def refuse(row: int, what: str, allowed: str | None = None) -> InputError:
        return InputError(f"{what} on {place(row)}", file=file, key=key, value=stamps[row].isoformat(),
                          allowed=allowed)  # fmt: skip

    aware = [stamp.tzinfo is not None for stamp in stamps]
    if any(aware) and not all(aware):
        raise refuse(aware.index(not aware[0]), "a time zone in some rows and none in others")
    if (aware[0] or zone is not None) and calendar.timezone is None:
        raise InputError("the times have a zone and the clock of the scenario has none", file=file, key=key,
                         value=stamps[0].isoformat(),
                         allowed="clock.timezone, or a clock.start with a zone")  # fmt: skip
    zone = calendar.timezone if zone is None else zone
    instants = np.empty(len(stamps), dtype=np.int64)
    for row, stamp in enumerate(stamps):
        if not aware[0] and zone is not None:
            if not occurs(stamp, zone):
                raise refuse(row, "clocks skip this time", "times that occur, or the timezone that they are in")
            stamp = stamp.replace(tzinfo=zone)
            if row and calendar.elapsed_s(stamp) <= instants[row - 1]:
                stamp = stamp.replace(fold=1)  # the second time that clocks show it
        instants[row] = calendar.elapsed_s(stamp)
    between = np.diff(instants)
    if wrong := np.flatnonzero(between <= 0).tolist():
        row = wrong[0] + 1
        what = "the same time again" if between[wrong[0]] == 0 else "an earlier time than the row before"
        raise refuse(row, what, "times in order, each once")
    usual = _usual(between, key, file, len(stamps))
    if not irregular and (wrong := np.flatnonzero(between != usual).tolist()):
        rows = wrong[0] + 1
        raise refuse(rows, f"{between[wrong[0]]} s since the row before, where {usual} s are usual",
                     "times without gaps, or rule: hold where a value holds until the next")  # fmt: skip
    if at_end:
        begins, ends = np.concatenate([[instants[0] - usual], instants[:-1]]), instants
    else:
        begins, ends = instants, np.concatenate([instants[1:], [instants[-1] + usual]])
    return Axis(begins, ends, calendar.local(int(begins[0])), wall=calendar.timezone is None)


def _usual(between: Seconds, key: str, file: str, count: int) -> int:
    if count < 2:
        raise InputError("one row does not say how long its value holds", file=file, key=key, value=f"{count} row",
                         allowed="two rows or more")  # fmt: skip
    lengths, often = np.unique(between, return_counts=True)
    return int(lengths[np.argmax(often)])


def positions(calendar: MarketCalendar, axis: Axis, repeat: Repeat | None) -> tuple[Seconds, bool]:
    """Where the steps begin on the axis of a series, and whether 29 February takes the values of the 28th.

    Raises:
        ValueError: the series does not cover just what is repeated, in words.
    """
    if repeat is None:
        steps = np.arange(calendar.steps, dtype=np.int64) * calendar.step_s
        return (calendar.wall_begins_s() if axis.wall else steps), False
    if axis.length_s not in _PERIOD_S[repeat]:
        raise ValueError(f"{axis.length_s / DAY_S:g} days")
    if repeat != "year":
        since = calendar.wall_begins_s() - calendar.wall_s(axis.first)
        return axis.begins_s[0] + since % axis.length_s, False
    found, leap = np.empty(calendar.steps, dtype=np.int64), False
    last = axis.first + timedelta(seconds=axis.length_s)
    for step in range(calendar.steps):
        local = calendar.timestamp(step)
        place = _in_year(local, axis.first.year)
        if place is None or place < axis.first:
            place = _in_year(local, axis.first.year + 1)
        if place is None or place >= last:
            place, leap = _in_year(local - timedelta(days=1), axis.first.year), True
            if place is None or place < axis.first:
                place = _in_year(local - timedelta(days=1), axis.first.year + 1)
        assert place is not None
        found[step] = calendar.wall_s(place) if axis.wall else calendar.elapsed_s(place)
    return np.clip(found, axis.begins_s[0], axis.ends_s[-1] - 1), leap


def _in_year(local: datetime, year: int) -> datetime | None:
    try:
        return local.replace(year=year)
    except ValueError:  # 29 February
        return None


def resampled(values: Array, axis: Axis, begins_s: Seconds, step_s: int, rule: Rule, repeats: bool) -> Array:
    """(steps,) values of the steps.

    ``mean``: the mean over the step, each value holding for all of its time. ``hold``: the value that holds when the
    step begins. ``interpolate``: the mean over the step of straight lines from one value to the next, the last one
    held. ``sum``: the part of each value whose time lies in the step, as of energies.

    Args:
        begins_s: (steps,) where the steps begin on the axis; all of their time lies on it, unless it repeats.
    """
    starts, ends = axis.begins_s, axis.ends_s
    if repeats:
        values = np.concatenate([values, values])
        starts, ends = (np.concatenate([s, s + axis.length_s]) for s in (starts, ends))
    first = np.searchsorted(starts, begins_s, side="right") - 1
    if rule == "hold":
        return np.asarray(values[first])
    ends_s = begins_s + step_s
    result = np.zeros(begins_s.size)
    if rule == "interpolate":
        length = (ends - starts).astype(np.float64)
        onward = (np.append(values[1:], values[0] if repeats else values[-1]) - values) / length
    for k in range(int((np.searchsorted(starts, ends_s, side="left") - first).max())):
        source = np.minimum(first + k, values.size - 1)
        left, right = np.maximum(begins_s, starts[source]), np.minimum(ends_s, ends[source])
        overlap_s = np.where(first + k < values.size, np.maximum(right - left, 0), 0)
        if rule == "sum":
            result += values[source] * (overlap_s / (ends[source] - starts[source]))
        elif rule == "interpolate":
            middle = (left + right) / 2 - starts[source]
            result += (values[source] + onward[source] * middle) * (overlap_s / step_s)
        else:
            result += values[source] * (overlap_s / step_s)
    # a mean, which rounding may not put outside
    return result if rule == "sum" else np.asarray(np.clip(result, values.min(), values.max()))
