"""Benchmarks print what they promise; their times are not tested."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import cosim
from cosim.coordination.decentralized import Decentralized
from cosim.experiments.benchmarks import clearing, framework, reporting, sweep
from cosim.experiments.benchmarks.hosting import year
from cosim.experiments.benchmarks.leader import centralized
from cosim.experiments.benchmarks.leader import methods as leader_methods
from cosim.experiments.benchmarks.network import growth, ieee37
from cosim.experiments.benchmarks.synthetic import synthetic_feeder
from cosim.grid.linear import lindist3flow
from cosim.grid.opendss.circuit import AcCircuit


def test_network_is_compared_with_opendss() -> None:
    rows = ieee37.measure(repeats=2)
    assert rows[0]["ratio to OpenDSS solve"] == 1.0
    assert all(float(str(r["median ms"])) > 0 for r in rows)


def test_hosting_limits_are_those_of_bisection() -> None:
    found = year.measure("ieee37", jobs=1, draws=12, seed=3, every=1500)
    assert found["compared"] == 12 and found["worst of 0.5 % or 5 kW"] <= 1


def test_formulations_agree_within_bounds_and_discretisation() -> None:
    methods = (leader_methods.METHODS[0], leader_methods.METHODS[3])
    exact, classical = leader_methods.measure(hours=[1], time_limit_s=20, methods=methods, bits=4)
    assert exact["certificate"] == classical["certificate"] == "passed"
    apart = abs(float(str(exact["objective USD"])) - float(str(classical["objective USD"])))
    tolerance = 2e-3 * float(str(exact["objective USD"]))
    assert apart <= float(str(classical["discretisation USD"])) + tolerance


def _seller(optimum: float) -> dict[str, Any]:
    """A leader that picks x in [0, 4] at cost x - 3 y, and a follower whose y wants to be 2 x but is at most 5."""
    return {
        "name": "made up", "x": {"x0": [0, 4]}, "y": {"y0": [0, 5]}, "F": "x0-3*y0", "f": "y0*y0-4*x0*y0",
        "G": [], "g": [], "h": [], "opt": optimum,
    }  # fmt: skip


@pytest.mark.parametrize(("optimum", "right"), [(-12.5, True), (-12.0, False)])
def test_the_table_of_targets_tells_right_answers_from_wrong_ones(
    tmp_path: Path, optimum: float, right: bool
) -> None:
    file = tmp_path / "problems.json"
    file.write_text(json.dumps([_seller(optimum)]))
    line = next(centralized.published(file))
    assert line.reached is right, line.measured


def test_a_target_that_is_not_measured_is_not_called_reached() -> None:
    (line,) = centralized.published(None)
    assert line.reached is None and line.row()["reached"] == "–"


def test_random_days_are_held_against_their_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(centralized, "DAYS", (((2, 2, 3), 20.0, 60.0),))
    assert [line.reached for line in centralized.days(2)] == [True, True]
    monkeypatch.setattr(centralized, "DAYS", (((2, 2, 3), 0.0, 60.0),))
    assert [line.reached for line in centralized.days(1)] == [False, False]


def test_stopwatches_leave_nothing_behind() -> None:
    before = Decentralized.run
    with framework.watches():
        assert Decentralized.run is not before
    assert Decentralized.run is before


@pytest.mark.slow
def test_openings_are_measured_for_each_network_model_against_the_same_floor() -> None:
    rows = framework.openings("ieee37", 1)
    assert [str(row["what"]).split(", ")[1] for row in rows] == ["lindist3flow", "ac-linear"]
    assert all(float(str(row["ratio"])) > 1 for row in rows)


@pytest.mark.slow
def test_framework_takes_a_run_apart() -> None:
    rows = framework.runs("ieee37", "decentralized", 1)
    assert any("round" in str(r["what"]) for r in rows)


@pytest.mark.slow
def test_report_and_page_are_measured_against_reading_and_encoding(tmp_path: Path) -> None:
    cosim.run("ieee37", overrides={"clock.steps": 1}, out=tmp_path / "run", figures=False)
    row = reporting.measure("one step", tmp_path / "run", repeats=1)
    assert row["pictures"] == len(list((tmp_path / "run" / "figures").glob("*.png"))) > 0
    assert float(str(row["ratio"])) > 1


def test_the_benchmark_of_sweeps_measures_reading_and_resuming(tmp_path: Path) -> None:
    rows = sweep.store(tmp_path, 4)
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


@pytest.mark.parametrize("model", ["ac-linear", "lindist3flow"])
def test_a_window_is_cleared_and_priced_at_every_node(model: str) -> None:
    found = clearing.measure("ieee13", model, steps=2, rounds=1)
    nodes = len(lindist3flow.nodes_of(clearing.read_feeder("ieee13")))
    assert found["nodes"] == nodes
    assert int(str(found["priced"])) >= nodes
    assert float(str(found["per step s"])) > 0


def test_synthetic_feeders_keep_load_and_reach_and_have_a_power_flow() -> None:
    for nodes in (60, 600):
        feeder = synthetic_feeder(nodes)
        assert len(lindist3flow.nodes_of(feeder)) == pytest.approx(nodes, rel=0.15)
        assert feeder.load_kw == pytest.approx(6000.0)
        found = AcCircuit(feeder).solve()
        assert found.converged
        assert 0.9 < min(found.voltages.values()) < 1.0


def test_growth_measures_draws_and_fits_what_it_is_given() -> None:
    small = growth.measure("100")
    assert small["nodes"] > 80 and small["memory MB"] > 0
    rows = []
    for n in (10_000, 40_000):
        made = {"feeder": f"synthetic {n}", "nodes": n, "memory MB": n**0.5}
        rows.append({**small, **dict.fromkeys(growth.STAGES, 1e-5 * n), **made})
    fitted = {str(r["what"]): r["exponent"] for r in growth.exponents(rows)}
    assert fitted.pop("memory MB") == pytest.approx(0.5)
    assert all(value == pytest.approx(1.0) for value in fitted.values())
    assert len(growth.figure(rows).axes) == 2
