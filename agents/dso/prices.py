"""Distribution locational marginal prices of a cleared step, at every bus and phase, and their parts.

The price at a node is the derivative of the step's cost with respect to demand there. The network's equations give
every state as a function of the demand, so one adjoint solve turns the duals of what depends on the states
(import, voltage limits, branch ratings, unbalance) into prices at all nodes:

    price = sum over parts of  (d state / d demand)' (rows of the part)' (duals of the part)

The import's own dual is the energy part at every node; what the network adds to it (losses, and the response of
voltage-dependent load) is the loss part. The parts therefore add up to the whole by construction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cosim.agents.dso.clearing import ClearingModel
from cosim.agents.dso.network_rows import PARTS as ROW_PARTS
from cosim.constants import PRICE_PARTS
from cosim.grid.feeder.phases import Terminal, terminal_map
from cosim.grid.linear.network import LinearNetwork, adjoints_together

Vector = NDArray[np.float64]


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

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts that there are, in order."""
        return tuple(k for k in PRICE_PARTS if k in self.active)

    def total(self) -> tuple[Vector, Vector]:
        """Active (USD/MWh) and reactive (USD/Mvarh) price at each node: the sum of the parts."""
        return sum(self.active.values(), np.zeros(len(self.nodes))), sum(
            self.reactive.values(), np.zeros(len(self.nodes))
        )

    def at_terminal(self, terminal: Terminal) -> tuple[dict[str, float], dict[str, float]]:
        """Parts of the price of a terminal's P and Q: the chain rule through its terminal map."""
        t = terminal_map(terminal, self.nodes)
        active = {k: float(t.pp @ self.active[k] + t.qp @ self.reactive[k]) for k in self.parts}
        reactive = {k: float(t.pq @ self.active[k] + t.qq @ self.reactive[k]) for k in self.parts}
        return active, reactive


def node_prices(
    model: ClearingModel, network: LinearNetwork, equalities: Vector, inequalities: Vector, hours: float
) -> NodePrices:
    """Prices and parts at every node in one step; see :func:`prices_of_steps`."""
    return prices_of_steps(model, [network], [(equalities, inequalities)], hours)[0]


def prices_of_steps(
    model: ClearingModel, networks: Sequence[LinearNetwork], duals: Sequence[tuple[Vector, Vector]], hours: float
) -> list[NodePrices]:
    """Prices and parts at every node in some steps.

    Args:
        model: the clearing, whose network rows the duals belong to.
        networks: the linearised network that each step was cleared with.
        duals: of ``model.equalities`` and ``model.inequalities`` in each step, in the sign convention of ParametricQP.
        hours: length of a step.
    """
    on_outputs = np.zeros((model.outputs.count, len(networks), len(ROW_PARTS)))
    for rows, of_steps in zip((model.equalities, model.inequalities), zip(*duals, strict=True), strict=True):
        by_part = np.zeros((len(rows.part), len(networks), len(ROW_PARTS)))
        by_part[np.arange(len(rows.part)), :, rows.part] = np.array(of_steps).T
        on_outputs += (rows.outputs.T @ by_part.reshape(len(by_part), -1)).reshape(on_outputs.shape)
    on_outputs /= hours
    weights = model.outputs.back(networks, on_outputs)
    energy = on_outputs[:2, :, 0]
    return [
        NodePrices(
            nodes=network.nodes,
            active=_parts(by_demand_p, np.full(len(network.nodes), energy_p)),
            reactive=_parts(by_demand_q, np.full(len(network.nodes), energy_q)),
        )
        for network, (by_demand_p, by_demand_q), energy_p, energy_q in zip(
            networks, adjoints_together(networks, weights), *energy, strict=True
        )
    ]


def _parts(by_demand: Vector, energy: Vector) -> dict[str, Vector]:
    return {
        "energy": energy,
        "loss": by_demand[:, 0] - energy,
        "voltage": by_demand[:, 1],
        "congestion": by_demand[:, 2],
        "unbalance": by_demand[:, 3],
    }
