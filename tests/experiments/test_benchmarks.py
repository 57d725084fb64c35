"""Benchmarks print what they promise; their times are not tested."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosim.coordination.decentralized import Decentralized
from cosim.experiments.benchmarks import centralized, framework, network, sweep


def test_network_is_compared_with_opendss() -> None:
    rows = network.measure(repeats=2)
    assert rows[0]["ratio to OpenDSS solve"] == 1.0
    assert all(float(str(r["median ms"])) > 0 for r in rows)


def test_formulations_agree_within_bounds_and_discretisation() -> None:
    methods = (centralized.METHODS[0], centralized.METHODS[3])
    exact, classical = centralized.measure(hours=[1], time_limit_s=20, methods=methods, bits=4)
    assert exact["certificate"] == classical["certificate"] == "passed"
    apart = abs(float(str(exact["objective USD"])) - float(str(classical["objective USD"])))
    tolerance = 2e-3 * float(str(exact["objective USD"]))
    assert apart <= float(str(classical["discretisation USD"])) + tolerance


def test_stopwatches_leave_nothing_behind() -> None:
    before = Decentralized.run
    with framework.watches():
        assert Decentralized.run is not before
    assert Decentralized.run is before


@pytest.mark.slow
def test_framework_takes_a_run_apart() -> None:
    rows = framework.runs("ieee37", "decentralized", 1)
    assert any("round" in str(r["what"]) for r in rows)


def test_the_benchmark_of_sweeps_measures_reading_and_resuming(tmp_path: Path) -> None:
    rows = sweep.store(tmp_path, 20)
    assert [str(r["what"]).split(",")[0] for r in rows] == [
        "read: table of runs",
        "read: and a long table",
        "resume",
    ]


@pytest.mark.slow
def test_memory_stays_flat_over_many_runs(tmp_path: Path) -> None:
    """One worker that is never replaced: 60 runs may not take a tenth more than the first ones."""
    rows = sweep.memory(tmp_path, 60)
    assert float(str(rows[-1]["ratio"])) < 1.1 and len({r["open files"] for r in rows}) == 1
