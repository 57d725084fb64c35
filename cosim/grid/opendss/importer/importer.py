"""An OpenDSS circuit as a feeder of ours, with a list of what our tables do not say as it was."""

from __future__ import annotations

import csv
import math
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cosim.constants import KILO
from cosim.errors import InputError
from cosim.grid.feeder.check import check_feeder
from cosim.grid.feeder.feeder import PLACE, Bus, Feeder
from cosim.grid.feeder.tables import write_feeder
from cosim.grid.opendss.circuit import AcCircuit
from cosim.grid.opendss.importer.branches import Branches
from cosim.grid.opendss.importer.controls import STAYS, Controls
from cosim.grid.opendss.importer.devices import Devices, devices_at, neutral_users
from cosim.grid.opendss.importer.naming import OUT_OF_SERVICE, Names, Omission, Omissions
from cosim.grid.opendss.importer.reading import Properties, RawCircuit, read_circuit
from cosim.grid.opendss.importer.sections import divide
from cosim.grid.opendss.importer.tree import AS_IT_IS, grow, raw_branches

NEGLIGIBLE_PU = 1e-6
"""A source impedance whose voltage drop at the solved power is below this is left out."""
MOST_APART_PU = 0.01
"""Voltages of an imported circuit may differ by so much from the original's: twice what loads outside their range of
voltages, which are listed, were seen to do."""
REPRESENTED = frozenset(
    "line reactor transformer vsource load capacitor generator pvsystem storage regcontrol capcontrol".split()
)
METERS = frozenset("monitor energymeter sensor".split())
CONTROLS = frozenset("relay recloser fuse gendispatcher storagecontroller".split())
REPORT = "not_represented.csv"


@dataclass(frozen=True, slots=True)
class Import:
    """What an import found.

    Attributes:
        feeder: the feeder. omissions: what it does not say as the original does.
        volts: the original's solved voltages, V, by (our bus, phase).
    """

    feeder: Feeder
    omissions: tuple[Omission, ...]
    volts: Mapping[tuple[str, str], complex]


def import_feeder(
    file: str | Path, name: str | None = None, source: str | None = None, inside: str | Path | None = None
) -> Import:
    """Import an OpenDSS circuit.

    Args:
        file: the script.
        name: of the feeder; the circuit's own by default.
        source: where the data come from, for the ``source`` columns; the file's name by default.
        inside: the folder in which all files lie that the script reads; its own by default.

    Raises:
        InputError: a script that is refused or cannot be solved, a circuit with a loop or an island, or with something
            on the way from the source that our equations cannot carry.
    """
    raw = read_circuit(file, inside)
    omissions = Omissions()
    origin = source or f"OpenDSS script {raw.file.name}"
    vsource = _source_of(raw, omissions)
    source_bus = str(vsource["Bus1"]).lower().split(".")[0]
    branches = raw_branches(raw, omissions)
    tree = grow(raw, source_bus, branches, omissions, devices_at(raw))
    divide(tree, neutral_users(raw))
    bus_names = Names()
    bus_name = {bus: bus_names.new(bus) for bus in (source_bus, *(lower for _, lower, _ in tree.groups))}
    made = Branches(raw, tree, omissions, bus_name, origin, regulated=_regulated(raw))
    made.phases[source_bus] = "abc"
    for upper, lower, group in tree.groups:
        made.add(upper, lower, group)
    buses = _buses(raw, made, origin)
    devices = Devices(raw, tree, omissions, buses, origin)
    devices.add_all()
    first = buses[source_bus]
    ideal = _add_source_impedance(raw, vsource, made, bus_names, source_bus)
    ours = tuple(buses.values()) if ideal is None else (_beside(first, ideal), *buses.values())
    head: dict[str, Any] = {
        "name": name or Names().new(raw.name),
        "source_bus": ideal or first.name,
        "source_kv": float(vsource["BasekV"]),
        "source_pu": float(vsource["pu"]),
    }
    notes = {key: (str(value), origin) for key, value in head.items()} | {
        "title": (raw.name, origin),
        "imported": (f"from {raw.file.name}, taps and switched capacitors as OpenDSS solved them", "cosim"),
    }
    feeder = Feeder(
        **head,
        buses=ours,
        lines=tuple(made.lines),
        line_codes=tuple(made.codes.values()),
        transformers=tuple(made.transformers),
        regulators=tuple(made.regulators),
        capacitors=tuple(devices.capacitors),
        loads=tuple(devices.loads),
        generators=tuple(devices.generators),
        notes=notes,
    )
    controls = Controls(raw, made, devices, feeder, omissions, origin)
    controls.add_all()
    feeder = replace(
        feeder, regulator_controls=tuple(controls.regulating), capacitor_controls=tuple(controls.switching)
    )
    _list_the_rest(raw, omissions)
    for line in raw.left_out:
        omissions.skipped(f"{line.file.name}:{line.line}", f"not carried out: {line.what}")
    check_feeder(feeder)
    volts = {
        (b.name, x): raw.volts[bus, PLACE[x] + 1]
        for bus, b in buses.items()
        for x in b.phases
        if (bus, PLACE[x] + 1) in raw.volts
    }
    return Import(feeder, tuple(omissions.rows), volts)


