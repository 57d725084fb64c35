"""Leaders among several aggregators: one over price takers, and each in turn."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Any

import numpy as np
import pytest

import cosim
from cosim.agents.dca import DataCenterAggregator
from cosim.coordination import leaders
from cosim.coordination.leaders import Decision
from cosim.errors import InputError
from cosim.protocol.roles import AggregatorAgent, Array
from cosim.simulation.books import Books
from cosim.simulation.simulation import Simulation
from tests.coordination.conftest import simulation_of

TWO = [{"name": "west", "datacenters": ["dc718"]}, {"name": "east", "datacenters": ["dc736", "dc740"]}]
GAP = 1e-3


@cache
def led(leader: str) -> tuple[Simulation, Books]:
    mode = "welfare" if leader == "nobody" else "centralized"
    named: dict[str, Any] = {} if leader == "nobody" else {"centralized__leader": leader}
    named |= {"clock__start": "2024-07-15T18:00:00", "clock__steps": 3}
    simulation = simulation_of("ieee37_stress", mode, aggregators=TWO, centralized__gap=GAP, **named)
    return simulation, simulation.run()


def aggregator(simulation: Simulation, name: str) -> DataCenterAggregator:
    (found,) = (a for a in simulation.market.aggregators if a.name == name)
    assert isinstance(found, DataCenterAggregator)
    return found


def settled(leader: str, name: str) -> tuple[Array, Array, float]:
    """An aggregator's demand (MW), the price it pays for it (USD/MWh), and its own cost (USD)."""
    simulation, books = led(leader)
    a, clearing = aggregator(simulation, name), books.outcomes[0].clearing
    price = simulation.market.effective(clearing.prices)[:, a.columns]
    x = a._x
    assert x is not None
    return clearing.p_mw[:, a.columns], price, a._qp.objective(x)


def cost_usd(leader: str, name: str) -> float:
    p_mw, price, own = settled(leader, name)
    return own + float((price * p_mw).sum())


@pytest.mark.parametrize(("leader", "taker"), [("east", "west"), ("west", "east")])
def test_who_does_not_lead_has_no_regret_at_the_price(leader: str, taker: str) -> None:
    p_mw, price, own = settled(leader, taker)
    assert aggregator(led(leader)[0], taker)._regret(price, p_mw, own) <= 1e-4


@pytest.mark.parametrize("leader", ["east", "west"])
def test_a_leader_pays_no_more_than_where_all_take_prices(leader: str) -> None:
    assert cost_usd(leader, leader) <= cost_usd("nobody", leader) + 1e-6


def test_leading_alone_is_worth_something_where_limits_bind() -> None:
    assert cost_usd("east", "east") < (1 - 2 * GAP) * cost_usd("nobody", "east")


@pytest.mark.parametrize("name", ["east", "west"])
def test_no_leader_gains_by_leaving_the_point_where_turns_end(name: str) -> None:
    """Other feasible demand, cleared anew by the operator, costs the leader no less."""
    simulation, books = led("each")
    assert any("settled" in note for note in books.notes)
    a, market, rng = aggregator(simulation, name), simulation.market, np.random.default_rng(1)
    here = books.outcomes[0].clearing.p_mw
    for _ in range(8):
        x = a._solver.solve(np.zeros(0), extra_linear=50 * rng.standard_normal(len(a._qp.variables))).require().x
        weight = rng.uniform(0.02, 1)
        assert a._x is not None
        mixed = weight * x + (1 - weight) * a._x
        p_mw = here.copy()
        p_mw[:, a.columns] = mixed[a._columns]
        price = market.effective(market.operator.clear(p_mw).prices)[:, a.columns]
        there = a._qp.objective(mixed) + float((price * p_mw[:, a.columns]).sum())
        assert there >= (1 - GAP) * cost_usd("each", name) - 1e-6


def test_turns_that_run_out_say_how_far_demand_still_moves() -> None:
    books = simulation_of(
        "ieee37_stress", "centralized", clock__steps=2, aggregators=TWO, centralized__leader="each",
        centralized__max_sweeps=1, centralized__settled_kw=1e-9,
    ).run()  # fmt: skip
    assert any("did not settle in 1 sweeps" in note for note in books.notes)


def test_turns_that_come_round_again_name_their_period(monkeypatch: pytest.MonkeyPatch) -> None:
    """A leader that answers every sweep with the opposite never settles; the real optimum is found on the way."""
    lead = leaders.lead
    sweeps: list[str] = []

    def restless(
        market: Any,
        who: Collection[AggregatorAgent],
        decision: Decision,
        name: str,
        fixed: Collection[AggregatorAgent] = (),
    ) -> None:
        lead(market, who, decision, name, fixed)
        sweeps.append(name)
        if sweeps.count(name) % 2:
            decision.p_mw = decision.p_mw * 0.9

    monkeypatch.setattr(leaders, "lead", restless)
    simulation = simulation_of(
        "ieee37", "centralized", clock__steps=1, aggregators=TWO, centralized__leader="each"
    )
    market, window = simulation.market, next(iter(simulation.prepared.calendar.windows()))
    market.operator.open_window(window, market.declared(window))
    decision = leaders.decide(market)
    assert "comes back after 2 sweeps" in decision.notes[0]


def test_a_leader_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="no such leader") as caught:
        cosim.run("ieee37", mode="centralized", overrides={"centralized.leader": "north"})
    assert caught.value.key == "centralized.leader"
