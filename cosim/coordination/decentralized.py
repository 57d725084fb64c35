"""The negotiation: rounds of price postings and bids over the channel until both sides have no regret."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from cosim.clock import Window
from cosim.coordination.base import Market, Outcome, Process, RoundRecord
from cosim.coordination.updates import Posted, find_rule
from cosim.interfaces import Array
from cosim.messages import Bid, PricePosting
from cosim.scenario import Scenario

KILO = 1000.0


@dataclass(slots=True)
class _Table:
    """What the operator has on its table: the newest bid of each aggregator (or what it declared), complete or not."""

    p_mw: Array
    regret_usd: dict[str, float] = field(default_factory=dict)
    own_cost_usd: dict[str, float] = field(default_factory=dict)
    answered: dict[str, int] = field(default_factory=dict)


class Decentralized:
    """Rounds of a fixed length: postings go out, bids come back, the operator decides at the deadline.

    A round whose bids have not all arrived by its deadline is repeated: the same posting is sent again, and an
    aggregator that has answered it already sends the same answer again. When the gate closes, or the rounds run
    out, the last complete set of bids stands (at first the declared demand), so a window always ends with an award.
    """

    def check(self, scenario: Scenario) -> None:
        """Refuse an update rule that is not there."""
        find_rule(scenario.decentralized.rule)

    def run(self, market: Market, window: Window, declared_p_mw: Array) -> Process:
        """Negotiate one window."""
        began = time.perf_counter()
        env, spec = market.env, market.scenario.decentralized
        round_s = market.scenario.clock.round_s
        rule = find_rule(spec.rule)(market)
        posted = rule.first(declared_p_mw)
        table = _Table(declared_p_mw.copy())
        bids = declared_p_mw
        rounds: list[RoundRecord] = []
        repeated, converged, number, last_price = 0, False, 1, None
        regrets: tuple[float, float] | None = None
        while env.now + round_s <= window.closes_s and len(rounds) < spec.max_rounds:
            market.tell(f"round {number}")
            self._post(market, window, number, posted)
            yield env.timeout(round_s / 2)
            self._answer(market)
            yield env.timeout(round_s / 2)
            self._collect(market, table, number)
            if any(table.answered.get(a.name) != number for a in market.aggregators):
                repeated += 1
                continue
            bids = table.p_mw.copy()
            price = market.effective(posted.prices)
            moved = 0.0 if last_price is None else float(np.abs(price - last_price).max())
            last_price = price
            apart = bids - (rule.agreed(bids) if posted.target_p_mw is None else posted.target_p_mw)
            cost = market.operator.clear(bids).cost_usd
            rounds.append(
                RoundRecord(
                    number,
                    float(env.now),
                    moved,
                    KILO * float(np.abs(apart).max()),
                    sum(table.own_cost_usd.values()) + market.payment_usd(bids, posted.prices),
                    cost,
                )
            )
            regrets = sum(table.regret_usd.values()), market.operator.regret_usd(bids, price)
            converged = sum(regrets) <= spec.tolerance * max(1.0, abs(cost))
            if converged:
                break
            posted = rule.next(bids)
            number += 1
        # What was found to have no regret are the bids; a rule that mixes bids may settle on a mixture otherwise.
        agreed = bids if converged else rule.agreed(bids)
        own = sum(a.adopt(agreed[:, a.columns]) for a in market.aggregators)
        clearing = market.operator.settle(agreed, last_price if converged else None)
        market.award(window, len(rounds), clearing)
        return Outcome(
            clearing=clearing,
            own_cost_usd=own,
            converged=converged,
            rounds=tuple(rounds),
            regrets_usd=regrets if agreed is bids else None,
            solver_s=time.perf_counter() - began,
            notes=_notes(window, len(rounds), repeated, converged),
        )

    def _post(self, market: Market, window: Window, number: int, posted: Posted) -> None:
        for a in market.aggregators:
            own = a.columns
            market.send(
                PricePosting(
                    sender=market.operator.name,
                    receiver=a.name,
                    step=window.first,
                    round=number,
                    price_p_usd_per_mwh=posted.prices.p_usd_per_mwh[:, own],
                    price_q_usd_per_mvarh=posted.prices.q_usd_per_mvarh[:, own],
                    target_p_mw=None if posted.target_p_mw is None else posted.target_p_mw[:, own],
                    penalty_usd_per_mw2h=posted.penalty,
                    final=False,
                )
            )

    def _answer(self, market: Market) -> None:
        """Each aggregator answers the newest posting it has received."""
        for a in market.aggregators:
            postings = [m for m in market.channel.read(a.name) if isinstance(m, PricePosting)]
            if postings:
                market.send(a.respond(max(postings, key=lambda m: (m.step, m.round))))

    def _collect(self, market: Market, table: _Table, number: int) -> None:
        """Take the bids that answer the present round; stale ones are dropped."""
        columns = {a.name: a.columns for a in market.aggregators}
        for message in market.channel.read(market.operator.name):
            if isinstance(message, Bid) and message.round == number:
                table.p_mw[:, columns[message.sender]] = message.p_mw
                table.regret_usd[message.sender] = message.regret_usd
                table.own_cost_usd[message.sender] = message.cost_usd
                table.answered[message.sender] = number


def _notes(window: Window, rounds: int, repeated: int, converged: bool) -> tuple[str, ...]:
    """What a reader of the run should know of a negotiation."""
    notes = []
    if repeated:
        notes.append(f"window at step {window.first}: {repeated} rounds had to be repeated for want of bids")
    if not converged:
        notes.append(f"window at step {window.first}: no agreement in {rounds} rounds, last bids stand")
    return tuple(notes)
