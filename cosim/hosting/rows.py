"""The limits of a network as rows: what is looked at in a solution, between which bounds it stays, and its name.

Voltages and apparent powers enter as squares: both are nearly quadratic in what is drawn, the second exactly so on a
network whose voltages follow the draw linearly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cosim.constants import KILO
from cosim.grid.feeder.circuit import CircuitFeeder
from cosim.grid.feeder.limits import RATE_TOLERANCE, VOLTAGE_TOLERANCE_PU, NetworkLimits
from cosim.grid.feeder.phases import centroid, pvur, vuf
from cosim.grid.linear.ac_pattern import Pattern
from cosim.grid.opendss.commands import V_MAX, V_MIN
from cosim.hosting.limits import Element

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Index = NDArray[np.intp]
Flags = NDArray[np.bool_]
HELD_PU, HELD_SHARE = 1e-5, 1e-5
"""How far beyond a limit the largest draw may bring a voltage, and a rating or rate as a share of its limit."""


@dataclass(frozen=True, slots=True, eq=False)
class Bounds:
    """Bounds of all rows at some states, each (states, rows).

    ``second_low`` and ``second_high`` say what becomes of a limit that the base case breaks: "not made worse", or,
    where broken limits are left out, the values beyond which they are; ``of_model`` where the bounds are then those at
    which loads leave their model.
    """

    low: Real
    high: Real
    second_low: Real
    second_high: Real
    of_model_low: Flags
    of_model_high: Flags

    def some(self, at: Index) -> Bounds:
        """Those of some states."""
        return Bounds(self.low[at], self.high[at], self.second_low[at], self.second_high[at],
                      self.of_model_low[at], self.of_model_high[at])  # fmt: skip

    def second(self, at: Index) -> tuple[Real, Real]:
        """The second bounds of some states."""
        return self.second_low[at], self.second_high[at]


class Rows:
    """What is looked at in the solutions of one network.

    Order of rows: squared voltages; squared apparent powers of rated flows; VUF, then PVUR at limited buses. Squares
    have the unit of their limit, squared.

    Args:
        n: pattern of the feeder. limits: that are kept.
        checked: buses at which a voltage beyond 0.8 to 1.2 per unit is no solution; None: all.

    Attributes:
        low, high: (rows,) limits. elements: (2 rows,) limit below, then limit above of each row, one beyond the end of
            the loads' model as that end; then both as the end of the loads' model.
    """

    def __init__(self, n: Pattern, limits: NetworkLimits, checked: frozenset[str] | None) -> None:
        self._n, voltages = n, n.voltages.labels
        flows = [(k, label) for k, label in enumerate(n.flows_p.labels) if label[0] in limits.phase_kva]
        rated = [k for k, _ in flows]
        self._into = sp.csr_array(n.entering[rated]) if rated else None
        shape = len(n.flow_node), len(n.node_bus)
        frames = sp.coo_array((n.frame_share, (n.frame_rows, n.frame_columns)), shape=shape)
        self._frame = sp.csr_array(sp.csr_array(frames)[rated]) if rated else None
        low, high = limits.voltage.at(bus for bus, _ in voltages)
        kva = np.array([limits.phase_kva[label[0]] for _, label in flows])
        full = [label[0] for label in n.unbalance_labels[::2]]
        here = [k for k, bus in enumerate(full) if bus in limits.unbalance_buses]
        self._vuf = n.full[here] if limits.vuf_pct is not None else n.full[:0]
        self._pvur = n.full[here] if limits.pvur_pct is not None else n.full[:0]
        at = [n.rows[full[k]] for k in here][: len(self._pvur)]
        self._floating = np.asarray(n.three_wire)[at]
        own = np.full(len(at), -1) if n.neutral is None else n.neutral[at]
        node = {(row, place): k for k, (row, place) in enumerate(zip(n.node_bus, n.node_place, strict=True))}
        self._neutral = np.array([node.get(key, -1) for key in zip(at, own.tolist(), strict=True)], dtype=np.intp)
        rates = [*[(limits.vuf_pct, full[k]) for k in here if limits.vuf_pct is not None],
                 *[(limits.pvur_pct, full[k]) for k in here if limits.pvur_pct is not None]]  # fmt: skip
        of_rates = np.array([rate for rate, _ in rates], dtype=float)
        self._voltages, self._rated = len(voltages), len(rated)
        none = np.full(len(rated) + len(rates), -np.inf)
        self._squared = np.arange(len(voltages) + len(none)) < len(voltages) + len(rated)
        self.low = np.concatenate([low**2, none])
        self.high = np.concatenate([high**2, (kva / KILO) ** 2, of_rates])
        inside = np.array([checked is None or bus in checked for bus, _ in voltages], dtype=bool)
        self._model_low = np.concatenate([np.where(inside, V_MIN**2, -np.inf), none])
        self._model_high = np.concatenate([np.where(inside, V_MAX**2, np.inf), -none])
        # in the units of the limits: squares of pu and MVA, rates in percent
        self._margin = self._steps(VOLTAGE_TOLERANCE_PU, RATE_TOLERANCE)
        held = self._steps(HELD_PU, HELD_SHARE)
        self._held = np.where(self._squared, 2 * held * np.sqrt(self.high), held)
        below = [Element("voltage low", bus, x, float(v), "pu") for (bus, x), v in zip(voltages, low, strict=True)]
        above = [Element("voltage high", bus, x, float(v), "pu") for (bus, x), v in zip(voltages, high, strict=True)]
        others = [Element("rating", *label, float(v), "kVA") for (_, label), v in zip(flows, kva, strict=True)]
        others += [Element("unbalance", bus, "", float(rate or 0.0), "%") for rate, bus in rates]
        nowhere = [Element("solution", "", "", np.nan, "") for _ in others]
        model = [[Element("solution", bus, x, v, "pu") for bus, x in voltages] for v in (V_MIN, V_MAX)]
        limits_told = [*below, *nowhere, *above, *others]
        ends = [*model[0], *nowhere, *model[1], *nowhere]
        beyond = np.concatenate([self.low < self._model_low, self.high > self._model_high])
        self.elements = [*(m if x else e for x, e, m in zip(beyond, limits_told, ends, strict=True)), *ends]
        self.low, self.high = np.maximum(self.low, self._model_low), np.minimum(self.high, self._model_high)
        self.count = len(self.low)

    def _steps(self, pu: float, share: float) -> Real:
        """(rows,) a small step of a voltage, or a share of a rating or rate, in their units."""
        high = np.where(self._squared, np.sqrt(self.high), self.high)
        return np.concatenate([np.full(self._voltages, pu), share * high[self._voltages :]])

    def _moved(self, values: Real, by: Real) -> Real:
        """Values whose roots, or rates themselves, are changed by so much."""
        with np.errstate(invalid="ignore"):  # there is no lower limit of powers
            roots = np.maximum(np.sqrt(values) + by, 0.0) ** 2
        return np.where(self._squared & (values >= 0), roots, values + by)

    def values(self, v: Complex) -> Real:
        """(states, rows) by voltages (states, nn)."""
        n = self._n
        ends = np.concatenate([v, np.zeros((len(v), 1), dtype=complex)], axis=1)
        w = ends[:, n.first] - ends[:, n.second]
        found: list[Any] = [n.voltage_scale * (w.real**2 + w.imag**2)]
        if self._into is not None and self._frame is not None:
            power = (self._frame @ v.T).T * np.conj((self._into @ v.T).T)
            found.append(power.real**2 + power.imag**2)
        if len(self._vuf):
            found.append(vuf(v[:, self._vuf]))
        if len(self._pvur):
            phases = v[:, self._pvur] - ends[:, self._neutral][:, :, None]
            found.append(pvur(np.abs(np.where(self._floating[:, None], centroid(phases), phases))))
        return np.concatenate(found, axis=1)

    def bounds(self, base: Real, left_out: bool) -> Bounds:
        """Bounds of the rows beside a base case of values (states, rows).

        Args:
            left_out: limits that the base case breaks bind nothing; else they become "not made worse".
        """
        if left_out:
            below, above = self._moved(self.low, -self._margin), self._moved(self.high, self._margin)
            of_low, of_high = base < below, base > above
            low, high = np.where(of_low, self._model_low, self.low), np.where(of_high, self._model_high, self.high)
            return Bounds(low, high, np.tile(below, (len(base), 1)), np.tile(above, (len(base), 1)), of_low, of_high)
        below, above = self._moved(base, -self._margin), self._moved(base, self._margin)
        none = np.zeros(base.shape, dtype=bool)
        return Bounds(np.minimum(self.low, below), np.maximum(self.high, above), below, above, none, none)

    def broken(self, base: Real) -> tuple[Flags, Flags]:
        """(states, rows) whether values break the lower and the upper limits by more than what counts."""
        return base < self._moved(self.low, -self._margin), base > self._moved(self.high, self._margin)

    def outside_model(self, base: Real) -> Flags:
        """(states,) whether values are those of no solution in which loads keep their model."""
        return np.asarray(((base < self._model_low) | (base > self._model_high)).any(axis=1))

    def held(self, values: Real, bounds: Bounds) -> Flags:
        """(states,) whether values keep their bounds, to within what a largest draw may be beyond them."""
        inside = (values >= bounds.low - self._held) & (values <= bounds.high + self._held)
        return np.asarray(inside.all(axis=1))

    def told(self, row: int, value: float) -> float:
        """A value in the unit of its limit: pu, kVA or percent."""
        if row < self._voltages:
            return float(np.sqrt(value))
        return float(np.sqrt(value)) * KILO if row < self._voltages + self._rated else value


def checked_buses(n: Pattern, drawn_at: frozenset[str]) -> frozenset[str] | None:
    """Buses at which the range of the loads' model decides whether a state is a solution, as in
    :class:`cosim.grid.opendss.circuit.AcCircuit`: all of a feeder of tables, those with devices of a circuit's own."""
    return drawn_at if isinstance(n.structure, CircuitFeeder) else None
