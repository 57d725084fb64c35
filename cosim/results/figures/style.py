"""How figures look: one style, colours that colour-blind readers can tell apart, and PNG files that repeat.

Figures are made without pyplot and inside a style context, so nothing global changes.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import matplotlib as mpl
import matplotlib.dates as mdates
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray
from PIL import Image

from cosim.results.figures.margins import Margins

DPI = 150
_NOTEBOOK_DPI = 100
_PACKED = 1
"""How hard files are packed, of 9: the usual 6 takes 1.4 times as long for files that are 13 per cent smaller."""
WIDTH_IN = 8.0
SEQUENTIAL = "viridis"
LIMIT_COLOUR = "#b00020"
GREY = "#6b7280"

# Okabe and Ito's colours (yellow left out: too pale on white).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
DASHES = ("-", "--", "-.", ":")
PART_COLOURS = {
    "energy": "#56B4E9", "loss": "#E69F00", "voltage": "#D55E00", "congestion": "#CC79A7",
    "unbalance": "#009E73", "risk": "#0072B2",
}  # fmt: skip
MODE_COLOURS = {
    "uncoordinated": "#8a8f98", "decentralized": "#0072B2", "welfare": "#009E73", "centralized": "#D55E00",
    "envelope": "#CC79A7",
}  # fmt: skip

_WHITE_GRID: Any = {
    "axes.axisbelow": True, "axes.facecolor": "white", "axes.grid": True, "axes.labelcolor": ".15",
    "axes.spines.bottom": True, "axes.spines.left": True, "grid.linestyle": "-", "lines.solid_capstyle": "round",
    "patch.edgecolor": "w", "patch.force_edgecolor": True, "text.color": ".15",
    "xtick.color": ".15", "xtick.direction": "out", "xtick.top": False, "ytick.color": ".15", "ytick.direction": "out",
    "ytick.left": False, "ytick.right": False,
}  # fmt: skip
"""Seaborn's style "whitegrid", whose import takes longer than drawing a figure."""
_NO_MARKS: Any = {
    "xtick.bottom": True, "xtick.major.size": 0.0, "xtick.major.pad": 7.0, "xtick.minor.size": 0.0,
    "xtick.minor.pad": 5.4,
}  # fmt: skip
"""No marks at the ticks of x axes: of length 0, and the labels where those of marks would be. Marks that are switched
off would look the same, but then matplotlib measures all labels again to place a title."""
_RC: Any = {
    **_WHITE_GRID,
    **_NO_MARKS,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.0,
    "axes.titlesize": 11.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # above the axes, where no ticks are: else matplotlib measures all labels to place it
    "axes.labelsize": 10.0,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "legend.fontsize": 9.0,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9ca3af",
    "grid.color": "#e5e7eb",
    "lines.linewidth": 1.7,
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "figure.facecolor": "white",
    "svg.hashsalt": "cosim",
    "text.parse_math": False,  # names and labels of a user's own are shown as they are, dollar signs included
}


@contextmanager
def style() -> Iterator[None]:
    """The style of all figures, for the length of a block."""
    with mpl.rc_context(_RC):
        yield


class Drawn(Figure):
    """A figure that a notebook shows as a picture at the end of a cell, whether or not pyplot was set up there."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """PNG, and the width and height at which a notebook shows it."""
        width, height = (int(inches * _NOTEBOOK_DPI) for inches in self.get_size_inches())
        return png(self), {"width": width, "height": height}


def new_figure(height_in: float, title: str, width_in: float = WIDTH_IN, margins: Margins | None = None) -> Figure:
    """An empty figure with a title; its size is in inches.

    Args:
        margins: place its axes; by default matplotlib's constrained layout does, which takes any figure and its time.
    """
    figure = Drawn(figsize=(width_in, height_in), layout=margins or "constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=12.5, fontweight="bold", x=0.01, ha="left")
    return figure


def png(figure: Figure) -> bytes:
    """The figure as PNG; the same figure gives the same bytes."""
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg), "figures come from new_figure()"
    layout = figure.get_layout_engine()
    with style(), layout.measured_once() if isinstance(layout, Margins) else nullcontext():
        canvas.draw()  # type: ignore[no-untyped-call]  # once: savefig() would draw twice, and drawing is what takes time
        return encoded(np.asarray(canvas.buffer_rgba()))  # type: ignore[no-untyped-call]


def encoded(pixels: NDArray[np.uint8]) -> bytes:
    """Pixels (rows, columns, RGBA) on white as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert("RGB").save(buffer, format="png", dpi=(DPI, DPI), compress_level=_PACKED)
    return buffer.getvalue()


