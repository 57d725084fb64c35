"""Rules of the market: what is charged lies between floor and cap, bids lie on a grid."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import linprog

from cosim.coordination.base import Outcome
from cosim.coordination.rules import Round, Rule
from cosim.coordination.rules.simple import BestResponse
from cosim.coordination.welfare import optimum
from cosim.errors import InputError
from cosim.scenario.loading import load_scenario
from cosim.simulation.simulation import Simulation
from tests.coordination.conftest import evening_of, simulation_of

LIMITS = {"market__price_floor_usd_per_mwh": 60.0, "market__price_cap_usd_per_mwh": 120.0}


@pytest.mark.parametrize("mode", ["uncoordinated", "decentralized", "welfare", "centralized"])
def test_no_mode_charges_below_the_floor_or_above_the_cap(mode: str) -> None:
    simulation = simulation_of("ieee37_stress", mode, **LIMITS)
    books = simulation.run()
    charged = np.vstack([o.clearing.prices.p_usd_per_mwh for o in books.outcomes])
    assert charged.min() >= 60.0 and charged.max() == 120.0
    assert any("price floor of 60" in note for note in books.notes) == (charged.min() == 60.0)
    assert any("price cap of 120" in note for note in books.notes)


def test_limits_of_the_price_change_what_is_paid_but_not_what_is_done() -> None:
    free, limited = (evening_of("ieee37_stress", "welfare", clock__steps=2, **changes) for changes in ({}, LIMITS))
    assert free.kpis["dca_payment_usd"] != limited.kpis["dca_payment_usd"]
    assert free.demand.equals(limited.demand) and free.prices.equals(limited.prices)


def test_a_negative_price_is_paid_to_who_draws_unless_there_is_a_floor() -> None:
    given = {"market__price_usd_per_mwh": {"values": [-30.0] * 2}, "generators": [], "market__settlement": "active",
             "clock__steps": 2}  # fmt: skip
    paid = evening_of("ieee37", "welfare", **given).kpis["dca_payment_usd"]
    floored = evening_of("ieee37", "welfare", **given, market__price_floor_usd_per_mwh=0.0).kpis["dca_payment_usd"]
    assert paid is not None and paid < 0
    assert floored is not None and floored >= 0


def test_a_floor_above_the_cap_is_refused() -> None:
    with pytest.raises(InputError, match="above price_cap"):
        load_scenario("ieee37", {"market.price_floor_usd_per_mwh": 5, "market.price_cap_usd_per_mwh": 4})


def bids_of(step_kw: float, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """All bids of a negotiation on a grid."""
    bids = []

    def watched(rule: Rule, made: Round) -> str:
        bids.append(made.p_mw)
        return ended(rule, made)

    ended = Rule.ended
    monkeypatch.setattr(Rule, "ended", watched)
    changes = {"market__bid_step_kw": step_kw, "decentralized__tolerance": 1e-3, "clock__steps": 3}
    run = evening_of("ieee37_stress", **changes)
    assert run.steps["converged"].all() and run.kpis["unserved_mwh"] == pytest.approx(0, abs=1e-7)
    return bids


def test_bids_lie_on_the_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    on_grid = np.concatenate(bids_of(5.0, monkeypatch)) / 0.005
    assert np.abs(on_grid - np.round(on_grid)).max() <= 1e-9


def test_what_is_drawn_is_within_the_grid_of_the_last_bid(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = simulation_of(
        "ieee37_stress", market__bid_step_kw=5.0, decentralized__tolerance=1e-3, clock__steps=3
    )
    bids = []
    ended = Rule.ended
    monkeypatch.setattr(Rule, "ended", lambda rule, made: (bids.append(made.p_mw), ended(rule, made))[1])
    (outcome,) = simulation.run().outcomes
    assert np.abs(outcome.clearing.p_mw - bids[-1]).max() <= 0.005


@pytest.mark.parametrize("step_kw", [100.0, *(pytest.param(kw, marks=pytest.mark.slow) for kw in (10.0, 20.0))])
def test_on_any_grid_nothing_is_late(step_kw: float) -> None:
    run = evening_of("ieee37_stress", market__bid_step_kw=step_kw, decentralized__max_rounds=2, clock__steps=3)
    assert run.work["late_mwh"].max() <= 1e-7 and run.kpis["unserved_mwh"] == pytest.approx(0, abs=1e-7)


def test_what_is_drawn_is_the_nearest_to_the_award_in_which_nothing_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """A point of a convex set is nearest to another one if no direction within the set leads towards that."""
    answered = watched(monkeypatch)
    changes = {"market__bid_step_kw": 20.0, "decentralized__max_rounds": 2, "clock__steps": 3}
    simulation = simulation_of("ieee37_stress", **changes)
    (outcome,) = simulation.run().outcomes
    drawn, names = outcome.clearing.p_mw, simulation.market.operator.parameter_names()
    towards = drawn - answered[-1].p_mw
    schedule = simulation.market.aggregators[0].problem(names)
    cost = dict(zip(np.ravel(names), towards.ravel(), strict=True))
    never = ("dca.late[", "dca.waiting[0,", "dca.waiting[1,")
    found = linprog(
        [cost.get(name, 0.0) for name in schedule.variables],
        A_ub=schedule.ineq_matrix, b_ub=schedule.ineq_rhs, A_eq=schedule.eq_matrix, b_eq=schedule.eq_rhs,
        bounds=[(None, 0.0 if name.startswith(never) else None) for name in schedule.variables],
    )  # fmt: skip
    assert np.abs(towards).max() > 1e-3 and (towards * drawn).sum() - found.fun <= 1e-7


@pytest.mark.parametrize("step_kw", [None, 20.0, pytest.param(100.0, marks=pytest.mark.slow)])
def test_the_regrets_bound_the_welfare_gap_whatever_the_grid(step_kw: float | None) -> None:
    changes = {"market__bid_step_kw": step_kw, "decentralized__max_rounds": 3, "clock__steps": 3}
    simulation = simulation_of("ieee37_stress", **changes)
    (outcome,) = simulation.run().outcomes
    assert outcome.regrets_usd is not None
    assert gap_usd(simulation, outcome) <= sum(outcome.regrets_usd) + 1e-6


@pytest.mark.parametrize("rule", ["admm", "best_response", pytest.param("proximal", marks=pytest.mark.slow)])
def test_with_settlement_on_active_power_the_unpaid_price_is_part_of_the_bound(
    rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gap <= regrets + sum of (operator's price - charged price) (demand - optimal demand); not without that sum."""
    answered = watched(monkeypatch)
    changes = {"market__settlement": "active", "decentralized__rule": rule, "decentralized__max_rounds": 20,
               "market__reactive_price_usd_per_mvarh": 30.0, "datacenters__dc740__power_factor": 0.5}  # fmt: skip
    simulation = simulation_of("ieee37_stress", clock__steps=3, **changes)
    books = simulation.run()
    (outcome,), market = books.outcomes, simulation.market
    assert outcome.regrets_usd is not None
    posted = answered[-1].posted.prices
    unpaid = market.effective(posted) - posted.p_usd_per_mwh
    apart = outcome.clearing.p_mw - optimum(market).p_mw
    bound = sum(outcome.regrets_usd) + market.hours * float((unpaid * apart).sum())
    assert gap_usd(simulation, outcome) <= bound + 1e-6
    assert any("do not bound" in note for note in books.notes)
    if rule == "admm":
        assert outcome.converged and gap_usd(simulation, outcome) > sum(outcome.regrets_usd) + 1e-3


def watched(monkeypatch: pytest.MonkeyPatch) -> list[Round]:
    """The rounds of the runs to come, as their rule saw them."""
    rounds: list[Round] = []
    for kind in (Rule, BestResponse):

        def seen(rule: Rule, made: Round, ended: Callable[[Rule, Round], str] = kind.ended) -> str:
            if not any(made is other for other in rounds):
                rounds.append(made)
            return ended(rule, made)

        monkeypatch.setattr(kind, "ended", seen)
    return rounds


def gap_usd(simulation: Simulation, outcome: Outcome) -> float:
    """What an outcome of the open window costs above the optimum."""
    return outcome.clearing.cost_usd + outcome.own_cost_usd - optimum(simulation.market).social_cost_usd
