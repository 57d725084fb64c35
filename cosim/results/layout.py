"""Where the buses of a feeder lie, and what is connected to them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cosim.grid.feeder.feeder import Feeder
from cosim.results.tables import Layout


def layout_of_feeder(feeder: Feeder, units: Sequence[dict[str, object]] = ()) -> Layout:
    """Where things are; a feeder whose buses all lie in one point has no coordinates."""
    placed = len({(b.x, b.y) for b in feeder.buses}) > 1
    return Layout.from_rows(
        {
            "buses": [
                {"bus": b.name, "x": b.x if placed else math.nan, "y": b.y if placed else math.nan, "kv": b.kv_base,
                 "role": "source" if b.name == feeder.source_bus else "bus"}
                for b in feeder.buses
            ],
            "branches": [{"name": b.name, "from_bus": b.from_bus, "to_bus": b.to_bus} for b in feeder.branches],
            "units": list(units),
        }
    )  # fmt: skip
