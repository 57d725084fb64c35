"""The study of delay and loss, on few hours and few cases."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from cosim.sweep.findings import CONCLUSION_FILE
from cosim.sweep.reading import Sweep

from .conftest import small


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    changes = {"clock.start": "2024-07-15T17:00:00", "clock.steps": 1, "clock.gate_s": 600}
    return small("latency", tmp_path_factory.mktemp("latency"), changes, delay_s=[0.05, 300.0], loss=[0.0, 0.3])


@pytest.fixture(scope="module")
def table(found: Sweep) -> pd.DataFrame:
    return pd.read_csv(found.root / "comparison.csv")


def test_every_case_is_there(table: pd.DataFrame) -> None:
    assert len(table) == 2 * 2 * 2


def test_a_good_channel_agrees_and_one_slower_than_the_gate_falls_back(table: pd.DataFrame) -> None:
    agreed = table.groupby(["delay_s", "loss"])["agreed"]
    assert agreed.min()[0.05, 0.0] == 1 and agreed.max()[300.0, 0.3] == 0


def test_agreement_is_worth_what_it_promises(table: pd.DataFrame) -> None:
    assert table.loc[table["agreed"] == 1, "welfare_gap"].max() <= 1e-5


def test_all_work_is_served_whatever_the_channel_does(table: pd.DataFrame) -> None:
    assert table["unserved_mwh"].max() <= 1e-7 and table["late_mwh"].max() <= 1e-7


def test_it_leaves_figures_and_words(found: Sweep) -> None:
    assert {p.name for p in Path(found.root / "figures").iterdir()} == {"rounds.png", "welfare_gap.png"}
    assert "not always agreement" in (found.root / CONCLUSION_FILE).read_text()
