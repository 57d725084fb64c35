"""Flows through all branches, of a linear network and of the AC power flow that it stands for."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cosim.grid.feeder.flows import BranchFlows, FlowEnds, flow_ends
from cosim.grid.linear.ac_tangent import entering_now
from cosim.grid.linear.network import LinearNetwork
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
        square = self._square @ network.voltages.at(states) + self._rest
        v = np.sqrt(np.maximum(square, 0.0))
        return self.ends.flows(network.flows_p.at(states), network.flows_q.at(states), v)


def ac_flows(circuit: AcCircuit) -> BranchFlows:
    """Flows in the last solution of a circuit, by its own voltages and the admittance of its branches."""
    v, current = entering_now(circuit)
    ends = flow_ends(circuit.feeder)
    mine = slice(len(ends.labels))
    power = v[mine] * np.conj(current[mine])
    return ends.flows(power.real, power.imag, np.abs(v[mine]))
