"""Reports: one self-contained HTML file per run and per comparison, made from a results folder alone."""

from __future__ import annotations

import base64
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from cosim.errors import InputError
from cosim.results.accounts.deviations import deviation_sheet
from cosim.results.accounts.sheets import Sheet, account_sheet, gain_sheet
from cosim.results.accounts.totals import baseline_among, gains, read_baseline
from cosim.results.by_feeder import Limits, layout_part, tables_by_feeder
from cosim.results.comparison import comparison_table, findings, read_comparison
from cosim.results.folders import COMPARISON_FILE, FIGURES_FOLDER, PAGE_FILE, REPORT_FILE, SCENARIO_FILE
from cosim.results.kpis import MEASURES, shown
from cosim.results.limit_table import summary_rows
from cosim.results.price_notes import about_cap
from cosim.results.record import RECORD_FILE, Kpi, Record
from cosim.results.schemas import SCHEMAS
from cosim.results.spool import StoredTables
from cosim.results.tables import Layout, Tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAPTIONS: dict[str, tuple[str, str]] = {
    # figure: (section, caption)
    "cost_by_mode": ("Cost", "Costs over the whole horizon, and how far each is from the welfare optimum."),
    "gain_by_party": (
        "Cost",
        "What each party gains (received less paid, less own cost) against the mode named in the title.",
    ),
    "power_by_mode": ("Power", "When the data centers draw power in each mode."),
    "voltage_by_mode": ("Voltage", "Extremes over all buses and phases in each step."),
    "unbalance_by_mode": ("Voltage", "Largest voltage unbalance factor over all buses in each step."),
    "map_price": ("Feeder", "Mean of the active price over steps and phases. Marks show what is connected."),
    "map_voltage": ("Feeder", "Lowest voltage over steps and phases at each bus."),
    "envelopes": (
        "Power",
        "Hourly limits of connections that are not firm, what sites draw within them, and what they would draw if work "
        "ran on arrival.",
    ),
    "deviations": (
        "Data centers",
        "What data centers hold from day ahead and draw, and by how much the price of delivery is above that of day "
        "ahead, weighted by what is held.",
    ),
    "price_heatmap": (
        "Prices",
        "Active price at each bus in each step, mean over phases; of more steps or buses than there are points, means.",
    ),
    "price_heatmap_phase": ("Prices", "The same for each phase or delta leg, on one colour scale."),
    "price_parts": (
        "Prices",
        "What the price at the data centers is made of: above with, below without the "
        "energy at the substation.",
    ),  # fmt: skip
    "power_and_price": ("Data centers", "Power drawn and the price per MWh at the same bus and phases."),
    "work": (
        "Data centers",
        "Computing work by site. Arrived and waiting: where it arrived; served: where it ran.",
    ),
    "dispatch": ("Supply", "Import at the substation and output of generators; reactive power beside it."),
    "voltages": ("Voltage", "Lowest and highest voltage over all buses and phases: linear network and AC."),
    "taps": ("Voltage", "Where the controls put regulators and capacitors before each step."),
    "unbalance": ("Voltage", "Three measures of voltage unbalance from AC power flow."),
    "convergence": (
        "Negotiation",
        "Residuals by round. Zeros cannot be shown on a log scale and are left out.",
    ),
}
_PAIRED = "Feeder"
_OF_ALL = ("cost_by_mode", "power_by_mode")
"""Figures of a comparison on all feeders together."""
_GROUPS = {
    "cost": "Cost", "energy": "Energy and work", "voltage": "Voltage", "price": "Prices",
    "negotiation": "Negotiation", "solution": "Solution",
}  # fmt: skip
_HEADLINE = (
    "social_cost_usd",
    "dca_cost_usd",
    "welfare_gap",
    "ac_v_min_pu",
    "violations_ac",
    "dlmp_max_usd_per_mwh",
)
_SHORT = {
    "social_cost_usd": "social cost", "dca_cost_usd": "data centers' cost",
    "welfare_gap": "above welfare optimum",
    "ac_v_min_pu": "lowest voltage (AC)", "violations_ac": "limits broken (AC)",
    "dlmp_max_usd_per_mwh": "highest price",
}  # fmt: skip


