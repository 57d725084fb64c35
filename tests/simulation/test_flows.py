"""The table of flows of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cosim.scenario import results_spec
from cosim.simulation.runner import RunResult, run
from tests.grid.dss_circuits import RING
from tests.simulation.test_dss_run import scenario

SHORT = {"clock.steps": 2, "clock.window_steps": 2}
RATED = {"network.branch_rating_kva": {"701-702": 2000, "711-740": 300}}


@pytest.fixture(scope="module")
def rated() -> RunResult:
    return run("ieee37", mode="uncoordinated", overrides={**SHORT, **RATED})


def test_what_leaves_the_source_is_the_import(rated: RunResult) -> None:
    first = rated.tables.flows.query("bus == '799'").groupby("step")[["p_kw", "p_ac_kw"]].sum()
    imported = rated.steps.set_index("step")
    assert np.allclose(first["p_kw"], imported["p_sub_kw"], atol=1e-3)
    assert np.allclose(first["p_ac_kw"], imported["p_sub_ac_kw"], atol=1e-2)


def test_loading_is_apparent_power_by_a_third_of_the_rating(rated: RunResult) -> None:
    flows = rated.tables.flows.set_index("branch").loc["701-702"]
    assert len(flows) == 6
    assert np.allclose(flows["loading_pct"], 100 * np.hypot(flows["p_kw"], flows["q_kvar"]) / (2000 / 3))
    assert np.allclose(flows["loading_ac_pct"], 100 * np.hypot(flows["p_ac_kw"], flows["q_ac_kvar"]) / (2000 / 3))


def test_branches_that_nobody_rates_have_no_loading(rated: RunResult) -> None:
    known = rated.tables.flows.groupby("branch")["loading_pct"].count()
    assert set(known[known > 0].index) == {"701-702", "711-740", "XFM-1"}


def test_a_circuit_itself_has_flows_of_its_elements(tmp_path: Path) -> None:
    result = run(scenario(tmp_path, "ring", RING), mode="uncoordinated")
    flows = result.tables.flows
    assert {"line.tie", "transformer.dy2"} <= set(flows["branch"])
    assert np.allclose(flows["p_kw"], flows["p_ac_kw"], atol=0.5)


def test_loaded_branches_alone(rated: RunResult) -> None:
    loaded = run("ieee37", mode="uncoordinated", overrides={
        **SHORT, **RATED, "results.flows": "loaded", "results.loaded_pct": 60,
    }).tables.flows  # fmt: skip
    every = rated.tables.flows
    expected = every[(every["loading_pct"] >= 60) | (every["loading_ac_pct"] >= 60)].reset_index(drop=True)
    assert 0 < len(loaded) < len(every)
    assert loaded.equals(expected)


def test_none_leave_no_file(tmp_path: Path) -> None:
    run("ieee37", mode="uncoordinated", overrides={**SHORT, "results.flows": "none"}, out=tmp_path / "out",
        figures=False)  # fmt: skip
    assert not (tmp_path / "out" / "flows.parquet").exists()


def test_a_table_that_would_be_too_long_has_loaded_branches_and_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results_spec, "MOST_FLOW_ROWS", 100)
    result = run("ieee37", mode="uncoordinated", overrides={**SHORT, **RATED})
    assert (result.tables.flows[["loading_pct", "loading_ac_pct"]].max(axis=1) >= 80).all()
    (note,) = [note for note in result.notes if "table of flows" in note]
    assert "222 rows" in note


def test_a_table_of_usual_length_is_not_spoken_of(rated: RunResult) -> None:
    assert not any("table of flows" in note for note in rated.notes)
