"""``cosim hosting``: what a feeder can host always, and what if it may be limited now and then.

Everything heavy is imported when the command runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cosim.cli.exit_codes import exit_codes
from cosim.cli.options import ForceOption, JobsOption, OutOption, TablesOption
from cosim.cli.printing import free_folder, print_notes, progress_bar, say_where, stdout
from cosim.cli.sweep import parsed_changes
from cosim.errors import InputError

if TYPE_CHECKING:
    from cosim.hosting.study.capacity import Battery, Shift
    from cosim.hosting.study.result import Hosting

_MOST = 15


def hosting_command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FEEDER_OR_SCENARIO",
            help="A scenario (shipped by name, or a YAML file), a feeder (shipped by name, or a folder of tables), or "
            "an OpenDSS script. A shipped name that is both means the scenario.",
        ),
    ],
    buses: Annotated[
        str, typer.Option(metavar="all|three-phase|NAMES", help="Buses to connect to; names are separated by commas.")
    ] = "three-phase",
    pairs: Annotated[str, typer.Option(metavar="A+B,C+D", help="Buses that share a draw equally.")] = "",
    year: Annotated[bool, typer.Option("--year", help="365 days, from --start or 1 January.")] = False,
    start: Annotated[str | None, typer.Option(help="Local time at which the first step begins, ISO 8601.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Number of steps.")] = None,
    step_s: Annotated[
        int | None, typer.Option("--step-s", min=1, help="Length of a step in seconds (900: 15 min).")
    ] = None,
    load: Annotated[
        str | None,
        typer.Option(metavar="FILE:COLUMN", help="Factor on the feeder's loads; a number, or a YAML mapping."),
    ] = None,
    sun: Annotated[
        str | None,
        typer.Option(metavar="FILE:COLUMN", help="Output of photovoltaic plants as a share of their rating."),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(metavar="FILE:COLUMN", help="What the site wants as a share of its capacity; 1 by default."),
    ] = None,
    contingency: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WORDS|FILE",
            help="A case as 'regulator R at tap 0', 'capacitor C off', 'line L out', or a "
            "YAML file with outages; repeatable.",
        ),
    ] = None,  # fmt: skip
    lines_out: Annotated[
        str, typer.Option("--lines-out", metavar="all|NAMES", help="Lines that are taken out one by one (N-1).")
    ] = "",
    svg_kvar: Annotated[
        float | None, typer.Option("--svg-kvar", help="Reactive power that an SVG at the connection gives or takes.")
    ] = None,
    battery_mwh: Annotated[
        float | None, typer.Option("--battery-mwh", help="Energy of a battery beside the site.")
    ] = None,
    battery_mw: Annotated[float | None, typer.Option("--battery-mw", help="Its power, in and out.")] = None,
    battery_efficiency: Annotated[float, typer.Option("--battery-efficiency", help="Energy given over taken.")] = 0.9,
    shift_share: Annotated[float | None, typer.Option("--shift-share", help="Share of the work that may wait.")] = None,
    shift_hours: Annotated[float | None, typer.Option("--shift-hours", help="By how many hours, at most.")] = None,
    shift_peak: Annotated[
        float, typer.Option("--shift-peak", help="Most that a site draws while it catches up, in capacities.")
    ] = 1.25,
    budget: Annotated[
        str, typer.Option(metavar="PERCENTS", help="Shares of hours, and of energy, that may be lost.")
    ] = "0.25,0.5,1,5",
    power_factor: Annotated[float, typer.Option("--power-factor", help="Of the site's draw, lagging.")] = 0.95,
    largest_kw: Annotated[
        float | None,
        typer.Option("--largest-kw", help="Draw up to which is searched; three times the load by default."),
    ] = None,
    v_min: Annotated[float | None, typer.Option("--v-min", help="Lowest voltage, pu.")] = None,
    v_max: Annotated[float | None, typer.Option("--v-max", help="Highest voltage, pu.")] = None,
    ratings: Annotated[
        bool | None,
        typer.Option("--ratings/--no-ratings", help="Keep the feeder's own ratings; a feeder's are by default."),
    ] = None,
    leave_broken_out: Annotated[
        bool,
        typer.Option(
            "--leave-broken-out",
            help="Limits that are broken without the site do not bind; else they must not be made worse.",
        ),
    ] = False,  # fmt: skip
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key of a scenario; repeatable.")
    ] = None,
    jobs: JobsOption = 1,
    out: OutOption = None,
    force: ForceOption = False,
    no_figures: TablesOption = False,
) -> None:
    """What each bus can host always, and what if it may be limited now and then, over many hours and cases."""
    with exit_codes():
        from cosim.hosting.study.study import ALL, THREE_PHASE, hosting_study

        chosen = buses if buses in (ALL, THREE_PHASE) else _names(buses)
        folder = out or free_folder(source, "hosting")
        with progress_bar(Path(source).stem) as progress:
            found = hosting_study(
                source,
                buses=chosen,
                pairs=_names(pairs),
                year=year,
                start=start,
                steps=steps,
                step_s=step_s,
                load=_series(load, "--load"),
                sun=_series(sun, "--sun"),
                contingencies=contingency or [],
                lines_out=_names(lines_out),
                budgets_pct=[_number(text, "--budget") for text in _names(budget)],
                profile=_series(profile, "--profile"),
                svg_kvar=svg_kvar,
                battery=_battery(battery_mwh, battery_mw, battery_efficiency),
                shift=_shift(shift_share, shift_hours, shift_peak),
                leave_broken_out=leave_broken_out,
                power_factor=power_factor,
                largest_kw=largest_kw,
                v_min_pu=v_min,
                v_max_pu=v_max,
                ratings=ratings,
                overrides=parsed_changes(changes),
                jobs=jobs,
                out=folder,
                force=force,
                figures=not no_figures,
                progress=progress,
            )
        _print_summary(found)
        print_notes(found.notes)
        say_where(folder)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _number(text: str, key: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError("not a number", key=key, value=text, allowed="numbers separated by commas") from None


def _series(text: str | None, key: str) -> Any:
    """A series as it is written on the command line: a number, FILE:COLUMN, or a YAML mapping with a series' keys."""
    from cosim.yaml_reading import parse_yaml

    if text is None:
        return None
    if text.lstrip().startswith("{"):
        return parse_yaml(text)
    try:
        return float(text)
    except ValueError:
        return text