@dataclass(slots=True)
class _Page:
    """What the template shows."""

    title: str
    lead: str
    provenance: list[tuple[str, str]]
    links: list[tuple[str, str]] = field(default_factory=list)
    error: object = None
    headline: list[dict[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    limits: list[tuple[str, str, str]] = field(default_factory=list)
    findings: list[tuple[str, str]] = field(default_factory=list)
    sections: list[dict[str, Any]] = field(default_factory=list)
    sheets: list[Sheet] = field(default_factory=list)
    kpi_columns: list[str] = field(default_factory=list)
    kpi_groups: list[dict[str, Any]] = field(default_factory=list)
    certificates: list[dict[str, Any]] = field(default_factory=list)
    tables: list[dict[str, str]] = field(default_factory=list)
    scenario_text: str = ""


def write_report(folder: str | Path, figures: bool = True) -> Path:
    """Redo the figures and the report of a results folder, of a run or a comparison (then of its runs too).

    Args:
        figures: draw figures, and link to the interactive page, which is written where figures are; without them
            the report has its tables alone, and nothing that draws is imported.

    Returns:
        The path of the report.

    Raises:
        InputError: the folder holds neither, or its files cannot be read.
    """
    folder = Path(folder)
    if (folder / COMPARISON_FILE).is_file():
        for mode in read_comparison(folder):
            write_run_report(folder / mode, figures)
        return write_comparison_report(folder, figures)
    if not (folder / RECORD_FILE).is_file():
        raise InputError("no results in this folder", key="OUT", value=str(folder),
                         allowed=f"a folder with {RECORD_FILE} or {COMPARISON_FILE}")  # fmt: skip
    return write_run_report(folder, figures)


def write_run_report(folder: str | Path, figures: bool = True) -> Path:
    """Write ``report.html`` and ``figures/`` of one run from what is in its folder.

    A failed run gets a report without figures. For ``figures`` and errors see :func:`write_report`.
    """
    folder = Path(folder)
    record = Record.read(folder)
    page = _Page(
        title=f"{record.scenario}: {record.mode}",
        lead=f"{record.market.replace('_', ' ')} market, seed {record.seed}, run {record.run_id}",
        provenance=provenance(record),
        links=page_links(figures),
        error=record.error,
        headline=headline(record.kpis),
        notes=list(record.notes),
        kpi_columns=["value"],
        kpi_groups=kpi_groups({"value": record}),
        scenario_text=scenario_text(folder),
    )
    drawn: dict[str, Figure] = {}
    if record.status == "ok":
        tables, layout = StoredTables(folder), Layout.read(folder)
        page.limits = summary_rows(tables.limits, record.step_hours)
        if figures:
            drawn = _run_figures(tables, layout, record.voltage_limits)
        sheets = account_sheet(tables.accounts), deviation_sheet(tables.deviations, record.step_hours)
        page.sheets = [sheet for sheet in sheets if sheet is not None]
        page.tables = [_table_row(*found) for found in {**tables.lengths(), **layout.lengths()}.items()]
    page.sections = _sections(save_figures(drawn, folder))
    if record.certificate:
        page.certificates = [{"title": "Certificate", "rows": flat(record.certificate)}]
    return _write(page, folder)


def write_comparison_report(folder: str | Path, figures: bool = True) -> Path:
    """Write ``report.html`` and ``figures/`` of a comparison from the run folders in it; see :func:`write_report`."""
    folder = Path(folder)
    records = read_comparison(folder)
    finished = {mode: StoredTables(folder / mode) for mode, r in records.items() if r.status == "ok"}
    first = next(iter(records.values()))
    notes = [f"{mode}: {note}" for mode, r in records.items() for note in r.notes]
    notes += [f"{mode}: failed. {r.error.message}" for mode, r in records.items() if r.error is not None]
    page = _Page(
        title=f"{first.scenario}: {len(records)} modes compared",
        lead=f"{first.market.replace('_', ' ')} market, seed {first.seed}; each mode has a folder "
        "and a report of its own beside this file",
        provenance=provenance(first, compared=True)
        + [(f"solver, {mode}", r.solver) for mode, r in records.items() if r.solver],
        links=page_links(figures) + [(f"Report of {mode}", f"{mode}/{REPORT_FILE}") for mode in records],
        notes=notes,
        findings=findings(records),
        kpi_columns=list(records),
        kpi_groups=kpi_groups(records),
        certificates=[
            {"title": f"Certificate, {mode}", "rows": flat(r.certificate)}
            for mode, r in records.items()
            if r.certificate
        ],
        scenario_text=scenario_text(folder / next(iter(records))),
    )
    gained = gains(finished, read_baseline(folder) or first_uncoordinated(records))
    gain = gain_sheet(gained)
    page.sheets = [] if gain is None else [gain]
    wanted = finished and figures
    drawn = _comparison_figures(records, finished, first.voltage_limits) if wanted else {}
    if wanted and gain is not None:
        from cosim.results.figures.modes import gain_by_party

        drawn["gain_by_party"] = gain_by_party(gained)
    page.sections = _sections(save_figures(drawn, folder))
    return _write(page, folder)


def page_links(figures: bool) -> list[tuple[str, str]]:
    """(text, target) of the interactive page beside a report, which is written where figures are."""
    return [("Interactive page", PAGE_FILE)] if figures else []


def first_uncoordinated(records: Mapping[str, Record]) -> str:
    return baseline_among([*records], {name: r.mode for name, r in records.items()})


def _run_figures(tables: Tables, layout: Layout, limits: Limits) -> dict[str, Figure]:
    """Figures of a run by file name, which ends with the name of the feeder where there are several."""
    from cosim.results.figures.runs import feeder_figures, market_figures

    figures = {
        _named(figure, name): drawn
        for name, (part, own) in tables_by_feeder(tables, limits).items()
        for figure, drawn in feeder_figures(part, layout_part(layout, name), own).items()
    }
    return {**figures, **market_figures(tables)}


def _comparison_figures(
    records: Mapping[str, Record], finished: Mapping[str, Tables], limits: Limits
) -> dict[str, Figure]:
    """Figures of a comparison by file name; of several feeders each has its voltages and unbalance."""
    from cosim.results.figures.modes import comparison_figures

    table = comparison_table(records)
    found: dict[str, Figure] = {}
    parts = {mode: tables_by_feeder(tables, limits) for mode, tables in finished.items()}
    for name, (_, own) in next(iter(parts.values())).items():
        drawn = comparison_figures(table, {mode: part[name][0] for mode, part in parts.items()}, own)
        found |= {_named(figure, "" if figure in _OF_ALL else name): f for figure, f in drawn.items()}
    return found


def _named(figure: str, feeder: str) -> str:
    return f"{figure}.{feeder}" if feeder else figure


def _kind(figure: str) -> str:
    """The name of a figure without the feeder."""
    return figure.partition(".")[0]


def save_figures(
    figures: Mapping[str, Figure], folder: Path, known: Container[str] = CAPTIONS
) -> dict[str, bytes]:
    """Write figures as PNG; those of an earlier report that are no longer made are removed.

    Args:
        known: kinds of figures that a report may have made.
    """
    place = folder / FIGURES_FOLDER
    images: dict[str, bytes] = {}
    if figures:
        from cosim.results.figures.style import png

        place.mkdir(exist_ok=True)
        images = {name: png(figure) for name, figure in figures.items()}
    for old in place.glob("*.png"):
        if _kind(old.stem) in known and old.stem not in images:
            old.unlink()
    for name, data in images.items():
        (place / f"{name}.png").write_bytes(data)
    return images


def _sections(images: Mapping[str, bytes]) -> list[dict[str, Any]]:
    sections: dict[str, list[dict[str, str]]] = {}
    for kind, (section, caption) in CAPTIONS.items():
        for name in (n for n in images if _kind(n) == kind):
            data, feeder = base64.b64encode(images[name]).decode("ascii"), name.partition(".")[2]
            told = f"{caption} Feeder {feeder}." if feeder else caption
            sections.setdefault(section, []).append({"name": name, "caption": told, "data": data})
    return [{"title": t, "figures": f, "pair": t == _PAIRED} for t, f in sections.items()]


def headline(kpis: Mapping[str, Kpi]) -> list[dict[str, str]]:
    found = []
    for name in _HEADLINE:
        value = kpis[name].value if name in kpis else None
        if value is None:
            continue
        unit = kpis[name].unit
        text = shown(name, value)
        if name == "welfare_gap":
            text = f"{100 * value:.3g} %" if abs(value) > 1e-8 else "0 %"
        found.append({"label": _SHORT[name], "value": text if unit in ("1", "count") else f"{text} {unit}"})
    return found


def kpi_groups(records: Mapping[str, Record]) -> list[dict[str, Any]]:
    present = [k for k in MEASURES if any(k in r.kpis for r in records.values())]
    groups: dict[str, list[dict[str, Any]]] = {}
    for name in present:
        measure = MEASURES[name]
        values = [shown(name, r.kpis[name].value if name in r.kpis else None) for r in records.values()]
        groups.setdefault(measure.group, []).append(
            {"name": name, "label": measure.label, "unit": _unit(measure.unit), "values": values}
        )
    told = [note if len(records) == 1 else f"{n}: {note}" for n, r in records.items() for note in about_cap(r.notes)]
    return [{"title": _GROUPS[g], "rows": rows, "notes": told if g == "price" else []} for g, rows in groups.items()]


def _unit(unit: str) -> str:
    return "" if unit in ("1", "count") else unit


def provenance(record: Record, compared: bool = False) -> list[tuple[str, str]]:
    rows = [
        ("scenario", record.scenario),
        ("mode", record.mode),
        ("seed", str(record.seed)),
        ("solver", record.solver or "–"),
        ("started (UTC)", record.started or "–"),
        ("wall times", ", ".join(f"{k} {v:.2f} s" for k, v in record.wall_times_s.items()) or "–"),
        ("versions", ", ".join(f"{k} {v}" for k, v in record.versions.items()) or "–"),
    ]
    left_out = ("mode", "solver", "wall times") if compared else ()
    return [row for row in rows if row[0] not in left_out]


def flat(data: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A certificate as rows of name and text; inner mappings get dotted names, long lists are counted."""
    rows: list[tuple[str, str]] = []
    for key, value in data.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            rows += flat(value, f"{prefix}{key}.")
        elif isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 8:
            rows.append((name, f"{len(value)} values"))
        elif isinstance(value, Sequence) and not isinstance(value, str):
            rows.append((name, ", ".join(_text(v) for v in value) or "none"))
        else:
            rows.append((name, _text(value)))
    return rows


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "–" if value is None else str(value)


def _table_row(name: str, rows: int) -> dict[str, str]:
    schema = SCHEMAS[name]
    columns = ", ".join(f"{c.name} ({c.unit})" if c.unit else c.name for c in schema.columns)
    return {"file": f"{name}.parquet", "rows": str(rows), "title": schema.title, "columns": columns}


def scenario_text(folder: Path) -> str:
    path = folder / SCENARIO_FILE
    return path.read_text(encoding="utf-8") if path.is_file() else ""


@cache
def page_template(name: str) -> jinja2.Template:
    """The template of a page; templates share one style sheet, which becomes part of the page."""
    root = resources.files("cosim.results")
    loader = jinja2.FunctionLoader(lambda found: (root / found).read_text(encoding="utf-8"))
    return jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    ).get_template(name)


def _write(page: _Page, folder: Path) -> Path:
    content = {name: getattr(page, name) for name in page.__slots__}
    path = folder / REPORT_FILE
    path.write_text(page_template("report.html.j2").render(content), encoding="utf-8")
    return path
