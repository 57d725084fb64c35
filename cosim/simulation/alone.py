"""The feeder alone, without data centers and resources: which broken limits are there in any case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from cosim.errors import listed
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.flows import flow_ends
from cosim.grid.feeder.limits import KINDS, VOLTAGE_TOLERANCE_PU, LimitBook, NetworkLimits, Real
from cosim.grid.linear.branch_flows import ac_flows
from cosim.grid.opendss.circuit import AcCircuit, AcSolution
from cosim.results.columns import Columns, height
from cosim.results.limit_table import NAMES, row_columns
from cosim.scenario.preparation import PreparedFeeder

_LISTED = 8


@dataclass
class FeederAlone:
    """Compares the limits that a run breaks with those that its feeder alone breaks, in the same steps.

    Attributes:
        limits: what is kept.
        broken: voltages beyond a limit in the run; also_alone: those that are so in the feeder alone;
        worst: of the latter the one farthest beyond, as (distance, step, bus, phase, voltage).
    """

    feeder: Feeder
    limits: NetworkLimits
    broken: int = 0
    also_alone: int = 0
    worst: tuple[float, int, str, str, float] = (0.0, 0, "", "", 0.0)
    _book: list[LimitBook] = field(default_factory=list)
    _within: tuple[Real, Real] | None = None

    def see(self, step: int, ac: AcSolution, alone: Alone) -> None:
        """Look at the AC voltages of a step."""
        low, high = self._range(ac)
        v = np.fromiter(ac.voltages.values(), dtype=float, count=len(ac.voltages))
        found = np.flatnonzero((low > v) | (v > high))
        if not len(found):
            return
        labels, solution = list(ac.voltages), alone.solution
        broken = [labels[k] for k in found]
        self.broken += len(broken)
        if not solution.settled:
            return
        for label, least, most in zip(broken, low[found].tolist(), high[found].tolist(), strict=True):
            own = solution.voltages[label]
            beyond = max(least - own, own - most, 0.0)
            self.also_alone += beyond > 0
            if beyond > self.worst[0]:
                self.worst = (beyond, step, *label, own)

    def note(self) -> str | None:
        """What a reader should know; None if no limit is broken without what is connected."""
        if not self.also_alone:
            return None
        _, step, bus, phase, v = self.worst
        count = "all" if self.also_alone == self.broken else str(self.also_alone)
        return (
            f"{count} of the {self.broken} AC voltages beyond their limits are there without any data center or "
            f"resource, at worst {v:.4f} pu (step {step}, bus {bus} {phase})"
        )

    def at(self, load_scale: float, feeder: Feeder) -> Alone:
        """The feeder alone at a load, its devices standing as in ``feeder``."""
        return Alone(self, load_scale, feeder)

    @cached_property
    def _circuit(self) -> AcCircuit:
        """One of its own: where an iteration starts shows in the last digits."""
        return AcCircuit(self.feeder)

    def solve(self, load_scale: float, feeder: Feeder) -> AcSolution:
        """AC solution of the feeder alone."""
        circuit = self._circuit
        circuit.move_to(feeder)
        solution = circuit.solve(load_scale)
        return replace(solution, flows=ac_flows(circuit)) if self.limits.phase_kva and solution.settled else solution

    def limit_rows(self, t: int, linear: Columns, ac: AcSolution, alone: Alone) -> list[Columns]:
        """Rows of the table of limits: those of the linear network, and the limits that AC power flow breaks.

        Args:
            linear: rows of the operator, without what the base case says.
        """
        book = self.book_of(ac)
        values = self.values(ac)
        told = np.flatnonzero(book.broken(values))
        price = np.full(len(told), np.nan)
        broken = row_columns(
            t, "ac", book.kinds[told].tolist(), book.elements[told].tolist(), book.phases[told].tolist(), values[told],
            book.limit[told], book.beyond(values)[told], np.ones(len(told), dtype=bool), book.units_of(told), price,
        )  # fmt: skip
        return [{**rows, "in_base_case": alone.judge(rows)} for rows in (linear, broken) if height("limits", rows)]

    def broken_in(self, solution: AcSolution) -> set[tuple[str, str, str]]:
        """(kind, element, phase) of the limits that a solution breaks."""
        book = self.book_of(solution)
        told = np.flatnonzero(book.broken(self.values(solution)))
        return set(zip(book.kinds[told], book.elements[told], book.phases[told], strict=True))

    def book_of(self, ac: AcSolution) -> LimitBook:
        """The limits one by one, in the order of the voltages of a solution."""
        if not self._book:
            labels = flow_ends(self.feeder).labels if self.limits.phase_kva else ()
            buses = self.limits.unbalance_buses
            self._book.append(LimitBook(self.limits, tuple(ac.voltages), labels, buses, buses))
        return self._book[0]

    def values(self, ac: AcSolution) -> Real:
        """(k,) what each limit is compared with in a solution."""
        v = np.array(list(ac.voltages.values()))
        rates: list[Mapping[str, float]] = [
            {bus: getattr(ac.unbalance[bus], rate) for bus in self.limits.unbalance_buses if bus in ac.unbalance}
            for rate in ("vuf_pct", "pvur_pct")
        ]
        return self.book_of(ac).values(v, ac.flows, *rates)

    def _range(self, ac: AcSolution) -> tuple[Real, Real]:
        """Voltages (per unit) between which none is broken, in the order of a solution's, as all solutions have it."""
        if self._within is None:
            low, high = self.limits.voltage.at(bus for bus, _ in ac.voltages)
            self._within = low - VOLTAGE_TOLERANCE_PU, high + VOLTAGE_TOLERANCE_PU
        return self._within


def broken_alone(prepared: PreparedFeeder) -> list[str]:
    """In words, the ratings and limits of unbalance that a feeder breaks alone at peak load; none if it keeps them."""
    limits, peak = prepared.limits, float(prepared.load_scale.max())
    if not limits.phase_kva and not limits.unbalance_buses:
        return []
    alone = FeederAlone(prepared.feeder, limits)
    broken = sorted(k for k in alone.broken_in(alone.solve(peak, prepared.feeder)) if not k[0].startswith("voltage"))
    if not broken:
        return []
    names = [f"{NAMES[kind]} {element}{'' if phase == 'abc' else f' {phase}'}" for kind, element, phase in broken]
    return [f"broken at peak load without data centers: {listed(names, _LISTED)}"]


@dataclass
class Alone:
    """The feeder alone in one step, solved when it is asked for."""

    of: FeederAlone
    load_scale: float
    feeder: Feeder

    @cached_property
    def solution(self) -> AcSolution:
        """Its AC solution."""
        return self.of.solve(self.load_scale, self.feeder)

    @cached_property
    def _broken(self) -> set[tuple[str, str, str]] | None:
        return self.of.broken_in(self.solution) if self.solution.settled else None

    def judge(self, rows: Columns) -> list[str]:
        """Whether the limits of some rows are broken in it; ``unknown`` where it has no solution. It has no units."""
        if not any(kind in KINDS for kind in rows["kind"]):
            return ["no" for _ in rows["kind"]]
        known, found = self._broken, []
        for key in zip(rows["kind"], rows["element"], rows["phase"], strict=True):
            broken = key[0] in KINDS and (known is None or key in known)
            found.append(("unknown" if known is None else "yes") if broken else "no")
        return found
