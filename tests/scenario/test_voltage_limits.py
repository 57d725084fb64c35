"""Voltage limits of single buses and voltage levels, from the scenario and from the feeder's table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.errors import InputError
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.limits import VoltageLimits
from cosim.grid.feeder.tables import read_feeder, write_feeder
from cosim.results.record import Record
from cosim.scenario.loading import load_scenario
from cosim.scenario.network_limits import voltage_limits_of
from cosim.scenario.schema import VoltageLimitSpec
from cosim.simulation.runner import RunResult, run, validate

Sides = tuple[float | None, float | None]
SHORT = {"clock.start": "2024-07-15T18:00:00", "clock.steps": 2, "clock.window_steps": 2}
AT_740 = {"network.voltage_limits": [{"buses": ["740"], "v_min_pu": 0.9835}]}


def limits(*entries: dict[str, object], feeder: Feeder | None = None) -> VoltageLimits:
    scenario, _ = load_scenario("ieee37", {})
    specs = tuple(VoltageLimitSpec.model_validate(e) for e in entries)
    return voltage_limits_of(scenario.network.model_copy(update={"voltage_limits": specs}),
                             feeder or read_feeder("ieee37"))  # fmt: skip


def own_limits(feeder: Feeder) -> Feeder:
    """IEEE 37 with limits in the table of buses at 740 and 775."""
    own = {"740": (0.97, None), "775": (0.91, 1.08)}
    buses = tuple(
        replace(b, v_min_pu=own[b.name][0], v_max_pu=own[b.name][1]) if b.name in own else b for b in feeder.buses
    )
    return replace(feeder, buses=buses)


def test_a_bus_goes_before_its_level_and_its_level_before_the_table() -> None:
    found = limits({"buses": ["775"], "v_max_pu": 1.07}, {"kv": 0.48, "v_min_pu": 0.93},
                   feeder=own_limits(read_feeder("ieee37")))  # fmt: skip
    assert found.of("775") == (0.93, 1.07)
    assert found.of("740") == (0.97, 1.05)
    assert found.of("741") == (0.95, 1.05)


SIDES = st.tuples(st.none() | st.sampled_from([0.9, 0.92, 0.94]), st.none() | st.sampled_from([1.06, 1.08, 1.1]))


@settings(max_examples=60)
@given(
    of_buses=st.dictionaries(st.sampled_from(["740", "741", "775", "799"]), SIDES),
    of_levels=st.dictionaries(st.sampled_from([0.48, 4.8]), SIDES),
    of_table=st.dictionaries(st.sampled_from(["740", "775", "701"]), SIDES),
)
def test_each_side_of_a_limit_is_the_nearest_that_is_given(
    of_buses: dict[str, Sides], of_levels: dict[float, Sides], of_table: dict[str, Sides]
) -> None:
    plain = read_feeder("ieee37")
    buses = tuple(replace(b, v_min_pu=of_table.get(b.name, (None, None))[0],
                          v_max_pu=of_table.get(b.name, (None, None))[1]) for b in plain.buses)  # fmt: skip
    entries: list[dict[str, object]] = [{"buses": [k], "v_min_pu": a, "v_max_pu": b} for k, (a, b) in of_buses.items()]
    entries += [{"kv": k, "v_min_pu": a, "v_max_pu": b} for k, (a, b) in of_levels.items()]
    found = limits(*(e for e in entries if e["v_min_pu"] or e["v_max_pu"]), feeder=replace(plain, buses=buses))
    for bus in plain.buses:
        known = [of_buses.get(bus.name), of_levels.get(bus.kv_base), of_table.get(bus.name), (0.95, 1.05)]
        expected = tuple(next(x[side] for x in known if x is not None and x[side] is not None) for side in (0, 1))
        assert found.of(bus.name) == expected


def test_limits_of_the_table_of_buses_are_read_back(tmp_path: Path) -> None:
    feeder = own_limits(read_feeder("ieee37"))
    write_feeder(feeder, tmp_path)
    assert read_feeder(tmp_path) == feeder


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ([{"buses": ["74O"], "v_min_pu": 0.9}], "did you mean '74"),
        ([{"kv": 12.47, "v_min_pu": 0.9}], "no bus of this nominal voltage"),
        ([{"buses": ["740"], "v_min_pu": 1.06}], "leave no voltage"),
        ([{"buses": ["740"], "v_min_pu": 0.9}, {"buses": ["701", "740"], "v_max_pu": 1.1}], "twice"),
    ],
)
def test_what_cannot_be_meant_is_refused(entries: list[dict[str, object]], told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        validate("ieee37", {"network.voltage_limits": entries})
    assert str(caught.value.key).startswith("network.voltage_limits")
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize("entry", [{"v_min_pu": 0.9}, {"kv": 4.8}, {"kv": 4.8, "buses": ["740"], "v_min_pu": 0.9}])
def test_an_entry_says_whose_limits_and_which(entry: dict[str, object]) -> None:
    with pytest.raises(InputError):
        load_scenario("ieee37", {"network.voltage_limits": [entry]})


@pytest.fixture(scope="module")
def limited() -> RunResult:
    return run("ieee37", mode="uncoordinated", overrides={**SHORT, **AT_740})


def test_the_clearing_keeps_the_limit_of_a_bus_and_no_other(limited: RunResult) -> None:
    lowest = limited.voltages.groupby("bus")["v_pu"].min()
    free = run("ieee37", mode="uncoordinated", overrides=SHORT).voltages.groupby("bus")["v_pu"].min()
    assert free["740"] < 0.983
    assert lowest["740"] >= 0.9835 - 1e-6
    assert lowest.drop("740").min() < 0.9835 - 1e-4


def test_violations_are_counted_by_bus(limited: RunResult) -> None:
    v = limited.voltages
    low = v["bus"].map(lambda bus: 0.9835 if bus == "740" else 0.95)
    assert limited.kpis["violations_ac"] == ((v["v_ac_pu"] < low - 1e-4) | (v["v_ac_pu"] > 1.05 + 1e-4)).sum()


def test_the_base_case_is_judged_by_them() -> None:
    lines = dict(validate("ieee37", {"network.voltage_limits": [{"kv": 4.8, "v_min_pu": 1.0}]}).lines)
    told = lines["base case, AC"]
    assert "outside the limits" in told


def test_a_record_has_them_only_where_there_are_some(limited: RunResult) -> None:
    assert Record.from_json(limited.record.to_json()).limits == VoltageLimits(0.95, 1.05, {"740": (0.9835, 1.05)})
    plain = replace(limited.record, limits=VoltageLimits(0.95, 1.05))
    assert "buses" not in plain.to_json()


def test_a_scenario_without_them_is_written_as_before() -> None:
    scenario, _ = load_scenario("ieee37", {})
    assert "voltage_limits" not in scenario.model_dump()["network"]
