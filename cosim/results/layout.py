"""Where the buses of a feeder lie, and what is connected to them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from cosim.grid.feeder.feeder import Feeder
from cosim.results.tables import Layout

DATACENTER = {"label": "data center", "marker": "s", "size": 15.0}
PLAIN = {"label": "generator", "marker": "^", "size": 17.0}
"""How units are drawn: open shapes of different size, so that two at one bus are both seen."""


def layout_of_feeder(feeder: Feeder, units: Sequence[dict[str, object]] = ()) -> Layout:
    """Where things are; see :func:`layout_rows`."""
    return Layout.from_rows(layout_rows(feeder, units))


def layout_rows(feeder: Feeder, units: Sequence[dict[str, object]] = ()) -> dict[str, list[dict[str, object]]]:
    """Where things are, as rows; a feeder whose buses all lie in one point has no coordinates.

    Args:
        units: rows of the table ``units``; one that does not say how it is drawn is drawn as a generator.
    """
    placed = len({(b.x, b.y) for b in feeder.buses}) > 1
    return {
        "buses": [
            {"bus": b.name, "x": b.x if placed else math.nan, "y": b.y if placed else math.nan, "kv": b.kv_base,
             "role": "source" if b.name == feeder.source_bus else "bus"}
            for b in feeder.buses
        ],
        "branches": [{"name": b.name, "from_bus": b.from_bus, "to_bus": b.to_bus} for b in feeder.branches],
        "units": [{**PLAIN, **unit} for unit in units],
    }  # fmt: skip


def feeder_order(layout: Layout) -> list[str]:
    """Buses in the order of a walk from the source that follows one branch to its end before the next."""
    return list(_walk(layout))


def _walk(layout: Layout) -> dict[str, int]:
    """Depth of each bus, in the order of a depth-first walk from the source; buses not reached come last."""
    neighbours: dict[str, list[str]] = {b: [] for b in layout.buses["bus"]}
    for here, there in zip(layout.branches["from_bus"], layout.branches["to_bus"], strict=True):
        neighbours[here].append(there)
        neighbours[there].append(here)
    sources = list(layout.buses.loc[layout.buses["role"] == "source", "bus"])
    depth: dict[str, int] = {}
    stack = [(b, 0) for b in reversed(sources + [b for b in neighbours if b not in sources])]
    while stack:
        bus, level = stack.pop()
        if bus not in depth:
            depth[bus] = level
            stack += [(b, level + 1) for b in sorted(neighbours[bus], reverse=True) if b not in depth]
    return depth


def coordinates(layout: Layout) -> pd.DataFrame:
    """x and y by bus; where a feeder has no coordinates, a tree drawn from the source to the right."""
    placed = layout.buses.set_index("bus")[["x", "y"]]
    if placed.notna().all().all():
        return placed
    depth = _walk(layout)
    row = 0
    rows: dict[str, float] = {}
    order = list(depth)
    for here, after in zip(order, [*order[1:], order[0]], strict=True):
        rows[here] = row
        if depth[after] <= depth[here]:
            row -= 1
    return pd.DataFrame({"x": {b: float(d) for b, d in depth.items()}, "y": rows})