def colours(names: Sequence[str], known: dict[str, str] | None = None) -> dict[str, str]:
    """A colour for each name: the known one, else one that no other name has, as long as there are enough."""
    fixed = {n: known[n] for n in names if known and n in known}
    free = itertools.cycle([c for c in COLOURS if c not in fixed.values()] or COLOURS)
    return {n: fixed[n] if n in fixed else next(free) for n in names}


def time_axis(ax: Axes, times: pd.Series | pd.DatetimeIndex, ticks: int = 9, note: str = "") -> None:
    """Upright labels at round times on an axis, at most so many; hours up to two days, else dates.

    Args:
        note: what is said beside the name of the axis.
    """
    index = pd.DatetimeIndex(times)
    first, end = index.min(), index.max() + _width(index)
    spacing = next((m for m in map(_minutes, _SPACINGS_MIN) if (end - first) / m <= ticks - 1), end - first)
    places = pd.date_range(first.normalize(), end, freq=spacing)
    places = places[places >= first]
    hours = end - first <= pd.Timedelta(days=2) and spacing < pd.Timedelta(days=1)
    labels = [f"{t:%H:%M}" if hours else f"{t:%d %b}" for t in places]
    ax.set_xticks(mdates.date2num(places), labels)  # type: ignore[no-untyped-call]
    name_time_axis(ax, hours, note)


def name_time_axis(ax: Axes, hours: bool, note: str = "") -> None:
    """What an axis of time shows, hours or dates, and a note beside that."""
    ax.set_xlabel(", ".join(filter(None, ("local time" if hours else "date", note))))


_SPACINGS_MIN = (1, 5, 15, 30, 60, 120, 180, 240, 360, 720, 1440, 2880, 10080, 20160, 43200, 129600)


def _minutes(count: int) -> pd.Timedelta:
    return pd.Timedelta(minutes=count)


def _width(index: pd.DatetimeIndex) -> pd.Timedelta:
    """Length of a step; an hour if there is only one."""
    return index[1] - index[0] if len(index) > 1 else pd.Timedelta(hours=1)


def thinned(
    frame: pd.DataFrame, times: pd.DatetimeIndex, most: int
) -> tuple[pd.DataFrame, pd.DatetimeIndex, str]:
    """A frame with a row for each step, or means over spans of a round length where there are more steps than that.

    Args:
        frame: (steps, columns); times: when each of its steps begins.
        most: rows that can be told apart in a figure.

    Returns:
        The rows, when each begins, and what they are in words, empty if they are steps.
    """
    if len(frame) <= most:
        return frame, times, ""
    needed = _width(times) * len(times) / most
    span = next((m for m in map(_minutes, _SPACINGS_MIN) if m >= needed), needed)
    begins = times.normalize()[0] + (times - times.normalize()[0]) // span * span
    days, hours = span / pd.Timedelta(days=1), span / pd.Timedelta(hours=1)
    words = "means of days" if days == 1 else f"means of {days:g} days" if days > 1 else f"means of {hours:g} h"
    rows = frame.groupby(begins, sort=False).mean()
    return rows, pd.DatetimeIndex(rows.index), words


def hold(
    times: pd.Series | pd.DatetimeIndex, values: pd.Series
) -> tuple[pd.DatetimeIndex, NDArray[np.float64]]:
    """Times and values with the last step drawn to its end, for lines that hold a value over a step."""
    index = pd.DatetimeIndex(times)
    array = values.to_numpy(dtype=float)
    return pd.DatetimeIndex(index.append(pd.DatetimeIndex([index[-1] + _width(index)]))), np.append(array, array[-1])


def most(names: Sequence[str], weights: pd.Series, count: int = 6) -> list[str]:
    """At most ``count`` names, those of the greatest weight, in their own order: legends stay short."""
    if len(names) <= count:
        return list(names)
    chosen = set(
        weights.reindex(list(names)).fillna(0.0).sort_values(ascending=False, kind="stable").index[:count]
    )
    return [n for n in names if n in chosen]


def log_axis(ax: Axes) -> None:
    """A logarithmic y axis with plain numbers, also where it spans less than a decade."""
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    subs = (1.0,) if high > 100 * low else (1.0, 2.0, 5.0)
    ax.yaxis.set_major_locator(LogLocator(subs=subs, numticks=8))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
