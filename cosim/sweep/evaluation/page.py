"""The page of an evaluation: how often limits break step by step, what the samples cost, and a table to sort."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cosim.results.limit_table import NAMES
from cosim.results.pages.charts import Chart, Choice, Trace, duration
from cosim.results.pages.page import TO_REPORT, Cell, Page, Section, Table, origin, write_page
from cosim.sweep.evaluation.report import headline, provenance
from cosim.sweep.evaluation.result import Evaluation, read_evaluation

_MOST_ROWS = 5_000
_PERCENT = 100.0


def write_evaluation_page(folder: str | Path) -> Path:
    """Write ``page.html`` from what is in the folder of an evaluation; returns its path.

    Raises:
        InputError: the folder holds none, or a table that cannot be read.
    """
    return write_page(evaluation_page(folder), Path(folder))


def evaluation_page(folder: str | Path) -> Page:
    """The page of an evaluation; errors as :func:`write_evaluation_page`."""
    found = read_evaluation(Path(folder))
    return Page(
        title=f"{found.record.name}: out of sample",
        lead=f"{len(found.samples):,} samples of {len(found.steps)} steps, solved by OpenDSS",
        links=[TO_REPORT],
        headline=headline(found),
        sections=[
            Section("What to know", lines=found.record.notes),
            Section("Out of sample", _charts(found)),
            Section("Broken limits", tables=[_violations(found)]),
            origin(provenance(found.record)),
        ],
    )  # fmt: skip


def _violations(found: Evaluation) -> Table:
    table = found.violations.sort_values(["frequency", "worst_excess"], ascending=False, kind="stable")
    whole = len(table) <= _MOST_ROWS
    cut = "" if whole else f" The first {_MOST_ROWS:,} of {len(table):,} rows; all are in violations.parquet."
    columns = [
        ("step", True), ("limit", False), ("phase", False), ("broken, %", True), ("95 % from", True), ("to", True),
        ("beyond, mean", True), ("beyond, worst", True), ("unit", False),
    ]  # fmt: skip
    rows = []
    for r in table.head(_MOST_ROWS).to_dict("records"):
        shares = [Cell(f"{_PERCENT * r[n]:.2f}", _PERCENT * r[n]) for n in ("frequency", "low", "high")]
        beyond = [Cell(f"{r[n]:.3g}", float(r[n])) for n in ("mean_excess", "worst_excess")]
        limit = f"{NAMES.get(r['kind'], r['kind'])} {r['element']}"
        rows.append([Cell(str(r["step"]), r["step"]), Cell(limit), Cell(r["phase"]), *shares, *beyond, Cell(r["unit"])])
    text = f"Share of the samples in which a limit is broken, and by how much where it is.{cut}"
    return Table("How often each breaks", text, columns, rows, find=True)


def _charts(found: Evaluation) -> list[Chart]:
    """Frequencies step by step with their intervals and the level; what the samples cost, from the highest down."""
    steps, level = found.steps, found.record.level
    times = [f"{t:%Y-%m-%dT%H:%M:%S}" for t in steps["time"]]
    choices = []
    for name, label in (("worst", "the limit that breaks most"), ("any", "any limit")):
        parts = ((name, label), (f"{name}_low", "95 % interval, from"), (f"{name}_high", "95 % interval, to"))
        traces = [Trace(text, times, _PERCENT * steps[c].to_numpy(dtype=float)) for c, text in parts]
        if level is not None:
            traces.append(Trace(f"level {_PERCENT * level:g} %", times, np.full(len(times), _PERCENT * level)))
        choices.append(Choice(label, traces))
    caption = "Share of the samples in which a limit is broken in a step."
    charts = [Chart("How often limits break", caption, "%", choices)]
    columns = {"cost of the import": "import_cost_usd", "payment of the data centers": "payment_usd"}
    costs = {label: found.samples[column] for label, column in columns.items()}
    known = {label: values.to_numpy(dtype=float) for label, values in costs.items() if values.nunique() > 1}
    if known:
        kinds = [Choice(label, duration({label: values}), f"{label}, USD") for label, values in known.items()]
        charts.append(Chart("What samples cost", "It is at least this much in this share of the samples.", "USD",
                            kinds, "share of the samples in %", shape="linear"))  # fmt: skip
    return charts
