"""Studies from an input to a folder, on the IEEE 37-node feeder."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import cosim
from cosim.errors import InputError
from cosim.hosting.study.capacity import Battery
from cosim.hosting.study.inputs import Clock, read_inputs
from cosim.hosting.study.report import write_hosting_report
from cosim.hosting.study.result import Hosting, read_hosting
from cosim.hosting.study.study import hosting_study

LOAD = "profiles/load_residential_commercial:scale"
SMALL: dict[str, Any] = {"buses": ["740", "702"], "steps": 4, "start": "2023-01-01T17:00:00", "load": LOAD}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("hosting") / "found"
    hosting_study("ieee37", **SMALL, pairs=["740+718"], battery=Battery(0.2, 0.1), out=out)
    return out


@pytest.fixture(scope="module")
def found(folder: Path) -> Hosting:
    return read_hosting(folder)


def test_a_folder_gives_back_what_the_study_returned(found: Hosting, tmp_path: Path) -> None:
    again = hosting_study("ieee37", **SMALL, pairs=["740+718"], battery=Battery(0.2, 0.1))
    for name, table in again.tables().items():
        pd.testing.assert_frame_equal(getattr(found, name), table)
    pd.testing.assert_frame_equal(found.hourly_limits, again.hourly_limits)
    pd.testing.assert_frame_equal(found.limits_over_all(["740"]), again.limits_over_all(["740"]))


def test_the_firm_capacity_is_the_least_limit_in_the_table(found: Hosting) -> None:
    least = found.hourly_limits.groupby("connection")["limit_kw"].min()
    assert found.summary()["firm_kw"].to_dict() == pytest.approx(least.to_dict(), abs=0.11)


def test_a_notebook_shows_the_summary_and_a_line_says_what_it_is(found: Hosting) -> None:
    shown = found._repr_html_()
    for connection, firm_kw in found.summary()["firm_kw"].items():
        assert f"<th>{connection}</th>" in shown and f"{firm_kw:.1f}" in shown
    assert len(repr(found)) < 100


def test_the_report_has_every_figure_and_fetches_nothing(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    assert page.count("data:image/png;base64,") == len(list((folder / "figures").glob("*.png"))) >= 4
    assert not re.search(r"""(src|href)=["']https?://""", page)
    assert "740+718" in page and "nan" not in re.findall(r"\w+", re.sub(r"base64,[^\"]+", "", page))


def test_a_report_is_redone_from_its_folder_alone(folder: Path) -> None:
    before = (folder / "report.html").read_bytes()
    assert write_hosting_report(folder).read_bytes() == before


def test_a_report_without_figures_leaves_none_of_an_earlier_one(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    write_hosting_report(copy, figures=False)
    assert list((copy / "figures").iterdir()) == [] and list((folder / "figures").iterdir()) != []


def test_cosim_reads_the_folder_back(folder: Path, found: Hosting) -> None:
    back = cosim.read(folder)
    assert isinstance(back, Hosting) and back.record == found.record


def test_a_folder_of_results_is_replaced_only_by_force(folder: Path) -> None:
    with pytest.raises(InputError, match="exists"):
        hosting_study("ieee37", **SMALL, out=folder)


@pytest.mark.parametrize(
    ("change", "told"),
    [({"buses": ["nowhere"]}, "no such bus"), ({"buses": ["66", "66"]}, "twice"), ({"pairs": ["66"]}, "not a pair"),
     ({"budgets_pct": [0]}, "budgets"), ({"budgets_pct": [1, 1]}, "budgets"), ({"sun": 1.0}, "photovoltaic"),
     ({"load": "x.csv"}, "names its file"), ({"overrides": {"seed": 2}}, "for scenarios"), ({"profile": 0.0}, "wants"),
     ({"profile": 1.5}, "out of range"), ({"start": "noon"}, "date"), ({"v_min_pu": 1.2}, "v_min_pu"),
     ({"contingencies": ["capacitor c off"]}, "no such name"), ({"largest_kw": -1.0}, "largest")],
)  # fmt: skip
def test_wrong_input_is_refused_and_leaves_nothing(change: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told):
        hosting_study("ieee123", **{**SMALL, "buses": ["66"], **change}, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_name_that_is_no_input_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'ieee37"):
        read_inputs("ieee3", Clock())


def test_a_scenario_brings_its_load_its_sun_and_its_limits() -> None:
    inputs = read_inputs("ieee37", Clock(), v_min_pu=0.94)
    assert inputs.around.steps == 24 and inputs.around.limits.voltage.v_min_pu == 0.94
    noon = sum(i.p_kw[12] for i in inputs.around.injections)
    assert -300 < noon < -100 and sum(i.p_kw[0] for i in inputs.around.injections) == 0
    assert any("dc740" in note for note in inputs.notes) and any("dg720" in note for note in inputs.notes)


def test_a_year_has_365_days_and_series_of_one_s_own_take_the_place_of_those_of_the_scenario() -> None:
    inputs = read_inputs("ieee37", Clock(year=True, step_s=900), load=0.5, sun=0.25)
    assert inputs.around.steps == 35040 and (inputs.around.load_scale == 0.5).all()
    assert np.ptp(sum(i.p_kw for i in inputs.around.injections)) == 0
    assert sum(i.p_kw[0] for i in inputs.around.injections) == pytest.approx(-0.25 * 300)


def test_a_shipped_feeder_that_is_no_scenario_is_read_with_its_own_ratings() -> None:
    inputs = read_inputs("ieee123", Clock())
    assert inputs.around.limits.phase_kva and any("no series of load" in note for note in inputs.notes)


def test_reactive_power_at_the_connection_makes_no_hourly_limit_smaller() -> None:
    found = hosting_study("ieee37", buses=["740"], steps=1, start="2024-07-15T18:00:00", load=LOAD, svg_kvar=200.0,
                          battery=Battery(0.2, 0.1))  # fmt: skip
    limit = found.hourly_limits.set_index("means")["limit_kw"]
    assert limit["svg"] > 1.05 * limit["none"]
    assert {"svg", "svg+battery"} <= set(found.capacity["means"])


@pytest.mark.slow
def test_the_number_of_processes_changes_no_byte_of_a_table(tmp_path: Path) -> None:
    for jobs in (1, 2):
        hosting_study("ieee37", **SMALL, contingencies=["regulator reg1 at tap 0"], jobs=jobs, out=tmp_path / str(jobs))
    files = sorted(p.name for p in (tmp_path / "1").iterdir() if p.suffix in (".parquet", ".csv"))
    assert len(files) >= 10
    for name in files:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), name
