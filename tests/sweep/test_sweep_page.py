"""The page of a sweep: the numbers of its table, what failed, names as text, the same bytes again."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import cosim
from cosim.sweep.experiment import check_experiment
from cosim.sweep.pages.overview import sweep_page
from cosim.sweep.reading import Sweep, read_sweep
from cosim.sweep.run import finish
from tests.results.test_pages import data_in

from .conftest import LIMITS, MEASURES

HOSTILE = "</script><script>steal()</script>"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep whose description and factor have names that are HTML."""
    place = tmp_path_factory.mktemp("page")
    (place / "page_measures.py").write_text(MEASURES)
    (place / "mine.yaml").write_text("base: ieee37\nname: mine\nmode: uncoordinated\nclock: {steps: 1}\n")
    experiment = check_experiment({
        "name": "limits", "scenario": str(place / "mine.yaml"), "measure": "page_measures:failing",
        "description": HOSTILE,
        "factors": {"v": {"keys": "network.v_min_pu", "values": LIMITS[:4], "label": f"limit {HOSTILE}"}},
    })  # fmt: skip
    sys.path.insert(0, str(place))
    try:
        return cosim.run_sweep(experiment, place / "out", engine="serial", figures=False).root
    finally:
        sys.path.remove(str(place))
        sys.modules.pop("page_measures", None)


@pytest.fixture
def swept(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """A copy of the sweep with its page; the pictures of its report are not drawn."""
    monkeypatch.setattr("cosim.sweep.figures.overview_figures", lambda found: {})
    shutil.copytree(made, tmp_path / "out")
    finish(read_sweep(tmp_path / "out"))
    return read_sweep(tmp_path / "out")


def explorer(page: Path) -> dict[str, Any]:
    found: dict[str, Any] = data_in(page.read_text(encoding="utf-8"))["charts"][0]
    return found


def test_the_chart_holds_the_numbers_of_the_runs_that_ended_well(swept: Sweep) -> None:
    columns = {c["label"]: c["values"] for c in explorer(swept.root / "page.html")["columns"]}
    assert columns[f"limit {HOSTILE}"] == swept.ok["v"].tolist()
    assert columns["double"] == pytest.approx(swept.ok["double"].tolist())


def test_what_varies_comes_first_and_key_figures_are_drawn_against_it(swept: Sweep) -> None:
    (section,) = [s for s in sweep_page(swept).sections if s.title == "Figures"]
    (chart,) = section.charts
    labels = [c.label for c in chart.columns]  # type: ignore[union-attr]
    assert [labels[chart.x[0]], labels[chart.y[0]]] == [f"limit {HOSTILE}", "double"]  # type: ignore[union-attr]


def test_every_run_has_a_row_and_failed_ones_their_reason(swept: Sweep) -> None:
    tables = {t.title: t for s in sweep_page(swept).sections for t in s.tables}
    assert [row[0].text for row in tables["All runs"].rows] == swept.runs["run"].tolist()
    failed = {row[0].text: row[1].text for row in tables["Reasons"].rows}
    assert sorted(failed.values()) == ["KeyError: 'a mistake'", "RunFailure: the solver gave up"]
    assert all((swept.root / row[2].link).is_file() for row in tables["Reasons"].rows)


def test_a_row_links_to_the_page_of_its_run_where_it_has_one(swept: Sweep) -> None:
    run = swept.ok["run"].iloc[0]
    (swept.root / "runs" / f"run={run}" / "page.html").write_text("x")
    rows = next(t for s in sweep_page(swept).sections for t in s.tables if t.title == "All runs").rows
    assert {row[0].text for row in rows if row[0].link} == {run}


def test_names_are_text(swept: Sweep) -> None:
    assert "steal()</script>" not in (swept.root / "page.html").read_text(encoding="utf-8")


def test_the_page_is_an_output_of_the_same_bytes_each_time(swept: Sweep) -> None:
    page = swept.root / "page.html"
    before = page.read_bytes()
    assert {"page.html", "plotly.min.js"} <= set(json.loads((swept.root / "outputs.json").read_text())["files"])
    finish(read_sweep(swept.root))
    assert page.read_bytes() == before


def test_without_figures_there_is_no_page(swept: Sweep) -> None:
    assert "page.html" in (swept.root / "report.html").read_text(encoding="utf-8")
    finish(swept, figures=False)
    assert not (swept.root / "page.html").exists()
    assert "page.html" not in (swept.root / "report.html").read_text(encoding="utf-8")


def test_a_sweep_that_is_not_complete_has_a_page_too(swept: Sweep) -> None:
    run = swept.root / "runs" / f"run={swept.runs['run'][0]}"
    run.rename(run.parent / ".gone")
    page = sweep_page(read_sweep(swept.root))
    assert {"label": "not done", "value": "1"} in page.headline
