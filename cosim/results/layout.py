"""Where the buses of a feeder lie, and what is connected to them."""

from __future__ import annotations

import math
from collections.abc import Sequence

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
