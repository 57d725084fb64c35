"""A feeder in a contingency or switching state."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from cosim.errors import InputError, did_you_mean, listed
from cosim.grid.feeder.check import check_feeder
from cosim.grid.feeder.circuit import CircuitFeeder
from cosim.grid.feeder.feeder import TAP_LIMIT, Capacitor, Feeder, Line, Regulator, phase_rating_kva
from cosim.hosting.cases import Case

_LISTED = 20


@dataclass(frozen=True)
class Switched:
    """A feeder in a case.

    Attributes:
        feeder: what has supply. without_supply: buses that have none. tie_kva: what each phase of a rated tie carries.
    """

    feeder: Feeder
    without_supply: frozenset[str] = frozenset()
    tie_kva: tuple[tuple[str, float], ...] = ()


def single_outages(feeder: Feeder, lines: Iterable[str]) -> tuple[Case, ...]:
    """One case for each of some lines out of service (N-1).

    Raises:
        InputError: no such line.
    """
    known = {line.name for line in feeder.lines}
    names = list(lines)
    _known("lines_out", names, known, feeder)
    return tuple(Case(f"{name} out", lines_out=(name,)) for name in names)


def switched(feeder: Feeder, case: Case) -> Switched:
    """The feeder in a case; what a line out of service leaves without supply is not part of it any more.

    Raises:
        InputError: a name that the feeder does not have, a tap out of range, a tie that closes a loop or feeds a
            regulator or transformer from behind; a circuit named by a script, whose devices are not tables here.
    """
    if not (case.taps or case.held or case.capacitors_off or case.lines_out or case.ties):
        return Switched(feeder)
    if isinstance(feeder, CircuitFeeder):
        raise InputError(
            "contingencies are for feeders of tables; a circuit named by its script stands as the script leaves it",
            key=f"case {case.name}", value=feeder.name, allowed="the feeder as tables (cosim feeder import)",
        )  # fmt: skip
    try:
        return _switched(_with_devices(feeder, case), case)
    except InputError as error:
        raise error.changed(message=f"case {case.name}: {error.message}") from None


def _with_devices(feeder: Feeder, case: Case) -> Feeder:
    """Regulators and capacitors as the case has them, without the controls of those that it names."""
    units = {f"{r.name}.{unit}" for r in feeder.regulators for unit in r.taps}
    regulators = {r.name for r in feeder.regulators}
    capacitors = {c.name for c in feeder.capacitors}
    _known("taps", case.taps, units | regulators, feeder)
    _known("held", case.held, regulators, feeder)
    _known("capacitors_off", case.capacitors_off, capacitors, feeder)
    for name, tap in case.taps.items():
        if not (isinstance(tap, int) and abs(tap) <= TAP_LIMIT):
            raise InputError("not a tap", key=f"taps.{name}", value=tap, allowed=f"-{TAP_LIMIT} to {TAP_LIMIT}")
    still = {name.split(".")[0] for name in case.taps if name not in regulators} | {*case.taps, *case.held}

    def tapped(r: Regulator) -> Regulator:
        taps = {unit: case.taps.get(f"{r.name}.{unit}", case.taps.get(r.name, tap)) for unit, tap in r.taps.items()}
        return replace(r, taps=taps)

    def off(c: Capacitor) -> Capacitor:
        return replace(c, steps_on=0) if c.name in case.capacitors_off else c

    return replace(
        feeder,
        regulators=tuple(tapped(r) for r in feeder.regulators),
        capacitors=tuple(off(c) for c in feeder.capacitors),
        regulator_controls=tuple(c for c in feeder.regulator_controls if c.regulator not in still),
        capacitor_controls=tuple(
            c for c in feeder.capacitor_controls if not set(c.members) & set(case.capacitors_off)
        ),
    )  # fmt: skip


def _switched(feeder: Feeder, case: Case) -> Switched:
    lines = {line.name: line for line in feeder.lines}
    _known("lines_out", case.lines_out, lines, feeder)
    ties = []
    for tie in case.ties:
        _known("ties", (tie.from_bus, tie.to_bus), feeder.bus_by_name, feeder)
        _known("ties", (tie.code,), feeder.code_by_name, feeder)
        name = f"tie_{tie.from_bus}_{tie.to_bus}"
        ties.append(Line(name, tie.from_bus, tie.to_bus, tie.phases, tie.length_ft, tie.code, amps=tie.amps))
    kept = tuple(line for name, line in lines.items() if name not in case.lines_out)
    whole = replace(feeder, lines=(*kept, *ties))
    reached = _reached(whole)
    found = _only(whole, reached)
    check_feeder(found)
    rated = [(t.name, phase_rating_kva(t, feeder.bus_by_name[t.to_bus])) for t in ties]
    return Switched(
        found, frozenset(feeder.bus_by_name) - reached, tuple((name, kva) for name, kva in rated if kva is not None)
    )


def _reached(feeder: Feeder) -> frozenset[str]:
    """Buses that hang together with the source."""
    near: dict[str, list[str]] = {}
    for branch in feeder.branches:
        near.setdefault(branch.from_bus, []).append(branch.to_bus)
        near.setdefault(branch.to_bus, []).append(branch.from_bus)
    found, todo = {feeder.source_bus}, [feeder.source_bus]
    while todo:
        for bus in near.get(todo.pop(), ()):
            if bus not in found:
                found.add(bus)
                todo.append(bus)
    return frozenset(found)


def _only(feeder: Feeder, buses: Collection[str]) -> Feeder:
    """The part of a feeder at some buses; controls that measure elsewhere leave their devices where they stand."""
    branches = {b.name for b in feeder.branches if b.from_bus in buses and b.to_bus in buses}
    regulators = tuple(r for r in feeder.regulators if r.name in branches)
    capacitors = tuple(c for c in feeder.capacitors if c.bus in buses)
    there = {r.name for r in regulators}
    left = {c.name for c in capacitors}
    return replace(
        feeder,
        buses=tuple(b for b in feeder.buses if b.name in buses),
        lines=tuple(x for x in feeder.lines if x.name in branches),
        transformers=tuple(x for x in feeder.transformers if x.name in branches),
        regulators=regulators,
        capacitors=capacitors,
        loads=tuple(x for x in feeder.loads if x.bus in buses),
        generators=tuple(x for x in feeder.generators if x.bus in buses),
        regulator_controls=tuple(
            c for c in feeder.regulator_controls if c.regulator in there and (not c.bus or c.bus in buses)
        ),
        capacitor_controls=tuple(
            c for c in feeder.capacitor_controls if set(c.members) <= left and c.element in branches
        ),
    )  # fmt: skip


def _known(key: str, names: Iterable[str], known: Collection[str], feeder: Feeder) -> None:
    """Raise unless a feeder has all names."""
    for name in names:
        if name not in known:
            everything: Sequence[str] = sorted(known)
            raise InputError(
                f"feeder {feeder.name} has no such name{did_you_mean(name, everything)}", key=key, value=name,
                allowed=listed(everything, _LISTED) or "none",
            )  # fmt: skip
