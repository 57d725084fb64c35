"""Figures in which every bus of the feeder is seen: maps, and heat maps over time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, QuadMesh
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from cosim.constants import LEGS, PHASES
from cosim.results.figures.cells import Cells
from cosim.results.figures.margins import Margins
from cosim.results.figures.style import GREY, SEQUENTIAL, name_time_axis, new_figure, style, thinned
from cosim.results.layout import DATACENTER, PLAIN, coordinates, feeder_order
from cosim.results.tables import Layout

_MARGIN = 0.12
"""Room around a feeder, as a share of its size."""
_BAR_PT, _LETTER_PT = 48.0, 5.2
"""Width of a colour bar with its numbers, and of a letter of a name on the average, points."""
_SOURCE = {"label": "substation", "marker": "*", "size": 17.0}

_FROM_SOURCE = "bus, from the substation outwards"
_SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))


_MOST_COLUMNS, _MOST_ROWS = 600, 1000
"""Steps and buses that a heat map shows one by one: about as many as it has points."""


def bus_prices(prices: pd.DataFrame) -> pd.DataFrame:
    """Active price by bus (rows) and step (columns), mean over the phases of the bus (USD/MWh)."""
    return _by_bus(prices, prices["phase"].isin(PHASES), prices["dlmp_p"])[0]


def _by_bus(prices: pd.DataFrame, wanted: pd.Series, *values: pd.Series) -> list[pd.DataFrame]:
    """Values by bus (rows) and step (columns), mean over the rows that are wanted."""
    steps = pd.Index(np.unique(prices["step"]), name="step")
    buses = pd.Index(prices.loc[wanted, "bus"].unique(), name="bus").sort_values()
    cells = Cells.of(steps, buses, prices, "bus", wanted.to_numpy(dtype=bool))
    return [pd.DataFrame(cells.mean(column).T, index=buses, columns=steps) for column in values]


def feeder_map(layout: Layout, values: pd.Series, label: str, title: str, cmap: str = SEQUENTIAL) -> Figure:
    """The feeder with each bus coloured by a value, and data centers and resources marked.

    Args:
        values: by bus; a bus without a value is drawn hollow.
        label: what the colours mean, with its unit.
    """
    with style():
        place = coordinates(layout)
        width, height = (float(np.ptp(place[c])) or 1.0 for c in ("x", "y"))
        margins = Margins()
        figure = new_figure(float(np.clip(6.0 * height / width, 3.6, 7.2)), title,
                            float(np.clip(5.6 * width / height + 1.8, 5.2, 8.0)), margins)  # fmt: skip
        ax = figure.add_subplot()
        _draw_branches(ax, layout, place)
        known = values.reindex(place.index)
        bare = place[known.isna()]
        shrink = min(1.0, (200 / len(place)) ** 0.75)  # so that thousands of buses do not cover each other
        ax.scatter(bare["x"], bare["y"], s=26 * shrink, facecolors="white", edgecolors=GREY, zorder=3)
        shown = place[known.notna()]
        points = ax.scatter(shown["x"], shown["y"], c=known.dropna(), cmap=cmap, s=52 * shrink, edgecolors="white",
                            linewidths=0.6 * shrink, zorder=4)  # fmt: skip
        handles = _draw_marks(ax, layout, place)
        bar = margins.bar(points, [ax], shrink=0.75, aspect=28)
        bar.set_label(label)
        bar.outline.set_visible(False)
        bar.ax.ticklabel_format(useOffset=False)
        ax.set_aspect("equal", adjustable="datalim")
        ax.margins(_MARGIN)
        ax.axis("off")
        figure.legend(
            handles=handles, loc="outside lower left", ncols=2, handletextpad=0.4, columnspacing=1.2
        )
        return figure


def _draw_branches(ax: Axes, layout: Layout, place: pd.DataFrame) -> None:
    at, ends = place.to_numpy(dtype=float), (layout.branches[end] for end in ("from_bus", "to_bus"))
    segments = np.stack([at[place.index.get_indexer(pd.Index(buses))] for buses in ends], axis=1)
    ax.add_collection(LineCollection(list(segments), colors="#9ca3af", linewidths=1.2, zorder=2))


def _draw_marks(ax: Axes, layout: Layout, place: pd.DataFrame) -> list[Line2D]:
    """Marks and names of the buses at which something is connected; returns the legend's entries."""
    units = layout.units
    for key, value in PLAIN.items():  # a folder of an earlier version does not say how units are drawn
        said = units[key].astype(object).where(units[key].notna(), value)
        units = units.assign(**{key: said.mask(units["kind"] == "datacenter", DATACENTER[key])})
    groups: list[tuple[Mapping[Any, Any], list[str]]] = [
        (dict(rows[["label", "marker", "size"]].iloc[0]), sorted(set(rows["bus"])))
        for _, rows in units.groupby(["label", "marker", "size"], sort=False)
    ]
    groups.append((_SOURCE, list(layout.buses.loc[layout.buses["role"] == "source", "bus"])))
    handles = []
    for symbol, buses in groups:
        at = place.loc[buses]
        if at.empty:
            continue
        look = {"marker": symbol["marker"], "markersize": float(symbol["size"]), "markerfacecolor": "none",
                "markeredgecolor": "black", "markeredgewidth": 1.3, "linestyle": "none"}  # fmt: skip
        ax.plot(at["x"], at["y"], zorder=5, **look)
        label = symbol["label"]
        handles.append(Line2D([], [], label=label, **{**look, "markersize": 9.0}))
    _name(ax, place, sorted({bus for _, buses in groups for bus in buses}))
    return handles


