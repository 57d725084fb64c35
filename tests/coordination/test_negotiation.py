"""The negotiation: update rules, bad channels, late bids, several aggregators."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

import cosim
from cosim.coordination.rules import Posted
from cosim.coordination.rules.admm import Admm
from cosim.errors import InputError
from cosim.experiments.benchmarks.rounds import loading
from cosim.protocol.roles import Array
from cosim.simulation.runner import RunResult
from cosim.simulation.simulation import Simulation

from .conftest import evening_of, kpi, simulation_of

RULES = ("admm", "anticipating", "averaged", "best_response", "bundle", "proximal")
FOR_JUMPS = ("admm", "bundle")
SLOW = {"kind": "lognormal", "median_s": 60.0, "sigma": 1.0}
LOSSY: dict[str, Any] = {"channel__loss": 0.3, "channel__latency": SLOW, "clock__gate_s": 3600, "clock__round_s": 240}
TOO_SLOW: dict[str, Any] = {"channel__latency": {"kind": "constant", "seconds": 4000}}


@cache
def ruled(rule: str) -> RunResult:
    """The evening, negotiated by a rule."""
    rounds = 200 if rule in FOR_JUMPS else 12
    return evening_of("ieee37_stress", decentralized__rule=rule, decentralized__max_rounds=rounds)


@pytest.fixture(params=RULES)
def by_rule(request: pytest.FixtureRequest) -> RunResult:
    return ruled(request.param)


def test_a_negotiation_ends_with_an_award_whether_or_not_it_converged(by_rule: RunResult) -> None:
    assert (by_rule.messages["kind"] == "award").sum() == 1
    assert kpi(by_rule, "unserved_mwh") <= 1e-7


def test_a_negotiation_that_did_not_converge_says_so(by_rule: RunResult) -> None:
    told = any("no agreement" in note for note in by_rule.notes)
    assert told != bool(by_rule.steps["converged"].all())


def test_the_rounds_of_a_step_are_in_the_table(by_rule: RunResult) -> None:
    assert by_rule.rounds["round"].tolist() == list(range(1, int(by_rule.steps["rounds"].iloc[0]) + 1))


def test_regrets_bound_the_welfare_gap_where_they_are_stated(by_rule: RunResult) -> None:
    """Cost above the optimum = what the two lose at any one price, at most; without a price nothing is stated."""
    regrets = [by_rule.kpis[f"{side}_regret_usd"] for side in ("dca", "dso")]
    social, gap = kpi(by_rule, "social_cost_usd"), kpi(by_rule, "welfare_gap")
    excess = social - social / (1 + gap)
    assert regrets == [None, None] or sum(r or 0.0 for r in regrets) >= excess - 1e-6 * social


def test_only_the_rules_made_for_jumping_prices_agree_where_a_limit_binds(
    by_rule: RunResult, request: pytest.FixtureRequest
) -> None:
    """The others go to and fro between the sides of the jump, which is why ADMM is the default."""
    rule = request.node.callspec.params["by_rule"]
    assert bool(by_rule.steps["converged"].all()) == (rule in FOR_JUMPS)


def test_a_cycle_of_best_responses_is_named_within_ten_rounds() -> None:
    run = ruled("best_response")
    assert len(run.rounds) <= 10
    assert any("repeat themselves with a period of 2 rounds" in note for note in run.notes)


def test_a_bundle_of_tangents_needs_fewer_rounds_than_admm() -> None:
    """Each step's cost depends on three demands only, so that few tangents say all about it."""
    bundle, admm = ruled("bundle"), ruled("admm")
    assert len(bundle.rounds) < len(admm.rounds)
    assert kpi(bundle, "social_cost_usd") == pytest.approx(kpi(admm, "social_cost_usd"), rel=1e-5)


@pytest.mark.parametrize("seed", [4, *(pytest.param(k, marks=pytest.mark.slow) for k in (9, 13, 110, 117))])
def test_admm_agrees_within_thirty_rounds_where_prices_have_far_to_climb(seed: int) -> None:
    """Loadings in which one number for each step as a penalty needs more than forty."""
    run = cosim.run("ieee37_stress", overrides={**loading("ieee37_stress", seed), "decentralized.tolerance": 1e-5})
    assert run.steps["converged"].all() and len(run.rounds) <= 30
    assert kpi(run, "welfare_gap") <= 1e-5


def test_a_penalty_couples_no_aggregator_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is told its own part only, so the operator's step must not reckon with more."""
    posted: list[Posted] = []
    step = Admm.next
    monkeypatch.setattr(Admm, "next", lambda rule, made: posted.append(step(rule, made)) or posted[-1])
    evening_of("ieee37_stress", aggregators=TWO)
    penalty = np.asarray(posted[-1].penalty)
    assert np.abs(penalty[:, :1, 1:]).max() == 0.0 < np.abs(penalty[:, 1, 2]).max()


