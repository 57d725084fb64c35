"""Distribution locational marginal prices of a cleared step, at every bus and phase, and their parts.

The price at a node is the derivative of the step's cost with respect to demand there. The network's equations give
every state as a function of the demand, so one adjoint solve turns the duals of what depends on the states
(import, voltage limits, branch ratings, unbalance) into prices at all nodes:

    price = sum over parts of  (d state / d demand)' (rows of the part)' (duals of the part)

The import's own dual is the energy part at every node; what the network adds to it (losses, and the response of
voltage-dependent load) is the loss part. The parts therefore add up to the whole by construction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cosim.agents.dso.clearing import FLOW_POLYGON_SIDES
from cosim.grid.linear import LinearNetwork
from cosim.grid.phases import Terminal, terminal_map

Vector = NDArray[np.float64]
PARTS = ("energy", "loss", "voltage", "congestion", "unbalance")


@dataclass(frozen=True, slots=True)
class NodePrices:
    """Prices of one step by part.

    Attributes:
        active: part -> (nodes,) USD/MWh; reactive: part -> (nodes,) USD/Mvarh.
        nodes: (bus, phase) of each entry.
    """

    nodes: tuple[tuple[str, str], ...]
    active: Mapping[str, Vector]
    reactive: Mapping[str, Vector]

    def total(self) -> tuple[Vector, Vector]:
        """Active (USD/MWh) and reactive (USD/Mvarh) price at each node: the sum of the parts."""
        return sum(self.active.values(), np.zeros(len(self.nodes))), sum(
            self.reactive.values(), np.zeros(len(self.nodes))
        )

    def at_terminal(self, terminal: Terminal) -> tuple[dict[str, float], dict[str, float]]:
        """Parts of the price of a terminal's P and Q: the chain rule through its terminal map."""
        t = terminal_map(terminal, self.nodes)
        active = {k: float(t.pp @ self.active[k] + t.qp @ self.reactive[k]) for k in PARTS}
        reactive = {k: float(t.pq @ self.active[k] + t.qq @ self.reactive[k]) for k in PARTS}
        return active, reactive


def node_prices(network: LinearNetwork, duals: Mapping[str, float], hours: float) -> NodePrices:
    """Prices and parts at every node.

    Args:
        network: the linearised network that the step was cleared with.
        duals: dual of each row of the clearing by name (absent: zero), in the sign convention of ParametricQP.
        hours: length of the step.
    """
    energy_p, energy_q = (
        -duals.get("import_p_equation", 0.0) / hours,
        -duals.get("import_q_equation", 0.0) / hours,
    )
    weights = np.zeros((len(network.states), 4))
    weights[:, 0] = network.import_p.rows.T @ [energy_p] + network.import_q.rows.T @ [energy_q]
    high = _family(duals, "v_high[{}]:up", len(network.voltages.labels))
    low = _family(duals, "v_low[{}]:up", len(network.voltages.labels))
    weights[:, 1] = network.voltages.rows.T @ (high - low) / hours
    by_p, by_q = _congestion(duals, len(network.flows_p.labels))
    weights[:, 2] = (network.flows_p.rows.T @ by_p + network.flows_q.rows.T @ by_q) / hours
    weights[:, 3] = network.unbalance.rows.T @ -_family(
        duals, "unbalance_equation[{}]", len(network.unbalance.labels)
    )
    weights[:, 3] /= hours
    by_demand_p, by_demand_q = network.adjoint(weights)
    ones = np.ones(len(network.nodes))
    return NodePrices(
        nodes=network.nodes,
        active=_parts(by_demand_p, energy_p * ones),
        reactive=_parts(by_demand_q, energy_q * ones),
    )


def _parts(by_demand: Vector, energy: Vector) -> dict[str, Vector]:
    return {
        "energy": energy,
        "loss": by_demand[:, 0] - energy,
        "voltage": by_demand[:, 1],
        "congestion": by_demand[:, 2],
        "unbalance": by_demand[:, 3],
    }


def _family(duals: Mapping[str, float], name: str, count: int) -> Vector:
    return np.array([duals.get(name.format(i), 0.0) for i in range(count)])


def _congestion(duals: Mapping[str, float], count: int) -> tuple[Vector, Vector]:
    """Duals of the rating polygons, projected on P and Q of each branch-phase."""
    by_p, by_q = np.zeros(count), np.zeros(count)
    angles = np.pi * (2 * np.arange(FLOW_POLYGON_SIDES) + 1) / FLOW_POLYGON_SIDES
    for i in range(count):
        for k, angle in enumerate(angles):
            dual = duals.get(f"branch_limit[{i},{k}]:up", 0.0)
            by_p[i] += dual * np.cos(angle)
            by_q[i] += dual * np.sin(angle)
    return by_p, by_q
