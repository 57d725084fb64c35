"""From an OpenDSS script to a feeder that is its circuit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

from cosim.constants import KILO
from cosim.errors import InputError
from cosim.grid.feeder.circuit import CircuitFeeder, Draws, Wiring
from cosim.grid.feeder.feeder import PLACE, Element, Generator, Load
from cosim.grid.opendss.importer.devices import device_nodes
from cosim.grid.opendss.importer.importer import CONTROLS, METERS
from cosim.grid.opendss.importer.load_laws import MODELS
from cosim.grid.opendss.importer.reading import Properties, RawCircuit, open_circuit, read_solved
from cosim.grid.opendss.importer.script import script_digest
from cosim.grid.opendss.whole.devices import GENERATION, Collected
from cosim.grid.opendss.whole.ends import (
    JOINING,
    Ends,
    distances,
    ends_of,
    entering_currents,
    phase_kva,
    upper_bus,
)
from cosim.grid.opendss.whole.moving import moves_of
from cosim.grid.opendss.whole.places import Places, places_of

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Index = NDArray[np.intp]
READ = frozenset({*JOINING, *GENERATION, "load", "vsource"})
"""Classes of OpenDSS that the equations have."""
SETTLED = ("set mode=snapshot", "set controlmode=off", "set maxiterations=200", "set tolerance=1e-10")
"""What a script's circuit is told when its controls have acted: nothing moves any more."""
CONTROLLED = ("set maxiterations=100", "set maxcontroliter=100", "solve")
"""How a circuit is solved whose script does not."""
MOST_APART_PU = 1e-6
"""Largest difference between OpenDSS's solution and that of the equations here, beyond which a circuit is refused."""


def read_dss(file: str | Path, name: str | None = None, inside: str | Path | None = None) -> CircuitFeeder:
    """Read an OpenDSS script as a feeder that is its circuit.

    The script's own solution says where regulators and capacitors stand; a script that does not solve is solved, its
    controls included. From there its RegControls and CapControls move them in a run that lets them.

    Args:
        file: the script; redirects are found beside the script that names them.
        name: of the feeder; the circuit's own by default.
        inside: the folder in which all files lie that it reads; the script's own by default.

    Raises:
        InputError: a script that is refused or cannot be solved, a circuit with several sources or with a device whose
            law is not known here; the element is named.
    """
    dss, script = open_circuit(file, inside)
    unsolved = not any(command.text.startswith("solve") for command in script.commands)
    commands = [command.text for command in script.commands] + list(CONTROLLED if unsolved else ()) + list(SETTLED)
    for text in SETTLED:
        dss.Text.Command(text)
    dss.Solution.Solve()
    raw = read_solved(dss, Path(file).resolve())
    source = _source_of(raw)
    _refuse_the_rest(raw)
    elements = ends_of(dss, raw, (*JOINING, "vsource"))
    (supply,) = (e for e in elements if e.kind == "vsource")
    elements.remove(supply)
    dss.Circuit.SetActiveElement(source)
    supplied = np.asarray(dss.CktElement.Currents(), dtype=float).view(complex)
    labels, siemens = _admittance(dss, raw)
    distance, before = distances(elements, supply.buses[0])
    places = places_of(raw, elements, set(labels), before, supply.buses[0])
    columns = {label: places.columns[label] for label in labels}
    devices = Collected(raw, places.row_of, columns)
    wiring = _wiring(raw, elements, supply, places, labels, siemens, distance, devices.add_all())
    _check_solution(raw, wiring, labels, supplied)
    moves = moves_of(dss, raw, elements, places.buses, wiring, labels, distance)
    p = raw.of("vsource")[source.partition(".")[2]]
    return CircuitFeeder(
        name=name or raw.name,
        source_bus=supply.buses[0],
        source_kv=float(p["BasekV"]),
        source_pu=float(p["pu"]),
        buses=places.buses,
        loads=_loads(raw, places),
        generators=_generators(raw, places),
        notes={"title": (raw.name, raw.file.name)},
        elements=_branches(raw, elements, places, distance),
        commands=tuple(commands),
        digest=script_digest(script),
        remarks=tuple(_remarks(raw, places, devices.without_voltage)),
        wired=moves.wired,
        movable=moves.movable,
        positions=tuple(m.standing for m in moves.movable),
        controls=moves.controls,
        idle_controls=moves.idle,
    )


