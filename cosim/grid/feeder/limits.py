"""Limits of a feeder's network: of voltages at buses, of flows through branches, of unbalance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cosim.grid.feeder.flows import BranchFlows, Label

Real = NDArray[np.float64]
Index = NDArray[np.intp]
KINDS = ("voltage_low", "voltage_high", "rating", "vuf", "pvur")
"""Kinds of limits of a network: voltages, apparent power per phase, the two rates of unbalance."""
UNITS = {"voltage_low": "pu", "voltage_high": "pu", "rating": "kVA", "vuf": "%", "pvur": "%"}
VOLTAGE_TOLERANCE_PU = 1e-4
"""A voltage counts as a violation when beyond its limit by more than this: solvers stop short of exact."""
RATE_TOLERANCE = 1e-3
"""A rating or a rate of unbalance counts as broken when beyond its limit by more than this share of it."""
_TOLERANCE = {"pu": (VOLTAGE_TOLERANCE_PU, 0.0), "kVA": (0.0, RATE_TOLERANCE), "%": (0.0, RATE_TOLERANCE)}
"""How far beyond a limit a value may be without breaking it: in its unit, and as a share of the limit."""


@dataclass(frozen=True, slots=True)
class VoltageLimits:
    """Voltage limits in per unit.

    Attributes:
        v_min_pu, v_max_pu: of all buses but those that have others.
        buses: (lowest, highest) of the buses that have others, by name.
    """

    v_min_pu: float
    v_max_pu: float
    buses: Mapping[str, tuple[float, float]] = field(default_factory=dict, hash=False)

    def of(self, bus: str) -> tuple[float, float]:
        """Lowest and highest voltage of a bus."""
        return self.buses.get(bus, (self.v_min_pu, self.v_max_pu))

    def at(self, buses: Iterable[str]) -> tuple[Real, Real]:
        """Lowest and highest voltage at each of some buses, (n,) each."""
        names = list(buses)
        if not self.buses:
            return np.full(len(names), self.v_min_pu), np.full(len(names), self.v_max_pu)
        place = {bus: k for k, bus in enumerate(dict.fromkeys(names))}  # a table has each bus many times
        both = np.array([self.of(bus) for bus in place]).reshape(-1, 2)
        which = np.fromiter(map(place.__getitem__, names), dtype=np.intp, count=len(names))
        return both[which, 0], both[which, 1]

    def room(self, buses: Iterable[str], v_pu: Iterable[float]) -> Real:
        """(n,) distance of voltages at some buses from the nearer limit, per unit; below 0 beyond it."""
        low, high = self.at(buses)
        v = np.asarray(list(v_pu), dtype=float)
        return np.asarray(np.minimum(v - low, high - v))

    def beyond(self, buses: Iterable[str], v_pu: Iterable[float]) -> Real:
        """(n,) how far voltages at some buses are beyond their limits, per unit; 0 within, and where there is none."""
        return np.asarray(np.maximum(np.nan_to_num(-self.room(buses, v_pu)), 0.0))


@dataclass(frozen=True, slots=True)
class NetworkLimits:
    """Everything that is kept in a network.

    Attributes:
        voltage: of buses.
        phase_kva: of the rated branches, what each phase may carry.
        unbalance_buses: where unbalance is limited: by vuf_pct, by pvur_pct, by both, or neither.
    """

    voltage: VoltageLimits
    phase_kva: Mapping[str, float] = field(default_factory=dict, hash=False)
    unbalance_buses: tuple[str, ...] = ()
    vuf_pct: float | None = None
    pvur_pct: float | None = None


class LimitBook:
    """The limits of a network one by one, and what is seen of each in a solution.

    Order: lowest, then highest voltages in the order of ``voltages``; ratings in the order of ``flows``; VUF, then
    PVUR at each limited bus.

    Args:
        limits: what is kept.
        voltages: (bus, leg or phase) of each voltage. flows: (branch, phase) of each flow.
        vuf_buses, pvur_buses: limited buses, in the order in which they are told.

    Attributes:
        kinds, elements, phases: (k,) of each limit. limit: (k,) in its unit.
        first: number of the first limit of each kind.
    """

    def __init__(
        self,
        limits: NetworkLimits,
        voltages: Sequence[Label],
        flows: Sequence[Label],
        vuf_buses: Sequence[str] = (),
        pvur_buses: Sequence[str] = (),
    ) -> None:
        low, high = limits.voltage.at(bus for bus, _ in voltages)
        self._rated = np.array([i for i, (name, _) in enumerate(flows) if name in limits.phase_kva], dtype=np.intp)
        self._vuf = tuple(vuf_buses) if limits.vuf_pct is not None else ()
        self._pvur = tuple(pvur_buses) if limits.pvur_pct is not None else ()
        rated = [flows[i] for i in self._rated]
        parts: dict[str, tuple[Sequence[Label], Sequence[float] | Real]] = {
            "voltage_low": (voltages, low),
            "voltage_high": (voltages, high),
            "rating": (rated, [limits.phase_kva[name] for name, _ in rated]),
            "vuf": ([(bus, "abc") for bus in self._vuf], [limits.vuf_pct or 0.0] * len(self._vuf)),
            "pvur": ([(bus, "abc") for bus in self._pvur], [limits.pvur_pct or 0.0] * len(self._pvur)),
        }
        sizes = [len(labels) for labels, _ in parts.values()]
        self.first = dict(zip(KINDS, np.cumsum([0, *sizes[:-1]]).tolist(), strict=True))
        self.kinds = np.repeat(np.array(KINDS, dtype=object), sizes)
        both = [label for labels, _ in parts.values() for label in labels]
        self.elements = np.array([element for element, _ in both], dtype=object)
        self.phases = np.array([phase for _, phase in both], dtype=object)
        self.limit = np.concatenate([np.asarray(limit, dtype=float) for _, limit in parts.values()])
        self._sign = np.where(self.kinds == "voltage_low", -1.0, 1.0)
        tolerance = np.array([_TOLERANCE[UNITS[kind]] for kind in self.kinds]).reshape(-1, 2)
        self._tolerance = tolerance[:, 0] + tolerance[:, 1] * self.limit

    def units_of(self, places: Index) -> list[str]:
        """Units of some limits."""
        return [UNITS[kind] for kind in self.kinds[places]]

    def values(
        self, v_pu: Real, flows: BranchFlows | None, vuf_pct: Mapping[str, float], pvur_pct: Mapping[str, float]
    ) -> Real:
        """(k,) what each limit is compared with; nan where it was not seen.

        Args:
            v_pu: of each voltage. flows: of the branches. vuf_pct, pvur_pct: by bus.
        """
        kva = np.full(len(self._rated), np.nan)
        if flows is not None:
            kva = np.hypot(flows.p_kw, flows.q_kvar)[self._rated]
        unbalance = [vuf_pct.get(bus, np.nan) for bus in self._vuf] + [pvur_pct.get(bus, np.nan) for bus in self._pvur]
        return np.concatenate([v_pu, v_pu, kva, np.array(unbalance, dtype=float)])

    def beyond(self, values: Real) -> Real:
        """(k,) how far values are beyond their limits, in their units; below 0 within."""
        return np.asarray(self._sign * (values - self.limit))

    def broken(self, values: Real) -> NDArray[np.bool_]:
        """(k,) whether a value is beyond its limit by more than solvers err."""
        return np.asarray(self.beyond(values) > self._tolerance)