def _source_of(raw: RawCircuit, omissions: Omissions) -> Properties:
    sources = {name: p for name, p in raw.of("vsource").items() if p["Enabled"]}
    if not sources:
        raise InputError("the circuit has no source", file=raw.file, key="vsource", allowed="one vsource")
    (name, first), *others = sources.items()
    for other, _ in others:
        omissions.dropped(f"vsource.{other}", "a second source")
    if int(first["Phases"]) != 3:
        raise InputError(
            "the source does not have three phases", file=raw.file, key=f"vsource.{name}.phases",
            value=first["Phases"], allowed="3",
        )  # fmt: skip
    return first


def _regulated(raw: RawCircuit) -> frozenset[str]:
    return frozenset(str(p["Transformer"]).lower() for p in raw.of("regcontrol").values())


def _buses(raw: RawCircuit, made: Branches, origin: str) -> dict[str, Bus]:
    """Our buses by the original name, from the source outwards."""
    buses: dict[str, Bus] = {}
    above = {lower: upper for upper, lower, _ in made.tree.groups}
    places: dict[str, tuple[float, float]] = {}  # without coordinates of its own a bus lies where it is fed from
    for bus, name in made.bus_name.items():
        section = made.tree.section[bus]
        if raw.kv[bus] <= 0:
            raise InputError(
                f"bus {bus} has no base voltage", file=raw.file, key=f"bus.{bus}.kvbase", value=raw.kv[bus],
                allowed="'set voltagebases=[...]' and 'calcvoltagebases' in the script",
            )  # fmt: skip
        kv = round(raw.kv[bus] * (2.0 if section.split else math.sqrt(3)), 6)
        x, y = places[bus] = raw.xy.get(bus, places.get(above.get(bus, ""), (0.0, 0.0)))
        buses[bus] = Bus(name, kv, made.phases[bus], section.grounded, x, y, origin)
    return buses


def _beside(bus: Bus, name: str) -> Bus:
    return Bus(name, bus.kv_base, "abc", bus.grounded, bus.x, bus.y, bus.source)


def _add_source_impedance(
    raw: RawCircuit, vsource: Properties, made: Branches, names: Names, source: str
) -> str | None:
    """Add the source's impedance as a line; returns the name of the ideal bus before it, None if it is nil."""
    z1, z0 = (complex(*vsource[key]) for key in ("Z1", "Z0"))
    power_mva = 1.5 * sum(abs(p["kW"]) for p in raw.of("load").values()) * raw.load_scale / KILO
    if max(abs(z1), abs(z0)) * power_mva / float(vsource["BasekV"]) ** 2 < NEGLIGIBLE_PU:
        return None
    ideal = names.new(f"{source}_source")
    made.add_source_impedance(z1, z0, ideal, source)
    return ideal


def _list_the_rest(raw: RawCircuit, omissions: Omissions) -> None:
    """Elements of classes that are no part of our tables."""
    for kind, elements in raw.elements.items():
        if kind in REPRESENTED:
            continue
        for name, p in elements.items():
            element = f"{kind}.{name}"
            if not p.get("Enabled", True):
                omissions.dropped(element, OUT_OF_SERVICE)
            elif kind in METERS:
                omissions.control(element, "a meter: it changes nothing")
            elif kind.endswith("control") or kind in CONTROLS:
                omissions.control(element, f"a control: {STAYS}")
            else:
                omissions.dropped(element, f"elements of class {kind} are not represented")


def largest_difference(found: Import) -> tuple[float, str]:
    """Largest difference between the original's voltages and those of the circuit built from our tables.

    Returns:
        The difference of phasors, so that a wrong phase shift shows, per unit (line to line on three-wire buses, to
        neutral elsewhere), and its bus. Infinite if our circuit has no solution from 0.8 to 1.2 per unit, or a voltage
        of either circuit is no number; the bus is then where the last iteration differs most.
    """
    circuit = AcCircuit(found.feeder)
    solution = circuit.solve()
    worst, where, turn = 0.0, found.feeder.source_bus, 0j
    rows = dict(zip((bus.name for bus in found.feeder.buses), circuit.node_phasors, strict=True))
    for name, label in solution.voltages:
        bus = found.feeder.bus_by_name[name]
        if any((name, x) not in found.volts for x in label):
            continue
        nominal = bus.kv_neutral if len(label) == 1 else bus.kv_base
        theirs = _across([found.volts[name, x] / KILO for x in label]) / nominal
        ours = _across([complex(rows[name][PLACE[x]]) * bus.kv_neutral for x in label]) / nominal
        turn = turn or _turn(theirs, ours)  # the original's source may stand at another angle
        difference = abs(theirs * turn - ours)
        if math.isnan(difference):
            return math.inf, name
        if difference > worst:
            worst, where = difference, name
    return (worst if solution.converged else math.inf), where


def _across(phasors: Sequence[complex]) -> complex:
    """The voltage of a phase, or between two."""
    return phasors[0] if len(phasors) == 1 else phasors[0] - phasors[1]


def _turn(v: complex, onto: complex) -> complex:
    """The turn that brings a phasor to the angle of another."""
    ratio = onto / v if v else 1.0 + 0j
    return ratio / abs(ratio) if ratio and math.isfinite(abs(ratio)) else 1.0 + 0j


def require_alike(found: Import, most_pu: float = MOST_APART_PU) -> tuple[float, str]:
    """:func:`largest_difference`, if it is no larger than a bound.

    Raises:
        InputError: it is larger, or our circuit has no solution: the tables are not the original circuit.
    """
    difference, bus = largest_difference(found)
    if difference <= most_pu:
        return difference, bus
    missing = ", ".join(o.element for o in found.omissions if o.kind == "dropped")
    why = f" (not in the tables: {missing[:200]})" if missing else ""
    message = (
        f"the circuit of the tables is {difference:.3g} pu from the original"
        if math.isfinite(difference)
        else "the circuit of the tables has no AC solution from 0.8 to 1.2 pu"
    )
    there = "" if math.isfinite(difference) else f", where the original has {_lowest_pu(found, bus):.3f} pu"
    raise InputError(
        f"{message}, most at bus {bus}{there}{why}", key=f"bus.{bus}", value=difference,
        allowed=f"at most {most_pu:g} pu (--most-apart-pu); {AS_IT_IS}",
    )  # fmt: skip


def _lowest_pu(found: Import, name: str) -> float:
    """Lowest voltage that the original has at a bus: to neutral, or line to line where there is none."""
    bus = found.feeder.bus_by_name[name]
    v = {x: found.volts.get((name, x), 0j) / KILO for x in bus.phases}
    if bus.grounded:
        return min(abs(v[x]) for x in bus.phases) / bus.kv_neutral
    return min(abs(v[leg[0]] - v[leg[1]]) for leg in bus.legs) / bus.kv_base


def write_import(found: Import, folder: str | Path, force: bool = False) -> None:
    """Write the tables and, beside them, what is not represented; all of it or nothing.

    Raises:
        InputError: the folder exists (unless ``force``, which replaces it) or cannot be written.
    """
    folder = Path(folder)
    check_target(folder, force)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
            made = Path(scratch) / "feeder"
            write_feeder(found.feeder, made)
            _write_report(found.omissions, made / REPORT)
            if folder.exists():
                shutil.rmtree(folder)
            made.rename(folder)
    except OSError as error:
        raise InputError(
            f"the folder cannot be written ({error.strerror})", key="--out", value=str(folder), allowed="a new folder"
        ) from None


def check_target(folder: Path, force: bool) -> None:
    """Refuse a folder that exists; ``force`` lets a folder of feeder tables be replaced, and no other."""
    if folder.exists() and not (force and (folder / "feeder.csv").is_file()):
        raise InputError(
            "the folder holds no feeder" if force else "the folder exists", key="--out", value=str(folder),
            allowed="a new folder" if force else "a new folder, or --force to replace a feeder's",
        )  # fmt: skip


def _write_report(omissions: tuple[Omission, ...], file: Path) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("element", "kind", "reason"))
        writer.writerows((o.element, o.kind, o.reason) for o in omissions)
