"""The capability of an inverter: the polygon inscribed in the circle of its apparent power."""

from __future__ import annotations

import math

from cosim.agents.dso.resources.statement import Expression, Statement

POLYGON_SIDES = 16


def inverter_polygon(
    s_mva: float, p_max_mw: float, sides: int = POLYGON_SIDES, *, draws: bool = False
) -> list[tuple[float, float, float]]:
    """Half-planes ``a p + b q <= c`` of the regular polygon inscribed in ``|p + jq| <= s_mva``.

    Only the sides that a generator (0 <= p <= p_max), or a device that draws as well (-p_max <= p <= p_max), can meet
    are returned. Inscribed, so that every point of it is within the rating; the area lost is below 2.6 % at 16 sides.
    """
    apothem = s_mva * math.cos(math.pi / sides)
    planes = []
    for k in range(sides):
        angle = math.pi * (2 * k + 1) / sides
        a, b = math.cos(angle), math.sin(angle)
        ahead = min(angle, 2 * math.pi - angle)
        if draws:
            ahead = min(ahead, math.pi - ahead)
        # A side whose end with the smaller |p| lies beyond p_max is never met.
        nearest = s_mva * math.cos(ahead + math.pi / sides)
        if (draws or a > -1e-12) and nearest < p_max_mw:
            planes.append((a, b, apothem))
    return planes


def state_inverter(
    window: Statement, p: Expression, q: Expression, s_mva: float, p_max_mw: float, name: str, *, draws: bool = False
) -> None:
    """Rows that keep P and Q within the rating."""
    for k, (a, b, c) in enumerate(inverter_polygon(s_mva, p_max_mw, draws=draws)):
        window.at_most(f"{name}[{k}]", a * p + b * q, c)
