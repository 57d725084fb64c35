"""A feeder as it is delivered, step by step: its AC circuit, and what was seen there of voltages and limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cosim.constants import KILO
from cosim.grid.feeder.circuit import CircuitFeeder
from cosim.grid.feeder.flows import flow_ends
from cosim.grid.feeder.load_ranges import LoadRanges
from cosim.grid.linear.branch_flows import ac_flows
from cosim.grid.opendss.circuit import AcCircuit, AcSolution
from cosim.grid.opendss.whole.law_jumps import LawJumps
from cosim.protocol.roles import Delivered
from cosim.results.columns import Columns, height
from cosim.scenario.network_limits import ratings_mva
from cosim.scenario.preparation import PreparedFeeder, check_base_case
from cosim.simulation.alone import FeederAlone


class Place:
    """A feeder as it is delivered: its AC circuit, and what was seen of its voltages.

    Args:
        prepared: the feeder with its series.
    """

    def __init__(self, prepared: PreparedFeeder) -> None:
        self.prepared = prepared
        self._ranges, self._jumps = LoadRanges(prepared.feeder), LawJumps(prepared.feeder)
        self._alone = FeederAlone(prepared.feeder, prepared.limits)
        self._circuit = AcCircuit(prepared.feeder)

    @property
    def circuit(self) -> AcCircuit:
        """The circuit, which holds the AC solution that was found last."""
        return self._circuit

    def base_case(self) -> AcSolution:
        """AC solution of the feeder alone at peak load, its devices as in the tables."""
        self._circuit.move_to(self.prepared.feeder)
        return self._circuit.solve(float(self.prepared.load_scale.max()), [])

    def check(self) -> None:
        """Refuse a feeder that has no AC solution of its own.

        Raises:
            InputError: see :func:`check_base_case`.
        """
        with self.prepared.part.naming_keys():
            check_base_case(self.base_case(), float(self.prepared.load_scale.max()))

    def notes(self) -> list[str]:
        """What a reader of results should know of the feeder and of its voltages in the steps so far."""
        feeder, scenario = self.prepared.feeder, self.prepared.scenario
        remarks = feeder.notes_of_reading if isinstance(feeder, CircuitFeeder) else ()
        unposted = [mode for mode in scenario.modes if mode not in ("envelope", "uncoordinated")]
        if scenario.network.controls == "follow" and unposted:
            remarks = (*remarks, f"network.controls: follow: in mode {' and '.join(unposted)} devices act on work that "
                       "runs on arrival, as what is drawn is agreed on after they are set")  # fmt: skip
        if scenario.network.controls is None and feeder.controlled:
            remarks = (*remarks, "regulators and capacitors move between steps as the feeder's controls say, since "
                       "network.controls says nothing; network.controls: fixed holds them")  # fmt: skip
        told = [self._ranges.note(), self._jumps.note(), self._alone.note(), self._note_of_flows()]
        return [*remarks, *filter(None, told)]

    def _note_of_flows(self) -> str | None:
        """That not all flows are written, where nobody asked for that."""
        spec, steps = self.prepared.scenario.results, self.prepared.calendar.steps
        rows = len(flow_ends(self.prepared.feeder).labels) * steps
        if spec.flows != "auto" or spec.flows_of(rows) == "all":
            return None
        rated = ratings_mva(self.prepared.scenario.network, self.prepared.feeder, kept=False)
        return (
            f"the table of flows has only branches loaded by at least {spec.loaded_pct:g} % of their rating: all flows "
            f"in {steps} steps would be {rows} rows (results.flows: all writes them)"
            + ("" if rated else "; no branch has a known rating, so it has none")
        )

    def solve(self, t: int, delivered: Delivered) -> AcSolution:
        """AC solution of a delivered step."""
        self._circuit.move_to(delivered.feeder or self.prepared.feeder)
        injections = [(terminal, KILO * p, KILO * q) for terminal, p, q in delivered.injections]
        solution = self._circuit.solve(float(self.prepared.load_scale[t]), injections)
        solution = replace(solution, flows=ac_flows(self._circuit))
        self._ranges.see(t, self._circuit.node_phasors)
        self._jumps.see(t, self._circuit.node_phasors)
        self._now = self._alone.at(float(self.prepared.load_scale[t]), delivered.feeder or self.prepared.feeder)
        self._alone.see(t, solution, self._now)
        return solution

    def limit_rows(self, t: int, linear: Columns, ac: AcSolution) -> list[Columns]:
        """Rows of the table of limits of the step that was solved last; see :meth:`FeederAlone.limit_rows`."""
        rows = self._alone.limit_rows(t, linear, ac, self._now)
        if self.prepared.scenario.network.chance is None:
            return rows
        return [{"margin": np.full(height("limits", found), np.nan), **found} for found in rows]
