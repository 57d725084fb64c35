"""Which linear power flow the operator clears with, and where it is linearised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cosim.grid import ac_linear, lindist3flow
from cosim.grid.feeder import Feeder
from cosim.grid.lindist3flow import OperatingPoint
from cosim.grid.linear import LinearNetwork
from cosim.grid.opendss import AcCircuit
from cosim.grid.phases import Terminal, terminal_map
from cosim.scenario import NetworkSpec

LINEARISATION_TOLERANCE = 1e-8
KILO = 1000.0


class Linearisation:
    """The network model of a scenario.

    Args:
        feeder: the feeder.
        spec: which model, and whether with losses (the AC tangent always has them).
    """

    def __init__(self, feeder: Feeder, spec: NetworkSpec) -> None:
        self._feeder, self.losses = feeder, spec.losses
        self._circuit = AcCircuit(feeder) if spec.model == "ac-linear" else None
        self._judge = self._circuit or (AcCircuit(feeder) if spec.ac_rounds else None)
        self._limits = spec.v_min_pu, spec.v_max_pu

    def worst_violation_pu(
        self, load_scale: float, injections: Sequence[tuple[Terminal, float, float]]
    ) -> float:
        """By how much the worst AC voltage is beyond its limit; 0 if none is, infinite if there is no solution.

        Args:
            load_scale, injections: see :meth:`at`.
        """
        if self._judge is None:
            raise RuntimeError("nobody asked for limits that hold in AC power flow")
        found = self._judge.solve(load_scale, [(terminal, KILO * p, KILO * q) for terminal, p, q in injections])
        if not found.converged:
            return np.inf
        volts = np.array(list(found.voltages.values()))
        low, high = self._limits
        return max(0.0, float((low - volts).max()), float((volts - high).max()))

    def first(self, load_scale: float) -> LinearNetwork:
        """A network to compile a clearing with: every other has its structure."""
        if self._circuit is None:
            return lindist3flow.build(self._feeder, losses=self.losses)
        return ac_linear.build(self._circuit, load_scale)

    def at(
        self,
        load_scale: float,
        injections: Sequence[tuple[Terminal, float, float]],
        start: OperatingPoint | None = None,
    ) -> LinearNetwork:
        """The network at an operating point.

        Args:
            load_scale: factor on the base loads.
            injections: (terminal, MW, Mvar) of everything controllable, demand positive.
            start: states of an earlier network of the same model near the point.

        Raises:
            RunFailure: the power flow has no solution there.
        """
        if self._circuit is not None:
            in_kw = [(terminal, KILO * p, KILO * q) for terminal, p, q in injections]
            return ac_linear.build(self._circuit, load_scale, in_kw)
        if not self.losses:
            return lindist3flow.build(self._feeder, load_scale, losses=False)
        nodes = lindist3flow.nodes_of(self._feeder)
        p, q = np.zeros((2, len(nodes)))
        for terminal, p_t, q_t in injections:
            m = terminal_map(terminal, nodes)
            p += m.pp * p_t + m.pq * q_t
            q += m.qp * p_t + m.qq * q_t
        return lindist3flow.fixed_point(self._feeder, load_scale, p, q, LINEARISATION_TOLERANCE, start)
