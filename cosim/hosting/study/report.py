"""The report of a hosting study: one self-contained HTML file, made from its folder alone."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from cosim.constants import HOUR_S
from cosim.hosting.study.result import SUMMARY_FILE, Hosting, HostingRecord, read_hosting
from cosim.hosting.study.schemas import SCHEMAS
from cosim.results.folders import REPORT_FILE
from cosim.results.report import page_links, page_template, save_figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_ROWS = 200
CAPTIONS = {
    "map_firm": "What each bus can always host, over all cases. Hollow buses were not asked for.",
    "map_flexible": "What each bus can host if it may be limited in the share of the hours named above.",
    "duration": "Limits over all cases, sorted: a limit is at least this high in this share of the time. Of many "
    "connections six are shown, from the lowest to the highest firm capacity.",
    "curtailment": "What a site of this capacity loses, over all cases: hours in which it is limited, and energy that "
    "it is not served.",
    "means": "The same for one connection, with what a site may have beside it.",
    "hours": "Limit in each hour of each day over all cases; each connection on a scale of its own.",
    "cases": "Firm capacity in each case.",
}
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
    images = save_figures(_drawn(found) if figures else {}, place, CAPTIONS)
    record = found.record
    page = {
        "title": f"{record.name}: hosting capacity",
        "lead": f"{len(found.steps):,} steps of {_hours(record.step_s)} from "
        f"{found.steps['time'].iloc[0]:%d %B %Y %H:%M}, "
        f"{found.connections['connection'].nunique()} connections, {len(found.contingencies)} cases",
        "links": page_links(figures),
        "headline": headline(found),
        "notes": list(record.notes),
        "tables": [summary_table(found), *base_table(found), *cases_table(found)],
        "figures": [{"name": name, "caption": CAPTIONS[name], "data": base64.b64encode(data).decode("ascii")}
                    for name, data in images.items()],
        "provenance": provenance(record),
        "files": [(SUMMARY_FILE, "One row per connection over all cases", ""),
                  *((f"{s.name}.parquet", s.title, ", ".join(c.name for c in s.columns)) for s in SCHEMAS.values())],
    }  # fmt: skip
    path = place / REPORT_FILE
    path.write_text(page_template("hosting.html.j2").render(page), encoding="utf-8")
    return path


def _drawn(found: Hosting) -> dict[str, Figure]:
    from cosim.hosting.study.figures import chosen, hosting_figures

    limits = found.limits_over_all(chosen(found.capacity))
    return hosting_figures(found.tables(), found.layout, limits, found.record.highlighted_pct)


def _hours(step_s: int) -> str:
    return "an hour" if step_s == HOUR_S else f"{step_s / 60:g} minutes"


def megawatts(kw: float) -> str:
    """A capacity in words: kW below 1 MW, else MW."""
    return f"{kw:,.0f} kW" if kw < 1000 else f"{kw / 1000:,.2f} MW"


def binding_words(kind: object, element: object, phase: object) -> str:
    """What binds, in words."""
    if not isinstance(kind, str):
        return "nothing"
    place = " ".join(text for text in (element, phase) if isinstance(text, str) and text)
    return f"{_WORDS.get(kind, kind)} {place}".strip()


def headline(found: Hosting) -> list[dict[str, str]]:
    summary, record = found.summary(), found.record
    column = f"hours_{record.highlighted_pct:g}_pct_kw"
    items = []
    for label, name in (("firm", "firm_kw"), (f"limited in {record.highlighted_pct:g} % of the hours", column)):
        values = summary[name]
        items += [(f"least, {label}", f"{megawatts(values.min())} ({values.idxmin()})"),
                  (f"most, {label}", f"{megawatts(values.max())} ({values.idxmax()})")]  # fmt: skip
    return [{"label": label, "value": value} for label, value in items]


def summary_table(found: Hosting) -> dict[str, Any]:
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
    columns = [("connection", False), *((title_of(c), True) for c in sizes), ("firm capacity is limited by", False),
               ("in case", False), ("broken without it", False)]  # fmt: skip
    text = (
        "Over all cases, kW. Firm: always. For a budget of hours: limited in at most this share of them. For a budget "
        "of energy: at most this share of what the site wants is not served. Broken without it: steps "
        "in which what binds is broken in the base case already, and must not be made worse; unbroken: the firm "
        "capacity of all other steps."
    )
    return _table("Capacity", text, columns, rows, len(summary), SUMMARY_FILE)


def title_of(column: str) -> str:
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


def base_table(found: Hosting) -> list[dict[str, Any]]:
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


def cases_table(found: Hosting) -> list[dict[str, Any]]:
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


def provenance(record: HostingRecord) -> list[tuple[str, str]]:
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
