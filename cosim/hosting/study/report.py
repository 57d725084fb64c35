"""The report of a hosting study: one self-contained HTML file, made from its folder alone."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cosim.hosting.study.result import SUMMARY_FILE, Hosting, HostingRecord, read_hosting
from cosim.hosting.study.schemas import SCHEMAS
from cosim.results.folders import FIGURES_FOLDER, REPORT_FILE
from cosim.results.report import page_template

_MOST_ROWS = 200
_WORDS = {
    "voltage low": "low voltage", "voltage high": "high voltage", "rating": "rating", "unbalance": "unbalance",
    "solution": "too large for a power-flow solution", "supply": "no supply",
}  # fmt: skip


def write_hosting_report(folder: str | Path, figures: bool = True) -> Path:
    """Write ``report.html``, and ``figures/`` if they are wanted, from what is in the folder of a hosting study.

    Raises:
        InputError: the folder holds none, or a table that cannot be read.
    """
    place = Path(folder)
    found = read_hosting(place)
    images, captions = _figures(found, place) if figures else ({}, {})
    record = found.record
    page = {
        "title": f"{record.name}: hosting capacity",
        "lead": f"{len(found.steps):,} steps of {_hours(record.step_s)} from "
        f"{found.steps['time'].iloc[0]:%d %B %Y %H:%M}, "
        f"{found.connections['connection'].nunique()} connections, {len(found.contingencies)} cases",
        "headline": _headline(found),
        "notes": list(record.notes),
        "tables": [_summary(found), *_base(found), *_cases(found)],
        "figures": [{"name": name, "caption": captions[name], "data": base64.b64encode(data).decode("ascii")}
                    for name, data in images.items()],
        "provenance": _provenance(record),
        "files": [(SUMMARY_FILE, "One row per connection over all cases", ""),
                  *((f"{s.name}.parquet", s.title, ", ".join(c.name for c in s.columns)) for s in SCHEMAS.values())],
    }  # fmt: skip
    path = place / REPORT_FILE
    path.write_text(page_template("hosting.html.j2").render(page), encoding="utf-8")
    return path


def _figures(found: Hosting, place: Path) -> tuple[dict[str, bytes], dict[str, str]]:
    from cosim.hosting.study.figures import CAPTIONS, chosen, hosting_figures
    from cosim.results.figures.style import png

    limits = found.limits_over_all(chosen(found.capacity))
    drawn = hosting_figures(found.tables(), found.layout, limits, found.record.highlighted_pct)
    images = {name: png(figure) for name, figure in drawn.items()}
    target = place / FIGURES_FOLDER
    target.mkdir(exist_ok=True)
    for name, data in images.items():
        (target / f"{name}.png").write_bytes(data)
    return images, CAPTIONS


def _hours(step_s: int) -> str:
    return "an hour" if step_s == 3600 else f"{step_s / 60:g} minutes"


def megawatts(kw: float) -> str:
    """A capacity in words: kW below 1 MW, else MW."""
    return f"{kw:,.0f} kW" if kw < 1000 else f"{kw / 1000:,.2f} MW"


def binding_words(kind: object, element: object, phase: object) -> str:
    """What binds, in words."""
    if not isinstance(kind, str):
        return "nothing"
    place = " ".join(text for text in (element, phase) if isinstance(text, str) and text)
    return f"{_WORDS.get(kind, kind)} {place}".strip()


def _headline(found: Hosting) -> list[dict[str, str]]:
    summary, record = found.summary(), found.record
    column = f"hours_{record.highlighted_pct:g}_pct_kw"
    items = []
    for label, name in (("firm", "firm_kw"), (f"limited in {record.highlighted_pct:g} % of the hours", column)):
        values = summary[name]
        items += [(f"least, {label}", f"{megawatts(values.min())} ({values.idxmin()})"),
                  (f"most, {label}", f"{megawatts(values.max())} ({values.idxmax()})")]  # fmt: skip
    return [{"label": label, "value": value} for label, value in items]


def _summary(found: Hosting) -> dict[str, Any]:
    """One row per connection."""
    summary = found.summary()
    sizes = [str(column) for column in summary.columns if str(column).endswith("_kw")]
    rows = []
    for name, row in summary.head(_MOST_ROWS).iterrows():
        where = binding_words(row["kind"], row["element"], row["phase"])
        where = "nothing up to there" if row["open_ended"] else where
        base = f"{row['broken_steps_pct']:.3g} % of steps" if row["broken_steps_pct"] else ""
        rows.append([(str(name), False), *((f"{row[c]:,.0f}", True) for c in sizes), (where, False),
                     (row["in_case"] if isinstance(row["in_case"], str) else "", False), (base, False)])  # fmt: skip
    columns = [("connection", False), *((_title(c), True) for c in sizes), ("firm capacity is limited by", False),
               ("in case", False), ("broken without it", False)]  # fmt: skip
    text = (
        "Over all cases, kW. Firm: always. For a budget of hours: limited in at most this share of them. For a budget "
        "of energy: at most this share of what the site wants is not served. Broken without it: steps "
        "in which what binds is broken in the base case already, and must not be made worse; unbroken: the firm "
        "capacity of all other steps."
    )
    return _table("Capacity", text, columns, rows, len(summary), SUMMARY_FILE)


def _title(column: str) -> str:
    words = column.removesuffix("_kw").split("_")
    if words[0] == "unbroken":
        return "firm, unbroken"
    if words[0] in ("hours", "energy"):
        return f"{words[1]} % of {words[0]}"
    return " ".join([words[0], *(["with", " and ".join(words[1:])] if len(words) > 1 else [])])


def _table(
    title: str,
    text: str,
    columns: Sequence[tuple[str, bool]],
    rows: Sequence[Any],
    count: int,
    file: str,
) -> dict[str, Any]:
    cut = count if count > _MOST_ROWS else 0
    return {"title": title, "text": text, "columns": columns, "rows": rows, "cut": cut, "file": file}


def _base(found: Hosting) -> list[dict[str, Any]]:
    table = found.base_violations
    if table.empty:
        return []
    rows = [
        [(row["case"], False), (binding_words(row["kind"], row["element"], row["phase"]), False),
         *((_value(row[c], row["unit"]), True) for c in ("limit", "worst")), (f"{row['steps']:,}", True)]
        for row in table.sort_values("steps", ascending=False, kind="stable").head(_MOST_ROWS).to_dict("records")
    ]  # fmt: skip
    columns = [("case", False), ("limit", False), ("allowed", True), ("worst", True), ("steps", True)]
    text = "What the feeder breaks by itself; no connection may make it worse."
    return [_table("Broken without any connection", text, columns, rows, len(table), "base_violations.parquet")]


def _value(value: float, unit: str) -> str:
    return "–" if pd.isna(value) or not unit else f"{value:.4g} {unit}"


def _cases(found: Hosting) -> list[dict[str, Any]]:
    table = found.contingencies
    if len(table) < 2:
        return []
    firm = found.capacity[(found.capacity["budget_of"] == "firm") & (found.capacity["means"] == "none")]
    least = firm.groupby("case")["capacity_kw"].agg(["min", "median"])
    rows = []
    for row in table.head(_MOST_ROWS).to_dict("records"):
        case = row["case"]
        sizes = [f"{least.loc[case, c]:,.0f}" if case in least.index else "–" for c in ("min", "median")]
        rows.append([(case, False), (row["outage"], False), *((size, True) for size in sizes),
                     (f"{row['steps_broken']:,}", True), (f"{row['steps_without_solution']:,}", True)])  # fmt: skip
    columns = [("case", False), ("what is out", False), ("least firm capacity (kW)", True), ("median (kW)", True),
               ("steps with a limit broken without it", True), ("steps without a solution", True)]  # fmt: skip
    return [_table("Cases", "", columns, rows, len(table), "contingencies.parquet")]


def _provenance(record: HostingRecord) -> list[tuple[str, str]]:
    settings = ", ".join(f"{key} {_text(value)}" for key, value in record.settings.items() if value not in (None, []))
    return [
        ("settings", settings),
        ("inputs (SHA-256)", ", ".join(f"{name} {digest[:12]}" for name, digest in record.inputs.items()) or "–"),
        ("started (UTC)", record.started),
        ("wall times", ", ".join(f"{k} {v:.2f} s" for k, v in record.wall_times_s.items())),
        ("versions", ", ".join(f"{k} {v}" for k, v in record.versions.items())),
    ]


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{k} {v:g}" for k, v in value.items()) + ")"
    return (
        ", ".join(map(str, value))
        if isinstance(value, list)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )
