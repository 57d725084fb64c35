"""Radial feeders of any size, made by rule: to see how time and memory grow, not what a real feeder does."""

from __future__ import annotations

import math

from cosim.grid.feeder.feeder import Bus, Feeder, Line, LineCode, Load, Matrix
from cosim.scenario.equipment import reactive_ratio

NODES_PER_SITE = 6
"""A three-phase bus and one single-phase bus behind each of its phases."""
LOAD_KW, POWER_FACTOR = 6000.0, 0.95
REACH_FT, SERVICE_FT = 60_000.0, 300.0
SOURCE = "made by rule"
_R, _X = 0.3465, 1.0179
_RM, _XM = 0.1560, 0.4600
"""Ohm per mile: self and mutual, of a usual overhead construction (configuration 601 of the IEEE test feeders)."""


def synthetic_feeder(nodes: int) -> Feeder:
    """A 12.47 kV feeder of about so many nodes and always the same load and reach.

    A trunk of three-phase buses, a three-phase branch from each of them, as long as the trunk in buses, and one
    single-phase service with a load behind every phase of every bus.
    """
    side = max(2, round(math.sqrt(nodes / NODES_PER_SITE)))
    length = REACH_FT / (2 * side)
    kw = LOAD_KW / (3 * side * side)
    kvar = kw * reactive_ratio(POWER_FACTOR)
    buses, lines, loads = [Bus("s", 12.47, "abc", True, source=SOURCE)], [], []
    for i in range(side):
        for j in range(side):
            name = f"b{i}_{j}"
            above = "s" if i == j == 0 else f"b{i - 1}_0" if j == 0 else f"b{i}_{j - 1}"
            buses.append(Bus(name, 12.47, "abc", True, float(j), float(i), SOURCE))
            lines.append(Line(f"l{i}_{j}", above, name, "abc", length, "three", SOURCE))
            for phase in "abc":
                service = f"{name}_{phase}"
                buses.append(Bus(service, 12.47, phase, True, j + 0.3, i + 0.3, SOURCE))
                lines.append(Line(f"{name}s{phase}", name, service, phase, SERVICE_FT, f"one_{phase}", SOURCE))
                loads.append(Load(f"d{name}{phase}", service, "wye", phase, "PQ", kw, kvar, SOURCE))
    codes = (_code("three", "abc"), *(_code(f"one_{phase}", phase) for phase in "abc"))
    return Feeder(f"synthetic{nodes}", "s", 12.47, 1.03, tuple(buses), tuple(lines), codes, loads=tuple(loads))


def _code(name: str, phases: str) -> LineCode:
    def matrix(own: float, mutual: float) -> Matrix:
        rows = [[(own if a == b else mutual) if {a, b} <= set(phases) else 0.0 for b in "abc"] for a in "abc"]
        return tuple(tuple(row) for row in rows)  # type: ignore[return-value]

    return LineCode(name, matrix(_R, _RM), matrix(_X, _XM), matrix(0.0, 0.0), SOURCE)
