"""Experiment files that cannot be used: exit code 2, one message that names what is wrong, nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cosim.cli.main import app

HEAD = "name: x\nscenario: ieee37\nset: {clock.steps: 1}\n"
# text after the head, then words that stderr must have: message, key, value or what is allowed
CASES: dict[str, tuple[str, list[str]]] = {
    "unknown key": ("factrs: {}", ["did you mean 'factors'?", "key:     factrs"]),
    "unknown key of a factor": ("factors: {a: {vales: [1]}}", ["did you mean 'values'?", "factors.a.vales"]),
    "unknown mode": ("modes: [chaotic]", ["modes.0", "chaotic", "welfare"]),
    "unknown scenario": ("scenario2: 1", ["scenario2"]),
    "no such key in the scenario": (
        "factors: {network.v_mni_pu: [0.9, 0.95]}",
        ["did you mean 'v_min_pu'?", "network.v_mni_pu", "(at network.v_mni_pu = 0.9)"],
    ),
    "a value out of range": ("factors: {network.v_min_pu: [0.95, -1]}", ["network.v_min_pu = -1", "greater than 0"]),
    "no such data center": ("factors: {datacenters.dc999.pue: [1.2]}", ["dc999", "dc718"]),
    "two sources": ("factors: {a: {values: [1], range: {start: 0, stop: 1, count: 2}}}", ["exactly one of values"]),
    "an empty list": ("factors: {a: []}", ["at least one value"]),
    "a range of two spacings": ("factors: {a: {range: {start: 0, stop: 1}}}", ["exactly one of count, step"]),
    "a range backwards": ("factors: {a: {range: {start: 1, stop: 0, count: 2}}}", ["below start"]),
    "the same key twice": (
        "factors: {a: {keys: seed, values: [1]}, b: {keys: seed, values: [2]}}", ["factor 'b' sets 'seed'", "'a'"],
    ),
    "a factor that is set": ("factors: {clock.steps: [1, 2]}", ["'clock.steps', which set sets"]),
    "the mode as a factor": ("factors: {mode: [welfare]}", ["belongs to modes"]),
    "seeds twice": ("replicates: 2\nfactors: {seed: [1]}", ["replicates choose seeds"]),
    "a sample without a count": ("factors: {seed: {sample: {low: 0, high: 1}}}", ["sampling must say how often"]),
    "Sobol and 100": (
        "factors: {seed: {sample: {low: 0, high: 9}}}\nsampling: {method: sobol, count: 100}", ["64 or 128"],
    ),
    "unknown distribution": (
        "factors: {seed: {sample: {distribution: nrom}}}\nsampling: {count: 2}",
        ["did you mean 'norm'?", "factors.seed.sample.distribution"],
    ),
    "unknown parameter": (
        "factors: {seed: {sample: {distribution: norm, parameters: {mean: 1}}}}\nsampling: {count: 2}",
        ["unknown parameter 'mean'", "loc, scale"],
    ),
    "a missing shape": (
        "factors: {seed: {sample: {distribution: lognorm}}}\nsampling: {count: 2}", ["parameter 's' is missing"],
    ),
    "pairs of different length": ("design: paired\nfactors: {seed: [1, 2], clock.gate_s: [9]}", ["equally many"]),
    "unknown table": ("keep: {tables: [stepps]}", ["keep.tables.0", "stepps", "steps"]),
    "a feeder that is not there": ("factors: {network.feeder: [ieee37, ieee7]}", ["network.feeder", "ieee7", "ieee37"]),
    "a series that is not there": (
        "factors: {market.price_usd_per_mwh.file: [prices/none]}", ["market.price_usd_per_mwh", "prices/none"],
    ),
    "a measurement by a relative path": ("measure: '.x:y'", ["measure", "match pattern"]),
    "a measurement that is not there": ("measure: 'nowhere:measure'", ["measure", "nowhere", "package.module"]),
    "an analysis that is not there": ("analysis: 'cosim.sweep.plan:nothing'", ["analysis", "nothing"]),
    "keys that are mappings": ("factors: {a: {keys: [{b: 1}], values: [1]}}",
        ["factors.a.keys", "dictionary"]),
    "a factor whose key is a mapping": ("factors: {? {a: 1} : [1]}", ["a key is a list or a mapping"]),
    "a range of 1e9 values": ("factors: {a: {range: {start: 0, stop: 1, count: 1000000000}}}", ["less than or equal"]),
    "a range in steps of 1e-9": ("factors: {a: {range: {start: 0, stop: 1, step: 1.0e-9}}}", ["at most 1,000,000"]),
    "a product of many": (
        "replicates: 1000\nfactors: {a: {range: {start: 0, stop: 1, count: 9999}}}",
        ["1e+07 runs", "at most 1,000,000"],
    ),
    "no mapping": ("- 1", ["not readable as YAML"]),
    "a key twice": ("name: y", ["written twice"]),
}  # fmt: skip


def refused(folder: Path, *arguments: str) -> str:
    before = sorted(str(p) for p in folder.rglob("*"))
    done = CliRunner().invoke(app, ["sweep", *arguments], env={"TERM": "dumb", "COLUMNS": "200"})
    assert done.exit_code == 2, f"exit code {done.exit_code}\n{done.output}\n{done.exception!r}"
    assert done.stdout == "" and "Traceback" not in done.stderr and done.stderr.startswith("Error: ")
    assert sorted(str(p) for p in folder.rglob("*")) == before
    return done.stderr


@pytest.mark.parametrize("case", CASES)
def test_a_bad_experiment_is_refused(tmp_path: Path, case: str) -> None:
    text, words = CASES[case]
    file = tmp_path / "mine.yaml"
    file.write_text(HEAD + text + "\n")
    told = refused(tmp_path, str(file), "--out", str(tmp_path / "out"))
    for word in words:
        assert word in told, told
    assert "mine.yaml" in told


def test_an_unknown_experiment_names_the_nearest(tmp_path: Path) -> None:
    assert "did you mean 'tariffs'?" in refused(tmp_path, "tarifs", "--out", str(tmp_path / "out"))


def test_an_unknown_scenario_names_the_experiment(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: x\nscenario: ieee73\n")
    told = refused(tmp_path, str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "out"))
    assert "key:     scenario" in told and "ieee37" in told and "mine.yaml" in told


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--engine", "cloud"], ["--engine", "pool, dask"]),
        (["--scheduler", "tcp://127.0.0.1:1"], ["--scheduler", "--engine dask"]),
        (["--set", "seed"], ["KEY=VALUE"]),
        (["--set", "network.v_min_pu=low"], ["network.v_min_pu", "low"]),
        (["--only-failed"], ["no sweep in the folder"]),
    ],
)
def test_bad_options_are_refused(tmp_path: Path, options: list[str], words: list[str]) -> None:
    (tmp_path / "mine.yaml").write_text(HEAD)
    told = refused(tmp_path, str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "out"), *options)
    assert all(word in told for word in words), told


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(HEAD)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    assert "holds no sweep" in refused(tmp_path, str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "out"))


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(HEAD)
    (tmp_path / "file").write_text("")
    told = refused(tmp_path, str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "file" / "out"))
    assert "cannot be" in told or "not a folder" in told
