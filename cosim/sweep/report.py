"""A sweep as one self-contained HTML page: plan, conclusion, figures, tables, what failed."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from markdown_it import MarkdownIt

from cosim.results.folders import FIGURES_FOLDER, PAGE_FILE, REPORT_FILE
from cosim.results.kpis import shown as kpi_text
from cosim.results.record import versions
from cosim.results.report import page_template
from cosim.sweep.experiment import Experiment, FactorSpec
from cosim.sweep.findings import CONCLUSION_FILE, Findings
from cosim.sweep.plan import shown
from cosim.sweep.reading import Sweep
from cosim.sweep.storage.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_ROWS = 200
_MOST_FAILURES = 50
KPIS = ("social_cost_usd", "dca_cost_usd", "welfare_gap", "ac_v_min_pu", "violations_ac", "vuf_max_pct", "slack_mwh")


def write_findings(findings: Findings, root: Path, figures: bool = True) -> list[str]:
    """Write what an analysis found beside the runs: ``conclusion.md``, a CSV file per table, ``figures/`` if wanted.

    Returns:
        Names of the files, relative to ``root``.

    Raises:
        StoreFailure: the folder cannot be written.
    """
    store = Store(root)
    texts = {f"{name}.csv": table.to_csv(index=False, lineterminator="\n", float_format="%.10g")
             for name, table in findings.tables.items()} | {CONCLUSION_FILE: findings.conclusion}  # fmt: skip
    for name, text in texts.items():
        store.write_text(name, text)
    return [*texts, *(_save_figures(_drawn(findings.figures), store) if figures else [])]


def _drawn(figures: Mapping[str, Figure]) -> dict[str, bytes]:
    from cosim.results.figures.style import png

    return {name: png(figure) for name, figure in figures.items()}


def write_sweep_report(found: Sweep, findings: Findings | None = None, figures: bool = True) -> list[str]:
    """Write ``report.html`` (and ``figures/`` if no analysis has drawn any, and they are wanted).

    Returns:
        Names of the files, relative to the sweep's folder.

    Raises:
        StoreFailure: the folder cannot be written.
    """
    written, store = [REPORT_FILE], Store(found.root)
    captions: dict[str, str] = {}
    images: dict[str, bytes] = {}
    if findings is None and figures:
        from cosim.sweep.figures import overview_figures

        overview = overview_figures(found)
        captions = {name: caption for name, (_, caption) in overview.items()}
        images = _drawn({name: figure for name, (figure, _) in overview.items()})
        written += _save_figures(images, store)
    elif findings is not None and figures:
        captions, images = dict(findings.captions), _drawn(findings.figures)
    page = {
        "title": found.experiment.name.replace("_", " "),
        "lead": " ".join(found.experiment.description.split()),
        "headline": _headline(found),
        "page": PAGE_FILE if figures else "",
        "conclusion": "" if findings is None else markdown_html(findings.conclusion),
        "figures": [
            {"name": n, "caption": captions.get(n, n.replace("_", " ")), "data": base64.b64encode(d).decode("ascii")}
            for n, d in images.items()
        ],
        "plan": plan_rows(found),
        "factors": [factor_row(name, factor) for name, factor in found.experiment.factors.items()],
        "failures": _failures(found),
        "tables": _tables(found, findings),
        "provenance": _provenance(found),
    }
    store.write_text(REPORT_FILE, page_template("sweep.html.j2").render(page))
    return written


def markdown_html(text: str) -> str:
    """Markdown as HTML: tables are known, HTML in the text is shown as text, a leading title is left out."""
    lines = text.lstrip().splitlines()
    body = "\n".join(lines[1:] if lines and lines[0].startswith("# ") else lines)
    return str(MarkdownIt("commonmark", {"html": False}).enable("table").render(body))


def _save_figures(images: Mapping[str, bytes], store: Store) -> list[str]:
    """Write images below ``figures/``; returns their names, relative to the sweep's folder."""
    try:
        (store.root / FIGURES_FOLDER).mkdir(exist_ok=True)
    except OSError as error:
        raise store.failure(error.strerror or str(error)) from None
    files = {f"{FIGURES_FOLDER}/{name}.png": data for name, data in images.items()}
    for file, data in files.items():
        store.write_bytes(file, data)
    return list(files)


