"""The interactive page of a hosting study: what each bus can host on a map, and how it lasts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cosim.hosting.study.report import base_table, cases_table, headline, provenance, summary_table, title_of
from cosim.hosting.study.result import Hosting, read_hosting
from cosim.hosting.study.schemas import ALL_CASES
from cosim.results.pages.grids import places
from cosim.results.pages.packing import pack
from cosim.results.pages.page import TO_REPORT, Cell, Page, Section, Table, origin, write_page

_DIGITS = 1


def write_hosting_page(folder: str | Path) -> Path:
    """Write ``page.html`` from what is in the folder of a hosting study; returns its path.

    Raises:
        InputError: the folder holds none, or a table that cannot be read.
    """
    return write_page(hosting_page(folder), Path(folder))


def hosting_page(folder: str | Path) -> Page:
    """The page of a hosting study, from its folder; errors as :func:`write_hosting_page`."""
    found = read_hosting(folder)
    record = found.record
    return Page(
        title=f"{record.name}: hosting capacity",
        lead=f"{len(found.steps):,} steps, {found.connections['connection'].nunique()} connections, "
        f"{len(found.contingencies)} case{'s' if len(found.contingencies) > 1 else ''}",
        links=[TO_REPORT],
        headline=headline(found),
        maps=[_map(found)],
        times=["all steps"],
        iso=[""],
        note_map="Over all cases. A bus with several connections shows the largest of "
        "them; connections of several buses are in the table alone.",
        sections=[
            Section("What to know", lines=record.notes),
            *(Section(t["title"], tables=[_sortable(t)]) for t in
              [summary_table(found), *base_table(found), *cases_table(found)]),
            origin(provenance(record)),
        ],
    )  # fmt: skip


def _map(found: Hosting) -> dict[str, Any]:
    """The feeder coloured by each capacity of the summary, and the duration curve of each bus."""
    feeder = places(found.layout)
    buses = pd.Index(feeder["buses"])
    summary = found.summary()
    alone = found.connections.groupby("connection")["bus"].transform("size") == 1
    bus_of = found.connections[alone].set_index("connection")["bus"]
    layers = []
    for column in (c for c in summary.columns if str(c).endswith("_kw")):
        values = summary[column].reindex(bus_of.index).groupby(bus_of.to_numpy()).max().reindex(buses)
        layers.append({"key": column, "label": f"{title_of(str(column))} (kW)", "on": "bus",
                       "runs": {"all cases": pack(values.to_numpy(dtype=float)[None, :], _DIGITS)}})  # fmt: skip
    return {**feeder, "layers": layers, "units": [], "limits": [0, 0], "curves": _curves(found, bus_of, buses)}


def _curves(found: Hosting, bus_of: pd.Series, buses: pd.Index) -> dict[str, Any]:
    """Duration curves over all cases by what a site has: (buses, shares of the time)."""
    several = (found.duration["case"] == ALL_CASES).any()
    rows = found.duration[found.duration["case"] == ALL_CASES] if several else found.duration
    curves, share = {}, pd.Index(np.sort(rows["at_least_pct"].unique()))
    for means, own in rows.groupby("means", sort=False):
        wide = own.pivot_table(index="connection", columns="at_least_pct", values="limit_kw").reindex(columns=share)
        by_bus = wide.groupby(bus_of.reindex(wide.index).to_numpy()).max().reindex(buses)
        curves[str(means)] = pack(by_bus.to_numpy(dtype=float), _DIGITS)
    return {"share": share.tolist(), "means": curves}


def _sortable(table: dict[str, Any]) -> Table:
    """A table of the report as one to sort."""
    shown, file = len(table["rows"]), table["file"]
    cut = f" The first {shown} of {table['cut']:,} rows; all are in {file}." if table["cut"] else ""
    rows = [[Cell(text, _number(text) if number else None) for text, number in row] for row in table["rows"]]
    return Table(table["title"], table["text"] + cut, table["columns"], rows)


def _number(text: str) -> float:
    """The number that a text of a report begins with; infinity where it is none, which sorts last."""
    try:
        return float(text.replace(",", "").split()[0])
    except (ValueError, IndexError):
        return float("inf")
