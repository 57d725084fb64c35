"""Update rules that post the prices of a demand: of the bids, of their average, or held near the last bids."""

from __future__ import annotations

import numpy as np

from cosim.coordination.base import Market
from cosim.coordination.rules.base import Posted, Round, Rule
from cosim.protocol.roles import Array, Prices

_ROUNDED_MW = 1e-6
_ROUNDED_USD = 1e-4
_LONGEST_PERIOD = 8


class BestResponse(Rule):
    """The operator clears the bids and posts what comes out (cobweb).

    Converges only while prices react to demand less than demand to prices: a contraction. Where a limit starts to bind
    prices jump, and bids go round in a cycle, which is found and named with its period.
    """

    prices_alone = True

    def __init__(self, market: Market) -> None:
        super().__init__(market)
        self._seen: dict[bytes, int] = {}
        self._costs: list[tuple[float, float]] = []

    def first(self, declared_p_mw: Array, first_step: int) -> Posted:
        self._seen, self._costs = {}, []
        return Posted(self.market.operator.clear(declared_p_mw).prices)

    def next(self, made: Round) -> Posted:
        return Posted(made.clearing.prices)

    def ended(self, made: Round) -> str:
        reason = super().ended(made)
        if reason:
            return reason
        period = self._period(made)
        return f"the bids repeat themselves with a period of {period} rounds" if period else ""

    def _period(self, made: Round) -> int:
        """Period of a cycle, or 0: the same bids again, or the same costs again twice over.

        Where several schedules cost the same, bids need not come back exactly although the cycle is there.
        """
        bids = np.round(made.p_mw / _ROUNDED_MW).astype(np.int64).tobytes()
        now = len(self._costs)
        self._costs.append((made.clearing.cost_usd, made.own_cost_usd))
        before = self._seen.get(bids)
        self._seen[bids] = now
        if before is not None:
            return now - before
        costs = np.round(np.array(self._costs) / _ROUNDED_USD)
        for period in range(2, min(_LONGEST_PERIOD, len(costs) // 2) + 1):
            if np.array_equal(costs[-period:], costs[-2 * period : -period]):
                return period
        return 0


class Averaged(Rule):
    """The operator averages each round's bids into what it had and posts the prices of the average.

    Step: a constant, ``1/k`` (Mann iteration, fictitious play) or ``2/(k+2)`` (Frank-Wolfe). For a smooth convex cost
    Frank-Wolfe comes within O(1/k) of the optimum; where prices jump it gets near and stays there.
    """

    prices_alone = True

    def __init__(self, market: Market) -> None:
        super().__init__(market)
        self._average: Array = np.zeros((0, 0))
        self._round = 0

    def first(self, declared_p_mw: Array, first_step: int) -> Posted:
        self._average, self._round = declared_p_mw, 0
        return Posted(self.market.operator.clear(self._average).prices)

    def next(self, made: Round) -> Posted:
        self._round += 1
        rule = self.settings.averaging
        step = {"1/k": 1.0 / self._round, "2/(k+2)": 2.0 / (self._round + 2)}[rule] if isinstance(rule, str) else rule
        self._average = self._average + step * (made.p_mw - self._average)
        return Posted(self.market.operator.clear(self._average).prices)

    def agreed(self, p_mw: Array) -> Array:
        """The average, a mixture of feasible bids and so feasible itself."""
        return self._average


class Proximal(Rule):
    """The operator posts the prices of the bids and a penalty for leaving them (proximal gradient).

    Converges for a penalty above half the greatest slope of the price map (Beck and Teboulle 2009); where prices jump
    that slope is infinite.
    """

    prices_alone = True

    def first(self, declared_p_mw: Array, first_step: int) -> Posted:
        return self._around(declared_p_mw, self.market.operator.clear(declared_p_mw).prices)

    def next(self, made: Round) -> Posted:
        return self._around(made.p_mw, made.clearing.prices)

    def _around(self, p_mw: Array, prices: Prices) -> Posted:
        return Posted(prices, p_mw, self.settings.penalty_usd_per_mw2h)
