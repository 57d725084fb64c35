"""Changes by dotted keys say what a file with the scenario as its base would say."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cosim.errors import InputError
from cosim.scenario.loading import _merge, apply_changes, find_scenario, load_scenario, scenario_data
from cosim.sweep.plan import make_plan

NAMES = ("dc718", "dc736", "new")
SITE = {"bus": "738", "it_peak_kw": 90, "it_idle_kw": 9, "pue": 1.2}
CASES: list[tuple[str, Any]] = [
    ("datacenters", [{"name": "dc718", "pue": 1.9}]),
    ("datacenters", [{"name": "extra", **SITE}]),
    ("datacenters", []),
    ("network.load_scale", {"constant": 0.5}),
    ("network.load_scale", {"scale": 0.5}),
    ("network", {"v_min_pu": 0.9}),
    ("channel", {}),
    ("decentralized", {"rule": "bundle"}),
    ("workload.classes", [{"name": "batch", "max_delay_steps": 2}]),
    ("remove", ["generators.dg720", "datacenters"]),
]


def as_a_file(key: str, value: Any) -> dict[str, Any]:
    """A dotted key as nested YAML."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return dict(value)


@pytest.mark.parametrize(("key", "value"), CASES)
def test_a_change_says_what_a_file_with_that_base_says(tmp_path: Path, key: str, value: Any) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"base": "ieee37", **as_a_file(key, value)}))
    changed = scenario_data(find_scenario("ieee37"))
    apply_changes(changed, {key: value}, path)
    assert changed == scenario_data(path)


def values(depth: int = 2) -> st.SearchStrategy[Any]:
    """Plain values, mappings, lists and lists of named entries, empty ones too."""
    plain = st.one_of(st.integers(0, 3), st.none(), st.lists(st.integers(0, 2), max_size=2))
    if depth == 0:
        return plain
    keys = st.sampled_from(["a", "b", "constant"])
    mappings = st.dictionaries(keys, values(depth - 1), max_size=2)
    named = st.lists(st.sampled_from(NAMES), unique=True, max_size=2).flatmap(
        lambda names: st.tuples(*[mappings.map(lambda m, n=n: {"name": n, **m}) for n in names]).map(list)  # type: ignore[misc]
    )
    return st.one_of(plain, mappings, named)


@given(st.dictionaries(st.sampled_from(["a", "b"]), values(), max_size=2), st.sampled_from(["a", "b", "a.b"]), values())
def test_any_change_merges_as_a_file_does(base: dict[str, Any], key: str, value: Any) -> None:
    place = base.get("a", {})
    if key == "a.b" and not (isinstance(place, dict) and not place.keys() & {"constant"}):
        return  # the key goes below a plain value, or replaces a series
    changed = copy.deepcopy(base)
    apply_changes(changed, {key: value}, Path("mine.yaml"))
    assert changed == _merge(copy.deepcopy(base), as_a_file(key, value))


def test_one_entry_may_replace_all_others() -> None:
    changes = {"remove": ["datacenters"], "datacenters": [{"name": "one", **SITE}]}
    assert [d.name for d in load_scenario("ieee37", changes)[0].datacenters] == ["one"]


def test_an_experiment_changes_a_scenario_by_the_same_rule(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump({
        "name": "mine", "scenario": "ieee37", "set": {"remove": ["generators"]},
        "factors": {"sites": {"keys": "datacenters", "values": [[{"name": "dc718", "pue": 1.9}]]}},
    }))  # fmt: skip
    (run,) = make_plan(tmp_path / "sweep.yaml").runs
    expected = load_scenario("ieee37", {"remove": ["generators"], "datacenters.dc718.pue": 1.9})[0]
    assert run.scenario["datacenters"] == expected.model_dump(mode="json")["datacenters"]
    assert run.scenario["generators"] == []


def test_nothing_to_remove_is_an_error_of_an_experiment_too(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text("name: mine\nscenario: ieee37\nset: {remove: [generators.dg7]}\n")
    with pytest.raises(InputError, match="to remove|no such entry"):
        make_plan(tmp_path / "sweep.yaml")


def test_a_change_below_another_one_leaves_what_the_caller_gave_as_it_is() -> None:
    """The same mapping may be given to many runs."""
    forecasts: dict[str, Any] = {"default": {"kind": "persistence"}, "scale": 2.0}
    changes = {"forecasts": forecasts, "forecasts.scale": 1e-6, "forecasts.default.last": "value"}
    scenario, _ = load_scenario("ieee37", changes)
    assert scenario.forecasts.scale == 1e-6
    assert forecasts == {"default": {"kind": "persistence"}, "scale": 2.0}
