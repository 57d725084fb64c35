"""Scenario files changed at random, in structure and in text: ``validate`` and ``run`` take or refuse them alike."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from mutations import as_yaml, mutated, mutated_text, run_agrees, sandbox, told

from cosim.scenario.loading import find_scenario, scenario_data

FEW, MANY = 40, 500
SHORT = {"clock.steps": 2, "clock.window_steps": 2, "decentralized.max_rounds": 20}
MODES = ("uncoordinated", "decentralized", "welfare")


def case(seed: int) -> str:
    """The text of one changed scenario; even seeds change structure, odd ones text."""
    rng = random.Random(seed)
    name = rng.choice(("ieee37", "ieee37_svg", "ieee37_stress_svg"))
    data = scenario_data(find_scenario(name))
    data["mode"] = rng.choice(MODES)
    data["clock"] |= {"steps": 2, "window_steps": 2}
    data["channel"] = {"latency": {"kind": "uniform", "low_s": 0.0, "high_s": 0.5}, "loss": 0.1,
                       "links": [{"sender": "dca", "receiver": "dso", "loss": 0.2}]}  # fmt: skip
    data["decentralized"] = {"rule": "admm", "max_rounds": 20}
    data["aggregators"] = [{"name": "dca", "agent": "cosim.agents.dca:DataCenterAggregator"}]
    data["datacenters"][0]["battery"] = {"energy_kwh": 100.0, "power_kw": 50.0}
    return as_yaml(mutated(rng, data)) if seed % 2 == 0 else mutated_text(rng, as_yaml(data))


def check(folder: Path, seed: int) -> None:
    """Validate one changed scenario, and run half of those that pass, short."""
    with sandbox(folder) as place:
        mine = str(place / "mine.yaml")
        (place / "mine.yaml").write_text(case(seed), encoding="utf-8", errors="surrogatepass", newline="")
        code, _ = told(["validate", mine, "--import"])
        if code == 0 and seed % 4 < 2:
            changes = [text for key, value in SHORT.items() for text in ("--set", f"{key}={value}")]
            if told(["validate", mine, "--import", *changes])[0] == 0:
                run_agrees(mine, str(place / "out"), drawn=seed % 8 == 0, **SHORT)


@pytest.mark.parametrize("seed", range(FEW))
def test_a_changed_scenario_is_taken_or_refused(tmp_path: Path, seed: int) -> None:
    check(tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(FEW, MANY))
def test_many_changed_scenarios_are_taken_or_refused(tmp_path: Path, seed: int) -> None:
    check(tmp_path, seed)
