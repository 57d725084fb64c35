"""Room around axes, judged by matplotlib's own measure of what a figure shows."""

from __future__ import annotations

import itertools

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from cosim.results.figures.margins import Margins
from cosim.results.figures.runs import run_figures
from cosim.results.figures.style import new_figure, png, style
from cosim.results.tables import Layout, Tables

from .conftest import LIMITS

SLACK_PX = 2.0


def boxes(figure: Figure) -> dict[object, Bbox]:
    """What each axes shows with its labels, the title and the legends, in pixels of the drawn figure."""
    png(figure)
    with style():
        shown: dict[object, Bbox] = {}
        for ax in figure.axes:
            box = ax.get_tightbbox(for_layout_only=True) if ax.get_visible() else None
            if box is not None:
                shown[ax] = box
        for text in (figure._suptitle, *figure.legends):
            assert text is not None
            shown[text] = text.get_window_extent()
    return shown


def overlaps(shown: dict[object, Bbox]) -> list[tuple[object, object]]:
    """Pairs of things shown that lie over each other."""
    shrunk = {thing: box.padded(-SLACK_PX) for thing, box in shown.items()}
    return [
        (one, other) for one, other in itertools.combinations(shrunk, 2)
        if shrunk[one].x0 < shrunk[other].x1 and shrunk[other].x0 < shrunk[one].x1
        and shrunk[one].y0 < shrunk[other].y1 and shrunk[other].y0 < shrunk[one].y1
    ]  # fmt: skip


@pytest.fixture(scope="module")
def drawn(tables: Tables, layout: Layout) -> dict[str, tuple[Bbox, dict[object, Bbox]]]:
    """Of each figure of a run: its own box, and those of what it shows."""
    return {name: (figure.bbox, boxes(figure)) for name, figure in run_figures(tables, layout, LIMITS).items()}


def test_nothing_reaches_beyond_a_figure(drawn: dict[str, tuple[Bbox, dict[object, Bbox]]]) -> None:
    for name, (whole, shown) in drawn.items():
        for box in shown.values():
            inside = whole.padded(SLACK_PX)
            assert inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1, name


def test_nothing_in_a_figure_covers_anything_else(drawn: dict[str, tuple[Bbox, dict[object, Bbox]]]) -> None:
    assert {name: overlaps(shown) for name, (_, shown) in drawn.items()} == dict.fromkeys(drawn, [])


@pytest.mark.parametrize("top", [1e-4, 1.0, 123456.0])
def test_labels_of_any_width_have_room(top: float) -> None:
    with style():
        figure = new_figure(3.0, "some title", margins=Margins())
        axes: list[Axes] = list(figure.subplots(2, 2).ravel())
        for ax in axes:
            ax.plot([0.0, 1.0], [0.0, top])
            ax.set(title="panel", xlabel="from left to right", ylabel="upwards")
    assert overlaps(boxes(figure)) == []


def test_a_name_beside_the_last_bus_does_not_lie_on_the_colour_bar() -> None:
    with style():
        margins = Margins()
        figure = new_figure(4.0, "some title", margins=margins)
        ax = figure.add_subplot()
        points = ax.scatter([0.0, 1.0], [0.0, 1.0], c=[0.0, 1.0])
        name = ax.annotate("a_bus_of_a_long_name", (1.0, 1.0), annotation_clip=False)
        bar = margins.bar(points, [ax], shrink=0.75, aspect=28)
        ax.axis("off")
        png(figure)
    assert name.get_window_extent().x1 <= bar.ax.get_window_extent().x0
