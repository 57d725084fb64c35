"""What a scenario may change: market, connections, batteries, losses, settlement."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cosim
from cosim.agents.dca import DataCenterAggregator
from cosim.coordination import centralized
from cosim.errors import InputError
from cosim.simulation.runner import RunResult

from .conftest import EVENING, MODES, evening_of, kpi, payment_usd, simulation_of

ROLLING: dict[str, Any] = {
    "clock__market": "rolling", "clock__steps": 4, "clock__window_steps": 3, "clock__gate_s": 600,
}  # fmt: skip
TWO_WINDOWS: dict[str, Any] = {"clock__steps": 4, "clock__window_steps": 2}
# The dearest hour is the second of these, so that a battery is emptied while there is time to fill it again.
PEAK: dict[str, Any] = {"clock__start": "2024-07-15T18:00:00", "clock__steps": 4}
BATTERY = {"energy_kwh": 200, "power_kw": 100, "efficiency": 0.9, "reserve": 0.5, "initial": 0.75}


# -- markets ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rolling() -> RunResult:
    return evening_of("ieee37", **ROLLING)


def test_a_rolling_market_commits_every_step_once(rolling: RunResult) -> None:
    assert rolling.steps["step"].tolist() == list(range(4))
    assert len(rolling.demand) == 4 * 3


def test_a_rolling_market_has_one_award_a_step(rolling: RunResult) -> None:
    awards = rolling.messages.query("kind == 'award'")
    assert awards["step"].tolist() == list(range(4))


def test_a_rolling_market_serves_all_work_in_time(rolling: RunResult) -> None:
    assert kpi(rolling, "unserved_mwh") <= 1e-7
    assert rolling.work["late_mwh"].max() <= 1e-7


def test_a_look_ahead_of_one_step_makes_no_work_late() -> None:
    run = evening_of("ieee37_stress", "welfare", **ROLLING | {"clock__window_steps": 1}, network__losses=False)
    assert run.work["late_mwh"].max() <= 1e-7 and kpi(run, "unserved_mwh") <= 1e-7


def test_a_rolling_market_closes_each_gate_before_delivery(rolling: RunResult) -> None:
    awards = rolling.messages.query("kind == 'award'").set_index("step")["sent"]
    assert all(awards[t] <= 600 + 3600 * t for t in range(4))


def test_a_rolling_market_that_sees_everything_is_as_good_as_a_day_ahead_one() -> None:
    seeing = evening_of("ieee37", "welfare", **{**ROLLING, "clock__steps": 3})
    at_once = evening_of("ieee37", "welfare", clock__steps=3)
    assert kpi(seeing, "social_cost_usd") == pytest.approx(kpi(at_once, "social_cost_usd"), rel=1e-4)


def test_a_window_of_a_day_ahead_market_finishes_its_work() -> None:
    work = evening_of("ieee37", **TWO_WINDOWS).work
    for first in (0, 2):
        window = work[work["step"].between(first, first + 1)]
        assert window["served_mwh"].sum() == pytest.approx(window["arrived_mwh"].sum(), abs=1e-7)


def test_windows_of_a_day_ahead_market_each_have_their_award() -> None:
    run = evening_of("ieee37", "welfare", **TWO_WINDOWS)
    assert run.messages.query("kind == 'award'")["step"].tolist() == [0, 2]


@pytest.mark.slow
def test_two_equal_days_repeat() -> None:
    run = cosim.run("ieee37", mode="decentralized", overrides={"clock.steps": 48})
    cost = run.steps["social_cost_usd"].to_numpy()
    assert cost[24:].sum() == pytest.approx(cost[:24].sum(), rel=1e-6)
    assert run.steps["converged"].all()


def test_half_hour_steps_cost_what_hours_cost() -> None:
    changes: dict[str, Any] = {"clock__step_s": 1800, "clock__window_steps": 24, "clock__gate_s": 1800}
    hours = evening_of("ieee37", "uncoordinated", clock__steps=2)
    halves = evening_of("ieee37", "uncoordinated", **{**changes, "clock__steps": 4})
    assert kpi(halves, "energy_mwh") == pytest.approx(kpi(hours, "energy_mwh"), rel=1e-9)
    assert kpi(halves, "social_cost_usd") == pytest.approx(kpi(hours, "social_cost_usd"), rel=1e-6)
    assert kpi(halves, "dca_payment_usd") == pytest.approx(kpi(hours, "dca_payment_usd"), rel=1e-4)


# -- battery ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Charge:
    """Charge after each step as it follows from what the site drew, and as the aggregator has it at the end (MWh)."""

    after_mwh: np.ndarray[Any, np.dtype[np.float64]]
    booked_mwh: float
    social_cost_usd: float


@cache
def charge(market: str) -> Charge:
    """The battery of dc740 over the peak of the evening in a market."""
    changes = ROLLING if market == "rolling" else {}
    simulation = simulation_of("ieee37", "welfare", datacenters__dc740__battery=BATTERY, **{**changes, **PEAK})
    tables = simulation.run().tables()
    demand, work, steps = tables.demand, tables.work, tables.steps
    drawn = demand.query("datacenter == 'dc740'").set_index("step")["p_kw"] / 1000
    served = work.query("datacenter == 'dc740'").groupby("step")["served_mwh"].sum()
    net = (drawn - 1.10 * (0.090 + served)).to_numpy()
    flow = 0.9 * np.maximum(net, 0) - np.maximum(-net, 0) / 0.9
    (aggregator,) = simulation.market.aggregators
    assert isinstance(aggregator, DataCenterAggregator)
    return Charge(0.15 + flow.cumsum(), float(aggregator.charge_mwh[2]), float(steps["social_cost_usd"].sum()))


MARKETS = pytest.mark.parametrize("market", ["day_ahead", "rolling"])


@MARKETS
def test_a_battery_stays_between_its_reserve_and_full(market: str) -> None:
    assert charge(market).after_mwh.min() >= 0.1 - 1e-6
    assert charge(market).after_mwh.max() <= 0.2 + 1e-6


@MARKETS
def test_the_books_of_a_battery_balance(market: str) -> None:
    assert charge(market).after_mwh[-1] == pytest.approx(charge(market).booked_mwh, abs=1e-6)


@MARKETS
def test_a_battery_ends_with_no_less_than_it_began_with(market: str) -> None:
    assert charge(market).after_mwh[-1] >= 0.15 - 1e-6


def test_a_battery_is_used_and_saves_what_it_is_used_for() -> None:
    assert np.ptp(charge("day_ahead").after_mwh) > 0.01
    assert charge("day_ahead").social_cost_usd < kpi(evening_of("ieee37", "welfare", **PEAK), "social_cost_usd")


# -- connections, losses, settlement ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("connection", "phases", "mode"),
    [("per_phase", ["ab", "bc", "ca"], "centralized"), ("ab", ["ab"], "decentralized"),
     pytest.param("per_phase", ["ab", "bc", "ca"], "decentralized", marks=pytest.mark.slow),
     pytest.param("ab", ["ab"], "centralized", marks=pytest.mark.slow)],
)  # fmt: skip
def test_a_data_center_may_be_connected_leg_by_leg(connection: str, phases: list[str], mode: str) -> None:
    run = evening_of("ieee37", mode, clock__steps=2, datacenters__dc740__connection=connection)
    assert run.demand.query("datacenter == 'dc740' and step == 0")["phase"].tolist() == phases
    booked = run.steps["dca_payment_usd"].to_numpy()
    assert payment_usd(run).to_numpy() == pytest.approx(booked, rel=1e-6)


def test_legs_that_are_free_cost_no_more_than_legs_that_are_tied() -> None:
    free = evening_of("ieee37", "welfare", clock__steps=2, datacenters__dc740__connection="per_phase")
    tied = evening_of("ieee37", "welfare", clock__steps=2)
    assert kpi(free, "social_cost_usd") < kpi(tied, "social_cost_usd")


@pytest.mark.parametrize(
    "mode", [pytest.param(m, marks=() if m in ("decentralized", "centralized") else pytest.mark.slow) for m in MODES]
)
def test_without_losses_every_mode_runs(mode: str) -> None:
    run = evening_of("ieee37", mode, clock__steps=2, network__losses=False)
    assert run.steps["converged"].all()


def test_without_losses_and_limits_one_price_holds() -> None:
    """What is left of the loss part is the voltage dependence of the base load, a few percent at most."""
    run = evening_of("ieee37", "uncoordinated", clock__steps=1, network__losses=False, network__v_min_pu=0.8)
    assert run.prices["dlmp_p"].to_numpy() == pytest.approx(float(run.steps["price_sub_usd_per_mwh"].iloc[0]), rel=0.05)


def test_settlement_on_active_power_charges_active_power_only() -> None:
    run = evening_of("ieee37", clock__steps=3, market__settlement="active")
    prices = run.prices.assign(dlmp_q=0.0)
    active = type(run)(run.record, type(run.tables)(**{**dict(run.tables.items()), "prices": prices}), run.layout, None)
    booked = run.steps["dca_payment_usd"].to_numpy()
    assert payment_usd(active).to_numpy() == pytest.approx(booked, rel=1e-6)
    assert np.abs(payment_usd(run).to_numpy() - booked).max() > 0.01


def test_a_leader_that_pays_for_active_power_only_is_booked_what_its_certificate_says() -> None:
    run = evening_of("ieee37_stress", "centralized", clock__steps=3, market__settlement="active")
    proof = run.record.certificate
    assert proof is not None and proof["passed"] and kpi(run, "mip_gap") <= 1e-3
    assert kpi(run, "dca_payment_usd") == pytest.approx(proof["payment_optimistic"], rel=1e-5)


def test_a_leader_that_pays_for_active_power_only_is_not_better_off_with_another_schedule() -> None:
    """The schedule of a leader that pays for both, at what its active power costs, is one it could have chosen."""
    changes: dict[str, Any] = {"clock__steps": 3, "clock__window_steps": 3, "centralized__gap": 1e-4}
    active = evening_of("ieee37_stress", "centralized", market__settlement="active", **changes)
    other = evening_of("ieee37_stress", "centralized", **changes)
    prices = other.prices.assign(dlmp_q=0.0)
    elsewhere = type(other)(
        other.record, type(other.tables)(**{**dict(other.tables.items()), "prices": prices}), other.layout, None
    )
    own = kpi(other, "dca_cost_usd") - kpi(other, "dca_payment_usd")
    assert kpi(active, "dca_cost_usd") <= (own + payment_usd(elsewhere).sum()) * (1 + 2e-4)


def test_takers_that_pay_for_active_power_only_are_refused_under_a_leader() -> None:
    with pytest.raises(InputError, match="takers") as caught:
        two = [{"name": "west", "datacenters": ["dc718"]}, {"name": "east", "datacenters": ["dc736", "dc740"]}]
        changes: dict[str, Any] = {"aggregators": two, "centralized__leader": "west", "market__settlement": "active"}
        evening_of("ieee37", "centralized", clock__steps=1, **changes)
    assert caught.value.key == "market.settlement"


def test_a_comparison_that_a_mode_must_refuse_is_refused_before_anything_runs(tmp_path: Path) -> None:
    wrong = {"centralized.solver": "branch", "centralized.formulation": "kkt-mccormick"}
    overrides = {**EVENING, "clock.steps": 1, **wrong}
    with pytest.raises(InputError, match="strong duality"):
        cosim.compare("ieee37", modes=("uncoordinated", "centralized"), overrides=overrides, out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_sloped_supply_makes_prices_rise_with_the_import() -> None:
    flat = evening_of("ieee37", "uncoordinated", clock__steps=1)
    sloped = evening_of("ieee37", "uncoordinated", clock__steps=1, market__slope_usd_per_mwh_per_mw=10.0)
    rise = float(sloped.prices["energy"].mean() - flat.prices["energy"].mean())
    assert rise == pytest.approx(10.0 * float(sloped.steps["p_sub_kw"].iloc[0]) / 1000, rel=1e-6)


def test_rolling_windows_under_a_leader_come_out_the_same_without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    changes: dict[str, Any] = {**ROLLING, "clock__steps": 3, "network__losses": False, "centralized__gap": 1e-5}
    remembering = evening_of("ieee37", "centralized", **changes)
    decide = centralized.decide
    monkeypatch.setattr(centralized, "decide", lambda market, _: decide(market))
    forgetting = evening_of("ieee37", "centralized", **changes)
    assert kpi(remembering, "dca_cost_usd") == pytest.approx(kpi(forgetting, "dca_cost_usd"), rel=2e-5)
