"""What it is worth to agree over scenarios, and what it would be worth to know which of them happens.

With z(p, w) the social cost of position p in scenario w, a planner's expected cost is

    RP  = min_p E z(p, w)           over scenarios (recourse problem)
    EEV = E z(p0, w)                of the position p0 that is best if the forecast happens (expected value solution)
    WS  = E min_p z(p, w)           if the scenario were known beforehand (wait and see)

and WS <= RP <= EEV (Madansky 1960; Birge and Louveaux, Introduction to Stochastic Programming, chapter 4).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cosim.coordination.base import Market
from cosim.coordination.welfare import optimum
from cosim.errors import InputError


@dataclass(frozen=True, slots=True)
class Worth:
    """Planner's expected costs of a window (USD); see the module for what they mean."""

    recourse_usd: float
    on_forecast_usd: float
    wait_and_see_usd: float

    @property
    def stochastic_usd(self) -> float:
        """Value of the stochastic solution."""
        return self.on_forecast_usd - self.recourse_usd

    @property
    def perfect_information_usd(self) -> float:
        """Expected value of perfect information."""
        return self.recourse_usd - self.wait_and_see_usd


def worth(market: Market) -> Worth:
    """The planner's costs of the open window: a solve over all scenarios, one on the forecast, and one for each.

    Raises:
        InputError: an operator does not say what it would do in a scenario.
    """
    for operator in market.operators:
        if not callable(getattr(operator, "suppose", None)):
            raise InputError("the class has no suppose(scenario), which the worth of scenarios needs",
                             key="market.stochastic.worth", value=type(operator).__name__,
                             allowed="false, or a class with it")  # fmt: skip
    recourse = optimum(market).social_cost_usd
    with _supposing(market, "forecast"):
        there = optimum(market)
        own_usd = there.social_cost_usd - market.operator.clear(there.p_mw).cost_usd
    on_forecast = market.operator.clear(there.p_mw).cost_usd + own_usd
    weights = market.operators[0].futures_weights  # type: ignore[attr-defined]
    wait_and_see = 0.0
    for number, weight in enumerate(weights):
        with _supposing(market, number):
            wait_and_see += weight * optimum(market).social_cost_usd
    return Worth(recourse, on_forecast, wait_and_see)


@contextmanager
def _supposing(market: Market, what: int | str) -> Iterator[None]:
    """Have all operators clear a scenario by its number, or the forecast, for a while."""
    try:
        for operator in market.operators:
            operator.suppose(what)  # type: ignore[attr-defined]
        yield
    finally:
        for operator in market.operators:
            operator.suppose("all")  # type: ignore[attr-defined]