def test_anticipating_lies_between_the_leaders_optimum_and_taking_prices() -> None:
    """It seeks the leader's optimum, so it is no cheaper than that, and no dearer than taking prices."""
    anticipating, taker = ruled("anticipating"), ruled("admm")
    leader = evening_of("ieee37_stress", "centralized")
    bound = kpi(leader, "dca_cost_usd") * (1 - kpi(leader, "mip_gap"))
    assert bound - 1e-6 <= kpi(anticipating, "dca_cost_usd") <= kpi(taker, "dca_cost_usd") + 1e-3


def test_anticipating_leaves_nothing_undone_for_a_price_that_it_guesses() -> None:
    """Across the jump of a price where a limit starts to bind, slopes promise more than late work costs."""
    morning = {"clock__start": "2024-07-15T09:00:00", "clock__steps": 2, "network__losses": False}
    changes = {"decentralized__rule": "anticipating", "decentralized__max_rounds": 1}
    run = evening_of("ieee37_stress", **morning, **changes)
    assert run.work["late_mwh"].max() <= 1e-7


@pytest.mark.parametrize("rule", ["bundle", "anticipating"])
def test_a_rule_for_one_aggregator_refuses_two(rule: str) -> None:
    with pytest.raises(InputError, match="for one aggregator") as caught:
        evening_of("ieee37", clock__steps=1, decentralized__rule=rule, aggregators=TWO)
    assert caught.value.key == "decentralized.rule"


def test_the_bundle_refuses_settlement_on_active_power() -> None:
    with pytest.raises(InputError, match="active and reactive"):
        evening_of("ieee37", clock__steps=1, decentralized__rule="bundle", market__settlement="active")


def test_tied_steps_make_one_tangent_for_all() -> None:
    """With ramp limits the cost of an hour depends on the others, so the bundle must not take them one by one."""
    changes: dict[str, Any] = {"generators__dg720__ramp_kw_per_step": 20, "clock__steps": 3}
    bundle = evening_of("ieee37_stress", decentralized__rule="bundle", **changes)
    assert kpi(bundle, "social_cost_usd") == pytest.approx(
        kpi(evening_of("ieee37_stress", "welfare", **changes), "social_cost_usd"), rel=1e-5
    )


def test_rolling_windows_that_start_from_the_last_price_need_fewer_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    changes: dict[str, Any] = {"clock__market": "rolling", "decentralized__tolerance": 1e-5}
    warm = evening_of("ieee37_stress", **changes)
    first = Admm.first

    def forgetful(rule: Admm, declared_p_mw: Array, first_step: int) -> Posted:
        rule._left = {}
        return first(rule, declared_p_mw, first_step)

    monkeypatch.setattr(Admm, "first", forgetful)
    cold = evening_of("ieee37_stress", **changes)
    assert warm.steps["converged"].all() and cold.steps["converged"].all()
    assert len(warm.rounds) < len(cold.rounds)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 6])
def test_rolling_windows_agree_where_a_price_climbs_far(seed: int) -> None:
    """Late in these days the lower voltage limit can only just be held, or not at all."""
    changes = {**loading("ieee37_stress", seed), "clock.market": "rolling", "clock.window_steps": 6}
    changes["network.load_scale"]["scale"] = 1.1
    run = cosim.run("ieee37_stress", mode="decentralized", overrides={**changes, "decentralized.tolerance": 1e-5})
    assert run.steps["converged"].all()
    assert run.prices["dlmp_p"].max() > 30 * run.prices["dlmp_p"].median()


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "anticipating"])
def test_every_rule_that_says_it_converged_has(rule: str) -> None:
    """Without generators and limits prices hardly move, so that every rule that takes prices converges at once."""
    changes: dict[str, Any] = {"generators": [], "network__v_min_pu": 0.8, "decentralized__tolerance": 1e-4}
    run = evening_of("ieee37", clock__steps=2, decentralized__rule=rule, **changes)
    assert run.steps["converged"].all() and kpi(run, "welfare_gap") <= 1e-4


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(InputError, match="no such update rule"):
        evening_of("ieee37", clock__steps=1, decentralized__rule="haggling")


# -- bad channels -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lossy() -> Simulation:
    simulation = simulation_of("ieee37_stress", clock__steps=4, decentralized__max_rounds=30, **LOSSY)
    simulation.run()
    return simulation


@pytest.fixture(scope="module")
def lossy_run() -> RunResult:
    return evening_of("ieee37_stress", clock__steps=4, decentralized__max_rounds=30, **LOSSY)


