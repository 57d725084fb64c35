"""What enters the branches of a feeder: powers, currents, and the buses at which they are told."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cosim.constants import KILO, LEGS
from cosim.grid.feeder.arrays import FEEDERS_KEPT, branch_labels, structure_of
from cosim.grid.feeder.circuit import CircuitFeeder
from cosim.grid.feeder.feeder import PLACE, Bus, Feeder
from cosim.grid.feeder.phases import LINE_TO_CENTROID

Real = NDArray[np.float64]
Label = tuple[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class FlowEnds:
    """Where flows enter branches: at the end nearer to the source.

    Attributes:
        labels: (branch, phase) of each flow, in the order of ``LinearNetwork.flows_p``.
        buses: bus at which it enters. kv_neutral: (nf,) nominal voltage there to neutral.
    """

    labels: tuple[Label, ...]
    buses: tuple[Bus, ...]
    kv_neutral: Real

    def flows(self, p_mw: Real, q_mvar: Real, v_pu: Real) -> BranchFlows:
        """Flows from the power of each phase and the magnitude of the voltage that it enters at.

        The current is |P + jQ| / V.

        Args:
            p_mw, q_mvar: (nf,). v_pu: (nf,) to neutral, or to the centroid on a three-wire bus.
        """
        kv = np.maximum(v_pu, 1e-9) * self.kv_neutral
        return BranchFlows(self.labels, KILO * p_mw, KILO * q_mvar, KILO * np.hypot(p_mw, q_mvar) / kv)

    def squares(self, voltages: tuple[Label, ...]) -> tuple[sp.csr_array[np.float64], Real]:
        """The squared voltages that flows enter at, affine in those that have limits.

        On a three-wire bus they follow from the three line-to-line voltages; where it has two phases only, the voltage
        between these stands for them.

        Args:
            voltages: (bus, leg or phase) of the voltages that have limits.

        Returns:
            (nf, nv) matrix and (nf,) constant.
        """
        place = {label: k for k, label in enumerate(voltages)}
        rows: list[int] = []
        columns: list[int] = []
        values: list[float] = []
        constant = np.zeros(len(self.labels))
        for k, ((_, phase), bus) in enumerate(zip(self.labels, self.buses, strict=True)):
            legs = [leg for leg in LEGS if (bus.name, leg) in place]
            if (bus.name, phase) in place:
                found = {phase: 1.0}
            elif len(legs) == len(LEGS):
                found = dict(zip(LEGS, LINE_TO_CENTROID[PLACE[phase]].tolist(), strict=True))
            else:
                found = {leg: 1.0 for leg in legs if phase in leg}
                found = {leg: 1.0 / len(found) for leg in found}
            constant[k] = 0.0 if found else 1.0
            rows += [k] * len(found)
            columns += [place[bus.name, member] for member in found]
            values += found.values()
        entries = (values, (rows, columns))
        return sp.csr_array(sp.coo_array(entries, shape=(len(self.labels), len(voltages)))), constant


@dataclass(frozen=True, slots=True, eq=False)
class BranchFlows:
    """What enters each branch at its end nearer to the source, by phase.

    Attributes:
        labels: (branch, phase), (nf,).
        p_kw, q_kvar: (nf,) power into the branch; negative where it flows towards the source.
        current_a: (nf,) magnitude of the current.
    """

    labels: tuple[Label, ...]
    p_kw: Real
    q_kvar: Real
    current_a: Real

    def loading_pct(self, phase_kva: Real) -> Real:
        """(nf,) apparent power, percent of what each phase may carry, kVA; nan where nobody says."""
        return np.asarray(100 * np.hypot(self.p_kw, self.q_kvar) / phase_kva)


@lru_cache(maxsize=FEEDERS_KEPT)
def flow_ends(feeder: Feeder) -> FlowEnds:
    """Where flows enter the branches of a feeder (found once per feeder).

    Raises:
        InputError: the feeder does not pass its check.
    """
    if isinstance(feeder, CircuitFeeder):
        w = feeder.wiring
        return _at(w.flows, tuple(feeder.buses[row] for row in w.flow_bus))
    s = structure_of(feeder)
    upper = {name: s.buses[above] for name, above in zip(s.branches[1:], s.parent[1:], strict=True)}
    labels = branch_labels(s)
    return _at(labels, tuple(upper[name] for name, _ in labels))


def _at(labels: tuple[Label, ...], buses: tuple[Bus, ...]) -> FlowEnds:
    return FlowEnds(labels, buses, np.array([bus.kv_neutral for bus in buses]))
