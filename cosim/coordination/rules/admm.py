"""Consensus ADMM on the demand in the metric of the operator's cost, with Anderson acceleration and a warm start."""

from __future__ import annotations

from collections import deque

import numpy as np

from cosim.coordination.base import Market
from cosim.coordination.rules.base import Posted, Round, Rule, split
from cosim.coordination.rules.metric import bounded, learned, length, scaled
from cosim.optimization.solvers.proximal import proximal_gradient
from cosim.protocol.roles import Array, Clearing


class Admm(Rule):
    """The operator's copy of the demand, the aggregators' copy, and the price between them.

    Scaled so that the multiplier is the price itself: after the operator's step ``price + M (bid - copy)`` is the
    derivative of its cost at its copy, so a price it posts supports its own copy; at consensus it supports both.
    Converges for every positive definite penalty M and convex costs (Boyd et al. 2011, section 3.2), over-relaxed by
    1.6. The pair (copy, price) is the state of a nonexpansive map, which is accelerated by mixing the last states so
    that the residual of the mixture is least (Anderson 1965; for splitting methods Fu, Zhang and Boyd 2020), with the
    plain step where the residual has grown.

    M is a matrix for each step of the market, and ideally the curvature of the operator's cost (Giselsson and Boyd
    2017). The operator learns that in the first ``LEARNS`` rounds from what it has worked out anyway: the prices of the
    bids and of its copy are a secant of its cost. From then on M follows the balance of the residuals, each relative to
    the size of what it is a residual of (Wohlberg 2017): stiffer along the distance of the sides where that is the
    larger one, as where a limit binds and its price has far to climb; softer along the way of the copy where the price
    still moves though the sides have met. After ``ADAPTS`` rounds M stays: the theory holds.

    A window that overlaps an earlier one opens at that one's last price, copy and M.
    """

    RELAXATION = 1.6
    REGULARISATION = 1e-8
    SAFEGUARD, RECENT, WARM_UP, LONGEST = 2.0, 6, 3, 10.0
    LEARNS, FLATTEST, STEEPEST = 6, 0.2, 200.0
    RATIO, FACTOR, SHARE, SETTLED, STIFFEST, ADAPTS = 5.0, 4.0, 0.1, 1e-6, 1000.0, 100

    def __init__(self, market: Market) -> None:
        super().__init__(market)
        self._usual = self.settings.penalty_usd_per_mw2h
        self._metric: Array = np.zeros((0, 0, 0))
        self._left: dict[int, tuple[Array, Array, Array]] = {}
        self._first = 0
        self._rounds = 0
        self._price: Array = np.zeros((0, 0))
        self._copy: Array = np.zeros((0, 0))
        self._memory = _Mixer(0, self.REGULARISATION)

    def first(self, declared_p_mw: Array, first_step: int) -> Posted:
        """Start where the operator would go from the declared demand at its opening price.

        Prices of the declared demand itself would be a bad start: where it breaks a limit they stand at the cap.
        """
        steps, count = declared_p_mw.shape
        self._first, self._rounds = first_step, 0
        self._left = {t: left for t, left in self._left.items() if t >= first_step}
        self._metric = np.tile(self._usual * np.eye(count), (steps, 1, 1))
        self._memory = _Mixer(self.settings.acceleration, self.REGULARISATION)
        opening = self.market.operator.opening_price(steps)
        near = declared_p_mw.copy()
        for t in range(steps):
            if first_step + t in self._left:
                opening[t], near[t], self._metric[t] = self._left[first_step + t]
        answer = self.market.operator.clear_near(near, opening, self._metric)
        return self._post(self.market.effective(answer.prices), answer.p_mw, answer)

    def next(self, made: Round) -> Posted:
        """The operator's step near the bids, the price step, and the mixture with earlier states."""
        relaxed = self.RELAXATION * made.p_mw + (1 - self.RELAXATION) * self._copy
        answer = self.market.operator.clear_near(relaxed, self._price, self._metric)
        effective = self.market.effective(answer.prices)
        if self._adapted(made, answer.p_mw, effective):
            self._memory.forget()
            return self._post(effective, answer.p_mw, answer)
        mixed = self._memory.mix(self._pack(self._price, self._copy), self._pack(effective, answer.p_mw))
        return self._post(*self._unpack(mixed), answer)

    def _adapted(self, made: Round, copy: Array, price: Array) -> bool:
        """Whether M was changed after the operator went to this copy and price."""
        self._rounds += 1
        if self._rounds <= self.LEARNS:
            risen = self.market.effective(made.clearing.prices) - price
            bounds = self.FLATTEST * self._usual, self.STEEPEST * self._usual
            self._metric = self._apart(learned(self._metric, made.p_mw - copy, risen, *bounds))
            return True
        return self._rounds <= self.ADAPTS and self._balanced(made.p_mw - copy, copy - self._copy)

    def _balanced(self, apart_mw: Array, moved_mw: Array) -> bool:
        """Whether M was changed in steps where one residual, relative to its like, is far above the other and not one
        of the small ones: the distance of bid and copy, and ``M`` times the way of the copy, which is price.
        """
        primal = _relative(apart_mw, self._copy)
        dual = _relative(proximal_gradient(self._metric, moved_mw), self._price)
        least, most = self.FLATTEST * self._usual, self.STIFFEST * self._usual
        stiff = length(self._metric, apart_mw) >= np.sqrt(most) * np.linalg.norm(apart_mw, axis=1)
        harder = self._far_above(primal, dual) & ~stiff
        softer = self._far_above(dual, primal)
        metric = self._metric
        metric[harder] = self._apart(scaled(metric[harder], apart_mw[harder], self.FACTOR))
        metric[softer] = bounded(self._apart(scaled(metric[softer], moved_mw[softer], 1 / self.FACTOR)), least, np.inf)
        return bool(np.any(harder | softer))

    def _far_above(self, one: Array, other: Array) -> Array:
        """(steps,) where one relative residual is far above the other and counts."""
        return np.asarray((one > self.RATIO * other) & (one > self.SHARE * one.max()) & (one > self.SETTLED))

    def _apart(self, metric: Array) -> Array:
        """The metric without what would couple one aggregator's bid to another's, or one feeder to another."""
        kept = np.zeros(metric.shape[1:])
        for link in self.market.links:
            kept[np.ix_(link.columns, link.columns)] = 1.0
        return metric * kept

    def _pack(self, price: Array, copy: Array) -> Array:
        """One vector in which both parts weigh alike: the norm of the theory."""
        root = self._root()
        scaled = np.linalg.solve(root, price[:, :, None])
        return np.concatenate([scaled.ravel(), proximal_gradient(root.transpose(0, 2, 1), copy).ravel()])

    def _root(self) -> Array:
        """L with M = L L', step by step."""
        return np.asarray(np.linalg.cholesky(self._metric), dtype=np.float64)

    def _unpack(self, state: Array) -> tuple[Array, Array]:
        """Price and copy of such a vector."""
        root = self._root()
        price, copy = state.reshape(2, *self._copy.shape)
        return proximal_gradient(root, price), np.linalg.solve(root.transpose(0, 2, 1), copy[:, :, None])[:, :, 0]

    def _post(self, price: Array, copy: Array, answer: Clearing) -> Posted:
        self._price, self._copy = price, copy
        for t in range(len(copy)):
            self._left[self._first + t] = price[t], copy[t], self._metric[t]
        return Posted(split(self.market, price, answer.prices), copy, self._metric.copy())