def _remarks(raw: RawCircuit, places: Places, without_voltage: Sequence[str]) -> Iterator[str]:
    """What a reader of results should know of the circuit, in sentences."""
    if without_voltage:
        yield (
            f"{len(set(without_voltage))} loads and generators of the circuit are at nodes without voltage and draw "
            f"nothing: {_some(list(dict.fromkeys(without_voltage)))}"
        )
    further = [bus for (bus, node), place in places.columns.items()
               if place > 2 and place != places.neutral[places.row_of[bus]]]  # fmt: skip
    if further:
        buses = list(dict.fromkeys(further))
        yield (
            f"{len(further)} nodes beyond phases and neutral at {len(buses)} buses ({_some(buses)}) are carried along "
            "without limits"
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _source_of(raw: RawCircuit) -> str:
    """Name of the one source.

    Raises:
        InputError: none, several, or one that does not feed a bus against the ground.
    """
    found = [name for name, p in raw.of("vsource").items() if p["Enabled"]]
    if len(found) != 1:
        raise InputError(
            "the circuit has several sources" if found else "the circuit has no source", file=raw.file, key="vsource",
            value=", ".join(found[:10]) or None, allowed="one vsource in service: a market has one price at its source",
        )  # fmt: skip
    p = raw.of("vsource")[found[0]]
    if int(p["Phases"]) != 3 or any(x not in ("", "0") for x in str(p["Bus2"]).split(".")[1:]):
        raise InputError(
            "the source does not have three phases against the ground", file=raw.file, key=f"vsource.{found[0]}",
            value=f"phases={p['Phases']} bus2={p['Bus2']}", allowed="phases=3, bus2 on the ground",
        )  # fmt: skip
    return f"vsource.{found[0]}"


def _refuse_the_rest(raw: RawCircuit) -> None:
    """Refuse elements in service that the equations do not have."""
    for kind, elements in raw.elements.items():
        if kind in READ or kind in METERS or kind in CONTROLS or kind.endswith("control"):
            continue
        for name, p in elements.items():
            if p.get("Enabled", True):
                raise InputError(
                    f"elements of class {kind} are not linearised here", file=raw.file, key=f"{kind}.{name}",
                    allowed=", ".join(sorted(READ)),
                )  # fmt: skip


def _admittance(dss: Any, raw: RawCircuit) -> tuple[list[tuple[str, int]], sp.csr_array[np.complex128]]:
    """Nodes that have a voltage, and the admittance between them without loads and generators, siemens."""
    for kind in ("load", *GENERATION):
        if raw.of(kind):
            dss.Text.Command(f"batchedit {kind}..* enabled=no")
    dss.Text.Command("solve mode=direct")
    values, indices, starts = dss.YMatrix.getYsparse()
    names = [name.lower().rpartition(".") for name in dss.Circuit.YNodeOrder()]
    labels = [(bus, int(number)) for bus, _, number in names]
    y = sp.csr_array(sp.csc_array((values, indices, starts), shape=(len(labels),) * 2))
    _, part = connected_components(y != 0, directed=False)
    first = labels.index((_source_bus(raw), 1))
    kept = np.flatnonzero(part == part[first])
    return [labels[k] for k in kept], sp.csr_array(y[kept][:, kept])


def _source_bus(raw: RawCircuit) -> str:
    (p,) = (p for p in raw.of("vsource").values() if p["Enabled"])
    return str(p["Bus1"]).lower().split(".")[0]


def _wiring(
    raw: RawCircuit, elements: Sequence[Ends], supply: Ends, places: Places, labels: list[tuple[str, int]],
    siemens: sp.csr_array[np.complex128], distance: dict[str, int], draws: Draws,
) -> Wiring:  # fmt: skip
    number = {label: k for k, label in enumerate(labels)}
    joining = [e for e in elements if _joins_phases(e, places, distance)]
    base = np.array([raw.kv[bus] or 1.0 for bus, _ in labels])
    place = np.full((len(places.row_of), places.width), -1, dtype=np.intp)
    names = [[""] * places.width for _ in places.row_of]
    for (bus, node), k in number.items():
        column = places.columns[bus, node]
        place[places.row_of[bus], column] = k
        names[places.row_of[bus]][column] = f"{bus}.{node}"
    scale = sp.diags_array(base)
    flows, rows, columns, entering = _flows(joining, places, number, base, distance)
    source_nodes = np.array([number[at] for at in supply.at[:3]], dtype=np.intp)
    inner = supply.own[:3, :3] * base[source_nodes][:, None] * base[source_nodes]
    source_rows, source_columns = np.repeat(np.arange(3), 3), np.tile(source_nodes, 3)
    shape = (3, len(labels))
    return Wiring(
        nodes=tuple(f"{bus}.{node}" for bus, node in labels),
        base_kv=base,
        row_kv=np.array([raw.kv[bus] or 1.0 for bus in places.row_of]),
        place=place,
        names=tuple(tuple(row) for row in names),
        neutral=places.neutral,
        admittance=sp.csr_array(scale @ siemens @ scale),
        draws=draws,
        flows=flows,
        flow_bus=rows,
        flow_place=columns,
        entering=entering,
        source=supply.name,
        source_nodes=source_nodes,
        source_admittance=sp.csr_array(sp.coo_array((inner.ravel(), (source_rows, source_columns)), shape=shape)),
        load_mult=raw.load_scale,
    )


def _flows(
    elements: Sequence[Ends], places: Places, number: dict[tuple[str, int], int], base: Real, distance: dict[str, int]
) -> tuple[tuple[tuple[str, str], ...], Index, Index, sp.csr_array[np.complex128]]:
    """(branch, phase), row and place of every flow that enters a branch, and its current by the node voltages."""
    labels: list[tuple[str, str]] = []
    rows, columns = [], []
    entries: tuple[list[int], list[int], list[complex]] = ([], [], [])
    bus_of = {bus.name: bus for bus in places.buses}
    for e in elements:
        upper = upper_bus(e, distance)
        at = np.array([number.get(label, -1) for label in e.at])
        kept = np.flatnonzero(at >= 0)
        for phase, row in entering_currents(e, e.own, bus_of[upper], number, base).items():
            entries[0].extend([len(labels)] * len(kept))
            entries[1].extend(at[kept].tolist())
            entries[2].extend(row[kept].tolist())
            labels.append((e.name, phase))
            rows.append(places.row_of[upper])
            columns.append(PLACE[phase])
    matrix = sp.coo_array((entries[2], (entries[0], entries[1])), shape=(len(labels), len(base)), dtype=complex)
    return tuple(labels), np.array(rows, dtype=np.intp), np.array(columns, dtype=np.intp), sp.csr_array(matrix)


def _branches(
    raw: RawCircuit, elements: Sequence[Ends], places: Places, distance: dict[str, int]
) -> tuple[Element, ...]:
    return tuple(
        Element(e.name, upper_bus(e, distance), _others(e, places, distance)[0], phase_kva(e, raw.kv))
        for e in elements if _joins_phases(e, places, distance)
    )  # fmt: skip


def _others(e: Ends, places: Places, distance: dict[str, int]) -> list[str]:
    """Ends of an element away from the source that have phases."""
    upper = upper_bus(e, distance)
    return [bus for bus in dict.fromkeys(e.buses) if bus != upper and places.has_phases(bus)]


def _joins_phases(e: Ends, places: Places, distance: dict[str, int]) -> bool:
    return e.joins and places.has_phases(upper_bus(e, distance)) and bool(_others(e, places, distance))


def _check_solution(raw: RawCircuit, wiring: Wiring, labels: list[tuple[str, int]], supplied: Complex) -> None:
    """Compare OpenDSS's solution with that of the equations here, a step of the fixed-point iteration from it.

    Raises:
        InputError: they differ; the bus where they do so most and the devices there are named.
    """
    w = wiring
    v = np.array([raw.volts[label] for label in labels]) / KILO / w.base_kv
    at = np.concatenate([v, [0.0]])[np.concatenate([w.place, np.full((len(w.place), 1), -1)], axis=1)]
    d = w.draws
    across = at[d.bus, d.first] - at[d.bus, d.second]
    part, power, exponent = d.terms(across, w.load_mult)
    with np.errstate(divide="ignore", invalid="ignore"):  # two nodes of one voltage draw nothing
        u = np.abs(across[part]) / d.rated[part]
        current = np.nan_to_num(np.asarray(np.conj(power * u**exponent / across[part]), dtype=complex))
    drawn = np.zeros(len(v) + 1, dtype=complex)
    np.add.at(drawn, w.place[d.bus[part], d.first[part]] * (d.first[part] >= 0) - (d.first[part] < 0), current)
    np.add.at(drawn, w.place[d.bus[part], d.second[part]] * (d.second[part] >= 0) - (d.second[part] < 0), -current)
    feeding = -drawn[:-1]
    # the source as a current beside its inner admittance
    feeding[w.source_nodes] += -supplied[:3] * w.base_kv[w.source_nodes] / KILO + w.source_admittance @ v
    found = splu(sp.csc_array(w.admittance)).solve(feeding)
    difference = np.abs(found - v)
    worst = int(difference.argmax())
    if not difference[worst] <= MOST_APART_PU:
        bus = labels[worst][0]
        here = [f"{kind}.{name}" for kind in ("load", *GENERATION) for name, p in raw.of(kind).items()
                if p["Enabled"] and device_nodes(p)[0] == bus]  # fmt: skip
        raise InputError(
            f"the circuit's solution in OpenDSS is not that of the equations here, most at bus {bus}", file=raw.file,
            key=f"bus.{bus}",
            value=f"{difference[worst]:.3g} pu apart; devices there: {', '.join(here[:10]) or 'none'}",
            allowed=f"at most {MOST_APART_PU:g} pu",
        )  # fmt: skip


def _loads(raw: RawCircuit, places: Places) -> tuple[Load, ...]:
    """Loads in service, to be counted; one that lies across several phases is one."""
    return tuple(
        Load(name, *_hangs(p, places), MODELS[int(p["Model"])], float(p["kW"]) * raw.load_scale,
             float(p["kvar"]) * raw.load_scale)
        for name, p in raw.of("load").items() if p["Enabled"]
    )  # fmt: skip


def _generators(raw: RawCircuit, places: Places) -> tuple[Generator, ...]:
    """Generators in service, to be counted and drawn."""
    return tuple(
        Generator(name, *_hangs(p, places), "pv" if kind == "pvsystem" else kind,
                  raw.powers[f"{kind}.{name}"].real, raw.powers[f"{kind}.{name}"].imag)
        for kind in GENERATION for name, p in raw.of(kind).items() if p["Enabled"]
    )  # fmt: skip


def _hangs(p: Properties, places: Places) -> tuple[str, str, str]:
    """Bus, connection and phases of a device: a phase, a leg, or all there are."""
    bus, pairs = device_nodes(p)
    row = places.row_of.get(bus, len(places.buses))
    letters = "12" if row < len(places.buses) and places.buses[row].split else "abc"
    phases = "".join(x for k, x in enumerate(letters, 1) if any(k in pair for pair in pairs))
    return bus, "delta" if str(p["Conn"]).lower() in ("delta", "ll") else "wye", {"ac": "ca"}.get(phases, phases)
