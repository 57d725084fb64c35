"""What a run and a comparison leave, live or read back from their folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cosim.errors import InputError
from cosim.results.accounts.totals import UNIT, gains, read_baseline
from cosim.results.comparison import comparison_table, read_comparison
from cosim.results.record import Record
from cosim.results.spool import StoredTables
from cosim.results.tables import Layout, Tables
from cosim.simulation.display import ComparisonPlots, RunPlots, key_figures_html


@dataclass(frozen=True, eq=False, repr=False)
class RunResult:
    """What a run leaves, in memory; the tables are attributes (``steps``, ``prices``, ...), all pandas frames.

    Attributes:
        record: everything that is not a table, as in ``record.json``.
        tables: the result tables.
        layout: buses, branches and units, for maps.
        folder: where it was written, or None.
    """

    record: Record
    tables: Tables
    layout: Layout
    folder: Path | None

    @property
    def kpis(self) -> dict[str, float | None]:
        """Key figures by name, without their units (those are in ``record.kpis``)."""
        return {name: kpi.value for name, kpi in self.record.kpis.items()}

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know: limits broken, fall-backs, AC violations."""
        return self.record.notes

    @property
    def plot(self) -> RunPlots:
        """Figures: ``plot.prices()``, ``plot.map()``, ``plot.voltages()``."""
        return RunPlots(self.record, self.tables, self.layout)

    def __repr__(self) -> str:
        """What it is, in a line: all that it holds would be pages."""
        return f"<RunResult of {self.record.scenario}: {self.record.mode}, {len(self.tables.steps)} steps>"

    def _repr_html_(self) -> str:
        """Key figures, as a notebook shows them."""
        return key_figures_html(f"{self.record.scenario}: {self.record.mode}", {"value": self.record})

    def __getattr__(self, name: str) -> pd.DataFrame:
        if name.startswith("_") or name not in Tables.names():
            raise AttributeError(name)
        frame: pd.DataFrame = getattr(self.tables, name)
        return frame

    def __dir__(self) -> list[str]:
        """With the names of the tables that the run has."""
        return sorted({*object.__dir__(self), *self.tables.lengths()})


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Several modes on the same scenario and seed, each under its name.

    Attributes:
        table: one row per mode, key figures as columns.
        runs: result of each mode that ended well.
        failures: message of each mode that did not.
        folder: where it was written, or None.
        baseline: name of the mode that gains are measured against; empty if none ended well.
    """

    table: pd.DataFrame
    runs: dict[str, RunResult]
    failures: dict[str, str]
    folder: Path | None
    baseline: str = ""

    @property
    def plot(self) -> ComparisonPlots:
        """Figures: ``plot.costs()``, ``plot.power()``, ``plot.voltages()``; those of one run are at ``runs``.

        Raises:
            InputError: no run ended well.
        """
        if not self.runs:
            raise InputError("no run ended well, so there is nothing to draw")
        return ComparisonPlots(self.table, {mode: run.plot for mode, run in self.runs.items()})

    def __repr__(self) -> str:
        """What it is, in a line: all that it holds would be pages."""
        failed = f"; failed: {', '.join(self.failures)}" if self.failures else ""
        return f"<Comparison of {', '.join(self.runs) or 'no runs'}{failed}>"

    def _repr_html_(self) -> str:
        """Key figures of each mode, as a notebook shows them."""
        name = next((run.record.scenario for run in self.runs.values()), "comparison")
        records = {mode: run.record for mode, run in self.runs.items()}
        return key_figures_html(f"{name}: {len(self.runs)} modes compared", records, self.failures)

    def gains(self, by: Sequence[str] = UNIT) -> pd.DataFrame:
        """Accounts of all modes, and what every party gains against the baseline.

        See :func:`cosim.results.accounts.totals.gains`.

        Args:
            by: ``("step", "party")`` for the parties step by step, and so on.
        """
        return gains({mode: run.tables for mode, run in self.runs.items()}, self.baseline, by)


def stored_run(folder: Path) -> RunResult:
    """A run read back; its tables are read when they are asked for.

    Raises:
        InputError: there is no run in the folder, or it failed.
    """
    record = Record.read(folder)
    if record.status != "ok":
        why = "it does not say why" if record.error is None else record.error.message
        raise InputError(f"the run in this folder failed ({why}), so it has no tables", file=folder)
    return RunResult(record, StoredTables(folder, keep=True), Layout.read(folder), folder)


def stored_comparison(folder: Path) -> Comparison:
    """A comparison read back.

    Raises:
        InputError: there is none in the folder, or one of its runs is missing.
    """
    records = read_comparison(folder)
    failures = {mode: "" if r.error is None else r.error.message for mode, r in records.items() if r.status != "ok"}
    runs = {mode: stored_run(folder / mode) for mode in records if mode not in failures}
    return Comparison(comparison_table(records), runs, failures, folder, read_baseline(folder) or "")