def test_every_message_is_accounted_for(lossy: Simulation) -> None:
    channel, rows = lossy.market.channel, lossy.books.tables().messages
    never = rows["received"].isna().sum()
    assert channel.lost > 0
    assert len(rows) == channel.sent == channel.received + channel.lost + channel.in_flight
    assert never == channel.lost + channel.in_flight


def test_no_bid_answers_a_posting_that_never_came(lossy_run: RunResult) -> None:
    postings = lossy_run.messages.query("kind == 'price_posting'").dropna(subset=["received"])
    first_seen = postings.groupby("round")["received"].min()
    for bid in lossy_run.messages.query("kind == 'bid'").to_dict("records"):
        assert first_seen[bid["round"]] < bid["sent"]


def test_no_message_arrives_before_it_was_sent(lossy_run: RunResult) -> None:
    arrived = lossy_run.messages.dropna(subset=["received"])
    assert (arrived["received"] >= arrived["sent"]).all() and (arrived["received"] > arrived["sent"]).any()


def test_a_lossy_negotiation_serves_all_work(lossy_run: RunResult) -> None:
    assert kpi(lossy_run, "unserved_mwh") <= 1e-7
    assert lossy_run.work["late_mwh"].max() <= 1e-7


def test_a_lossy_negotiation_is_close_to_welfare_or_says_that_it_fell_back(lossy_run: RunResult) -> None:
    fell_back = any("no agreement" in note for note in lossy_run.notes)
    assert bool(lossy_run.steps["converged"].all()) != fell_back
    assert fell_back or kpi(lossy_run, "welfare_gap") <= 1e-5


def test_loss_alone_costs_rounds_but_not_welfare() -> None:
    run = evening_of("ieee37", clock__steps=2, channel__loss=0.5)
    assert kpi(run, "messages_lost") > 0 and any("repeated" in note for note in run.notes)
    assert run.steps["converged"].all() and abs(kpi(run, "welfare_gap")) <= 1e-5


def test_repeated_rounds_are_told_once_for_each_window(lossy_run: RunResult) -> None:
    assert sum("repeated" in note for note in lossy_run.notes) == 1


@pytest.fixture(scope="module")
def unheard() -> RunResult:
    return evening_of("ieee37_stress", clock__steps=2, **TOO_SLOW)


def test_without_bids_in_time_the_declared_demand_stands(unheard: RunResult) -> None:
    alone = evening_of("ieee37_stress", "uncoordinated", clock__steps=2)
    assert unheard.demand["p_kw"].to_numpy() == pytest.approx(alone.demand["p_kw"].to_numpy(), abs=1e-6)


def test_without_bids_in_time_the_run_says_so(unheard: RunResult) -> None:
    assert not unheard.steps["converged"].any()
    assert any("no agreement" in note for note in unheard.notes)


def test_without_bids_in_time_no_regret_is_claimed(unheard: RunResult) -> None:
    assert unheard.kpis["dca_regret_usd"] is None


# -- several aggregators ------------------------------------------------------------------------------------------

TWO = [{"name": "west", "datacenters": ["dc718"]}, {"name": "east", "datacenters": ["dc736", "dc740"]}]
STAYING: dict[str, Any] = {"workload__classes__movable__movable": False, "workload__classes__batch__movable": False}


def test_two_aggregators_reach_the_same_welfare_as_one_if_work_stays_where_it_is() -> None:
    one = evening_of("ieee37_stress", "welfare", clock__steps=3, **STAYING)
    two = evening_of("ieee37_stress", clock__steps=3, aggregators=TWO, **STAYING)
    assert two.steps["converged"].all()
    assert kpi(two, "social_cost_usd") == pytest.approx(kpi(one, "social_cost_usd"), rel=1e-5)


def test_two_aggregators_cannot_move_work_between_each_other() -> None:
    one = evening_of("ieee37", "welfare", clock__steps=3)
    two = evening_of("ieee37", clock__steps=3, aggregators=TWO)
    work = two.work.query("datacenter == 'dc718'")
    assert work["served_mwh"].sum() == pytest.approx(work["arrived_mwh"].sum(), abs=1e-7)
    assert kpi(two, "social_cost_usd") > kpi(one, "social_cost_usd")


def test_each_aggregator_is_spoken_to_in_every_round() -> None:
    run = evening_of("ieee37", clock__steps=2, aggregators=TWO)
    postings = run.messages.query("kind == 'price_posting'").groupby("round")["receiver"].agg(set)
    assert all(receivers == {"west", "east"} for receivers in postings)


def test_two_leaders_act_as_one_in_the_centralized_mode() -> None:
    one = evening_of("ieee37_stress", "centralized", clock__steps=2, **STAYING)
    two = evening_of("ieee37_stress", "centralized", clock__steps=2, aggregators=TWO, **STAYING)
    assert kpi(two, "dca_cost_usd") == pytest.approx(kpi(one, "dca_cost_usd"), rel=2e-3)
