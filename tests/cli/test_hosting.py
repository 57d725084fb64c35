"""cosim hosting on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cosim.cli.main import app

SMALL = ["hosting", "ieee37", "--buses", "740", "--steps", "2", "--no-figures"]


def invoke(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.output


def test_the_command_prints_what_limits_a_bus_and_leaves_a_folder(tmp_path: Path) -> None:
    out = str(tmp_path / "found")
    code, text = invoke(*SMALL, "--battery-mwh", "1", "--battery-mw", "0.5", "--shift-share", "0.4", "--shift-hours",
                        "6", "--set", "clock.start=2024-07-15T18:00:00", "--out", out)  # fmt: skip
    assert code == 0, text
    assert "low voltage 740" in text and f"Report: {out}" in text
    assert (tmp_path / "found" / "summary.csv").read_text().startswith("connection,firm_kw,hours_0.25_pct_kw")
    code, text = invoke("report", out)
    assert code == 0 and (tmp_path / "found" / "figures" / "duration.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["--battery-mwh", "1"], "--battery-mw"), (["--shift-share", "0.5"], "--shift-hours"),
     (["--budget", "a"], "--budget"), (["--load", "load.csv"], "--load"), (["--buses", "nowhere"], "no such bus"),
     (["--contingency", "storm"], "storm"),
     (["--load", "{file: a}"], "column"), (["--battery-mwh", "-1", "--battery-mw", "1"], "battery")],
)  # fmt: skip
def test_wrong_options_end_with_code_2_and_leave_nothing(tmp_path: Path, arguments: list[str], told: str) -> None:
    code, text = invoke(*SMALL, *arguments, "--out", str(tmp_path / "out"))
    assert code == 2 and text.startswith("Error:") and told in text
    assert list(tmp_path.iterdir()) == []
