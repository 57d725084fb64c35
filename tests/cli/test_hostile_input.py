"""Input made to break programs: each is refused within seconds, by one message of at most 2 kB."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner

import cosim
from cosim.cli.main import app
from cosim.errors import MESSAGE_BYTES, InputError, RunFailure, shortened
from cosim.scenario.schema import Scenario
from cosim.yaml_reading import parse_yaml, read_yaml

ROOT = Path(__file__).resolve().parents[2]
HEAD = "base: ieee37\nname: mine\nmode: uncoordinated\n"
RUN = [sys.executable, "-m", "cosim.cli.main", "run", "ieee37", "--steps", "1", "--mode", "uncoordinated",
       "--no-figures"]  # fmt: skip
LONG, DIGITS = "n" * 5000, "9" * 5000

# text of the whole file, words of the message
FILES: dict[str, tuple[str, str]] = {
    "a date that is none": (HEAD + "clock: {start: 2024-13-45}", "not a date and time"),
    "a tagged date that is none": (HEAD + "clock: {start: !!timestamp abc}", "no timestamp"),
    "a tagged whole number that is none": (HEAD + "seed: !!int abc", "no int"),
    "a tagged truth that is none": (HEAD + "seed: !!bool abc", "no bool"),
    "a list as a key": (HEAD + "? [a, b]\n: 1", "a key is a list or a mapping"),
    "a mapping as a key": (HEAD + "? {a: b}\n: 1", "a key is a list or a mapping"),
    "a list as a name": (HEAD + "generators: [{name: [a, b]}]", "valid string"),
    "a long name": (HEAD.replace("mine", LONG), "at most 100 characters"),
    "a long key": (HEAD + f"{LONG}: 1", "could not find expected ':'"),
    "a whole number of 5,000 digits": (HEAD + f"seed: {DIGITS}", "no int"),
    "100 levels": (HEAD + "seed: " + "[" * 100 + "]" * 100, "nested too deeply"),
    "2,000 levels": (HEAD + "seed: " + "[" * 2000 + "]" * 2000, "nest"),
    "an alias bomb": (
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in pairwise("abcdefghij")),
        "too many keys and values",
    ),
    "an alias of itself": (HEAD + "seed: &a [*a]", "stands for nothing, or for itself"),
    "100,000 unknown keys": (HEAD + "".join(f"k{i}: 1\n" for i in range(100_000)), "too many keys and values"),
    "50,000 unknown keys": (HEAD + "".join(f"k{i}: 1\n" for i in range(50_000)), "unknown key"),
    "50 MB": (HEAD + "#" * 50_000_000, "too large"),
    "1e9 steps": (HEAD + "clock: {steps: 1000000000}", "less than or equal"),
    "an agent by a relative path": (HEAD + "operator: {agent: '.x:Y'}", "match pattern"),
    "an agent that is a plain class": (HEAD + "operator: {agent: 'builtins:dict'}", "lacks open_window"),
    "a base with a null character": ('base: "a\\0b.yaml"\n', "no scenario file"),
    "a long base": (f"base: {LONG}.yaml\n", "no scenario file"),
    "a feeder with a null character": (HEAD + 'network: {feeder: "a\\0b"}', "no such feeder"),
    "a long table": (HEAD + f"market: {{price_usd_per_mwh: {{file: {LONG}, column: x}}}}", "no such table"),
    "a name that is a path": (HEAD.replace("mine", "../../x"), "match pattern"),
    "a name of dots": (HEAD.replace("mine", '".."'), "match pattern"),
    "a data center that is a path": (HEAD + "datacenters: [{name: /x, bus: '718'}]", "match pattern"),
    "an operator that is hidden": (HEAD + "operator: {name: .x}", "match pattern"),
    "a time zone that is none": (HEAD + "clock: {timezone: Middle/Earth}", "no such time zone"),
    "a time zone that is a path": (HEAD + "clock: {timezone: ../../../etc/passwd}", "no such time zone"),
    "a start that tables cannot hold": (HEAD + "clock: {start: 9999-12-31T23:00:00}", "too far away"),
    "a horizon that tables cannot hold": (HEAD + "clock: {steps: 1000000, step_s: 86400, gate_s: 60}", "ends too late"),
    "a source beyond floating point": (HEAD + "network: {source_pu: 1.0e+308}", "less than or equal to 2"),
    "a cost beyond floating point": (HEAD + "network: {price_cap_usd_per_mwh: 1.0e+308}", "less than or equal"),
}  # fmt: skip


def told(*arguments: str) -> tuple[int, str]:
    """Exit code and stderr of the command line, which says little in little time."""
    began = time.process_time()
    done = CliRunner().invoke(app, list(arguments), env={"TERM": "dumb", "COLUMNS": "200"})
    assert not isinstance(done.exception, Exception) or isinstance(done.exception, SystemExit), repr(done.exception)
    assert time.process_time() - began < 10
    assert len(done.stderr.encode()) <= 2000
    return done.exit_code, done.stderr


# What takes long to read is read by one command; the other is slow.
@pytest.mark.parametrize(
    ("what", "command"),
    [
        pytest.param(what, command, marks=[pytest.mark.slow] * (len(text) > 100_000 and command == "validate"))
        for what, (text, _) in FILES.items() for command in ("run", "validate")
    ],
)  # fmt: skip
def test_a_hostile_scenario_is_refused_alike_by_both_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, command: str
) -> None:
    text, words = FILES[what]
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    monkeypatch.chdir(tmp_path)
    code, said = told(command, str(file), *(["--import"] if command == "validate" else []))
    assert code == 2 and words in said and "mine.yaml" in said, said
    assert [p.name for p in tmp_path.iterdir()] == ["mine.yaml"]


# column and text of a line code or a key of feeder.csv, words of the message
SPOILED: dict[str, tuple[str, str, str, str]] = {
    "a line code of 1e-12 ohm": ("line_codes", "r_aa_ohm_per_mile x_aa_ohm_per_mile", "1e-12", "has an impedance of"),
    "a line code of 1e9 ohm": ("line_codes", "r_aa_ohm_per_mile", "1e9", "has an impedance of"),
    "a line code beyond floating point": ("line_codes", "x_aa_ohm_per_mile", "1e308", "out of range"),
    "a source of 1e308 kV": ("feeder", "source_kv", "1e308", "out of range"),
    "a source of 1e308 per unit": ("feeder", "source_pu", "1e308", "out of range"),
    "a feeder whose name is a path": ("feeder", "name", "/../../x", "not a name"),
    "a feeder with a name of dots": ("feeder", "name", "..", "not a name"),
    "a load of 1e308 kW": ("loads", "p_kw", "1e308", "out of range"),
    "a load of 1e8 kW": ("loads", "p_kw", "1e8", "has no solution"),
}


@pytest.fixture
def spoiled(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Path, str]:
    """A folder with IEEE 37 and one of its numbers or names replaced, and the words with which it is refused."""
    import csv

    table, columns, text, words = SPOILED[request.param]
    shutil.copytree(ROOT / "data" / "feeders" / "ieee37", tmp_path / "mine")
    file = tmp_path / "mine" / f"{table}.csv"
    rows = list(csv.reader(file.read_text().splitlines()))
    for column in columns.split():
        if table == "feeder":
            next(row for row in rows if row[0] == column)[1] = text
        else:
            rows[1][rows[0].index(column)] = text
    with file.open("w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)
    (tmp_path / "mine.yaml").write_text(HEAD + "clock: {steps: 1}\nnetwork: {feeder: mine}\n")
    return tmp_path, words


@pytest.mark.parametrize("spoiled", SPOILED, indirect=True)
def test_a_hostile_feeder_is_refused_alike_by_validate_and_run(spoiled: tuple[Path, str]) -> None:
    folder, words = spoiled
    before = sorted(folder.rglob("*"))
    file, out = str(folder / "mine.yaml"), str(folder / "out")
    said = [told("validate", file), told("run", file, "--out", out)]
    assert said[0] == said[1] and said[0][0] == 2 and words in said[0][1], said
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("spoiled", ["a feeder whose name is a path"], indirect=True)
def test_a_feeder_cannot_choose_where_its_map_goes(spoiled: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = spoiled
    (folder / "a" / "b" / "c").mkdir(parents=True)
    monkeypatch.chdir(folder / "a" / "b" / "c")
    before = sorted(folder.rglob("*"))
    assert told("feeder", "show", str(folder / "mine"))[0] == 2
    assert sorted(folder.rglob("*")) == before


def test_an_unquoted_start_on_the_command_line_is_accepted() -> None:
    for start in ("2024-07-01T00:00", "2024-07-01T00:00:00", "2024-07-01"):
        assert told("validate", "ieee37", "--steps", "2", "--set", f"clock.start={start}") == (0, "")


def test_an_unquoted_start_in_a_file_is_the_time_that_it_says(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(HEAD + "clock: {start: 2024-07-01T06:00:00, steps: 1}")
    assert cosim.run(tmp_path / "mine.yaml").steps["time"].iloc[0].isoformat() == "2024-07-01T06:00:00"


MODULE = "from pathlib import Path\nPath(__file__).with_name('touched').write_text('')\n"
CLASSES = (
    "from cosim.agents.dca import DataCenterAggregator as Base\n"
    "from cosim.coordination.rules import BestResponse as Rule\n"
    "class Mine(Base): pass\nclass Mild(Rule): pass\nclass Empty: pass\n"
    "class Broken(Base):\n    def __init__(self, *arguments): raise KeyError('no plan')\n"
)
NAMED = {
    "aggregators": "aggregators: [{{name: dca, agent: '{0}:Mine'}}]",
    "operator": "operator: {{agent: '{0}:Mine'}}",
    "rule": "mode: decentralized\ndecentralized: {{rule: '{0}:Mild'}}",
}


def beside(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, scenario: str) -> str:
    """A scenario and beside it a module that leaves a mark when it is imported; the folder is on Python's path."""
    (folder / f"{name}.py").write_text(MODULE + CLASSES)
    monkeypatch.syspath_prepend(str(folder))
    head = HEAD.replace("mode: uncoordinated\n", "") if "mode:" in scenario else HEAD
    (folder / "mine.yaml").write_text(f"{head}clock: {{steps: 1}}\n{scenario.format(name)}\n")
    return str(folder / "mine.yaml")