def _within(ax: Axes, points: NDArray[np.float64]) -> Callable[[float, int, str], bool]:
    """Whether a name fits between the left edge of the figure and the colour bar, by the place and side of its bus.

    It is known before the figure is laid out only about: a letter is as wide as one is on the average.
    """
    figure = ax.get_figure(root=True)
    assert figure is not None, "axes of a figure"
    wide, high = (72.0 * float(inches) for inches in figure.get_size_inches())
    low, size = points.min(axis=0), np.ptp(points, axis=0)
    room = np.array([wide - _BAR_PT, high]) / (1.0 + 2.0 * _MARGIN)
    scale = min((r / s for r, s in zip(room, size, strict=True) if s > 0), default=0.0)
    middle, half = float(low[0] + size[0] / 2), (wide - _BAR_PT) / 2

    def fits(x: float, side: int, name: str) -> bool:
        letters = _LETTER_PT * len(name)
        at = scale * (x - middle)
        first, last = {1: (16.0, 16.0 + letters), -1: (-16.0 - letters, -16.0), 0: (-letters / 2, letters / 2)}[side]
        return -half <= at + first and at + last <= half

    return fits


def _name(ax: Axes, place: pd.DataFrame, buses: Sequence[str]) -> None:
    """Names beside buses, each on the side that is farthest from other buses and names, and within the axes."""
    span = float(np.ptp(place.to_numpy(), axis=0).max()) or 1.0
    taken = place.to_numpy(dtype=float)
    inside = _within(ax, taken)
    for bus in buses:
        here = place.loc[bus].to_numpy(dtype=float)
        others = taken[np.hypot(*(taken - here).T) > 1e-9 * span]
        rooms = [
            float(np.hypot(*(others - here - 0.06 * span * np.array(d)).T).min(initial=span)) for d in _SIDES
        ]
        fits = [inside(float(here[0]), dx, bus) for dx, _ in _SIDES]
        dx, dy = _SIDES[int(np.argmax(np.where(fits, np.round(rooms, 9), -1.0)))]
        text = ax.annotate(
            bus,
            tuple(here),
            xytext=(dx * (13 if dy else 16), dy * (12 if dx else 19)),
            textcoords="offset points",
            ha="left" if dx > 0 else "right" if dx < 0 else "center",
            va="center",
            fontsize=9,
            zorder=7,
        )
        text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
        taken = np.vstack([taken, here + 0.06 * span * np.array([dx, dy])])


