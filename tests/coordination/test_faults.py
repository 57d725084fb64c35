"""Negotiations over channels that delay, lose, repeat and fail: none hangs, none raises, all are accounted for.

The agents are stand-ins with closed-form answers, so that a thousand schedules of faults take seconds; the same
protocol, clock and channel run with the real ones.
"""

from __future__ import annotations

import pickle
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
from cosim.errors import InputError
from cosim.protocol.channel import Channel, Mailbox
from cosim.protocol.desk import AggregatorDesk, Standing, bidding
from cosim.protocol.messages import Award, Bid, Message, PricePosting
from cosim.protocol.roles import Array, Clearing, Prices, Refined
from cosim.scenario.calendar import Window
from cosim.scenario.channel import ChannelSpec
from cosim.scenario.loading import load_scenario
from cosim.scenario.schema import Scenario

from .conftest import evening_of, kpi

STEPS, GATE_S, ROUND_S = 3, 120, 5
WANTED = np.array([[1.0], [2.0], [3.0]])


class Operator:
    """cost = sum 1/2 a p^2, so the price is a p."""

    name = "dso"
    a = 10.0

    def __init__(self, terminals: int) -> None:
        self.reactive_ratio = np.zeros(terminals)

    def clear(self, p_mw: Array) -> Clearing:
        price = self.a * p_mw
        costs = 0.5 * self.a * (p_mw**2).sum(axis=1)
        return Clearing(p_mw, float(costs.sum()), Prices(price, 0 * price), costs)

    def refine(self, p_mw: Array, own_usd: float | None, last: bool = False) -> Refined:
        return Refined(p_mw)

    def opening_price(self, steps: int) -> Array:
        return np.full((steps, len(self.reactive_ratio)), 20.0)

    def clear_near(self, p_mw: Array, price: Array, penalty: float | Array) -> Clearing:
        matrices = np.broadcast_to(penalty, (len(p_mw), *2 * p_mw.shape[1:]))
        wanted = price + (matrices @ p_mw[:, :, None])[:, :, 0]
        chosen = np.linalg.solve(matrices + self.a * np.eye(p_mw.shape[1]), wanted[:, :, None])[:, :, 0]
        return Clearing(chosen, self.clear(chosen).cost_usd, Prices(self.a * chosen, 0 * chosen))

    def regret_usd(self, p_mw: Array, price: Array) -> float:
        best = price / self.a
        return float((0.5 * self.a * p_mw**2 - price * p_mw - (0.5 * self.a * best**2 - price * best)).sum())

    def settle(self, p_mw: Array, support: Array | None) -> Clearing:
        return self.clear(p_mw)


class Aggregator:
    """own cost = sum 1/2 b (p - wanted)^2, so demand falls with the price."""

    b = 4.0

    def __init__(self, name: str, column: int) -> None:
        self.name, self.columns = name, slice(column, column + 1)
        self.adopted: Array | None = None
        self.asked: list[tuple[int, int]] = []
        self.bids: list[Bid] = []

    def respond(self, posting: PricePosting) -> Bid:
        self.asked.append((posting.step, posting.round))
        price, weight = posting.price_p_usd_per_mwh, posting.penalty_usd_per_mw2h
        target = 0.0 if posting.target_p_mw is None else posting.target_p_mw
        p = (self.b * WANTED - price + weight * target) / (self.b + weight)
        free = WANTED - price / self.b
        regret = float((self._own(p) + price * p - self._own(free) - price * free).sum())
        self.bids.append(Bid(
            sender=self.name, receiver=posting.sender, step=posting.step, round=posting.round, p_mw=p, q_mvar=0 * p,
            regret_usd=regret, cost_usd=float(self._own(p).sum()),
        ))  # fmt: skip
        return self.bids[-1]

    def adopt(self, p_mw: Array, solution: Array | None = None) -> float:
        self.adopted = p_mw
        return float(self._own(p_mw).sum())

    def _own(self, p: Array) -> Array:
        return np.asarray(0.5 * self.b * (p - WANTED) ** 2)


