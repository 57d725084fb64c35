"""The same scenario and seed give the same bytes, whatever the order of hashes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import cosim
from cosim.results.tables import Tables

SETTINGS = {
    "clock.steps": 2, "channel.loss": 0.2, "channel.latency": {"kind": "lognormal"},
    "network.controls": "between_steps",
    "forecasts.default": {"kind": "error", "std_1h": 0.02, "std_24h": 0.05, "truth": "sampled"},
}  # fmt: skip
PROGRAM = """
import json
import sys
import cosim
# figures take most of the time, and are not compared
cosim.run("ieee37_stress_svg", mode="decentralized", seed=int(sys.argv[1]), overrides=json.loads(sys.argv[3]),
          out=sys.argv[2], figures=False)
"""
OTHERS = ("feeders", "envelopes", "deviations")  # of what this run has not: several feeders, limits, two settlements
FILES = ("scenario.yaml", *(f"{name}.parquet" for name in Tables.names() if name not in OTHERS))


def left_in(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a run in this process leaves, whatever its hashes are and whatever ran in it before."""
    out = tmp_path_factory.mktemp("first") / "out"
    cosim.run("ieee37_stress_svg", mode="decentralized", seed=1, overrides=SETTINGS, out=out, figures=False)
    return left_in(out)


@pytest.mark.parametrize("hash_seed", ["4711", pytest.param("0", marks=pytest.mark.slow)])
def test_the_same_seed_leaves_the_same_bytes(first: dict[str, bytes], tmp_path: Path, hash_seed: str) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-c", PROGRAM, "1", str(out), json.dumps(SETTINGS)]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    again = left_in(out)
    assert [name for name in FILES if again[name] != first[name]] == []


@pytest.mark.slow
def test_another_seed_leaves_other_messages(first: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    cosim.run("ieee37_stress_svg", mode="decentralized", seed=2, overrides=SETTINGS, out=out, figures=False)
    assert left_in(out)["messages.parquet"] != first["messages.parquet"]
