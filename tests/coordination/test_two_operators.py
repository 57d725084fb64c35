"""Two operators and an aggregator on both feeders, over channels that fail: what is lost to one leaves the other alone.

The operators are the stand-ins of :mod:`tests.coordination.test_faults`; the aggregator's work moves between two sites.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import simpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cosim.coordination.base import Market, Outcome
from cosim.coordination.decentralized import Decentralized
from cosim.coordination.operators import Operators, Seat
from cosim.coordination.session import Session
from cosim.protocol.messages import Award, Bid, Message, PricePosting
from cosim.protocol.roles import Array
from cosim.scenario.calendar import Window
from cosim.scenario.channel import ChannelSpec

from .test_faults import DELAYS, GATE_S, ROUND_S, SCENARIO, SPANS, STEPS, WANTED, Operator, Remembering

DECLARED = np.hstack([WANTED, WANTED])


class Steep(Operator):
    """An operator whose cost rises five times as fast."""

    name, a = "east", 50.0


class Flat(Operator):
    """The other one."""

    name = "west"


class Mover:
    """own cost = sum 1/2 b (p - wanted)^2 + 1/2 c (p_west + p_east - 2 wanted)^2: what is less here is more there.

    Attributes:
        seen: postings as it was asked about them.
    """

    name, columns, b, c = "dca", slice(0, 2), 2.0, 20.0

    def __init__(self) -> None:
        self.seen: list[PricePosting] = []
        self.bids: list[Bid] = []
        self.adopted: Array | None = None

    def respond(self, posting: PricePosting) -> Bid:
        self.seen.append(posting)
        price, weight = posting.price_p_usd_per_mwh, posting.penalty()
        matrices = weight if weight.ndim == 3 else weight[:, :, None] * np.eye(2)
        target = np.zeros_like(price) if posting.target_p_mw is None else posting.target_p_mw
        p, free = self._best(price, matrices, target), self._best(price, 0 * matrices, target)
        regret = float(self._own(p) + (price * p).sum() - self._own(free) - (price * free).sum())
        self.bids.append(Bid(
            sender=self.name, receiver=posting.sender, step=posting.step, round=posting.round, p_mw=p, q_mvar=0 * p,
            regret_usd=max(0.0, regret), cost_usd=self._own(p),
        ))  # fmt: skip
        return self.bids[-1]

    def adopt(self, p_mw: Array, solution: Array | None = None) -> float:
        self.adopted = p_mw
        return self._own(p_mw)

    def drawn_mw(self) -> Array:
        """What it adopted, a watt less: so that one sees that it was asked."""
        assert self.adopted is not None
        return self.adopted - 1e-6

    def _best(self, price: Array, matrices: Array, target: Array) -> Array:
        hessian = matrices + self.b * np.eye(2) + self.c * np.ones((2, 2))
        wanted = self.b * WANTED + self.c * 2 * WANTED - price + np.einsum("tij,tj->ti", matrices, target)
        return np.asarray(np.linalg.solve(hessian, wanted[:, :, None])[:, :, 0])

    def _own(self, p: Array) -> float:
        moved = p.sum(axis=1, keepdims=True) - 2 * WANTED
        return float(0.5 * self.b * ((p - WANTED) ** 2).sum() + 0.5 * self.c * (moved**2).sum())


def planned() -> Array:
    """What is best for all: own cost and both operators' costs."""
    hessian = Mover.b * np.eye(2) + Mover.c * np.ones((2, 2)) + np.diag([Flat.a, Steep.a])
    return np.asarray(np.linalg.solve(hessian, ((Mover.b + 2 * Mover.c) * DECLARED)[:, :, None])[:, :, 0])


def negotiated(spec: dict[str, Any], seed: int = 1, **rules: Any) -> tuple[Outcome, Market, Mover, list[Award]]:
    """One window between both operators and the aggregator."""
    env, mover, awards = simpy.Environment(), Mover(), list[Award]()

    class Telling(Remembering):
        def send(self, message: Message) -> None:
            awards.extend([message] if isinstance(message, Award) else [])
            super().send(message)

    channel = Telling(env, ChannelSpec.model_validate(spec), np.random.default_rng(seed))
    clock = SCENARIO.clock.model_copy(update={"round_s": ROUND_S})
    how = SCENARIO.decentralized.model_copy(update=rules)
    given = SCENARIO.model_copy(update={"clock": clock, "decentralized": how})
    seats = [Seat(kind(1), kind.name, np.array([k])) for k, kind in enumerate((Flat, Steep))]  # type: ignore[arg-type]
    market = Market(Operators(seats), (mover,), env, channel, given, 1.0)  # type: ignore[arg-type]
    found: list[Outcome] = []

    def run() -> Any:
        session = Session(market, Decentralized())
        yield env.timeout(0)
        window = Window(0, 0, STEPS, 1, 0, GATE_S, ROUND_S)
        found.append((yield from session.agree(window, DECLARED)))

    env.run(until=env.process(run()))
    return found[0], market, mover, awards


def sent(market: Market, kind: str, sender: str, receiver: str) -> list[int]:
    """Rounds of the messages of a kind over a link."""
    return [m.round for m in market.channel.log if (m.kind, m.sender, m.receiver) == (kind, sender, receiver)]


@pytest.mark.parametrize("rule", ["admm", "proximal"])
def test_both_operators_agree_with_the_aggregator_on_what_is_best_for_all(rule: str) -> None:
    outcome, _, _, _ = negotiated({}, rule=rule, penalty_usd_per_mw2h=40.0, tolerance=1e-7)
    assert outcome.converged
    assert outcome.clearing.p_mw == pytest.approx(planned(), abs=2e-3)


