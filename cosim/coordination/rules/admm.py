"""Consensus ADMM on the demand, with Anderson acceleration and a warm start."""

from __future__ import annotations

from collections import deque

import numpy as np

from cosim.coordination.base import Market
from cosim.coordination.rules.base import Posted, Round, Rule, split
from cosim.interfaces import Array, Clearing


class Admm(Rule):
    """The operator's copy of the demand, the aggregators' copy, and the price between them.

    Scaled so that the multiplier is the price itself: after the operator's step ``price + penalty (bid - copy)`` is the
    derivative of its cost at its copy, so a price it posts supports its own copy; at consensus it supports both.
    Converges for every penalty and convex costs (Boyd et al. 2011, section 3.2), over-relaxed by 1.6. The pair (copy,
    price) is the state of a nonexpansive map, which is accelerated by mixing the last states so that the residual of
    the mixture is least (Anderson 1965; for splitting methods Fu, Zhang and Boyd 2020), with the plain step where the
    residual has grown.

    Each step of the market has a penalty of its own: where the sides stay apart while the copy stands still (a limit
    binds, and its price has far to climb) it grows, where the copy runs and the sides agree it shrinks.

    A window that overlaps an earlier one opens at that one's last price and copy.
    """

    RELAXATION = 1.6
    REGULARISATION = 1e-8
    SAFEGUARD, RECENT, WARM_UP, LONGEST = 2.0, 6, 3, 10.0
    RATIO, FACTOR, SHARE, ADAPTS = 10.0, 2.0, 0.1, 100

    def __init__(self, market: Market) -> None:
        super().__init__(market)
        self._penalty: Array = np.zeros((0, 1))
        self._left: dict[int, tuple[Array, Array]] = {}
        self._first = 0
        self._rounds = 0
        self._price: Array = np.zeros((0, 0))
        self._copy: Array = np.zeros((0, 0))
        self._memory = _Mixer(0, self.REGULARISATION)

    def first(self, declared_p_mw: Array, first_step: int) -> Posted:
        """Start where the operator would go from the declared demand at its opening price.

        Prices of the declared demand itself would be a bad start: where it breaks a limit they stand at the cap.
        """
        self._first, self._rounds = first_step, 0
        self._left = {t: left for t, left in self._left.items() if t >= first_step}
        self._penalty = np.full((len(declared_p_mw), 1), self.settings.penalty_usd_per_mw2h)
        self._memory = _Mixer(self.settings.acceleration, self.REGULARISATION)
        opening = self.market.operator.opening_price(len(declared_p_mw))
        near = declared_p_mw.copy()
        for t in range(len(near)):
            if first_step + t in self._left:
                opening[t], near[t] = self._left[first_step + t]
        answer = self.market.operator.clear_near(near, opening, self._penalty)
        return self._post(self.market.effective(answer.prices), answer.p_mw, answer)

    def next(self, made: Round) -> Posted:
        """The operator's step near the bids, the price step, and the mixture with earlier states."""
        relaxed = self.RELAXATION * made.p_mw + (1 - self.RELAXATION) * self._copy
        answer = self.market.operator.clear_near(relaxed, self._price, self._penalty)
        effective = self.market.effective(answer.prices)
        if self._adapted(np.abs(made.p_mw - answer.p_mw).max(axis=1), np.abs(answer.p_mw - self._copy).max(axis=1)):
            self._memory.forget()
            return self._post(effective, answer.p_mw, answer)
        price, copy = self._memory.mix(
            self._pack(self._price, self._copy), self._pack(effective, answer.p_mw)
        ).reshape(2, *self._copy.shape)
        root = np.sqrt(self._penalty)
        return self._post(price * root, copy / root, answer)

    def _adapted(self, apart_mw: Array, moved_mw: Array) -> bool:
        """Whether a penalty was changed because one residual of its step, and not one of the small ones, is far above
        the other (Boyd et al. 2011, 3.4.1, step by step); after ``ADAPTS`` rounds never, so that the theory holds.

        Args:
            apart_mw, moved_mw: (steps,) largest distance of bid and copy, and of the copy from where it was.
        """
        self._rounds += 1
        if self._rounds > self.ADAPTS:
            return False
        grows = (apart_mw > self.RATIO * moved_mw) & (apart_mw > self.SHARE * apart_mw.max())
        shrinks = (moved_mw > self.RATIO * apart_mw) & (moved_mw > self.SHARE * moved_mw.max())
        self._penalty = self._penalty * np.where(grows, self.FACTOR, np.where(shrinks, 1 / self.FACTOR, 1.0))[:, None]
        return bool(grows.any() or shrinks.any())

    def _pack(self, price: Array, copy: Array) -> Array:
        """One vector in which both parts weigh alike: the norm of the theory."""
        root = np.sqrt(self._penalty)
        return np.concatenate([(price / root).ravel(), (copy * root).ravel()])

    def _post(self, price: Array, copy: Array, answer: Clearing) -> Posted:
        self._price, self._copy = price, copy
        for t in range(len(copy)):
            self._left[self._first + t] = price[t], copy[t]
        return Posted(split(self.market, price, answer.prices), copy, self._penalty)


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
