"""Short studies, made once for all tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cosim.experiments.studies import coordination, svg
from cosim.experiments.studies.common import Findings
from cosim.sweep.experiment import check_experiment, load_experiment
from cosim.sweep.reading import Sweep
from cosim.sweep.run import run_sweep


@pytest.fixture(scope="package")
def modes() -> Findings:
    """Hours of the stressed feeder in which a voltage limit binds, all modes, two update rules."""
    overrides = {"clock.start": "2024-07-15T08:00:00", "clock.steps": 2}
    return coordination.study(["ieee37_stress"], overrides, rules=("admm", "best_response"))


@pytest.fixture(scope="package")
def compensators() -> Findings:
    """Two hours of the feeder with SVGs, every case."""
    return svg.study(["ieee37_svg"], overrides={"clock.steps": 2})


def small(name: str, folder: Path, changes: dict[str, Any] | None = None, **values: list[Any]) -> Sweep:
    """A shipped experiment with fewer values of some factors and one seed, done and analysed in this process."""
    loaded, _ = load_experiment(name, changes)
    data = loaded.model_dump()
    for factor, chosen in values.items():
        spec = data["factors"][factor]
        if spec["levels"] is not None:
            spec["levels"] = {level: spec["levels"][level] for level in chosen}
        else:
            spec["values"] = chosen
    data["replicates"] = None if loaded.replicates is None else 1
    return run_sweep(check_experiment(data), folder / name, engine="serial")
