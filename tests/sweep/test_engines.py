"""All engines leave the same tables, byte for byte; what they leave can be read by others as well."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

import cosim
from cosim.sweep.experiment import Experiment, check_experiment
from cosim.sweep.pool import IsolatedPool
from cosim.sweep.reading import Sweep

from .conftest import LIMITS, Make

REAL = {
    "name": "real",
    "scenario": "ieee37",
    "set": {"clock.steps": 1, "channel.latency": {"kind": "lognormal", "median_s": 2.0}},
    "modes": ["decentralized"],
    "factors": {"channel.loss": [0.0, 0.3]},
    "replicates": 2,
    "keep": {"tables": ["steps", "rounds", "messages", "voltages"]},
}


@pytest.fixture(scope="module")
def real() -> Experiment:
    return check_experiment(REAL)


@pytest.fixture(scope="module")
def serial(real: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return cosim.run_sweep(real, tmp_path_factory.mktemp("serial") / "out", engine="serial", analyse=False)


def bytes_of(found: Sweep) -> dict[str, bytes]:
    """Everything that follows from the seeds: the table of runs and the tables of each run."""
    files = [*found.root.glob("runs/*/*.parquet"), found.root / "runs.csv", found.root / "plan.json"]
    return {str(f.relative_to(found.root)): f.read_bytes() for f in files}


@pytest.mark.parametrize(
    ("engine", "workers"), [("pool", 2), ("dask", 1), pytest.param("dask", 2, marks=pytest.mark.slow)]
)
def test_engines_leave_the_same_bytes(
    real: Experiment, serial: Sweep, tmp_path: Path, engine: str, workers: int
) -> None:
    pytest.importorskip("distributed") if engine == "dask" else None
    found = cosim.run_sweep(real, tmp_path / "out", engine=engine, workers=workers, analyse=False)
    assert (found.runs["status"] == "ok").all()
    assert bytes_of(found) == bytes_of(serial)


def test_a_run_in_a_sweep_is_the_run_by_itself(serial: Sweep) -> None:
    row = serial.runs.query("mode == 'decentralized' and `channel.loss` == 0.3").iloc[0]
    changes = {**serial.experiment.set, "channel.loss": 0.3}
    alone = cosim.run("ieee37", mode="decentralized", seed=int(row["seed"]), overrides=changes)
    timed = {"wall_s", "solver_s"}
    assert {k: row[k] for k in alone.kpis if k not in timed and alone.kpis[k] is not None} == {
        k: v for k, v in alone.kpis.items() if k not in timed and v is not None
    }
    messages = serial.table("messages").query("run == @row.run")[list(alone.messages.columns)]
    pd.testing.assert_frame_equal(messages.reset_index(drop=True), alone.messages)


def test_replicates_differ_where_there_is_chance(serial: Sweep) -> None:
    sent = serial.runs.query("mode == 'decentralized'").groupby("channel.loss")["messages_lost"]
    assert sent.max().to_dict()[0.3] > 0 == sent.max().to_dict()[0.0]


def test_long_tables_have_their_factors_beside_them(serial: Sweep) -> None:
    voltages = serial.voltages
    assert list(voltages.columns[:5]) == ["index", "run", "mode", "replicate", "channel.loss"]
    assert voltages.groupby("index").size().nunique() == 1 and voltages["index"].nunique() == 4


def test_duckdb_reads_the_runs_as_one_table(serial: Sweep) -> None:
    duckdb = pytest.importorskip("duckdb")
    files = str(serial.root / "runs" / "*" / "steps.parquet")
    query = f"select run, sum(dso_cost_usd) as cost from read_parquet('{files}', hive_partitioning=true) group by run"
    found = duckdb.sql(query).fetchall()
    expected = serial.runs.drop_duplicates("run").set_index("run")["dso_cost_usd"].to_dict()
    assert dict(found) == pytest.approx(expected)


def test_a_table_that_was_not_kept_is_refused(serial: Sweep) -> None:
    with pytest.raises(cosim.InputError, match="no such table was kept"):
        serial.table("prices")
    with pytest.raises(AttributeError, match="prices"):
        _ = serial.prices


def test_the_processes_of_a_pool_are_replaced_after_so_many_tasks() -> None:
    with IsolatedPool(1, recycle_after=2) as pool:
        processes = [pool.submit(os.getpid).result() for _ in range(5)]
    assert [processes.index(p) for p in processes] == [0, 0, 2, 2, 4]


@pytest.mark.slow
def test_short_runs_travel_in_chunks_and_all_of_them_arrive(experiment: Make, place: Path) -> None:
    limits = [round(0.9 + 0.0005 * i, 4) for i in range(100)]
    many = experiment(factors={"network.v_min_pu": limits})
    found = cosim.run_sweep(many, place / "out", workers=2, analyse=False)
    assert list(found.runs["double"]) == pytest.approx([2 * v for v in limits])
    assert found.pair.groupby("index").size().tolist() == [2] * 100


def test_runs_of_the_same_content_are_done_once(experiment: Make, place: Path) -> None:
    twice = experiment(factors={"network.v_min_pu": [*LIMITS[:2], LIMITS[0]]})
    found = cosim.run_sweep(twice, place / "out", engine="serial", analyse=False)
    assert len(found.runs) == 3 and len(list((place / "out" / "runs").iterdir())) == 2
    assert found.runs["double"].tolist() == [2 * v for v in (LIMITS[0], LIMITS[1], LIMITS[0])]
