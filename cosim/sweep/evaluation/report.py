"""The report of an evaluation: one self-contained HTML file, made from its folder alone."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosim.results.folders import PAGE_FILE, REPORT_FILE
from cosim.results.limit_table import NAMES
from cosim.results.report import page_template, save_figures
from cosim.sweep.evaluation.result import Evaluation, EvaluationRecord, read_evaluation, verdict
from cosim.sweep.evaluation.schemas import SCHEMAS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_ROWS = 60
CAPTIONS = {
    "frequency": "Share of the samples in which limits break in each step, with 95 % intervals: the limit that breaks "
    "most by itself, and any limit.",
    "costs": "What the samples cost: the import at the drawn price, and what the data centers pay if the energy "
    "part of their price goes with it.",
}


def write_evaluation_report(folder: str | Path, figures: bool = True) -> Path:
    """Write ``report.html``, and ``figures/`` if they are wanted, from what is in the folder of an evaluation.

    Raises:
        InputError: the folder holds none, or a table that cannot be read.
    """
    place = Path(folder)
    found = read_evaluation(place)
    record = found.record
    images = save_figures(_drawn(found) if figures else {}, place, CAPTIONS)
    page = {
        "title": f"{record.name}: out of sample",
        "lead": f"{len(found.samples):,} samples of {len(found.steps)} steps, solved by OpenDSS",
        "links": [("Page to look at", PAGE_FILE)] if figures else [],
        "headline": headline(found),
        "notes": list(record.notes),
        "tables": [_violations(found)],
        "figures": [{"name": name, "caption": CAPTIONS[name], "data": base64.b64encode(data).decode("ascii")}
                    for name, data in images.items()],
        "provenance": provenance(record),
        "files": [(f"{s.name}.parquet", s.title, ", ".join(c.name for c in s.columns)) for s in SCHEMAS.values()],
    }  # fmt: skip
    path = place / REPORT_FILE
    path.write_text(page_template("hosting.html.j2").render(page), encoding="utf-8")
    return path


def provenance(record: EvaluationRecord) -> list[tuple[str, str]]:
    """What was asked for, when, and with which versions."""
    return [
        ("run", record.run),
        ("settings", ", ".join(f"{k} {v}" for k, v in record.settings.items())),
        ("started (UTC)", record.started),
        ("wall times", ", ".join(f"{k} {v:.2f} s" for k, v in record.wall_times_s.items())),
        ("versions", ", ".join(f"{k} {v}" for k, v in record.versions.items())),
    ]


def headline(found: Evaluation) -> list[dict[str, str]]:
    """The key figures in words, with the verdict on the level."""
    kpis, record = found.kpis, found.record
    items = []
    for of, limit in (("worst", "the limit that breaks most"), ("any", "any limit")):
        low, high = (100 * (kpis[f"{of}_{end}"] or 0.0) for end in ("low", "high"))
        value = f"{100 * (kpis[f'{of}_frequency'] or 0.0):.2f} % ({low:.2f} to {high:.2f})"
        items.append({"label": f"{limit}, in its worst step", "value": value})
    if record.level is not None:
        what = "each limit" if record.joint == "individual" else "all limits together"
        items.append({"label": f"level {100 * record.level:g} %, {what}", "value": verdict(record)})
    for key, label in (("import_cost_usd", "mean cost of the import"), ("payment_usd", "mean payment")):
        if kpis[key] is not None:
            items.append({"label": label, "value": f"{kpis[key]:,.0f} USD"})
    return items


def _drawn(found: Evaluation) -> dict[str, Figure]:
    from cosim.sweep.evaluation.figures import evaluation_figures

    return evaluation_figures(found.steps, found.samples, found.record.level)


def _violations(found: Evaluation) -> dict[str, Any]:
    """The limits that break most often."""
    table = found.violations.sort_values(["frequency", "worst_excess"], ascending=False, kind="stable")
    rows = [
        [(f"{r['step']}", True), (f"{NAMES.get(r['kind'], r['kind'])} {r['element']} {r['phase']}", False),
         (f"{100 * r['frequency']:.2f} %", True), (f"{100 * r['low']:.2f} to {100 * r['high']:.2f} %", True),
         (f"{r['mean_excess']:.3g} {r['unit']}", True), (f"{r['worst_excess']:.3g} {r['unit']}", True)]
        for r in table.head(_MOST_ROWS).to_dict("records")
    ]  # fmt: skip
    columns = [("step", True), ("limit", False), ("broken", True), ("95 % interval", True), ("beyond, mean", True),
               ("beyond, worst", True)]  # fmt: skip
    text = "Share of the samples in which a limit is broken, and by how much where it is."
    cut = len(table) if len(table) > _MOST_ROWS else 0
    return {"title": "Broken limits", "text": text, "columns": columns, "rows": rows, "cut": cut,
            "file": "violations.parquet"}  # fmt: skip