def _headline(found: Sweep) -> list[dict[str, str]]:
    counts = found.runs["status"].value_counts()
    spent = float(found.times["wall_s"].sum())
    items = [("runs", str(len(found.runs))), ("ended well", str(int(counts.get("ok", 0))))]
    items += [(status, str(int(counts[status]))) for status in ("failed", "pending") if status in counts]
    items.append(("of computing", _duration(spent)))
    return [{"label": label, "value": value} for label, value in items]


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def plan_rows(found: Sweep) -> list[tuple[str, str]]:
    e = found.experiment
    rows = [("scenario", e.scenario), ("modes", ", ".join(dict.fromkeys(found.runs["mode"])))]
    if e.set:
        rows.append(("in every run", ", ".join(f"{k} = {shown(v)}" for k, v in e.set.items())))
    rows.append(("design", {"full": "every combination", "paired": "values in pairs"}[e.design]))
    if e.sampling is not None:
        name = e.sampling.method.replace("_", " ")
        rows.append(("sampling", f"{name}, {e.sampling.count} points, seed {e.sampling.seed}"))
    seeds = "the scenario's" if e.replicates is None else f"{e.replicates} spawned from {e.seed}, {e.seeds}"
    return [*rows, ("seeds", seeds), *([("measured by", e.measure)] if e.measure else [])]


def factor_row(name: str, factor: FactorSpec) -> dict[str, str]:
    keys = list(factor.keys) or sorted({k for level in (factor.levels or {}).values() for k in level})
    return {"name": factor.label or name, "levels": _values(factor), "sets": ", ".join(keys)}


def _values(factor: FactorSpec) -> str:
    if factor.values is not None:
        return ", ".join(str(shown(v)) for v in factor.values)
    if factor.levels is not None:
        return ", ".join(factor.levels)
    if factor.range is not None:
        r = factor.range
        return f"{r.start:g} to {r.stop:g}, " + (f"{r.count} values" if r.count else f"every {r.step:g}")
    s = factor.sample
    assert s is not None
    if s.distribution is None:
        return f"sampled, {s.low:g} to {s.high:g}" + (", logarithmic" if s.scale == "log" else "")
    return f"sampled, {s.distribution}({', '.join(f'{k}={v:g}' for k, v in s.parameters.items())})"


def _failures(found: Sweep) -> list[dict[str, str]]:
    failed = found.runs[found.runs["error"].notna()].head(_MOST_FAILURES)
    return [{"what": where(row, found.experiment), "why": row["error"], "run": row["run"]}
            for row in failed.to_dict("records")]  # fmt: skip


def where(row: Mapping[Any, Any], experiment: Experiment) -> str:
    return ", ".join([row["mode"], *(f"{name} = {row[name]}" for name in experiment.factors)])


def _tables(found: Sweep, findings: Findings | None) -> list[dict[str, Any]]:
    kpis = [name for name in KPIS if name in found.runs and found.runs[name].notna().any()]
    own = found.kpis if found.experiment.measure else []
    seeds = ["replicate"] if found.experiment.replicates else []
    columns = ["mode", *seeds, *found.factors, "status", *(own or kpis)]
    tables = [] if findings is None else [
        _html_table(name.replace("_", " "), t, f"{name}.csv", len(t) <= 12) for name, t in findings.tables.items()
    ]  # fmt: skip
    return [*tables, _html_table("All runs", found.runs[columns], "runs.csv", findings is None)]


def _html_table(title: str, frame: pd.DataFrame, file: str, opened: bool) -> dict[str, Any]:
    columns = [{"name": c, "number": pd.api.types.is_numeric_dtype(frame[c])} for c in frame.columns]
    rows = [list(zip(columns, map(cell_text, frame.columns, row), strict=True))
            for row in frame.head(_MOST_ROWS).itertuples(index=False)]  # fmt: skip
    cut = len(frame) if len(frame) > _MOST_ROWS else 0
    return {"title": title, "columns": columns, "rows": rows, "cut": cut, "file": file, "open": opened}


def cell_text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return kpi_text(name, value)
    return "–" if value is None or value is pd.NA else str(value)


def _provenance(found: Sweep) -> list[tuple[str, str]]:
    times: Sequence[str] = sorted(found.times["started"].dropna())
    rows = [("experiment", found.experiment.name)]
    if times:
        rows.append(("runs started (UTC)", times[0] if times[0] == times[-1] else f"{times[0]} to {times[-1]}"))
        rows.append(("median run", f"{found.times['wall_s'].median():.3g} s"))
    again = int((found.times["attempts"] > 1).sum())
    if again:
        rows.append(("begun twice", f"{again} runs"))
    return [*rows, ("versions", ", ".join(f"{k} {v}" for k, v in versions().items()))]
