"""What a feeder's own loads and fixed generation draw in AC power flow, and where: by terminal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cosim.constants import LEGS
from cosim.grid.feeder.arrays import Structure, structure_of
from cosim.grid.feeder.circuit import CircuitFeeder
from cosim.grid.feeder.feeder import PLACE, SPLIT_LEG, Bus, Feeder
from cosim.grid.feeder.phases import Terminal
from cosim.grid.linear.ac_tangent import table_loads
from cosim.grid.linear.circuit_pattern import parts_drawn
from cosim.grid.opendss.circuit import AcCircuit

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Index = NDArray[np.intp]


NOWHERE = Terminal("", "wye", ("a",))
"""Stands for whatever of a circuit lies between no phases, as between a neutral and the ground; at no bus."""


class OwnDraw:
    """Loads and fixed generation of a feeder, sorted by where they are connected.

    Args:
        feeder: as it was read; its regulators and capacitors may stand elsewhere later.

    Attributes:
        terminals: each place where something is drawn, once; the last is :data:`NOWHERE`.
    """

    def __init__(self, feeder: Feeder) -> None:
        self._structure: Structure | CircuitFeeder
        if isinstance(feeder, CircuitFeeder):
            self._structure, draws = feeder, feeder.wiring.draws
            rows, e = draws.bus, draws.incidence(feeder.wiring.place.shape[1])
        else:
            self._structure = structure_of(feeder)
            rows, e, self._rated, full, self._exponent = table_loads(self._structure, 1.0)
            self._fixed = table_loads(self._structure, 0.0)[3]
            self._rows, self._e, self._scaled, self._key = rows, e, full - self._fixed, _keys(rows, e)
        buses, found = self._structure.buses, dict[Terminal, int]()
        self._place = np.full(8 * (int(rows.max(initial=0)) + 1), -1, dtype=np.intp)
        for key in np.unique(_keys(rows, e)).tolist():
            row, ends = divmod(key, 8)
            terminal = _terminal(buses[row], ends) if row < len(buses) else None
            if terminal is not None:
                self._place[key] = found.setdefault(terminal, len(found))
        self.terminals = (*found, NOWHERE)

    def at(self, circuit: AcCircuit, load_scale: float, solved: bool) -> tuple[Complex, Complex]:
        """What loads draw, and what fixed generation draws (less than nothing), in the last AC solution of a circuit.

        Args:
            circuit: of this feeder. load_scale: factor on the loads.
            solved: whether that is a solution; if not, what is drawn at nominal voltage.

        Returns:
            (terminals,) MW + j Mvar each.
        """
        structure = self._structure
        phasors = circuit.node_phasors_in(structure)
        if isinstance(structure, CircuitFeeder):
            rows, e, rated, power, exponent = parts_drawn(structure, phasors, load_scale)
            key = _keys(rows, e)
        else:
            rows, e, rated, exponent, key = self._rows, self._e, self._rated, self._exponent, self._key
            power = self._fixed + load_scale * self._scaled
        if solved:
            across = np.abs((e * np.nan_to_num(phasors[rows])).sum(axis=1)) / rated
            power = power * across**exponent
        drawn = np.zeros((2, len(self.terminals)), dtype=complex)
        np.add.at(drawn, ((power.real < 0).astype(np.intp), self._place[key]), power)
        return drawn[0], drawn[1]


def _keys(rows: Index, e: Real) -> Index:
    """A number for each part: eight times the row of its bus, and a bit for each phase that it touches."""
    return np.asarray(8 * rows + (e[:, :3] != 0) @ np.array([1, 2, 4]))


def _terminal(bus: Bus, ends: int) -> Terminal | None:
    """Where a part is connected that touches these phases; one alone is to a neutral or to the ground."""
    here = {x for x in bus.phases if ends >> PLACE[x] & 1}
    if len(here) == 1:
        return Terminal(bus.name, "wye", (*here,))
    leg = next((leg for leg in (*LEGS, SPLIT_LEG) if set(leg) == here), None)
    return None if leg is None else Terminal(bus.name, "delta", (leg,))