def _battery(mwh: float | None, mw: float | None, efficiency: float) -> Battery | None:
    from cosim.hosting.study.capacity import Battery

    if mwh is None and mw is None:
        return None
    if mwh is None or mw is None:
        raise InputError(
            "a battery has an energy and a power", key="--battery-mwh, --battery-mw", allowed="both, or none"
        )
    return Battery(mwh, mw, efficiency)


def _shift(share: float | None, hours: float | None, peak: float) -> Shift | None:
    from cosim.hosting.study.capacity import Shift

    if share is None and hours is None:
        return None
    if share is None or hours is None:
        raise InputError("work that may wait has a share and a time", key="--shift-share, --shift-hours",
                         allowed="both, or none")  # fmt: skip
    return Shift(share, hours, peak)


def _print_summary(found: Hosting) -> None:
    """The tightest connections: firm and flexible capacity, and what limits them."""
    from cosim.hosting.study.report import binding_words

    summary, pct = found.summary(), found.record.highlighted_pct
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("connection", overflow="fold")
    for title in ("firm kW", f"{pct:g} % of hours", f"{pct:g} % of energy"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("the firm capacity is limited by", overflow="fold")
    for name, row in summary.head(_MOST).iterrows():
        sizes = (row["firm_kw"], row[f"hours_{pct:g}_pct_kw"], row[f"energy_{pct:g}_pct_kw"])
        what = "nothing up to there" if row["open_ended"] else binding_words(row["kind"], row["element"], row["phase"])
        case = f", {row['in_case']}" if len(found.contingencies) > 1 and isinstance(row["in_case"], str) else ""
        broken = ""
        if row["broken_steps_pct"]:
            share, unbroken = row["broken_steps_pct"], row["unbroken_kw"]
            broken = f" (broken without it in {share:.3g} % of steps; else {unbroken:,.0f} kW)"
        table.add_row(str(name), *(f"{size:,.0f}" for size in sizes), what + case + broken)
    console: Console = stdout()
    console.print(table)
    if len(summary) > _MOST:
        typer.echo(f"... and {len(summary) - _MOST} more connections in the report")
