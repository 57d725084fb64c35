"""What a hosting study leaves: tables, a record, and the folder that holds them."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cosim.hosting.study.schemas import (
    BASE_VIOLATIONS,
    CAPACITY,
    CONNECTIONS,
    CONTINGENCIES,
    CURTAILMENT,
    DURATION,
    HOURLY_LIMITS,
    STEPS,
)
from cosim.hosting.study.tables import flexible, over_all_cases
from cosim.results.record import is_study, read_study_record, write_study_record
from cosim.results.schemas import Schema
from cosim.results.tables import Layout, arrow_table, check, open_table, read_table, reading, write_table

FORMAT = "cosim-hosting"
SCHEMA_VERSION = 1
SUMMARY_FILE = "summary.csv"
_KEPT = (CAPACITY, DURATION, CURTAILMENT, BASE_VIOLATIONS, CONTINGENCIES, CONNECTIONS, STEPS)
"""Tables that are kept in memory; limits of every step are not."""


@dataclass(frozen=True, slots=True)
class HostingRecord:
    """The content of ``record.json`` of a hosting study.

    Attributes:
        name: of the scenario or feeder. settings: what was asked for. step_s: length of a step, s.
        budgets_pct: budgets of hours and of energy, percent. inputs: SHA-256 of the files that were read, by name.
        versions: of cosim and what it rests on. started: UTC, ISO 8601. wall_times_s: seconds by stage.
        notes: what was assumed, and what to know of the results, in sentences.
    """

    name: str
    settings: dict[str, Any]
    step_s: int
    budgets_pct: tuple[float, ...]
    inputs: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    started: str = ""
    wall_times_s: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        """Write ``record.json`` into a folder."""
        write_study_record(self, folder, FORMAT, SCHEMA_VERSION)

    @classmethod
    def read(cls, folder: Path) -> HostingRecord:
        """The record of a folder.

        Raises:
            InputError: it cannot be read, is none of a hosting study, or of another version.
        """
        return read_study_record(cls, folder, FORMAT, SCHEMA_VERSION, "a hosting study", ("budgets_pct", "notes"))

    @property
    def highlighted_pct(self) -> float:
        """The budget of hours that maps and summaries show: 1 % if it was asked for, else the middle one."""
        ordered = sorted(self.budgets_pct)
        return 1.0 if 1.0 in ordered else ordered[len(ordered) // 2]


def is_hosting(folder: Path) -> bool:
    """Whether a folder holds a hosting study."""
    return is_study(folder, FORMAT)


@dataclass(frozen=True, eq=False, repr=False)
class Hosting:
    """A hosting study; every table is a frame, columns and units as in :mod:`cosim.hosting.study.schemas`.

    Attributes:
        capacity: firm and flexible capacity by case, connection, what a site has beside it, and budget; what binds.
        duration: duration curves of the limits. curtailment: what a site of a capacity loses.
        base_violations: limits that are broken without any connection. contingencies: the cases.
        connections: buses and phases of the connections. steps: times.
        layout: where the buses are. record: what was asked for, and notes.
        source: the hourly limits, in parts or as the file that holds them.
    """

    capacity: pd.DataFrame
    duration: pd.DataFrame
    curtailment: pd.DataFrame
    base_violations: pd.DataFrame
    contingencies: pd.DataFrame
    connections: pd.DataFrame
    steps: pd.DataFrame
    layout: Layout
    record: HostingRecord
    source: Iterable[pd.DataFrame] | Path

    @property
    def notes(self) -> tuple[str, ...]:
        """What was assumed, and what to know of the results."""
        return self.record.notes

    def __repr__(self) -> str:
        """What it is, in a line: its tables would be pages."""
        sites = self.connections["connection"].nunique()
        return f"<Hosting of {self.record.name}: {sites} connections, {len(self.steps)} steps>"

    def _repr_html_(self) -> str:
        """The summary, the tightest connection first, as a notebook shows it."""
        shown = self.summary().round(1).to_html(max_rows=20, border=0, na_rep="")
        return f"<p><strong>{html.escape(self.record.name)}: hosting capacity</strong></p>{shown}"

    @cached_property
    def hourly_limits(self) -> pd.DataFrame:
        """The largest draw of every connection in every step and case, and what binds; of many buses this is long."""
        if isinstance(self.source, Path):
            return read_table(HOURLY_LIMITS, self.source)
        return check(HOURLY_LIMITS, pd.concat(list(self.source), ignore_index=True))

    def limits_over_all(self, connections: Iterable[str]) -> pd.DataFrame:
        """(steps, connections) least limit over all cases with nothing beside the site, kW."""
        wanted = list(connections)
        if isinstance(self.source, Path):
            with reading("hourly_limits", self.source):
                chosen = pc.field("connection").isin(wanted) & (pc.field("means") == "none")
                rows = pq.read_table(self.source, columns=["connection", "step", "limit_kw"], filters=chosen,
                                     use_threads=False).to_pandas()  # fmt: skip
        else:
            rows = self.hourly_limits
            rows = rows[rows["connection"].isin(wanted) & (rows["means"] == "none")]
        least: pd.DataFrame = rows.groupby(["step", "connection"])["limit_kw"].min().unstack()[wanted]
        return least

    def summary(self) -> pd.DataFrame:
        """One row per connection over all cases: firm and flexible capacities (kW), and what binds the firm one."""
        overall = over_all_cases(self.capacity)
        firm = overall[(overall["budget_of"] == "firm") & (overall["means"] == "none")].set_index("connection")
        columns: dict[str, pd.Series] = {"firm_kw": firm["capacity_kw"]}
        if firm["broken_steps_pct"].any():
            columns["unbroken_kw"] = firm["unbroken_kw"]
        for per in ("hours", "energy"):
            for budget in self.record.budgets_pct:
                columns[f"{per}_{budget:g}_pct_kw"] = flexible(self.capacity, budget, per)
        for means in dict.fromkeys(overall["means"]):
            if means != "none":
                columns[f"firm_{means.replace('+', '_')}_kw"] = flexible(self.capacity, 0.0, means=str(means))
        binding = firm[["kind", "element", "phase", "in_case", "broken_in_base", "broken_steps_pct", "open_ended"]]
        return pd.concat([pd.DataFrame(columns), binding], axis="columns").sort_values("firm_kw", kind="stable")

    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables but that of hourly limits, by name."""
        return {schema.name: getattr(self, schema.name) for schema in _KEPT}

    def write(self, folder: Path) -> None:
        """Write tables, layout and record into a folder."""
        for schema in _KEPT:
            write_table(schema, getattr(self, schema.name), folder / f"{schema.name}.parquet")
        self.layout.write(folder)
        write_parts(HOURLY_LIMITS, [self.hourly_limits] if isinstance(self.source, Path) else self.source,
                    folder / "hourly_limits.parquet")  # fmt: skip
        text = self.summary().rename_axis("connection").to_csv(lineterminator="\n", float_format="%.10g")
        (folder / SUMMARY_FILE).write_text(text, encoding="utf-8")
        self.record.write(folder)


def write_parts(schema: Schema, parts: Iterable[pd.DataFrame], path: Path) -> None:
    """Write a table part by part, so that no more than one is in memory; parts come in the order of the key."""
    writer = None
    for part in parts:
        rows = arrow_table(schema, part)
        writer = open_table(rows.schema, path) if writer is None else writer
        writer.write_table(rows)
    if writer is not None:
        writer.close()


def read_hosting(folder: str | Path) -> Hosting:
    """A hosting study from its folder; limits of every step are read when they are asked for.

    Raises:
        InputError: the folder holds none, or a table that cannot be read.
    """
    place = Path(folder)
    record = HostingRecord.read(place)
    tables: Mapping[str, pd.DataFrame] = {s.name: read_table(s, place / f"{s.name}.parquet") for s in _KEPT}
    return Hosting(**tables, layout=Layout.read(place), record=record, source=place / "hourly_limits.parquet")
