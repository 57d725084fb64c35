"""The page of a sweep: key figures against what varies, a table of its runs, what failed and why."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cosim.errors import RunFailure
from cosim.results.folders import PAGE_FILE
from cosim.results.kpis import MEASURES
from cosim.results.pages.explorer import Column, Explorer
from cosim.results.pages.page import (
    LIBRARY_FILE,
    TO_REPORT,
    Cell,
    Page,
    Section,
    Table,
    origin,
    place_library,
    rendered,
    texts,
)
from cosim.results.record import versions
from cosim.sweep.findings import CONCLUSION_FILE
from cosim.sweep.reading import Sweep
from cosim.sweep.report import KPIS, cell_text, factor_row, markdown_html, plan_rows, where
from cosim.sweep.storage.store import LOG_FILE, Store

_MOST_ROWS = 5_000
_MOST_CELLS = 60_000
_MOST_POINTS = 20_000
_MOST_FAILURES = 500
Link = Callable[[str], str]
"""Address of the page of a run by its key, relative to the sweep's folder; nothing if it has none."""


def write_sweep_page(found: Sweep) -> list[str]:
    """Write ``page.html`` and the drawing library into the folder of a sweep.

    Returns:
        Names of the files, relative to the sweep's folder.

    Raises:
        StoreFailure: the folder cannot be written.
    """
    store = Store(found.root)
    store.write_text(PAGE_FILE, rendered(sweep_page(found)))
    try:
        place_library(found.root / LIBRARY_FILE)
    except RunFailure:
        raise
    except OSError as error:
        raise store.failure(error.strerror or str(error)) from None
    return [PAGE_FILE, LIBRARY_FILE]


def sweep_page(found: Sweep, link: Link | None = None) -> Page:
    """The page of a sweep, complete or not.

    Args:
        link: of the page of a run; by default a file ``page.html`` in the folder of the run, where there is one.
    """
    linked = link or (lambda key: _page_beside(found.root, key))
    figures = _figures(found)
    page = Page(
        title=found.experiment.name.replace("_", " "),
        lead=" ".join(found.experiment.description.split()),
        links=[TO_REPORT],
        headline=_counts(found.runs["status"]),
    )
    conclusion = found.root / CONCLUSION_FILE
    if conclusion.is_file():
        text = conclusion.read_text(encoding="utf-8", errors="replace")
        page.sections.append(Section("Conclusion", html=markdown_html(text)))
    page.sections += [
        Section("Figures", _explorers(found, figures)),
        Section("Runs that failed", tables=[_failures(found)]),
        Section("Runs", tables=[_runs(found, figures, linked)]),
        Section("Plan", tables=[
            texts("What was asked for", "", ("what", "value"), plan_rows(found)),
            texts("What varies", "", ("factor", "values", "sets"),
                  [(f["name"], f["levels"], f["sets"]) for f in map(factor_row, *_items(found))]),
        ]),
        origin([
            ("experiment", found.experiment.name), ("versions", ", ".join(f"{k} {v}" for k, v in versions().items())),
        ]),
    ]  # fmt: skip
    return page


def _items(found: Sweep) -> tuple[list[str], list[Any]]:
    factors = found.experiment.factors
    return list(factors), list(factors.values())


def _counts(status: pd.Series) -> list[dict[str, str]]:
    counts = status.value_counts()
    items = [("runs", len(status)), ("ended well", int(counts.get("ok", 0)))]
    further = (("failed", "failed"), ("pending", "not done"))
    items += [(name, int(counts[key])) for key, name in further if key in counts]
    return [{"label": label, "value": f"{value:,}"} for label, value in items]


def _page_beside(root: Path, key: str) -> str:
    place = Store(root).folder(key) / PAGE_FILE
    return place.relative_to(root).as_posix() if place.is_file() else ""


def _figures(found: Sweep) -> list[str]:
    """Key figures that are numbers and known of a run: those that vary, the main ones first, then the others."""
    known = [n for n in found.kpis if pd.api.types.is_numeric_dtype(found.runs[n]) and found.runs[n].notna().any()]
    ordered = [n for n in KPIS if n in known] + [n for n in known if n not in KPIS]
    return sorted(ordered, key=lambda n: found.runs[n].nunique() < 2)


