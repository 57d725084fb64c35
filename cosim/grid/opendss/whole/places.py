"""Buses of an OpenDSS circuit in our words: phases, own neutrals, halves of centre-tapped windings, voltage levels."""

from __future__ import annotations

import cmath
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cosim.errors import InputError
from cosim.grid.feeder.feeder import Bus
from cosim.grid.opendss.importer.devices import device_nodes, neutral_users
from cosim.grid.opendss.importer.naming import NODE_HALF, NODE_PHASE
from cosim.grid.opendss.importer.reading import RawCircuit
from cosim.grid.opendss.whole.devices import GENERATION
from cosim.grid.opendss.whole.ends import Ends, zones

Index = NDArray[np.intp]
NEUTRAL = 4
"""Number of the node that is a bus's own neutral, where it is at hardly any voltage."""
HARDLY_PU = 0.1
OPPOSED = math.radians(150)
"""Two nodes whose voltages are farther apart than this are halves of one winding."""
PLAUSIBLE_PU = (0.5, 1.5)


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Buses and the nodes at them.

    Attributes:
        buses: with phases, in the order of the script. others: names of buses without any.
        row_of: row of each bus by its name in OpenDSS, first those with phases.
        columns: place of each node at its bus, by (bus, node). width: largest number of places.
        neutral: (rows,) place of the own neutral; -1 for none.
    """

    buses: tuple[Bus, ...]
    others: tuple[str, ...]
    row_of: Mapping[str, int]
    columns: Mapping[tuple[str, int], int]
    width: int
    neutral: Index

    def has_phases(self, bus: str) -> bool:
        """Whether a bus has phases that have a voltage."""
        return self.row_of.get(bus, len(self.buses)) < len(self.buses)


def places_of(
    raw: RawCircuit, elements: Iterable[Ends], live: set[tuple[str, int]], before: Mapping[str, str], source: str
) -> Places:
    """Sort out the buses of a circuit.

    A bus has a neutral (voltages are line to neutral) where anything at it, or at a bus that it is joined with
    without a winding in between, goes to the ground or to a neutral conductor; elsewhere voltages are line to line.
    The source's own ground counts for nothing.

    Args:
        live: (bus, node) of every node that has a voltage. before: the bus on the way to the source.

    Raises:
        InputError: a bus without a nominal voltage, or far from it.
    """
    elements = list(elements)
    nodes: dict[str, list[int]] = {bus: [] for bus in raw.kv}
    for bus, node in sorted(live):
        nodes[bus].append(node)
    zone = zones(elements, nodes)
    used = _uses(raw, elements)
    neutral = {bus for bus, found in nodes.items() if used[bus] > 1 and _own_neutral(raw, bus, found)}
    with_ground = {zone[bus] for bus in (*neutral_users(raw), *neutral)}
    for e in elements:
        with_ground |= {zone[bus] for bus in e.grounded_at}
        if e.kind == "line" and 0 < len({node for _, node in e.at}) < 3:
            with_ground |= {zone[bus] for bus in e.buses if zone[bus] == zone[source]}
    split = {zone[bus] for bus, found in nodes.items() if _opposed(raw, bus, found)}
    buses, others = [], []
    columns: dict[tuple[str, int], int] = {}
    xy: dict[str, tuple[float, float]] = {}
    for bus, found in nodes.items():
        letters = NODE_HALF if zone[bus] in split and set(found) <= {1, 2} else NODE_PHASE
        own = {node: node - 1 for node in found if node in (1, 2, 3)}
        own |= {node: 3 + k for k, node in enumerate(n for n in found if n not in own)}
        columns |= {(bus, node): place for node, place in own.items()}
        phases = "".join(letters[node] for node in sorted(found) if node in letters)
        if not phases:
            others += [bus] if found else []
            continue
        _check_level(raw, bus, found)
        kv = round(raw.kv[bus] * (2.0 if letters is NODE_HALF else math.sqrt(3)), 9)
        x, y = _position(raw, bus, before, xy)
        grounded = letters is NODE_HALF or zone[bus] in with_ground or len(phases) == 1
        buses.append(Bus(bus, kv, phases, grounded, x, y, raw.file.name))
    row_of = {bus: k for k, bus in enumerate((*(b.name for b in buses), *others))}
    places = np.full(len(row_of), -1, dtype=np.intp)
    for bus in neutral & set(row_of):
        places[row_of[bus]] = columns[bus, NEUTRAL]
    return Places(tuple(buses), tuple(others), row_of, columns, max(columns.values(), default=2) + 1, places)


def _uses(raw: RawCircuit, elements: Iterable[Ends]) -> Counter[str]:
    """How many elements and devices have a conductor on node 4 of each bus: the star point of one winding is one."""
    found = Counter(bus for e in elements for bus, node in set(e.at) if node == NEUTRAL)
    for kind in ("load", *GENERATION):
        for p in raw.of(kind).values():
            bus, pairs = device_nodes(p)
            found[bus] += p["Enabled"] and any(NEUTRAL in pair for pair in pairs)
    return found


def _own_neutral(raw: RawCircuit, bus: str, nodes: list[int]) -> bool:
    """Whether node 4 is the neutral of the phases beside it."""
    return (
        NEUTRAL in nodes and max(nodes) == NEUTRAL and len(nodes) > 1 and raw.kv[bus] > 0
        and abs(raw.volts[bus, NEUTRAL]) < HARDLY_PU * 1000 * raw.kv[bus]
    )  # fmt: skip


def _opposed(raw: RawCircuit, bus: str, nodes: list[int]) -> bool:
    if nodes != [1, 2]:
        return False
    first, second = raw.volts[bus, 1], raw.volts[bus, 2]
    return bool(second) and abs(cmath.phase(first / second)) > OPPOSED


def _check_level(raw: RawCircuit, bus: str, nodes: list[int]) -> None:
    if raw.kv[bus] <= 0:
        raise InputError(
            f"bus {bus} has no base voltage", file=raw.file, key=f"bus.{bus}.kvbase", value=raw.kv[bus],
            allowed="'set voltagebases=[...]' and 'calcvoltagebases' in the script",
        )  # fmt: skip
    ends = [abs(raw.volts[bus, node]) / 1000 / raw.kv[bus] for node in nodes if node in NODE_PHASE]
    worst = max(ends, key=lambda v: abs(v - 1))
    if not PLAUSIBLE_PU[0] <= worst <= PLAUSIBLE_PU[1] and len(ends) < 3:
        return  # a line-to-line pair without a ground may float; its own limits tell
    if not PLAUSIBLE_PU[0] <= sum(ends) / len(ends) <= PLAUSIBLE_PU[1]:
        raise InputError(
            f"bus {bus} is far from its base voltage in the script's own solution", file=raw.file,
            key=f"bus.{bus}.kvbase", value=f"{sum(ends) / len(ends):.4g} pu of {raw.kv[bus]:g} kV to neutral",
            allowed=f"{PLAUSIBLE_PU[0]:g} to {PLAUSIBLE_PU[1]:g} pu; 'set voltagebases=[...]' names every level",
        )  # fmt: skip


def _position(
    raw: RawCircuit, bus: str, before: Mapping[str, str], known: dict[str, tuple[float, float]]
) -> tuple[float, float]:
    """Coordinates; without its own a bus lies where it is fed from."""
    way = []
    here: str | None = bus
    while here is not None and here not in known and here not in raw.xy:
        way.append(here)
        here = before.get(here)
    found = (0.0, 0.0) if here is None else known.get(here) or raw.xy[here]
    for passed in (*way, bus):
        known[passed] = found
    return found
