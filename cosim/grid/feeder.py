"""A distribution feeder as plain data: buses, lines, transformers, regulators, capacitors and loads.

Phases are the letters ``a``, ``b``, ``c``; a delta leg is two of them (``ab``, ``bc``, ``ca``). A bus is
either **grounded** (a neutral is present, voltages are line to neutral) or part of a **three-wire** section
(no neutral, only line-to-line voltages mean anything). Matrices of line codes stand in phase order a, b, c
with zeros for missing phases. Units: kW, kvar, kVA, kV (line to line), feet, ohm per mile, microsiemens per
mile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

PHASES = ("a", "b", "c")
LEGS = ("ab", "bc", "ca")
TAP_STEP = 0.00625
"""Voltage ratio of one regulator step: 32 steps over plus and minus 10 %."""
TAP_LIMIT = 16
FEET_PER_MILE = 5280.0

Matrix = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
"""A 3x3 matrix in phase order a, b, c."""


@dataclass(frozen=True, slots=True)
class Bus:
    """A bus.

    Attributes:
        name: unique name.
        kv_base: nominal line-to-line voltage, kV.
        phases: present phases in order, such as ``abc`` or ``b``.
        grounded: True with a neutral (line-to-neutral voltages), False in a three-wire section.
        x, y: coordinates for maps, in any unit.
        source: where the data come from.
    """

    name: str
    kv_base: float
    phases: str = "abc"
    grounded: bool = False
    x: float = 0.0
    y: float = 0.0
    source: str = ""


@dataclass(frozen=True, slots=True)
class LineCode:
    """Series impedance (ohm per mile) and shunt susceptance (microsiemens per mile) of a construction."""

    name: str
    r_ohm_per_mile: Matrix
    x_ohm_per_mile: Matrix
    b_us_per_mile: Matrix
    source: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A line section between two buses, with its phases, length in feet and line code."""

    name: str
    from_bus: str
    to_bus: str
    phases: str
    length_ft: float
    code: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class Transformer:
    """A three-phase two-winding transformer; ``from_bus`` is the side of the feeder's source.

    Attributes:
        kva: three-phase rating.
        kv_high, kv_low: rated line-to-line voltage at ``from_bus`` and ``to_bus``, kV.
        conn_high, conn_low: ``delta`` or ``wye`` (grounded).
        r_percent, x_percent: total series resistance and reactance, percent of the rating.
    """

    name: str
    from_bus: str
    to_bus: str
    kva: float
    kv_high: float
    conn_high: str
    kv_low: float
    conn_low: str
    r_percent: float
    x_percent: float
    source: str = ""


@dataclass(frozen=True, slots=True)
class Regulator:
    """A voltage regulator at a fixed tap; ``from_bus`` is the side of the feeder's source.

    Attributes:
        connection: ``open-delta`` (two units, three-wire) or ``wye`` (one unit a phase, grounded).
        taps: tap of each unit by leg (``ab``, ``cb``: the shared phase second) or by phase; -16 to 16 steps
            of 0.00625.
    """

    name: str
    from_bus: str
    to_bus: str
    connection: str
    taps: Mapping[str, int] = field(hash=False)
    source: str = ""

    def ratio(self, unit: str) -> float:
        """Voltage ratio of one unit (1.0 at tap 0)."""
        return 1.0 + TAP_STEP * self.taps[unit]


@dataclass(frozen=True, slots=True)
class Capacitor:
    """A shunt capacitor giving ``kvar`` at nominal voltage on one delta leg or one phase."""

    name: str
    bus: str
    connection: str
    phases: str
    kvar: float
    source: str = ""


@dataclass(frozen=True, slots=True)
class Load:
    """A load on one delta leg or one phase.

    Attributes:
        connection: ``delta`` (``phases`` is a leg) or ``wye`` (``phases`` is one phase).
        model: ``PQ`` constant power, ``I`` constant current magnitude, ``Z`` constant impedance.
        p_kw, q_kvar: demand at nominal voltage.
    """

    name: str
    bus: str
    connection: str
    phases: str
    model: str
    p_kw: float
    q_kvar: float
    source: str = ""


Branch = Line | Transformer | Regulator


@dataclass(frozen=True)
class Feeder:
    """A radial feeder with one source.

    Attributes:
        name: name of the feeder.
        source_bus: bus held at ``source_pu`` (per unit of ``source_kv``, balanced, 120 degrees apart).
        source_kv: nominal line-to-line voltage of the source, kV.
        notes: what else is known of the feeder, by key: (value, source).
    """

    name: str
    source_bus: str
    source_kv: float
    source_pu: float
    buses: tuple[Bus, ...]
    lines: tuple[Line, ...] = ()
    line_codes: tuple[LineCode, ...] = ()
    transformers: tuple[Transformer, ...] = ()
    regulators: tuple[Regulator, ...] = ()
    capacitors: tuple[Capacitor, ...] = ()
    loads: tuple[Load, ...] = ()
    notes: Mapping[str, tuple[str, str]] = field(default_factory=dict, hash=False)

    @cached_property
    def bus_by_name(self) -> dict[str, Bus]:
        """Buses by name."""
        return {b.name: b for b in self.buses}

    @cached_property
    def code_by_name(self) -> dict[str, LineCode]:
        """Line codes by name."""
        return {c.name: c for c in self.line_codes}

    @property
    def branches(self) -> tuple[Branch, ...]:
        """Lines, transformers and regulators."""
        return (*self.lines, *self.transformers, *self.regulators)

    @property
    def load_kw(self) -> float:
        """Total active demand at nominal voltage, kW."""
        return sum(load.p_kw for load in self.loads)

    @property
    def load_kvar(self) -> float:
        """Total reactive demand at nominal voltage, kvar."""
        return sum(load.q_kvar for load in self.loads)