def _varied(found: Sweep) -> list[str]:
    """Columns that tell runs apart: factors, mode, seed; those that vary first."""
    names = [*found.factors, "mode", *(["replicate"] if found.experiment.replicates else [])]
    return sorted(names, key=lambda n: found.runs[n].astype(str).nunique() < 2)


def _explorers(found: Sweep, figures: Sequence[str]) -> list[Explorer]:
    """A chart of any key figure against anything that varies, if a run has ended well."""
    rows, varied = found.ok.head(_MOST_POINTS), _varied(found)
    if not len(rows) or not figures:
        return []
    columns = [Column(_label(found, n), _plain(rows[n])) for n in (*varied, *figures)]
    keys, numbers = range(len(varied)), range(len(varied), len(columns))
    cut = f" The first {_MOST_POINTS:,} runs are shown." if len(found.ok) > _MOST_POINTS else ""
    colours = [*keys[1:], *keys[:1]]  # what varies beside the first, which is drawn against
    text = [f"run {key}" for key in rows["run"]]
    return [
        Explorer("Key figures against what varies", f"One point for each run that ended well.{cut}", columns, text,
                 list(numbers), [*keys, *numbers], [*colours, *numbers])
    ]  # fmt: skip


def _label(found: Sweep, name: str) -> str:
    factor = found.experiment.factors.get(name)
    if factor is not None:
        return factor.label or name
    if name in MEASURES:
        unit = MEASURES[name].unit
        return MEASURES[name].label + ("" if unit in ("1", "count") else f" ({unit})")
    return name.replace("_", " ")


def _plain(values: pd.Series) -> list[float | str | None]:
    """Values as JSON knows them: numbers of seven digits, texts, None for what is not there."""
    return [_plain_value(v) for v in values]


def _plain_value(value: Any) -> float | str | None:
    if value is None or value is pd.NA:
        return None
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return float(f"{value:.7g}") if math.isfinite(value) else None
    return str(value)


def _runs(found: Sweep, figures: Sequence[str], link: Link) -> Table:
    rows = found.runs.head(_MOST_ROWS)
    heads = [*_varied(found), "status"]
    shown = list(figures)[: max(len(KPIS), _MOST_CELLS // max(1, len(rows)) - len(heads))]
    told = []
    if len(rows) < len(found.runs):
        told.append(f"The first {len(rows):,} of {len(found.runs):,} runs.")
    if len(shown) < len(figures):
        told.append(f"{len(shown)} of {len(figures)} key figures.")
    told.append("Names are those of runs.csv, which has all." if told else "Names are those of runs.csv.")
    columns = [("run", False), *((n, n not in ("mode", "status") and _numeric(rows[n])) for n in heads),
               *((n, True) for n in shown)]  # fmt: skip
    body = []
    for row in rows.to_dict("records"):
        cells = [Cell(row["run"], link=link(row["run"]) if row["status"] != "pending" else "")]
        cells += [_cell(n, row[n], number) for n, (_, number) in zip((*heads, *shown), columns[1:], strict=True)]
        body.append(cells)
    return Table("All runs", " ".join([*told, "A click on a head sorts."]), columns, body, find=True)


def _numeric(values: pd.Series) -> bool:
    return all(v is None or v is pd.NA or isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _cell(name: str, value: Any, number: bool) -> Cell:
    if not number:
        return Cell(cell_text(name, value))
    known = _plain_value(value)
    return Cell(cell_text(name, value), math.inf if known is None or isinstance(known, str) else known)


def _failures(found: Sweep) -> Table:
    """Runs that failed, or are damaged, each with its reason and its log."""
    failed = found.runs[found.runs["error"].notna()]
    text = f"The first {_MOST_FAILURES} of {len(failed):,}." if len(failed) > _MOST_FAILURES else ""
    rows = []
    for row in failed.head(_MOST_FAILURES).to_dict("records"):
        log = Store(found.root).folder(row["run"]) / LOG_FILE
        link = log.relative_to(found.root).as_posix() if log.is_file() else ""
        cells = Cell(where(row, found.experiment)), Cell(str(row["error"])), Cell("log" if link else "–", link=link)
        rows.append(cells)
    return Table("Reasons", text, [("run", False), ("why", False), ("log", False)], rows)
