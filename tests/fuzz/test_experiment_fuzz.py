"""Experiment files changed at random, in structure and in text: planned, or refused with one short message."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from mutations import as_yaml, mutated, mutated_text, sandbox, told

from cosim.sweep.experiment import find_experiment, shipped_experiments
from cosim.yaml_reading import read_yaml

FEW, MANY = 15, 150
RICH = {
    "name": "rich",
    "scenario": "ieee37",
    "set": {"clock.steps": 1},
    "modes": ["uncoordinated"],
    "factors": {
        "network.v_min_pu": [0.94, 0.95],
        "load": {"keys": {"network.load_scale.scale": {"times": 2, "plus": -1}}, "range": {"start": 0.8, "stop": 1.2,
        "count": 2}},
        "price": {"levels": {"low": {"market.price_usd_per_mwh": {"constant": 20}}, "high": {"seed": 2}}},
        "work": {"keys": "workload.utilisation.scale", "sample": {"distribution": "norm", "parameters": {"loc": 0.5,
        "scale": 0.1},
                                                                  "within": [0.3, 0.8]}},
        "gate": {"keys": ["clock.gate_s"], "sample": {"low": 600, "high": 1800}, "integer": True},
    },
    "sampling": {"method": "sobol", "count": 2, "seed": 3},
    "keep": {"tables": ["steps", "prices"]},
}  # fmt: skip


def case(seed: int) -> str:
    """The text of one changed experiment; even seeds change structure, odd ones text."""
    rng = random.Random(seed)
    name = rng.choice(["rich", *shipped_experiments()])
    data = RICH if name == "rich" or rng.random() < 0.5 else read_yaml(find_experiment(name))
    return as_yaml(mutated(rng, data)) if seed % 2 == 0 else mutated_text(rng, as_yaml(data))


def check(folder: Path, seed: int) -> None:
    """Plan one changed experiment; planning writes nothing at all."""
    with sandbox(folder) as place:
        mine = str(place / "mine.yaml")
        (place / "mine.yaml").write_text(case(seed), encoding="utf-8", errors="surrogatepass", newline="")
        told(["sweep", mine, "--dry-run"])
        assert [p.name for p in place.iterdir()] == ["mine.yaml"]


@pytest.mark.parametrize("seed", range(FEW))
def test_a_changed_experiment_is_planned_or_refused(tmp_path: Path, seed: int) -> None:
    check(tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(FEW, MANY))
def test_many_changed_experiments_are_planned_or_refused(tmp_path: Path, seed: int) -> None:
    check(tmp_path, seed)