def test_each_round_has_one_posting_and_one_bid_over_each_link() -> None:
    outcome, market, mover, _ = negotiated({})
    rounds = list(range(1, len(outcome.rounds) + 1))
    for name in ("west", "east"):
        assert sent(market, "price_posting", name, "dca") == sent(market, "bid", "dca", name) == rounds
    assert [posting.round for posting in mover.seen] == rounds


def test_the_aggregator_is_asked_about_all_its_terminals_at_once() -> None:
    _, _, mover, _ = negotiated({})
    assert all(posting.price_p_usd_per_mwh.shape == (STEPS, 2) for posting in mover.seen)
    off = np.array([posting.penalty() for posting in mover.seen if posting.penalty().ndim == 3])
    assert len(off) and not off[:, :, 0, 1].any() and not off[:, :, 1, 0].any()


@pytest.mark.parametrize(("sender", "receiver"), [("dca", "east"), ("east", "dca")])
def test_a_message_lost_to_one_operator_is_asked_for_by_that_one_alone(sender: str, receiver: str) -> None:
    """The bid to the east is lost in the second round: only the east posts again. A lost posting holds up the answer to
    both, as the aggregator knows the prices of one of its feeders only: both ask again."""
    lost = {"sender": sender, "receiver": receiver, "from_s": ROUND_S, "to_s": 2 * ROUND_S - 0.1}
    outcome, market, _, _ = negotiated({"outages": [lost]})
    usual, _, _, _ = negotiated({})
    assert outcome.converged and np.array_equal(outcome.clearing.p_mw, usual.clearing.p_mw)
    rounds = list(range(1, len(outcome.rounds) + 1))
    again = sorted([*rounds, 2])
    assert sent(market, "price_posting", "east", "dca") == again
    assert sent(market, "price_posting", "west", "dca") == (rounds if sender == "dca" else again)
    assert sent(market, "bid", "dca", "west") == rounds
    assert sent(market, "bid", "dca", "east") == (again if sender == "dca" else rounds)
    assert any("1 rounds had to be repeated" in note for note in outcome.notes)


def test_a_lost_award_of_one_operator_leaves_the_agreement_as_it_is() -> None:
    seen, _, _, _ = negotiated({})
    lost = {"sender": "east", "receiver": "dca", "from_s": seen.rounds[-1].time_s, "to_s": GATE_S}
    outcome, market, _, _ = negotiated({"outages": [lost]})
    assert [m.sender for m in market.channel.log if m.kind == "award" and m.lost] == ["east"]
    assert outcome.converged and np.array_equal(outcome.clearing.p_mw, seen.clearing.p_mw)


def test_awards_of_one_operator_are_kept_beside_what_counted_for_the_other() -> None:
    """A rule that awards something else than the last bids; its award of the east is lost."""
    averaged = {"rule": "averaged", "max_rounds": 4}
    seen, _, _, _ = negotiated({}, **averaged)
    lost = {"sender": "east", "receiver": "dca", "from_s": seen.rounds[-1].time_s, "to_s": GATE_S}
    outcome, _, mover, awards = negotiated({"outages": [lost]}, **averaged)
    west = next(award for award in awards if award.sender == "west")
    assert mover.adopted is not None and np.array_equal(mover.adopted[:, :1], west.p_mw)
    assert np.array_equal(mover.adopted[:, 1:], mover.bids[-1].p_mw[:, 1:])
    assert np.array_equal(outcome.clearing.p_mw, mover.drawn_mw())  # as far as its work can follow both
    assert not outcome.converged and any("had not reached dca:" in note for note in outcome.notes)


def test_one_operator_that_is_away_keeps_the_window_from_agreement() -> None:
    """Prices of one feeder alone are no answer to where work should run."""
    down = [{"agent": "east", "from_s": 0, "to_s": 10 * GATE_S}]
    outcome, market, mover, _ = negotiated({"outages": down})
    assert mover.seen == [] and np.array_equal(outcome.clearing.p_mw, DECLARED)
    assert not outcome.converged and len(sent(market, "price_posting", "west", "dca")) == GATE_S // ROUND_S


AGENTS = st.sampled_from(["west", "east", "dca"])
OUTAGES = st.tuples(AGENTS, SPANS).map(lambda t: {"agent": t[0], **t[1]})
FAULTS = st.fixed_dictionaries({
    "latency": DELAYS,
    "loss": st.floats(0, 0.9),
    "duplicate": st.floats(0, 0.9),
    "outages": st.lists(OUTAGES, max_size=3),
    "links": st.just([]) | DELAYS.map(lambda d: [{"sender": "dca", "receiver": "east", "latency": d}]),
})  # fmt: skip


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(faults=FAULTS, seed=st.integers(0, 2**32 - 1))
def test_whatever_fails_the_window_ends_and_every_message_is_accounted_for(faults: dict[str, Any], seed: int) -> None:
    outcome, market, mover, _ = negotiated(faults, seed)
    channel = market.channel
    assert channel.sent == channel.received + channel.lost + channel.in_flight
    assert mover.adopted is not None and outcome.clearing.p_mw == pytest.approx(mover.adopted, abs=2e-6)
    assert outcome.converged == (not any("no agreement" in note for note in outcome.notes))
    if outcome.converged:
        assert outcome.clearing.p_mw == pytest.approx(planned(), abs=0.02)
    told = {(bid.round, bid.sender): bid for bid in mover.bids}
    assert len(told) == len(mover.bids)  # a round is worked out once, however often it is asked for
