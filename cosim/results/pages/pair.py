"""The page of any two runs side by side: what was asked for differently, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cosim.results.folders import SCENARIO_FILE
from cosim.results.pages.charts import negotiation
from cosim.results.pages.page import Page, Section, texts
from cosim.results.pages.runs import about, across, coincide, put_maps
from cosim.results.record import Record
from cosim.results.spool import StoredTables
from cosim.results.tables import Layout
from cosim.yaml_reading import read_yaml

_MOST_DIFFERENCES = 500
_LONGEST = 200
_NOT_THERE = "–"


def pair_page(folders: Mapping[str, Path], links: Sequence[tuple[str, str]] = ()) -> Page:
    """The page of two runs.

    Args:
        folders: of the two, by the names that they get on the page.
        links: (text, target) to other pages.

    Raises:
        InputError: a folder holds no run, or its files cannot be read.
    """
    records = {name: Record.read(folder) for name, folder in folders.items()}
    one, other = records
    page = Page(
        title=f"{one} and {other}",
        lead="; ".join(f"{name}: {r.scenario}, {r.mode}, seed {r.seed}" for name, r in records.items()),
        links=links,
        told=[f"{name} failed. {r.error.kind}: {r.error.message}" for name, r in records.items() if r.error],
    )
    sections = page.sections
    asked = differences(*(_scenario(folder) for folder in folders.values()))
    if not asked:
        page.told = [*page.told, "Both were made from the same effective scenario."]
    heads = ("key of the scenario", one, other)
    text = f"The first {_MOST_DIFFERENCES} of {len(asked):,} keys." if len(asked) > _MOST_DIFFERENCES else ""
    sections.append(Section("Asked for differently", tables=[texts("Keys", text, heads, asked[:_MOST_DIFFERENCES])]))
    if all(r.status == "ok" for r in records.values()):
        tables = {name: StoredTables(folder, keep=True) for name, folder in folders.items()}
        times = [found.only("steps", "step", "time") for found in tables.values()]
        same_hours = times[0].reset_index(drop=True).equals(times[1].reset_index(drop=True))
        told = [] if same_hours else [
            f"The runs are of other hours ({len(times[0])} and {len(times[1])} steps): charts over time and the map of "
            "differences are left out."
        ]  # fmt: skip
        layouts = [Layout.read(folder) for folder in folders.values()]
        if same_hours and _alike(*layouts) and _feeders(records[one]) == _feeders(records[other]):
            put_maps(page, layouts[0], {n: (records[n], tables[n]) for n in records}, detailed=False)
            page.less = other
        elif same_hours:
            told.append("The runs are on other feeders: there is no map of differences.")
        if same_hours:
            told += coincide(records, tables)
            sections.append(Section("Side by side", across(records, tables)))
        sections.append(Section("Negotiation, round by round", negotiation(tables)))
        page.told = [*page.told, *told]
    sections.append(Section("What to know", lines=[f"{name}: {n}" for name, r in records.items() for n in r.notes]))
    sections += about(records, difference=True)
    return page


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(dotted key, value in one, value in the other) of all keys in which two scenarios differ, in order."""
    first, second = dict(_flat(one)), dict(_flat(other))
    return [
        (key, _short(first.get(key, _NOT_THERE)), _short(second.get(key, _NOT_THERE)))
        for key in dict.fromkeys([*first, *second])
        if first.get(key) != second.get(key)
    ]


def _flat(value: Any, key: str = "") -> list[tuple[str, str]]:
    """Keys and values; entries of lists that have names go by them."""
    if isinstance(value, Mapping) and value:
        return [row for name, inner in value.items() for row in _flat(inner, f"{key}.{name}" if key else str(name))]
    if isinstance(value, list) and value and all(isinstance(v, Mapping) and "name" in v for v in value):
        return [row for v in value for row in _flat({k: x for k, x in v.items() if k != "name"}, f"{key}.{v['name']}")]
    return [(key, str(value))]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def _scenario(folder: Path) -> Mapping[str, Any]:
    path = folder / SCENARIO_FILE
    return read_yaml(path, "the effective scenario") if path.is_file() else {}


def _alike(one: Layout, other: Layout) -> bool:
    """Whether two feeders have the same buses and branches."""
    def keys(frame: pd.DataFrame, *columns: str) -> set[tuple[Any, ...]]:
        return set(frame[list(columns)].itertuples(index=False, name=None))

    return keys(one.buses, "bus") == keys(other.buses, "bus") and keys(
        one.branches, "name", "from_bus", "to_bus"
    ) == keys(other.branches, "name", "from_bus", "to_bus")


def _feeders(record: Record) -> list[str]:
    return list(record.feeder_limits)


