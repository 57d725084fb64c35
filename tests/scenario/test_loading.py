"""Scenario files: what is refused, and how clearly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cosim.errors import InputError
from cosim.scenario.loading import load_scenario, shipped_scenarios


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
