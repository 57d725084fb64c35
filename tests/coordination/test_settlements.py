"""Two settlements: positions day ahead, deviations at real-time prices."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

import cosim
from cosim.coordination.settlement import in_real_time
from cosim.errors import InputError
from cosim.scenario.forecasts.information import Information
from cosim.scenario.loading import load_scenario
from cosim.simulation.runner import RunResult

from .conftest import MODES, dotted, kpi
from .test_delivery import Watched, watched

HOURS: dict[str, Any] = {"clock.start": "2024-07-15T17:00:00", "clock.steps": 2, "clock.window_steps": 2,
                         "clock.gate_s": 1800}  # fmt: skip
TWICE: dict[str, Any] = {"clock.market": "two_settlement"}
ERRORS = {"default": {"kind": "error", "std_1h": 0.05, "std_24h": 0.2}}
SLOW = pytest.mark.slow
UNLIKE = ("time", "market", "mode")
TIMED = ("wall_s", "solver_s")


def ran(mode: str, scenario: str = "ieee37", forecasts: Any = None, **changes: Any) -> RunResult:
    """A short run, with further keys given as ``clock__steps=2``; the same one is run once."""
    known = {} if forecasts is None else {"forecasts": forecasts}
    return _ran(mode, scenario, json.dumps({**HOURS, **known, **dotted(changes)}))


@cache
def _ran(mode: str, scenario: str, overrides: str) -> RunResult:
    return cosim.run(scenario, mode=mode, overrides=json.loads(overrides))


def twice(mode: str, scenario: str = "ieee37", forecasts: Any = None, **changes: Any) -> RunResult:
    return ran(mode, scenario, forecasts, clock__market="two_settlement", **changes)


def apart(one: pd.DataFrame, other: pd.DataFrame) -> float:
    """Largest relative difference of any number in two tables of the same rows."""
    numbers = [c for c in one.columns if one[c].dtype.kind == "f"]
    rest = [c for c in one.columns if c not in (*numbers, *UNLIKE)]
    assert one[rest].equals(other[rest])
    a, b = one[numbers].to_numpy(), other[numbers].to_numpy()
    assert (np.isnan(a) == np.isnan(b)).all()
    return float(np.nanmax(np.abs(a - b) / np.maximum(1.0, np.abs(a)), initial=0.0))


SAME = [
    *((mode, "ieee37", {}) for mode in MODES),
    ("envelope", "ieee37_flexible", {}),
    pytest.param("decentralized", "ieee37", {"decentralized__rule": "tariff"}, marks=SLOW),
]


@pytest.mark.parametrize(("mode", "scenario", "changes"), SAME)
def test_with_perfect_forecasts_two_settlements_are_the_single_one(
    mode: str, scenario: str, changes: dict[str, Any]
) -> None:
    once, two = ran(mode, scenario, **changes), twice(mode, scenario, **changes)
    for table in ("steps", "accounts", "demand", "dispatch", "prices", "envelopes"):
        assert apart(getattr(once.tables, table), getattr(two.tables, table)) <= 1e-9, table
    alike = {k: v for k, v in once.kpis.items() if k not in TIMED and v is not None}
    assert {k: v for k, v in two.kpis.items() if k in alike} == pytest.approx(alike, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("mode", ["welfare", pytest.param("uncoordinated", marks=SLOW)])
def test_agreed_on_anew_in_each_window_with_perfect_forecasts_payments_are_those_of_the_single_settlement(
    mode: str,
) -> None:
    """A look-ahead of one's own has every real-time window agreed on anew; what it leads to is the rest of the plan."""
    once, two = ran(mode), twice(mode, market__real_time__window_steps=2)
    rounds = two.tables.rounds
    assert set(two.tables.steps["rounds"]) == {0} or set(rounds["step"]) == {0, 1}
    assert kpi(two, "dca_payment_usd") == pytest.approx(kpi(once, "dca_payment_usd"), rel=1e-9)
    assert apart(once.tables.demand, two.tables.demand) <= 1e-8


def test_a_position_is_what_the_day_ahead_market_alone_agrees_on_by_the_same_forecasts() -> None:
    simulations = {
        market: watched_market(market) for market in ("day_ahead", "two_settlement")
    }
    agreed = simulations["day_ahead"].decided[0]
    assert simulations["two_settlement"].decided[0] == agreed


def watched_market(market: str) -> Watched:
    return watched("error", "decentralized", None, **HOURS, **{"clock.market": market})


