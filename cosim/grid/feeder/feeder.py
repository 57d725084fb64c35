"""A distribution feeder as plain data: buses, lines, transformers, regulators, capacitors, loads, generators.

Phases are the letters ``a``, ``b``, ``c``; a delta leg is two of them (``ab``, ``bc``, ``ca``). A bus is
either **grounded** (a neutral is present, voltages are line to neutral) or part of a **three-wire** section
(no neutral, only line-to-line voltages mean anything). Behind a centre-tapped transformer a grounded bus has
the two halves ``1`` and ``2`` of one winding instead, in phase opposition, and between them the leg ``12``.
Matrices of line codes stand in phase order a, b, c (or 1, 2) with zeros for missing phases. Units: kW, kvar,
kVA, kV (line to line), feet, ohm per mile, microsiemens per mile.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from cosim.constants import LEGS, PHASES
from cosim.grid.feeder.controls import CapacitorControl, RegulatorControl

SPLIT = ("1", "2")
"""The two halves of a centre-tapped winding."""
SPLIT_LEG = "12"
PLACE = {"a": 0, "b": 1, "c": 2, "1": 0, "2": 1}
"""Place of a phase in a row of three."""
TAP_STEP = 0.00625
"""Voltage ratio of one regulator step: 32 steps over plus and minus 10 %."""
TAP_LIMIT = 16
FEET_PER_MILE = 5280.0
UNGROUNDED = "wye-ungrounded"
"""Connection of wye windings whose neutral point touches nothing else."""

LOAD_EXPONENTS = {"PQ": 0.0, "I": 1.0, "Z": 2.0}
"""Power of voltage that a load of each model follows."""
BY_EXPONENTS = "EXP"
"""Model of a load that states its exponents."""

Matrix = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
"""A 3x3 matrix in phase order a, b, c."""


@dataclass(frozen=True, slots=True)
class Bus:
    """A bus.

    Attributes:
        name: unique name.
        kv_base: nominal line-to-line voltage, kV (between the halves of a centre-tapped winding).
        phases: present phases in order, such as ``abc`` or ``b``; ``12``, ``1`` or ``2`` behind a centre tap.
        grounded: True with a neutral (line-to-neutral voltages), False in a three-wire section.
        x, y: coordinates for maps, in any unit.
        v_min_pu, v_max_pu: limits of its voltage that are its own; None where those of the scenario hold.
        source: where the data come from.
    """

    name: str
    kv_base: float
    phases: str = "abc"
    grounded: bool = False
    x: float = 0.0
    y: float = 0.0
    source: str = ""
    v_min_pu: float | None = None
    v_max_pu: float | None = None

    @property
    def split(self) -> bool:
        """Whether the phases are halves of a centre-tapped winding."""
        return self.phases[:1] in SPLIT

    @property
    def kv_neutral(self) -> float:
        """Nominal voltage between a phase and the neutral (or the centroid), kV."""
        return self.kv_base / (2.0 if self.split else math.sqrt(3))

    @property
    def legs(self) -> tuple[str, ...]:
        """The legs between phases that the bus has."""
        if self.split:
            return (SPLIT_LEG,) if self.phases == SPLIT_LEG else ()
        return tuple(leg for leg in LEGS if leg[0] in self.phases and leg[1] in self.phases)


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
    """A line section between two buses.

    Attributes:
        phases: present phases in order; length_ft: in feet; code: name of its construction.
        amps: what each conductor may carry (A); None if nobody says.
    """

    name: str
    from_bus: str
    to_bus: str
    phases: str
    length_ft: float
    code: str
    source: str = ""
    amps: float | None = None


@dataclass(frozen=True, slots=True)
class Transformer:
    """A two-winding transformer or a bank of them; ``from_bus`` is the side of the feeder's source.

    ``phases_high`` and ``phases_low`` say what the windings lie across. ``abc`` is a three-phase transformer
    (delta-wye or wye-delta: the side of ``to_bus`` lags by 30 degrees). Anything else is a bank of single-phase units,
    joined by ``+``: ``b`` is a winding from phase b to the neutral, ``ab`` one across a leg, ``ab+cb`` an open delta,
    ``12`` a centre-tapped secondary.

    Attributes:
        kva: rating of all units together.
        kv_high, kv_low: rated voltage at ``from_bus`` and ``to_bus``, kV: line to line for ``abc``, else of a
            winding (for ``12``, of each half). A fixed tap is part of them.
        conn_high, conn_low: ``delta``, ``wye`` (grounded), ``wye-ungrounded`` (its neutral floats) or, on the low side,
            ``split`` (centre-tapped).
        r_percent, x_percent: total series resistance and reactance, percent of the rating; of a centre-tapped
            one between the high winding and either half.
        no_load_percent, magnetizing_percent: no-load loss and magnetising current, percent of the rating.
        core_side: ``low`` or ``high``: the windings at which the no-load loss and magnetising current are drawn.
        r_low_percent, x_low_percent: of a centre-tapped one, resistance of one half (part of ``r_percent``), and
            reactance between the halves.
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
    phases_high: str = "abc"
    phases_low: str = "abc"
    no_load_percent: float = 0.0
    magnetizing_percent: float = 0.0
    r_low_percent: float = 0.0
    x_low_percent: float = 0.0
    core_side: str = "low"

    @property
    def three_phase(self) -> bool:
        """One three-phase transformer, not a bank of single-phase units."""
        return self.phases_high == "abc"

    @property
    def windings(self) -> tuple[tuple[str, str], ...]:
        """What the high and the low winding of each unit lie across: phases or legs."""
        if not self.three_phase:
            return tuple(zip(self.phases_high.split("+"), self.phases_low.split("+"), strict=True))
        behind = LEGS if self.conn_low == "delta" else ("ac", "ba", "cb")
        high, low = behind if self.conn_high == "delta" else PHASES, LEGS if self.conn_low == "delta" else PHASES
        return tuple(zip(high, low, strict=True))

    @property
    def floating(self) -> bool:
        """Whether a neutral floats on either side: then the currents of its units add up to zero."""
        return UNGROUNDED in (self.conn_high, self.conn_low)


