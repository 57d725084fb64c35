"""What the operator may dispatch: generators behind inverters and static var generators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cosim.grid.feeder.connections import terminals_of
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.phases import Terminal
from cosim.scenario.schema import GeneratorSpec, SvgSpec

KILO = 1000.0
POLYGON_SIDES = 16


@dataclass(frozen=True, slots=True)
class Generator:
    """A generator in MW, Mvar and MVA; ``available`` is the most it can give in a step."""

    name: str
    kind: str
    terminal: Terminal
    p_min_mw: float
    p_max_mw: float
    s_mva: float
    cost_usd_per_mwh: float
    cost_usd_per_mw2h: float
    reactive_cost_usd_per_mvar2h: float
    ramp_mw_per_step: float | None


@dataclass(frozen=True, slots=True)
class StaticVarGenerator:
    """A static var generator; each of its ``terminals`` is dispatched on its own within its rating."""

    name: str
    terminals: tuple[Terminal, ...]
    q_max_mvar: float
    reactive_cost_usd_per_mvar2h: float


@dataclass(frozen=True, slots=True)
class Resources:
    """Everything that the operator dispatches, in the order of the scenario."""

    generators: tuple[Generator, ...]
    svgs: tuple[StaticVarGenerator, ...]


def resources_of(feeder: Feeder, generators: Sequence[GeneratorSpec], svgs: Sequence[SvgSpec]) -> Resources:
    """Resources of a scenario on its feeder.

    Raises:
        InputError: unknown bus or missing phase.
    """
    units = []
    for i, g in enumerate(generators):
        terminals = terminals_of(feeder, g.bus, g.connection, f"generators.{i}")
        for t in terminals:
            share = 1 / len(terminals)
            suffix = f".{t.phases[0]}" if len(terminals) > 1 else ""
            units.append(
                Generator(
                    name=g.name + suffix,
                    kind="pv" if g.kind == "pv" else "generator",
                    terminal=t,
                    p_min_mw=g.p_min_kw * share / KILO,
                    p_max_mw=g.p_max_kw * share / KILO,
                    s_mva=g.s_kva * share / KILO,
                    cost_usd_per_mwh=g.cost_usd_per_mwh,
                    cost_usd_per_mw2h=g.cost_usd_per_mw2h / share,
                    reactive_cost_usd_per_mvar2h=g.reactive_cost_usd_per_mvar2h / share,
                    ramp_mw_per_step=None
                    if g.ramp_kw_per_step is None
                    else g.ramp_kw_per_step * share / KILO,
                )
            )
    compensators = []
    for i, s in enumerate(svgs):
        if s.mode == "none":
            continue
        connection = "three_phase" if s.mode == "balanced" else "per_phase"
        terminals = terminals_of(feeder, s.bus, connection, f"svgs.{i}")
        parts = len(terminals)
        compensators.append(
            StaticVarGenerator(
                s.name, terminals, s.kvar / KILO / parts, s.reactive_cost_usd_per_mvar2h * parts
            )
        )
    return Resources(tuple(units), tuple(compensators))


def inverter_polygon(s_mva: float, p_max_mw: float, sides: int = POLYGON_SIDES) -> list[tuple[float, float, float]]:
    """Half-planes ``a p + b q <= c`` of the regular polygon inscribed in ``|p + jq| <= s_mva``.

    Only the sides that a generator (0 <= p <= p_max) can meet are returned. Inscribed, so that every point of it
    is within the rating; the area lost is below 2.6 % at 16 sides.
    """
    apothem = s_mva * math.cos(math.pi / sides)
    planes = []
    for k in range(sides):
        angle = math.pi * (2 * k + 1) / sides
        a, b = math.cos(angle), math.sin(angle)
        # A side whose end with the smaller p lies beyond p_max is never met.
        nearest = s_mva * math.cos(min(angle, 2 * math.pi - angle) + math.pi / sides)
        if a > -1e-12 and nearest < p_max_mw:
            planes.append((a, b, apothem))
    return planes
