"""Measurements that misbehave: whatever one does ends its own run, and the others are as they would have been."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import cosim
from cosim.cli.main import app
from cosim.errors import RunFailure

from .conftest import LIMITS, Make

MISDEEDS = '''
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from cosim.sweep.worker import Outcome


class Silent(Exception):
    def __str__(self):
        raise RuntimeError("no words")


def good(scenario):
    return Outcome({"double": 2 * scenario.network.v_min_pu}, {"pair": pd.DataFrame({"row": [0, 1]})})


def misdeed(name, scenario, path):
    frame = pd.DataFrame({"row": [0, 1]})
    figures = {
        "list": [1, 2], "mapping": {"a": 1}, "array": np.arange(3), "huge": 10**400, "complex": 1j,
        "surrogate": "\\\\ud800".encode().decode("unicode_escape"), "date": np.datetime64("2024-07-01"),
    }
    if name in figures:
        return Outcome({"double": figures[name]})
    if name == "none":
        return None
    if name == "kpis":
        return Outcome([("double", 1.0)])
    if name == "name":
        return Outcome({3: 1.0})
    if name == "column":
        return Outcome({"status": 1.0})
    if name == "factor":
        return Outcome({"network.v_min_pu": 1.0})
    if name == "notes":
        return Outcome({}, {}, "a note")
    if name == "mixed":
        return Outcome({}, {"pair": pd.DataFrame({"row": [1, "text"]})})
    if name == "twice":
        return Outcome({}, {"pair": pd.concat([frame, frame], axis=1)})
    if name == "objects":
        return Outcome({}, {"pair": pd.DataFrame({"row": [object()]})})
    if name == "empty struct":
        return Outcome({}, {"pair": pd.DataFrame({"row": [{}]})})
    if name == "no frame":
        return Outcome({}, {"pair": [1, 2]})
    if name == "outside":
        return Outcome({}, {"../../../outside": frame})
    if name == "exit":
        sys.exit(3)
    if name == "interrupt":
        raise KeyboardInterrupt
    if name == "silent":
        raise Silent
    if name == "long":
        raise ValueError("x" * 100_000)
    if name == "cannot be pickled":
        raise ValueError(lambda: None)
    if name == "full disk":
        raise OSError(28, "No space left on device")
    if name == "close":
        sys.stdout.close()
        raise ValueError("after closing")
    if name == "os._exit":
        os._exit(3)


def measured(scenario, path):
    """Misbehaves at limit 0.93, in the way that a file beside the scenario names."""
    if scenario.network.v_min_pu != 0.93:
        return good(scenario)
    return misdeed((Path(path).parent / "misdeed").read_text(), scenario, path)
'''
WAYS = {
    "none": "returned None", "kpis": "not a mapping", "name": "not a text", "column": "'status'",
    "factor": "'network.v_min_pu'", "notes": "notes", "list": "a list", "mapping": "a dict", "array": "ndarray",
    "huge": "too large", "complex": "a complex", "surrogate": "no text", "date": "a date",
    "mixed": "'row' of table 'pair'",
    "twice": "same name", "objects": "cannot be kept", "empty struct": "", "no frame": "not a pandas frame",
    "outside": "a table is named", "exit": "SystemExit: 3", "silent": "Silent: it cannot say why", "long": "xxx ...",
    "cannot be pickled": "lambda", "full disk": "No space left", "close": "after closing",
}  # fmt: skip


@pytest.fixture
def misdeeds(place: Path) -> Any:
    (place / "misdeeds.py").write_text(MISDEEDS)
    sys.modules.pop("misdeeds", None)
    yield place
    sys.modules.pop("misdeeds", None)


def only_the_third_failed(found: Any, words: str) -> None:
    assert found.runs["status"].tolist() == ["ok", "ok", "failed", "ok", "ok", "ok"]
    assert words in found.runs["error"][2] and len(found.runs["error"][2]) < 2000, found.runs["error"][2][:300]
    assert found.ok["double"].tolist() == [2 * v for v in LIMITS if v != 0.93]
    assert set(found.pair["index"]) == set(range(6)) - {2}
    assert found.log(found.runs["run"][2])


@pytest.mark.parametrize(
    ("way", "words"), [pytest.param(*x, marks=[pytest.mark.slow] * (k % 2)) for k, x in enumerate(WAYS.items())]
)
def test_a_measurement_that_misbehaves_is_a_failure_of_its_run(
    misdeeds: Path, experiment: Make, way: str, words: str
) -> None:
    (misdeeds / "misdeed").write_text(way)
    made = experiment().model_copy(update={"measure": "misdeeds:measured"})
    found = cosim.run_sweep(made, misdeeds / "out", engine="serial", analyse=False)
    only_the_third_failed(found, words)
    assert not list(misdeeds.glob("**/outside*"))


@pytest.mark.parametrize(
    ("way", "words"),
    [("exit", "SystemExit"), pytest.param("interrupt", "Keyboard", marks=pytest.mark.slow), ("os._exit", "WorkerDied")],
)
def test_a_measurement_that_ends_its_process_is_a_failure_of_its_run_in_a_pool(
    misdeeds: Path, experiment: Make, way: str, words: str
) -> None:
    (misdeeds / "misdeed").write_text(way)
    made = experiment().model_copy(update={"measure": "misdeeds:measured"})
    only_the_third_failed(cosim.run_sweep(made, misdeeds / "out", workers=2, analyse=False), words)


def test_runs_that_disagree_on_a_column_are_named_where_they_are_read(place: Path, experiment: Make) -> None:
    (place / "disagreeing.py").write_text(
        "import pandas as pd\nfrom cosim.sweep.worker import Outcome\n\n\ndef measured(scenario, path):\n"
        "    value = 'text' if scenario.network.v_min_pu == 0.93 else 1\n"
        "    return Outcome({'social_cost_usd': value}, {'pair': pd.DataFrame({'value': [value]})})\n"
    )
    made = experiment().model_copy(update={"measure": "disagreeing:measured"})
    found = cosim.run_sweep(made, place / "out", engine="serial")
    assert found.runs["social_cost_usd"].tolist() == [1, 1, "text", 1, 1, 1]
    with pytest.raises(cosim.InputError, match="do not agree"):
        found.table("pair")


@pytest.mark.parametrize("analysis", ["raise SystemExit(3)", "return None", "return [1]"])
def test_an_analysis_that_misbehaves_keeps_the_runs(place: Path, experiment: Make, analysis: str) -> None:
    (place / "bad_analysis.py").write_text(f"def found(sweep):\n    {analysis}\n")
    sys.modules.pop("bad_analysis", None)
    with pytest.raises(RunFailure, match="the analysis bad_analysis:found failed"):
        cosim.run_sweep(experiment(analysis="bad_analysis:found"), place / "out", engine="serial")
    assert len(cosim.read_sweep(place / "out").ok) == len(LIMITS)


def dry_run(place: Path, *options: str) -> Any:
    """A dry run of an experiment, all of whose code leaves a mark when it is imported."""
    package = place / "stranger"
    package.mkdir(exist_ok=True)
    mark = f"with open({str(place / 'imported')!r}, 'a') as seen:\n    seen.write(__name__ + ' ')\n"
    (package / "__init__.py").write_text(mark)
    for name in ("measures", "analyses", "agents", "rules"):
        (package / f"{name}.py").write_text(f"{mark}class Thing:\n    pass\n")
    (place / "e.yaml").write_text(
        "name: strange\nscenario: mine.yaml\nmodes: [decentralized]\nmeasure: 'stranger.measures:Thing'\n"
        "analysis: 'stranger.analyses:Thing'\nfactors: {network.v_min_pu: [0.94, 0.95]}\n"
        "set: {operator.agent: 'stranger.agents:Thing', decentralized.rule: 'stranger.rules:Thing'}\n"
    )
    arguments = ["sweep", str(place / "e.yaml"), "--out", str(place / "out"), "--dry-run", *options]
    return CliRunner().invoke(app, arguments, env={"TERM": "dumb", "COLUMNS": "300"})


@pytest.fixture
def no_stranger() -> Any:
    yield
    for name in [n for n in sys.modules if n.partition(".")[0] == "stranger"]:
        del sys.modules[name]


@pytest.mark.usefixtures("no_stranger")
def test_a_dry_run_imports_nothing_that_the_experiment_or_its_scenario_names(place: Path) -> None:
    done = dry_run(place)
    assert done.exit_code == 0, done.output
    assert not (place / "imported").exists() and not (place / "out").exists()
    assert "stranger.measures:Thing, stranger.analyses:Thing, stranger.agents:Thing" in done.stdout
    assert "not imported" in done.stdout


@pytest.mark.usefixtures("no_stranger")
def test_a_dry_run_imports_all_of_it_if_it_is_told_to(place: Path) -> None:
    done = dry_run(place, "--import")
    assert done.exit_code == 0, done.output
    seen = set((place / "imported").read_text().split())
    assert seen == {"stranger", *(f"stranger.{n}" for n in ("measures", "analyses", "agents", "rules"))}


@pytest.mark.usefixtures("no_stranger")
def test_the_key_of_a_run_is_the_same_whether_its_code_is_imported(place: Path) -> None:
    from cosim.sweep.plan import make_plan

    dry_run(place)
    unseen = make_plan(place / "e.yaml", importing=False).keys
    assert "stranger.measures" not in sys.modules
    assert make_plan(place / "e.yaml").keys == unseen
    (place / "stranger" / "rules.py").write_text("class Thing:\n    changed = True\n")
    assert not set(make_plan(place / "e.yaml", importing=False).keys) & set(unseen), "and it follows from its source"
