"""The market calendar: steps, look-ahead windows and gate closure, in integer seconds.

Time zero of the simulation clock is the opening of the first window, so that no time is negative; step ``k``
is delivered from ``gate_s + k * step_s`` on. A window opens ``gate_s`` seconds before its first step begins
and closes when it begins: everything is agreed before it is delivered.

- ``day_ahead``: windows of ``window_steps`` steps follow each other; a window commits all its steps.
- ``rolling``: every step has its own window of up to ``window_steps`` steps and commits only its first.
- ``two_settlement``: windows of ``window_steps`` steps, its days, follow each other as in ``day_ahead``; they commit
  nothing and close when the real-time window of their first step opens. Every step has a real-time window, which
  opens ``real_time.gate_s`` seconds before the step begins, reaches at most to the end of the day and commits the step.

Time zones are here too: names as users write them, and local times that occur twice or never.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cache
from itertools import count
from typing import Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from cosim.errors import InputError

_YEARS = (1700, 2200)
"""Times stand in the tables as nanoseconds, which reach from 1677 to 2262."""
Market = Literal["day_ahead", "rolling", "two_settlement"]
Stage = Literal["", "day_ahead", "real_time"]
"""What a window is of a market with two settlements; empty in others."""
_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d{1,2})(?::?(\d{2}))?")


@dataclass(frozen=True, slots=True)
class Window:
    """Steps that are negotiated together, and when.

    Attributes:
        index: number of the window, from 0.
        first: first step of the window.
        last_exclusive: first step after the window.
        commit_until: first step that this window does not commit.
        opens_s: simulation time at which negotiation may begin, in seconds.
        closes_s: gate closure, in seconds; what arrives at this time or later is late.
        round_s: length of one round of the negotiation, in seconds.
        stage: which of two settlements it is agreed on for, if there are two.
    """

    index: int
    first: int
    last_exclusive: int
    commit_until: int
    opens_s: int
    closes_s: int
    round_s: int
    stage: Stage = ""

    @property
    def steps(self) -> int:
        """Number of steps that are negotiated."""
        return self.last_exclusive - self.first

    @property
    def committed(self) -> range:
        """The steps that this window commits."""
        return range(self.first, self.commit_until)

    @property
    def taken(self) -> range:
        """The steps that are delivered as they are agreed on in this window, if nothing else is agreed on later."""
        return range(self.first, self.last_exclusive) if self.stage == "day_ahead" else self.committed

    @property
    def max_rounds(self) -> int:
        """Whole rounds that fit between opening and gate closure."""
        return (self.closes_s - self.opens_s) // self.round_s


@dataclass(frozen=True, slots=True)
class RealTime:
    """When the second of two settlements is agreed on.

    Attributes:
        gate_s: from the opening of a real-time window to the beginning of its first step, in seconds.
        window_steps: look-ahead of a real-time window; None: what is left of the day.
    """

    gate_s: int
    window_steps: int | None = None


@dataclass(frozen=True, slots=True)
class MarketCalendar:
    """When the market trades what.

    Args:
        start: local wall-clock time at which the first step begins.
        step_s: length of a market step, in seconds.
        steps: number of steps of the horizon.
        window_steps: look-ahead that is negotiated at once; the last windows are cut at the horizon.
        market: ``day_ahead``, ``rolling`` or ``two_settlement``.
        gate_s: time for negotiation before delivery, in seconds; windows may not be open two at a time.
        round_s: length of one round of messages, in seconds.
        timezone: the zone of the start and of all local times; without one every day has 24 hours.
        real_time: of a market with two settlements; None in others.

    Raises:
        InputError: a start that clocks never show or show twice in the zone, a horizon beyond the years that tables can
            hold, a length that is not a positive whole number, an unknown market, a gate that opens before the
            previous window has closed, or a round that does not fit between opening and closure.
    """

    start: datetime
    step_s: int
    steps: int
    window_steps: int
    market: Market
    gate_s: int
    round_s: int
    timezone: tzinfo | None = None
    real_time: RealTime | None = None

    def __post_init__(self) -> None:
        if self.market not in get_args(Market):
            allowed = " or ".join(get_args(Market))
            raise InputError("unknown market", key="clock.market", value=self.market, allowed=allowed)
        if (self.market == "two_settlement") != (self.real_time is not None):
            raise ValueError("a market with two settlements, and no other, has a real-time market")
        for key in ("step_s", "steps", "window_steps", "gate_s", "round_s"):
            value = getattr(self, key)
            try:
                whole = operator.index(value)
            except TypeError:
                whole = 0
            if isinstance(value, bool) or whole < 1:
                raise InputError(f"{key} is not a positive whole number", key=f"clock.{key}", value=value)
        self._check_times()
        if self.gate_s > self._between_gates_s:
            raise InputError(
                "the gate opens before the previous window has closed",
                key="clock.gate_s",
                value=self.gate_s,
                allowed=f"at most {self._between_gates_s} s in the {self.market} market",
            )
        if self.real_time is not None:
            self._check_real_time(self.real_time)
        elif self.round_s > self.gate_s:
            raise InputError(
                "not one round fits between opening and gate closure",
                key="clock.round_s",
                value=self.round_s,
                allowed=f"at most gate_s = {self.gate_s} s",
            )

    def _check_real_time(self, real_time: RealTime) -> None:
        """A round fits between the openings of both windows of a step, and another before the step begins."""
        most_s = self.gate_s - self.round_s
        if most_s < self.round_s:
            raise InputError("a round of each settlement fits between opening and delivery", key="clock.gate_s",
                             value=self.gate_s, allowed=f"at least two rounds, {2 * self.round_s} s")  # fmt: skip
        if not self.round_s <= real_time.gate_s <= most_s:
            raise InputError(
                "the real-time window opens within clock.gate_s, with a round before and after its opening",
                key="market.real_time.gate_s",
                value=real_time.gate_s,
                allowed=f"from clock.round_s = {self.round_s} s to clock.gate_s less that, {most_s} s",
            )

    def _check_times(self) -> None:
        """The start is local time, and every step begins in a year that tables and figures can hold."""
        start, key = self.start.isoformat(), "clock.start"
        if self.start.tzinfo is not None:
            raise ValueError("the start is local time; its zone is the calendar's")
        if self.timezone is not None and not occurs(self.start, self.timezone):
            raise InputError("clocks skip this time", key=key, value=start, allowed="a local time that occurs")
        if self.timezone is not None and occurs_twice(self.start, self.timezone):
            raise InputError("clocks show this time twice", key=key, value=start,
                             allowed="another time, or clock.timezone as an offset, as UTC+02:00")  # fmt: skip
        years = f"years {_YEARS[0]} to {_YEARS[1]}"
        if not _YEARS[0] <= self.start.year <= _YEARS[1]:
            raise InputError("the start is too far away", key=key, value=start, allowed=years)
        left_s = (datetime(_YEARS[1] + 1, 1, 1) - self.start).total_seconds()
        if self.steps * self.step_s > left_s:
            raise InputError("the horizon ends too late", key="clock.steps", value=self.steps, allowed=years)

    @property
    def _stride(self) -> int:
        """Steps from one window's first step to the next window's; of two settlements, from one day's to the next's."""
        return 1 if self.market == "rolling" else self.window_steps

    @property
    def _between_gates_s(self) -> int:
        """Seconds from one gate closure to the next."""
        return self.step_s if self.real_time is not None else self._stride * self.step_s

    def end_of_work(self, step: int) -> int:
        """Step before which the work that arrives in a step is done at the latest: the end of its day where windows
        finish their work, else of the horizon."""
        if self.market == "rolling":
            return self.steps
        return min((step // self.window_steps + 1) * self.window_steps, self.steps)

    @property
    def step_hours(self) -> float:
        """Length of a step in hours: energy in MWh is power in MW times this."""
        return self.step_s / 3600

    @property
    def start_of_day_s(self) -> int:
        """Wall-clock seconds from midnight to the first step."""
        return since_midnight_s(self.start)

    @property
    def end_s(self) -> int:
        """Simulation time at which the last step has been delivered, in seconds."""
        return self.step_start_s(self.steps)

    def step_start_s(self, step: int) -> int:
        """Simulation time at which a step begins, in seconds."""
        return self.gate_s + step * self.step_s

    def timestamp(self, step: int) -> datetime:
        """Local wall-clock time at which a step begins."""
        return self.local(step * self.step_s)

    def local(self, elapsed_s: int) -> datetime:
        """Local wall-clock time when this many seconds have passed since the first step began."""
        passed = timedelta(seconds=elapsed_s)
        if self.timezone is None:
            return self.start + passed
        begin = self.start.replace(tzinfo=self.timezone).astimezone(UTC)
        return (begin + passed).astimezone(self.timezone).replace(tzinfo=None)

    def elapsed_s(self, moment: datetime) -> int:
        """Seconds from the beginning of the first step to a time, which is local where it says no zone.

        A local time that occurs twice is the first of both, unless its ``fold`` is 1.
        """
        start = self.start
        if self.timezone is not None:
            start = start.replace(tzinfo=self.timezone)
            moment = moment.replace(tzinfo=self.timezone) if moment.tzinfo is None else moment
            return round((moment.astimezone(UTC) - start.astimezone(UTC)).total_seconds())
        return round((moment - start).total_seconds())

    def wall_s(self, local: datetime) -> int:
        """Seconds on the clock on the wall from the beginning of the first step to a local time."""
        return round((local.replace(fold=0) - self.start).total_seconds())

    def wall_begins_s(self) -> NDArray[np.int64]:
        """(steps,) seconds on the clock on the wall at which the steps begin, 0 for the first."""
        if self.timezone is None:
            return np.arange(self.steps, dtype=np.int64) * self.step_s
        return np.array([self.wall_s(self.timestamp(step)) for step in range(self.steps)], dtype=np.int64)

    def clock_changes(self) -> list[tuple[int, int]]:
        """(step, seconds) where clocks are put forward (more than 0) or back within or before a step."""
        walls = self.wall_begins_s()
        moved = np.diff(walls) - self.step_s
        return [(int(i) + 1, int(moved[i])) for i in np.flatnonzero(moved)]

    def timestamps(self) -> tuple[datetime, ...]:
        """Local wall-clock times at which the steps begin."""
        return tuple(self.timestamp(step) for step in range(self.steps))

    def windows(self) -> Iterator[Window]:
        """The windows in order of time; what they commit covers every step exactly once."""
        numbers = count()
        for first in range(0, self.steps, self._stride):
            begins_s = self.step_start_s(first)
            window = Window(
                index=next(numbers),
                first=first,
                last_exclusive=min(first + self.window_steps, self.steps),
                commit_until=min(first + self._stride, self.steps),
                opens_s=begins_s - self.gate_s,
                closes_s=begins_s,
                round_s=self.round_s,
            )
            if self.real_time is None:
                yield window
                continue
            yield replace(window, commit_until=first, closes_s=begins_s - self.real_time.gate_s, stage="day_ahead")
            for t in range(first, window.last_exclusive):
                yield self._real_time_window(next(numbers), t, window.last_exclusive, self.real_time)

    def _real_time_window(self, index: int, t: int, end: int, real_time: RealTime) -> Window:
        """The real-time window of a step whose day ends before step ``end``."""
        begins_s, ahead = self.step_start_s(t), real_time.window_steps
        return Window(
            index=index,
            first=t,
            last_exclusive=end if ahead is None else min(t + ahead, end),
            commit_until=t + 1,
            opens_s=begins_s - real_time.gate_s,
            closes_s=begins_s,
            round_s=self.round_s,
            stage="real_time",
        )


@cache
def since_midnight_s(local: datetime) -> int:
    """Wall-clock seconds from midnight."""
    return local.hour * 3600 + local.minute * 60 + local.second


def zone_of(name: str, key: str) -> tzinfo:
    """The zone of a name: ``Europe/Berlin``, ``UTC``, or a fixed offset as ``UTC-08:00`` or ``+01:00``.

    Raises:
        InputError: no such zone.
    """
    if name.upper() in ("UTC", "GMT", "Z"):
        return UTC
    if offset := _OFFSET.fullmatch(name.upper()):
        sign, hours, minutes = offset.groups()
        length = timedelta(hours=int(hours), minutes=int(minutes or 0))
        if length < timedelta(days=1):
            return timezone(-length if sign == "-" else length)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InputError("no such time zone", key=key, value=name,
                         allowed="a name as America/Los_Angeles, UTC, or an offset as UTC-08:00") from None  # fmt: skip


def occurs(local: datetime, zone: tzinfo) -> bool:
    """Whether clocks ever show this local time: not in the hour that they skip in spring."""
    return local.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None) == local


def occurs_twice(local: datetime, zone: tzinfo) -> bool:
    """Whether clocks show this local time twice, as in the hour that they repeat in autumn."""
    first = local.replace(tzinfo=zone, fold=0)
    return occurs(local, zone) and first.utcoffset() != first.replace(fold=1).utcoffset()
