"""A run out of sample: frequencies against what margins promise, the rule of plants, the same bytes everywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest
from typer.testing import CliRunner

import cosim
from cosim.cli.main import app
from cosim.errors import InputError
from cosim.grid.feeder.phases import Terminal
from cosim.sweep.evaluation.decided import LOAD_KEY, Errs, Plant, read_decided
from cosim.sweep.evaluation.drawing import drawn
from cosim.sweep.evaluation.evaluate import evaluate, interval
from cosim.sweep.evaluation.page import evaluation_page
from cosim.sweep.evaluation.result import EvaluationRecord, read_evaluation, verdict
from cosim.sweep.evaluation.schemas import SCHEMAS

NOON = {
    "mode": "welfare", "network.model": "ac-linear", "network.ac_rounds": 5, "clock.steps": 2,
    "clock.window_steps": 2, "clock.start": "2024-07-15T12:00:00",
}  # fmt: skip
ERRS = Errs(load_std=0.05, sun_std=0.2)
Run = Callable[[float | None], Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The folder of a run on limits, with a probability or without margins; each made once."""
    folder, known = tmp_path_factory.mktemp("runs"), dict[float | None, Path]()

    def run(probability: float | None) -> Path:
        if probability not in known:
            chance = {"probability": probability, "load_std": 0.05, "sun_std": 0.2}
            known[probability] = folder / str(probability)
            overrides = NOON if probability is None else {**NOON, "network.chance": chance}
            cosim.run("ieee37_stress", overrides=overrides, out=known[probability], figures=False)
        return known[probability]

    return run


def test_limits_break_as_often_as_the_margins_let_them(made: Run) -> None:
    found = evaluate(made(0.9), 300)
    assert (found.steps["worst_low"] <= 0.1).all()
    assert found.steps["worst"].max() > 0.04  # margins are not wider than need be where a limit binds
    bare = evaluate(made(None), 50, errs=ERRS)
    assert bare.steps["worst"].min() > 0.3  # a dispatch on the limit breaks it every other time
    assert bare.record.level is None


def test_the_page_draws_the_frequencies_of_the_table_and_the_level(made: Run, tmp_path: Path) -> None:
    found = evaluate(made(0.9), 20, out=tmp_path / "out", figures=False)
    charts = [chart for section in evaluation_page(tmp_path / "out").sections for chart in section.charts]
    for choice, name in zip(charts[0].choices, ("worst", "any"), strict=True):
        drawn_pct = {trace.name: np.asarray(trace.y) for trace in choice.traces}
        assert drawn_pct[choice.label] == pytest.approx(100 * found.steps[name].to_numpy())
        assert drawn_pct["level 10 %"] == pytest.approx([10.0, 10.0])


def test_what_is_written_is_the_same_for_any_number_of_workers(made: Run, tmp_path: Path) -> None:
    serial, pool = tmp_path / "serial", tmp_path / "pool"
    evaluate(made(0.9), 55, seed=3, out=serial)
    evaluate(made(0.9), 55, seed=3, jobs=2, out=pool, figures=False)
    for name in SCHEMAS:
        assert (serial / f"{name}.parquet").read_bytes() == (pool / f"{name}.parquet").read_bytes()
    assert "out of sample" in (serial / "report.html").read_text()
    assert (serial / "figures" / "frequency.png").is_file()
    again = read_evaluation(serial)
    other = evaluate(made(0.9), 5, seed=4)
    assert (again.samples["import_cost_usd"].head() != other.samples["import_cost_usd"]).all()


def test_a_sample_without_errors_is_the_run_itself(made: Run) -> None:
    found = evaluate(made(None), 2, errs=Errs(load_std=1e-9))
    run = cosim.read(made(None))
    assert found.samples["import_mwh"].to_numpy() == pytest.approx(run.steps["p_sub_ac_kw"].sum() / 1000, rel=1e-6)
    assert found.samples["payment_usd"].to_numpy() == pytest.approx(run.steps["dca_payment_usd"].sum())


def test_draws_have_the_deviation_that_is_said(made: Run) -> None:
    decided = read_decided(made(None), ERRS)
    shares = np.array([drawn(decided, 0, s)[LOAD_KEY] for s in range(400)]) / decided.series[LOAD_KEY]
    np.testing.assert_allclose(shares.std(axis=0), 0.05, rtol=0.15)
    np.testing.assert_allclose(shares.mean(axis=0), 1.0, atol=0.01)
    assert abs(np.corrcoef(shares.T)[0, 1]) < 0.2  # said beside the forecasts, each step errs by itself


@pytest.mark.parametrize(("set_point", "share", "given"), [(80, 0.5, 50), (100, 1.2, 120), (80, 0.9, 80), (100, 0, 0)])
def test_a_plant_follows_the_sun_unless_it_is_curtailed(set_point: float, share: float, given: float) -> None:
    one = np.ones(1)
    plant = Plant("sun", Terminal("1", "wye", ("a",)), set_point * one, 0 * one, 100 * one)
    assert plant.given_kw(0, share, 1.0) == pytest.approx(given)


@pytest.mark.parametrize(("broken", "samples"), [(0, 50), (3, 50), (50, 50)])
def test_intervals_are_those_of_clopper_and_pearson(broken: int, samples: int) -> None:
    told = binomtest(broken, samples).proportion_ci(0.95, "exact")
    low, high = interval(broken, samples)
    assert (float(low), float(high)) == pytest.approx((told.low, told.high))


def test_a_verdict_compares_with_the_level() -> None:
    def of(frequency: float, low: float) -> str:
        kpis: dict[str, float | None] = {"worst_frequency": frequency, "worst_low": low}
        return verdict(EvaluationRecord("", "", {}, 0.05, "individual", kpis))

    assert of(0.05, 0.04) == "at most the level"
    assert of(0.055, 0.045) == "above the level, within the interval"
    assert of(0.08, 0.06) == "above the level"


def test_a_worker_that_dies_costs_its_samples_alone(made: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from concurrent.futures import BrokenExecutor

    from cosim.sweep.evaluation import evaluate as module

    solve = module.solve_chunk

    def dying(folder: str, errs: Errs, seed: int, first: int, count: int) -> object:
        if first == 50:
            raise BrokenExecutor("gone")
        return solve(folder, errs, seed, first, count)

    monkeypatch.setattr(module, "solve_chunk", dying)
    found = evaluate(made(0.9), 55)
    assert len(found.samples) == 50
    assert any("samples 50 to 54 are missing: their worker died 2 times" in note for note in found.notes)


def test_what_cannot_be_evaluated_is_refused_and_leaves_nothing(made: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for arguments in ([str(tmp_path)], [str(made(None))], [str(made(0.9)), "--load-std", "0.1", "--correlation", "2"]):
        found = CliRunner().invoke(app, ["evaluate", *arguments, "--out", str(out), "--samples", "5"])
        assert found.exit_code == 2, found.output
        assert not out.exists()
    with pytest.raises(InputError):
        read_evaluation(made(0.9))


def test_the_command_says_how_often_limits_break(made: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["evaluate", str(made(0.9)), "--samples", "20", "--out", str(out), "--no-figures"]
    found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 0, found.output
    assert "any limit, in its worst step" in found.output
    assert CliRunner().invoke(app, ["report", str(out), "--no-figures"]).exit_code == 0