def test_each_aggregator_pays_day_ahead_prices_for_its_position_and_prices_of_delivery_for_the_rest() -> None:
    two = twice("welfare", forecasts=ERRORS)
    d = two.tables.deviations
    ratio = two.tables.demand["q_kvar"] / two.tables.demand["p_kw"]
    effective = {s: d[f"{s}_usd_per_mwh"] + ratio * d[f"{s}_usd_per_mvarh"] for s in ("day_ahead", "real_time")}
    paid = effective["day_ahead"] * d["position_kw"] + effective["real_time"] * (d["drawn_kw"] - d["position_kw"])
    by_step = paid.groupby(d["step"]).sum() / 1000
    assert (d["deviation_kw"].abs() > 1.0).any()
    assert two.tables.steps["dca_payment_usd"].to_numpy() == pytest.approx(by_step.to_numpy(), rel=1e-12)


def test_real_time_prices_are_those_of_delivery_and_day_ahead_prices_are_not() -> None:
    d, legs = twice("welfare", forecasts=ERRORS), ["ab", "bc", "ca"]
    prices = d.tables.prices
    at_718 = prices[(prices["bus"] == "718") & prices["phase"].isin(legs)].groupby("step")["dlmp_p"].mean()
    mine = d.tables.deviations[d.tables.deviations["datacenter"] == "dc718"]
    assert mine["real_time_usd_per_mwh"].to_numpy() == pytest.approx(at_718.to_numpy(), rel=1e-9)
    assert np.abs(mine["day_ahead_usd_per_mwh"].to_numpy() - at_718.to_numpy()).min() > 0.1


@SLOW
def test_a_tariff_in_real_time_prices_deviations_alone() -> None:
    changes = {"market__tariff_usd_per_mwh": {"constant": 70.0}, "market__real_time__mode": "decentralized",
               "market__real_time__rule": "tariff"}  # fmt: skip
    d = twice("welfare", forecasts=ERRORS, **changes).tables.deviations
    assert set(d["real_time_usd_per_mwh"]) == {70.0} and 70.0 not in set(d["day_ahead_usd_per_mwh"])


def test_real_time_has_a_floor_and_a_cap_of_its_own_and_an_aggregators_go_before_them() -> None:
    two = [{"name": "a", "datacenters": ["dc718"], "price_cap_usd_per_mwh": 30.0},
           {"name": "b", "datacenters": ["dc736", "dc740"]}]  # fmt: skip
    changes = {"aggregators": two, "market__real_time__price_cap_usd_per_mwh": 20.0}
    d = twice("welfare", forecasts=ERRORS, **changes).tables.deviations.groupby("aggregator").max()
    assert d["real_time_usd_per_mwh"].to_dict() == {"a": 30.0, "b": 20.0}
    assert d.loc["a", "day_ahead_usd_per_mwh"] == 30.0 and d.loc["b", "day_ahead_usd_per_mwh"] > 40.0


@pytest.mark.parametrize(
    ("mode", "second"), [pytest.param("envelope", "decentralized", marks=SLOW), ("welfare", "envelope")]
)
def test_limits_may_be_posted_in_either_settlement(mode: str, second: str) -> None:
    two = twice(mode, "ieee37_flexible", ERRORS, market__real_time__mode=second)
    assert len(two.tables.envelopes) == (6 if second == "envelope" else 0)
    drawn = two.tables.demand.groupby("step")["p_kw"].sum()
    if second == "envelope":
        limit = two.tables.envelopes.groupby("step")["limit_kw"].sum()
        assert (drawn <= limit * (1 + 1e-6)).all()
    held = two.tables.deviations.groupby("step")["position_kw"].sum()
    assert (held > 0).all() and not np.allclose(held, drawn)


def test_each_operator_is_paid_for_the_sites_on_its_feeder() -> None:
    two = twice("welfare", "two_feeders", ERRORS, clock__steps=1, clock__window_steps=1)
    d, keys = two.tables.deviations, ["step", "feeder"]
    paid = (d["day_ahead_payment_usd"] + d["deviation_payment_usd"]).groupby([d[k] for k in keys]).sum()
    assert two.tables.feeders.set_index(keys)["dca_payment_usd"].to_dict() == pytest.approx(paid.to_dict(), rel=1e-12)
    a = two.tables.accounts
    theirs = a[a["kind"] == "datacenter"].groupby(keys)[["paid_usd", "received_usd"]].sum()
    assert (theirs["paid_usd"] - theirs["received_usd"]).to_dict() == pytest.approx(paid.to_dict(), rel=1e-12)