@pytest.mark.parametrize("what", NAMED)
def test_validate_imports_no_module_that_a_scenario_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    file = beside(tmp_path, monkeypatch, f"stranger_{what}", NAMED[what])
    done = CliRunner().invoke(app, ["validate", file], env={"COLUMNS": "200"})
    assert done.exit_code == 0 and f"stranger_{what}" in done.stdout and "not imported" in done.stdout
    assert not (tmp_path / "touched").exists() and f"stranger_{what}" not in sys.modules


@pytest.mark.parametrize("what", ["aggregators", "rule"])
def test_validate_imports_and_checks_the_classes_when_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    file = beside(tmp_path, monkeypatch, f"friend_{what}", NAMED[what])
    assert told("validate", file, "--import") == (0, "")
    assert (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("name", "words"), [("Empty", "lacks terminals"), ("Broken", "KeyError"), ("Absent", "no attribute")]
)
def test_a_class_that_is_no_agent_is_refused_alike_by_run_and_validate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    text = "aggregators: [{{name: dca, agent: '{0}:" + name + "'}}]"
    file = beside(tmp_path, monkeypatch, f"unfit_{name.lower()}", text)
    said = [told("validate", file, "--import"), told("run", file, "--out", str(tmp_path / "out"))]
    assert said[0] == said[1] and said[0][0] == 2 and words in said[0][1] and "aggregators.dca.agent" in said[0][1]


