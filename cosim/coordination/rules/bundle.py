"""Proximal bundle method: the operator posts tangents of its cost, the aggregator plans against all of them."""

from __future__ import annotations

import numpy as np

from cosim.coordination.base import Market
from cosim.coordination.rules.base import Cut, Posted, Round, Rule
from cosim.errors import InputError
from cosim.protocol.roles import Array, Clearing
from cosim.scenario.schema import Scenario


class Bundle(Rule):
    """Each posting is the cost and the price of the last bid: one tangent of the operator's cost in each step.

    The aggregator minimises its own cost plus the highest tangent of each step, held near the best demand so far
    (Benders cuts with a proximal term; Ruszczynski 1986, Lemarechal 1975). Its bid comes with the price that the
    tangents add up to, which supports the bid. Converges for convex costs; each step's cost depends on few demands, so
    few tangents do.
    """

    one_aggregator = True
    PENALTY = 1.0

    @classmethod
    def check(cls, scenario: Scenario) -> None:
        """Refuse several aggregators, and settlement on active power alone: tangents hold for what power costs."""
        super().check(scenario)
        if scenario.market.settlement == "active":
            raise InputError(
                "the bundle rule settles active and reactive power together",
                key="market.settlement",
                value="active",
                allowed="active+reactive",
            )

    def __init__(self, market: Market) -> None:
        super().__init__(market)
        self._centre: Array = np.zeros((0, 0))
        self._least = np.inf

    def first(self, declared_p_mw: Array, first_step: int) -> Posted:
        self._centre, self._least = declared_p_mw, np.inf
        return self._post(self.market.operator.clear(declared_p_mw))

    def next(self, made: Round) -> Posted:
        total = made.clearing.cost_usd + made.own_cost_usd
        if total < self._least:
            self._centre, self._least = made.p_mw, total
        return self._post(made.clearing)

    def agreed(self, p_mw: Array) -> Array:
        """The best bids so far."""
        return self._centre if np.isfinite(self._least) else p_mw

    def _post(self, clearing: Clearing) -> Posted:
        slope = self.market.effective(clearing.prices)
        costs = [np.array([c.cost_usd]) if c.step_costs_usd is None else c.step_costs_usd for c in clearing.parts]
        return Posted(clearing.prices, self._centre, self.PENALTY, Cut(clearing.p_mw, tuple(costs), slope))
