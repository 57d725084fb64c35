"""Facts that hold in every mode, and the order between them, on the scenarios that come with the package."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import cosim
from cosim.grid.feeder.tables import read_feeder
from cosim.scenario.loading import load_scenario
from cosim.scenario.preparation import prepare
from cosim.simulation.runner import Comparison, RunResult

from .conftest import EVENING, MODES, SCENARIOS, evening, evening_of, evening_run, kpi, payment_usd

SLOW = pytest.mark.slow
# A scenario with neither SVGs nor limits that bind and one with both stand for those with one of them.
MARKS = {"ieee37": (), "ieee37_svg": SLOW, "ieee37_stress": SLOW, "ieee37_stress_svg": ()}
EACH = pytest.mark.parametrize("scenario", [pytest.param(s, marks=MARKS[s]) for s in SCENARIOS])
ALL = pytest.mark.parametrize(
    ("scenario", "mode"), [pytest.param(s, m, marks=MARKS[s]) for s in SCENARIOS for m in MODES]
)
CLASSES = {"interactive": 0, "movable": 0, "batch": 8}


@EACH
def test_every_mode_ends(scenario: str) -> None:
    assert evening(scenario).failures == {}


@ALL
def test_no_mode_costs_society_less_than_the_welfare_optimum(scenario: str, mode: str) -> None:
    best = kpi(evening_run(scenario, "welfare"), "social_cost_usd")
    assert kpi(evening_run(scenario, mode), "social_cost_usd") >= best * (1 - 1e-6)


@ALL
def test_the_welfare_gap_is_what_the_runs_differ_by(scenario: str, mode: str) -> None:
    best = kpi(evening_run(scenario, "welfare"), "social_cost_usd")
    run = evening_run(scenario, mode)
    assert kpi(run, "welfare_gap") == pytest.approx(kpi(run, "social_cost_usd") / best - 1, abs=1e-9)


@pytest.mark.parametrize("mode", ["uncoordinated", "decentralized", "welfare"])
@EACH
def test_nobody_is_charged_less_than_the_leader(scenario: str, mode: str) -> None:
    """Every mode ends at a schedule and at prices that the leader could have chosen as well."""
    leader = evening_run(scenario, "centralized")
    cost = kpi(leader, "dca_cost_usd")
    assert cost * (1 - kpi(leader, "mip_gap")) <= kpi(evening_run(scenario, mode), "dca_cost_usd") * (1 + 1e-6)
    assert kpi(leader, "mip_gap") <= 1e-3


@EACH
def test_the_leader_pays_what_its_certificate_says(scenario: str) -> None:
    leader = evening_run(scenario, "centralized")
    certificate = leader.record.certificate
    assert certificate is not None and certificate["passed"]
    paid, tolerance = kpi(leader, "dca_payment_usd"), 1e-6 * abs(kpi(leader, "dca_payment_usd"))
    assert certificate["payment_optimistic"] - tolerance <= paid
    assert paid <= certificate["payment_pessimistic"] + tolerance
    assert paid <= certificate["payment_optimistic"] + 1e-3 * kpi(leader, "dca_cost_usd")


@ALL
def test_the_payment_is_price_times_demand(scenario: str, mode: str) -> None:
    run = evening_run(scenario, mode)
    booked = run.steps.set_index("step")["dca_payment_usd"]
    assert payment_usd(run).to_numpy() == pytest.approx(booked.to_numpy(), rel=1e-6, abs=1e-6)


@ALL
def test_work_is_neither_lost_nor_made(scenario: str, mode: str) -> None:
    work = evening_run(scenario, mode).work.groupby("class")[["arrived_mwh", "served_mwh"]].sum()
    assert work["served_mwh"].to_numpy() == pytest.approx(work["arrived_mwh"].to_numpy(), abs=1e-7)


@ALL
def test_work_runs_after_its_arrival_and_before_its_deadline(scenario: str, mode: str) -> None:
    by_class = evening_run(scenario, mode).work.groupby(["class", "step"])[["arrived_mwh", "served_mwh"]].sum()
    for name, delay in CLASSES.items():
        done = by_class.loc[name].cumsum()
        arrived, served = done["arrived_mwh"].to_numpy(), done["served_mwh"].to_numpy()
        due = np.concatenate([np.zeros(min(delay, len(arrived))), arrived[: max(0, len(arrived) - delay)]])
        assert np.all(served <= arrived + 1e-7) and np.all(served >= due - 1e-7)


@ALL
def test_work_that_may_neither_move_nor_wait_runs_where_and_when_it_arrives(scenario: str, mode: str) -> None:
    work = evening_run(scenario, mode).work.query("`class` == 'interactive'")
    assert work["served_mwh"].to_numpy() == pytest.approx(work["arrived_mwh"].to_numpy(), abs=1e-7)


@ALL
def test_power_follows_the_work(scenario: str, mode: str) -> None:
    """P = PUE (idle + work): the tables of demand and of work tell one story."""
    run = evening_run(scenario, mode)
    specs = {d.name: d for d in load_scenario(scenario)[0].datacenters}
    work = run.work.groupby(["step", "datacenter"])["served_mwh"].sum()
    for row in run.demand.to_dict("records"):
        spec = specs[row["datacenter"]]
        expected = spec.pue * (spec.it_idle_kw + 1000.0 * work[row["step"], row["datacenter"]])
        assert row["p_kw"] == pytest.approx(expected, rel=1e-6)


@ALL
def test_what_goes_into_the_feeder_comes_out(scenario: str, mode: str) -> None:
    """AC: source + generation = base load at its voltage + data centers + losses."""
    run = evening_run(scenario, mode)
    prepared = prepare(*load_scenario(scenario, EVENING))
    volts = run.voltages.set_index(["step", "bus", "phase"])["v_ac_pu"]
    power = {"PQ": 0, "I": 1, "Z": 2}
    steps = run.steps.set_index("step")
    generation = run.dispatch.query("kind != 'import'").groupby("step")["p_kw"].sum()
    drawn = run.demand.groupby("step")["p_kw"].sum()
    for t in range(6):
        base = sum(x.p_kw * volts[t, x.bus, x.phases] ** power[x.model] for x in prepared.feeder.loads)
        inward = steps.loc[t, "p_sub_ac_kw"] + generation[t]
        outward = float(prepared.load_scale[t]) * base + drawn[t] + steps.loc[t, "losses_ac_kw"]
        assert inward == pytest.approx(outward, rel=1e-4)


@ALL
def test_linear_and_ac_import_agree(scenario: str, mode: str) -> None:
    steps = evening_run(scenario, mode).steps
    assert steps["p_sub_kw"].to_numpy() == pytest.approx(steps["p_sub_ac_kw"].to_numpy(), rel=0.005)


@ALL
def test_social_cost_is_the_operators_and_the_data_centers_own(scenario: str, mode: str) -> None:
    run = evening_run(scenario, mode)
    own = kpi(run, "dca_cost_usd") - kpi(run, "dca_payment_usd")
    assert kpi(run, "social_cost_usd") == pytest.approx(kpi(run, "dso_cost_usd") + own, abs=1e-6)


@pytest.mark.parametrize("scenario", [pytest.param("ieee37_stress", marks=SLOW), "ieee37_stress_svg"])
def test_a_voltage_limit_binds_in_the_stressed_scenarios(scenario: str) -> None:
    run = evening_run(scenario, "welfare")
    assert kpi(run, "v_min_pu") == pytest.approx(0.95, abs=1e-5)
    assert run.prices["voltage"].abs().max() > 1.0


@EACH
def test_the_operator_keeps_its_limits_where_there_is_coordination(scenario: str) -> None:
    for mode in ("decentralized", "welfare", "centralized"):
        assert kpi(evening_run(scenario, mode), "slack_mwh") <= 1e-6
        assert kpi(evening_run(scenario, mode), "violations_linear") == 0


@pytest.fixture(scope="module")
def day() -> Comparison:
    return cosim.compare("ieee37", modes=("decentralized", "centralized"))


@ALL
def test_linear_voltages_are_close_to_ac(scenario: str, mode: str) -> None:
    voltages = evening_run(scenario, mode).voltages
    assert len(voltages) == 6 * 3 * len(read_feeder("ieee37").buses)
    assert (voltages["v_pu"] - voltages["v_ac_pu"]).abs().max() <= 0.003


@SLOW
def test_linear_voltages_of_a_day_are_close_to_ac(day: Comparison) -> None:
    for run in day.runs.values():
        assert len(run.voltages) == 24 * 3 * len(read_feeder("ieee37").buses)
        assert (run.voltages["v_pu"] - run.voltages["v_ac_pu"]).abs().max() <= 0.003


@SLOW
def test_the_leader_of_a_day_pays_no_more_than_after_a_negotiation(day: Comparison) -> None:
    leader, negotiated = day.runs["centralized"], day.runs["decentralized"]
    assert kpi(leader, "dca_cost_usd") <= kpi(negotiated, "dca_cost_usd") * (1 + kpi(leader, "mip_gap") + 1e-6)


def test_a_negotiated_day_of_the_stressed_feeder_reaches_the_welfare_optimum(stressed_day: RunResult) -> None:
    assert -1e-6 <= kpi(stressed_day, "welfare_gap") <= 1e-5


@pytest.mark.parametrize("side", ["dca", "dso"])
def test_nobody_regrets_a_negotiated_day(stressed_day: RunResult, side: str) -> None:
    assert 0.0 <= kpi(stressed_day, f"{side}_regret_usd") <= 1e-5 * kpi(stressed_day, f"{side}_cost_usd")


def test_limits_bind_in_several_hours_of_the_stressed_day(stressed_day: RunResult) -> None:
    lowest = stressed_day.voltages.groupby("step")["v_pu"].min()
    assert (lowest < 0.95 + 1e-4).sum() >= 3


def certified(formulation: str, hours: dict[str, Any]) -> RunResult:
    settings = {"formulation": formulation, "bits": 5, "gap": 1e-4, "time_limit_s": 60}
    overrides = {**hours, **{f"centralized.{k}": v for k, v in settings.items()}}
    return cosim.run("ieee37_stress", mode="centralized", overrides=overrides)


@pytest.mark.parametrize("start", [17, pytest.param(18, marks=SLOW)])
def test_both_formulations_find_the_same_optimum(start: int) -> None:
    hours = {"clock.start": f"2024-07-15T{start}:00:00", "clock.steps": 2}
    exact, classical = certified("strong-duality", hours), certified("kkt-mccormick", hours)
    certificate = classical.record.certificate
    assert certificate is not None and certificate["passed"] and certificate["discretisation"] > 0
    best, found = kpi(exact, "dca_cost_usd"), kpi(classical, "dca_cost_usd")
    assert kpi(exact, "mip_gap") <= 1e-4
    assert found >= best * (1 - 1e-4)
    assert found <= best * (1 + 2e-4) + certificate["discretisation"]


def test_mccormick_states_half_the_error_for_one_more_bit() -> None:
    stated = []
    for bits in (4, 5):
        certificate = evening_of(
            "ieee37_stress", "centralized", clock__steps=1, centralized__formulation="kkt-mccormick",
            centralized__bits=bits,
        ).record.certificate  # fmt: skip
        assert certificate is not None
        stated.append(certificate["discretisation"])
    assert stated[0] == pytest.approx(2 * stated[1], rel=1e-9)
