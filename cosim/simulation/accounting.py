"""The books of a run by party: gathers from agents and power flow what the accounts of each step are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cosim.coordination.accounts import CUSTOMERS, FIXED, UPSTREAM, accounts_of, entry_of, rows_of
from cosim.coordination.base import Link, Market
from cosim.coordination.operators import Index, Seat
from cosim.grid.linear.drawn import OwnDraw
from cosim.grid.opendss.circuit import AcCircuit
from cosim.protocol.roles import Clearing, Position, PriceList, StepAccounts, TerminalLoad
from cosim.results.columns import Columns
from cosim.scenario.preparation import Prepared

_NOTHING = 1e-9
_NONE = np.zeros(0)


@dataclass(frozen=True, slots=True)
class _Taken:
    """What all units draw and give on a feeder in a step, and what it costs the operator itself."""

    t: int
    seat: Seat
    positions: list[Position]
    operator_cost_usd: float

    @property
    def units(self) -> object:
        """Equal for steps of one feeder in which the same units stand in the same order."""
        listed = tuple((p.unit, p.kind, p.owner, len(p.p_mw), p.held is None) for p in self.positions)
        return self.seat.feeder, listed


class Accounting:
    """Accounts of every party, feeder by feeder and step by step.

    Data centers pay what was settled with them, resources of the operator are paid the DLMP within the market's floor
    and cap, and so pay other customers, for what AC power flow says that they draw, unless they have a tariff.

    Attributes:
        unknown: operators that keep no such books; their feeders have no accounts.
        terminals: feeder, data center and phases of each terminal, as tables name them.

    Args:
        market: the agents; terminals: of the data centers, in the order of the columns.
        prepared: the scenario with its series.
    """

    def __init__(self, market: Market, terminals: tuple[TerminalLoad, ...], prepared: Prepared) -> None:
        self._market, self._prepared = market, prepared
        self._feeders = {f.name: (f, OwnDraw(f.feeder)) for f in prepared.feeders}
        sites = [d.name for d in prepared.scenario.datacenters]
        self._site = [_site_of(terminal, sites) for terminal in terminals]
        phases = [t.terminal.phases[0] if len(t.terminal.phases) == 1 else "abc" for t in terminals]
        self.terminals = list(zip([t.feeder for t in terminals], self._site, phases, strict=True))
        self._taken: list[_Taken] = []
        self._open: dict[str, tuple[StepAccounts, list[Position]]] = {}
        self._links = {
            seat.feeder: [(link, self._columns_of(link)) for link in market.links if link.seat is seat]
            for seat in market.operator.seats
        }
        self._first = {link.aggregator.name: link for link in reversed(market.links)}
        self.unknown: set[str] = set()

    def feeder(self, t: int, seat: Seat, accounts: StepAccounts | None, circuit: AcCircuit, solved: bool) -> None:
        """Take what a feeder delivers in a step, whose AC solution the circuit holds."""
        if accounts is None:
            self.unknown.add(seat.operator.name)
            return
        prepared, draws = self._feeders[seat.feeder]
        drawn, given = draws.at(circuit, float(prepared.load_scale[t]), solved)
        price, others = accounts.prices_at(draws.terminals), []
        for owner, kind, power in ((CUSTOMERS, "customers", drawn), (FIXED, "fixed_generation", given)):
            if power.any() or owner == CUSTOMERS:
                others.append(Position(kind, kind, owner, power.real, power.imag, price))
        self._open[seat.feeder] = accounts, others

    def step(
        self, t: int, local: int, clearing: Clearing, own_costs_usd: Mapping[str, float], held: Clearing | None = None
    ) -> None:
        """Take what agents booked of a step whose feeders have been taken.

        Args:
            local: the step in its window; clearing: of the window, at the prices that are charged.
            own_costs_usd: of each aggregator in the step.
            held: (1, terminals) what was agreed on day ahead, where there are two settlements.
        """
        for seat in self._market.operator.seats:
            if seat.feeder not in self._open:
                continue
            accounts, others = self._open.pop(seat.feeder)
            positions = [*self._aggregated(seat, local, clearing, own_costs_usd, held)]
            positions += [self._limited(unit) for unit in accounts.units]
            positions += [self._customers(t, other) for other in others]
            positions.append(replace(accounts.source, owner=UPSTREAM))
            self._taken.append(_Taken(t, seat, positions, accounts.operator_cost_usd))

    def rows(self) -> Iterator[Columns]:
        """Rows of the accounts of the steps that were taken since it was asked last: of steps in which the same units
        draw and give together."""
        alike: dict[object, list[_Taken]] = {}
        for taken in self._taken:
            alike.setdefault(taken.units, []).append(taken)
        self._taken = []
        for some in alike.values():
            seat, costs = some[0].seat, np.array([x.operator_cost_usd for x in some])
            entries = [
                entry_of(self._market, position) for position in zip(*(x.positions for x in some), strict=True)
            ]
            yield rows_of([x.t for x in some], seat.feeder, accounts_of(seat.operator.name, entries, costs))

    def _aggregated(
        self, seat: Seat, local: int, clearing: Clearing, own_costs_usd: Mapping[str, float], held: Clearing | None
    ) -> Iterator[Position]:
        """Data centers on a feeder, and what its first operator books of an aggregator's cost that is of no site."""
        for link, mine in self._links[seat.feeder]:
            name = link.aggregator.name
            costs: Mapping[str, float] = getattr(link.aggregator, "site_costs_usd", {})
            besides: Mapping[tuple[str, str], float] = getattr(link.aggregator, "unit_costs_usd", {})
            for site, columns in mine.items():
                drawn = self._drawn(site, name, clearing, local, columns)
                before = None if held is None else self._drawn(site, name, held, 0, columns)
                yield replace(drawn, own_cost_usd=costs.get(site, 0.0), held=before)
                for (of, unit), usd in besides.items():  # behind the site's meter: they draw and give nothing
                    if of == site:
                        yield Position(f"{site}.{unit}", unit, name, _NONE, _NONE, PriceList(_NONE, _NONE), usd)
            rest = own_costs_usd[name] - sum(costs.values()) - sum(besides.values())
            if abs(rest) > _NOTHING * max(1.0, abs(own_costs_usd[name])) and self._first[name] is link:
                yield Position(name, "aggregator", name, _NONE, _NONE, PriceList(_NONE, _NONE), rest)

    def _columns_of(self, link: Link) -> dict[str, Index]:
        """Columns of the terminals of each of a link's data centers."""
        sites = np.array([self._site[column] for column in link.columns.tolist()])
        return {site: link.columns[sites == site] for site in dict.fromkeys(sites.tolist())}

    def _drawn(self, site: str, owner: str, clearing: Clearing, local: int, columns: Index) -> Position:
        """What a data center draws in a step of a clearing, at the prices there."""
        p_mw, prices = clearing.p_mw[local, columns], clearing.prices
        price = PriceList(prices.p_usd_per_mwh[local, columns], prices.q_usd_per_mvarh[local, columns])
        return Position(site, "datacenter", owner, p_mw, p_mw * self._market.operator.reactive_ratio[columns], price)

    def _limited(self, unit: Position) -> Position:
        """A unit at the price that the market's floor and cap leave of the DLMP."""
        price = unit.price.p_usd_per_mwh
        limited = self._market.limited(price)
        return unit if limited is price else replace(unit, price=replace(unit.price, p_usd_per_mwh=limited))

    def _customers(self, t: int, other: Position) -> Position:
        """Other customers at their tariff, if they have one; else they, and fixed generation, as units are."""
        tariff = self._prepared.customer_tariff_usd_per_mwh
        if tariff is None or other.owner != CUSTOMERS:
            return self._limited(other)
        return replace(other, price=PriceList(np.full(len(other.p_mw), tariff[t]), np.zeros(len(other.p_mw))))


def _site_of(terminal: TerminalLoad, sites: Sequence[str]) -> str:
    """The data center that a terminal is of: it bears its name, perhaps with its phase."""
    named = (terminal.name, terminal.name.removesuffix(f".{terminal.terminal.phases[0]}"))
    return next((name for name in named if name in sites), terminal.name)
