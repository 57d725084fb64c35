"""Resuming: what is complete is not run again, and only what changed is."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import cosim
from cosim.cli.main import app
from cosim.errors import InputError
from cosim.sweep.reading import Sweep

from .conftest import LIMITS, Make


def begun(found: Sweep) -> dict[str, int]:
    """When each run was written."""
    return {p.parent.name: p.stat().st_mtime_ns for p in found.root.glob("runs/*/run.json")}


def again(experiment: object, place: Path, **options: object) -> Sweep:
    return cosim.run_sweep(experiment, place / "out", engine="serial", analyse=False, **options)  # type: ignore[arg-type]


def test_a_finished_sweep_runs_nothing_again(experiment: Make, place: Path) -> None:
    first = again(experiment(), place)
    before = begun(first)
    assert begun(again(experiment(), place, resume=True)) == before and len(before) == len(LIMITS)


def test_a_changed_value_runs_only_its_own_run(experiment: Make, place: Path) -> None:
    before = begun(again(experiment(), place))
    changed = again(experiment(factors={"network.v_min_pu": [*LIMITS[:-1], 0.965]}), place, resume=True)
    after = begun(changed)
    assert {k: after[k] for k in before} == before and len(after) == len(before) + 1
    assert changed.runs["network.v_min_pu"].tolist() == [*LIMITS[:-1], 0.965] and changed.complete


def test_a_value_taken_back_is_still_there(experiment: Make, place: Path) -> None:
    before = begun(again(experiment(), place))
    again(experiment(factors={"network.v_min_pu": [0.9]}), place, resume=True)
    back = again(experiment(), place, resume=True)
    assert {k: v for k, v in begun(back).items() if k in before} == before


def test_a_missing_or_spoiled_run_is_done_again(experiment: Make, place: Path) -> None:
    first = again(experiment(), place)
    table = (place / "out" / "runs.csv").read_bytes()
    spoiled = place / "out" / "runs" / f"run={first.runs['run'][2]}" / "run.json"
    spoiled.write_text(spoiled.read_text()[:40])
    assert (cosim.read_sweep(place / "out").runs["status"] == "pending").sum() == 1
    again(experiment(), place, resume=True)
    assert (place / "out" / "runs.csv").read_bytes() == table


def test_failed_runs_are_kept_until_they_are_asked_for(experiment: Make, place: Path) -> None:
    first = again(experiment("failing"), place)
    assert first.runs["status"].tolist() == ["ok", "failed", "failed", "ok", "ok", "ok"]
    assert first.runs["error"][2] == "RunFailure: the solver gave up"
    assert "KeyError: 'a mistake'" in first.log(first.runs["run"][1]) and "Traceback" in first.log(first.runs["run"][1])
    (place / "mended").touch()
    before = begun(first)
    assert begun(again(experiment("failing"), place, resume=True)) == before
    mended = again(experiment("failing"), place, only_failed=True)
    assert (mended.runs["status"] == "ok").all()
    assert sum(begun(mended)[k] != before[k] for k in before) == 2


def test_a_sweep_is_not_mixed_with_another_unless_it_is_continued(experiment: Make, place: Path) -> None:
    again(experiment(), place)
    with pytest.raises(InputError, match="holds a sweep already") as caught:
        again(experiment(), place)
    assert caught.value.allowed is not None and "--resume" in caught.value.allowed


def test_two_sweeps_do_not_share_a_folder(experiment: Make, place: Path) -> None:
    from cosim.sweep.storage.store import Store

    again(experiment(), place)
    with Store(place / "out").locked(), pytest.raises(InputError, match="another sweep is at work"):
        again(experiment(), place, resume=True)


def command(place: Path, *options: str) -> Result:
    arguments = ["sweep", str(place / "e.yaml"), "--out", str(place / "out"), "--engine", "serial", *options]
    return CliRunner().invoke(app, arguments, env={"TERM": "dumb", "COLUMNS": "200"})


def written(place: Path, measure: str) -> None:
    (place / "e.yaml").write_text(
        f"name: limits\nscenario: mine.yaml\nmeasure: 'sweep_measures:{measure}'\n"
        f"factors: {{network.v_min_pu: {LIMITS}}}\n"
    )


def test_the_command_prints_its_plan_and_where_the_results_are(place: Path) -> None:
    written(place, "quick")
    dry = command(place, "--dry-run")
    assert dry.exit_code == 0 and "6: 6 points x 1 mode" in dry.stdout and "a rough guess" in dry.stdout
    assert not (place / "out").exists()
    done = command(place, "--no-figures")
    assert done.exit_code == 0, done.output
    assert "Runs: 6 ok" in done.stdout and "report.html" in done.stdout and done.stderr == ""
    assert (place / "out" / "report.html").is_file()
    finished = command(place, "--resume", "--dry-run")
    assert ["complete", "6"] in [line.split() for line in finished.stdout.splitlines()]


def test_set_changes_every_run(place: Path) -> None:
    written(place, "quick")
    done = command(place, "--set", "seed=7", "--no-figures")
    assert done.exit_code == 0, done.output
    assert set(cosim.read_sweep(place / "out").runs["seed_seen"]) == {7}


def test_failed_runs_make_the_command_fail_and_say_where_the_log_is(place: Path) -> None:
    written(place, "failing")
    done = command(place, "--no-figures")
    assert done.exit_code == 1 and "2 of 6 runs failed" in done.stderr and "log.txt" in done.stderr
    assert "a mistake" in (place / "out" / "report.html").read_text()
    (place / "mended").touch()
    assert command(place, "--only-failed", "--no-figures").exit_code == 0


def test_a_sweep_without_figures_has_a_report_of_tables_and_can_be_drawn_later(place: Path) -> None:
    written(place, "quick")
    assert command(place, "--no-figures").exit_code == 0
    page, figures = place / "out" / "report.html", place / "out" / "figures"
    assert page.is_file() and "<img" not in page.read_text() and not figures.exists()
    page.unlink()
    done = CliRunner().invoke(app, ["report", str(place / "out")])
    assert done.exit_code == 0 and "<img" in page.read_text() and list(figures.iterdir())
