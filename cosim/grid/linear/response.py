"""How strongly voltage answers to demand, at most: the yardstick for what a broken voltage limit costs."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import dijkstra

from cosim.grid.feeder.arrays import Structure, branch_labels, structure_of
from cosim.grid.feeder.circuit import CircuitFeeder, Wiring
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.linear import ac_tangent, lindist3flow
from cosim.grid.linear.circuit_pattern import circuit_pattern
from cosim.grid.linear.network import LinearNetwork
from cosim.grid.opendss.circuit import AcCircuit

Real = NDArray[np.float64]
Index = NDArray[np.intp]
ALL_NODES = 1000
"""Up to so many nodes every one is tried."""
CANDIDATES = 48
"""How many buses are tried on larger feeders."""


def strongest_response(feeder: Feeder) -> float:
    """Largest change of a squared voltage (pu^2) by one MW of demand at any node, of the unloaded feeder (of an OpenDSS
    circuit itself, and where LinDist3Flow does not say the feeder: at its base case).

    On a radial feeder it is the bus farthest from the source, by the impedance on the way, that moves most, and by
    demand of its own. On feeders of more than ``ALL_NODES`` nodes only the farthest ``CANDIDATES`` buses are tried,
    and whatever moves more than they do by the same demand, or by whose demand their voltage moves more, until nothing
    does.
    """
    if lindist3flow.is_sayable(feeder):
        network = lindist3flow.build(feeder, losses=False)
    else:
        network = ac_tangent.build(AcCircuit(feeder))
    if len(network.nodes) <= ALL_NODES:
        return max(float(_by_demand(network, part).max()) for part in _parts(len(network.nodes)))
    if isinstance(feeder, CircuitFeeder):
        n = circuit_pattern(feeder)
        first = np.concatenate([np.zeros(n.legs_from, dtype=np.intp), n.leg_first])
        first[n.draw_columns] = n.draw_node
        return _climb(network, np.argsort(-_impedance_of_nodes(feeder.wiring)[first], kind="stable")[:CANDIDATES])
    s = structure_of(feeder)
    farthest = np.argsort(-impedance_from_source(s))[:CANDIDATES]
    nodes = s.node[farthest]
    return _climb(network, nodes[nodes >= 0])


def flow_branches(feeder: Feeder) -> list[str]:
    """Names of the branches that flows enter, sorted."""
    if isinstance(feeder, CircuitFeeder):
        return sorted({name for name, _ in feeder.wiring.flows})
    return sorted({name for name, _ in branch_labels(structure_of(feeder))})


def _impedance_of_nodes(w: Wiring) -> Real:
    """(nn,) impedance on the easiest way from the source to each node, per unit; nought where there is none."""
    way = sp.csr_array(w.admittance - sp.diags_array(w.admittance.diagonal()))
    way.eliminate_zeros()
    resistance = sp.csr_array((1 / np.abs(way.data), way.indices, way.indptr), shape=way.shape)
    found = dijkstra(resistance, directed=False, indices=w.source_nodes, min_only=True)
    return np.where(np.isfinite(found), found, 0.0)


def impedance_from_source(s: Structure) -> Real:
    """(n,) impedance between the source and each bus, per unit: largest of the phases, at the bus's own voltage."""
    own = np.abs(np.diagonal(s.impedance, axis1=1, axis2=2)).max(axis=1)
    ratio = np.abs(s.coupling).max(axis=(1, 2)) ** 2
    total = np.zeros(len(own))
    for level in s.levels[1:]:
        total[level] = ratio[level] * total[s.parent[level]] + own[level]
    return total


def _parts(count: int) -> list[Index]:
    """Indices up to ``count`` in parts whose responses fit into memory."""
    return np.array_split(np.arange(count), 1 + count // CANDIDATES)


def _climb(network: LinearNetwork, nodes: Index) -> float:
    """Largest response to demand at these nodes, or at any to which one leads: best row of the best column in turn."""
    response = _by_demand(network, nodes)
    best, row = float(response.max()), int(response.max(axis=1).argmax())
    while True:
        weights = network.voltages.rows[[row]].T.toarray()
        column = int(np.abs(network.adjoint(weights)[0]).argmax())
        response = _by_demand(network, np.array([column]))
        if float(response.max()) <= best * (1 + 1e-12):
            return best
        best, row = float(response.max()), int(response.max(axis=1).argmax())


def _by_demand(network: LinearNetwork, nodes: Index) -> Real:
    """(voltages, nodes) magnitude of the change of each squared voltage by demand at these nodes."""
    columns = sp.csc_array(
        (np.ones(len(nodes)), (nodes, np.arange(len(nodes)))), shape=(len(network.nodes), len(nodes))
    )
    none = sp.csc_array(columns.shape)
    return np.abs(network.response(network.voltages, columns, none))
