"""Delivery on what happens, where a window was agreed on by forecasts.

Step by step the aggregators take up the work that has arrived and draw what was agreed on, or the nearest to it in
which no work is late that need not be. The operators then clear what is drawn with prices, load and sun as they are:
that clearing is what is dispatched, paid for and checked by AC power flow. Nobody sees more than forecasts of the steps
to come. Prices that were told as firm (tariffs) stay as they were told.

All that is drawn is paid at the price of delivery, unless there are two settlements: see
:mod:`cosim.coordination.settlement`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cosim.coordination.base import Coordination, Market, Outcome
from cosim.errors import InputError
from cosim.protocol.roles import Array, Clearing, Prices
from cosim.scenario.calendar import Window
from cosim.scenario.forecasts.information import Information


@dataclass(frozen=True, slots=True)
class DeliveredStep:
    """A step to be committed.

    Attributes:
        clearing: what it was cleared in, at the prices that are charged; local: the step's place in it.
        anew: whether that is another clearing than that of the window.
    """

    t: int
    clearing: Clearing
    local: int
    anew: bool = False


class Delivery:
    """Delivers windows; without information to come what was agreed on is what is delivered.

    Raises:
        InputError: an aggregator cannot deliver anything else than what it adopted.
    """

    def __init__(self, market: Market, mode: Coordination, information: Information | None) -> None:
        self._market, self._information = market, information
        self._agrees: bool = getattr(mode, "agrees", True)
        for agent in market.aggregators if information is not None else ():
            if not callable(getattr(agent, "deliver", None)):
                raise InputError("the class has no deliver(window, p_mw), which forecasts need",
                                 key=f"aggregators.{agent.name}.agent", value=type(agent).__name__,
                                 allowed="a class with it, or scenarios without forecasts")  # fmt: skip

    def as_agreed(self, window: Window) -> bool:
        """Whether a window is delivered as it was agreed on: nothing else happens than was forecast."""
        if self._information is None:
            return True
        over_scenarios = self._market.scenario.market.stochastic is not None and window.stage != "real_time"
        return not over_scenarios and self._information.foreseen(window)

    def steps(self, window: Window, outcome: Outcome) -> Iterator[DeliveredStep]:
        """The steps that a window commits, each to be committed before the next is asked for."""
        agreed = self.as_agreed(window)
        for t in window.committed:
            yield DeliveredStep(t, outcome.clearing, t - window.first) if agreed else self.step(window, outcome, t)

    def one(self, window: Window, outcome: Outcome, t: int) -> DeliveredStep:
        """Deliver step ``t`` of a window that was agreed on, whatever happens in others."""
        if self.as_agreed(replace(window, first=t, commit_until=t + 1)):
            return DeliveredStep(t, outcome.clearing, t - window.first)
        return self.step(window, outcome, t)

    def step(self, window: Window, outcome: Outcome, t: int) -> DeliveredStep:
        """Deliver a step: see the module."""
        assert self._information is not None
        self._information.deliver(t)
        market, ahead = self._market, slice(t - window.first, None)
        left = replace(window, first=t, commit_until=t + 1)
        agreed = outcome.clearing.p_mw[ahead]
        limits = None if outcome.limits_mw is None else outcome.limits_mw[ahead]
        drawn = np.hstack([self._drawn(a, left, agreed, limits) for a in market.aggregators])
        if not any(getattr(o, "looks_ahead", True) for o in market.operators):
            left, drawn = replace(left, last_exclusive=t + 1), drawn[:1]
        for seat in market.operator.seats:
            getattr(seat.operator, "follow", seat.operator.open_window)(left, seat.own(drawn))
        while market.judged_in_ac and market.operator.refine(drawn, None).again:
            pass
        active, reactive = (p[ahead][: len(drawn)] for p in _both(outcome.clearing.prices))
        told = Prices(active, reactive)
        clearing = market.operator.settle(drawn, market.effective(told) if self._agrees else None)
        if outcome.firm_prices:
            clearing = replace(clearing, prices=told)
        return DeliveredStep(t, market.charged(clearing), 0, anew=True)

    def _drawn(self, agent: Any, left: Window, agreed: Array, limits: Array | None) -> Array:
        """What an aggregator draws in what is left of a window."""
        told = () if limits is None else (limits[:, agent.columns],)
        return np.asarray(agent.deliver(left, agreed[:, agent.columns] if self._agrees else None, *told))


def _both(prices: Prices) -> tuple[Array, Array]:
    return prices.p_usd_per_mwh, prices.q_usd_per_mvarh
