"""The negotiation: rounds of price postings and bids over the channel until both sides have no regret."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from cosim.clock import Window
from cosim.coordination.base import Market, Outcome, Process, RoundRecord
from cosim.coordination.rules import AGREED, Posted, Regrets, Round, Rule, find_rule
from cosim.interfaces import Array
from cosim.messages import Bid, PricePosting
from cosim.scenario import Scenario

KILO = 1000.0


@dataclass(slots=True)
class _Table:
    """The newest bid of each aggregator that answers the present round."""

    bids: dict[str, Bid] = field(default_factory=dict)

    def complete(self, market: Market, posted: Posted, number: int) -> Round | None:
        """The round, if every aggregator has answered it."""
        bids = [self.bids.get(a.name) for a in market.aggregators]
        if any(bid is None or bid.round != number for bid in bids):
            return None
        given = [bid for bid in bids if bid is not None]
        p_mw = np.hstack([bid.p_mw for bid in given])
        price = market.effective(posted.prices)
        for a, bid in zip(market.aggregators, given, strict=True):
            if bid.price_usd_per_mwh is not None:
                price[:, a.columns] = bid.price_usd_per_mwh
        regrets = Regrets(sum(bid.regret_usd for bid in given), lambda: market.operator.regret_usd(p_mw, price))
        own = sum(bid.cost_usd for bid in given)
        return Round(posted, p_mw, price, own, regrets, market.operator.clear(p_mw))


class Decentralized:
    """Rounds of a fixed length: postings go out, bids come back, the operator decides at the deadline.

    A round whose bids have not all arrived by its deadline is repeated: the same posting is sent again, and an
    aggregator that has answered it already sends the same answer again. When the gate closes, or the rounds run
    out, the last complete set of bids stands (at first the declared demand), so a window always ends with an award.
    """

    def __init__(self) -> None:
        self._rule: Rule | None = None

    def check(self, scenario: Scenario) -> None:
        """Refuse an update rule that is not there or cannot take the scenario."""
        find_rule(scenario.decentralized.rule).check(scenario)

    def run(self, market: Market, window: Window, declared_p_mw: Array) -> Process:
        """Negotiate one window."""
        began = time.perf_counter()
        env, spec = market.env, market.scenario.decentralized
        round_s = market.scenario.clock.round_s
        rule = self._rule = self._rule or find_rule(spec.rule)(market)
        posted = rule.first(declared_p_mw, window.first)
        table, last = _Table(), None
        rounds: list[RoundRecord] = []
        repeated, ended, number, fresh = 0, "", 1, 1
        while env.now + round_s <= window.closes_s and len(rounds) < spec.max_rounds and not ended:
            market.tell(f"round {number}")
            self._post(market, window, number, posted, fresh == number)
            yield env.timeout(round_s / 2)
            self._answer(market)
            yield env.timeout(round_s / 2)
            self._collect(market, table)
            made = table.complete(market, posted, number)
            if made is None:
                repeated += 1
                continue
            rounds.append(_record(market, rule, number, made, last))
            last, ended = made, rule.ended(made)
            if ended and market.operator.refine(made.p_mw):
                posted, ended, number = rule.first(made.p_mw, window.first), "", number + 1
                fresh = number
            elif not ended:
                posted = rule.next(made)
                number += 1
        converged = ended == AGREED
        if last is None:
            agreed, regrets = declared_p_mw, None
        else:
            # What was found to have no regret are the bids; a rule may settle on something else if it did not agree.
            agreed = last.p_mw if converged else rule.agreed(last.p_mw)
            regrets = last.regrets.both_usd() if agreed is last.p_mw else None
        own = sum(a.adopt(agreed[:, a.columns]) for a in market.aggregators)
        batteries = any(d.battery is not None for d in market.scenario.datacenters)  # see `Aggregator.adopt`
        if batteries or market.scenario.market.bid_step_kw is not None:
            agreed = np.hstack([a.drawn_mw() for a in market.aggregators])
        support = last.price if converged and last is not None else None
        clearing = rule.settled(market.operator.settle(agreed, support), last)
        clearing = market.award(window, len(rounds), clearing)
        return Outcome(
            clearing=clearing,
            own_cost_usd=own,
            converged=converged,
            rounds=tuple(rounds),
            regrets_usd=regrets,
            solver_s=time.perf_counter() - began,
            notes=_notes(window, len(rounds), repeated, ended),
        )

    def _post(self, market: Market, window: Window, number: int, posted: Posted, fresh: bool) -> None:
        for a in market.aggregators:
            own, cut, slope, penalty = a.columns, posted.cut, posted.slope_usd_per_mw2h, posted.penalty
            market.send(
                PricePosting(
                    sender=market.operator.name,
                    receiver=a.name,
                    step=window.first,
                    round=number,
                    fresh=fresh,
                    price_p_usd_per_mwh=posted.prices.p_usd_per_mwh[:, own],
                    price_q_usd_per_mvarh=posted.prices.q_usd_per_mvarh[:, own],
                    target_p_mw=None if posted.target_p_mw is None else posted.target_p_mw[:, own],
                    penalty_usd_per_mw2h=penalty if np.ndim(penalty) == 0 else _own(np.asarray(penalty), own),
                    cut_p_mw=None if cut is None else cut.p_mw[:, own],
                    cut_slope_usd_per_mwh=None if cut is None else cut.slope_usd_per_mwh[:, own],
                    cut_cost_usd=None if cut is None else cut.cost_usd[:, None],
                    price_slope_usd_per_mw2h=None if slope is None else _own(slope, own),
                )
            )

    def _answer(self, market: Market) -> None:
        """Each aggregator answers the newest posting it has received."""
        for a in market.aggregators:
            postings = [m for m in market.channel.read(a.name) if isinstance(m, PricePosting)]
            if postings:
                market.send(a.respond(max(postings, key=lambda m: (m.step, m.round))))

    def _collect(self, market: Market, table: _Table) -> None:
        """Take up the bids that have arrived; those that answer an earlier round are stale and count for nothing."""
        for message in market.channel.read(market.operator.name):
            if isinstance(message, Bid):
                table.bids[message.sender] = message


def _own(matrices: Array, own: slice) -> Array:
    """(steps, n n) an aggregator's part of a matrix over all terminals in each step."""
    return matrices[:, own, own].reshape(len(matrices), -1)


def _record(market: Market, rule: Rule, number: int, made: Round, last: Round | None) -> RoundRecord:
    target = made.posted.target_p_mw
    apart = made.p_mw - (rule.agreed(made.p_mw) if target is None else target)
    return RoundRecord(
        number,
        float(market.env.now),
        0.0 if last is None else float(np.abs(made.price - last.price).max()),
        KILO * float(np.abs(apart).max()),
        made.own_cost_usd + market.payment_usd(made.p_mw, made.posted.prices),
        made.clearing.cost_usd,
    )


def _notes(window: Window, rounds: int, repeated: int, ended: str) -> tuple[str, ...]:
    """What a reader of the run should know of a negotiation."""
    notes = []
    if repeated:
        notes.append(f"window at step {window.first}: {repeated} rounds had to be repeated for want of bids")
    if ended and ended != AGREED:
        notes.append(f"window at step {window.first}: no agreement; after {rounds} rounds {ended}")
    elif not ended:
        notes.append(f"window at step {window.first}: no agreement in {rounds} rounds, last bids stand")
    return tuple(notes)