def price_heatmap(prices: pd.DataFrame, steps: pd.DataFrame, layout: Layout) -> Figure:
    """Active price by bus and step, mean over phases; beside it what location adds to the energy price."""
    with style():
        local = prices["dlmp_p"] - prices["energy"]
        table, by_location = _by_bus(prices, prices["phase"].isin(PHASES), prices["dlmp_p"], local)
        title = "Locational price by bus and time, mean over phases (USD/MWh)"
        margins = Margins()
        figure = new_figure(_height(len(table)), title, 9.5, margins)
        left, right = figure.subplots(1, 2)
        order = feeder_order(layout)
        meshes = [_heatmap(left, table, steps, order, named=True), _heatmap(right, by_location, steps, order)]
        for ax, mesh in zip((left, right), meshes, strict=True):
            margins.bar(mesh, [ax], shrink=0.6, aspect=30).outline.set_visible(False)
        left.set(title="price", ylabel=_FROM_SOURCE)
        right.set(title="price less energy at the substation", ylabel="")
        return figure


def price_heatmap_by_phase(prices: pd.DataFrame, steps: pd.DataFrame, layout: Layout) -> Figure:
    """What location adds to the energy price, by delta leg where the feeder has them, else by phase."""
    with style():
        legs = prices["phase"].isin(LEGS)
        names = LEGS if set(prices.loc[legs, "bus"].unique()) == set(prices["bus"].unique()) else PHASES
        local = prices["dlmp_p"] - prices["energy"]
        tables = {name: _by_bus(prices, prices["phase"] == name, local)[0] for name in names}
        present = {bus for table in tables.values() for bus in table.index}
        order = [b for b in feeder_order(layout) if b in present]
        what = "delta leg" if names == LEGS else "phase"
        title = f"Locational price less energy, by bus, time and {what} (USD/MWh)"
        margins = Margins()
        figure = new_figure(_height(len(present)), title, 9.5, margins)
        axes = figure.subplots(1, 3)
        meshes = [_heatmap(ax, table.reindex(order), steps, order, named=ax is axes[0])
                  for ax, table in zip(axes, tables.values(), strict=True)]  # fmt: skip
        lows, highs = zip(*(mesh.get_clim() for mesh in meshes), strict=True)
        for ax, mesh, name in zip(axes, meshes, names, strict=True):
            mesh.set_clim(np.nanmin(lows), np.nanmax(highs))
            ax.set(title=f"{what} {name}", ylabel="")
        margins.bar(meshes[0], list(axes), shrink=0.6, aspect=30)
        axes[0].set_ylabel(_FROM_SOURCE)
        return figure


def _height(rows: int) -> float:
    return float(np.clip(1.6 + 0.145 * rows, 3.0, 9.0))


def _heatmap(
    ax: Axes,
    table: pd.DataFrame,
    steps: pd.DataFrame,
    order: Sequence[str],
    named: bool = False,
) -> QuadMesh:
    """One heat map with upright times below, and names of buses if wanted.

    Of more steps and buses than it has points it shows means: of spans of time, and of neighbours that have a value.
    """
    known = set(order)
    data = table.reindex([*(b for b in order if b in table.index), *(b for b in table.index if b not in known)])
    names = data.index
    every = -(-len(names) // _MOST_ROWS)
    rows = data.groupby(np.arange(len(names)) // every).mean() if every > 1 else data
    times = pd.DatetimeIndex(steps.set_index("step")["time"].reindex(data.columns))
    columns, begins, means = thinned(rows.T, times, _MOST_COLUMNS)
    shown = np.ma.masked_invalid(columns.to_numpy().T)
    ax.spines[:].set_visible(False)
    mesh = ax.pcolormesh(shown, cmap=SEQUENTIAL, rasterized=True)
    mesh.autoscale_None()
    ax.set(xlim=(0, len(begins)), ylim=(len(names) / every, 0))
    one_day = times.max() - times.min() <= pd.Timedelta(days=1.5)
    places = np.arange(len(begins))[:: max(1, len(begins) // 4)]
    ax.set_xticks(places + 0.5, [f"{t:%H:%M}" if one_day else f"{t:%d %b}" for t in begins[places]], rotation=0)
    chosen = np.arange(len(names))[:: max(1, -(-len(names) // 60))] if named else np.array([], dtype=int)
    ax.set_yticks((chosen + 0.5) / every, list(names[chosen]), rotation=0, fontsize=7.5)
    name_time_axis(ax, one_day, means)
    return mesh
