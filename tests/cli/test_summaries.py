"""What a run and a comparison tell: costs, limits broken, where the page is; or one JSON object; or nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from cosim.cli.main import app
from cosim.cli.summaries import print_broken
from cosim.results.record import Record
from cosim.results.tables import read_table

SHORT = ("--steps", "2", "--no-figures", "--set", "clock.window_steps=2", "--set", "network.v_min_pu=0.995")


def test_json_of_a_run_has_what_its_record_and_its_table_of_limits_say(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["run", "ieee37", "--mode", "uncoordinated", *SHORT, "--json", "--out", str(tmp_path / "out")]
    )
    assert done.exit_code == 0, done.output
    told, record = json.loads(done.stdout), Record.read(tmp_path / "out")
    assert {name: kpi["value"] for name, kpi in told["kpis"].items()} == {n: k.value for n, k in record.kpis.items()}
    assert told["notes"] == list(record.notes)
    assert told["report"] == str(tmp_path / "out" / "report.html")
    limits = read_table("limits", tmp_path / "out" / "limits.parquet")
    broken = limits[limits["status"] == "broken"].groupby(["kind", "element"])["step"].nunique()
    assert told["limits"][0]["broken_steps"] in set(broken)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a comparison, and what was told."""
    folder = tmp_path_factory.mktemp("compared") / "out"
    wanted = ["compare", "ieee37", "--modes", "uncoordinated,welfare", *SHORT]
    done = CliRunner().invoke(app, [*wanted, "--out", str(folder)])
    assert done.exit_code == 0, done.output
    return folder, done.stdout


def test_a_comparison_tells_which_limits_each_mode_breaks_and_where(compared: tuple[Path, str]) -> None:
    folder, told = compared
    below = told[told.index("limits broken") :]
    for mode in ("uncoordinated", "welfare"):
        limits = read_table("limits", folder / mode / "limits.parquet")
        broken = limits[limits["status"] == "broken"]
        assert mode in below
        if len(broken):
            worst = broken.loc[broken["beyond_pct"].idxmax()]
            assert str(worst["element"]) in below
    assert f"Report: {folder / 'report.html'}" in told


def test_a_comparison_counts_apart_what_is_broken_without_any_data_center(
    compared: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    limits = read_table("limits", compared[0] / "uncoordinated" / "limits.parquet")
    broken = limits[limits["status"] == "broken"]
    there = limits.assign(in_base_case=["yes" if step == broken["step"].min() else "no" for step in limits["step"]])
    run = SimpleNamespace(tables=SimpleNamespace(limits=there), record=SimpleNamespace(step_hours=1.0))
    print_broken(SimpleNamespace(runs={"uncoordinated": run}))  # type: ignore[arg-type]
    steps = broken.groupby(["kind", "element"])["step"].nunique()
    assert f"{steps.max()}; 1 of them" in " ".join(capsys.readouterr().out.split())


def test_quiet_tells_nothing(tmp_path: Path) -> None:
    wanted = ["run", "ieee37", "--mode", "uncoordinated", *SHORT, "--quiet", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, wanted)
    assert done.exit_code == 0
    assert done.output == ""


def test_no_color_is_kept() -> None:
    """With it no escape of the terminal sets red; without it one does."""
    program = "from rich.console import Console; from rich.text import Text; import sys;" \
              "from cosim.cli.printing import stdout; stdout().print(Text('x', style='red'))"  # fmt: skip
    coloured = {}
    for name in ("", "1"):
        environment = {"PATH": "/usr/bin", "FORCE_COLOR": "1", "TERM": "xterm-256color"}
        environment |= {"NO_COLOR": name} if name else {}
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        coloured[name] = "\x1b[31m" in done.stdout
    assert coloured == {"": True, "1": False}
