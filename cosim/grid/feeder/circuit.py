"""A feeder that is an OpenDSS circuit itself: loops, any winding, explicit neutrals; no tables stand behind it.

Its buses, loads and branches are there to be named, limited and drawn. What the equations need is the wiring: the
admittance of everything but loads and generators between the nodes, and what is drawn at the nodes. Where its
own controls move regulators and capacitors, the wiring is another one at each of their positions.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cosim.grid.feeder.feeder import PLACE, Bus, Element, Feeder
from cosim.grid.feeder.phases import centroid

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Index = NDArray[np.intp]
GROUND = -1


Bound: TypeAlias = Real | float


def law_in_force(
    u: Real, lowest: Bound, low: Bound, high: Bound, below_current: Bound, below_impedance: Bound, above: Bound
) -> tuple[NDArray[np.bool_], Real, Real]:
    """Which law of :class:`Draws` holds at voltages u: whether that of the range, and the factors of u and of u**2."""
    deep, below, beyond = u <= lowest, u <= low, u > high
    below = below & ~deep
    current = np.where(below, below_current, 0.0)
    impedance = np.select([deep, below, beyond], [1.0, below_impedance, above], 0.0)
    return ~(deep | below | beyond), current, np.asarray(impedance)


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """What loads and generators draw, in parts; each lies across two nodes of a bus and follows a power of voltage.

    Outside its range of voltages a part is what OpenDSS makes of it: an impedance above and far below it, a current
    and an impedance together just below. With u the voltage per unit of the part's rated one, a part draws
    power * u**exponent in its range, power * (below_current * u + below_impedance * u**2) below it,
    power * u**2 below ``lowest``, and power * above * u**2 above it.

    Attributes:
        bus, first, second: row of :class:`Wiring`'s places, and places of the two ends (-1: the ground), (m,).
        power: MW + j Mvar at rated voltage; scaled: follows the load scale.
        rated: voltage per unit of the bus's nominal voltage to neutral.
    """

    bus: Index
    first: Index
    second: Index
    power: Complex
    scaled: NDArray[np.bool_]
    rated: Real
    exponent: Real
    lowest: Real
    low: Real
    high: Real
    below_current: Real
    below_impedance: Real
    above: Real

    def incidence(self, places: int) -> Real:
        """(m, places) +1 at the first end of a part, -1 at its second."""
        rows = np.arange(len(self.bus))
        e = np.zeros((len(self.bus), places + 1))  # the ground falls into a last column
        e[rows, self.first] += 1.0
        e[rows, self.second] -= 1.0
        return e[:, :places]

    def law_at(self, u: Real) -> tuple[NDArray[np.bool_], Real, Real]:
        """What is in force at voltages (..., m) per unit of the rated ones: whether ``u**exponent`` is, and the factors
        of ``u`` and of ``u**2`` where it is not."""
        return law_in_force(
            u, self.lowest, self.low, self.high, self.below_current, self.below_impedance, self.above
        )

    def terms(self, across: Complex, load_scale: float) -> tuple[Index, Complex, Real]:
        """Parts as terms power * u**exponent at the voltages across them.

        Returns:
            Number of the part, power (MW + j Mvar at rated voltage) and exponent of each term.
        """
        power = self.power * np.where(self.scaled, load_scale, 1.0)
        inside, current, impedance = self.law_at(np.abs(across) / self.rated)
        below = current != 0
        part = np.concatenate([np.flatnonzero(x) for x in (inside, below, ~inside)])
        factor = np.concatenate([np.ones(inside.sum()), current[below], impedance[~inside]])
        exponent = np.concatenate([self.exponent[inside], np.ones(below.sum()), np.full((~inside).sum(), 2.0)])
        return part, power[part] * factor, exponent


@dataclass(frozen=True, slots=True, eq=False)
class Wiring:
    """The circuit as its equations need it; power in MW, voltage per unit of the nominal voltage to neutral.

    Rows of ``place`` are the feeder's buses in their order, then buses without phases. Places 0 to 2 are the phases a,
    b, c (or 1, 2), further ones the bus's other nodes.

    Attributes:
        nodes: names in OpenDSS (``bus.number``) of the nodes that have a voltage.
        base_kv: (nn,) nominal voltage to neutral.
        row_kv: (rows,) the same by bus.
        place: (rows, places) index of a node; -1 where there is none. names: (rows, places) names in OpenDSS.
        neutral: (rows,) place of the bus's own neutral conductor, -1 where the ground is the neutral.
        admittance: (nn, nn) currents that leave the nodes into everything but loads and generators.
        draws: loads and generators.
        flows: (branch, phase) of each flow; flow_bus, flow_place: row and place at which it enters its branch.
        entering: (nf, nn) currents that enter the branches.
        source: name of the source in OpenDSS; source_nodes: (ns,) its nodes; source_admittance: (ns, nn) currents that
            its inner impedance draws.
        load_mult: factor on all loads that the script sets.
    """

    nodes: tuple[str, ...]
    base_kv: Real
    row_kv: Real
    place: Index
    names: tuple[tuple[str, ...], ...]
    neutral: Index
    admittance: sp.csr_array[np.complex128]
    draws: Draws
    flows: tuple[tuple[str, str], ...]
    flow_bus: Index
    flow_place: Index
    entering: sp.csr_array[np.complex128]
    source: str
    source_nodes: Index
    source_admittance: sp.csr_array[np.complex128]
    load_mult: float


@dataclass(frozen=True, slots=True, eq=False)
class Movable:
    """A regulator or capacitor of the circuit that its controls move, at each of its positions.

    Attributes:
        name: ``class.name`` in OpenDSS. kind: ``regulator`` or ``capacitor``. unit: phases or leg that it lies across.
        winding: of a regulator the one whose tap moves, from 1. tap, tap_step: where the script leaves that tap, and
            how far a step goes, per unit. first: its lowest position.
        standing: position where the script's own solution leaves it: tap from the middle of the range, or steps in
            service.
        commands: (positions,) what OpenDSS is told to bring it there.
        into, values: entries of :attr:`Wiring.admittance` that it has a part in (m,), and its part by position
            (positions, m). flow_into, flow_values: the same of :attr:`Wiring.entering`.
    """

    name: str
    kind: str
    unit: str
    winding: int
    tap: float
    tap_step: float
    first: int
    standing: int
    commands: tuple[tuple[str, ...], ...]
    into: Index
    values: Complex
    flow_into: Index
    flow_values: Complex

    def commands_at(self, position: int) -> tuple[str, ...]:
        """What OpenDSS is told to bring it to a position."""
        return self.commands[position - self.first]


@dataclass(frozen=True)
class CircuitFeeder(Feeder):
    """An OpenDSS circuit as a feeder; see :class:`Feeder` for what it has in common with one of tables.

    Attributes:
        elements: its branches. commands: what OpenDSS is given to build and solve it, its controls then off.
        digest: of the files that it was read from. remarks: what a reader should know of how it was read.
        wired: the circuit where the script's own solution leaves regulators and capacitors.
        movable: what the circuit's controls move in a run; positions: where each stands.
        controls: names of the controls that move them; idle_controls: of those that act in no run.
    """

    elements: tuple[Element, ...] = ()
    commands: tuple[str, ...] = ()
    digest: str = ""
    remarks: tuple[str, ...] = ()
    wired: Wiring = field(kw_only=True, compare=False, repr=False)
    movable: tuple[Movable, ...] = field(default=(), compare=False, repr=False)
    positions: tuple[int, ...] = ()
    controls: tuple[str, ...] = ()
    idle_controls: tuple[str, ...] = ()
    __hash__ = Feeder.__hash__

    @property
    def controlled(self) -> bool:
        """Whether it has controls that move regulators or capacitors."""
        return bool(self.movable)

    @property
    def at_script(self) -> bool:
        """Whether all that moves stands where the script's own solution leaves it."""
        return all(at == m.standing for m, at in zip(self.movable, self.positions, strict=True))

    def as_in_script(self) -> CircuitFeeder:
        """The same circuit with all that moves where the script's own solution leaves it."""
        return replace(self, positions=tuple(m.standing for m in self.movable))

    def held(self) -> CircuitFeeder:
        """The same circuit with all regulators and capacitors where the script's own solution leaves them."""
        idle = (*self.controls, *self.idle_controls)
        return replace(self, movable=(), positions=(), controls=(), idle_controls=idle)

    @property
    def notes_of_reading(self) -> tuple[str, ...]:
        """What a reader of results should know of how the circuit was read, in sentences."""
        idle = self.idle_controls
        if not idle:
            return self.remarks
        some = ", ".join(idle[:5]) + (", ..." if len(idle) > 5 else "")
        return (
            f"the circuit's {len(idle)} controls ({some}) act in the script's own solution only: what they move stays "
            "where that leaves it", *self.remarks,
        )  # fmt: skip

    @cached_property
    def wiring(self) -> Wiring:
        """The circuit as its equations need it, regulators and capacitors where they stand."""
        w = self.wired
        if self.at_script:
            return w
        admittance, entering = w.admittance.data.copy(), w.entering.data.copy()
        for m, at in zip(self.movable, self.positions, strict=True):
            for data, into, values in ((admittance, m.into, m.values), (entering, m.flow_into, m.flow_values)):
                np.add.at(data, into, values[at - m.first] - values[m.standing - m.first])
        return replace(w, admittance=_with_data(w.admittance, admittance), entering=_with_data(w.entering, entering))

    @property
    def branches(self) -> Any:
        """Lines, transformers and whatever else joins two buses."""
        return self.elements

    def neutral_node(self, bus: Bus) -> int:
        """Number of the node that is a bus's own neutral; 0 where the ground is its neutral."""
        row = self.bus_order[bus.name]
        place = self.wiring.neutral[row]
        return 0 if place < 0 else int(self.wiring.names[row][place].rpartition(".")[2])

    @cached_property
    def bus_order(self) -> dict[str, int]:
        """Row of each bus by name."""
        return {bus.name: k for k, bus in enumerate(self.buses)}


def _with_data(matrix: sp.csr_array[np.complex128], data: Complex) -> sp.csr_array[np.complex128]:
    return sp.csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)


def in_frames(phasors: Complex, three_wire: NDArray[np.bool_], neutral: Index | None = None) -> Complex:
    """(n, k) voltages in the frame of each bus: against the centroid, the own neutral, or the ground as they are.

    Args:
        three_wire: (n,) buses of three phases without any neutral.
        neutral: (n,) place of an own neutral conductor, -1 for none.
    """
    framed = phasors.copy()
    framed[three_wire, :3] = centroid(phasors[three_wire, :3])
    if neutral is not None:
        own = np.flatnonzero(neutral >= 0)
        framed[own] = phasors[own] - phasors[own, neutral[own]][:, None]
    return framed


def voltage_places(bus: Bus, neutral: int) -> list[tuple[str, int, int]]:
    """(label, first, second place) of the voltages of a bus that have limits: to neutral, or between phases."""
    if bus.grounded:
        return [(x, PLACE[x], neutral) for x in bus.phases]
    return [(leg, PLACE[leg[0]], PLACE[leg[1]]) for leg in bus.legs]
