"""Small experiments: real runs of one step, and measurements that take no time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cosim.sweep.experiment import Experiment, check_experiment

MEASURES = '''
import os
import signal
import time
from pathlib import Path

import pandas as pd

from cosim.errors import RunFailure
from cosim.sweep.worker import Outcome


def level(scenario):
    return scenario.network.v_min_pu


def quick(scenario, path):
    """The limit and the seed; a table of two rows."""
    frame = pd.DataFrame({"row": [0, 1], "value": [level(scenario), 2 * level(scenario)]})
    return Outcome({"double": 2 * level(scenario), "seed_seen": scenario.seed, "wall_s": 1.0}, {"pair": frame})


def slow(scenario, path):
    """Takes its time until there is a file that says to hurry."""
    if not (Path(path).parent / "hurry").exists():
        time.sleep(0.2)
    return quick(scenario, path)


def fatal_once(scenario, path):
    """Kills its process at limit 0.93, the first time."""
    flag = Path(path).parent / "died"
    if level(scenario) == 0.93 and not flag.exists():
        flag.touch()
        print("about to die", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    return quick(scenario, path)


def fatal(scenario, path):
    """Kills its process at limit 0.93, always."""
    if level(scenario) == 0.93:
        print("about to die", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    return quick(scenario, path)


def failing(scenario, path):
    """Fails at limit 0.93 until there is a file named mended beside the scenario."""
    if level(scenario) == 0.93 and not (Path(path).parent / "mended").exists():
        raise RunFailure("the solver gave up")
    if level(scenario) == 0.92 and not (Path(path).parent / "mended").exists():
        raise KeyError("a mistake")
    return quick(scenario, path)
'''
LIMITS = [0.91, 0.92, 0.93, 0.94, 0.95, 0.96]
Make = Callable[..., Experiment]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a scenario and with measurements that can be imported."""
    (tmp_path / "sweep_measures.py").write_text(MEASURES)
    (tmp_path / "mine.yaml").write_text("base: ieee37\nname: mine\nmode: uncoordinated\nclock: {steps: 1}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("sweep_measures", None)
    yield tmp_path
    sys.modules.pop("sweep_measures", None)


@pytest.fixture
def experiment(place: Path) -> Make:
    """An experiment over voltage limits, measured by one of the functions above."""

    def make(measure: str | None = "quick", **changes: Any) -> Experiment:
        data: dict[str, Any] = {
            "name": "limits",
            "scenario": str(place / "mine.yaml"),
            "factors": {"network.v_min_pu": LIMITS},
            "measure": None if measure is None else f"sweep_measures:{measure}",
        }
        return check_experiment({**data, **changes})

    return make
