"""Where the devices of a feeder stand: taps of regulators and steps of capacitors."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cosim.grid.feeder.circuit import CircuitFeeder
from cosim.grid.feeder.feeder import Feeder


@dataclass(frozen=True, slots=True)
class Positions:
    """Positions of all devices, in the order of the feeder's tables; of a circuit's own those that its controls move.

    Attributes:
        taps: (regulator, unit, tap). steps: (capacitor, steps in service).
    """

    taps: tuple[tuple[str, str, int], ...]
    steps: tuple[tuple[str, int], ...]


def positions_of(feeder: Feeder) -> Positions:
    """Where the devices of a feeder stand."""
    if isinstance(feeder, CircuitFeeder):
        both = list(zip(feeder.movable, feeder.positions, strict=True))
        return Positions(
            tuple((m.name, m.unit, at) for m, at in both if m.kind == "regulator"),
            tuple((m.name, at) for m, at in both if m.kind == "capacitor"),
        )
    return Positions(
        tuple((r.name, unit, tap) for r in feeder.regulators for unit, tap in r.taps.items()),
        tuple((c.name, c.steps_on) for c in feeder.capacitors),
    )


def at_positions(feeder: Feeder, positions: Positions) -> Feeder:
    """The same feeder with its devices elsewhere; the feeder itself if nothing moved."""
    if positions == positions_of(feeder):
        return feeder
    if isinstance(feeder, CircuitFeeder):
        at = {name: tap for name, _, tap in positions.taps} | dict(positions.steps)
        return replace(feeder, positions=tuple(at[m.name] for m in feeder.movable))
    taps: dict[str, dict[str, int]] = {}
    for name, unit, tap in positions.taps:
        taps.setdefault(name, {})[unit] = tap
    steps = dict(positions.steps)
    return replace(
        feeder,
        regulators=tuple(replace(r, taps=taps[r.name]) for r in feeder.regulators),
        capacitors=tuple(
            c if c.steps_on == steps[c.name] else replace(c, steps_on=steps[c.name]) for c in feeder.capacitors
        ),
    )


def without_controls(feeder: Feeder) -> Feeder:
    """The same feeder whose devices all stay: where its tables have them, or where a circuit's script leaves them."""
    if isinstance(feeder, CircuitFeeder):
        return feeder.held()
    return replace(feeder, regulator_controls=(), capacitor_controls=())


def moved_by_controls(feeder: Feeder) -> tuple[frozenset[tuple[str, str]], dict[str, str]]:
    """What the feeder's controls move: units of regulators, and phases of capacitors by name."""
    if isinstance(feeder, CircuitFeeder):
        units = {(m.name, m.unit) for m in feeder.movable if m.kind == "regulator"}
        return frozenset(units), {m.name: m.unit for m in feeder.movable if m.kind == "capacitor"}
    phases = {c.name: c.phases for c in feeder.capacitors}
    return (
        frozenset((c.regulator, unit) for c in feeder.regulator_controls for unit in c.members),
        {name: phases[name] for c in feeder.capacitor_controls for name in c.members},
    )
