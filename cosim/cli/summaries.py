"""What a run and a comparison tell in a terminal, or a program: costs, limits broken and where, where the page is."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from cosim.cli.printing import stdout

if TYPE_CHECKING:
    from cosim.results.accounts.sheets import Sheet
    from cosim.simulation.result import Comparison, RunResult


def print_kpis(columns: Mapping[str, Mapping[str, Any]]) -> None:
    """Key figures as rows, one column per run; figures that apply to none are left out."""
    from cosim.results.kpis import MEASURES, shown

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("unit")
    for name, measure in MEASURES.items():
        texts = [shown(name, values.get(name)) for values in columns.values()]
        if any(text != "–" for text in texts):
            table.add_row(name, *texts, "" if measure.unit in ("1", "count") else measure.unit)
    stdout().print(table)


def print_limits(rows: Sequence[tuple[str, str, str]]) -> None:
    if not rows:
        return
    table = Table(box=None, pad_edge=False)
    for title in ("worst limits", "steps", "worst"):
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*row)
    stdout().print(table)


def print_sheet(sheet: Sheet | None) -> None:
    """A table for a reader, if there is one."""
    if sheet is None:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(sheet.title.lower())
    for name in sheet.columns:
        table.add_column(name, justify="right", no_wrap=True)
    for party, what, texts in sheet.rows:
        table.add_row(f"{party} {what}".strip(), *texts)
    stdout().print(table)


def print_gains(compared: Comparison, most: int = 8) -> None:
    """What each party gains in each mode against the baseline, the largest first; nothing where that is not known."""
    from cosim.results.accounts.totals import by_party

    found = compared.gains(("party",))
    if found["gain_usd"].isna().all() or found["mode"].nunique() < 2:
        return
    wide = by_party(found).drop(columns=compared.baseline)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(f"gain against {compared.baseline}")
    for mode in wide.columns:
        table.add_column(str(mode), justify="right", no_wrap=True)
    table.add_column("unit")
    for party, row in wide.head(most).iterrows():
        table.add_row(str(party), *(f"{usd:+,.2f}" for usd in row), "USD")
    if len(wide) > most:
        table.add_row(f"others ({len(wide) - most})", *(f"{usd:+,.2f}" for usd in wide.iloc[most:].sum()), "USD")
    stdout().print(table)


def print_cap_notes(notes: Mapping[str, Sequence[str]]) -> None:
    """What explains prices above the cap, mode by mode: they stand in the table above."""
    from cosim.results.price_notes import about_cap

    for mode, told in notes.items():
        for note in about_cap(told):
            typer.echo(f"Note: {mode}: {note}")


def print_broken(compared: Comparison, most: int = 5) -> None:
    """The worst limits that each mode breaks, and where; that none is broken, if so. Steps in which a limit is broken
    without any data center are counted apart."""
    from cosim.results.limit_table import worst_limits

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("limits broken", "limit", "steps", "worst"):
        table.add_column(title, overflow="fold")
    for mode, run in compared.runs.items():
        limits = run.tables.limits
        broken = limits[limits["status"] == "broken"]
        found = worst_limits(broken, run.record.step_hours, most)
        for i, w in enumerate(found):
            steps = f"{w.broken_steps}; {w.base} of them without any data center" if w.base else str(w.broken_steps)
            table.add_row("" if i else str(mode), w.name, steps, w.told)
        if not found:
            table.add_row(str(mode), "none", "", "")
    if compared.runs:
        stdout().print(table)


def run_as_json(result: RunResult, folder: Path) -> str:
    """A run as one JSON object: status, key figures, worst limits, notes, and where the files are."""
    return _json({"mode": result.record.mode, **_told(result), **_places(folder)})


def comparison_as_json(compared: Comparison, folder: Path) -> str:
    """A comparison as one JSON object; ``modes`` has of each what that of a run has."""
    modes = {str(mode): _told(run) for mode, run in compared.runs.items()}
    failed = {str(mode): {"status": "failed", "error": text} for mode, text in compared.failures.items()}
    return _json({"baseline": compared.baseline, "modes": {**modes, **failed}, **_places(folder)})


def _told(result: RunResult) -> dict[str, Any]:
    from dataclasses import asdict

    from cosim.results.limit_table import worst_limits

    record = result.record
    return {
        "status": record.status,
        "run_id": record.run_id,
        "kpis": {name: {"value": kpi.value, "unit": kpi.unit} for name, kpi in record.kpis.items()},
        "limits": [asdict(w) for w in worst_limits(result.tables.limits, record.step_hours)],
        "notes": list(record.notes),
    }


def _places(folder: Path) -> dict[str, str]:
    from cosim.results.folders import PAGE_FILE, REPORT_FILE

    files = {"report": folder / REPORT_FILE, "page": folder / PAGE_FILE}
    return {"folder": str(folder), **{name: str(path) for name, path in files.items() if path.is_file()}}


def _json(data: Mapping[str, Any]) -> str:
    """JSON; a number that is not finite becomes null."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(v) for key, v in value.items()}
        if isinstance(value, list):
            return [plain(v) for v in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(plain(data), indent=2, ensure_ascii=False, allow_nan=False)
