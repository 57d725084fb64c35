"""Scenario files: what is refused, and how clearly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cosim.errors import InputError
from cosim.scenario.loading import (
    find_scenario,
    load_scenario,
    merged_lists,
    scenario_data,
    shipped_scenarios,
)


def refused(overrides: dict[str, Any], scenario: str = "ieee37") -> InputError:
    """The error that these overrides of a shipped scenario lead to."""
    with pytest.raises(InputError) as caught:
        load_scenario(scenario, overrides)
    return caught.value


@pytest.mark.parametrize("name", ["ieee37", "ieee37_svg", "ieee37_stress", "ieee37_stress_svg", "ieee37_year"])
def test_shipped_scenarios_are_valid(name: str) -> None:
    scenario, path = load_scenario(name)
    assert (scenario.name, path.suffix) == (name, ".yaml")


def test_every_scenario_file_is_listed() -> None:
    assert {"ieee37", "ieee37_stress", "ieee37_stress_svg", "ieee37_svg"} <= set(shipped_scenarios())


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("network.vmin_pu", "v_min_pu"),
        ("datacenters.dc718.it_peak_mw", "it_peak_kw"),
        ("decentralised", "decentralized"),
        ("workload.classes.batch.max_delay_step", "max_delay_steps"),
    ],
)
def test_unknown_key_names_the_nearest(key: str, near: str) -> None:
    error = refused({key: 1})
    assert near in error.message and error.file is not None and error.key is not None


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("network.v_min_pu", "300 V", "a number in per unit"),
        ("datacenters.dc718.it_peak_kw", "0.3 MW", "a number in kW"),
        ("clock.steps", 2.5, "integer"),
        ("clock.market", "intraday", "day_ahead"),
        ("datacenters.dc718.it_peak_kw", -300, "greater than 0"),
        ("svgs", [{"name": "s", "bus": "718", "kvar": -1}], "greater than 0"),
        ("datacenters.dc718.it_peak_kw", float("nan"), "finite"),
        ("generators.dg720.cost_usd_per_mwh", float("nan"), "finite"),
        ("workload.classes.batch.max_delay_steps", -1, "deadline before the arrival"),
        ("workload.classes.batch.share", 0.9, "add up to"),
        ("network.v_max_pu", 0.9, "must be below"),
        ("generators.dg720.p_min_kw", 301, "above p_max_kw"),
        ("generators.pv711.profile", None, "needs a profile"),
        ("datacenters.dc718.name", "dg720", "different names"),
        ("workload.site_weight", {"dc999": 1.0}, "not data centers"),
        ("aggregators", [{"name": "a", "datacenters": ["dc718"]}], "exactly once"),
        ("market.price_usd_per_mwh", {"file": "x", "constant": 3}, "exactly one"),
    ],
)
def test_wrong_value_says_what_is_allowed(key: str, value: object, told: str) -> None:
    assert told in str(refused({key: value}))


def test_unknown_scenario_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'ieee37'"):
        load_scenario("ieee73")


def test_override_below_a_plain_value_is_refused() -> None:
    assert "below a plain value" in refused({"seed.deeper": 1}).message


def test_override_of_an_absent_list_entry_names_those_there_are() -> None:
    assert "dc740" in str(refused({"datacenters.dc999.pue": 1.1}))


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_base_is_merged_by_name_of_entry(tmp_path: Path) -> None:
    path = write(tmp_path, "mine.yaml", "base: ieee37\nname: mine\ndatacenters:\n  - {name: dc740, pue: 1.2}\n")
    scenario, _ = load_scenario(path)
    assert [(d.name, d.pue) for d in scenario.datacenters] == [("dc718", 1.30), ("dc736", 1.56), ("dc740", 1.2)]


def test_a_base_may_stand_beside_the_scenario(tmp_path: Path) -> None:
    write(tmp_path, "first.yaml", "base: ieee37\nname: first\nseed: 7\n")
    scenario, _ = load_scenario(write(tmp_path, "second.yaml", "base: first.yaml\nname: second\n"))
    assert scenario.seed == 7


def test_a_circle_of_bases_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "base: b.yaml\nname: a\n")
    path = write(tmp_path, "b.yaml", "base: a.yaml\nname: b\n")
    with pytest.raises(InputError, match="circle"):
        load_scenario(path)


@pytest.mark.parametrize("text", ["a: [1", "- 1\n- 2\n", "name: x\nname: y\n"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError) as caught:
        load_scenario(write(tmp_path, "bad.yaml", text))
    assert caught.value.file is not None


# What a scenario takes over from its base


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def test_an_inherited_entry_is_removed(tmp_path: Path) -> None:
    path = written(tmp_path, "base: ieee37\nname: mine\nremove: [generators.dg720, datacenters.dc718.pue]\n")
    before, after = scenario_data(find_scenario("ieee37")), scenario_data(path)
    assert {g["name"] for g in before["generators"]} - {g["name"] for g in after["generators"]} == {"dg720"}
    assert set(before["datacenters"][0]) - set(after["datacenters"][0]) == {"pue"}


def test_a_removed_list_can_be_written_anew(tmp_path: Path) -> None:
    own = "[{name: g, bus: '718', p_max_kw: 1, s_kva: 1}]"
    text = f"base: ieee37\nname: mine\nremove: [generators]\ngenerators: {own}\n"
    assert [g.name for g in load_scenario(written(tmp_path, text))[0].generators] == ["g"]


def test_overrides_remove_as_a_file_does() -> None:
    found, _ = load_scenario("ieee37", {"remove": ["generators.dg720"], "generators.dg728.p_max_kw": 10.0})
    assert "dg720" not in {g.name for g in found.generators}


@pytest.mark.parametrize(
    ("gone", "told"),
    [
        ("[generators.dg721]", "no such entry"),
        ("[generatrs]", "did you mean 'generators'"),
        ("generators", "a list of dotted keys"),
        ("[1]", "a list of dotted keys"),
        ("[name.first]", "nothing of this name to remove"),
    ],
)
def test_what_is_not_there_cannot_be_removed(gone: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told):
        load_scenario(written(tmp_path, f"base: ieee37\nname: mine\nremove: {gone}\n"))


def test_merged_lists_are_told(tmp_path: Path) -> None:
    entries = "[{name: dc718, pue: 1.2}, {name: new, bus: '735', it_peak_kw: 9, it_idle_kw: 1, pue: 1.1}]"
    path = written(tmp_path, f"base: ieee37\nname: mine\ndatacenters: {entries}\n")
    assert merged_lists(path)[-1] == "datacenters: dc736, dc740 as in the base; dc718 changed; new added"


# Everything at once


def test_every_error_of_a_file_is_told_at_once() -> None:
    error = refused({"datacenters.dc718.pue": 9.0, "clock.step_s": "an hour", "network.v_mx_pu": 1.04})
    told = [error.key, *(other.key for other in error.others)]
    assert sorted(map(str, told)) == ["clock.step_s", "datacenters.dc718.pue", "network.v_mx_pu"]


def test_errors_in_lists_name_the_entry() -> None:
    assert refused({"datacenters.1.pue": 9.0}).key == "datacenters.dc736.pue"


def test_many_errors_stay_short() -> None:
    error = refused({f"unknown_key_number_{i}": "x" * 1000 for i in range(500)})
    assert len(str(error).encode()) <= 2000 and error.others
