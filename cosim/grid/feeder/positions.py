"""Where the devices of a feeder stand: taps of regulators and steps of capacitors."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cosim.grid.feeder.feeder import Feeder


@dataclass(frozen=True, slots=True)
class Positions:
    """Positions of all devices, in the order of the feeder's tables.

    Attributes:
        taps: (regulator, unit, tap). steps: (capacitor, steps in service).
    """

    taps: tuple[tuple[str, str, int], ...]
    steps: tuple[tuple[str, int], ...]


def positions_of(feeder: Feeder) -> Positions:
    """Where the devices stand in a feeder's tables."""
    return Positions(
        tuple((r.name, unit, tap) for r in feeder.regulators for unit, tap in r.taps.items()),
        tuple((c.name, c.steps_on) for c in feeder.capacitors),
    )


def at_positions(feeder: Feeder, positions: Positions) -> Feeder:
    """The same feeder with its devices elsewhere; the feeder itself if nothing moved."""
    if positions == positions_of(feeder):
        return feeder
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
