"""Voltages at which OpenDSS no longer keeps a load's model, and a sentence on the steps in which they were met.

OpenDSS takes a load of constant power or current for an impedance outside ``vminpu`` to ``vmaxpu``. The circuit here
keeps the model from 0.8 to 1.2 per unit, so outside a load's range the two differ.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cosim.grid.feeder.feeder import PLACE, Feeder

_TOLERANCE_PU = 1e-4


@dataclass(slots=True)
class LoadRanges:
    """Loads of a feeder that state a range, and how far their voltages left it.

    Attributes:
        worst: distance from the range (per unit), load, voltage (per unit) and step of the farthest.
        steps: in which some load was outside. loads: names of those loads.
    """

    feeder: Feeder
    worst: tuple[float, str, float, int] = (0.0, "", 0.0, 0)
    steps: list[int] = field(default_factory=list)
    loads: set[str] = field(default_factory=set)
    _names: list[str] = field(init=False)
    _rows: NDArray[np.intp] = field(init=False)
    _ends: NDArray[np.intp] = field(init=False)
    _scale: NDArray[np.float64] = field(init=False)
    _range: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        order = {bus.name: k for k, bus in enumerate(self.feeder.buses)}
        stated = [x for x in self.feeder.loads if x.v_min_pu is not None or x.v_max_pu is not None]
        self._names = [x.name for x in stated]
        self._rows = np.array([order[x.bus] for x in stated], dtype=np.intp)
        # the second end of a load to neutral is a column of zeros beside the three phases
        ends = [(PLACE[x.phases[0]], PLACE[x.phases[1]] if len(x.phases) == 2 else 3) for x in stated]
        self._ends = np.array(ends, dtype=np.intp).reshape(-1, 2)
        buses = [self.feeder.bus_by_name[x.bus] for x in stated]
        self._scale = np.array(
            [b.kv_neutral / b.kv_base if len(x.phases) == 2 else 1.0 for x, b in zip(stated, buses, strict=True)]
        )
        self._range = np.array(
            [(x.v_min_pu or 0.0, np.inf if x.v_max_pu is None else x.v_max_pu) for x in stated]
        ).reshape(-1, 2)

    def see(self, step: int, phasors: NDArray[np.complex128]) -> None:
        """Look at one AC solution.

        Args:
            phasors: (buses, 3) node voltages per unit of the nominal voltage to neutral.
        """
        if not self._names:
            return
        v = np.concatenate([phasors, np.zeros((len(phasors), 1))], axis=1)
        across = self._scale * np.abs(v[self._rows, self._ends[:, 0]] - v[self._rows, self._ends[:, 1]])
        beyond = np.maximum(self._range[:, 0] - across, across - self._range[:, 1])
        outside = np.flatnonzero(beyond > _TOLERANCE_PU)
        if not len(outside):
            return
        self.steps.append(step)
        self.loads.update(self._names[k] for k in outside)
        k = int(np.argmax(np.where(np.isnan(beyond), -np.inf, beyond)))
        if beyond[k] > self.worst[0]:
            self.worst = (float(beyond[k]), self._names[k], float(across[k]), step)

    def note(self) -> str | None:
        """What a reader should know; None if every load stayed in its range."""
        if not self.steps:
            return None
        distance, name, v, step = self.worst
        bus = next(x.bus for x in self.feeder.loads if x.name == name)
        return (
            f"{len(self.loads)} loads were outside the voltage range in which OpenDSS keeps their model, in "
            f"{len(self.steps)} steps, by up to {distance:.4f} pu (load {name} at bus {bus}, step {step}: {v:.4f} pu); "
            "OpenDSS would take them as impedances there, this run keeps their model"
        )
