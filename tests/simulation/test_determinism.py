"""The same scenario and seed give the same bytes, whatever the order of hashes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cosim.results.tables import Tables

PROGRAM = """
import sys
import cosim
settings = {
    "clock.steps": 4, "channel.loss": 0.2, "channel.latency": {"kind": "lognormal"},
    "network.controls": "between_steps",
    "forecasts.default": {"kind": "error", "std_1h": 0.02, "std_24h": 0.05, "truth": "sampled"},
}
# figures take most of the time, and are not compared
cosim.run("ieee37_stress_svg", mode="decentralized", seed=int(sys.argv[1]), overrides=settings, out=sys.argv[2],
          figures=False)
"""
OTHERS = ("feeders", "envelopes", "deviations")  # of what this run has not: several feeders, limits, two settlements
FILES = ("scenario.yaml", *(f"{name}.parquet" for name in Tables.names() if name not in OTHERS))


def left_by(folder: Path, seed: int, hash_seed: str) -> dict[str, bytes]:
    """What a run in a fresh process leaves."""
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-c", PROGRAM, str(seed), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return left_by(tmp_path_factory.mktemp("first") / "out", 1, "0")


def test_the_same_seed_leaves_the_same_bytes(first: dict[str, bytes], tmp_path: Path) -> None:
    again = left_by(tmp_path / "out", 1, "4711")
    assert [name for name in FILES if again[name] != first[name]] == []


@pytest.mark.slow
def test_another_seed_leaves_other_messages(first: dict[str, bytes], tmp_path: Path) -> None:
    other = left_by(tmp_path / "out", 2, "0")
    assert other["messages.parquet"] != first["messages.parquet"]
