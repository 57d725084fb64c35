"""A generator behind an inverter: P and Q within its rating, a quadratic cost, and a ramp limit if it has one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cosim.agents.dso.resources.inverter import state_inverter
from cosim.agents.dso.resources.resource import Real, Resource, Row, Site, Symbol, by_terminal, phase_of
from cosim.agents.dso.resources.statement import Index, Statement
from cosim.constants import KILO
from cosim.grid.feeder.phases import Terminal
from cosim.scenario.schema import GeneratorSpec


class Generator(Resource):
    """A generator; on several terminals each gives its share within its share of the rating."""

    Spec = GeneratorSpec
    kind = "generator"
    symbol = Symbol("generator", "^", 17.0)

    def __init__(self, spec: GeneratorSpec, site: Site) -> None:
        super().__init__(spec, site)
        share = 1 / len(self.terminals)
        self.p_min_mw, self.p_max_mw = spec.p_min_kw * share / KILO, spec.p_max_kw * share / KILO
        self.s_mva = spec.s_kva * share / KILO
        self.cost_usd_per_mwh = spec.cost_usd_per_mwh
        self.cost_usd_per_mw2h = spec.cost_usd_per_mw2h / share
        self.reactive_cost_usd_per_mvar2h = spec.reactive_cost_usd_per_mvar2h / share
        ramp = spec.ramp_kw_per_step
        self.ramp_mw_per_step = None if ramp is None else ramp * share / KILO
        self._last_mw: list[float] | None = None

    def available_mw(self, steps: Sequence[int] | Index) -> Real:
        """(steps,) most that each terminal can give in these steps of the horizon."""
        return np.full(len(steps), self.p_max_mw)

    def state(self, window: Statement) -> None:
        available = self.available_mw(window.horizon)
        for i, terminal in enumerate(self.terminals):
            p = window.active(by_terminal("p", self.terminals, i), self.p_min_mw, available)
            q = window.reactive(by_terminal("q", self.terminals, i), within=(-self.s_mva, self.s_mva))
            window.inject(terminal, p, q)
            state_inverter(window, p, q, self.s_mva, self.p_max_mw, by_terminal("inverter", self.terminals, i))
            window.cost(window.hours * self.cost_usd_per_mwh * p)
            window.square_cost(p, window.hours * self.cost_usd_per_mw2h)
            window.square_cost(q, window.hours * self.reactive_cost_usd_per_mvar2h)
            if self.ramp_mw_per_step is not None:
                known = self._last_mw is not None
                rise = p - window.before(p, self._last_mw[i] if self._last_mw is not None else 0.0)
                name = by_terminal("ramp", self.terminals, i)
                window.within(name, rise if known else rise[1:], self.ramp_mw_per_step)

    def delivered(self, t: int, values: Mapping[str, float]) -> None:
        self._last_mw = [values[by_terminal("p", self.terminals, i)] for i in range(len(self.terminals))]

    def rows(self, powers: Sequence[tuple[Terminal, float, float]]) -> list[Row]:
        """A unit for each terminal."""
        return [
            (by_terminal(self.name, self.terminals, i), self.kind, phase_of(terminal), p, q)
            for i, (terminal, p, q) in enumerate(powers)
        ]
