"""A tariff instead of a negotiation: one posting, one answer, and that is what is paid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cosim.coordination.base import Market
from cosim.coordination.rules.base import Posted, Round, Rule
from cosim.protocol.roles import Array, Clearing, Prices


def tariff_prices(market: Market, steps: int, first_step: int) -> Prices:
    """What each terminal is charged under a tariff: its aggregator's own, else the market's, else the price at the
    source."""
    series = market.tariff_usd_per_mwh
    if series is None:
        price = market.operator.opening_price(steps)
    else:
        price = np.repeat(series[first_step : first_step + steps, None], market.operator.count, axis=1)
    for agent in market.aggregators:
        own = market.own_tariffs_usd_per_mwh.get(agent.name)
        if own is not None:
            price[:, agent.columns] = own[first_step : first_step + steps, None]
    return Prices(price, np.zeros_like(price))


class Tariff(Rule):
    """Every terminal is charged a tariff (flat, by time of use, ...), or the price at the source.

    The tariff is the aggregator's own, or ``market.tariff_usd_per_mwh``.

    Aggregators plan against it and the operator serves what they want. Nobody agrees to anything: what the demand costs
    at the margin is not what is paid for it, and the regrets say by how much.
    """

    firm_prices = True

    def first(self, declared_p_mw: Array, first_step: int) -> Posted:
        return Posted(tariff_prices(self.market, len(declared_p_mw), first_step))

    def next(self, made: Round) -> Posted:
        return made.posted

    def ended(self, made: Round) -> str:
        return "the tariff is charged whatever power costs"

    def settled(self, clearing: Clearing, made: Round | None) -> Clearing:
        """What was cleared, at the tariff."""
        return clearing if made is None else replace(clearing, prices=made.posted.prices)
