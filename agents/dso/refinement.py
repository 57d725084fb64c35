"""A window agreed on again and again, each time on the tangent of the AC power flow at the best point so far.

Where demand may be mixed (aggregators' schedules are convex sets and their own costs convex), the merit of a demand is
the operator's least cost in AC power flow plus the aggregators' own cost. What was agreed on at the tangent is a
direction along which the merit falls at first by what the tangent promises; the demand moves along it as far as the
merit falls by a fair share of the promise (see :mod:`cosim.agents.dso.ac_dispatch`). The merit never rises, and where
the tangent promises nothing any more, the point is stationary.

Where leaders decided the demand at the prices of a linearisation, it stays with that linearisation: there the best
point is the one whose cost AC power flow confirms best, and the linearisation moves less if that does not improve.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cosim.agents.dso.ac_dispatch import FAIR, AcDispatch, AcPoint, WindowData, shortened
from cosim.agents.dso.window import WindowClearing
from cosim.protocol.roles import Refined

Array = NDArray[np.float64]
SETTLED = 1e-5
"""Gain, relative to the operator's cost, below which a window is settled: what negotiations agree to."""
EQUAL = 1e-6
"""Difference in merit, relative to the operator's cost, within which two points are alike."""
TRIALS = 6
"""Mixtures of demand tried at most in a round."""
HELD_PU = 1e-5
"""Violation that counts as none where two points are compared."""


@dataclass(slots=True)
class _Decided:
    """A demand that leaders decided on, on which linearisation, and how far AC power flow is from it.

    Attributes:
        apart: worst voltage beyond its limit (pu), then the difference in cost (USD).
    """

    p_mw: Array
    window: WindowClearing
    apart: tuple[float, float]


@dataclass(slots=True)
class Refinement:
    """The rounds of one window.

    Args:
        ac: judges points.
        data: of the window.
        rounds: how often it may be agreed on again.
        name: of the window, for notes.

    Attributes:
        window: the clearing to agree on next, or to deliver; None before the first round.
        point: where it is linearised.
    """

    ac: AcDispatch
    data: WindowData
    rounds: int
    name: str
    window: WindowClearing | None = None
    point: AcPoint | None = None
    _own_usd: float = 0.0
    _done: int = 0
    _length: float = 1.0
    _best: _Decided | None = field(default=None)

    def agreed(self, window: WindowClearing, p_mw: Array, dispatch: Array, own_usd: float, last: bool) -> Refined:
        """Take up what a window was agreed on at, if demand may be mixed.

        Args:
            window: on which it was; dispatch: of it at ``p_mw``. own_usd, last: see ``OperatorAgent.refine``.
        """
        found = self.ac.least_cost(self.data, self.ac.at(self.data, p_mw, dispatch))
        before = self.point
        if before is None:
            if not np.isfinite(found.cost_usd):
                return Refined(p_mw, notes=(f"{self.name}: AC power flow has no solution at what was agreed on",))
            self._linearise(found, own_usd)
            return Refined(p_mw, again=self._again(last))
        merit = before.cost_usd + self._own_usd
        gain = merit - window.solve(p_mw).objective - own_usd
        enough = SETTLED * abs(before.cost_usd)
        if gain <= enough:
            if found.cost_usd + own_usd <= merit + EQUAL * abs(before.cost_usd) and _no_worse(found, before):
                self._linearise(found, own_usd)
                return Refined(p_mw)
            return Refined(before.p_mw)
        length, way = 1.0, (p_mw - before.p_mw, dispatch - before.dispatch)
        for _ in range(TRIALS):
            own = self._own_usd + length * (own_usd - self._own_usd)  # at most: own cost is convex
            change = found.cost_usd + own - merit
            if change <= -FAIR * length * gain and _no_worse(found, before):
                self._linearise(found, own)
                break
            length = shortened(length, gain, change)
            start = self.ac.at(self.data, before.p_mw + length * way[0], before.dispatch + length * way[1])
            found = self.ac.least_cost(self.data, start)
        else:
            return Refined(before.p_mw, notes=(self._unsettled(gain, before.cost_usd),))
        again = self._again(last)
        notes = () if again else (self._unsettled(gain, before.cost_usd),)
        return Refined(p_mw if length == 1.0 else found.p_mw, again, notes)

    def decided(self, window: WindowClearing, p_mw: Array, dispatch: Array, last: bool) -> Refined:
        """Take up what leaders decided on a window; arguments as in :meth:`agreed`."""
        found = self.ac.at(self.data, p_mw, dispatch)
        cost = window.solve(p_mw).objective
        apart = max(float(found.broken_pu.max(initial=0.0)), HELD_PU), abs(found.cost_usd - cost)
        if self._best is None or apart < self._best.apart:
            self._best = _Decided(p_mw, window, apart)
        else:
            self._length /= 2
        best = self._best
        settled = best.apart[1] <= SETTLED * abs(cost)
        if not settled and self._again(last):
            start, length = self.point, self._length
            if start is not None:
                p_mw = start.p_mw + length * (p_mw - start.p_mw)
                dispatch = start.dispatch + length * (dispatch - start.dispatch)
            following = self.ac.least_cost(self.data, self.ac.at(self.data, p_mw, dispatch))
            if np.isfinite(following.cost_usd):
                self._linearise(following, 0.0)
                return Refined(p_mw, again=True)
        self.window = best.window
        return Refined(best.p_mw, notes=() if settled else (self._unsettled(best.apart[1], cost),))

    def _linearise(self, point: AcPoint, own_usd: float) -> None:
        self.point, self._own_usd = point, own_usd
        self.window = self.data.clear(np.arange(self.data.count), point.tangents(), None)

    def _again(self, last: bool) -> bool:
        self._done += 1
        return not last and self._done <= self.rounds

    def _unsettled(self, usd: float, cost_usd: float) -> str:
        share = 100 * usd / abs(cost_usd) if cost_usd else np.inf
        return (
            f"{self.name}: not settled in AC power flow after {min(self._done, self.rounds)} rounds; the last one "
            f"still moved the cost by up to {usd:.4g} USD ({share:.2g} %)"
        )


def _no_worse(point: AcPoint, other: AcPoint) -> bool:
    """Whether a point breaks voltage limits by no more than another one."""
    return float(point.broken_pu.max()) <= max(float(other.broken_pu.max()), 0.0) + HELD_PU
