"""The plan: keys that follow from content and from nothing else, and seeds that stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cosim.errors import InputError
from cosim.scenario.loading import find_scenario, scenario_data
from cosim.sweep import digest
from cosim.sweep.digest import InputDigests
from cosim.sweep.plan import make_plan

from .conftest import LIMITS, Make


def keys(experiment: Make, **changes: Any) -> list[str]:
    return [run.key for run in make_plan(experiment(**changes)).runs]


def test_each_point_and_mode_has_a_key_of_its_own(experiment: Make) -> None:
    found = keys(experiment, modes=["welfare", "uncoordinated"])
    assert len(found) == len(set(found)) == 2 * len(LIMITS)


def test_another_value_changes_only_its_own_keys(experiment: Make) -> None:
    before, after = keys(experiment), keys(experiment, factors={"network.v_min_pu": [*LIMITS[:-1], 0.965]})
    assert [a == b for a, b in zip(before, after, strict=True)] == [True] * 5 + [False]


def test_the_name_of_a_factor_and_the_description_do_not_count(experiment: Make) -> None:
    renamed = {"limit": {"keys": "network.v_min_pu", "values": LIMITS}}
    assert keys(experiment) == keys(experiment, factors=renamed, description="other words")


def test_what_is_measured_and_kept_counts(experiment: Make) -> None:
    found = keys(experiment)
    assert found != keys(experiment, measure="slow") and found != keys(experiment, keep={"tables": ["prices"]})


def test_the_content_of_a_file_counts(experiment: Make, place: Path) -> None:
    (place / "prices.csv").write_text("usd\n" + "40\n" * 24)
    series = {"set": {"market.price_usd_per_mwh": {"file": "prices.csv", "column": "usd"}}}
    before = keys(experiment, **series)
    (place / "prices.csv").write_text("usd\n" + "41\n" * 24)
    assert before != keys(experiment, **series)


def test_the_code_and_versions_count(experiment: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys(experiment)
    monkeypatch.setattr(digest, "code_digest", lambda: "other code")
    other_code = keys(experiment)
    monkeypatch.setattr(digest, "versions", lambda: {"highspy": "0"})
    assert len({before[0], other_code[0], keys(experiment)[0]}) == 3


def test_replicates_have_spawned_seeds_that_stay_when_more_are_added(experiment: Make) -> None:
    few, more = (make_plan(experiment(replicates=n)).runs for n in (2, 3))
    assert len({run.seed for run in more}) == 3
    assert [r.seed for r in few[:2]] == [r.seed for r in more[:2]]
    assert [r.seed for r in few[2:4]] == [r.seed for r in few[:2]], "common random numbers at every point"


def test_independent_seeds_differ_from_point_to_point_and_stay_when_points_are_added(experiment: Make) -> None:
    few = make_plan(experiment(replicates=1, seeds="independent", factors={"network.v_min_pu": [0.95]})).runs
    all_of_them = make_plan(experiment(replicates=1, seeds="independent")).runs
    assert len({run.seed for run in all_of_them}) == len(LIMITS)
    assert few[0].seed == next(r.seed for r in all_of_them if r.factors["network.v_min_pu"] == 0.95)


def test_without_replicates_the_scenario_says_the_seed(experiment: Make) -> None:
    assert {run.seed for run in make_plan(experiment()).runs} == {1}


def test_one_points_changes_do_not_reach_another(experiment: Make) -> None:
    """A mapping that a factor sets is changed by another factor: at its own points only."""
    latency = {"kind": "constant", "seconds": 1.0}
    factors = {
        "channel": {"keys": "channel", "values": [{"latency": latency}]},
        "loss": {"keys": "channel.loss", "values": [0.1, 0.2]},
    }
    runs = make_plan(experiment(factors=factors)).runs
    assert [run.scenario["channel"]["loss"] for run in runs] == [0.1, 0.2]
    assert runs[0].factors["channel"] == {"latency": latency}


def test_runs_on_several_feeders_are_told_apart_by_each_of_them() -> None:
    path = find_scenario("two_feeders")
    found = InputDigests(path).of(scenario_data(path))
    assert {"feeder ieee37", "feeder ieee123"} <= set(found) and found["feeder ieee37"] != found["feeder ieee123"]
    given = scenario_data(path)
    given["feeders"]["east"]["network"]["feeder"] = "nowhere"
    with pytest.raises(InputError) as caught:
        InputDigests(path).of(given)
    assert caught.value.key == "feeders.east.network.feeder"
