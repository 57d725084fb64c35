"""Running and comparing from Python: what comes back, what is left in a folder, what a failure leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

import cosim
import cosim.coordination.leaders
import cosim.simulation.runner
from cosim.errors import RunFailure
from cosim.results.tables import Tables
from cosim.simulation.runner import RunResult

HOURS = {"clock.start": "2024-07-15T16:00:00", "clock.steps": 2}
Seen = list[tuple[int, int, str]]


@pytest.fixture(scope="module")
def progress() -> Seen:
    return []


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, progress: Seen) -> RunResult:
    """A short run that left a folder, with the figures of the market alone."""
    out = tmp_path_factory.mktemp("run") / "out"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("cosim.results.figures.runs.feeder_figures", lambda *_: {})
        return cosim.run("ieee37", mode="decentralized", seed=7, overrides=HOURS, out=out,
                         progress=lambda *seen: progress.append(seen))  # fmt: skip


def folder_of(result: RunResult) -> Path:
    assert result.folder is not None
    return result.folder


def test_every_table_is_an_attribute(result: RunResult) -> None:
    for name in Tables.names():
        assert isinstance(getattr(result, name), pd.DataFrame)
    with pytest.raises(AttributeError):
        _ = result.no_such_table


def test_the_folder_holds_what_came_back(result: RunResult) -> None:
    for name, frame in Tables.read(folder_of(result)).items():
        pd.testing.assert_frame_equal(frame, getattr(result, name))


def test_the_folder_holds_record_scenario_figures_and_report(result: RunResult) -> None:
    names = {p.name for p in folder_of(result).iterdir()}
    assert {"record.json", "scenario.yaml", "figures", "report.html"} <= names


def test_the_record_says_what_ran(result: RunResult) -> None:
    record = json.loads((folder_of(result) / "record.json").read_text())
    found = (record["format"], record["status"], record["scenario"], record["mode"], record["seed"])
    assert found == ("cosim-run", "ok", "ieee37", "decentralized", 7)


def test_every_key_figure_of_the_record_has_a_unit(result: RunResult) -> None:
    kpis = json.loads((folder_of(result) / "record.json").read_text())["kpis"]
    assert set(kpis) == set(result.kpis) and all(kpi["unit"] for kpi in kpis.values())


def test_the_effective_scenario_can_be_run_again(result: RunResult) -> None:
    again = cosim.run(folder_of(result) / "scenario.yaml")
    pd.testing.assert_frame_equal(again.prices, result.prices)


def test_the_effective_scenario_has_its_base_and_defaults_written_out(result: RunResult) -> None:
    scenario = yaml.safe_load((folder_of(result) / "scenario.yaml").read_text())
    assert "base" not in scenario
    assert (scenario["clock"]["steps"], scenario["seed"], scenario["channel"]["loss"]) == (2, 7, 0.0)


def test_progress_rises_to_the_end(result: RunResult, progress: Seen) -> None:
    done = [seen[0] for seen in progress]
    assert done == sorted(done) and progress[-1][:2] == (2, 2)


def test_a_run_without_a_folder_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cosim.run("ieee37", mode="uncoordinated", overrides=HOURS).folder is None
    assert list(tmp_path.iterdir()) == []


def test_earlier_results_are_replaced_only_by_force(tmp_path: Path) -> None:
    def go(steps: int, force: bool) -> None:
        overrides = {**HOURS, "clock.steps": steps}
        cosim.run("ieee37", mode="uncoordinated", overrides=overrides, out=tmp_path / "out", force=force, figures=False)

    go(1, False)
    with pytest.raises(cosim.InputError):
        go(2, False)
    assert len(Tables.read(tmp_path / "out").steps) == 1
    go(2, True)
    assert len(Tables.read(tmp_path / "out").steps) == 2


def no_luck(*_: Any, **__: Any) -> None:
    raise RunFailure("the solver had no luck")


def test_a_failed_run_leaves_a_record_that_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cosim.coordination.leaders, "solve", no_luck)
    with pytest.raises(RunFailure, match="no luck"):
        cosim.run("ieee37", mode="centralized", overrides=HOURS, out=tmp_path / "out")
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert record["status"] == "failed" and "no luck" in record["error"]["message"]


def test_an_error_of_the_program_is_a_failed_run_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cosim.coordination.leaders, "solve", lambda *_, **__: 1 / 0)
    with pytest.raises(RunFailure, match="ZeroDivisionError"):
        cosim.run("ieee37", mode="centralized", overrides=HOURS)


def test_a_comparison_keeps_the_modes_that_end_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cosim.coordination.leaders, "solve", no_luck)
    modes = ("uncoordinated", "centralized")
    found = cosim.compare("ieee37", modes=modes, overrides={**HOURS, "clock.steps": 1}, out=tmp_path / "out",
                           figures=False)  # fmt: skip
    assert set(found.runs) == {"uncoordinated"}
    assert found.failures == {"centralized": "the solver had no luck"}
    assert found.table["status"].to_dict() == {"uncoordinated": "ok", "centralized": "failed"}
    assert (tmp_path / "out" / "comparison.csv").is_file()
    assert (tmp_path / "out" / "centralized" / "record.json").is_file()


@pytest.mark.parametrize("modes", [(), ("chaotic",), ("welfare", "chaotic")])
def test_a_comparison_of_unknown_modes_is_refused(modes: tuple[str, ...]) -> None:
    with pytest.raises(cosim.InputError, match="unknown mode"):
        cosim.compare("ieee37", modes=modes)


def test_validation_runs_nothing_and_tells_of_every_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = cosim.validate("ieee37_stress")
    assert list(tmp_path.iterdir()) == []
    assert [check for check, _ in found.lines] == [
        "scenario", "feeder", "series", "merged", "work", "placement", "base case, AC",
    ]  # fmt: skip


def test_overrides_are_in_force() -> None:
    run = cosim.run("ieee37", mode="uncoordinated", overrides={**HOURS, "market.price_usd_per_mwh": {"constant": 33.0}})
    assert run.steps["price_sub_usd_per_mwh"].tolist() == [33.0, 33.0]


def test_broken_limits_are_told(tmp_path: Path) -> None:
    run = cosim.run("ieee37_stress", mode="uncoordinated", overrides={**HOURS, "network.v_min_pu": 0.99})
    slack = run.kpis["slack_mwh"]
    assert slack is not None and slack > 0
    assert any("limits were broken" in note for note in run.notes)
    assert any("AC voltages beyond their limits" in note for note in run.notes)
