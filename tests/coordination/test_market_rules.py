"""Rules of the market: what is charged lies between floor and cap, bids lie on a grid."""

from __future__ import annotations

import numpy as np
import pytest

from cosim.coordination.rules import Round, Rule
from cosim.errors import InputError
from cosim.loading import load_scenario
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
    free, limited = evening_of("ieee37_stress", "welfare"), evening_of("ieee37_stress", "welfare", **LIMITS)
    assert free.kpis["dca_payment_usd"] != limited.kpis["dca_payment_usd"]
    assert free.demand.equals(limited.demand) and free.prices.equals(limited.prices)


def test_a_negative_price_is_paid_to_who_draws_unless_there_is_a_floor() -> None:
    given = {"market__price_usd_per_mwh": {"values": [-30.0] * 6}, "generators": [], "market__settlement": "active"}
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
