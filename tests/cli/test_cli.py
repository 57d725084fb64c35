"""The command line: what it hands on, what it prints where, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

import cosim
from cosim.cli.main import app
from cosim.errors import InputError, RunFailure
from cosim.results.comparison import comparison_table
from cosim.results.kpis import values_of
from cosim.results.record import Record
from cosim.results.tables import Layout, Tables
from tests.results.conftest import make_record


@dataclass
class Fake:
    """Stands in for the functions of the package; keeps what it was called with."""

    outcome: Any
    called: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, scenario: str, **arguments: Any) -> Any:
        self.called.append({"scenario": scenario, **arguments})
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@dataclass
class FakeRun:
    record: Record
    tables: Tables

    @property
    def kpis(self) -> dict[str, float | None]:
        return values_of(self.record.kpis)


def compared(table: pd.DataFrame, runs: dict[str, cosim.RunResult] | None = None) -> cosim.Comparison:
    """A comparison with this table, measured against the uncoordinated run if there are runs."""
    return cosim.Comparison(table, runs or {}, {}, None, "uncoordinated" if runs else "")


@dataclass
class FakeValidation:
    lines: list[tuple[str, str]]


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"TERM": "dumb", "COLUMNS": "200"})


def install(monkeypatch: pytest.MonkeyPatch, name: str, outcome: Any) -> Fake:
    fake = Fake(outcome)
    monkeypatch.setitem(vars(cosim), name, fake)
    return fake


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_run_hands_on_what_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, record: Record, tables: Tables
) -> None:
    fake = install(monkeypatch, "run", FakeRun(record, tables))
    options = "--mode welfare --seed 3 --out somewhere --force --steps 4 --no-figures"
    changes = "--set network.v_min_pu=0.96 --set network.losses=false --set market.x=a=b"
    done = invoke("run", "ieee37", *options.split(), *changes.split())
    assert done.exit_code == 0, done.output
    assert fake.called == [
        {
            "scenario": "ieee37", "mode": "welfare", "seed": 3, "out": Path("somewhere"), "force": True,
            "progress": None, "figures": False,
            "overrides": {
                "network.v_min_pu": 0.96, "network.losses": False, "market.x": "a=b", "clock.steps": 4,
            },
        }
    ]  # fmt: skip


def test_run_prints_key_figures_notes_and_where_the_report_is(
    monkeypatch: pytest.MonkeyPatch, record: Record, tables: Tables
) -> None:
    install(monkeypatch, "run", FakeRun(record, tables))
    done = invoke("run", "ieee37", "--out", "x")
    for text in (
        "social_cost_usd",
        "93.00",
        "rating 1-2",
        "Note: limits were broken",
        f"Report: {Path('x') / 'report.html'}",
    ):
        assert text in done.stdout
    assert done.stderr == ""


def test_results_go_to_a_new_folder_each_time(
    monkeypatch: pytest.MonkeyPatch, record: Record, tables: Tables, in_tmp: Path
) -> None:
    fake = install(monkeypatch, "run", FakeRun(record, tables))
    invoke("run", "ieee37", "--mode", "welfare")
    (in_tmp / "results" / "ieee37-welfare").mkdir(parents=True)
    invoke("run", "ieee37", "--mode", "welfare")
    assert [c["out"] for c in fake.called] == [
        Path("results/ieee37-welfare"),
        Path("results/ieee37-welfare-2"),
    ]


def test_wrong_input_is_explained_line_by_line_with_code_2(monkeypatch: pytest.MonkeyPatch) -> None:
    error = InputError(
        "unknown key; did you mean 'v_min_pu'?",
        file="my.yaml",
        key="network.v_mni",
        value=0.9,
        allowed="v_min_pu, v_max_pu",
    )
    install(monkeypatch, "run", error)
    done = invoke("run", "my.yaml")
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "Error: unknown key; did you mean 'v_min_pu'?",
        "  file:    my.yaml",
        "  key:     network.v_mni",
        "  value:   0.9",
        "  allowed: v_min_pu, v_max_pu",
    ]


def test_a_failed_run_has_code_1_and_names_its_record(
    monkeypatch: pytest.MonkeyPatch, record: Record, in_tmp: Path
) -> None:
    install(monkeypatch, "run", RunFailure("the solver gave up"))
    (in_tmp / "out").mkdir()
    record.write(in_tmp / "out")
    done = invoke("run", "ieee37", "--out", "out")
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [
        "Error: the solver gave up",
        f"  record:  {Path('out') / 'record.json'}",
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["run", "ieee37", "--colour", "red"],
        ["run", "ieee37", "--seed", "many"],
        ["run", "ieee37", "--steps", "0"],
        ["run", "ieee37", "--set", "no_value"],
        ["run", "ieee37", "--set", "=3"],
        ["run", "ieee37", "--set", "a=[1"],
        ["compare", "ieee37", "--modes", "welfare,chaotic"],
        ["compare", "ieee37", "--modes", "welfare,welfare"],
        ["compare", "ieee37", "--modes", ","],
        ["compare", "ieee37", "--modes", "decentralized(rul=tariff)"],
        ["compare", "ieee37", "--modes", "no_such.yaml"],
        ["report", "no_such_folder"],
        ["dance"],
    ],
)
def test_a_wrong_command_line_has_code_2(
    monkeypatch: pytest.MonkeyPatch, in_tmp: Path, arguments: list[str]
) -> None:
    fakes = [install(monkeypatch, name, RuntimeError("must not be called")) for name in ("run", "compare")]
    done = invoke(*arguments)
    assert done.exit_code == 2
    assert done.stderr and not any(f.called for f in fakes)


def test_compare_prints_the_modes_side_by_side(
    monkeypatch: pytest.MonkeyPatch, tables: Tables, layout: Layout
) -> None:
    note = "DLMPs are beyond network.price_cap_usd_per_mwh = 2,000 USD/MWh in steps 1"
    records = {m: replace(make_record(tables, m), notes=(note,)) for m in ("welfare", "uncoordinated")}
    runs = {m: cosim.RunResult(record, tables, layout, None) for m, record in records.items()}
    fake = install(monkeypatch, "compare", compared(comparison_table(records), runs))
    done = invoke("compare", "ieee37", "--modes", "welfare, uncoordinated", "--out", "c")
    assert done.exit_code == 0, done.output
    assert fake.called[0]["modes"] == ["welfare", "uncoordinated"]
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["welfare", "uncoordinated", "unit"]
    assert ["social_cost_usd", "93.00", "93.00", "USD"] in [line.split() for line in lines]
    assert ["gain", "against", "uncoordinated", "welfare", "unit"] in [line.split() for line in lines]
    assert ["dso", "+0.00", "USD"] in [line.split() for line in lines]
    assert f"Note: welfare: {note}" in lines
    assert f"Report: {Path('c') / 'report.html'}" in lines


def test_compare_takes_settings_and_named_modes(monkeypatch: pytest.MonkeyPatch, in_tmp: Path, tables: Tables) -> None:
    fake = install(monkeypatch, "compare", compared(comparison_table({"welfare": make_record(tables, "welfare")})))
    (in_tmp / "modes.yaml").write_text("flat: {mode: decentralized, rule: tariff}\n")
    assert invoke("compare", "ieee37", "--modes", "welfare,decentralized(rule=tariff)").exit_code == 0
    assert invoke("compare", "ieee37", "--modes", "modes.yaml", "--baseline", "flat").exit_code == 0
    assert fake.called[0]["modes"] == ["welfare", "decentralized(rule=tariff)"]
    assert fake.called[1]["modes"] == {"flat": {"mode": "decentralized", "rule": "tariff"}}
    assert fake.called[1]["baseline"] == "flat"


def test_a_comparison_with_a_failed_mode_shows_the_others_and_has_code_1(
    monkeypatch: pytest.MonkeyPatch, tables: Tables
) -> None:
    table = comparison_table({m: make_record(tables, m) for m in ("welfare", "centralized")})
    table.loc["centralized", "status"] = "failed"
    install(monkeypatch, "compare", compared(table))
    done = invoke("compare", "ieee37", "--out", "c")
    assert done.exit_code == 1
    assert "93.00" in done.stdout and "failed: centralized" in done.stderr


def test_validate_prints_each_check(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "validate", FakeValidation([("schema", "ok"), ("base case", "0.97 to 1.04 pu")]))
    done = invoke("validate", "my.yaml", "--set", "clock.steps=3")
    assert done.exit_code == 0
    assert [line.split(None, 1)[0] for line in done.stdout.splitlines()] == ["schema", "base"]


def test_report_writes_into_the_folder_it_is_given(tmp_path: Path, record: Record) -> None:
    replace(record, status="failed").write(tmp_path)
    done = invoke("report", str(tmp_path))
    assert done.exit_code == 0 and (tmp_path / "report.html").is_file()
    assert str(tmp_path / "report.html") in done.stdout


def test_version_is_that_of_the_package() -> None:
    from importlib.metadata import version

    done = invoke("--version")
    assert done.exit_code == 0 and done.stdout.strip() == f"cosim {version('cosim-grid')}"


def test_help_needs_nothing_heavy_and_is_quick() -> None:
    heavy = "numpy pandas pyomo matplotlib pydantic pyarrow".split()
    code = f"import sys, cosim.cli.main; sys.exit(any(name in sys.modules for name in {heavy}))"
    started = time.perf_counter()
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert time.perf_counter() - started < 2.0


def test_perfect_tells_what_forecasts_are_worth(tmp_path: Path) -> None:
    """Nothing is forecast here, so that perfect forecasts are worth nothing."""
    place = ("--mode", "uncoordinated", "--steps", "2", "--no-figures", "--out", str(tmp_path / "out"))
    done = invoke("run", "ieee37", "--perfect", *place)
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert record["kpis"]["value_of_information_usd"]["value"] == 0.0
    assert "value_of_information_usd" in done.stdout