class Remembering(Channel):
    """A channel that keeps the awards that were sent, which its log does not."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.awards: dict[str, Award] = {}

    def send(self, message: Message) -> None:
        if isinstance(message, Award):
            self.awards[message.receiver] = message
        super().send(message)


def beside_the_award(outcome: Outcome) -> bool:
    """Whether an award came too late or never, and something else stood."""
    return any("award had not reached" in note for note in outcome.notes)


def scenario() -> Scenario:
    changes = {"clock.steps": STEPS, "clock.window_steps": STEPS, "decentralized.tolerance": 1e-6,
               "decentralized.penalty_usd_per_mw2h": 10.0}  # fmt: skip
    return load_scenario("ieee37", changes)[0]


SCENARIO = scenario()


def negotiated(spec: ChannelSpec, seed: int, **rules: Any) -> tuple[Outcome, Market]:
    """One window between the operator and two aggregators."""
    (outcome,), market = negotiated_in_turn(spec, seed, (Aggregator("west", 0), Aggregator("east", 1)), **rules)
    return outcome, market


def negotiated_in_turn(
    spec: ChannelSpec, seed: int, aggregators: tuple[Aggregator, ...], windows: int = 1, step_kw: float | None = None,
    **negotiation: Any,
) -> tuple[list[Outcome], Market]:
    """Windows of a rolling market, one as soon as the gate of the other has closed."""
    env = simpy.Environment()
    channel = Remembering(env, spec, np.random.default_rng(seed))
    clock = SCENARIO.clock.model_copy(update={"round_s": ROUND_S})
    rules = SCENARIO.market.model_copy(update={"bid_step_kw": step_kw})
    how = SCENARIO.decentralized.model_copy(update=negotiation)
    named = tuple(SCENARIO.aggregators[0].model_copy(update={"name": a.name}) for a in aggregators)
    given = SCENARIO.model_copy(
        update={"clock": clock, "market": rules, "decentralized": how, "aggregators": named}
    )
    seat = Seat(Operator(len(aggregators)), "", np.arange(len(aggregators)))  # type: ignore[arg-type]
    market = Market(Operators([seat]), aggregators, env, channel, given, 1.0)  # type: ignore[arg-type]
    found: list[Outcome] = []

    def run() -> Any:
        session = Session(market, Decentralized())
        for k in range(windows):
            yield env.timeout(k * GATE_S - env.now)
            window = Window(k, k, k + STEPS, k + 1, k * GATE_S, (k + 1) * GATE_S, ROUND_S)
            found.append((yield from session.agree(window, np.hstack([WANTED] * len(aggregators)))))

    env.run(until=env.process(run()))
    return found, market


RANGES = st.lists(st.floats(0, 30), min_size=2, max_size=2).map(sorted)
DELAYS = st.one_of(
    st.builds(dict, kind=st.just("constant"), seconds=st.floats(0, 30)),
    RANGES.map(lambda ends: {"kind": "uniform", "low_s": ends[0], "high_s": ends[1]}),
    st.builds(dict, kind=st.just("lognormal"), median_s=st.floats(0.01, 10), sigma=st.floats(0, 2)),
)
SPANS = st.tuples(st.floats(0, GATE_S), st.floats(0.1, GATE_S)).map(lambda s: {"from_s": s[0], "to_s": s[0] + s[1]})
OUTAGES = st.one_of(
    st.tuples(st.sampled_from(["dso", "west", "east"]), SPANS).map(lambda t: {"agent": t[0], **t[1]}),
    st.tuples(st.sampled_from(["west", "east"]), SPANS).map(lambda t: {"sender": "dso", "receiver": t[0], **t[1]}),
)
FAULTS = st.fixed_dictionaries({
    "latency": DELAYS,
    "loss": st.floats(0, 0.95),
    "duplicate": st.floats(0, 0.9),
    "burst": st.none() | st.fixed_dictionaries({"to_bad": st.floats(0, 1), "to_good": st.floats(0.01, 1)}),
    "outages": st.lists(OUTAGES, max_size=4),
    "links": st.just([]) | DELAYS.map(lambda d: [{"sender": "west", "receiver": "dso", "latency": d}]),
})  # fmt: skip


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(faults=FAULTS, seed=st.integers(0, 2**32 - 1))
def test_whatever_fails_the_window_ends_with_an_award_and_every_message_is_accounted_for(
    faults: dict[str, Any], seed: int
) -> None:
    outcome, market = negotiated(ChannelSpec.model_validate(faults), seed)
    channel = market.channel
    assert channel.sent == channel.received + channel.lost + channel.in_flight
    assert market.env.now >= 0 and outcome.clearing.p_mw.shape == (STEPS, 2)
    for a in market.aggregators:
        assert np.array_equal(a.adopted, outcome.clearing.p_mw[:, a.columns])  # type: ignore[attr-defined]
        _goes_by_its_award_or_its_word(a, market)  # type: ignore[arg-type]
    assert outcome.converged == (not any("no agreement" in note for note in outcome.notes))
    if outcome.converged:
        assert outcome.clearing.p_mw == pytest.approx(np.hstack([WANTED, WANTED]) * 4 / 14, abs=0.02)
    elif not outcome.rounds and not beside_the_award(outcome):
        assert np.array_equal(outcome.clearing.p_mw, np.hstack([WANTED, WANTED]))


def _goes_by_its_award_or_its_word(a: Aggregator, market: Market) -> None:
    """With an award in time it draws that; without one what it bid in the last two rounds it heard of, or declared."""
    arrived = [m.received_s for m in market.channel.log if m.kind == "award" and m.receiver == a.name]
    if any(at is not None and at <= GATE_S for at in arrived):
        assert np.array_equal(a.adopted, market.channel.awards[a.name].p_mw)  # type: ignore[attr-defined]
    else:
        known = [bid.p_mw for bid in a.bids[-2:]] + ([WANTED] if len(a.bids) < 2 else [])
        assert any(np.array_equal(a.adopted, p) for p in known)


def test_bids_of_the_window_before_count_for_nothing_in_this_one() -> None:
    """Bids that travel for as long as a gate is open arrive when rounds bear the same numbers again."""
    late = [{"sender": "west", "receiver": "dso", "latency": {"seconds": GATE_S}}]
    west = Aggregator("west", 0)
    outcomes, market = negotiated_in_turn(ChannelSpec.model_validate({"links": late}), 1, (west,), windows=3)
    assert sum(m.received_s is not None for m in market.channel.log if m.kind == "bid") > GATE_S / ROUND_S
    for outcome in outcomes:
        assert not outcome.converged and not outcome.rounds and np.array_equal(outcome.clearing.p_mw, WANTED)


def test_postings_of_the_window_before_are_not_answered() -> None:
    late = [{"sender": "dso", "receiver": "west", "latency": {"seconds": GATE_S}}]
    west = Aggregator("west", 0)
    negotiated_in_turn(ChannelSpec.model_validate({"links": late}), 1, (west,), windows=3)
    assert west.asked == []


def test_a_posting_that_comes_again_is_answered_with_the_same_bid() -> None:
    """Bids take two rounds: each posting is sent several times, and worked out once."""
    slow = [{"sender": "west", "receiver": "dso", "latency": {"seconds": 2 * ROUND_S}}]
    west = Aggregator("west", 0)
    _, market = negotiated_in_turn(ChannelSpec.model_validate({"links": slow}), 1, (west,))
    sent = [m.round for m in market.channel.log if m.kind == "bid"]
    assert len(sent) > len(set(sent)) == len(west.asked) == len(set(west.asked))


class Careless(Aggregator):
    """Bids its best, and draws something else."""

    def drawn_mw(self) -> Array:
        assert self.adopted is not None
        return self.adopted + 0.3


def test_on_a_grid_bids_do_not_agree_for_what_is_drawn() -> None:
    spec = ChannelSpec()
    agreed, _ = negotiated_in_turn(spec, 1, (Aggregator("west", 0),))
    (outcome,), market = negotiated_in_turn(spec, 1, (Careless("west", 0),), step_kw=1.0)
    assert agreed[0].converged and not outcome.converged
    assert any("of what is drawn" in note for note in outcome.notes)
    assert outcome.regrets_usd is not None
    # Half the curvature times the square of what is drawn beside the bids, in each step.
    assert outcome.regrets_usd[1] == pytest.approx(0.5 * Operator.a * 0.3**2 * STEPS, rel=1e-2)


def test_an_aggregator_that_stays_away_keeps_what_it_declared() -> None:
    down = [{"agent": "east", "from_s": 0, "to_s": 10 * GATE_S}]
    outcome, _ = negotiated(ChannelSpec.model_validate({"outages": down}), 1)
    assert not outcome.converged and np.array_equal(outcome.clearing.p_mw, np.hstack([WANTED, WANTED]))


def test_an_aggregator_that_comes_back_in_time_still_agrees() -> None:
    down = [{"agent": "east", "from_s": 10, "to_s": 60}]
    outcome, _ = negotiated(ChannelSpec.model_validate({"outages": down}), 1)
    assert outcome.converged and any("repeated" in note for note in outcome.notes)


def sent(market: Market, kind: str, receiver: str) -> list[float]:
    return [m.sent_s for m in market.channel.log if m.kind == kind and m.receiver == receiver]


def test_an_award_is_adopted_when_it_is_read_and_nothing_is_said_after_it() -> None:
    west = Aggregator("west", 0)
    (outcome,), market = negotiated_in_turn(ChannelSpec(), 1, (west,))
    (told,) = sent(market, "award", "west")
    assert outcome.converged and told + ROUND_S / 2 < GATE_S
    assert max(sent(market, "bid", "dso")) < told
    assert west.adopted is not None and np.array_equal(west.adopted, outcome.clearing.p_mw)


def test_a_lost_award_leaves_the_agreement_as_it_is() -> None:
    """Whoever agreed goes by its last bid, which is what the award says."""
    seen, _ = negotiated(ChannelSpec(), 1)
    lost = {"outages": [{"sender": "dso", "receiver": "west", "from_s": seen.rounds[-1].time_s, "to_s": GATE_S}]}
    outcome, market = negotiated(ChannelSpec.model_validate(lost), 1)
    assert [m.receiver for m in market.channel.log if m.kind == "award" and m.lost] == ["west"]
    assert outcome.converged and np.array_equal(outcome.clearing.p_mw, seen.clearing.p_mw)
    assert outcome.own_cost_usd == seen.own_cost_usd


def test_an_award_that_is_lost_is_replaced_by_what_counted_and_that_is_settled() -> None:
    """A rule that awards something else than the last bids, and an aggregator that never hears of it."""
    averaged = {"rule": "averaged", "max_rounds": 4}
    seen, _ = negotiated(ChannelSpec(), 1, **averaged)
    lost = {"outages": [{"sender": "dso", "receiver": "west", "from_s": seen.rounds[-1].time_s, "to_s": GATE_S}]}
    outcome, market = negotiated(ChannelSpec.model_validate(lost), 1, **averaged)
    west, east = market.aggregators
    assert np.array_equal(outcome.clearing.p_mw[:, east.columns], seen.clearing.p_mw[:, east.columns])
    assert not np.allclose(outcome.clearing.p_mw[:, west.columns], seen.clearing.p_mw[:, west.columns])
    assert np.array_equal(west.adopted, west.bids[-1].p_mw)  # type: ignore[attr-defined]
    assert outcome.clearing.prices.p_usd_per_mwh == pytest.approx(Operator.a * outcome.clearing.p_mw)
    assert not outcome.converged and outcome.regrets_usd is None
    assert any("had not reached west:" in note for note in outcome.notes)


def test_without_an_award_a_bid_that_was_asked_for_again_does_not_count() -> None:
    """East answers nothing, so that no round is complete; the award is under way when the gate closes."""
    down = [{"agent": "east", "from_s": 0, "to_s": 10 * GATE_S}]
    outcome, market = negotiated(ChannelSpec.model_validate({"outages": down, "latency": {"seconds": 1.0}}), 1)
    west = market.aggregators[0]
    assert len(sent(market, "bid", "dso")) > 1 and max(sent(market, "award", "west")) == GATE_S
    assert np.array_equal(west.adopted, WANTED)  # type: ignore[attr-defined]
    assert np.array_equal(outcome.clearing.p_mw, np.hstack([WANTED, WANTED]))


def test_what_is_wrong_in_an_agents_process_ends_the_run_with_its_own_error() -> None:
    class Broken(Aggregator):
        def respond(self, posting: PricePosting) -> Bid:
            raise InputError("no such thing", key="west.bid", value=posting.round)

    with pytest.raises(InputError, match="no such thing") as caught:
        negotiated_in_turn(ChannelSpec(), 1, (Broken("west", 0),))
    assert caught.value.key == "west.bid"


class BehindAWire(Aggregator):
    """Its process is somewhere else: what passes is bytes, and the moments at which it reads."""

    def run(self, env: simpy.Environment, desk: AggregatorDesk) -> Any:
        class Wire(Mailbox):
            def read(self, before: float | None = None) -> list[Message]:
                found: list[Message] = pickle.loads(pickle.dumps(desk.mailbox.read(before)))
                return found

        far = AggregatorDesk(env, Wire(env, lambda message: desk.mailbox.send(pickle.loads(pickle.dumps(message)))))
        env.process(bidding(Aggregator(self.name, self.columns.start), env, far))
        while True:
            far.open(pickle.loads(pickle.dumps((yield desk.opened))))
            desk.close((yield far.closed))


@pytest.mark.parametrize("loss", [0.0, 0.4])
def test_aggregators_behind_a_wire_cannot_be_told_from_some_that_are_here(loss: float) -> None:
    spec = ChannelSpec.model_validate({"loss": loss, "latency": {"kind": "lognormal", "median_s": 1, "sigma": 1}})
    here, market = negotiated_in_turn(spec, 1, (Aggregator("west", 0), Aggregator("east", 1)), windows=3)
    away, wired = negotiated_in_turn(spec, 1, (BehindAWire("west", 0), BehindAWire("east", 1)), windows=3)
    assert market.channel.log == wired.channel.log
    assert [o.clearing.p_mw.tobytes() for o in here] == [o.clearing.p_mw.tobytes() for o in away]


def test_an_agent_may_run_a_process_of_its_own() -> None:
    """One that only listens, and goes by what it declared."""

    class Silent(Aggregator):
        def run(self, env: simpy.Environment, desk: AggregatorDesk) -> Any:
            while True:
                opening = yield desk.opened
                yield env.timeout(opening.window.closes_s - env.now)
                desk.close(Standing(opening.declared_p_mw, self.adopt(opening.declared_p_mw), awarded=False))

    silent = Silent("west", 0)
    outcomes, market = negotiated_in_turn(ChannelSpec(), 1, (silent,), windows=2)
    assert sent(market, "bid", "dso") == [] and len(outcomes) == 2
    assert all(np.array_equal(o.clearing.p_mw, WANTED) and not o.converged for o in outcomes)


def test_a_crashed_aggregators_work_is_still_served() -> None:
    run = evening_of("ieee37", clock__steps=3, channel__outages=[{"agent": "dca", "from_s": 0.25, "to_s": 1e6}])
    assert kpi(run, "unserved_mwh") <= 1e-7 and run.work["late_mwh"].max() <= 1e-7
    assert not run.steps["converged"].all()
