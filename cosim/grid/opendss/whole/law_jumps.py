"""Loads near a voltage at which OpenDSS's law of them jumps: AC power flow may have two solutions there."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cosim.grid.feeder.circuit import CircuitFeeder
from cosim.grid.feeder.feeder import Feeder

Real = NDArray[np.float64]
NEAR_PU = 0.02
"""How near to a jump a voltage is told of, per unit of the load's rated voltage."""
LEAST = 0.01
"""Smallest jump that is told of, as a share of the load's power at rated voltage."""


@dataclass(slots=True)
class LawJumps:
    """Loads whose law jumps at an end of their range of voltages (of exponents other than 0, 1 and 2, mostly).

    Attributes:
        nearest: distance from a jump (per unit), row of the bus, voltage, and the step of the nearest.
        steps: in which some load was near a jump. rows: of the buses of those loads.
    """

    feeder: Feeder
    nearest: tuple[float, int, float, int] = (np.inf, 0, 0.0, 0)
    steps: list[int] = field(default_factory=list)
    rows: set[int] = field(default_factory=set)
    _parts: NDArray[np.intp] = field(init=False)
    _jumps: Real = field(init=False)

    def __post_init__(self) -> None:
        self._jumps = jumps(self.feeder) if isinstance(self.feeder, CircuitFeeder) else np.zeros((0, 2))
        self._parts = np.flatnonzero(np.isfinite(self._jumps).any(axis=1))

    def see(self, step: int, phasors: NDArray[np.complex128]) -> None:
        """Look at one AC solution.

        Args:
            phasors: (rows, places) node voltages of the circuit.
        """
        if not len(self._parts) or not isinstance(self.feeder, CircuitFeeder):
            return
        draws = self.feeder.wiring.draws
        v = np.concatenate([np.nan_to_num(phasors), np.zeros((len(phasors), 1))], axis=1)
        row = draws.bus[self._parts]
        across = np.abs(v[row, draws.first[self._parts]] - v[row, draws.second[self._parts]]) / draws.rated[self._parts]
        distance = np.nanmin(np.abs(across[:, None] - self._jumps[self._parts]), axis=1)
        near = np.flatnonzero(distance <= NEAR_PU)
        if not len(near):
            return
        self.steps.append(step)
        self.rows.update(row[near].tolist())
        k = int(distance.argmin())
        if distance[k] < self.nearest[0]:
            self.nearest = (float(distance[k]), int(row[k]), float(across[k]), step)

    def note(self) -> str | None:
        """What a reader should know; None if no voltage was near a jump."""
        if not self.steps:
            return None
        _, row, v, step = self.nearest
        known = row < len(self.feeder.buses)
        bus = self.feeder.buses[row].name if known else "without phases"
        return (
            f"loads at {len(self.rows)} buses were within {NEAR_PU:g} pu of a voltage at which their law in OpenDSS "
            f"jumps, in {len(self.steps)} steps (nearest: bus {bus}, {v:.4f} pu of their rated voltage, step {step}): "
            "AC power flow may have two solutions there, and the linear network the other one"
        )


def jumps(feeder: CircuitFeeder) -> Real:
    """(m, 2) lower and upper voltage at which the law of each part of the circuit's loads jumps, per unit of its rated
    voltage; nan where it does not."""
    d = feeder.wiring.draws
    inside = [x ** d.exponent for x in (d.low, np.where(np.isfinite(d.high), d.high, 1.0))]
    below = d.below_current * d.low + d.below_impedance * d.low**2
    above = np.where(np.isfinite(d.high), d.above * d.high**2, inside[1])
    low, high = (np.abs(x - y) > LEAST for x, y in ((inside[0], below), (inside[1], above)))
    return np.column_stack([np.where(low & (d.low > 0), d.low, np.nan), np.where(high, d.high, np.nan)])
