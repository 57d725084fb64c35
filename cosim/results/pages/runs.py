"""The interactive pages of a run and of a comparison, made from their folders alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cosim.results.accounts.deviations import deviation_sheet
from cosim.results.accounts.sheets import Sheet, account_sheet, gain_sheet
from cosim.results.accounts.totals import gains, read_baseline
from cosim.results.by_feeder import layout_part, tables_by_feeder
from cosim.results.comparison import comparison_table, findings, read_comparison
from cosim.results.folders import COMPARISON_FILE, PAGE_FILE
from cosim.results.kpis import shown
from cosim.results.limit_table import summary_rows
from cosim.results.pages.charts import (
    SAME,
    Chart,
    Choice,
    Trace,
    coinciding,
    curves,
    duration,
    extremes,
    negotiation,
    site_powers,
    tolerance_of,
)
from cosim.results.pages.grids import map_of, steps_shown
from cosim.results.pages.page import LIBRARY_FILE, TO_REPORT, Cell, Page, Section, Table, origin, texts, write_page
from cosim.results.record import Record
from cosim.results.report import (
    first_uncoordinated,
    flat,
    headline,
    kpi_groups,
    provenance,
    scenario_text,
    write_comparison_report,
    write_run_report,
)
from cosim.results.spool import StoredTables
from cosim.results.tables import Layout, Tables

_SAME = f"{100 * SAME:g} %"
TO_COMPARISON = [("All modes compared", f"../{PAGE_FILE}")]
"""Link from the page of a run to that of its comparison."""
_COSTS = {"dca_payment_usd": "payment", "dca_cost_usd": "data centers", "dso_cost_usd": "operator",
          "social_cost_usd": "social"}  # fmt: skip


def write_report_and_page(folder: Path, figures: bool = True, page: bool = True) -> None:
    """Write the report of a run or a comparison, and the page if figures are wanted.

    Args:
        page: whether there is to be one; a comparison writes those of its runs.
    """
    if (folder / COMPARISON_FILE).is_file():
        write_comparison_report(folder, figures)
    else:
        write_run_report(folder, figures)
    if figures and page:
        write_pages(folder)


def write_pages(folder: str | Path) -> Path:
    """Write the page of a run, or of a comparison and of each of its runs; they share one copy of the library.

    Returns:
        The path of the page.

    Raises:
        InputError: the folder holds neither, or its files cannot be read.
    """
    folder = Path(folder)
    if not (folder / COMPARISON_FILE).is_file():
        return write_page(run_page(folder), folder)
    records = read_comparison(folder)
    for mode in records:
        write_page(run_page(folder / mode, TO_COMPARISON), folder / mode, f"../{LIBRARY_FILE}")
    return write_page(comparison_page(folder, records), folder)


def run_page(folder: Path, links: Sequence[tuple[str, str]] = ()) -> Page:
    """The page of one run; that of a failed run says why.

    Args:
        links: (text, target) to other pages.

    Raises:
        InputError: the folder holds no run, or its files cannot be read.
    """
    record = Record.read(folder)
    page = Page(
        title=f"{record.scenario}: {record.mode}",
        lead=f"{record.market.replace('_', ' ')} market, seed {record.seed}, run {record.run_id}",
        links=[*links, TO_REPORT],
        error=record.error,
        headline=headline(record.kpis),
        scenario_text=scenario_text(folder),
    )
    sections = page.sections
    sections.append(Section("What to know", lines=record.notes))
    if record.status == "ok":
        tables = StoredTables(folder, keep=True)
        put_maps(page, Layout.read(folder), {record.mode: (record, tables)}, detailed=True)
        limits = summary_rows(tables.limits, record.step_hours)
        sections += [
            Section("Over time", _over_time(tables)),
            Section("Negotiation, round by round", negotiation({record.mode: tables})),
            Section("Limits", tables=[texts("Worst limits", "", ("limit", "steps", "worst"), limits)]),
            Section("Accounts", tables=[*_sheets(account_sheet(tables.accounts)),
                                        *_sheets(deviation_sheet(tables.deviations, record.step_hours))]),
        ]  # fmt: skip
    sections += about({record.mode: record})
    return page


def comparison_page(folder: Path, records: Mapping[str, Record]) -> Page:
    """The page of a comparison, from the run folders in it."""
    finished = {mode: (r, StoredTables(folder / mode, keep=True)) for mode, r in records.items() if r.status == "ok"}
    tables = {mode: found for mode, (_, found) in finished.items()}
    first = next(iter(records.values()))
    page = Page(
        title=f"{first.scenario}: {len(records)} modes compared",
        lead=f"{first.market.replace('_', ' ')} market, seed {first.seed}",
        links=[*((mode, f"{quote(mode, safe='')}/{PAGE_FILE}") for mode in records),
               TO_REPORT],
        scenario_text=scenario_text(folder / next(iter(records))),
    )  # fmt: skip
    sections = page.sections
    if finished:
        page.told = coincide(records, tables)
        put_maps(page, Layout.read(folder / next(iter(finished))), finished, detailed=False)
        against = read_baseline(folder) or first_uncoordinated(records)
        sections += [
            Section("Across modes", across(records, tables),
                    [texts("What only a comparison can say", "", ("what", "finding"), findings(records))]),
            Section("Negotiation, round by round", negotiation(tables)),
            Section("Accounts", tables=_sheets(gain_sheet(gains(tables, against)))),
        ]  # fmt: skip
    failed = [f"{mode}: failed. {r.error.message}" for mode, r in records.items() if r.error is not None]
    sections.append(Section("What to know", lines=failed + [f"{m}: {n}" for m, r in records.items() for n in r.notes]))
    sections += about(records)
    return page


def put_maps(
    page: Page, layout: Layout, runs: Mapping[str, tuple[Record, Tables]], detailed: bool
) -> None:
    """Maps of all feeders, on steps that all runs share."""
    steps = next(iter(runs.values()))[1].only("steps", "step", "time")
    chosen = steps_shown(steps, len(layout.buses) * (1 if detailed else len(runs)))
    parts = {mode: tables_by_feeder(tables, record.voltage_limits) for mode, (record, tables) in runs.items()}
    names = list(next(iter(parts.values())))
    index = pd.Index(chosen["step"])
    page.names = names
    page.maps = [
        map_of(layout_part(layout, name), {mode: part[name] for mode, part in parts.items()}, index, detailed)
        for name in names
    ]
    page.times = [f"{t:%d %b %Y %H:%M}" for t in chosen["time"]]
    page.iso = _iso(chosen["time"])
    if len(chosen) < len(steps):
        page.note_map = (
            f"The map shows {len(chosen):,} of the {len(steps):,} steps, at equal distances; charts and tables "
            "hold all of them."
        )


def _iso(times: pd.Series) -> list[str]:
    written: list[str] = np.datetime_as_string(times.to_numpy(), unit="s").tolist()
    return written


def _over_time(tables: Tables) -> list[Chart]:
    """Power, price and voltage of a run over time and by duration, and what each step costs."""
    steps = tables.steps
    x = _iso(steps["time"])
    powers, supply = site_powers(tables), {"import": steps["p_sub_kw"].to_numpy(dtype=float)}
    price = {"at the substation": steps["price_sub_usd_per_mwh"].to_numpy(dtype=float)}
    volts = extremes(tables)
    costs = {
        "operator": steps["dso_cost_usd"].to_numpy(dtype=float),
        "data centers": (steps["dca_payment_usd"] + steps["dca_own_cost_usd"]).to_numpy(dtype=float),
        "social": steps["social_cost_usd"].to_numpy(dtype=float),
    }
    shown = [("power of data centers", powers, "kW"), ("import at the substation", supply, "kW"),
             ("price", price, "USD/MWh"), ("voltage, lowest and highest of the feeder", volts, "pu"),
             ("cost of each step", costs, "USD")]  # fmt: skip
    known = [part for part in shown if part[1] and all(len(values) == len(x) for values in part[1].values())]
    return [
        Chart("Over time", "Values hold over a step.", "", [Choice(n, curves(f, x), u) for n, f, u in known]),
        Chart("Duration", "The value is at least this high in this share of the time.", "",
              [Choice(n, duration(f), u) for n, f, u in known], "share of the time in %"),
    ]  # fmt: skip


def across(records: Mapping[str, Record], tables: Mapping[str, Tables]) -> list[Chart]:
    """Costs, power and voltages of runs side by side; runs that coincide share a curve."""
    table = comparison_table({mode: records[mode] for mode in tables})
    names = [name for name in _COSTS if name in table]
    costs = [Trace(str(mode), [_COSTS[n] for n in names], table.loc[mode, names].to_numpy(dtype=float))
             for mode in table.index]  # fmt: skip
    x = _iso(next(iter(tables.values())).only("steps", "step", "time")["time"])
    series = _series(tables)
    known = {key: found for key, found in series.items() if all(len(v) == len(x) for v in found.values())}
    return [
        Chart("Costs", "Over the whole horizon; the payment is that of the data centers, part of their cost.", "USD",
              [Choice("", costs)], bars=True),
        Chart("Over time", f"Modes less than {_SAME} of the range apart share a curve with all their names.", "",
              [Choice(what, curves(found, x), unit) for (what, unit), found in known.items()]),
        Chart("Duration", "The value is at least this high in this share of the time.", "",
              [Choice(what, duration(found), unit) for (what, unit), found in known.items()],
              "share of the time in %"),
    ]  # fmt: skip


def _series(tables: Mapping[str, Tables]) -> dict[tuple[str, str], dict[str, NDArray[np.float64]]]:
    """Series of each run by what they are and their unit."""
    found: dict[tuple[str, str], dict[str, NDArray[np.float64]]] = {}
    for mode, run in tables.items():
        powers, volts = site_powers(run), extremes(run)
        own = {
            ("power of all data centers", "kW"): np.sum([*powers.values()], axis=0) if powers else np.array([]),
            ("import at the substation", "kW"): run.steps["p_sub_kw"].to_numpy(dtype=float),
            ("lowest voltage", "pu"): volts["lowest"], ("highest voltage", "pu"): volts["highest"],
            ("social cost of each step", "USD"): run.steps["social_cost_usd"].to_numpy(dtype=float),
        }  # fmt: skip
        for key, values in own.items():
            found.setdefault(key, {})[mode] = values
    return found


def coincide(records: Mapping[str, Record], tables: Mapping[str, Tables]) -> list[str]:
    """Which runs have the same power and the same cost, as charts take it, and how far they are apart."""
    series = _series(tables)
    told = []
    for what, unit in (("power of all data centers", "kW"), ("social cost of each step", "USD")):
        found = series[what, unit]
        for group in coinciding(found, tolerance_of(found)):
            if len(group) > 1:
                apart = max(float(np.abs(found[name] - found[group[0]]).max(initial=0.0)) for name in group)
                told.append(f"{' and '.join(group)} coincide in the {what}: at most {apart:.2g} {unit} apart, "
                            f"less than {_SAME} of the range over all runs and steps.")  # fmt: skip
    return told


def about(records: Mapping[str, Record], difference: bool = False) -> list[Section]:
    """Key figures, certificates and origin.

    Args:
        difference: of two runs, whether the first less the second is told too.
    """
    apart = [("difference", True)] if difference else []
    columns = [("key figure", False), *((name, True) for name in records), *apart, ("unit", False), ("about", False)]
    rows = []
    for group in kpi_groups(records):
        for row in group["rows"]:
            values = [r.kpis[row["name"]].value if row["name"] in r.kpis else None for r in records.values()]
            cells = [Cell(text, math.inf if v is None else v) for text, v in zip(row["values"], values, strict=True)]
            if difference:
                known = [v for v in values if v is not None]
                less = known[0] - known[1] if len(known) == 2 else None
                cells.append(Cell(shown(row["name"], less), math.inf if less is None else less))
            rows.append([Cell(row["label"]), *cells, Cell(row["unit"]), Cell(group["title"])])
    certificates = [
        texts(f"Certificate, {name}", "What proves the solution.", ("what", "value"), flat(r.certificate))
        for name, r in records.items() if r.certificate
    ]  # fmt: skip
    first = next(iter(records.values()))
    return [
        Section("Key figures", tables=[Table("Key figures", "A click on a head sorts.", columns, rows)]),
        Section("Certificate", tables=certificates),
        origin(provenance(first, compared=len(records) > 1)),
    ]  # fmt: skip


def _sheets(sheet: Sheet | None) -> list[Table]:
    if sheet is None:
        return []
    columns = [("party", False), ("what", False), *((name, True) for name in sheet.columns)]
    rows = [
        [Cell(name), Cell(what), *(Cell(text, float(text.replace(",", ""))) for text in texts)]
        for name, what, texts in sheet.rows
    ]
    return [Table(sheet.title, sheet.text, columns, rows)]
