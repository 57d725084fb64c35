"""Room around the axes of a figure, worked out once.

Matplotlib's constrained layout measures every label of a figure several times, which takes longer than drawing it.
In figures that are placed here labels of x axes are single upright lines, so that their height is known, titles of axes
stand above them, and colour bars are said to belong to axes. What is left to measure is the width of the labels of y
axes and the height of legends, once each; where the names of axes stand follows from it and is not measured again when
they are drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.layout_engine import LayoutEngine
from matplotlib.legend import Legend
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter
from numpy.typing import ArrayLike

POINT_IN = 1 / 72
LINE = 1.2
"""Height of a line of text in sizes of its font."""
EDGE_IN = 0.05
"""Left free at the edges of a figure, and between axes and what belongs to them."""
GAP_IN = 0.03
"""Left free between columns and between rows of axes."""
LAST_LABEL_IN = 0.15
"""By how much the last label of an x axis reaches beyond it."""
TICK_IN = 7 * POINT_IN
"""From an axis to its labels."""


@dataclass(frozen=True, slots=True)
class _Bar:
    """A colour bar to the right of axes: its length in heights of these, and in widths of its own."""

    axes: Axes
    beside: tuple[Axes, ...]
    shrink: float
    aspect: float


@dataclass(slots=True)
class _Needs:
    """Inches around axes; ``ticks_left``, ``ticks_below``: those of the labels at their ticks, ``texts``: by how much
    texts within reach beyond the right."""

    left: float = 0.0
    right: float = 0.0
    above: float = 0.0
    below: float = 0.0
    ticks_left: float = 0.0
    ticks_below: float = 0.0
    texts: float = 0.0


class Margins(LayoutEngine):
    """Places the axes of a figure, all of one grid, with its title, legend and colour bars around them."""

    _adjust_compatible = False
    _colorbar_gridspec = False

    def __init__(self) -> None:
        super().__init__()
        self._bars: list[_Bar] = []
        self._legends: dict[Axes, Legend] = {}
        self._once = False
        self._measured: list[Text] = []

    @contextmanager
    def measured_once(self) -> Iterator[None]:
        """For the length of a block, a figure that is drawn does not measure the labels at ticks once more.

        Matplotlib does so to place what this engine has placed, and finds no labels that are out of the layout.
        """
        self._once = True
        try:
            yield
        finally:
            self._once = False
            for label in self._measured:
                label.set_in_layout(True)
            self._measured.clear()

    def bar(self, mappable: Any, beside: Sequence[Axes], shrink: float, aspect: float) -> Colorbar:
        """Add a colour bar to the right of some axes of one row.

        Args:
            shrink: its length, in heights of the axes; aspect: in its own widths.
        """
        figure = beside[0].get_figure(root=True)
        assert figure is not None
        bar = figure.colorbar(mappable, cax=figure.add_axes((0.9, 0.1, 0.02, 0.8)))
        self._bars.append(_Bar(bar.ax, tuple(beside), shrink, aspect))
        return bar

    def legend_below(self, ax: Axes, columns: int) -> None:
        """Add a legend below an x axis."""
        self._legends[ax] = ax.legend(loc="upper center", borderaxespad=0.0, ncols=columns)

    def execute(self, fig: Figure) -> None:
        """Place everything; matplotlib calls it before it draws."""
        bars = {bar.axes for bar in self._bars}
        main = [ax for ax in fig.axes if ax not in bars and ax.get_visible() and ax.get_subplotspec() is not None]
        needs = {ax: _around(ax) for ax in main}
        for ax, legend in self._legends.items():
            needs[ax].below += EDGE_IN + _height_in(fig, legend)
        self._place(fig, needs)  # which labels an axis has depends on its size
        for ax, own in needs.items():
            own.ticks_left = _labels_in(fig, ax)
            name = _line_in(ax.yaxis.label, ax.yaxis.labelpad) if ax.get_ylabel() else 0.0
            left, own.texts, above, below = _texts_in(fig, ax)
            own.above, own.below = max(own.above, above), max(own.below, below)
            own.left = max(own.ticks_left + name, LAST_LABEL_IN if own.ticks_below else 0.0, left)
        self._place(fig, needs)
        for ax, own in needs.items():
            width, height = _size_in(fig, ax)
            if ax.get_ylabel():
                ax.yaxis.set_label_coords(-(own.ticks_left + ax.yaxis.labelpad * POINT_IN) / width, 0.5)
            if ax.get_xlabel():
                ax.xaxis.set_label_coords(0.5, -(own.ticks_below + ax.xaxis.labelpad * POINT_IN) / height)
            if ax in self._legends:
                below = own.below - _height_in(fig, self._legends[ax])
                self._legends[ax].set_bbox_to_anchor((0.5, -below / height), transform=ax.transAxes)
        if self._once:
            self._measured += [label for ax in fig.axes for label in _placed_labels(ax)]
            for label in self._measured:
                label.set_in_layout(False)

    def _place(self, fig: Figure, needs: Mapping[Axes, _Needs]) -> None:
        """Positions of all axes and colour bars for what stands around them."""
        title = fig._suptitle  # type: ignore[attr-defined]
        legends = [EDGE_IN + _height_in(fig, legend) for legend in fig.legends]
        top = EDGE_IN + (0.0 if title is None else _line_in(title, 0.0) + EDGE_IN)
        if title is not None:
            title.set_y(1 - EDGE_IN / fig.get_figheight())
        spans = {ax: _spans(ax) for ax in needs}
        grid = next(iter(spans))
        spec = grid.get_subplotspec().get_gridspec()  # type: ignore[union-attr]
        rows = _cells(
            fig.get_figheight(), spec.get_height_ratios(), (top, EDGE_IN + max(legends, default=0.0)),
            [(spans[ax][0], own.above, own.below) for ax, own in needs.items()],
        )  # fmt: skip
        beside = {ax: own.texts for ax, own in needs.items()}
        widths: dict[Axes, float] = {}
        for bar in self._bars:
            height = _extent(rows, spans[bar.beside[0]][0])
            widths[bar.axes] = bar.shrink * height / bar.aspect
            labels = _labels_in(fig, bar.axes, right=True)
            name = _line_in(bar.axes.yaxis.label, bar.axes.yaxis.labelpad) if bar.axes.get_ylabel() else 0.0
            beside[bar.beside[-1]] += 2 * EDGE_IN + widths[bar.axes] + labels + name
            if name:
                at = 1 + (labels + bar.axes.yaxis.labelpad * POINT_IN) / widths[bar.axes]
                bar.axes.yaxis.set_label_coords(at, 0.5)
        columns = _cells(
            fig.get_figwidth(), spec.get_width_ratios(), (EDGE_IN, EDGE_IN),
            [(spans[ax][1], own.left, max(own.right, beside[ax])) for ax, own in needs.items()],
        )  # fmt: skip
        size = np.tile(fig.get_size_inches(), 2)
        for ax, (of_row, of_column) in spans.items():
            left, width = columns[of_column[0]][0], _extent(columns, of_column)
            bottom = fig.get_figheight() - rows[of_row[1] - 1][1]
            ax.set_position(tuple(np.array([left, bottom, width, _extent(rows, of_row)]) / size))
        for bar in self._bars:
            of_row, of_column = spans[bar.beside[-1]]
            height = _extent(rows, of_row)
            bottom = fig.get_figheight() - rows[of_row[1] - 1][1] + (1 - bar.shrink) / 2 * height
            left = columns[of_column[1] - 1][1] + needs[bar.beside[-1]].texts + 2 * EDGE_IN
            bar.axes.set_position(tuple(np.array([left, bottom, widths[bar.axes], bar.shrink * height]) / size))


Span = tuple[int, int]


def _spans(ax: Axes) -> tuple[Span, Span]:
    """Rows and columns of the grid that axes take: first, and one beyond the last."""
    spec = ax.get_subplotspec()
    assert spec is not None
    return (spec.rowspan.start, spec.rowspan.stop), (spec.colspan.start, spec.colspan.stop)


def _cells(
    length: float, ratios: ArrayLike, ends: tuple[float, float], around: Sequence[tuple[Span, float, float]]
) -> list[tuple[float, float]]:
    """Begin and end (inches) of the rows or columns of a grid.

    Args:
        length: of the figure; ratios: of the rows or columns.
        ends: left free before the first and after the last.
        around: for axes that span some of them, what they need before and after.
    """
    shares = np.asarray(ratios, dtype=float) / np.sum(ratios)
    before, after = np.zeros((2, len(shares)))
    for (first, beyond), needs_before, needs_after in around:
        before[first] = max(before[first], needs_before)
        after[beyond - 1] = max(after[beyond - 1], needs_after)
    free = length - sum(ends) - before.sum() - after.sum() - GAP_IN * (len(shares) - 1)
    sizes = max(free, 0.1 * length) * shares
    cells, at = [], ends[0]
    for size, own_before, own_after in zip(sizes.tolist(), before.tolist(), after.tolist(), strict=True):
        cells.append((at + own_before, at + own_before + size))
        at += own_before + size + own_after + GAP_IN
    return cells


def _extent(cells: Sequence[tuple[float, float]], span: Span) -> float:
    return cells[span[1] - 1][1] - cells[span[0]][0]


def _around(ax: Axes) -> _Needs:
    """What axes need, as far as it is known without measuring; labels of the y axis are taken for short."""
    title = ax.title if ax.get_title() else ax._left_title  # type: ignore[attr-defined]
    above = _line_in(title, mpl.rcParams["axes.titlepad"]) if title.get_text() else EDGE_IN
    if not ax.axison:
        return _Needs(above=above if title.get_text() else 0.0)
    labelled = ax.xaxis.get_tick_params()["labelbottom"]
    ticks = TICK_IN + float(mpl.rcParams["xtick.labelsize"]) * LINE * POINT_IN if labelled else 0.0
    name = _line_in(ax.xaxis.label, ax.xaxis.labelpad) if ax.get_xlabel() else 0.0
    return _Needs(0.5, LAST_LABEL_IN if labelled else EDGE_IN, above, ticks + name, ticks_below=ticks)


def _line_in(text: Text, pad: float) -> float:
    """Height of a line of text with so many points beside it."""
    return (float(text.get_fontsize()) * LINE + pad) * POINT_IN


def _labels_in(fig: Figure, ax: Axes, right: bool = False) -> float:
    """By how much the labels of a y axis reach beyond it."""
    if not ax.axison:
        return 0.0
    low, high = sorted(ax.get_ylim())
    slack = 1e-9 * (high - low)
    shown = [
        label.get_window_extent() for label in ax.yaxis.get_ticklabels()
        if label.get_visible() and label.get_text() and low - slack <= label.get_position()[1] <= high + slack
    ]  # fmt: skip
    box = ax.get_window_extent()
    reach = [(extent.x1 - box.x1 if right else box.x0 - extent.x0) for extent in shown]
    return max(0.0, float(max(reach, default=0.0))) / fig.dpi


def _placed_labels(ax: Axes) -> list[Text]:
    """Labels at ticks that nothing is placed by; below an x axis of numbers stands a power of ten, if it has one."""
    plain = isinstance(ax.xaxis.get_major_formatter(), FixedFormatter)
    axes = [ax.yaxis, *([ax.xaxis] if plain else [])] if ax.axison else []
    return [label for axis in axes for tick in axis.get_major_ticks() for label in (tick.label1, tick.label2)]


def _texts_in(fig: Figure, ax: Axes) -> tuple[float, float, float, float]:
    """By how much texts within axes reach beyond their left, their right, above and below."""
    ax.apply_aspect()
    box = ax.get_window_extent()
    extents = [box, *(text.get_window_extent() for text in ax.texts)]
    left, right = box.x0 - min(e.x0 for e in extents), max(e.x1 for e in extents) - box.x1
    above, below = max(e.y1 for e in extents) - box.y1, box.y0 - min(e.y0 for e in extents)
    return left / fig.dpi, right / fig.dpi, above / fig.dpi, below / fig.dpi


def _size_in(fig: Figure, ax: Axes) -> tuple[float, float]:
    box = ax.get_position()
    return box.width * fig.get_figwidth(), box.height * fig.get_figheight()


def _height_in(fig: Figure, legend: Legend) -> float:
    return float(legend.get_window_extent().height) / fig.dpi
