"""Bad input on the command line: exit code 2, one message that names what is wrong, and nothing written."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

import cosim.optimization.solvers.mip_solvers
from cosim.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
SHORT = "clock: {steps: 2}\n"


@dataclass(frozen=True)
class Told:
    """What the command line said of bad input: the message, and its named details."""

    message: str
    details: dict[str, str]

    @property
    def key(self) -> str:
        return self.details.get("key", "")


def files(folder: Path) -> dict[str, float]:
    return {str(p): p.stat().st_mtime_ns for p in sorted(folder.rglob("*"))}


def refused(folder: Path, *arguments: str) -> Told:
    """Run the command line in a folder; it must leave with code 2, say one thing, and write nothing."""
    before = files(folder)
    done = CliRunner().invoke(app, list(arguments), env={"TERM": "dumb", "COLUMNS": "200"})
    assert done.exit_code == 2, f"exit code {done.exit_code}\n{done.output}\n{done.exception!r}"
    assert done.stdout == "" and "Traceback" not in done.stderr
    first, *rest = done.stderr.splitlines()
    assert first.startswith("Error: ") and len(first) > len("Error: ") + 5
    found = [re.fullmatch(r"  (file|key|value|allowed): +(.*)", line) for line in rest]
    assert all(found), done.stderr
    assert files(folder) == before
    return Told(first.removeprefix("Error: "), {m[1]: m[2] for m in found if m})


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def scenario(folder: Path, text: str, base: str = "ieee37") -> str:
    path = folder / "mine.yaml"
    path.write_text(f"base: {base}\nname: mine\nmode: uncoordinated\n{text}")
    return str(path)


# text of the scenario, words of the message, key, value and words of what is allowed (None: not stated)
SCENARIOS: dict[str, tuple[str, str, str, str | None, str | None]] = {
    "unknown key": (
        "network: {v_mni_pu: 0.96}", "unknown key; did you mean 'v_min_pu'?", "network.v_mni_pu", None, "v_max_pu",
    ),
    "unknown key of an entry": (
        "datacenters: [{name: dc718, it_peak: 300}]", "did you mean 'it_peak_kw'", "datacenters.dc718.it_peak", None,
        "it_peak_kw",
    ),
    "text for a number": (
        "network: {v_min_pu: low}", "valid number", "network.v_min_pu", "low", "a number in per unit",
    ),
    "unit in the value": (
        "datacenters: [{name: dc718, it_peak_kw: 0.3 MW}]", "valid number", "datacenters.dc718.it_peak_kw", "0.3 MW",
        "a number in kW",
    ),
    "unknown controls": (
        "network: {controls: always}", "'fixed', 'between_steps' or 'follow'", "network.controls", "always", None,
    ),
    "part of a step": ("clock: {steps: 2.5}", "integer", "clock.steps", "2.5", None),
    "unknown market": (
        "clock: {market: hourly}", "'day_ahead', 'rolling' or 'two_settlement'", "clock.market", "hourly", None,
    ),
    "missing phase of a data center": (
        "datacenters: [{name: dc718, connection: a}]", "no such phase", "datacenters.dc718.connection", "a", "ab",
    ),
    "unknown phase of a generator": (
        "generators: [{name: dg720, connection: abx}]", "'three_phase'", "generators.dg720.connection", "abx", None,
    ),
    "unknown bus": (
        "datacenters: [{name: dc718, bus: '999'}]", "no such bus", "datacenters.dc718.bus", "999", "718",
    ),
    "negative rating": (
        "generators: [{name: dg720, s_kva: -330}]", "greater than 0", "generators.dg720.s_kva", "-330", None,
    ),
    "negative rating of a branch": (
        "network: {branch_rating_kva: {711-740: -5}}", "greater than 0", "network.branch_rating_kva.711-740", "-5",
        None,
    ),
    "not a number": (
        "market: {slope_usd_per_mwh_per_mw: .nan}", "", "market.slope_usd_per_mwh_per_mw", "nan", None,
    ),
    "not a number in a series": (
        "market: {price_usd_per_mwh: {values: [40, .nan]}}", "finite", "market.price_usd_per_mwh.values.1", "nan", None,
    ),
    "deadline before arrival": (
        "workload: {classes: [{name: batch, max_delay_steps: -1}]}", "deadline before the arrival",
        "workload.classes.batch", None, None,
    ),
    "empty series": (
        "market: {price_usd_per_mwh: {values: []}}", "the series is empty", "market.price_usd_per_mwh", None, "one day",
    ),
    "short series": (
        "clock: {steps: 5}\nmarket: {price_usd_per_mwh: {values: [40, 41, 42]}}", "ends too early",
        "market.price_usd_per_mwh", "3 values", "repeat: day",
    ),
    "two sources of a series": (
        "market: {price_usd_per_mwh: {values: [40], constant: 40}}", "exactly one", "market.price_usd_per_mwh", None,
        None,
    ),
    "unknown table": (
        "market: {price_usd_per_mwh: {file: prices/caiso, column: x}}", "no such table",
        "market.price_usd_per_mwh", "prices/caiso", "prices/caiso_np15_july_2024_mean_day",
    ),
    "unknown column": (
        "network: {load_scale: {file: profiles/load_residential_commercial, column: scales}}",
        "did you mean 'scale'", "network.load_scale", "scales", "scale",
    ),
    "utilisation above one": (
        "workload: {utilisation: {constant: 1.2}}", "out of range", "workload.utilisation", "1.2", "0 to 1",
    ),
    "work that cannot fit": (
        "workload: {utilisation: {constant: 1.0}}", "does not fit the capacity", "workload.utilisation", "MWh",
        "at most",
    ),
    "gate before the last one closed": (
        "clock: {market: rolling, gate_s: 7200}", "gate opens", "clock.gate_s", "7200", "3600",
    ),
    "not a date": ("clock: {start: yesterday}", "not a date", "clock.start", "yesterday", "ISO 8601"),
    "unknown rule": (
        "mode: decentralized\ndecentralized: {rule: haggling}", "no such update rule", "decentralized.rule", "haggling",
        "admm",
    ),
    "agent that is not there": (
        "operator: {agent: 'nowhere:Agent'}", "cannot be imported", "operator.agent", "nowhere:Agent",
        "package.module:name",
    ),
    "a solver that cannot do the formulation": (
        "mode: centralized\ncentralized: {formulation: kkt-mccormick, solver: branch}", "strong duality",
        "centralized.formulation", "kkt-mccormick", "strong-duality",
    ),
    "unknown base": ("", "no scenario file or shipped scenario", "base", "ieee73", "ieee37"),
}  # fmt: skip


@pytest.mark.parametrize("command", ["run", "validate"])
@pytest.mark.parametrize("what", SCENARIOS)
def test_a_bad_scenario_is_refused(here: Path, what: str, command: str) -> None:
    text, message, key, value, allowed = SCENARIOS[what]
    clock = "" if "clock:" in text else SHORT
    path = scenario(here, "", base="ieee73" if what == "unknown base" else "ieee37")
    body = Path(path).read_text()
    if "mode:" in text:
        body = body.replace("mode: uncoordinated\n", "")
    Path(path).write_text(f"{body}{text}\n{clock}")
    told = refused(here, command, path, *(["--import"] if command == "validate" else []))
    assert message in told.message
    assert told.key == key
    assert Path(told.details["file"]).name == "mine.yaml" or what in ("unknown table", "unknown column")
    if value is not None:
        assert value in told.details["value"]
    if allowed is not None:
        assert allowed in told.details["allowed"]


# table, what to replace (whole file if the pattern is empty), with what, words of the message, key, value, allowed
FEEDERS: dict[str, tuple[str, str, str, str, str, str, str | None]] = {
    "missing phase": (
        "loads", "701-ab,701,delta,ab,", "701-ab,701,delta,a,", "missing phase", "loads.701-ab.phases", "a",
        "ab, bc, ca",
    ),
    "unknown phase": (
        "lines", "702-705,702,705,abc,", "702-705,702,705,abd,", "unknown phases", "lines.702-705.phases", "abd", "abc",
    ),
    "line without a phase": (
        "lines", "702-705,702,705,abc,", "702-705,702,705,ab,", "lacks a phase", "lines.702-705.phases", "ab", "abc",
    ),
    "islanded bus": (
        "lines", "711-740,711,740,abc,200.0,724,", "711-740,711,741,abc,200.0,724,", "", "", "", None,
    ),
    "loop": (
        "lines", "711-740,711,740,", "742-712,742,712,abc,90.0,724,test\n711-740,711,740,", "closes a loop", "lines.",
        "", "radial",
    ),
    "negative rating": (
        "transformers", ",500.0,", ",-500.0,", "not positive", "transformers.XFM-1.kva", "-500", "above 0",
    ),
    "not a number": ("loads", "PQ,140.0,", "PQ,nan,", "not a finite number", "loads.701-ab.p_kw", "nan", "finite"),
    "text for a number": ("loads", "PQ,140.0,", "PQ,much,", "not a number", "loads.701-ab.p_kw", "much", "a number"),
    "unknown line code": ("lines", ",722,", ",7222,", "unknown line code", "lines.701-702.code", "7222", "722"),
    "unknown bus of a load": (
        "loads", "701-ab,701,", "701-ab,7O1,", "unknown bus", "loads.701-ab.bus", "7O1", "701",
    ),
    "negative length": (
        "lines", "abc,960.0,", "abc,-960.0,", "not positive", "lines.701-702.length_ft", "-960", "above",
    ),
    "wrong column": ("lines", "length_ft", "length_m", "wrong columns", "lines.", "length_m", "length_ft"),
}  # fmt: skip


@pytest.mark.parametrize("what", FEEDERS)
def test_a_bad_feeder_is_refused(here: Path, what: str) -> None:
    table, before, after, message, key, value, allowed = FEEDERS[what]
    shutil.copytree(ROOT / "data" / "feeders" / "ieee37", here / "spoiled")
    file = here / "spoiled" / f"{table}.csv"
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after, 1))
    told = refused(here, "run", scenario(here, SHORT + "network: {feeder: spoiled}\n"))
    if what == "islanded bus":
        # 740 is left without a line, and 741 has two: whichever is found first.
        assert "loop" in told.message or "island" in told.message
        return
    assert message in told.message and key in told.key and value in told.details["value"]
    assert Path(told.details["file"]) == file
    assert allowed is None or allowed in told.details["allowed"]


def test_an_islanded_bus_is_refused(here: Path) -> None:
    shutil.copytree(ROOT / "data" / "feeders" / "ieee37", here / "spoiled")
    file = here / "spoiled" / "buses.csv"
    file.write_text(file.read_text() + "far,4.8,abc,false,0.0,0.0,test\n")
    told = refused(here, "run", scenario(here, SHORT + "network: {feeder: spoiled}\n"))
    assert (told.message, told.key) == ("the bus is an island", "buses.far.name")
    assert told.details["allowed"] == "a path to 799" and Path(told.details["file"]) == file


def test_a_series_with_a_gap_in_its_file_is_refused(here: Path) -> None:
    (here / "prices.csv").write_text("hour,usd\n0,40\n1,\n2,42\n")
    path = scenario(here, SHORT + "market: {price_usd_per_mwh: {file: prices.csv, column: usd}}\n")
    told = refused(here, "run", path)
    assert told.message == "not a finite number on line 3"
    assert (told.key, Path(told.details["file"]).name) == ("usd", "prices.csv")


@pytest.mark.parametrize(("solver", "module"), [("gurobi", "gurobipy"), ("scip", "pyscipopt"), ("highs", "highspy")])
def test_a_missing_solver_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch, solver: str, module: str) -> None:
    monkeypatch.setattr(
        cosim.optimization.solvers.mip_solvers, "find_spec", lambda name: None if name == module else find_spec(name)
    )
    settings = f"centralized: {{formulation: kkt-mccormick, solver: {solver}}}\n"
    path = scenario(here, SHORT + settings)
    Path(path).write_text(Path(path).read_text().replace("uncoordinated", "centralized"))
    told = refused(here, "run", path)
    assert "not installed" in told.message and told.details["value"] == solver
    assert solver not in told.details["allowed"]
    assert told.key == "centralized.solver"


def test_an_output_folder_that_exists_is_refused(here: Path) -> None:
    (here / "out").mkdir()
    (here / "out" / "keep.txt").write_text("mine")
    told = refused(here, "run", "ieee37", "--steps", "1", "--mode", "uncoordinated", "--out", "out")
    assert "out" in str(told.details) and (here / "out" / "keep.txt").read_text() == "mine"


def test_an_output_folder_that_exists_is_refused_by_a_comparison(here: Path) -> None:
    (here / "out").mkdir()
    (here / "out" / "keep.txt").write_text("mine")
    refused(here, "compare", "ieee37", "--steps", "1", "--out", "out")


def test_a_folder_that_holds_no_results_is_not_replaced_by_force(here: Path) -> None:
    (here / "out").mkdir()
    (here / "out" / "keep.txt").write_text("mine")
    refused(here, "run", "ieee37", "--steps", "1", "--mode", "uncoordinated", "--out", "out", "--force")


def test_an_unknown_mode_is_refused(here: Path) -> None:
    told = refused(here, "run", "ieee37", "--mode", "chaotic")
    assert told.key == "mode" and told.details["value"] == "chaotic"


def test_an_unknown_scenario_names_the_nearest(here: Path) -> None:
    told = refused(here, "run", "ieee37_stres")
    assert "did you mean 'ieee37_stress'" in told.message


def test_bad_input_is_refused_by_the_installed_command_as_well(here: Path) -> None:
    """The same through a real process, whose exit code the shell sees."""
    command = [sys.executable, "-m", "cosim.cli.main", "run", "ieee37", "--set", "network.v_min_pu=low", "--out", "out"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=here)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: ") and "Traceback" not in done.stderr
    assert list(here.iterdir()) == []
