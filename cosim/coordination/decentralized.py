"""The negotiation: rounds of price postings and bids over the channel until both sides have no regret."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from cosim.constants import KILO
from cosim.coordination.base import Market, Outcome, Process, RoundRecord
from cosim.coordination.rounds import Posting, Table
from cosim.coordination.rules import AGREED, Round, Rule, find_rule
from cosim.protocol.desk import Standing
from cosim.protocol.roles import Array, Refined
from cosim.scenario.calendar import Window
from cosim.scenario.schema import Scenario

_NOTHING_USD = 1e-6


class Decentralized:
    """Rounds of a fixed length: postings go out, bids come back, the operators decide at the deadline.

    A round whose bids have not all arrived by its deadline is repeated: an operator that lacks a bid sends the same
    posting again, and an aggregator that has answered it already sends it the same answer again. When the gate closes,
    or the rounds run out, the last complete set of bids is awarded (at first the declared demand). What the
    aggregators go into delivery with is settled: their award, or, where it comes too late or never, what each knows to
    have counted.
    """

    decides_alone, posts, limits = False, True, False

    def __init__(self) -> None:
        self._rule: Rule | None = None
        self._told_unpaid = False

    def check(self, scenario: Scenario) -> None:
        """Refuse an update rule that is not there or cannot take the scenario."""
        find_rule(scenario.decentralized.rule).check(scenario)

    def admit(self, market: Market) -> None:
        """Any agents will do."""

    def run(self, market: Market, window: Window, declared_p_mw: Array) -> Process:
        """Negotiate one window."""
        began = time.perf_counter()
        env, spec = market.env, market.scenario.decentralized
        round_s = market.scenario.clock.round_s
        rule = self._rule = self._rule or find_rule(spec.rule)(market)
        posted = rule.first(declared_p_mw, window.first)
        table, last = Table(window.first), None
        rounds: list[RoundRecord] = []
        repeated, ended, number, fresh = 0, "", 1, 1
        refined: Refined | None = None
        while env.now + round_s <= window.closes_s and len(rounds) < spec.max_rounds and not ended:
            market.tell(f"round {number}", rounds[-1] if rounds else None, posted.prices.p_usd_per_mwh)
            part = Posting(market, window, number, posted, fresh == number, table)
            for mail in (yield from market.together(part.exchanged)):
                table.take(mail, number)
            made = table.complete(market, posted, number)
            if made is None:
                repeated += 1
                continue
            rounds.append(_record(market, rule, number, made, last))
            last, ended = made, rule.ended(made)
            refined = market.operator.refine(made.p_mw, made.own_cost_usd) if ended == AGREED else None
            if refined is not None and refined.again:
                last = table.complete(market, posted, number)  # what it costs on the network as it is linearised now
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
        if refined is None or not converged:
            refined = market.operator.refine(agreed, _own_cost_usd(market, agreed, last), last=True)
        if refined.p_mw is not agreed:
            agreed, converged, regrets = refined.p_mw, False, None
        support = last.price if converged and last is not None else None
        clearing = rule.settled(market.operator.settle(agreed, support), last)
        clearing = market.award(window, len(rounds), clearing)
        standings = yield from market.standings()
        stands = np.hstack([standing.p_mw for standing in standings])
        notes = _notes(window, len(rounds), repeated, ended)
        if not np.array_equal(stands, agreed):
            converged, regrets, support = False, None, None
            notes += (_without_award(market, window, standings),)
        drawn = market.drawn_mw(stands)
        if not np.array_equal(drawn, agreed):
            clearing = market.charged(rule.settled(market.operator.settle(drawn, support), last))
        if market.scenario.market.bid_step_kw is not None and last is not None and regrets is not None:
            # The bidders stated theirs of what they draw; the operator's was of the bids.
            regrets = regrets[0], market.operator.regret_usd(drawn, last.price)
            if converged and sum(regrets) > rule.tolerance_usd(clearing):
                converged = False
                notes += (_beside_the_grid(window, regrets),)
        if last is not None and regrets is not None:
            notes += self._unpaid(market, window, last)
        return Outcome(
            clearing=clearing,
            own_cost_usd=sum(standing.own_cost_usd for standing in standings),
            converged=converged,
            rounds=tuple(rounds),
            regrets_usd=regrets,
            solver_s=time.perf_counter() - began,
            notes=(*notes, *refined.notes),
            firm_prices=rule.firm_prices and last is not None,
        )

    def _unpaid(self, market: Market, window: Window, made: Round) -> tuple[str, ...]:
        """Say, once in a run, that regrets bound less where reactive power has a price that nobody is charged."""
        unpaid = market.hours * (market.effective(made.posted.prices) - made.posted.prices.p_usd_per_mwh) * made.p_mw
        if self._told_unpaid or not market.settles_active or np.abs(unpaid).sum() <= _NOTHING_USD:
            return ()
        self._told_unpaid = True
        return (
            "aggregators pay for active power only: at the prices they answered reactive power worth "
            f"{unpaid.sum():.3g} USD is not paid for in the window at step {window.first}, so that the regrets alone "
            "do not bound what an award costs above the optimum",
        )


def _own_cost_usd(market: Market, agreed: Array, last: Round | None) -> float | None:
    """What this demand costs the aggregators themselves, as they bid it.

    Where nobody has bid it the aggregators are asked directly, and only for AC power flow, which compares such costs.
    """
    if last is not None and agreed is last.p_mw:
        return last.own_cost_usd
    if not market.judged_in_ac:
        return None
    return sum(a.adopt(agreed[:, a.columns]) for a in market.aggregators)


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


def _without_award(market: Market, window: Window, standings: Sequence[Standing]) -> str:
    late = [a.name for a, standing in zip(market.aggregators, standings, strict=True) if not standing.awarded]
    return (
        f"window at step {window.first}: no agreement; when the gate closed the award had not reached "
        f"{', '.join(late)}: what each knew to have counted stands"
    )


def _beside_the_grid(window: Window, regrets: tuple[float, float]) -> str:
    return (
        f"window at step {window.first}: no agreement; the bids on the grid would do, but of what is drawn the regrets "
        f"are {regrets[0]:.3g} (data centers) and {regrets[1]:.3g} USD (operator)"
    )
