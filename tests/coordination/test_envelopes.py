"""Mode ``envelope`` from agreement to accounts, and its limits against OpenDSS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import cosim
from cosim.errors import InputError
from cosim.experiments.benchmarks.network.envelopes import bisection_errors, opened, worst_of_draws
from cosim.grid.feeder.connections import terminals_of
from cosim.grid.feeder.tables import read_feeder
from cosim.grid.opendss.controlled import ControlledCircuit
from cosim.scenario.loading import load_scenario
from cosim.scenario.preparation import prepare
from cosim.simulation.runner import RunResult

EVENING: dict[str, Any] = {"clock.start": "2024-07-15T18:00:00", "clock.steps": 3, "clock.window_steps": 3}
SITES = ("dc718", "dc736", "dc740")


def run(mode: str = "envelope", **changes: Any) -> RunResult:
    return cosim.run("ieee37_flexible", mode=mode, overrides={**EVENING, **{k.replace("__", "."): v for k, v in
                                                                            changes.items()}})  # fmt: skip


@pytest.fixture(scope="module")
def limited() -> RunResult:
    return run()


@pytest.mark.parametrize("rule", ["max_sum", "equal", "proportional", "last_in_first_out"])
def test_random_demand_inside_the_box_keeps_every_limit_in_opendss(rule: str) -> None:
    case = opened(*load_scenario("ieee37_flexible", {**EVENING, "envelope.rule": rule, "network.feeder_ratings": True}))
    assert (case.envelope.status == "limited").any()
    assert worst_of_draws(case, 20, seed=1)[0] <= 1e-5


def test_random_demand_of_sites_on_single_legs_keeps_every_limit() -> None:
    legs = {f"datacenters.{name}.connection": leg for name, leg in zip(SITES, ("ab", "per_phase", "ca"), strict=True)}
    firm = {f"datacenters.{name}.agreement.firm_kw": kw for name, kw in zip(SITES, (250, 400, 200), strict=True)}
    backup = {f"datacenters.{name}.agreement.backup.p_max_kw": 500 for name in SITES}
    case = opened(*load_scenario("ieee37_flexible", {**EVENING, **legs, **firm, **backup}))
    assert (case.envelope.status == "limited").any()
    assert worst_of_draws(case, 40, seed=2)[0] <= 1e-5


def test_limits_of_ratings_and_unbalance_hold_too() -> None:
    limits = {
        "network.branch_rating_kva": {"701-702": 4300}, "network.v_min_pu": 0.9,
        "network.unbalance": {"limit_pct": 1.45, "buses": ["740", "718"]},
    }  # fmt: skip
    case = opened(*load_scenario("ieee37_flexible", {**EVENING, **limits}))
    kinds = {kind for kind, _, _ in case.envelope.binding.ravel()}
    assert kinds & {"rating", "vuf"}
    assert worst_of_draws(case, 40, seed=3)[0] <= 1e-4


def test_one_site_gets_what_bisection_on_opendss_finds() -> None:
    errors, _ = bisection_errors("ieee37", 2, seed=3)
    assert len(errors) and errors.max() <= 5e-3


def test_sites_stay_within_their_limits_and_the_network_within_its_own(limited: RunResult) -> None:
    table = limited.tables.envelopes
    assert (table["drawn_kw"] <= table["limit_kw"] + 1e-6).all()
    assert (table["limit_kw"] >= table["firm_kw"] - 1e-9).all()
    assert limited.kpis["violations_ac"] == 0
    assert limited.kpis["slack_mwh"] == pytest.approx(0.0, abs=1e-9)


def test_what_is_drawn_is_what_the_demand_table_says(limited: RunResult) -> None:
    drawn = limited.tables.demand.groupby(["step", "datacenter"])["p_kw"].sum()
    told = limited.tables.envelopes.set_index(["step", "datacenter"])["drawn_kw"]
    assert drawn.to_numpy() == pytest.approx(told.to_numpy(), abs=1e-6)


def test_a_limit_names_what_binds(limited: RunResult) -> None:
    table = limited.tables.envelopes
    bound = table[table["status"] == "limited"]
    assert len(bound) and set(bound["kind"]) <= {"voltage_low", "voltage_high"} and (bound["element"] != "").all()


def test_accounts_with_backup_and_dropped_work_add_up_to_nothing(limited: RunResult) -> None:
    accounts = limited.tables.accounts
    assert (accounts["received_usd"] - accounts["paid_usd"]).groupby(accounts["step"]).sum().abs().max() < 1e-9
    assert accounts["own_cost_usd"].sum() == pytest.approx(limited.tables.steps["social_cost_usd"].sum())
    backup = accounts[accounts["kind"] == "backup"]
    given = limited.tables.demand.groupby("datacenter")["backup_kw"].sum() / 1000
    assert given.sum() > 0
    assert backup["own_cost_usd"].sum() == pytest.approx(180 * given.sum())


def test_work_is_served_waits_or_is_dropped(limited: RunResult) -> None:
    work = limited.tables.work.groupby("step")[["arrived_mwh", "served_mwh", "lost_mwh", "deferred_mwh"]].sum()
    done = (work["served_mwh"] + work["lost_mwh"]).cumsum()
    assert (done + work["deferred_mwh"]).to_numpy() == pytest.approx(work["arrived_mwh"].cumsum().to_numpy(), abs=1e-6)
    still = limited.tables.work
    assert still.loc[still["class"] == "interactive", ["late_mwh", "lost_mwh"]].abs().max().max() < 1e-6


def test_no_limits_cost_less_than_the_welfare_optimum(limited: RunResult) -> None:
    best = run("welfare").kpis["social_cost_usd"]
    assert best is not None and limited.kpis["social_cost_usd"] >= best * (1 - 1e-6)


def test_a_tariff_is_what_is_paid() -> None:
    tariff = run(market__tariff_usd_per_mwh={"constant": 70.0})
    energy = tariff.tables.demand["p_kw"].sum() / 1000
    assert tariff.tables.steps["dca_payment_usd"].sum() == pytest.approx(70.0 * energy)


def test_posted_prices_are_those_of_the_forecast_within_limits() -> None:
    table = run(envelope__prices="posted", clock__steps=1).tables
    sites = table.envelopes.set_index("datacenter").loc[list(SITES)]
    changes = {**EVENING, "clock.steps": 1, "envelope.prices": "posted"}
    operator = opened(*load_scenario("ieee37_flexible", changes)).operator
    price = operator.clear(sites[["wanted_kw", "limit_kw"]].min(axis=1).to_numpy()[None] / 1000).prices
    charged = price.p_usd_per_mwh + price.q_usd_per_mvarh * operator.reactive_ratio
    paid = float((charged[0] * sites["drawn_kw"].to_numpy() / 1000).sum())
    assert table.steps["dca_payment_usd"].sum() == pytest.approx(paid, rel=1e-3)


def test_a_limit_that_is_lost_means_the_firm_part() -> None:
    lost = run(channel={"links": [{"sender": "dso", "receiver": "dca", "loss": 0.999999}]})
    table = lost.tables.envelopes
    assert (table["status"] == "lost").all() and (table["limit_kw"] == table["firm_kw"]).all()
    assert (table["drawn_kw"] <= table["firm_kw"] + 1e-6).all()
    assert (table["posted_kw"] > table["firm_kw"] + 1).any()
    assert any("limits did not reach dca" in note for note in lost.record.notes)


def test_a_firm_part_below_what_cannot_wait_is_refused_with_the_numbers() -> None:
    with pytest.raises(InputError, match="can neither wait nor move") as refused:
        run(datacenters__dc736__agreement__firm_kw=300)
    assert refused.value.key == "datacenters.dc736.agreement.firm_kw" and "kW" in str(refused.value)
    site, arriving = load_scenario("ieee37_flexible")[0].datacenters[1], run("uncoordinated").tables.demand
    # half of the work is interactive: PUE (idle + half of what arrives), less the backup
    whole = arriving.loc[arriving["datacenter"] == "dc736", "p_kw"].max() / site.pue - site.it_idle_kw
    needed = site.pue * (site.it_idle_kw + whole / 2) - 400
    assert f"{needed:.5g}"[:5] in str(refused.value)


def test_firm_parts_that_break_a_limit_are_told_by_name() -> None:
    greedy = run(**{f"datacenters__{name}__agreement__firm_kw": 900 for name in SITES})
    assert (greedy.tables.envelopes["status"] == "breach").any()
    assert any("the network breaks voltage_low 736 ca" in note for note in greedy.record.notes)


def test_a_scenario_without_an_agreement_is_refused() -> None:
    with pytest.raises(InputError, match="connections that are not firm"):
        cosim.run("ieee37", mode="envelope")


def rolling(notice: object, steps: int = 2) -> RunResult:
    told = {f"datacenters__{name}__agreement__notice": notice for name in SITES}
    return run(clock__market="rolling", clock__gate_s=600, clock__steps=steps, **told)


def test_limits_told_a_day_ahead_stay_in_a_rolling_market() -> None:
    table = rolling("day_ahead").tables.envelopes
    assert (table.loc[table["step"] == 0, "status"] == "limited").any()
    assert (table.loc[table["step"] == 1, "status"] == "held").any()


def test_limits_with_no_notice_are_worked_out_anew() -> None:
    table = rolling(0).tables.envelopes
    assert "held" not in set(table["status"]) and len(table) == 6


def test_a_load_for_which_power_flow_has_no_solution_gets_a_limit() -> None:
    huge = {f"datacenters__{n}__{k}": v for n in SITES for k, v in (("it_peak_kw", 6000), ("it_idle_kw", 100))}
    agreed = {f"datacenters__{n}__agreement": {"firm_kw": 300, "lost_usd_per_mwh": 300} for n in SITES}
    found = run(**huge, **agreed, **{"workload__classes__interactive__share": 0.0,
                                     "workload__classes__movable__share": 0.7})  # fmt: skip
    table = found.tables.envelopes
    assert (table["limit_kw"] < 3000).all() and found.kpis["violations_ac"] == 0
    assert any("no solution at the demand that was declared" in note for note in found.record.notes)


def test_a_rule_of_ones_own_is_found_beside_the_scenario(tmp_path: Path) -> None:
    (tmp_path / "my_sharing.py").write_text(
        "from pydantic import BaseModel\n\nclass First:\n    class Parameters(BaseModel):\n        site: str\n\n"
        "    def __init__(self, parameters):\n        self.site = parameters.site\n\n"
        "    def share(self, sharing):\n        import numpy as np\n"
        "        loaded = sharing.loading.sum(axis=1) > 0\n"
        "        k = sharing.sites.index(self.site)\n        more = np.zeros(len(sharing.sites))\n"
        "        rows = sharing.loading[:, k] > 0\n"
        "        room = (sharing.room[rows] / sharing.loading[rows, k]).min(initial=np.inf)\n"
        "        more[k] = min(room, sharing.most_mw[k])\n        return more\n"
    )
    (tmp_path / "mine.yaml").write_text(
        "base: ieee37_flexible\nname: mine\nclock: {start: '2024-07-15T18:00:00', steps: 2, window_steps: 2}\n"
        "envelope: {rule: 'my_sharing:First', parameters: {site: dc740}}\n"
    )
    table = cosim.run(tmp_path / "mine.yaml").tables.envelopes
    others = table[table["datacenter"] != "dc740"]
    assert (others["limit_kw"] == others["firm_kw"]).all() and set(table["rule"]) == {"First"}
    assert (table.loc[table["datacenter"] == "dc740", "limit_kw"] > 500).all()


def test_devices_act_on_what_is_drawn_where_limits_are_posted() -> None:
    places = {f"datacenters.{name}.bus": bus for name, bus in zip(SITES, ("48", "60", "83"), strict=True)}
    changes = {
        **EVENING, **places, "network.feeder": "ieee123", "network.source_pu": None, "network.controls": "follow",
        "network.load_scale.scale": 0.8, "network.v_max_pu": 1.07, "generators": [], "clock.steps": 2,
        "clock.window_steps": 2,
    }  # fmt: skip
    found = cosim.run("ieee37_flexible", overrides=changes)
    feeder, tables = read_feeder("ieee123"), found.tables
    circuit, scenario = ControlledCircuit(feeder), load_scenario("ieee37_flexible", changes)[0]
    scale = prepare(scenario, Path("scenarios/x.yaml")).feeders[0].load_scale
    regulators = tables.taps[tables.taps["kind"] == "regulator"]
    for t in range(2):
        drawn = tables.demand[tables.demand["step"] == t].set_index("datacenter")
        injections = [
            (terminal, float(drawn["p_kw"][site.name]), float(drawn["q_kvar"][site.name]))
            for site in scenario.datacenters
            for terminal in terminals_of(feeder, site.bus, site.connection, "")
        ]
        rest = circuit.settle(float(scale[t]), injections, (18 + t) * 3600)
        told = regulators[regulators["step"] == t].set_index(["device", "phase"])["position"]
        assert {(name, unit): tap for name, unit, tap in rest.taps if (name, unit) in told.index} == told.to_dict()
    forecast = cosim.run("ieee37_flexible", overrides={**changes, "network.controls": "between_steps"})
    assert not forecast.tables.taps["position"].equals(tables.taps["position"])


def test_modes_that_agree_on_a_network_say_that_devices_do_not_follow() -> None:
    changes = {**EVENING, "network.feeder": "ieee13", "generators": [], "network.controls": "follow",
               "clock.steps": 1, "network.ac_rounds": 0}  # fmt: skip
    places = {f"datacenters.{name}.bus": bus for name, bus in zip(SITES, ("671", "680", "633"), strict=True)}
    found = cosim.run("ieee37_flexible", "welfare", overrides={**changes, **places})
    assert any("in mode welfare devices act on work that runs on arrival" in note for note in found.record.notes)


def test_an_aggregator_of_ones_own_without_limits_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "my_agents.py").write_text(
        "from cosim.agents.dca import DataCenterAggregator\n\n"
        "class Unlimited(DataCenterAggregator):\n    limit = None\n"
    )
    (tmp_path / "mine.yaml").write_text(
        "base: ieee37_flexible\nname: mine\naggregators: [{name: dca, agent: 'my_agents:Unlimited'}]\n"
    )
    with pytest.raises(InputError, match="needs an aggregator with limit"):
        cosim.run(tmp_path / "mine.yaml", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
