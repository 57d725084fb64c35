"""The page of one run of a sweep, from what the sweep keeps of it: key figures, notes, its scenario."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

import yaml

from cosim.errors import InputError
from cosim.results.kpis import MEASURES
from cosim.results.pages.page import Cell, Page, Section, Table
from cosim.results.record import ErrorNote
from cosim.sweep.reading import Sweep
from cosim.sweep.report import cell_text, where
from cosim.sweep.storage.store import LOG_FILE, Store


def run_of_sweep_page(found: Sweep, key: str, links: Sequence[tuple[str, str]] = ()) -> Page:
    """The page of a run.

    Args:
        key: of the run. links: (text, target) to other pages.

    Raises:
        InputError: the sweep has no such run, or it is not complete.
    """
    note = Store(found.root).note(key)
    rows = found.runs[found.runs["run"] == key]
    if note is None or rows.empty:
        raise InputError("the sweep has no such run that is complete", key="run", value=key)
    row = rows.iloc[0].to_dict()
    values = [
        [Cell(name), Cell(_text(name, value)), Cell(MEASURES[name].label if name in MEASURES else "")]
        for name, value in note.kpis.items()
    ]  # fmt: skip
    return Page(
        title=where(row, found.experiment),
        lead=f"{found.experiment.name}, run {key}, seed {row['seed']}",
        links=[*links, ("Log", LOG_FILE)],
        error=None if note.error is None else ErrorNote(*note.error),
        sections=[
            Section("What to know", lines=note.notes),
            Section("Key figures", tables=[
                Table("Key figures", "", [("name", False), ("value", False), ("what", False)], values),
            ]),
            Section("Tables", tables=[
                Table("Kept", "", [("table", False)], [[Cell(n, link=quote(n))] for n in note.files if n != LOG_FILE]),
            ]),
        ],
        scenario_text=yaml.safe_dump(dict(note.scenario), sort_keys=False, allow_unicode=True, width=110),
    )  # fmt: skip


def _text(name: str, value: bool | int | float | str | None) -> str:
    return cell_text(name, float(value) if isinstance(value, int) and not isinstance(value, bool) else value)
