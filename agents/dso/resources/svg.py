"""A static var generator: each of its terminals gives reactive power within its share of the rating."""

from __future__ import annotations

from typing import Literal

from cosim.agents.dso.resources.resource import Resource, ResourceSpec, Site, Symbol, by_terminal
from cosim.agents.dso.resources.statement import Statement
from cosim.constants import KILO
from cosim.scenario.types import NonNegative, Positive


class StaticVarSpec(ResourceSpec):
    """``kvar`` is the rating of all terminals together."""

    connection: Literal["three_phase", "per_phase"] = "three_phase"
    kvar: Positive
    reactive_cost_usd_per_mvar2h: NonNegative = 3.0


class StaticVarGenerator(Resource):
    """A static var generator, dispatched per terminal."""

    Spec = StaticVarSpec
    kind = "svg"
    symbol = Symbol("static var generator", "D", 20.0)

    def __init__(self, spec: StaticVarSpec, site: Site) -> None:
        super().__init__(spec, site)
        parts = len(self.terminals)
        self.q_max_mvar = spec.kvar / KILO / parts
        self.reactive_cost_usd_per_mvar2h = spec.reactive_cost_usd_per_mvar2h * parts

    def state(self, window: Statement) -> None:
        for i, terminal in enumerate(self.terminals):
            q = window.reactive(by_terminal("q", self.terminals, i), -self.q_max_mvar, self.q_max_mvar)
            window.inject(terminal, None, q)
            window.square_cost(q, window.hours * self.reactive_cost_usd_per_mvar2h)
