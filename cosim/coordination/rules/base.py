"""What an update rule of the negotiation sees and says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from pydantic import BaseModel

from cosim.coordination.base import Market
from cosim.errors import InputError
from cosim.protocol.roles import Array, Clearing, Prices
from cosim.scenario.own_code import parameters_of
from cosim.scenario.schema import Scenario

AGREED = "agreed"
PARAMETERS = "decentralized.parameters"


@dataclass(frozen=True, slots=True)
class Cut:
    """A tangent of the operators' cost: its value and its slope at a demand.

    Attributes:
        p_mw: (steps, terminals) where.
        costs_usd: of each operator (steps,), or (1,) where its steps hang together.
        slope_usd_per_mwh: (steps, terminals), the effective price there.
    """

    p_mw: Array
    costs_usd: tuple[Array, ...]
    slope_usd_per_mwh: Array


@dataclass(frozen=True, slots=True)
class Posted:
    """What the operator posts.

    Attributes:
        prices: at the terminals.
        target_p_mw, penalty: demand to stay near and what leaving it costs (USD/MW^2 h), or none: one number, or
            (steps, terminals, terminals) matrices, of which each aggregator is told its own terminals' part.
        cut: a further tangent of the operator's cost, or none.
        slope_usd_per_mw2h: (steps, terminals, terminals) how prices move with demand around the target, or none.
    """

    prices: Prices
    target_p_mw: Array | None = None
    penalty: float | Array = 0.0
    cut: Cut | None = None
    slope_usd_per_mw2h: Array | None = None


class Regrets:
    """What the bidders and the operator could still gain at a price, USD; the operator's is worked out when asked for.

    Args:
        aggregators_usd: of all aggregators together, as they say.
        operator: works out the operator's.
    """

    def __init__(self, aggregators_usd: float, operator: Callable[[], float]) -> None:
        self.aggregators_usd = aggregators_usd
        self._operator = operator

    @cached_property
    def operator_usd(self) -> float:
        """The operator's."""
        return self._operator()

    def both_usd(self) -> tuple[float, float]:
        """(aggregators, operator)."""
        return self.aggregators_usd, self.operator_usd

    def within(self, limit_usd: float) -> bool:
        """Whether both together are within a limit; the operator is asked only where the aggregators are."""
        return self.aggregators_usd <= limit_usd and self.aggregators_usd + self.operator_usd <= limit_usd


@dataclass(frozen=True, slots=True)
class Round:
    """A complete round as the operator sees it.

    Attributes:
        posted: what the bids answer.
        p_mw: (steps, terminals) all bids.
        price: (steps, terminals) effective price at which the bidders would draw this: the posted one, unless they
            say otherwise.
        own_cost_usd: of all aggregators; regrets: of the bids at ``price``.
        clearing: the operator's clearing of the bids.
    """

    posted: Posted
    p_mw: Array
    price: Array
    own_cost_usd: float
    regrets: Regrets
    clearing: Clearing


class Rule:
    """One way of turning bids into the next posting; made anew for each run, told of each window in turn.

    Args:
        market: the operators, as one side in ``market.operator``, and the scenario's settings.
    """

    one_aggregator = False
    """Whether the rule is for a single aggregator only."""
    prices_alone = False
    """Whether bids answer the prices of a demand, those of each scenario too where aggregators mind risk."""
    firm_prices = False
    """Whether what was posted last is charged, whatever is delivered."""

    Parameters: ClassVar[type[BaseModel] | None] = None
    """What a scenario may say in ``decentralized.parameters``: a pydantic model; None: nothing."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.settings = market.scenario.decentralized
        self.parameters: Any = parameters_of(type(self), self.settings.parameters, PARAMETERS)

    @classmethod
    def check(cls, scenario: Scenario) -> None:
        """Refuse a scenario that the rule cannot take.

        Raises:
            InputError: several aggregators where the rule is for one, or parameters that it does not take.
        """
        parameters_of(cls, scenario.decentralized.parameters, PARAMETERS)
        stochastic = scenario.market.stochastic
        if stochastic is not None and stochastic.risk is not None and not (cls.prices_alone and not scenario.feeders):
            raise InputError(
                "aggregators that mind risk answer prices of scenarios, which this rule does not post",
                key="market.stochastic.risk",
                value=scenario.decentralized.rule,
                allowed="best_response, averaged or proximal, on one feeder",
            )
        if cls.one_aggregator and len(scenario.aggregators) > 1:
            raise InputError(
                "this update rule is for one aggregator: what it posts takes the others' demand as fixed",
                key="decentralized.rule",
                value=scenario.decentralized.rule,
                allowed="admm, averaged, best_response, proximal, or a single aggregator",
            )

    def first(self, declared_p_mw: Array, first_step: int) -> Posted:
        """Posting that opens a window, from the declared demand; ``first_step`` places it on the horizon."""
        raise NotImplementedError

    def next(self, made: Round) -> Posted:
        """Posting that answers a round."""
        raise NotImplementedError

    def agreed(self, p_mw: Array) -> Array:
        """Demand to settle on if the negotiation ends without agreement at these bids."""
        return p_mw

    def settled(self, clearing: Clearing, made: Round | None) -> Clearing:
        """What the aggregators are charged: by default what the operator's final clearing says.

        Args:
            clearing: of the awarded demand. made: the last complete round, if there was one.
        """
        return clearing

    def ended(self, made: Round) -> str:
        """Whether and why to stop: ``AGREED``, another reason in words, or nothing to go on.

        Both sides agree when neither could gain more than the tolerance (a share of the operator's cost) by another
        demand at the price of the bids. The regrets bound what the bids cost above the optimum, which residuals do
        not: along a flat direction demand may differ from the operator's copy at no cost.
        """
        return AGREED if made.regrets.within(self.tolerance_usd(made.clearing)) else ""

    def tolerance_usd(self, clearing: Clearing) -> float:
        """What both sides together may still gain where they are said to agree."""
        return self.settings.tolerance * max(1.0, abs(clearing.cost_usd))


def split(market: Market, effective: Array, prices: Prices) -> Prices:
    """Prices with these reactive parts that together come to an effective price."""
    reactive = prices.q_usd_per_mvarh
    return Prices(effective - reactive * market.operator.reactive_ratio, reactive)
