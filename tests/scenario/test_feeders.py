"""Scenarios with several feeders: what is refused, by which key, and what each feeder's part of the scenario is."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

import cosim
from cosim.errors import InputError
from cosim.scenario.feeders import parts_of
from cosim.scenario.loading import check_scenario, find_scenario, load_scenario, scenario_data, set_dotted
from cosim.simulation.runner import scenario_text

PATH = find_scenario("two_feeders")


def data() -> dict[str, Any]:
    return copy.deepcopy(scenario_data(PATH))


def refused(given: dict[str, Any]) -> InputError:
    with pytest.raises(InputError) as caught:
        check_scenario(given, PATH)
    return caught.value


def test_a_site_on_an_unknown_feeder_is_refused() -> None:
    given = data()
    given["datacenters"][1]["feeder"] = "north"
    error = refused(given)
    assert error.key == "datacenters.dc736.feeder" and error.value == "north"
    assert "west, east" in error.message


def test_a_site_that_names_none_of_several_feeders_is_refused() -> None:
    given = data()
    del given["datacenters"][3]["feeder"]
    assert refused(given).key == "datacenters.dc76.feeder"


def test_a_site_that_names_a_feeder_where_there_is_only_one_is_refused() -> None:
    given = copy.deepcopy(scenario_data(find_scenario("ieee37")))
    given["datacenters"][0]["feeder"] = "west"
    assert refused(given).key == "datacenters.dc718.feeder"


def test_network_and_feeders_are_not_both_there() -> None:
    error = refused({**data(), "network": {"feeder": "ieee37", "load_scale": {"constant": 1}}})
    assert error.key == "network" and "either one network or feeders" in error.message


def test_a_scenario_without_network_and_feeders_is_refused() -> None:
    given = data()
    del given["feeders"]
    error = refused(given)
    assert error.key == "network" and "required" in error.message


@pytest.mark.parametrize("key", ["price_usd_per_mwh", "network"])
def test_a_feeder_without_price_or_network_is_refused(key: str) -> None:
    given = data()
    del given["feeders"]["east"][key]
    error = refused(given)
    assert error.key == f"feeders.east.{key}" and "required" in error.message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("market.price_usd_per_mwh", {"constant": 40}),
        ("market.slope_usd_per_mwh_per_mw", 1),
        ("operator.name", "someone"),
        ("generators", [{"name": "g", "bus": "1", "p_max_kw": 1, "s_kva": 1}]),
    ],
)
def test_what_belongs_to_a_feeder_stands_in_its_section(key: str, value: Any) -> None:
    given = data()
    set_dotted(given, key, value, PATH)
    assert "stand in each feeder's section" in refused(given).message


def test_a_feeder_without_data_centers_is_refused() -> None:
    given = data()
    given["datacenters"] = given["datacenters"][:3]
    assert "feeders ['east'] have no data center" in refused(given).message


def test_the_names_of_operators_must_differ() -> None:
    given = data()
    for feeder in given["feeders"].values():
        feeder["operator"] = {"name": "same"}
    assert "must have different names" in refused(given).message


def test_an_unknown_key_of_a_feeder_is_refused_with_the_nearest_known_one() -> None:
    given = data()
    given["feeders"]["west"]["network"]["v_mim_pu"] = 0.9
    error = refused(given)
    assert error.key == "feeders.west.network.v_mim_pu" and "v_min_pu" in error.message
    assert "load_scale" in str(error.allowed)


def test_rounds_of_ac_power_flow_are_for_a_single_feeder() -> None:
    given = data()
    given["feeders"]["west"]["network"]["ac_rounds"] = 2
    assert refused(given).key == "feeders.west"


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("feeders.east.generators.dg47.bus", "nowhere", "feeders.east.generators.dg47.bus"),
        ("feeders.west.network.taps", {"none.a": 1}, "feeders.west.network.taps.none.a"),
        ("feeders.west.price_usd_per_mwh", {"values": [1, 2, 3]}, "feeders.west.price_usd_per_mwh"),
        ("feeders.east.network.load_scale.scale", 40, "feeders.east.network"),
        ("datacenters.dc76.bus", "740", "datacenters.dc76.bus"),
    ],
)
def test_what_a_run_refuses_is_named_as_it_stands_in_the_file(key: str, value: Any, named: str) -> None:
    with pytest.raises(InputError) as caught:
        cosim.run("two_feeders", overrides={key: value})
    assert caught.value.key == named and caught.value.file == PATH


def test_a_part_is_the_scenario_of_its_feeder_alone() -> None:
    scenario, _ = load_scenario("two_feeders")
    west, east = parts_of(scenario)
    assert (west.name, east.name) == ("west", "east")
    assert [d.name for d in east.scenario.datacenters] == ["dc76", "dc48"]
    assert east.scenario.network.feeder == "ieee123" and east.scenario.operator.name == "dso_east"
    assert east.scenario.market.price_usd_per_mwh == scenario.feeders["east"].price_usd_per_mwh


def test_the_part_of_a_single_feeder_is_the_scenario_itself() -> None:
    scenario, _ = load_scenario("ieee37")
    (part,) = parts_of(scenario)
    assert part.scenario is scenario and part.key("network") == "network"


def test_a_written_scenario_reads_as_it_was_and_says_nothing_of_feeders_it_does_not_have(tmp_path: Path) -> None:
    for name in ("ieee37", "two_feeders"):
        scenario, _ = load_scenario(name)
        text = scenario_text(scenario)
        assert ("feeders" in yaml.safe_load(text)) == (name == "two_feeders")
        (tmp_path / "again.yaml").write_text(text)
        assert load_scenario(tmp_path / "again.yaml")[0] == scenario


def test_a_scenario_with_feeders_may_build_on_one_with_a_network(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    nothing = {"network": None, "market": {"price_usd_per_mwh": None}, "generators": []}
    both = {key: data()[key] for key in ("feeders", "datacenters")}
    path.write_text(yaml.safe_dump({"base": "ieee37", "name": "mine", **nothing, **both}))
    scenario, _ = load_scenario(path)
    assert set(scenario.feeders) == {"west", "east"} and len(scenario.datacenters) == 5
