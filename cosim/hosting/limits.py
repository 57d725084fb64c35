"""Connections asked for, and the largest draw of each, hour by hour."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cosim.errors import InputError, did_you_mean, listed
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.phases import Terminal
from cosim.scenario.equipment import reactive_ratio

KINDS = ("voltage low", "voltage high", "rating", "unbalance", "solution", "supply")
"""What may bind: a voltage, a rating, a rate of unbalance; no power-flow solution in which loads keep their model; a
bus that a contingency leaves without supply."""
NOTHING = -1
"""In ``binding``: no limit up to the largest draw asked for."""
BASE_COLUMNS = ("case", "kind", "name", "phase", "limit", "unit", "steps", "worst")
_LISTED = 30


@dataclass(frozen=True)
class Connection:
    """A new draw at one bus, or at several that share it.

    Attributes:
        buses: where it is drawn. phases: (per bus) phases, or legs on three-wire buses, that share it equally.
        share: (per bus) of the draw; they add up to 1.
        power_factor: of the draw, lagging.
    """

    buses: tuple[str, ...]
    phases: tuple[tuple[str, ...], ...]
    share: tuple[float, ...]
    power_factor: float = 0.95

    def __post_init__(self) -> None:
        if not self.buses or not len(self.buses) == len(self.phases) == len(self.share):
            raise InputError("buses, phases and share of a connection must be equally many and at least one",
                             key="connection", value=(self.buses, self.phases, self.share))  # fmt: skip
        if min(self.share) < 0 or not math.isclose(sum(self.share), 1.0, abs_tol=1e-9):
            raise InputError("the shares of a connection must be 0 or more and add up to 1",
                             key=f"connection {self.name}", value=self.share)  # fmt: skip
        if not 0 < self.power_factor <= 1:
            raise InputError("not a power factor", key=f"connection {self.name}", value=self.power_factor,
                             allowed="above 0, at most 1")  # fmt: skip

    @property
    def name(self) -> str:
        """Its buses, joined by ``+``."""
        return "+".join(self.buses)

    @property
    def reactive_ratio(self) -> float:
        """kvar drawn per kW."""
        return reactive_ratio(self.power_factor)

    @property
    def terminals(self) -> tuple[Terminal, ...]:
        """Where it meets each bus."""
        return tuple(
            Terminal(bus, "delta" if len(members[0]) == 2 else "wye", members)
            for bus, members in zip(self.buses, self.phases, strict=True)
        )


def connection_at(
    feeder: Feeder, *buses: str, share: Sequence[float] | None = None, power_factor: float = 0.95
) -> Connection:
    """A balanced connection to all phases of a bus, or of several buses that share it.

    Args:
        share: of each bus; equal by default.

    Raises:
        InputError: no such bus, or one without phases.
    """
    members = []
    for name in buses:
        bus = feeder.bus_by_name.get(name)
        if bus is None:
            names = sorted(feeder.bus_by_name)
            raise InputError(f"feeder {feeder.name} has no such bus{did_you_mean(name, names)}", key="buses",
                             value=name, allowed=listed(names, _LISTED))  # fmt: skip
        here = tuple(bus.phases) if bus.grounded else bus.legs
        if not here:
            raise InputError("this bus has no two phases to connect to, and no neutral", key="buses", value=name)
        members.append(here)
    equal = [1 / len(buses)] * len(buses)
    return Connection(tuple(buses), tuple(members), tuple(equal if share is None else share), power_factor)


@dataclass(frozen=True)
class Element:
    """A limit that may bind.

    Attributes:
        kind: one of ``KINDS``. name: of the bus or branch. phase: phase or leg; empty where none is meant.
        limit: in its ``unit`` (``pu``, ``kVA`` per phase, ``%``); nan where there is no number.
    """

    kind: str
    name: str
    phase: str
    limit: float
    unit: str


@dataclass(frozen=True, eq=False)
class HourlyLimits:
    """The largest draw of each connection in each case and step, such that every limit holds in AC power flow.

    A limit that the base case (the case without the connection) breaks by itself is, in that case and step, replaced
    by "not made worse": its value may be as bad as in the base case, and worse by no more than what counts as a
    violation (1e-4 pu, 0.1 % of a rating or rate); or it is left out where so asked for. It stands in ``base``.

    Attributes:
        p_kw: (cases, connections, steps). ``largest_kw`` where nothing binds up to there; nan in a case whose base case
            has no solution at that step.
        binding: (cases, connections, steps) index into ``elements``; ``NOTHING`` where nothing binds.
        base: what the base cases break by themselves: case, kind, name, phase, limit, unit, in how many steps, and the
            worst value; and in how many steps one has no solution (kind ``solution``).
        base_broken: (cases, steps) whether the base case breaks any limit, or has no solution.
        error: largest difference that was found between interpolated limits and AC power flow, as a share of what was
            allowed (0.5 % or 5 kW, whichever is more); at most 1.
        q_kvar: (cases, connections, steps) reactive power (drawn positive) of the SVG beside the connection; None
            without one.
        counts: of AC solutions and of points at which limits were searched, by name.
        notes: what was assumed, in sentences.
    """

    connections: tuple[Connection, ...]
    cases: tuple[str, ...]
    elements: tuple[Element, ...]
    p_kw: NDArray[np.float64]
    binding: NDArray[np.int32]
    step_s: int
    start: datetime
    largest_kw: float
    base: pd.DataFrame
    base_broken: NDArray[np.bool_]
    error: float = 0.0
    q_kvar: NDArray[np.float64] | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def least(self) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.intp]]:
        """Over all cases that have a base case: smallest draw, what binds there, and the case; (connections, steps).

        Where no case has one the draw is nan.
        """
        filled = np.where(np.isnan(self.p_kw), np.inf, self.p_kw)
        case = filled.argmin(axis=0)
        p = np.take_along_axis(self.p_kw, case[None], axis=0)[0]
        return p, np.take_along_axis(self.binding, case[None], axis=0)[0], case