@SLOW
def test_settlement_on_active_power_leaves_reactive_power_out_of_both() -> None:
    d = twice("welfare", forecasts=ERRORS, market__settlement="active").tables.deviations
    paid = d["day_ahead_usd_per_mwh"] * d["position_kw"] / 1000
    assert d["day_ahead_payment_usd"].to_numpy() == pytest.approx(paid.to_numpy(), rel=1e-12)
    beside = d["real_time_usd_per_mwh"] * d["deviation_kw"] / 1000
    assert d["deviation_payment_usd"].to_numpy() == pytest.approx(beside.to_numpy(), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("mode", ["uncoordinated", pytest.param("welfare", marks=SLOW)])
def test_no_decision_of_either_settlement_knows_what_happens_after_its_window_opens(mode: str) -> None:
    changes = {**TWICE, "clock.steps": 2}
    plain = watched("sampled", mode, None, **changes)
    assert len(plain.decided) == 3
    for at in range(1, 3) if mode == "welfare" else (2,):
        changed = watched("sampled", mode, at, **changes)
        assert changed.decided[: at + 1] == plain.decided[: at + 1]
        ours, others = (x.books.tables().steps["dso_cost_usd"].to_numpy() for x in (plain, changed))
        assert not np.allclose(ours[at - 1 :], others[at - 1 :])


def test_a_day_that_goes_as_forecast_for_a_while_is_agreed_on_anew_after_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Information, "shows", lambda _, before, steps: steps.start < 2)
    monkeypatch.setattr(Information, "foreseen", lambda _, window: True)
    day = {"clock.steps": 4, "clock.window_steps": 4}
    two = watched("error", "uncoordinated", None, **{**HOURS, **TWICE, **day})
    assert len(two.decided) == 3  # the day, and the windows of the last two steps


@SLOW
def test_value_of_information_and_welfare_gap_are_told_of_two_settlements() -> None:
    two = twice("welfare", forecasts=ERRORS, results__value_of_information=True)
    foresight = kpi(twice("welfare"), "social_cost_usd")
    assert kpi(two, "perfect_social_cost_usd") == pytest.approx(foresight, rel=1e-9) and two.kpis["welfare_gap"] is None
    assert kpi(twice("welfare"), "welfare_gap") == pytest.approx(0.0, abs=1e-9)


@SLOW
def test_a_run_is_the_same_bytes_again(tmp_path: Any) -> None:
    first = cosim.run("ieee37", mode="decentralized", overrides={**HOURS, **TWICE, "forecasts": ERRORS},
                      out=tmp_path / "run", figures=False)  # fmt: skip
    assert first.folder is not None
    again = cosim.rerun(tmp_path / "run", out=tmp_path / "again")
    assert not again.differing and "deviations" in again.compared


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"clock.market": "day_ahead", "market.real_time.mode": "welfare"}, "market.real_time", "two_settlement"),
    ({"market.real_time.gate_s": 1796}, "market.real_time.gate_s", "1795"),
    ({"clock.gate_s": 9}, "clock.gate_s", "10"),
    ({"clock.gate_s": 3601}, "clock.gate_s", "3600"),
    ({"market.real_time.rule": "admm"}, "market.real_time", "decentralized"),
    ({"market.real_time": {"mode": "welfare", "rule": "admm"}}, "market.real_time", "decentralized"),
    ({"market.real_time": {"mode": "decentralized", "parameters": {"x": 1}}}, "market.real_time", "rule"),
    ({"market.real_time": {"mode": "decentralized", "rule": "admmm"}}, "market.real_time.rule", "admm"),
    ({"market.real_time": {"mode": "decentralized", "rule": "admm", "parameters": {"x": 1}}},
     "market.real_time.parameters", "Parameters"),
    ({"market.real_time": {"mode": "envelope"}}, "datacenters", "agreement"),
    ({"market.real_time": {"price_floor_usd_per_mwh": 10.0, "price_cap_usd_per_mwh": 5.0}}, "market", ""),
    ({"market.price_floor_usd_per_mwh": 10.0, "market.real_time.price_cap_usd_per_mwh": 5.0}, "market", ""),
    ({"market.real_time.window_steps": 0}, "market.real_time.window_steps", ""),
    ({"market.real_time.mode": "welfarre"}, "market.real_time.mode", "welfare"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "key", "allowed"), REFUSED)
def test_what_two_settlements_cannot_be_is_refused_by_its_key(changes: dict[str, Any], key: str, allowed: str) -> None:
    with pytest.raises(InputError) as refused:
        cosim.validate("ieee37", {**HOURS, **TWICE, **changes}, import_code=True)
    assert refused.value.key == key and allowed in str(refused.value)


def test_real_time_takes_from_day_ahead_what_it_does_not_say() -> None:
    said = {"market.real_time.price_cap_usd_per_mwh": 90.0, "market.price_floor_usd_per_mwh": -5.0}
    scenario, _ = load_scenario("ieee37", {**TWICE, **said, "decentralized.rule": "tariff"})
    second = in_real_time(scenario)
    assert (second.mode, second.decentralized.rule) == (scenario.mode, "tariff")
    assert second.price_limits(second.aggregators[0]) == (-5.0, 90.0)
