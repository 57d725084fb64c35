"""A sweep run again from its own folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

import cosim
from cosim.errors import InputError

MEASURE = """
import pandas as pd
from cosim.sweep.worker import Outcome

def measured(scenario, path):
    table = pd.read_csv(path.parent / scenario.market.price_usd_per_mwh.file)
    return Outcome({"mean_usd": float(table["usd_per_mwh"].mean()) + scenario.seed}, {"steps": table})
"""
EXPERIMENT = """
name: mine
scenario: case/mine.yaml
measure: my_measure:measured
factors:
  market.price_usd_per_mwh.file: [low.csv, ../high.csv]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a sweep whose originals are gone."""
    place = tmp_path / "originals"
    (place / "case").mkdir(parents=True)
    (place / "mine.yaml").write_text(EXPERIMENT)
    (place / "my_measure.py").write_text(MEASURE)
    (place / "case" / "mine.yaml").write_text(
        "base: ieee37\nname: mine\nmarket: {price_usd_per_mwh: {file: low.csv, column: usd_per_mwh}}\n"
    )
    for name, price in (("case/low.csv", 20), ("high.csv", 80)):
        (place / name).write_text("usd_per_mwh\n" + f"{price}\n" * 24)
    cosim.run_sweep(place / "mine.yaml", tmp_path / "out", engine="serial", figures=False)
    shutil.rmtree(place)
    return tmp_path / "out"


@pytest.mark.slow
def test_a_sweep_is_the_same_again_from_its_folder_alone(folder: Path, tmp_path: Path) -> None:
    found = cosim.rerun(folder, tmp_path / "again", figures=False, workers=1)
    assert found.identical and len(found.compared) == 4 and sorted(found.result.runs["mean_usd"] > 1) == [True] * 2
    live = cosim.read(folder)
    pd.testing.assert_frame_equal(found.result.table("steps")["usd_per_mwh"].to_frame(),
                                  live.steps["usd_per_mwh"].to_frame())  # fmt: skip
    assert "steps" in dir(live)


def test_a_sweep_with_another_measurement_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "inputs" / "my_measure.py").write_text(MEASURE.replace("mean()", "max()"))
    with pytest.raises(InputError, match="not what it was"):
        cosim.rerun(folder, tmp_path / "again")
