"""Folders of results run again from their own inputs, after what they were made from is gone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import cosim
from cosim.cli.main import app
from cosim.errors import InputError, RunFailure
from cosim.files import file_digest
from cosim.grid.feeder.tables import feeder_folder
from cosim.results.tables import Tables, read_table, write_table
from cosim.scenario.inputs.manifest import read_manifest
from cosim.simulation.rerun import Rerun, scenario_kept

AGENTS = """
from dataclasses import replace
from cosim.agents.dca import DataCenterAggregator
import my_factor

class Cautious(DataCenterAggregator):
    def respond(self, posting):
        return super().respond(replace(posting, price_p_usd_per_mwh=my_factor.TWO * posting.price_p_usd_per_mwh))

class Broken(DataCenterAggregator):
    def respond(self, posting):
        raise ArithmeticError("no answer")
"""
SCENARIO = """
base: ieee37
name: mine
clock: {start: "2024-07-15T16:00:00", steps: 1, window_steps: 1}
network: {feeder: my_feeder}
market: {price_usd_per_mwh: {file: ../series/prices.csv, column: usd_per_mwh}}
aggregators: [{name: dca, agent: "my_agents:Cautious"}]
decentralized: {rule: best_response, max_rounds: 2}
"""


def made(place: Path) -> Path:
    """A scenario with tables, a series and an agent of its own; returns its file."""
    case = place / "case"
    (place / "series").mkdir(parents=True)
    case.mkdir()
    (case / "my_agents.py").write_text(AGENTS)
    (case / "my_factor.py").write_text("TWO = 2.0\n")
    prices = "".join(f"{hour},{40 + hour}\n" for hour in range(24))
    (place / "series" / "prices.csv").write_text(f"hour,usd_per_mwh\n{prices}")
    shutil.copytree(feeder_folder("ieee37"), case / "my_feeder")
    (case / "mine.yaml").write_text(SCENARIO)
    return case / "mine.yaml"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run whose originals are gone."""
    place = tmp_path_factory.mktemp("originals")
    out = tmp_path_factory.mktemp("kept") / "out"
    cosim.run(made(place), out=out, figures=False)
    shutil.rmtree(place)
    return out


def copied(run_folder: Path, place: Path) -> Path:
    return Path(shutil.copytree(run_folder, place / "copied"))