@dataclass(frozen=True, slots=True)
class Regulator:
    """A voltage regulator at given taps; ``from_bus`` is the side of the feeder's source.

    Attributes:
        connection: ``open-delta`` (two units, three-wire) or ``wye`` (one unit a phase, grounded).
        taps: tap of each unit by leg (``ab``, ``cb``: the shared phase second) or by phase; -16 to 16 steps
            of 0.00625.
        kva: rating of one unit; None for an ideal regulator. r_percent, x_percent: series impedance of a unit,
            percent of its rating.
    """

    name: str
    from_bus: str
    to_bus: str
    connection: str
    taps: Mapping[str, int] = field(hash=False)
    source: str = ""
    kva: float | None = None
    r_percent: float = 0.0
    x_percent: float = 0.0

    def ratio(self, unit: str) -> float:
        """Voltage ratio of one unit (1.0 at tap 0)."""
        return 1.0 + TAP_STEP * self.taps[unit]


@dataclass(frozen=True, slots=True)
class Capacitor:
    """A shunt capacitor giving ``kvar`` (a reactor: less than 0) at nominal voltage on one leg or one phase.

    Attributes:
        kvar: of all steps together; steps: how many equal ones it has; steps_on: how many of them are in service.
    """

    name: str
    bus: str
    connection: str
    phases: str
    kvar: float
    source: str = ""
    steps: int = 1
    steps_on: int = 1

    @property
    def kvar_on(self) -> float:
        """What the steps in service give, kvar."""
        return self.kvar * self.steps_on / self.steps


