"""Figures of a hosting study: maps, duration curves, capacity against what is curtailed, hour and day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cosim.hosting.study.schemas import ALL_CASES, MEANS
from cosim.hosting.study.tables import flexible, over_all_cases
from cosim.results.figures.maps import feeder_map
from cosim.results.figures.margins import Margins
from cosim.results.figures.style import COLOURS, DASHES, SEQUENTIAL, colours, new_figure, style
from cosim.results.tables import Layout

FAR = 4.0
"""Capacities above so many times the median have the last colour of a map and no line of their own."""
_LINES = 6
_MAPS = 3
_DAY_H = 24
_MEANS_WORDS = {
    "none": "nothing beside it", "battery": "battery", "shift": "work that may wait", "svg": "SVG",
    "svg+battery": "SVG and battery", "svg+shift": "SVG and work that may wait",
}  # fmt: skip


def hosting_figures(
    tables: Mapping[str, pd.DataFrame], layout: Layout, limits: pd.DataFrame, highlighted_pct: float
) -> dict[str, Figure]:
    """All figures of a study by file name; those without data are left out.

    Args:
        tables: capacity, duration, curtailment, connections and steps.
        limits: (steps by connection) limits over all cases of the connections in :func:`chosen`.
        highlighted_pct: budget of hours whose capacities the map shows.
    """
    capacity, connections = tables["capacity"], tables["connections"]
    alone = connections.groupby("connection")["bus"].transform("size") == 1
    buses = set(connections.loc[alone, "bus"])
    figures: dict[str, Figure] = {}
    limited = f"Capacity by bus, limited in at most {highlighted_pct:g} % of the hours"
    budgets = {"map_firm": (0.0, "Firm capacity by bus"), "map_flexible": (highlighted_pct, limited)}
    for name, (budget, title) in budgets.items():
        found = flexible(capacity, budget)
        found = found[[bus in buses for bus in found.index]]
        if len(found) > 1:
            top = FAR * float(found.median())
            label = "capacity (MW)" if found.max() <= top else f"capacity (MW), up to {top / 1000:.3g} and more"
            figures[name] = feeder_map(layout, found.clip(upper=top) / 1000, label, title)
    names = chosen(capacity)
    figures["duration"] = duration_curves(over_all_cases(tables["duration"]), names)
    figures["curtailment"] = curtailment_curves(tables["curtailment"], names)
    if tables["curtailment"]["means"].nunique() > 1:
        figures["means"] = means_curves(tables["curtailment"], names[len(names) // 2])
    days = hour_by_day(limits, tables["steps"], spread(names, _MAPS))
    if days is not None:
        figures["hours"] = days
    if capacity["case"].nunique() > 2:
        figures["cases"] = firm_by_case(capacity, names)
    return figures


def chosen(capacity: pd.DataFrame, most: int = _LINES) -> list[str]:
    """At most so many connections, spread evenly over the order of their firm capacities, the lowest first.

    Those far above the median, as beside the substation, are left out: beside them nothing else could be seen.
    """
    firm = flexible(capacity, 0.0)
    near = firm[firm <= FAR * firm.median()]
    firm = near if len(near) else firm
    return spread([str(name) for name in firm.sort_values(kind="stable").index], most)


def spread(names: Sequence[str], most: int) -> list[str]:
    """At most so many of some names, evenly spread, with the first and the last."""
    if len(names) <= most:
        return list(names)
    return [names[i] for i in np.unique(np.round(np.linspace(0, len(names) - 1, most)).astype(int))]


def duration_curves(duration: pd.DataFrame, names: Sequence[str]) -> Figure:
    """Duration curves of the limits of some connections; dashed with reactive power at the connection."""
    with style():
        figure = new_figure(4.2, "Duration curves of the hourly limit", margins=Margins())
        ax = figure.add_subplot()
        tint = colours(names)
        for means, dash in zip(("none", "svg"), DASHES, strict=False):
            part = duration[duration["means"] == means]
            for name, rows in part[part["connection"].isin(names)].groupby("connection", sort=False):
                label = f"bus {name}" if means == "none" else f"bus {name}, SVG"
                ax.plot(
                    rows["at_least_pct"], rows["limit_kw"] / 1000, color=tint[str(name)], linestyle=dash, label=label
                )
        ax.set(xlabel="share of the time (%)", ylabel="limit (MW)", xlim=(0, 100))
        ax.set_ylim(bottom=0)
        _legend(figure, ax)
        return figure


def curtailment_curves(table: pd.DataFrame, names: Sequence[str]) -> Figure:
    """Capacity against hours limited and energy not served of some connections, with nothing beside the site."""
    bare = table[table["means"] == "none"]
    tint = colours(names)
    lines = {f"bus {name}": (bare[bare["connection"] == name], tint[name], "-") for name in names}
    return _lost(lines, "Capacity against what is curtailed")


def means_curves(table: pd.DataFrame, connection: str) -> Figure:
    """Capacity against hours limited and energy not served at one connection, by what the site has."""
    own = table[table["connection"] == connection]
    present = [means for means in MEANS if (own["means"] == means).any()]
    lines = {_MEANS_WORDS[means]: (own[own["means"] == means], COLOURS[i % len(COLOURS)], DASHES[i % len(DASHES)])
             for i, means in enumerate(present)}  # fmt: skip
    return _lost(lines, f"Capacity against what is curtailed at bus {connection}")


def _lost(lines: Mapping[str, tuple[pd.DataFrame, str, str]], title: str) -> Figure:
    with style():
        figure = new_figure(4.2, title, margins=Margins())
        axes = figure.subplots(1, 2, sharey=True)
        for ax, column, label in zip(axes, ("limited_hours_pct", "not_served_pct"),
                                     ("hours limited (%)", "energy not served (%)"), strict=True):  # fmt: skip
            for name, (rows, colour, dash) in lines.items():
                ax.plot(rows[column], rows["capacity_kw"] / 1000, color=colour, linestyle=dash, label=name)
            ax.set_xlabel(label)
            ax.set_xlim(left=0)
        axes[0].set_ylabel("capacity (MW)")
        _legend(figure, axes[0])
        return figure


def hour_by_day(limits: pd.DataFrame, steps: pd.DataFrame, names: Sequence[str]) -> Figure | None:
    """Limits of some connections over the hours of a day (upwards) and the days; None for fewer than two days.

    Args:
        limits: (steps, connections), kW. steps: step and local time.
    """
    times = pd.DatetimeIndex(steps.set_index("step")["time"].reindex(limits.index))
    days = (times.normalize() - times[0].normalize()).days.to_numpy()
    if days[-1] < 1:
        return None
    seconds = (times - times.normalize()).total_seconds().to_numpy()
    width = int((times[1] - times[0]).total_seconds())
    slots, slot = _DAY_H * 3600 // width, (seconds // width).astype(int)
    with style():
        margins = Margins()
        figure = new_figure(1.1 + 1.55 * len(names), "Limit by hour and day (MW)", margins=margins)
        axes = np.atleast_1d(figure.subplots(len(names), 1, sharex=True))
        for ax, name in zip(axes, names, strict=True):
            picture = np.full((slots, days[-1] + 1), np.nan)
            picture[np.minimum(slot, slots - 1), days] = limits[name]
            mesh = ax.pcolormesh(np.ma.masked_invalid(picture) / 1000, cmap=SEQUENTIAL, rasterized=True)
            ax.spines[:].set_visible(False)
            ax.grid(visible=False)
            ax.set_yticks(np.array([0, 6, 12, 18, 24]) * slots / _DAY_H, ["0", "6", "12", "18", "24"])
            ax.set(title=f"bus {name}", ylabel="hour")
            margins.bar(mesh, [ax], shrink=0.9, aspect=12).outline.set_visible(False)
        _day_axis(axes[-1], times, int(days[-1]) + 1)
        return figure


def _day_axis(ax: Axes, times: pd.DatetimeIndex, days: int) -> None:
    """Dates below an axis that counts days: the first of months, of some days where there are few."""
    first = times[0].normalize()
    dates = [first + pd.Timedelta(days=d) for d in range(days)]
    places = [d for d, date in enumerate(dates) if date.day == 1] if days > 62 else list(range(0, days, -(-days // 8)))
    ax.set_xticks(places, [f"{dates[d]:%d %b}" for d in places], rotation=0)
    ax.set_xlabel("day")


def firm_by_case(capacity: pd.DataFrame, names: Sequence[str]) -> Figure:
    """Firm capacity of some connections in each case, with nothing beside the site."""
    firm = capacity[(capacity["budget_of"] == "firm") & (capacity["means"] == "none") & (capacity["case"] != ALL_CASES)]
    table = firm.pivot(index="connection", columns="case", values="capacity_kw").reindex(list(names)) / 1000
    cases = [str(case) for case in table.columns]
    worst = sorted(cases, key=lambda case: (table[case].min(), case))[:_LINES]
    cases = [case for case in cases if case in worst]
    tint = colours(cases)
    with style():
        rest = "" if len(table.columns) == len(cases) else ", the tightest"
        figure = new_figure(3.9, f"Firm capacity by case{rest}", margins=Margins())
        ax = figure.add_subplot()
        width = 0.8 / len(cases)
        for i, case in enumerate(cases):
            at = np.arange(len(table)) + (i - (len(cases) - 1) / 2) * width
            ax.bar(at, table[case], width=0.92 * width, color=tint[case], label=case)
        ax.set_xticks(np.arange(len(table)), [f"bus {name}" for name in table.index], rotation=0)
        ax.grid(visible=False, axis="x")
        ax.set_ylabel("firm capacity (MW)")
        _legend(figure, ax)
        return figure


def _legend(figure: Figure, ax: Axes) -> None:
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4))