def _relative(residual: Array, whole: Array) -> Array:
    """(steps,) the size of each step's residual for that of the whole, or of a hundredth of the largest."""
    size = np.linalg.norm(whole, axis=1)
    return np.asarray(np.linalg.norm(residual, axis=1) / np.maximum(size, max(0.01 * size.max(), 1e-9)))


class _Mixer:
    """Anderson acceleration, type II, of a fixed-point map.

    Args:
        memory: how many differences to mix (0: plain steps).
        regularisation: of the least squares, relative to their size.
    """

    def __init__(self, memory: int, regularisation: float) -> None:
        self._states: deque[Array] = deque(maxlen=memory + 1)
        self._steps: deque[Array] = deque(maxlen=memory + 1)
        self._sizes: deque[float] = deque(maxlen=Admm.RECENT)
        self._regularisation = regularisation

    def mix(self, state: Array, image: Array) -> Array:
        """The next state after ``state`` was mapped to ``image``."""
        step = image - state
        size = float(np.linalg.norm(step))
        self._states.append(image)
        self._steps.append(step)
        self._sizes.append(size)
        enough = len(self._steps) >= min(Admm.WARM_UP, self._steps.maxlen or 0) > 1
        if not enough or size > Admm.SAFEGUARD * min(self._sizes):
            return image
        images, steps = (np.stack(list(reversed(kept)), axis=1) for kept in (self._states, self._steps))
        by_image, by_step = images[:, :-1] - images[:, 1:], steps[:, :-1] - steps[:, 1:]
        normal = by_step.T @ by_step
        normal += self._regularisation * float(np.trace(normal)) * np.eye(len(normal))
        weights = np.linalg.lstsq(normal, by_step.T @ step, rcond=None)[0]
        # While a price climbs evenly to a cap the steps hardly differ, and the mixture would leap without bound.
        longest = float(np.linalg.norm(weights))
        if longest > Admm.LONGEST:
            weights *= Admm.LONGEST / longest
        return np.asarray(image - by_image @ weights)

    def forget(self) -> None:
        """Start anew: the map has changed."""
        for kept in (self._states, self._steps, self._sizes):
            kept.clear()
