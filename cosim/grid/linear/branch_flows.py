"""Flows through all branches, of a linear network and of the AC power flow that it stands for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cosim.grid.feeder.flows import BranchFlows, FlowEnds, flow_ends
from cosim.grid.linear.ac_tangent import entering_now
from cosim.grid.linear.network import Affine, LinearNetwork
from cosim.grid.opendss.circuit import AcCircuit

Real = NDArray[np.float64]


class LinearFlows:
    """Flows of the linear networks of one feeder.

    Args:
        ends: where flows enter its branches.
        network: any of its networks; all others have the same voltages.
    """

    def __init__(self, ends: FlowEnds, network: LinearNetwork) -> None:
        self.ends = ends
        self._square: sp.csr_array[np.float64]
        self._square, self._rest = ends.squares(network.voltages.labels)

    def at(self, network: LinearNetwork, states: Real) -> BranchFlows:
        """Flows at the states of a network."""
        return self.together([network], [states])[1][0]

    def together(
        self, networks: Sequence[LinearNetwork], states: Sequence[Real]
    ) -> tuple[list[Real], list[BranchFlows]]:
        """Squared voltages that have limits, and flows, at the states of some networks."""
        voltages, p, q = (
            _outputs([getattr(network, name) for network in networks], states)
            for name in ("voltages", "flows_p", "flows_q")
        )
        v = np.sqrt(np.maximum((self._square @ voltages.T).T + self._rest, 0.0))
        return list(voltages), [self.ends.flows(*each) for each in zip(p, q, v, strict=True)]


def _outputs(some: Sequence[Affine], states: Sequence[Real]) -> Real:
    """(networks, k) an output of some networks at their states."""
    if any(output.rows is not some[0].rows for output in some):
        return np.array([output.at(y) for output, y in zip(some, states, strict=True)])
    return np.asarray((some[0].rows @ np.array(states).T).T + np.array([output.constant for output in some]))


def ac_flows(circuit: AcCircuit) -> BranchFlows:
    """Flows in the last solution of a circuit, by its own voltages and the admittance of its branches."""
    v, current = entering_now(circuit)
    ends = flow_ends(circuit.feeder)
    mine = slice(len(ends.labels))
    power = v[mine] * np.conj(current[mine])
    return ends.flows(power.real, power.imag, np.abs(v[mine]))
