"""Which runs can be evaluated: without errors each is itself again, and what cannot be evaluated says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import cosim
from cosim.cli.main import app
from cosim.sweep import engine
from cosim.sweep.evaluation.decided import PRICE_KEY, Errs, read_decided
from cosim.sweep.evaluation.drawing import drawn
from cosim.sweep.evaluation.evaluate import evaluated
from tests.agents.test_stochastic import FORECASTS
from tests.grid.dss_circuits import RING
from tests.simulation.test_dss_run import scenario

HOURS = {"mode": "welfare", "clock.steps": 2, "clock.window_steps": 2, "clock.start": "2024-07-15T12:00:00"}
TWICE = {"forecasts": FORECASTS, "clock.market": "two_settlement"}
LOAD = Errs(load_std=0.05)


def ran(out: Path, name: str | Path = "ieee37", **changes: Any) -> Path:
    cosim.run(name, overrides={**HOURS, **changes}, out=out, figures=False)
    return out


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two settlements."""
    return ran(tmp_path_factory.mktemp("twice") / "run", **TWICE)


def assert_itself_again(run: Path, errs: Errs) -> None:
    decided = read_decided(run, errs)
    found = evaluated(replace(decided, errors=decided.errors.model_copy(update={"scale": 1e-9})), 1).samples
    steps = cosim.read(run).steps
    assert found["import_mwh"].to_numpy() == pytest.approx(steps["p_sub_ac_kw"].sum() / 1000, rel=1e-6)
    assert found["payment_usd"].to_numpy() == pytest.approx(steps["dca_payment_usd"].sum(), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "changes", "errs"),
    [
        ("ieee37", {"forecasts": FORECASTS}, Errs()),
        ("ieee37_stress", {"network.controls": "between_steps"}, LOAD),
        ("dss", {}, LOAD),
    ],
    ids=["forecasts", "devices that move", "circuit"],
)
def test_without_errors_a_run_is_itself_again(
    name: str, changes: dict[str, Any], errs: Errs, tmp_path: Path
) -> None:
    what = scenario(tmp_path, "ring", RING) if name == "dss" else name
    assert_itself_again(ran(tmp_path / "run", what, **changes), errs)


def test_without_errors_a_run_with_two_settlements_is_itself_again(twice: Path) -> None:
    assert_itself_again(twice, Errs())


def test_of_two_settlements_deviations_alone_pay_the_drawn_price(twice: Path) -> None:
    decided, result = read_decided(twice), cosim.read(twice)
    beside_mw = result.deviations.groupby("step")["deviation_kw"].sum().to_numpy() / 1000
    moved = drawn(decided, 0, 0)[PRICE_KEY] - decided.series[PRICE_KEY]
    paid = float(evaluated(decided, 1).samples["payment_usd"][0])
    assert np.abs(moved).max() > 0.1
    assert paid - result.steps["dca_payment_usd"].sum() == pytest.approx(float(moved @ beside_mw), abs=1e-9)


@pytest.mark.parametrize(
    "changes",
    [{"mode": "decentralized", "decentralized.rule": "tariff"}, {"mode": "envelope"}],
    ids=["tariff", "envelope"],
)
def test_prices_that_were_told_beforehand_are_paid_whatever_price_is_drawn(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    run = ran(tmp_path / "run", "ieee37_flexible", forecasts=FORECASTS, **changes)
    found, paid = cosim.evaluate(run, 3), float(cosim.read(run).steps["dca_payment_usd"].sum())
    assert paid > 0
    assert found.samples["import_cost_usd"].nunique() == 3
    assert found.samples["payment_usd"].tolist() == [paid] * 3
    assert any("told beforehand" in note for note in found.record.notes)


def test_under_a_cap_payments_are_not_told(tmp_path: Path) -> None:
    run = ran(tmp_path / "run", forecasts=FORECASTS, **{"market.price_cap_usd_per_mwh": 50.0})
    found = cosim.evaluate(run, 2)
    assert found.samples["payment_usd"].isna().all()
    assert found.samples["import_cost_usd"].notna().all()
    assert any("floor or a cap" in note for note in found.record.notes)


def test_a_run_that_took_the_place_of_another_is_evaluated_itself(tmp_path: Path) -> None:
    found = []
    for load in (0.4, 0.8):
        cosim.run("ieee37", overrides={**HOURS, "network.load_scale": {"constant": load}}, out=tmp_path / "run",
                  force=True, figures=False)  # fmt: skip
        samples = cosim.evaluate(tmp_path / "run", 1, errs=Errs(load_std=1e-9)).samples
        found.append(float(samples["import_mwh"][0]) - cosim.read(tmp_path / "run").steps["p_sub_ac_kw"].sum() / 1000)
    assert found == pytest.approx([0.0, 0.0], abs=1e-5)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison of one mode: its folder."""
    out = tmp_path_factory.mktemp("one") / "compared"
    cosim.compare("ieee37", ["welfare"], overrides={"clock.steps": 1, "clock.window_steps": 1}, out=out, figures=False)
    return out


def refused(run: Path, out: Path, *arguments: str) -> str:
    found = CliRunner().invoke(app, ["evaluate", str(run), "--samples", "2", "--out", str(out), *arguments])
    assert found.exit_code == 2, found.output
    assert not out.exists()
    return " ".join(found.output.split())


def test_a_folder_of_several_runs_names_them(one: Path, tmp_path: Path) -> None:
    said = refused(one, tmp_path / "out", "--load-std", "0.05")
    assert "several runs" in said and "welfare" in said


def test_the_folder_of_a_sweep_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("{}")
    assert "sweep" in refused(tmp_path, tmp_path / "out")


def test_several_feeders_are_refused(tmp_path: Path) -> None:
    run = ran(tmp_path / "run", "two_feeders", **{"clock.steps": 1, "clock.window_steps": 1, "mode": "uncoordinated"})
    assert "single feeder" in refused(run, tmp_path / "out", "--load-std", "0.05")


def test_an_error_out_of_all_measure_is_refused(one: Path, tmp_path: Path) -> None:
    assert "load_std" in refused(one / "welfare", tmp_path / "out", "--load-std", "20")


def test_a_scheduler_that_does_not_answer_is_refused(one: Path, tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(engine, "_CONNECT_S", 1)
    said = refused(one / "welfare", tmp_path / "out", "--load-std", "0.05", "--dask", "tcp://127.0.0.1:1")
    assert "does not answer" in said and "key: --dask" in said
