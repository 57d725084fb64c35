"""What the studies share: their folder, their text, their command line, and timing."""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from cosim.errors import InputError, RunFailure
from cosim.results.figures.style import png
from cosim.results.folders import COMPARISON_FILE, FIGURES_FOLDER, ResultFolder
from cosim.sweep.findings import CONCLUSION_FILE, Findings
from cosim.sweep.reading import Sweep

__all__ = ["CONCLUSION_FILE", "Findings"]
Progress = Callable[[int, int, str], None]


def write_findings(findings: Findings, out: str | Path, *, force: bool = False) -> Path:
    """Write a study's folder: ``conclusion.md``, CSV tables (the main one as ``comparison.csv``), ``figures/``.

    Args:
        out: a new folder; it appears when it is complete.
        force: replace the folder of an earlier study.

    Raises:
        InputError: the folder exists, or cannot be created.
    """
    with ResultFolder(out, force=force) as folder:
        for i, (name, table) in enumerate(findings.tables.items()):
            file = COMPARISON_FILE if i == 0 else f"{name}.csv"
            table.to_csv(folder.path / file, index=False, lineterminator="\n", float_format="%.10g")
        figures = folder.path / FIGURES_FOLDER
        figures.mkdir()
        for name, figure in findings.figures.items():
            (figures / f"{name}.png").write_bytes(png(figure))
        (folder.path / CONCLUSION_FILE).write_text(findings.conclusion, encoding="utf-8")
    return Path(out)


def growth_exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The exponent e, to two digits, with value ~ size^e between the first and the last."""
    return round(math.log(values[-1] / values[0]) / math.log(sizes[-1] / sizes[0]), 2)


def leave_growth(rows: Sequence[Mapping[str, object]], drawn: Figure, out: str | Path, name: str) -> None:
    """Leave what a benchmark of growth measured as ``NAME.json`` and ``NAME.png``, over what was there."""
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    (folder / f"{name}.png").write_bytes(png(drawn))


def markdown_table(frame: pd.DataFrame, forms: Mapping[str, str] | None = None) -> str:
    """A frame as a Markdown table; ``forms`` has a format per column, missing values become dashes."""
    forms = forms or {}

    def cell(column: str, value: Any) -> str:
        if isinstance(value, str):
            return value
        if value is None or pd.isna(value):
            return "–"
        text = format(value, forms[column]) if column in forms else str(value)
        return text if any(digit in text for digit in "123456789") else text.lstrip("-")

    head = [str(c) for c in frame.columns]
    marks = ["---" if frame[c].map(lambda v: isinstance(v, str)).all() else "---:" for c in frame.columns]
    body = [[cell(c, v) for c, v in zip(head, row, strict=True)] for row in frame.itertuples(index=False)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, marks, *body)) + "\n"


def whole_grid(found: Sweep) -> pd.DataFrame:
    """The runs of a sweep that ended well, as an analysis takes them.

    Raises:
        RunFailure: none did.
    """
    runs = found.ok.copy()
    if runs.empty:
        raise RunFailure("no run ended well, so there is nothing to analyse")
    return runs


def missing_note(found: Sweep) -> str:
    """A sentence on runs that failed, for a conclusion; empty if there are none."""
    failed = int((found.runs["status"] == "failed").sum())
    return f"{failed} of {len(found.runs)} runs failed and are left out.\n" if failed else ""


def print_table(title: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Rows as an aligned text table on stdout."""
    frame = pd.DataFrame(list(rows)).fillna("–")
    print(f"{title}\n{frame.to_string(index=False)}\n", flush=True)


def median_s(work: Callable[[], object], repeats: int) -> float:
    """Median wall time of a piece of work in seconds, after one call that warms up caches."""
    work()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def study_parser(description: str, out: str) -> argparse.ArgumentParser:
    """The options that every study takes; ``out`` is the folder if none is named."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(out), help="folder to leave tables and figures in")
    parser.add_argument("--force", action="store_true", help="replace the folder of an earlier study")
    parser.add_argument("--steps", type=int, default=None, help="market steps (clock.steps); default: the scenario's")
    return parser


def step_overrides(steps: int | None) -> dict[str, Any]:
    """Overrides of a scenario that limit its horizon."""
    return {} if steps is None else {"clock.steps": steps}


@contextmanager
def progress_bar(title: str) -> Iterator[Progress]:
    """A progress bar on stderr, shown only if that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(),
               TextColumn("{task.fields[stage]}", markup=False))  # fmt: skip
    console = Console(stderr=True)
    with Bars(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(title, total=None, stage="starting")
        yield lambda done, total, text: bars.update(task, completed=done, total=total, stage=text)


def main(work: Callable[[], Path]) -> int:
    """Do a study's work as a program: say where the results are; 1 if a run failed, 2 if the input is wrong."""
    try:
        folder = work()
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except RunFailure as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print((folder / CONCLUSION_FILE).read_text(encoding="utf-8"))
    print(f"Tables and figures: {folder}")
    return 0
