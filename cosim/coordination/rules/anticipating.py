"""The operator posts price sensitivities, which the aggregator anticipates: on the way to the leader's optimum."""

from __future__ import annotations

import numpy as np

from cosim.coordination.base import Market
from cosim.coordination.rules.base import Posted, Round, Rule
from cosim.protocol.roles import Array


class Anticipating(Rule):
    """The operator also posts how its prices move with demand, and the aggregator reckons with that.

    The aggregator minimises own cost plus ``(price + slope (p - target))'p`` (a conjectured-supply equilibrium; Day,
    Hobbs and Pang 2002); the next target lies between the last one and its bid. Prices jump where limits start to
    bind, so that slopes, taken over ``PROBE_MW`` to either side, are a guess and bids need not come to rest. The
    negotiation ends when the aggregator's cost at the prices of its bids has not fallen for ``PATIENCE`` rounds, with
    the best bids: a local optimum of the leader's problem as far as the slopes tell, never proven to be the global one.
    """

    one_aggregator = True
    PROBE_MW = 0.01
    PATIENCE = 12
    FELL = 1e-6
    SHRINK, LEAST_STEP = 0.8, 0.05

    def __init__(self, market: Market) -> None:
        super().__init__(market)
        self._target: Array = np.zeros((0, 0))
        self._best: Array = np.zeros((0, 0))
        self._least, self._step, self._waiting = np.inf, 1.0, 0

    def first(self, declared_p_mw: Array, first_step: int) -> Posted:
        self._least, self._step, self._waiting = np.inf, 1.0, 0
        return self._post(declared_p_mw)

    def next(self, made: Round) -> Posted:
        mixed = self._target + self._step * (made.p_mw - self._target)
        self._step = max(self.LEAST_STEP, self._step * self.SHRINK)
        return self._post(mixed)

    def agreed(self, p_mw: Array) -> Array:
        """The bids that cost the aggregator least."""
        return self._best if np.isfinite(self._least) else p_mw

    def ended(self, made: Round) -> str:
        """Not agreement at a price: the aggregator would rather draw something else at the price it is charged."""
        cost = made.own_cost_usd + self.market.payment_usd(made.p_mw, made.clearing.prices)
        self._waiting += 1
        if cost < self._least - self.FELL * abs(cost):
            self._waiting = 0
        if cost < self._least:
            self._least, self._best = cost, made.p_mw
        return "the anticipating aggregator finds nothing cheaper" if self._waiting >= self.PATIENCE else ""

    def _post(self, target: Array) -> Posted:
        self._target = target
        return Posted(self.market.operator.clear(target).prices, target, slope_usd_per_mw2h=self._slopes(target))

    def _slopes(self, target: Array) -> Array:
        """(steps, terminals, terminals) secants of the prices; all steps are probed at once, terminal by terminal."""
        count = target.shape[1]
        slope = np.zeros((len(target), count, count))
        for k in range(count):
            probe = np.zeros(count)
            probe[k] = self.PROBE_MW
            slope[:, :, k] = (self._price(target + probe) - self._price(target - probe)) / (2 * self.PROBE_MW)
        return _convex(slope)

    def _price(self, p_mw: Array) -> Array:
        return self.market.effective(self.market.operator.clear(np.maximum(p_mw, 0.0)).prices)


def _convex(slope: Array) -> Array:
    """The nearest symmetric slopes without a direction in which prices would fall with demand."""
    even = 0.5 * (slope + slope.transpose(0, 2, 1))
    values, vectors = np.linalg.eigh(even)
    return np.asarray(np.einsum("tij,tj,tkj->tik", vectors, np.maximum(values, 0.0), vectors))
