"""Two unlike feeders, each with an operator of its own: against separate runs, independent programs and sums."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.optimize import linprog

import cosim
from cosim.coordination.welfare import optimum
from cosim.scenario.loading import apply_changes, check_scenario, find_scenario, scenario_data
from cosim.scenario.preparation import prepare
from cosim.simulation.runner import RunResult, simulate
from cosim.simulation.simulation import Simulation

PATH = find_scenario("two_feeders")
EVENING: dict[str, Any] = {"clock.start": "2024-07-15T18:00:00", "clock.steps": 2, "clock.window_steps": 2}
STRESS = {f"datacenters.{i}.it_peak_kw": 700 for i in range(5)}
"""Data centers so large that voltage limits bind."""
UNMOVED = {"workload.classes": [{"name": "now", "share": 0.6}, {"name": "batch", "share": 0.4, "max_delay_steps": 3,
                                                                 "delay_cost_usd_per_mwh_h": 0.5}],
           "remove": ["workload.classes"]}  # fmt: skip
TOP = {"network", "generators", "operator"}


def data(**changes: Any) -> dict[str, Any]:
    """The scenario over the evening with dotted keys changed."""
    found = copy.deepcopy(scenario_data(PATH))
    apply_changes(found, {**EVENING, **changes}, PATH)
    return found


def alone(feeder: str, given: dict[str, Any]) -> dict[str, Any]:
    """The same scenario written for one of its feeders in the short spelling."""
    given = copy.deepcopy(given)
    own = given.pop("feeders")[feeder]
    sites = [d for d in given["datacenters"] if d.pop("feeder") == feeder]
    market = {**given.get("market", {}), "price_usd_per_mwh": own["price_usd_per_mwh"]}
    return {**given, **{k: v for k, v in own.items() if k in TOP}, "market": market, "datacenters": sites}


def run(given: dict[str, Any], mode: str = "decentralized") -> RunResult:
    return simulate(check_scenario({**given, "mode": mode}, PATH), PATH)


@cache
def stressed(mode: str, rule: str = "admm") -> RunResult:
    return run(data(**STRESS, **{"decentralized.rule": rule, "decentralized.max_rounds": 60}), mode)


def of_feeder(frame: pd.DataFrame, feeder: str) -> pd.DataFrame:
    return frame[frame["feeder"] == feeder].drop(columns="feeder").reset_index(drop=True)


@pytest.mark.parametrize(
    ("mode", "near"),
    [pytest.param("uncoordinated", 1e-9, marks=pytest.mark.slow), ("welfare", 1e-5), ("decentralized", 2e-3)],
)
def test_feeders_between_which_no_work_moves_are_as_each_alone(mode: str, near: float) -> None:
    together = run(data(**UNMOVED), mode)
    apart = {name: run(alone(name, data(**UNMOVED)), mode) for name in ("west", "east")}
    total = sum(r.steps["social_cost_usd"].sum() for r in apart.values())
    assert together.steps["social_cost_usd"].sum() == pytest.approx(total, rel=min(near, 1e-6))
    for name, single in apart.items():
        for table in ("prices", "voltages", "dispatch"):
            ours, theirs = of_feeder(getattr(together, table), name), getattr(single, table)
            kept = ours.select_dtypes("number").columns
            pd.testing.assert_frame_equal(
                ours[kept.difference(["q_kvar"])], theirs[kept.difference(["q_kvar"])], rtol=near, atol=200 * near
            )
        ours = together.demand[together.demand["datacenter"].isin(single.demand["datacenter"])]
        assert ours["p_kw"].to_numpy() == pytest.approx(single.demand["p_kw"].to_numpy(), rel=near, abs=200 * near)


def test_a_single_feeder_with_a_name_is_the_short_spelling() -> None:
    given = data()
    given["datacenters"] = [d for d in given["datacenters"] if d["feeder"] == "west"]
    del given["feeders"]["east"]
    named, short = run(given), run(alone("west", given))
    for name, frame in short.tables.items():
        ours = getattr(named.tables, name)
        if name in ("messages", "accounts"):
            ours = ours.replace("dso_west", "dso")
        if name == "feeders":
            continue
        pd.testing.assert_frame_equal(of_feeder(ours, "west") if "feeder" in ours else ours, frame)
    assert "feeder" not in short.prices and short.feeders.empty


def bracketed(hessian: Any, cost: Any, eq: Any, eq_rhs: Any, ineq: Any, ineq_rhs: Any) -> tuple[float, float]:
    """Bounds of the least 1/2 x'Hx + cost'x from below and from above, by linear programs (Kelley 1960).

    The squares, of which H must consist, are known by tangents; that of the last point is added until the bounds meet.
    """
    diagonal = hessian.diagonal()
    assert abs(hessian - sp.diags_array(diagonal)).max() == 0
    curved = np.flatnonzero(diagonal)
    n, m = len(cost), len(curved)
    tangents = [np.full(m, x) for x in np.linspace(-1.0, 1.0, 21)]
    wide_eq = sp.hstack([eq, sp.csr_array((eq.shape[0], m))])
    wide = sp.hstack([ineq, sp.csr_array((ineq.shape[0], m))])
    pick = sp.csr_array((np.ones(m), (np.arange(m), curved)), shape=(m, n))
    for _ in range(20):
        rows = [sp.hstack([sp.diags_array(at) @ pick, -sp.eye_array(m)]) for at in tangents]
        found = linprog(
            np.concatenate([cost, diagonal[curved]]), sp.vstack([wide, *rows]),
            np.concatenate([ineq_rhs, *(0.5 * at**2 for at in tangents)]), wide_eq, eq_rhs, (None, None),
        )  # fmt: skip
        assert found.status == 0, found.message
        x = found.x[:n]
        above = float(cost @ x + 0.5 * diagonal @ x**2)
        if above - found.fun <= 1e-7 * abs(above):
            break
        tangents.append(x[curved])
    return float(found.fun), above


def test_the_welfare_optimum_is_that_of_an_independent_program() -> None:
    """All states of both networks as variables, every flow equation a row, none eliminated.

    By LinDist3Flow: HiGHS ends without a result on the AC tangent's equations, whose numbers span more decades.
    """
    steps: dict[str, Any] = {f"feeders.{name}.network.model": "lindist3flow" for name in ("west", "east")}
    simulation = Simulation(prepare(check_scenario(data(**STRESS, **steps), PATH), PATH))
    market = simulation.market
    window = next(iter(simulation.prepared.calendar.windows()))
    market.operator.open_window(window, market.declared(window))
    (dca,) = market.aggregators
    names = [[f"power[{t},{k}]" for k in range(5)] for t in range(2)]
    work = dca.problem(names)
    at, constant = {name: i for i, name in enumerate(work.variables)}, work.constant
    parts, coupled = [work], [sp.csr_array(work.eq_matrix.shape)]
    for seat in market.operator.seats:
        operator: Any = seat.operator
        own = operator.clearing_model.own(window.first, operator.price[window.first : window.last_exclusive])
        assert not own.tied
        for t, network in enumerate(operator.clearing.networks):
            qp = operator.clearing_model.at(network, own.steps[t])
            n = len(seat.columns)
            where = [at[names[t][k]] for k in seat.columns]
            by_power = qp.eq_theta[:, :n] + qp.eq_theta[:, n:] @ sp.diags_array(operator.reactive_ratio)
            coupled.append(sp.csr_array(-by_power @ sp.csr_array((np.ones(n), (np.arange(n), where)), (n, len(at)))))
            parts.append(qp)
            constant += qp.constant
            assert qp.ineq_theta.nnz == 0
    hessian, eq, ineq = (sp.block_diag([getattr(p, k) for p in parts]) for k in ("hessian", "eq_matrix", "ineq_matrix"))
    cost, eq_rhs, ineq_rhs = (np.concatenate([getattr(p, k) for p in parts]) for k in ("cost", "eq_rhs", "ineq_rhs"))
    demand = sp.hstack([sp.vstack(coupled), sp.csr_array((eq.shape[0], eq.shape[1] - len(at)))])
    low, high = bracketed(sp.csr_array(hessian), cost, eq + demand, eq_rhs, ineq, ineq_rhs)
    found = optimum(market).social_cost_usd
    assert low + constant - 1e-6 * abs(found) <= found <= high + constant + 1e-6 * abs(found)
    assert high - low <= 1e-6 * abs(found)


@pytest.mark.parametrize("rule", ["admm", "bundle"])
def test_rules_that_converge_agree_on_two_feeders_near_the_optimum(rule: str) -> None:
    found = stressed("decentralized", rule)
    assert found.steps["converged"].all()
    assert 0 <= found.kpis["welfare_gap"] + 1e-9 <= 1e-5  # type: ignore[operator]


@pytest.mark.parametrize("rule", ["averaged", "best_response", "proximal", "anticipating", "tariff"])
def test_every_other_rule_ends_with_all_work_served(rule: str) -> None:
    found = run(data(**STRESS, **{"decentralized.rule": rule, "decentralized.max_rounds": 4}))
    assert found.kpis["unserved_mwh"] == pytest.approx(0.0, abs=1e-7)
    assert found.kpis["welfare_gap"] >= -1e-9  # type: ignore[operator]


@pytest.mark.parametrize("hours", [6, pytest.param(24, marks=pytest.mark.slow)])
def test_a_day_of_both_feeders_is_agreed_on_in_few_rounds(hours: int) -> None:
    found = cosim.run("two_feeders", overrides={"clock.steps": hours})
    assert found.steps["converged"].all() and len(found.rounds) <= 30
    assert found.kpis["welfare_gap"] <= 1e-5  # type: ignore[operator]


@pytest.mark.parametrize("mode", ["uncoordinated", "decentralized", "welfare", "centralized"])
def test_the_feeders_sums_are_those_of_the_market(mode: str) -> None:
    found = stressed(mode)
    sums = found.feeders.groupby("step").sum(numeric_only=True)
    steps = found.steps.set_index("step")
    for key in sorted(set(sums.columns) - {"price_sub_usd_per_mwh"}):
        assert sums[key].to_numpy() == pytest.approx(steps[key].to_numpy(), rel=1e-12)
    own = steps["dca_own_cost_usd"]
    assert (steps["dso_cost_usd"] + own).to_numpy() == pytest.approx(steps["social_cost_usd"].to_numpy())


@pytest.mark.parametrize("mode", ["decentralized", "welfare", "centralized"])
def test_each_operator_is_paid_its_own_prices_for_what_is_drawn_from_it(mode: str) -> None:
    found = stressed(mode)
    paid = {name: 0.0 for name in ("west", "east")}
    sites = {d["name"]: d for d in data()["datacenters"]}
    for row in found.demand.to_dict("records"):
        site = sites[row["datacenter"]]
        here = found.prices.query("step == @row['step'] and feeder == @site['feeder'] and bus == @site['bus']")
        legs = here[here["phase"].isin(("ab", "bc", "ca") if site["feeder"] == "west" else ("a", "b", "c"))]
        assert len(legs) == 3
        paid[site["feeder"]] += (legs["dlmp_p"].mean() * row["p_kw"] + legs["dlmp_q"].mean() * row["q_kvar"]) / 1000
    booked = found.feeders.groupby("feeder")["dca_payment_usd"].sum()
    assert booked.to_dict() == pytest.approx(paid, rel=1e-6)


def test_work_moves_from_the_dear_feeder_to_the_cheap_one() -> None:
    before, after = stressed("uncoordinated"), stressed("decentralized")
    east = ["dc76", "dc48"]

    def served(run: RunResult, sites: list[str]) -> float:
        return float(run.work[run.work["datacenter"].isin(sites)]["served_mwh"].sum())

    everywhere = [f"dc{bus}" for bus in (718, 736, 740, 76, 48)]
    assert served(after, everywhere) == pytest.approx(served(before, everywhere), abs=1e-6)
    assert abs(served(after, east) - served(before, east)) > 0.05


def test_the_leaders_optimum_is_certified_and_costs_it_no_more_than_agreement() -> None:
    led, planned = stressed("centralized"), stressed("welfare")
    assert led.kpis["mip_gap"] <= 1e-3  # type: ignore[operator]
    cost, competitive = led.kpis["dca_cost_usd"], planned.kpis["dca_cost_usd"]
    assert cost is not None and competitive is not None and cost <= competitive * (1 + 1e-6)
    assert led.kpis["social_cost_usd"] >= planned.kpis["social_cost_usd"] - 1e-6  # type: ignore[operator]


@pytest.mark.parametrize("mode", ["decentralized", "welfare", "centralized"])
def test_active_power_alone_may_be_settled_on_several_feeders(mode: str) -> None:
    found = run(data(**STRESS, **{"market.settlement": "active"}), mode)
    assert found.kpis["unserved_mwh"] == pytest.approx(0.0, abs=1e-7)


def test_aggregators_share_both_feeders() -> None:
    given = data(**STRESS)
    given["aggregators"] = [
        {"name": "one", "datacenters": ["dc718", "dc76", "dc740"]}, {"name": "two", "datacenters": ["dc48", "dc736"]}
    ]  # fmt: skip
    found = run(given)
    assert found.steps["converged"].all() and found.kpis["welfare_gap"] <= 1e-5  # type: ignore[operator]
    ends = set(zip(found.messages["sender"], found.messages["receiver"], strict=True))
    assert ends == {(a, b) for a, b in [("dso_west", "one"), ("dso_east", "one"), ("dso_west", "two"),
                                        ("dso_east", "two")]} | {(b, a) for a in ("dso_west", "dso_east")
                                                                 for b in ("one", "two")}  # fmt: skip


def test_an_operator_talks_only_to_who_has_sites_on_its_feeder() -> None:
    given = data()
    given["aggregators"] = [
        {"name": "one", "datacenters": ["dc718", "dc736", "dc740"]}, {"name": "two", "datacenters": ["dc48", "dc76"]}
    ]  # fmt: skip
    found = run(given)
    ends = set(zip(found.messages["sender"], found.messages["receiver"], strict=True))
    assert ends == {("dso_west", "one"), ("one", "dso_west"), ("dso_east", "two"), ("two", "dso_east")}


def test_a_rolling_market_runs_over_both_feeders_by_the_ac_tangent() -> None:
    changes = {f"feeders.{name}.network.model": "ac-linear" for name in ("west", "east")}
    rolling = {"clock.market": "rolling", "clock.steps": 2, "clock.window_steps": 3, "clock.gate_s": 600}
    found = run(data(**changes, **rolling, **STRESS))
    assert found.steps["converged"].all() and found.kpis["unserved_mwh"] == pytest.approx(0.0, abs=1e-7)
    apart = (found.voltages["v_pu"] - found.voltages["v_ac_pu"]).abs().max()
    assert apart < 2e-3


def test_notes_name_the_feeder() -> None:
    changes = {"feeders.west.network.v_min_pu": 0.99, "clock.steps": 1, "clock.window_steps": 1}
    notes = run(data(**changes), "uncoordinated").notes
    broken = [n for n in notes if "limits were broken" in n]
    assert len(broken) == 1 and broken[0].startswith("west: ")


def test_the_accounts_of_each_feeder_add_up() -> None:
    found = stressed("welfare")
    assert set(found.accounts["party"]) >= {"dca", "dso_west", "dso_east", "other customers", "upstream market"}
    books = found.accounts.groupby(["step", "feeder"])[["received_usd", "paid_usd"]].sum()
    assert books["received_usd"].to_numpy() == pytest.approx(books["paid_usd"].to_numpy(), rel=1e-12)
    others = found.accounts[found.accounts["kind"] != "operator"].groupby(["step", "feeder"])
    energy, feeders = others[["bought_kwh", "sold_kwh"]].sum(), found.feeders.set_index(["step", "feeder"])
    lost = feeders["losses_ac_kw"] + feeders["p_sub_kw"] - feeders["p_sub_ac_kw"]
    assert (energy["sold_kwh"] - energy["bought_kwh"]).to_numpy() == pytest.approx(lost.to_numpy(), abs=1e-3)
