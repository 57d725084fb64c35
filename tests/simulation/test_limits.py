"""The table of limits of a run: what AC power flow breaks, what the base case says, the worst by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from cosim.cli.main import app
from cosim.grid.feeder.tables import read_feeder
from cosim.grid.opendss.circuit import AcCircuit
from cosim.results.limit_table import summary_rows, worst_limits
from cosim.simulation.runner import RunResult, run

TIGHT: dict[str, Any] = {
    "clock.start": "2024-07-15T12:00:00", "clock.steps": 2, "clock.window_steps": 2,
    "network.branch_rating_kva": {"711-740": 300}, "network.unbalance": {"limit_pct": 0.9, "buses": ["740", "718"]},
    "network.voltage_limits": [{"buses": ["740", "736"], "v_min_pu": 0.975}],
}  # fmt: skip


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    out = tmp_path_factory.mktemp("tight") / "out"
    return run("ieee37_stress", mode="uncoordinated", overrides=TIGHT, out=out, figures=False)


def test_ac_rows_are_the_limits_that_ac_power_flow_breaks(tight: RunResult) -> None:
    rows = tight.limits[tight.limits["source"] == "ac"]
    v = tight.voltages
    low = np.where(v["bus"].isin(["740", "736"]), 0.975, 0.95)
    assert (rows["kind"] == "voltage_low").sum() == (v["v_ac_pu"] < low - 1e-4).sum() > 0
    flows = tight.flows[tight.flows["branch"] == "711-740"]
    kva = np.hypot(flows["p_ac_kw"], flows["q_ac_kvar"])
    assert (rows["kind"] == "rating").sum() == (kva > 100.1).sum() > 0
    u = tight.unbalance[tight.unbalance["bus"].isin(["740", "718"])]
    assert (rows["kind"] == "vuf").sum() == (u["vuf_pct"] > 0.9009).sum() > 0
    assert set(rows["status"]) == {"broken"} and rows["shadow_price"].isna().all()


def test_rows_say_how_far_they_are_beyond(tight: RunResult) -> None:
    rows = tight.limits
    sign = np.where(rows["kind"].isin(["voltage_low", "unit_p_min", "unit_q_min"]), -1.0, 1.0)
    assert np.allclose(rows["beyond"], sign * (rows["value"] - rows["limit"]))
    assert np.allclose(rows["beyond_pct"], 100 * rows["beyond"] / rows["limit"])
    assert (rows.loc[rows["status"] == "broken", "beyond"] > 0).all()


def test_the_base_case_is_that_of_the_feeder_alone(tight: RunResult) -> None:
    """Each voltage limit that is listed, against a power flow without data centers and resources."""
    scale = run("ieee37_stress", mode="uncoordinated", overrides={**TIGHT, "results.flows": "none"})
    assert scale.limits.equals(tight.limits)
    rows = tight.limits[tight.limits["kind"] == "voltage_low"]
    from cosim.scenario.loading import load_scenario
    from cosim.scenario.preparation import prepare

    prepared = prepare(*load_scenario("ieee37_stress", TIGHT)).only
    circuit = AcCircuit(prepared.feeder)
    for t in range(2):
        alone = circuit.solve(float(prepared.load_scale[t]))
        for row in rows[rows["step"] == t].to_dict("records"):
            below = alone.voltages[row["element"], row["phase"]] < row["limit"] - 1e-4
            assert row["in_base_case"] == ("yes" if below else "no")
    assert {"yes", "no"} >= set(rows["in_base_case"])


def test_a_low_feeder_breaks_limits_without_any_data_center() -> None:
    result = run("ieee37", mode="uncoordinated", overrides={
        "clock.steps": 1, "clock.window_steps": 1, "network.source_pu": 0.96, "network.load_scale": {"constant": 1.0},
    })  # fmt: skip
    rows = result.limits.query("kind == 'voltage_low' and source == 'ac'")
    alone = AcCircuit(read_feeder("ieee37"))
    assert len(alone.feeder.buses) > 0
    note = next(note for note in result.notes if "without any data center" in note)
    also = (rows["in_base_case"] == "yes").sum()
    assert note.startswith("all of the" if also == len(rows) else f"{also} of the")


def test_the_worst_limit_is_the_one_that_is_broken_most(tight: RunResult) -> None:
    found = worst_limits(tight.limits, 1.0)
    broken = tight.limits[tight.limits["status"] == "broken"]
    by_element = broken.groupby(["kind", "element"])["beyond_pct"].max().sort_values(ascending=False)
    names = {"rating": "rating", "vuf": "VUF", "voltage_low": "lowest voltage"}
    expected = [f"{names[kind]} {element}" for kind, element in by_element.index[:5]]
    assert [w.name for w in found][: len(expected)] == expected
    assert len(found) == 5


def test_limits_that_bind_are_ordered_by_what_a_per_cent_of_them_saves() -> None:
    row = {"step": 0, "phase": "abc", "source": "linear", "status": "binding", "beyond": 0.0, "beyond_pct": 0.0,
           "in_base_case": "no"}  # fmt: skip
    table = pd.DataFrame([
        {**row, "kind": "rating", "element": "x", "value": 500.0, "limit": 500.0, "unit": "kVA", "shadow_price": 10.0,
         "price_unit": "USD/MVAh"},
        {**row, "kind": "vuf", "element": "y", "value": 2.0, "limit": 2.0, "unit": "%", "shadow_price": 4.0,
         "price_unit": "USD/(% h)"},
    ])  # fmt: skip
    assert [w.name for w in worst_limits(table, 1.0)] == ["VUF y", "rating x"]


def test_the_report_names_the_worst(tight: RunResult) -> None:
    assert tight.folder is not None
    text = (tight.folder / "report.html").read_text()
    for name, _, _ in summary_rows(tight.limits, 1.0):
        assert f'<th scope="row">{name}</th>' in text


def test_the_terminal_names_the_worst(tmp_path: Path) -> None:
    found = CliRunner().invoke(app, [
        "run", "ieee37_stress", "--mode", "uncoordinated", "--steps", "1", "--no-figures", "--out", str(tmp_path / "o"),
        "--set", "network.branch_rating_kva={711-740: 90}",
    ])  # fmt: skip
    assert found.exit_code == 0, found.output
    assert "rating 711-740" in found.output and "broken in 1 step" in found.output


def test_a_run_within_its_limits_has_no_summary(tmp_path: Path) -> None:
    assert summary_rows(pd.DataFrame(), 1.0) == []
