"""The limits of a network at a corner of the box of demand, as rows that are exact there.

At a corner some terminals draw all that they may and the others nothing. The tangent of AC power flow there gives what
each limit compares (a squared voltage, the apparent power of a phase, a rate of unbalance) with its value and its slope
by the demand of each terminal. Apparent power is convex in P and Q, so its slope there is that of the direction in
which it points; a polygon that stands for its circle is not needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cosim.agents.dso.clearing import ClearingModel
from cosim.agents.dso.limit_rows import LimitRows
from cosim.constants import KILO
from cosim.grid.feeder.limits import KINDS, NetworkLimits
from cosim.grid.linear.network import LinearNetwork

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Truths = NDArray[np.bool_]
MARGIN = 1e-5
"""How far inside of a limit a box stays, so that what solvers leave breaks nothing: pu of a voltage, share of another
limit."""
NOTHING = 0.1
"""Share of that which a site may add to a row that it does not count as loading."""


@dataclass(frozen=True, slots=True, eq=False)
class CornerRows:
    """Rows ``slope @ p <= rhs`` of all limits, less a margin, exact at one corner.

    Attributes:
        slope: (rows, terminals) per MW, reactive power included. rhs: (rows,).
        beyond: (rows,) how far each limit is broken at the corner (below 0: kept), in its unit: pu, MVA, percent.
    """

    slope: Array
    rhs: Array
    beyond: Array

    def worst_for(self) -> Truths:
        """(rows, terminals) which terminals draw at the corner of a box that loads each row most."""
        return np.asarray(self.slope > 0)


class CornerLimits:
    """What the limits of a network are at corners.

    Args:
        model: a clearing that was compiled with tangents of AC power flow.
        limits: what is kept. network: any tangent of the feeder. ratio: (terminals,) Mvar per MW.

    Attributes:
        kinds, elements, phases: (rows,) of each limit; a limit with sides (of a polygon) has several rows.
        margin: (rows,) how far inside of each limit the box stays, in its unit; nothing: (rows,) what a site may add to
            a row that does not count as loading it.
    """

    def __init__(self, model: ClearingModel, limits: NetworkLimits, network: LinearNetwork, ratio: Array) -> None:
        self._model, self._ratio = model, ratio
        rows, rating = model.inequalities, KINDS.index("rating")
        told = LimitRows(limits, model, network, model.hours)
        self._others = np.flatnonzero((rows.kind >= 0) & (rows.kind != rating))
        self._outputs = rows.outputs[self._others]
        self._rhs, self._looser = rows.rhs[self._others], rows.looser[self._others]
        choice = model.outputs
        n = len(choice.flows)
        self._p, self._q = 2 + choice.voltages + np.arange(n), 2 + choice.voltages + n + np.arange(n)
        labels = [network.flows_p.labels[i][0] for i in choice.flows]
        self._rating = np.array([model.limits.branch_rating_mva[name] for name in labels]) / 3
        book, first = told.book, np.array([told.book.first[kind] for kind in KINDS])
        which = np.concatenate(
            [first[rows.kind[self._others]] + rows.of[self._others], first[rating] + np.arange(n)]
        ).astype(np.intp)
        self.kinds, self.elements, self.phases = book.kinds[which], book.elements[which], book.phases[which]
        size = np.where(np.char.startswith(self.kinds.astype(str), "voltage"), 1.0, book.limit[which])
        self.margin = MARGIN * np.where(self.kinds == "rating", size / KILO, size)
        self._by_unit = np.concatenate([self._looser, np.ones(n)])
        self.nothing = NOTHING * self.margin * self._by_unit

    def at(
        self, networks: Sequence[LinearNetwork], dispatch: Sequence[Array], p_mw: Sequence[Array]
    ) -> list[CornerRows]:
        """Rows at some corners, from the tangent of AC power flow at each.

        Args:
            dispatch: (resources' variables,) and p_mw: (terminals,) of each corner.
        """
        own, mine, n = self._model.injections.own, len(self._model.injections.own), len(self._ratio)
        found = []
        for (base, slopes), x, p in zip(self._model.outputs_of(networks), dispatch, p_mw, strict=True):
            values = base + slopes[:, :mine] @ x[own]
            by_p = slopes[:, mine : mine + n] + slopes[:, mine + n :] * self._ratio
            there = values + by_p @ p
            size = np.maximum(np.hypot(there[self._p], there[self._q]), 1e-12)
            along_p, along_q = there[self._p] / size, there[self._q] / size
            slope = np.vstack(
                [self._outputs @ by_p, along_p[:, None] * by_p[self._p] + along_q[:, None] * by_p[self._q]]
            )
            over = np.concatenate([self._outputs @ there - self._rhs, size - self._rating])
            rhs = slope @ p - over - self.margin * self._by_unit
            found.append(CornerRows(slope, rhs, over / self._by_unit))
        return found
