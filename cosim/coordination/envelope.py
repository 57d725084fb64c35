"""Hourly limits: the operators say how much may be drawn, the aggregators schedule inside, the operators clear."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from cosim.constants import KILO
from cosim.coordination.base import Market, Outcome, Process
from cosim.coordination.operators import Seat
from cosim.coordination.rounds import Posting, Table
from cosim.coordination.rules import Posted
from cosim.coordination.rules.tariff import tariff_prices
from cosim.coordination.sharing import find_sharing
from cosim.errors import InputError, listed
from cosim.protocol.desk import Standing
from cosim.protocol.envelopes import Envelope as Limits
from cosim.protocol.envelopes import SharingRule
from cosim.protocol.roles import Array, Clearing, Prices
from cosim.results.columns import Columns
from cosim.scenario.calendar import Window
from cosim.scenario.schema import Scenario

ROUND = 1
"""There is one round, repeated until all bids are there."""
_NEEDED = {"operator": ("envelope", "follow"), "aggregator": ("limit",)}
_LISTED = 6


class Envelope:
    """Limits and prices are posted once, aggregators answer with the demand that they will draw, and pay what was
    posted.

    Limits are such that every demand from nothing to the limits keeps the limits of the network. They are worked out
    at what the operator forecasts: base load, its own dispatch for the demand that was declared. An aggregator that a
    limit does not reach keeps to the firm part of its agreement.
    """

    decides_alone, posts, limits = False, True, True

    def __init__(self) -> None:
        self._rule: SharingRule | None = None

    def check(self, scenario: Scenario) -> None:
        """Refuse a scenario without an agreement, or a rule that is not there."""
        if all(site.agreement is None for site in scenario.datacenters):
            raise InputError("mode envelope limits connections that are not firm, and there are none",
                             key="datacenters", allowed="an agreement of at least one data center")  # fmt: skip
        find_sharing(scenario)

    def admit(self, market: Market) -> None:
        """Refuse agents that cannot take part.

        Raises:
            InputError: an agent of a user's own lacks a method.
        """
        agents: list[tuple[str, str, object]] = [("operator", "operator.agent", o) for o in market.operators]
        agents += [("aggregator", f"aggregators.{a.name}.agent", a) for a in market.aggregators]
        for kind, key, agent in agents:
            lacks = [name for name in _NEEDED[kind] if not callable(getattr(agent, name, None))]
            if lacks:
                raise InputError(f"mode envelope needs an {kind} with {' and '.join(lacks)}", key=key,
                                 value=type(agent).__name__)  # fmt: skip

    def run(self, market: Market, window: Window, declared_p_mw: Array) -> Process:
        """Post limits and prices, take in the bids, and clear what is drawn."""
        began = time.perf_counter()
        env, round_s = market.env, market.scenario.clock.round_s
        rule = self._rule = self._rule or find_sharing(market.scenario)
        market.tell("envelopes")
        envelopes = market.operator.envelopes(declared_p_mw, rule)
        p_max_mw = market.operator.limits(envelopes)
        posted = Posted(self._prices(market, window, np.minimum(declared_p_mw, p_max_mw)))
        table, made, tried = Table(window.first), None, 0
        while made is None and env.now + round_s <= window.closes_s:
            part = Posting(market, window, ROUND, posted, True, table, p_max_mw)
            for mail in (yield from market.together(part.exchanged)):
                table.take(mail, ROUND)
            made, tried = table.complete(market, posted, ROUND), tried + 1
        if made is not None:
            market.award(window, ROUND, Clearing(made.p_mw, 0.0, posted.prices))
        standings = yield from market.standings()
        drawn = market.drawn_mw(np.hstack([standing.p_mw for standing in standings]))
        own = sum(standing.own_cost_usd for standing in standings)
        market.operator.follow(window, drawn)
        refined = market.operator.refine(drawn, own, last=True)
        clearing = market.operator.settle(drawn, None)
        clearing = market.charged(replace(clearing, prices=posted.prices))
        told = made is not None and all(standing.awarded for standing in standings)
        rows = [
            ("envelopes", columns)
            for seat, limits in zip(market.operator.seats, envelopes, strict=True)
            for columns in _rows(market, window, seat, limits, rule.name, declared_p_mw, drawn, standings)
        ]
        return Outcome(
            clearing=clearing,
            own_cost_usd=own,
            converged=told,
            solver_s=time.perf_counter() - began,
            notes=(
                *_notes(market, window, standings, tried if made is None else tried - 1, made is not None),
                *(s.named(note) for s, e in zip(market.operator.seats, envelopes, strict=True) for note in e.notes),
                *refined.notes,
            ),
            rows=tuple(rows),
            firm_prices=True,
            limits_mw=_arrived(market, p_max_mw, standings),
        )

    def _prices(self, market: Market, window: Window, forecast_p_mw: Array) -> Prices:
        """What is posted and charged."""
        if market.scenario.envelope.prices == "tariff":
            return tariff_prices(market, window.steps, window.first)
        return market.operator.clear(forecast_p_mw).prices


def _arrived(market: Market, p_max_mw: Array, standings: Sequence[Standing]) -> Array:
    """(steps, terminals) the limits that arrived, nan for others."""
    heard = {a.name: standing.limits for a, standing in zip(market.aggregators, standings, strict=True)}
    out = np.array(p_max_mw, dtype=np.float64)
    for link in market.links:
        if link.seat.operator.name not in heard[link.aggregator.name]:
            out[:, link.columns] = np.nan
    return out


def _rows(
    market: Market,
    window: Window,
    seat: Seat,
    limits: Limits,
    rule: str,
    declared_p_mw: Array,
    drawn_mw: Array,
    standings: Sequence[Standing],
) -> Iterator[Columns]:
    """Rows of the table of envelopes: the limits of a feeder's sites in the steps that are committed."""
    reached = np.zeros(market.operator.count, dtype=bool)
    for agent, standing in zip(market.aggregators, standings, strict=True):
        reached[agent.columns] = seat.operator.name in standing.limits
    for k, site in enumerate(limits.sites):
        columns = seat.columns[list(limits.places[site])]
        kept = bool(reached[columns].all())
        for t in window.taken:
            local = t - window.first
            kind, element, phase = limits.binding[local, k]
            posted, firm = KILO * float(limits.limit_mw[local, k]), KILO * float(limits.firm_mw[k])
            yield {
                "step": t,
                **({"feeder": seat.feeder} if seat.feeder else {}),
                "datacenter": site,
                "firm_kw": firm,
                "flexible_kw": KILO * float(limits.flexible_mw[k]),
                "posted_kw": posted,
                "limit_kw": posted if kept else firm,
                "wanted_kw": KILO * float(declared_p_mw[local, columns].sum()),
                "drawn_kw": KILO * float(drawn_mw[local, columns].sum()),
                "status": limits.status[local, k] if kept else "lost",
                "kind": kind,
                "element": element,
                "phase": phase,
                "rule": rule,
            }


def _notes(
    market: Market, window: Window, standings: Sequence[Standing], repeated: int, answered: bool
) -> tuple[str, ...]:
    """What a reader of the run should know of how limits and bids travelled."""
    name, notes = f"window at step {window.first}", []
    if repeated:
        notes.append(f"{name}: limits had to be posted {repeated} times more for want of bids")
    if not answered:
        notes.append(f"{name}: bids had not arrived when the gate closed; each draws what it would within its limits")
    pairs = zip(market.aggregators, standings, strict=True)
    without = [
        f"{agent.name} (of {seat.operator.name})"
        for agent, standing in pairs
        for seat in market.operator.seats
        if any(link.aggregator is agent and link.seat is seat for link in market.links)
        and seat.operator.name not in standing.limits
    ]
    if without:
        notes.append(f"{name}: limits did not reach {listed(without, _LISTED)} in time, who kept to the firm parts")
    return tuple(notes)
