"""An interactive page as a file: what it holds, its policy of fetching nothing, and the drawing library beside it."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from markupsafe import Markup

from cosim.errors import RunFailure
from cosim.results.folders import PAGE_FILE, REPORT_FILE
from cosim.results.pages.charts import Chart
from cosim.results.pages.explorer import Explorer
from cosim.results.pages.keys import KEYS_FILE, linked, write_keys
from cosim.results.report import page_template

LIBRARY_FILE = "plotly.min.js"
TO_REPORT = ("Report with figures for print", REPORT_FILE)
"""Link from a page to the report beside it."""
_MANY = 1500
"""Buses from which the graphics card draws (as in ``page.js``); its programs are compiled in the page."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table: its text, the number it is sorted by, the page it links to, what a tick in it chooses."""

    text: str
    value: float | None = None
    link: str = ""
    tick: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table that a reader may sort: (head, whether numbers) of its columns, and its rows.

    Attributes:
        find: whether a reader may look for rows by words.
        compare: address that gets the two rows that are ticked, if any can be.
    """

    title: str
    text: str
    columns: Sequence[tuple[str, bool]]
    rows: Sequence[Sequence[Cell]]
    find: bool = False
    compare: str = ""


@dataclass(slots=True)
class Section:
    """A part of a page under one head: charts, tables, plain sentences; ``html`` comes before them, as it is."""

    title: str
    charts: Sequence[Chart | Explorer] = ()
    tables: Sequence[Table] = ()
    lines: Sequence[str] = ()
    html: str = ""


def texts(title: str, text: str, heads: Sequence[str], rows: Iterable[Iterable[object]]) -> Table:
    """A table of texts alone."""
    return Table(title, text, [(head, False) for head in heads], [[Cell(str(cell)) for cell in row] for row in rows])


def origin(rows: Iterable[Iterable[object]]) -> Section:
    """How what a page shows was made: (what, value)."""
    return Section("Origin", tables=[texts("How this was made", "", ("what", "value"), rows)])


@dataclass(slots=True)
class Page:
    """What a page shows.

    Attributes:
        links: (text, target) to other pages, relative to this one.
        told: what a reader should know first.
        maps: feeders as :func:`cosim.results.pages.grids.map_of` makes them; ``names`` of them if there are several.
        times, iso: times of the steps that maps show, as text for a reader and for a time axis.
        less: run that the map takes off the first one when the page is opened.
        follows: address of a script that keeps the page fresh, of a page that is served.
    """

    title: str
    lead: str
    links: Sequence[tuple[str, str]] = ()
    error: object = None
    headline: Sequence[dict[str, str]] = ()
    told: Sequence[str] = ()
    maps: Sequence[dict[str, Any]] = ()
    names: Sequence[str] = ("",)
    note_map: str = ""
    times: Sequence[str] = ()
    iso: Sequence[str] = ()
    sections: list[Section] = field(default_factory=list)
    scenario_text: str = ""
    less: str = ""
    follows: str = ""


def write_page(page: Page, folder: Path, library: str = LIBRARY_FILE) -> Path:
    """Write ``page.html`` into a folder, and the drawing library to where it names it; beside that the reference
    page of keys, to which those of the effective scenario are links.

    Args:
        library: relative to the folder; several pages share one.
    """
    text = rendered(page, library)
    place_library(folder / library)
    if page.scenario_text:
        write_keys(folder / _keys_beside(library))
    path = folder / PAGE_FILE
    path.write_text(text, encoding="utf-8")
    return path


def rendered(page: Page, library: str = LIBRARY_FILE) -> str:
    """The page as HTML.

    It fetches nothing but the drawing library: its policy forbids everything else, and scripts other than its own.

    Args:
        library: address of the drawing library, relative to the page.
    """
    script = _script()
    draws = bool(page.maps) or any(section.charts for section in page.sections)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    large = any(len(m["buses"]) > _MANY for m in page.maps)
    policy = (
        f"default-src 'none'; script-src 'self' file: 'sha256-{digest}'{' ' + _EVAL if large else ''}; "
        f"style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; {_SERVED if page.follows else _ALONE}"
    )
    charts = [chart for section in page.sections for chart in section.charts]
    numbers = iter(range(len(charts)))
    sections = [
        {"title": s.title, "charts": [(next(numbers), chart) for chart in s.charts],
         "tables": [table for table in s.tables if table.rows], "lines": s.lines, "html": Markup(s.html)}
        for s in page.sections if s.charts or s.lines or s.html or any(table.rows for table in s.tables)
    ]  # fmt: skip
    data = {"maps": page.maps, "times": page.times, "iso": page.iso, "charts": [c.data() for c in charts],
            **({"less": page.less} if page.less else {})}  # fmt: skip
    keys = _keys_beside(library)
    content = {
        "title": page.title, "lead": page.lead, "links": page.links, "error": page.error, "headline": page.headline,
        "told": page.told, "maps": page.names if page.maps else (), "steps": len(page.times), "note_map": page.note_map,
        "sections": sections, "scenario": linked(page.scenario_text, keys), "keys": keys, "policy": policy,
        "library": library if draws or not page.follows else "", "follows": page.follows,
        "data": Markup(_for_script(data)), "script": Markup(script),
    }  # fmt: skip
    return page_template("pages/page.html.j2").render(content)


def _keys_beside(library: str) -> str:
    """Where the reference page of keys is: beside the drawing library."""
    return library.removesuffix(LIBRARY_FILE) + KEYS_FILE


_EVAL = "'unsafe-eval'"
_ALONE, _SERVED = "form-action 'none'", "form-action 'self'; connect-src 'self'"


def place_library(path: Path) -> None:
    """Copy the drawing library to a path unless it is there.

    Raises:
        RunFailure: it is not installed.
    """
    source = library_source()
    if not path.is_file() or path.stat().st_size != source.stat().st_size:
        shutil.copyfile(source, path)


def library_source() -> Path:
    """The drawing library as it is installed.

    Raises:
        RunFailure: it is not.
    """
    found = importlib.util.find_spec("plotly")  # finds the package without importing it, which takes long
    home = next(iter((found and found.submodule_search_locations) or ()), "")
    source = Path(home) / "package_data" / LIBRARY_FILE
    if not home or not source.is_file():
        raise RunFailure(f"{LIBRARY_FILE}, which pages draw with, is not there: install plotly again")
    return source


@cache
def _script() -> str:
    root = resources.files("cosim.results.pages")
    return "".join((root / name).read_text(encoding="utf-8") for name in ("tables.js", "packed.js", "page.js"))


def _for_script(data: object) -> str:
    """JSON that ends no script element, whatever its texts hold."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
