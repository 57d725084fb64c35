"""Reports: one file, everything in it, made from the folder alone."""

from __future__ import annotations

import base64
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cosim.errors import InputError, RunFailure
from cosim.results.comparison import write_comparison
from cosim.results.folders import RunFolder
from cosim.results.record import ErrorNote, Record
from cosim.results.report import CAPTIONS, write_report, write_run_report
from cosim.results.tables import Layout, Tables

from .conftest import SCENARIO_TEXT, make_record, save_run
from .test_figures import ALL_FIGURES


class Page(HTMLParser):
    """What a page holds: its tags, addresses that it loads, pages that it links to, and tags that were not closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.addresses: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = self.links if tag == "a" else self.addresses
        found += [value or "" for name, value in attrs if name in ("href", "src", "srcset", "data")]
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tables: Tables, layout: Layout) -> Path:
    """A run folder with its report."""
    place = save_run(tmp_path_factory.mktemp("reports") / "run", tables, layout)
    write_report(place)
    return place


def test_a_report_without_figures_has_its_tables_and_leaves_no_old_figures(
    folder: Path, tmp_path: Path, tables: Tables, layout: Layout
) -> None:
    place = save_run(tmp_path / "run", tables, layout)
    write_report(place, figures=False)
    assert not (place / "figures").exists()
    shutil.copytree(folder / "figures", place / "figures")
    with_figures, without = Page(folder / "report.html"), Page(place / "report.html")
    assert "img" in with_figures.tags and "img" not in without.tags
    assert without.tags.count("tr") == with_figures.tags.count("tr")
    write_report(place, figures=False)
    assert list((place / "figures").iterdir()) == []


@pytest.fixture
def page(folder: Path) -> Page:
    return Page(folder / "report.html")


def test_a_report_shows_every_figure_of_the_run(page: Page, folder: Path) -> None:
    for name in ALL_FIGURES:
        image = (folder / "figures" / f"{name}.png").read_bytes()
        assert base64.b64encode(image).decode() in page.text, name


def test_a_report_needs_nothing_but_itself(page: Page) -> None:
    assert page.addresses and all(a.startswith("data:image/png;base64,") for a in page.addresses)
    assert page.links == ["page.html"]
    assert not re.search(r"https?://|@import|url\(", page.text)
    assert not {"script", "link", "iframe"} & set(page.tags)


def test_a_report_is_well_formed_and_fits_a_phone(page: Page) -> None:
    assert page.open == []
    assert 'name="viewport"' in page.text


def test_key_figures_notes_certificate_and_provenance_are_there(page: Page) -> None:
    key_figures = ("social_cost_usd", "93.00", "USD/MWh")
    certificate = ("Certificate", "errors.cost", "20 values")
    provenance = ("piqp", "prices.parquet", "decentralized-1-0")
    for text in (*key_figures, "price cap in step 2", *certificate, *provenance):
        assert text in page.text, text


def test_prices_beyond_the_cap_are_explained_below_the_key_figures_of_prices(run_folder: Path) -> None:
    note = "DLMPs are beyond network.price_cap_usd_per_mwh = 2,000 USD/MWh in steps 1"
    replace(Record.read(run_folder), notes=("nothing else", note)).write(run_folder)
    figures = write_run_report(run_folder, figures=False).read_text().partition("<h2>Key figures</h2>")[2]
    assert figures.index("dlmp_max_usd_per_mwh") < figures.index(note) < figures.index("rounds_median")
    assert "nothing else" not in figures


def test_what_a_user_wrote_is_shown_as_text(page: Page) -> None:
    assert "&lt;b&gt;bold &amp; plain&lt;/b&gt;" in page.text


def test_a_report_made_elsewhere_from_the_same_run_is_the_same(page: Page, run_folder: Path) -> None:
    assert write_report(run_folder).read_text(encoding="utf-8") == page.text


def test_figures_that_are_no_longer_made_do_not_stay(tmp_path: Path, record: Record) -> None:
    replace(record, status="failed").write(tmp_path)
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "work.png").write_bytes(b"old")
    (tmp_path / "figures" / "mine.png").write_bytes(b"a user's own")
    write_report(tmp_path)
    assert [p.name for p in (tmp_path / "figures").iterdir()] == ["mine.png"]


def test_every_figure_has_a_caption(tables: Tables, layout: Layout) -> None:
    assert set(CAPTIONS) >= ALL_FIGURES


def test_a_failed_run_has_a_report_that_says_why(tmp_path: Path, record: Record) -> None:
    with pytest.raises(RunFailure), RunFolder(tmp_path / "out", replace(record, kpis={}), SCENARIO_TEXT):
        raise RunFailure("no solution was found")
    page = Page(write_run_report(tmp_path / "out"))
    assert "no solution was found" in page.text and "img" not in page.tags


def test_a_comparison_report_shows_the_modes_side_by_side(
    tmp_path: Path, tables: Tables, layout: Layout
) -> None:
    records = {m: make_record(tables, m) for m in ("uncoordinated", "welfare")}
    compared = ("steps", "voltages", "demand", "unbalance")  # what is drawn of several modes
    for mode, record in records.items():
        with RunFolder(tmp_path / mode, record, SCENARIO_TEXT) as place:
            Tables.from_frames({name: getattr(tables, name) for name in compared}).write(place.path)
            place.save(record, layout)
    failed = replace(make_record(tables, "centralized"), status="failed", kpis={}, certificate=None,
                     error=ErrorNote("RunFailure", "time ran out"))  # fmt: skip
    (tmp_path / "centralized").mkdir()
    failed.write(tmp_path / "centralized")
    write_comparison({**records, "centralized": failed}, tmp_path)
    page = Page(write_report(tmp_path))
    assert "cost_by_mode" in page.text and "voltage_by_mode" in page.text
    assert "centralized: failed. time ran out" in page.text
    assert all(a.startswith("data:image/png;base64,") for a in page.addresses)
    assert page.links == ["page.html", *(f"{mode}/report.html" for mode in records), "centralized/report.html"]
    for mode in ("uncoordinated", "welfare", "centralized"):
        assert (tmp_path / mode / "report.html").is_file()


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no results"):
        write_report(tmp_path)
