"""A round: what operators post over the channel, and the bids that answer it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from cosim.coordination.base import Link, Market, Task
from cosim.coordination.operators import Seat
from cosim.coordination.rules import Posted, Regrets, Round
from cosim.protocol.channel import Mailbox
from cosim.protocol.messages import Bid, LimitPosting, Message, PricePosting, current
from cosim.protocol.roles import Array
from cosim.scenario.calendar import Window


@dataclass(slots=True)
class Table:
    """The bids that answer the present round of a window, by whom they were sent to and by whom."""

    step: int
    bids: dict[tuple[str, str], Bid] = field(default_factory=dict)

    def take(self, mail: Sequence[Message], number: int) -> None:
        """Take up the bids that arrived and answer this round; those of earlier rounds no longer count."""
        answers = current([*self.bids.values(), *mail], Bid, self.step, number)
        self.bids = {(bid.receiver, bid.sender): bid for bid in answers}

    def bid(self, link: Link, number: int) -> Bid | None:
        """What an aggregator has answered an operator in this round, if that has arrived."""
        found = self.bids.get((link.seat.operator.name, link.aggregator.name))
        return None if found is None or found.stale(self.step, number) else found

    def complete(self, market: Market, posted: Posted, number: int) -> Round | None:
        """The round, if every aggregator has answered it to each of its operators."""
        given = [(link, bid) for link in market.links if (bid := self.bid(link, number)) is not None]
        if len(given) < len(market.links):
            return None
        p_mw, price = np.empty((len(given[0][1].p_mw), market.operator.count)), market.effective(posted.prices)
        for link, bid in given:
            p_mw[:, link.columns] = bid.p_mw
            if bid.price_usd_per_mwh is not None:
                price[:, link.columns] = bid.price_usd_per_mwh
        # Each operator is told the same cost and regret, the aggregator's over all feeders.
        told = list({link.aggregator.name: bid for link, bid in given}.values())
        regrets = Regrets(sum(bid.regret_usd for bid in told), lambda: market.operator.regret_usd(p_mw, price))
        own = sum(bid.cost_usd for bid in told)
        return Round(posted, p_mw, price, own, regrets, market.operator.clear(p_mw))


@dataclass(frozen=True, slots=True)
class Posting:
    """A round of postings, of which each operator sends and takes in its own part.

    Attributes:
        p_max_mw: (steps, terminals) limits that are posted before the prices, or none.
    """

    market: Market
    window: Window
    number: int
    posted: Posted
    fresh: bool
    table: Table
    p_max_mw: Array | None = None

    def exchanged(self, seat: Seat, mailbox: Mailbox) -> Task:
        """An operator's part of a round: it posts, unless it has all bids, and reads its mail at the deadline."""
        mine = [link for link in self.market.links if link.seat is seat]
        if any(self.table.bid(link, self.number) is None for link in mine):
            for link in mine:
                if self.p_max_mw is not None:
                    mailbox.send(self._limits(link, self.p_max_mw))
                mailbox.send(self._message(link))
        yield self.market.env.timeout(self.market.scenario.clock.round_s)
        return mailbox.read()

    def _limits(self, link: Link, p_max_mw: Array) -> LimitPosting:
        return LimitPosting(
            sender=link.seat.operator.name,
            receiver=link.aggregator.name,
            step=self.window.first,
            round=self.number,
            p_max_mw=np.take(p_max_mw, link.columns, axis=1),
        )

    def _message(self, link: Link) -> PricePosting:
        """What is posted over a link, of what is posted at all terminals."""
        posted, cut, slope = self.posted, self.posted.cut, self.posted.slope_usd_per_mw2h

        def own(values: Array) -> Array:
            return np.take(values, link.columns, axis=1)

        def block(matrices: Array) -> Array:
            return np.take(own(matrices), link.columns, axis=2).reshape(len(matrices), -1)

        operator = self.market.operator.seats.index(link.seat)
        penalty, told = posted.penalty, posted.prices.scenarios
        scenarios: dict[str, Array] = {}
        if told is not None:
            ratio = 0.0 if self.market.settles_active else self.market.operator.reactive_ratio
            charged = np.take(told.p_usd_per_mwh + ratio * told.q_usd_per_mvarh, link.columns, axis=2)
            scenarios["scenario_price_usd_per_mwh"] = charged.reshape(-1, len(link.columns))
            scenarios["scenario_weight"] = told.weights[:, None]
        return PricePosting(
            sender=link.seat.operator.name,
            receiver=link.aggregator.name,
            step=self.window.first,
            round=self.number,
            fresh=self.fresh,
            price_p_usd_per_mwh=own(posted.prices.p_usd_per_mwh),
            price_q_usd_per_mvarh=own(posted.prices.q_usd_per_mvarh),
            target_p_mw=None if posted.target_p_mw is None else own(posted.target_p_mw),
            penalty_usd_per_mw2h=penalty if np.ndim(penalty) == 0 else block(np.asarray(penalty)),
            cut_p_mw=None if cut is None else own(cut.p_mw),
            cut_slope_usd_per_mwh=None if cut is None else own(cut.slope_usd_per_mwh),
            cut_cost_usd=None if cut is None else cut.costs_usd[operator][:, None],
            price_slope_usd_per_mw2h=None if slope is None else block(slope),
            **scenarios,
        )
