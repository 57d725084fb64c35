"""Update rules of the negotiation: what the operator posts after it has seen the bids.

A rule sees all bids of a round as one demand (steps, terminals) and answers with a price per MWh drawn (reactive
power included), and perhaps a target demand with a penalty for leaving it. Rules are registered by name.

====================  =================================================================================
``best_response``     post the prices of the bids; converges only while prices move less than demand does
``averaged``          post the prices of the running average of the bids (Frank-Wolfe / Mann iteration)
``admm``              alternating direction method of multipliers (Boyd et al. 2011), consensus form
====================  =================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cosim.coordination.base import Market
from cosim.errors import InputError
from cosim.interfaces import Array, Prices


@dataclass(frozen=True, slots=True)
class Posted:
    """What the operator posts: prices at the terminals, and a target with its penalty (USD/MW^2 h) or none."""

    prices: Prices
    target_p_mw: Array | None = None
    penalty: float = 0.0


class UpdateRule(Protocol):
    """One way of turning bids into the next posting."""

    def first(self, declared_p_mw: Array) -> Posted:
        """Posting that opens the negotiation, from the declared demand."""

    def next(self, bid_p_mw: Array) -> Posted:
        """Posting that answers a round of bids."""

    def agreed(self, bid_p_mw: Array) -> Array:
        """Demand to settle on if the negotiation ended with these bids."""


class BestResponse:
    """The operator clears the bids and posts what comes out."""

    def __init__(self, market: Market) -> None:
        self._operator = market.operator

    def first(self, declared_p_mw: Array) -> Posted:
        """Prices of the declared demand."""
        return Posted(self._operator.clear(declared_p_mw).prices)

    def next(self, bid_p_mw: Array) -> Posted:
        """Prices of the bids."""
        return self.first(bid_p_mw)

    def agreed(self, bid_p_mw: Array) -> Array:
        """The bids."""
        return bid_p_mw


class Averaged:
    """The operator averages each round's bids into what it had, with a step that shrinks as 1/k from ``averaging``."""

    def __init__(self, market: Market) -> None:
        self._operator = market.operator
        self._step = market.scenario.decentralized.averaging
        self._average: Array = np.zeros((0, 0))
        self._round = 0

    def first(self, declared_p_mw: Array) -> Posted:
        """Prices of the declared demand, which starts the average."""
        self._average = declared_p_mw
        return Posted(self._operator.clear(self._average).prices)

    def next(self, bid_p_mw: Array) -> Posted:
        """Prices of the new average."""
        self._round += 1
        step = min(self._step, 2.0 / (self._round + 1))
        self._average = self._average + step * (bid_p_mw - self._average)
        return Posted(self._operator.clear(self._average).prices)

    def agreed(self, bid_p_mw: Array) -> Array:
        """The average, a mixture of feasible bids and so feasible itself."""
        return self._average


class Admm:
    """Consensus ADMM on the demand: the operator's copy, the aggregators' copy, and the price between them.

    Scaled so that the multiplier is the price itself: after the operator's step
    ``price + penalty (bid - copy)`` is the derivative of its cost at its copy, so what it posts always supports
    its own copy; at consensus it supports both. The penalty follows the residuals (Boyd et al. 2011, 3.4.1).
    """

    RATIO, FACTOR, RELAXATION = 10.0, 2.0, 1.6

    def __init__(self, market: Market) -> None:
        self._market = market
        self._penalty = market.scenario.decentralized.penalty_usd_per_mw2h
        self._price: Array = np.zeros((0, 0))
        self._copy: Array = np.zeros((0, 0))
        self._round = 0

    def first(self, declared_p_mw: Array) -> Posted:
        """Start where the operator would go from the declared demand at its opening price.

        Prices of the declared demand itself would be a bad start: where it breaks a limit they stand at the cap.
        """
        opening = self._market.operator.opening_price(len(declared_p_mw))
        answer = self._market.operator.clear_near(declared_p_mw, opening, self._penalty)
        self._copy = answer.p_mw
        self._price = self._market.effective(answer.prices)
        return Posted(answer.prices, self._copy, self._penalty)

    def next(self, bid_p_mw: Array) -> Posted:
        """The operator's step near the bids, then the price step."""
        self._round += 1
        relaxed = self.RELAXATION * bid_p_mw + (1 - self.RELAXATION) * self._copy
        answer = self._market.operator.clear_near(relaxed, self._price, self._penalty)
        moved = self._penalty * float(np.abs(answer.p_mw - self._copy).max())
        apart = float(np.abs(bid_p_mw - answer.p_mw).max())
        self._price = self._market.effective(answer.prices)
        self._copy = answer.p_mw
        self._adapt(apart * self._penalty, moved)
        return Posted(answer.prices, self._copy, self._penalty)

    def _adapt(self, apart: float, moved: float) -> None:
        if apart > self.RATIO * moved:
            self._penalty *= self.FACTOR
        elif moved > self.RATIO * apart:
            self._penalty /= self.FACTOR

    def agreed(self, bid_p_mw: Array) -> Array:
        """The bids: the aggregators can realise them, and the operator can clear any demand."""
        return bid_p_mw


RULES: dict[str, Callable[[Market], UpdateRule]] = {
    "admm": Admm,
    "averaged": Averaged,
    "best_response": BestResponse,
}


def find_rule(name: str) -> Callable[[Market], UpdateRule]:
    """The update rule of that name, to be made for a market.

    Raises:
        InputError: no such rule.
    """
    if name not in RULES:
        raise InputError("no such update rule", key="decentralized.rule", value=name, allowed=", ".join(sorted(RULES)))
    return RULES[name]