@dataclass(frozen=True, slots=True)
class Load:
    """A load on one leg or one phase.

    Attributes:
        connection: ``delta`` (``phases`` is a leg, such as ``ab`` or ``12``) or ``wye`` (``phases`` is one phase).
        model: ``PQ`` constant power, ``I`` constant current magnitude, ``Z`` constant impedance, ``EXP`` by exponents.
        p_kw, q_kvar: demand at nominal voltage.
        v_min_pu, v_max_pu: per unit of nominal voltage, where the circuit it comes from keeps its model; a run says
            when it is left.
        exponent_p, exponent_q: of ``EXP``: P = p_kw V^exponent_p, Q = q_kvar V^exponent_q, V per unit of nominal
            voltage (the CVR factors of OpenDSS's load model 4); None of the other models.
    """

    name: str
    bus: str
    connection: str
    phases: str
    model: str
    p_kw: float
    q_kvar: float
    source: str = ""
    v_min_pu: float | None = None
    v_max_pu: float | None = None
    exponent_p: float | None = None
    exponent_q: float | None = None

    @property
    def exponents(self) -> tuple[float, float]:
        """Powers of the voltage across it that its P and its Q follow."""
        if self.model == BY_EXPONENTS:
            return self.exponent_p or 0.0, self.exponent_q or 0.0
        return (LOAD_EXPONENTS[self.model],) * 2


@dataclass(frozen=True, slots=True)
class Generator:
    """Generation of fixed power on one leg or one phase; the load scale does not change it.

    Attributes:
        kind: ``generator``, ``pv`` or ``storage``.
        p_kw, q_kvar: what it delivers (a storage that charges: less than 0).
    """

    name: str
    bus: str
    connection: str
    phases: str
    kind: str
    p_kw: float
    q_kvar: float
    source: str = ""


Branch = Line | Transformer | Regulator


@dataclass(frozen=True, slots=True)
class Element:
    """A line, transformer, reactor or series capacitor of an OpenDSS circuit that is a feeder itself.

    Attributes:
        name: ``class.name`` in OpenDSS; from_bus: the end nearer to the source, by the number of elements between.
        phase_kva: what each phase may carry at nominal voltage, kVA; None if nobody says.
    """

    name: str
    from_bus: str
    to_bus: str
    phase_kva: float | None


def phase_rating_kva(branch: Branch | Element, bus: Bus) -> float | None:
    """What each phase of a branch may carry at nominal voltage, kVA; None if its table does not say.

    A line's conductors carry ``amps`` each; the units of a transformer or regulator share their rating. Both halves of
    a centre-tapped secondary are fed through one phase, which carries the rating of the unit.

    Args:
        branch: of a feeder. bus: its end away from the source.
    """
    if isinstance(branch, Element):
        return branch.phase_kva
    if isinstance(branch, Line):
        return None if branch.amps is None else branch.amps * bus.kv_neutral
    if isinstance(branch, Transformer):
        return branch.kva / (len(branch.windings) if bus.split else len(bus.phases))
    return branch.kva


@dataclass(frozen=True)
class Feeder:
    """A radial feeder with one source.

    Attributes:
        name: name of the feeder.
        source_bus: bus held at ``source_pu`` (per unit of ``source_kv``, balanced, 120 degrees apart).
        source_kv: nominal line-to-line voltage of the source, kV.
        regulator_controls, capacitor_controls: what moves taps and capacitors where a run lets them move.
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
    generators: tuple[Generator, ...] = ()
    notes: Mapping[str, tuple[str, str]] = field(default_factory=dict, hash=False)
    regulator_controls: tuple[RegulatorControl, ...] = ()
    capacitor_controls: tuple[CapacitorControl, ...] = ()

    def __hash__(self) -> int:
        """Cheap, because results are kept per feeder; feeders that differ elsewhere are told apart by equality."""
        return hash((self.name, self.source_bus, self.source_pu, len(self.buses), len(self.loads)))

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
    def controlled(self) -> bool:
        """Whether it has controls that move regulators or capacitors."""
        return bool(self.regulator_controls or self.capacitor_controls)

    @property
    def load_kw(self) -> float:
        """Total active demand at nominal voltage, kW."""
        return sum(load.p_kw for load in self.loads)

    @property
    def load_kvar(self) -> float:
        """Total reactive demand at nominal voltage, kvar."""
        return sum(load.q_kvar for load in self.loads)