@pytest.mark.parametrize("body", ["raise SystemExit(3)", "1 / 0", "def"])
def test_a_module_that_cannot_be_imported_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    name = f"faulty_{abs(hash(body)) % 10**6}"
    (tmp_path / f"{name}.py").write_text(body)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "mine.yaml").write_text(HEAD + f"operator: {{agent: '{name}:X'}}")
    code, said = told("run", str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "out"))
    assert code == 2 and "cannot be imported" in said


def test_two_entries_of_one_name_are_refused_and_none_is_dropped(tmp_path: Path) -> None:
    twice = "svgs: [{name: s, bus: '718', kvar: 10}, {name: s, bus: '740', kvar: 20}]"
    (tmp_path / "mine.yaml").write_text(HEAD.replace("ieee37", "ieee37_svg") + twice)
    with pytest.raises(InputError, match="found twice"):
        cosim.validate(tmp_path / "mine.yaml")


def test_changing_what_an_alias_stands_for_changes_one_place() -> None:
    data = parse_yaml("a: &x {k: 1}\nb: *x\n")
    data["a"]["k"] = 2
    assert data == {"a": {"k": 2}, "b": {"k": 1}}


def test_a_year_of_hours_written_inline_is_within_the_limits(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("values: [" + ", ".join("12.34567" for _ in range(8760 * 12)) + "]")
    assert len(read_yaml(tmp_path / "a.yaml")["values"]) == 8760 * 12


@pytest.mark.parametrize(
    "value", [LONG, 10**5000, [[[[[[1]]]]]] * 10_000, "\U0001f4a5" * 5000, {"a": LONG}, "a\nb\x1b[2J"],
    ids=["text", "whole number", "list", "wide characters", "mapping", "control characters"],
)  # fmt: skip
def test_no_error_says_more_than_two_kilobytes(value: object) -> None:
    error = InputError(LONG, file=LONG, key=LONG, value=value, allowed=LONG)
    assert len(str(error).encode()) <= 2000 and str(error).isprintable()
    assert len(str(RunFailure(str(LONG) * 3)).encode()) <= 2000


def test_a_short_text_is_left_alone_and_a_long_one_is_cut_at_a_character() -> None:
    assert shortened("kurz") == "kurz"
    cut = shortened("ä" * MESSAGE_BYTES)
    assert len(cut.encode()) <= MESSAGE_BYTES and cut.startswith("ää") and cut.endswith(" ...")


@pytest.mark.parametrize("name", ["piqp", *(pytest.param(n, marks=pytest.mark.slow) for n in ("daqp", "highspy"))])
def test_a_missing_library_is_named(tmp_path: Path, name: str) -> None:
    done = blocked(tmp_path, name, "run", "ieee37", "--steps", "1", "--mode", "uncoordinated", "--out", "out")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.startswith("Error: a library that cosim needs cannot be imported") and name in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_blocked_gurobi_is_a_solver_that_is_not_there(tmp_path: Path) -> None:
    done = blocked(tmp_path, "gurobipy", "run", "ieee37", "--steps", "1", "--mode", "centralized", "--out", "out")
    assert done.returncode == 0, done.stderr


def blocked(folder: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process in which one library cannot be imported."""
    program = (
        "import sys\nclass Block:\n    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] == {name!r}: raise ImportError(f'{{name}} is blocked', name=name)\n"
        f"sys.meta_path.insert(0, Block())\nsys.argv = ['cosim', *{arguments!r}]\n"
        "from cosim.cli.main import app\napp()\n"
    )
    return subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("most", [2_000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_a_full_disk_fails_the_run_in_one_line(tmp_path: Path, most: int) -> None:
    """A limit on the size of files stands for the disk: writing fails in the same place."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    command = [*RUN, "--out", "o"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, preexec_fn=limit, env=environment)
    assert done.returncode == 1 and "Traceback" not in done.stderr and len(done.stderr) <= 2000, done.stderr
    assert done.stderr.startswith("Error: ") and "File too large" in done.stderr
    assert not [p for p in tmp_path.iterdir() if p.name.endswith(".part")]


@pytest.mark.parametrize("utf8", ["0", "1"])
def test_a_path_beyond_ascii_works_or_is_refused_in_a_plain_locale(tmp_path: Path, utf8: str) -> None:
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": utf8, "PYTHONCOERCECLOCALE": "0"}
    command = [*RUN, "--out", "ö"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, env=environment)
    said = done.stderr.decode()
    assert "Traceback" not in said
    assert done.returncode == (2 if utf8 == "0" else 0), said
    if utf8 == "0":
        assert "PYTHONUTF8=1" in said and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("out", [LONG, "a\0b"])
def test_an_output_folder_that_cannot_be_is_refused(out: str) -> None:
    code, said = told("run", "ieee37", "--steps", "1", "--mode", "uncoordinated", "--out", out)
    assert code == 2 and "--out" in said


def test_every_name_of_a_scenario_that_may_become_a_file_name_is_checked() -> None:
    """The schema has one kind of name; no field called ``name`` is of another."""
    wrong = [
        f"{kind}.name" for kind, fields in Scenario.model_json_schema()["$defs"].items()
        if "pattern" not in fields["properties"].get("name", {"pattern": ""})
    ]  # fmt: skip
    assert wrong == [] and "pattern" in Scenario.model_json_schema()["properties"]["name"]
