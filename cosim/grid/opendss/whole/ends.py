"""Elements of an OpenDSS circuit that join nodes: their ends, their own admittance, and how far they are from the
source."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosim.grid.feeder.feeder import PLACE, Bus
from cosim.grid.opendss.importer.branches import UNSTATED_AMPS
from cosim.grid.opendss.importer.naming import listed
from cosim.grid.opendss.importer.reading import Properties, RawCircuit

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
WOUND = frozenset({"transformer", "autotrans"})
"""Classes whose windings separate what they join: behind them the neutral is another one."""
JOINING = ("line", "transformer", "autotrans", "reactor", "capacitor", "fault")
"""Classes of elements that may lie between buses; at one bus they are shunts."""


@dataclass(frozen=True, slots=True, eq=False)
class Ends:
    """An element in service with its conductors.

    Attributes:
        name: ``class.name``. kind: its class. properties: as OpenDSS exports them.
        buses: of each terminal. at: (bus, node) of each conductor, terminal by terminal; node 0 of no bus is the
            ground. The series winding of an autotransformer has conductors of two buses in one terminal.
        own: admittance between the conductors, siemens.
    """

    name: str
    kind: str
    properties: Properties
    buses: tuple[str, ...]
    at: tuple[tuple[str, int], ...]
    own: Complex

    @property
    def joins(self) -> bool:
        """Whether it lies between buses (a terminal that is all on the ground counts for none)."""
        return len({bus for bus, node in self.at if node}) > 1

    @property
    def grounded_at(self) -> set[str]:
        """Buses at which a conductor of it goes to the ground: behind one is another, of the same terminal."""
        found = set[str]()
        if self.kind == "line":
            return found
        per = len(self.at) // len(self.buses)
        for k, bus in enumerate(self.buses):
            used = np.abs(self.own[k * per : (k + 1) * per]).max(axis=1) > 0.0
            nodes = [node for (_, node), here in zip(self.at[k * per : (k + 1) * per], used, strict=True) if here]
            if 0 in nodes and any(nodes):
                found.add(bus)
            elif not any(nodes):  # this terminal is the ground itself: the others lie against it
                found |= set(self.buses)
        return found


def ends_of(dss: Any, raw: RawCircuit, kinds: Sequence[str] = JOINING) -> list[Ends]:
    """Elements in service of some classes."""
    found = []
    known = [name.lower().rpartition(".") for name in dss.Circuit.YNodeOrder()]
    nodes = [("", 0), *((bus, int(number)) for bus, _, number in known)]
    for kind in kinds:
        for name, p in raw.of(kind).items():
            if not p["Enabled"]:
                continue
            dss.Circuit.SetActiveElement(f"{kind}.{name}")
            buses = tuple(bus.lower().split(".")[0] for bus in dss.CktElement.BusNames())
            at = tuple(nodes[k] for k in dss.CktElement.NodeRef())
            own = np.asarray(dss.CktElement.YPrim(), dtype=float).view(complex).reshape(len(at), len(at))
            found.append(Ends(f"{kind}.{name}", kind, p, buses, at, own))
    return found


def distances(elements: Iterable[Ends], source: str) -> tuple[dict[str, int], dict[str, str]]:
    """Number of elements between each bus and the source, and the bus before it on the way."""
    beside: dict[str, list[str]] = {}
    for e in elements:
        if e.joins:
            for bus in e.buses:
                beside.setdefault(bus, []).extend(other for other in e.buses if other != bus)
    distance, before = {source: 0}, dict[str, str]()
    waiting = deque([source])
    while waiting:
        here = waiting.popleft()
        for there in beside.get(here, ()):
            if there not in distance:
                distance[there], before[there] = distance[here] + 1, here
                waiting.append(there)
    return distance, before


def upper_bus(e: Ends, distance: Mapping[str, int]) -> str:
    """The end of an element that is nearer to the source; the first of two that are equally near."""
    return min(e.buses, key=lambda bus: distance.get(bus, len(distance)))


def entering_currents(
    e: Ends, own: Complex, upper: Bus, number: Mapping[tuple[str, int], int], base: Real
) -> dict[str, Complex]:
    """(conductors,) currents that enter an element at its upper bus by voltage per unit of its conductors, by phase.

    Where all three phases enter at a bus without a neutral, the mean of the currents is taken out: what charges a line
    against the ground carries no power in the frame of such a bus.

    Args:
        own: admittance between the conductors, siemens. number, base: of the nodes that have a voltage, number and
            nominal voltage to neutral, kV.
    """
    at = np.array([number.get(label, -1) for label in e.at])
    current: dict[str, Complex] = {}
    for k, (here, node) in enumerate(e.at):
        if here == upper.name and (here, node) in number and node in (1, 2, 3):
            phase = next(x for x in upper.phases if PLACE[x] == node - 1)
            row = np.where(at >= 0, own[k], 0.0) * base[number[here, node]] * base[at]
            current[phase] = current.get(phase, np.zeros(len(at), dtype=complex)) + row
    if len(current) == 3 and not upper.grounded:
        mean = sum(current.values()) / 3
        current = {x: row - mean for x, row in current.items()}
    return dict(sorted(current.items()))


def zones(elements: Iterable[Ends], buses: Iterable[str]) -> dict[str, str]:
    """One bus that stands for all that are joined without a winding in between, by bus."""
    root = {bus: bus for bus in buses}

    def find(bus: str) -> str:
        while root[bus] != bus:
            root[bus] = root[root[bus]]
            bus = root[bus]
        return bus

    for e in elements:
        if e.joins and e.kind not in WOUND:
            first, *others = (find(bus) for bus in e.buses)
            for other in others:
                root[other] = first
    return {bus: find(bus) for bus in root}


def phase_kva(e: Ends, kv_neutral: Mapping[str, float]) -> float | None:
    """What each phase of an element may carry at nominal voltage, kVA; None where nobody says.

    Of a line its normal current (OpenDSS's own 400 A says nothing), of a transformer its rated power.
    """
    phases = int(e.properties["Phases"])
    if e.kind in WOUND:
        return max(float(x) for x in listed(e.properties["kVAs"])) / phases
    amps = float(e.properties.get("NormAmps", 0.0)) if e.kind == "line" else 0.0
    return None if amps <= 0 or amps == UNSTATED_AMPS else amps * kv_neutral[e.buses[0]]
