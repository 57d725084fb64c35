"""The study of delay and loss, on few hours and few cases."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosim.experiments import latency
from cosim.experiments.common import CONCLUSION_FILE, Findings, write_findings

SHORT = {"clock.start": "2024-07-15T17:00:00", "clock.steps": 2, "clock.gate_s": 600}


@pytest.fixture(scope="module")
def found() -> Findings:
    return latency.study(delays_s=(0.05, 300.0), losses=(0.0, 0.3), overrides=SHORT)


def test_every_case_is_there(found: Findings) -> None:
    assert len(found.tables["comparison"]) == 2 * 2 * 2


def test_a_good_channel_agrees_and_one_slower_than_the_gate_falls_back(found: Findings) -> None:
    table = found.tables["comparison"].set_index(["delay_s", "loss"])
    assert table.loc[(0.05, 0.0), "agreed"].all() and not table.loc[(300.0, 0.3), "agreed"].any()


def test_agreement_is_worth_what_it_promises(found: Findings) -> None:
    table = found.tables["comparison"]
    assert table.loc[table["agreed"], "welfare_gap"].max() <= 1e-5


def test_all_work_is_served_whatever_the_channel_does(found: Findings) -> None:
    table = found.tables["comparison"]
    assert table["unserved_mwh"].max() <= 1e-7 and table["late_mwh"].max() <= 1e-7


def test_it_leaves_tables_figures_and_words(found: Findings, tmp_path: Path) -> None:
    folder = write_findings(found, tmp_path / "latency")
    assert {p.name for p in (folder / "figures").iterdir()} == {"rounds.png", "welfare_gap.png"}
    assert "no agreement" in (folder / CONCLUSION_FILE).read_text()
