"""What the operator's books say of a committed step: who drew and gave what, what it cost them, and prices anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cosim.agents.dso.clearing import ClearingModel
from cosim.agents.dso.prices import NodePrices
from cosim.agents.dso.resources.resource import Resource
from cosim.agents.dso.window import StepResult
from cosim.grid.feeder.phases import Terminal, terminal_map
from cosim.protocol.roles import Position, PriceList

Real = NDArray[np.float64]
IMPORT = ("p_sub", "q_sub")
"""Variables of the import; what else the market decides are broken limits and unbalance, which are the operator's."""


class TerminalPrices:
    """Prices of terminals' P and Q from those at nodes, by the chain rule through the terminal maps.

    Args:
        terminals: where the network has no node, the price is that of energy at the source.
        nodes: (bus, phase) of the prices.
    """

    def __init__(self, terminals: Sequence[Terminal], nodes: Sequence[tuple[str, str]]) -> None:
        by_bus: dict[str, list[int]] = {}
        for n, (bus, _) in enumerate(nodes):
            by_bus.setdefault(bus, []).append(n)
        entries: list[tuple[int, int, float, float, float, float]] = []
        self._unknown = np.zeros(len(terminals), dtype=bool)
        for k, terminal in enumerate(terminals):
            here = by_bus.get(terminal.bus, [])
            phases = {nodes[n][1] for n in here}
            if not set(terminal.phases) <= phases and not {x for m in terminal.phases for x in m} <= phases:
                self._unknown[k] = True
                continue
            share = terminal_map(terminal, [nodes[n] for n in here])
            entries += [(k, n, *x) for n, *x in zip(here, share.pp, share.qp, share.pq, share.qq, strict=True)]
        row, column, *values = np.array(entries).reshape(-1, 6).T
        place = (row.astype(np.intp), column.astype(np.intp))
        shape = (len(terminals), len(nodes))
        self._pp, self._qp, self._pq, self._qq = (sp.csr_array((v, place), shape=shape) for v in values)

    def of(self, some: Sequence[NodePrices]) -> list[PriceList]:
        """USD/MWh and USD/Mvarh at the terminals in some steps."""
        totals = [prices.total() for prices in some]
        p, q = (np.array(part).T for part in zip(*totals, strict=True))
        active, reactive = self._pp @ p + self._qp @ q, self._pq @ p + self._qq @ q
        for at, parts in ((active, [x.active for x in some]), (reactive, [x.reactive for x in some])):
            at[self._unknown] = [part["energy"][0] for part in parts]
        return [PriceList(*both) for both in zip(active.T, reactive.T, strict=True)]


@dataclass(frozen=True, slots=True)
class StepAccounts:
    """See :class:`cosim.protocol.roles.StepAccounts`."""

    units: tuple[Position, ...]
    source: Position
    operator_cost_usd: float
    _prices: NodePrices
    _book: AccountBook

    def prices_at(self, terminals: tuple[Terminal, ...]) -> PriceList:
        """DLMPs of the step at some terminals."""
        return self._book.prices_at(terminals, self._prices)


class AccountBook:
    """Makes the accounts of committed steps.

    Args:
        model: the clearing, with its resources.
        hours: length of a step.
    """

    def __init__(self, model: ClearingModel, hours: float) -> None:
        self._model, self._hours = model, hours
        self._maps: list[tuple[tuple[Terminal, ...], tuple[tuple[str, str], ...], TerminalPrices]] = []
        self._ports = {
            r.name: [i for i, port in enumerate(model.ports) if port.owner == r.name] for r in model.resources
        }
        self._terminals = tuple(port.terminal for port in model.ports)
        self._expected: list[NodePrices] = []
        self._found: list[tuple[tuple[Terminal, ...], list[PriceList]]] = []

    def expect(self, results: Sequence[StepResult]) -> None:
        """Be told of the steps whose prices will be asked for: those at some terminals are worked out together."""
        self._expected, self._found = [x.prices for x in results], []
        if len({x.nodes for x in self._expected}) > 1:
            self._expected = []

    def prices_at(self, terminals: tuple[Terminal, ...], prices: NodePrices) -> PriceList:
        """Prices at some terminals, from those at all nodes."""
        step = next((k for k, x in enumerate(self._expected) if x is prices), None)
        if step is None:
            return self._at(terminals, prices.nodes).of([prices])[0]
        for known, found in self._found:
            if known is terminals:
                return found[step]
        self._found.append((terminals, self._at(terminals, prices.nodes).of(self._expected)))
        return self._found[-1][1][step]

    def _at(self, terminals: tuple[Terminal, ...], nodes: tuple[tuple[str, str], ...]) -> TerminalPrices:
        for known, at, found in self._maps:  # few, and to compare what is the same costs less than to hash it
            if known == terminals and at == nodes:
                return found
        self._maps.append((terminals, nodes, TerminalPrices(terminals, nodes)))
        return self._maps[-1][2]

    def of(self, result: StepResult) -> StepAccounts:
        """The accounts of a step.

        A resource injects through its ports and bears what its own variables cost. The import is bought at the
        slope of its cost, which a source that sells along its supply curve asks for; the area under that curve is the
        source's own cost. What broken limits and unbalance cost is borne by the operator.
        """
        price = self.prices_at(self._terminals, result.prices)
        power = np.array(self._model.powers(result.x)).reshape(-1, 2)
        units = tuple(
            self._position(r, power[self._ports[r.name]], price.at(self._ports[r.name]), result)
            for r in self._model.resources
        )
        market = self._model.owned_by("")
        costs, values = result.costs.usd, result.costs.marginal_usd
        imported = [market[name] for name in IMPORT if name in market]
        p_sub, q_sub = result.values["p_sub"], result.values["q_sub"]
        asked = [float(values[market[name]]) if name in market else 0.0 for name in IMPORT]
        marginal = [usd / (self._hours * x) if x else 0.0 for usd, x in zip(asked, (p_sub, q_sub), strict=True)]
        source = Position(
            "import", "source", "", np.array([-p_sub]), np.array([-q_sub]),
            PriceList(np.array(marginal[:1]), np.array(marginal[1:])), float(costs[imported].sum()),
        )  # fmt: skip
        others = [place for place in market.values() if place not in imported]
        own = float(costs[others].sum()) + result.costs.constants_usd.get("", 0.0)
        return StepAccounts(units, source, own, result.prices, self)

    def _position(self, resource: Resource, generated: Real, price: PriceList, result: StepResult) -> Position:
        own = list(self._model.owned_by(resource.name).values())
        cost = float(result.costs.usd[own].sum()) + result.costs.constants_usd.get(resource.name, 0.0)
        p_mw, q_mvar = -generated.T
        owner = getattr(resource, "owner", resource.name)  # a kind of a user's own may set its names itself
        return Position(resource.name, resource.kind, owner, p_mw, q_mvar, price, cost)
