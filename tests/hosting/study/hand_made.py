"""Hourly limits made by hand: two days, two cases, a bus of 100 kW by day and 300 by night, a stronger one."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd

from cosim.hosting.limits import BASE_COLUMNS, Connection, Element, HourlyLimits

STEPS = 48
BASE_CASE, OUTAGE = "base", "capacitor c1 off"
ELEMENTS = (
    Element("voltage low", "b", "ca", 0.95, "pu"),
    Element("rating", "line1", "a", 500.0, "kVA"),
    Element("solution", "", "", float("nan"), ""),
)
LOW, RATING, SOLUTION = range(3)


def hand_made() -> HourlyLimits:
    """In the outage bus ``weak`` has 20 kW less at noon of the first day, and one step without a base solution."""
    hours = np.arange(STEPS) % 24
    weak = np.where((hours >= 8) & (hours < 20), 100.0, 300.0)
    strong = np.full(STEPS, 1000.0)
    strong[:4] = [400, 500, 600, 700]
    out = weak.copy()
    out[12] -= 20.0
    p_kw = np.stack([np.stack([weak, strong]), np.stack([out, strong])])
    p_kw[1, :, 30] = np.nan
    binding = np.full(p_kw.shape, LOW, dtype=np.int32)
    binding[:, 1] = np.where(strong < 1000, RATING, -1)
    binding[1, :, 30] = SOLUTION
    base = pd.DataFrame(
        [(OUTAGE, "voltage low", "b", "ca", 0.95, "pu", 3, 0.94), (OUTAGE, "solution", "", "", np.nan, "", 1, np.nan)],
        columns=list(BASE_COLUMNS),
    )
    connections = tuple(Connection((name,), (("ab", "bc", "ca"),), (1.0,)) for name in ("weak", "strong"))
    broken = np.zeros((2, STEPS), dtype=bool)
    broken[1, [10, 11, 12, 30]] = True
    return HourlyLimits(connections, (BASE_CASE, OUTAGE), ELEMENTS, p_kw, binding, 3600, datetime(2023, 1, 1), 1000.0,
                        base, broken)  # fmt: skip
