"""Where regulators and capacitors of a circuit stand in OpenDSS."""

from __future__ import annotations

from typing import Any

from cosim.errors import RunFailure
from cosim.grid.feeder.circuit import CircuitFeeder
from cosim.grid.feeder.positions import Positions

SAME_TAP = 1e-6
"""Taps that differ by less (per unit) are one."""


def own_positions(dss: Any, feeder: CircuitFeeder) -> Positions:
    """Where the devices of a circuit stand in OpenDSS.

    Raises:
        RunFailure: a tap between two positions.
    """
    taps, steps = [], []
    for m in feeder.movable:
        if m.kind == "capacitor":
            steps.append((m.name, 0 if is_open(dss, m.name) else sum(states_of(dss, m.name))))
            continue
        moved = (tap_of(dss, m.name, m.winding) - m.tap) / m.tap_step
        at = m.standing + round(moved)
        if abs(moved - round(moved)) * m.tap_step > SAME_TAP or not 0 <= at - m.first < len(m.commands):
            raise RunFailure(
                f"feeder {feeder.name}: {m.name} went to a tap that is a whole number of steps from no other "
                "(network.controls: fixed holds all devices)"
            )
        taps.append((m.name, m.unit, at))
    return Positions(tuple(taps), tuple(steps))


def tap_of(dss: Any, element: str, winding: int) -> float:
    """Tap of a winding of a transformer, per unit."""
    dss.Transformers.Name(element.partition(".")[2])
    dss.Transformers.Wdg(winding)
    return float(dss.Transformers.Tap())


def states_of(dss: Any, element: str) -> list[int]:
    """Which steps of a capacitor are in service (1)."""
    dss.Capacitors.Name(element.partition(".")[2])
    return [int(x) for x in dss.Capacitors.States()]


def is_open(dss: Any, element: str) -> bool:
    """Whether any conductor of an element is open at its first end."""
    dss.Circuit.SetActiveElement(element)
    return bool(dss.CktElement.IsOpen(1, 0))
