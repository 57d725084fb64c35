"""The list of all results: what each is, how it stands, and two runs to tick that are to be compared."""

from __future__ import annotations

import math

from cosim.results.folders import PAGE_FILE
from cosim.results.pages.page import Cell, Page, Section, Table
from cosim.view.catalogue import Catalogue, Entry, utc
from cosim.view.inside import linked

_COLUMNS = [
    ("compare", False), ("where", False), ("what", False), ("state", False), ("scenario", False), ("about", False),
    ("social cost, USD", True), ("lowest, pu", True), ("broken", True), ("started (UTC)", False),
]  # fmt: skip
_KINDS = {"run": "run", "comparison": "comparison", "sweep": "sweep", "hosting": "hosting study",
          "evaluation": "out of sample"}  # fmt: skip


def list_page(catalogue: Catalogue, name: str, script: str) -> Page:
    """The page of all results below a folder.

    Args:
        name: of the folder. script: address of the script that keeps the page fresh.
    """
    entries = catalogue.entries()
    at_work = sum(entry.state == "under way" for entry in entries)
    failed = sum(entry.state == "failed" for entry in entries)
    counts = [("results", len(entries)), ("under way", at_work), ("failed", failed)]
    told = [catalogue.cut] if catalogue.cut else []
    if not entries:
        told.append("There are no results here yet; what is run into this folder appears by itself.")
    return Page(
        title=f"Results in {name}",
        lead="Click a name to open it; tick two runs to compare them. The list follows what is under way. Of runs it "
        "has the social cost, and of AC power flow the lowest voltage and the number of limits that are broken.",
        headline=[{"label": label, "value": f"{count:,}"} for label, count in counts],
        told=told,
        sections=[Section("All results", tables=[
            Table("Runs, comparisons, sweeps and studies", "", _COLUMNS, [_row(entry) for entry in entries], find=True,
                  compare="compare"),
        ])],
        follows=script,
    )  # fmt: skip


def _row(entry: Entry) -> list[Cell]:
    path = linked(entry.address)
    live = entry.state in ("under way", "killed", "incomplete")
    page = f"at/{path}/{PAGE_FILE}" if path else f"at/{PAGE_FILE}"
    link = f"live/{path}" if live else page
    figures = list(entry.figures) or [("", None)] * 3
    whole = entry.kind == "run" and entry.state == "ok"
    return [
        Cell(f"compare {entry.address}", tick=entry.address or ".") if whole else Cell(""),
        Cell(entry.address or "this folder", link="" if entry.state == "unreadable" else link),
        Cell(_KINDS[entry.kind]),
        Cell(entry.state),
        Cell(entry.name),
        Cell(f"{entry.about}: {entry.reason}" if entry.reason and entry.about else entry.about or entry.reason),
        *(Cell(text, math.inf if value is None else value) for text, value in figures),
        Cell(utc(entry.when)),
    ]