@pytest.fixture(scope="module")
def again(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Rerun:
    """The run done again."""
    return cosim.rerun(run_folder, tmp_path_factory.mktemp("again") / "out", figures=False)


def test_a_run_is_the_same_again_from_its_folder_alone(again: Rerun) -> None:
    assert again.identical and set(again.result.tables.lengths()) <= set(again.compared) and again.surroundings == ()


def test_a_rerun_keeps_the_same_inputs(run_folder: Path, again: Rerun) -> None:
    assert read_manifest(again.result.folder) == replace(read_manifest(run_folder), git=None)


def test_the_command_says_which_table_differs_and_by_how_much(run_folder: Path, tmp_path: Path) -> None:
    folder = copied(run_folder, tmp_path)
    steps = read_table("steps", folder / "steps.parquet")
    write_table("steps", steps.assign(p_sub_kw=steps["p_sub_kw"] + 0.5), folder / "steps.parquet")
    done = CliRunner().invoke(app, ["rerun", str(folder), "--out", str(tmp_path / "again"), "--no-figures"])
    assert done.exit_code == 1 and "steps: p_sub_kw by up to 0.5" in done.output and "prices:" not in done.output


def edited_table(folder: Path) -> None:
    with (folder / "inputs" / "elsewhere" / "prices.csv").open("a") as stream:
        stream.write("24,1\n")


def edited_scenario(folder: Path) -> None:
    path = folder / "inputs" / "scenario.yaml"
    path.write_text(path.read_text().replace("seed: 1", "seed: 2"))


def lost_module(folder: Path) -> None:
    (folder / "inputs" / "my_factor.py").unlink()


def lost_inputs(folder: Path) -> None:
    shutil.rmtree(folder / "inputs")


@pytest.mark.parametrize("damage", [edited_table, edited_scenario, lost_module, lost_inputs])
def test_inputs_that_are_not_as_they_were_are_refused(
    run_folder: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    folder = copied(run_folder, tmp_path)
    damage(folder)
    with pytest.raises(InputError):
        cosim.rerun(folder, tmp_path / "again")
    assert not (tmp_path / "again").exists()


@pytest.fixture(scope="module")
def with_large_series(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of a run whose series was too large to be copied, and that series."""
    place, out = tmp_path_factory.mktemp("large"), tmp_path_factory.mktemp("kept") / "out"
    path = made(place)
    series = place / "series" / "prices.csv"
    zeros = "0" * 2000
    series.write_text("hour,usd_per_mwh\n" + "".join(f"{hour},{40 + hour}.{zeros}\n" for hour in range(24)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cosim.scenario.inputs.keeping.COPIED_BYTES", 40_000)
        cosim.run(path, out=out, figures=False)
    assert not (out / "inputs" / "elsewhere" / "prices.csv").exists()
    return out, series


def test_a_run_is_the_same_again_with_the_large_series_put_in_its_place(
    with_large_series: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, series = copied(with_large_series[0], tmp_path), with_large_series[1]
    (folder / "inputs" / "elsewhere").mkdir(exist_ok=True)
    shutil.copy(series, folder / "inputs" / "elsewhere")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cosim.scenario.inputs.keeping.COPIED_BYTES", 40_000)
        assert cosim.rerun(folder, tmp_path / "again", figures=False).identical


def test_a_large_series_that_is_absent_or_another_one_is_refused_by_its_hash(
    with_large_series: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, series = copied(with_large_series[0], tmp_path), with_large_series[1]
    place, kept = folder / "inputs" / "elsewhere" / "prices.csv", file_digest(series)
    with pytest.raises(InputError, match="too large to be copied") as absent:
        cosim.rerun(folder, tmp_path / "again")
    assert absent.value.file == place and kept in str(absent.value.allowed)
    place.parent.mkdir(exist_ok=True)
    place.write_text(series.read_text().replace("40.", "41."))
    with pytest.raises(InputError, match="not what it was") as other:
        cosim.rerun(folder, tmp_path / "again")
    assert other.value.file == place and kept in str(other.value.allowed)
    assert file_digest(place) in str(other.value.value)
    assert not (tmp_path / "again").exists()


def test_what_is_different_now_is_told(run_folder: Path, tmp_path: Path) -> None:
    folder = copied(run_folder, tmp_path)
    path = folder / "inputs" / "inputs.json"
    path.write_text(path.read_text().replace(f'"numpy": "{np.__version__}"', '"numpy": "1.0"'))
    assert scenario_kept(folder)[1] == (f"numpy: 1.0 then, {np.__version__} now",)


@pytest.mark.slow
def test_a_run_that_failed_fails_in_the_same_way(tmp_path: Path) -> None:
    path = made(tmp_path / "originals")
    path.write_text(SCENARIO.replace("Cautious", "Broken"))
    with pytest.raises(RunFailure):
        cosim.run(path, out=tmp_path / "out", figures=False)
    shutil.rmtree(tmp_path / "originals")
    found = cosim.rerun(tmp_path / "out", tmp_path / "again", figures=False)
    assert found.identical and found.compared == ("failure",)


def test_a_run_whose_inputs_cannot_be_kept_ends_well_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(self: Path, data: bytes) -> int:
        raise OSError(28, "no space left")

    path = made(tmp_path / "originals")
    monkeypatch.setattr(Path, "write_bytes", no_room)
    result = cosim.run(path, out=tmp_path / "out", figures=False)
    told = [note for note in result.notes if "is not kept among the inputs (no space left)" in note]
    assert result.record.status == "ok" and any("prices.csv" in note for note in told)


@pytest.mark.slow
def test_a_comparison_is_the_same_again_and_is_read_back(tmp_path: Path) -> None:
    path = made(tmp_path / "originals")
    modes = {"flat": "decentralized(rule=tariff)", "uncoordinated": "uncoordinated", "agreed": "decentralized"}
    live = cosim.compare(path, modes, out=tmp_path / "out", figures=False, baseline="agreed")
    shutil.rmtree(tmp_path / "originals")
    found = cosim.rerun(tmp_path / "out", tmp_path / "again", figures=False)
    assert found.identical and {"uncoordinated/steps", "flat/accounts", "agreed/accounts"} <= set(found.compared)
    accounts = [(tmp_path / name / "accounts.csv").read_bytes() for name in ("out", "again")]
    assert accounts[0] == accounts[1]
    stored = cosim.read(tmp_path / "out")
    assert stored.baseline == live.baseline == "agreed"
    pd.testing.assert_frame_equal(stored.table, live.table)
    assert list(stored.runs) == list(live.runs) and stored.failures == live.failures


def test_a_run_is_read_back_as_it_was_returned(tmp_path: Path) -> None:
    live = cosim.run("ieee37", overrides={"clock.steps": 1, "clock.window_steps": 1})
    cosim.run("ieee37", overrides={"clock.steps": 1, "clock.window_steps": 1}, out=tmp_path / "out", figures=False)
    stored = cosim.read(tmp_path / "out")
    times = {"wall_s", "solver_s"}
    for name in Tables.names():
        pd.testing.assert_frame_equal(getattr(stored, name), getattr(live, name))
    for name, frame in live.layout.items():
        pd.testing.assert_frame_equal(getattr(stored.layout, name), frame)
    assert type(stored) is type(live) and stored.notes == live.notes
    assert {k: v for k, v in stored.kpis.items() if k not in times} == {
        k: v for k, v in live.kpis.items() if k not in times
    }
    assert {name for name in Tables.names() if name in dir(stored)} == set(live.tables.lengths())


@pytest.mark.parametrize("name", ["../stolen", "/stolen", "figures", ".hidden"])
def test_a_comparison_with_modes_that_are_no_folders_is_refused(run_folder: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "hostile"
    folder.mkdir()
    if not name.startswith("/"):
        shutil.copytree(run_folder, folder / name)
    (folder / "comparison.csv").write_text(f"mode,status\n{name},ok\n")
    with pytest.raises(InputError):
        cosim.rerun(folder, tmp_path / "deep" / "again")
    assert not (tmp_path / "deep").exists()


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    for work in (cosim.read, lambda folder: cosim.rerun(folder, tmp_path / "again")):
        with pytest.raises(InputError, match="no results in this folder"):
            work(tmp_path)
