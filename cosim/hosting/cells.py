"""Limits at many points of a few driving scalars, from AC searches at few of them.

The points of a connection lie in boxes. At the corners of a box the largest draw is searched in AC power flow, with the
draw at which each of the nearest rows alone would bind. In between each row's limit is interpolated linearly along
every scalar, and the smallest counts, so that a change of the binding row inside a box costs nothing. A box is accepted
when AC searches at points inside agree; else it is halved, and one with few points is searched point by point. At the
end points are drawn at random and searched; a box in which one disagrees is halved as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]
Index = NDArray[np.intp]
ERROR_SHARE, ERROR_KW = 0.005, 5.0
"""Difference between an interpolated limit and AC power flow that is allowed: the larger of the two."""
CHECKED = 0.25
"""Share of that difference up to which a box is accepted; the random points may use all of it."""
AUDITED = 0.01
"""Share of the interpolated points that is searched at random at the end, at least a few of every connection."""
LEAST_AUDITED = 8
SMALLEST_KW = 1e-3
MOST_SCALARS = 4
"""Scalars beyond which every point is searched: a box has two corners for each."""


@dataclass(frozen=True, slots=True, eq=False)
class Searched:
    """Results of searches (n,): largest draw and what binds; the nearest rows (n, k) with the draws at which each
    reaches its limit, and its second bound, alone; reactive power beside the draw."""

    x_kw: Real
    binding: Index
    rows: Index
    own_kw: Real
    second_kw: Real
    q_kvar: Real

    def some(self, at: slice) -> Searched:
        """Those of some searches."""
        return Searched(self.x_kw[at], self.binding[at], self.rows[at], self.own_kw[at], self.second_kw[at],
                        self.q_kvar[at])  # fmt: skip


Search = Callable[[Real, Index], Searched]
"""From points (n, d) and connections (n,)."""


@dataclass(slots=True, eq=False)
class Interpolated:
    """Limits of every connection at every point: (connections, points) each, with the largest share of the allowed
    difference found at random points, and how many points were searched."""

    x_kw: Real
    binding: Index
    q_kvar: Real
    error: float
    searched: int


@dataclass(slots=True, eq=False)
class _Box:
    connection: int
    points: Index


def allowed_kw(x_kw: Real) -> Real:
    """Difference that is allowed from limits."""
    return np.maximum(ERROR_SHARE * np.abs(x_kw), ERROR_KW)


def interpolated(
    points: Real, connections: int, search: Search, cap_kw: float, left_out: bool, seed: int
) -> Interpolated:
    """Limits at points (n, d) of some connections; see :meth:`Rows.bounds` for ``left_out``."""
    grid = _Grid(points, connections, search, cap_kw, left_out)
    grid.refine([_Box(c, np.arange(len(points))) for c in range(connections)])
    error = grid.audit(np.random.default_rng(seed))
    return Interpolated(grid.x, grid.binding, grid.q, error, grid.searched)


class _Grid:
    def __init__(self, points: Real, connections: int, search: Search, cap_kw: float, left_out: bool) -> None:
        self.points, self._search, self._cap, self._left_out = points, search, cap_kw, left_out
        shape = connections, len(points)
        self.x, self.q = np.full(shape, np.nan), np.zeros(shape)
        self.binding = np.full(shape, -1, dtype=np.intp)
        self._exact = np.zeros(shape, dtype=bool)
        self._box = np.full(shape, -1, dtype=np.intp)
        self._boxes: list[_Box] = []
        self.searched = 0

    def refine(self, boxes: list[_Box]) -> None:
        """Search and halve boxes until all are accepted."""
        while boxes:
            few = [b for b in boxes if self._is_small(b)]
            self._search_points([(b.connection, b.points) for b in few])
            boxes = [b for b in boxes if not self._is_small(b)]
            self._search_points([(b.connection, self._to_check(b)) for b in boxes])
            corners = self._search_corners(boxes)
            rest: list[_Box] = []
            for b, (low, span, values) in zip(boxes, corners, strict=True):
                if not self._accept(b, low, span, values):
                    rest += self._halves(b)
            boxes = rest

    def audit(self, random: np.random.Generator) -> float:
        """Search random points, and halve boxes that fail; the largest share of the allowed difference that is left."""
        while True:
            drawn, failed, worst = [], dict[int, _Box](), 0.0
            for c in range(len(self.x)):
                open_ = np.flatnonzero(~self._exact[c])
                count = min(len(open_), max(LEAST_AUDITED, int(AUDITED * len(open_))))
                drawn.append((c, np.sort(random.choice(open_, count, replace=False))))
            told = [self.x[c, at].copy() for c, at in drawn]
            self._search_points(drawn)
            for (c, at), before in zip(drawn, told, strict=True):
                error = np.abs(before - self.x[c, at]) / allowed_kw(self.x[c, at])
                error = np.where(np.isnan(error), np.inf, error)
                worst = max(worst, float(error[error <= 1].max(initial=0.0)))
                failed |= {int(k): self._boxes[k] for k in self._box[c, at[error > 1]]}
            if not failed:
                return worst
            self.refine([half for box in failed.values() for half in self._halves(box)])

    def _is_small(self, box: _Box) -> bool:
        d = self.points.shape[1]
        return d > MOST_SCALARS or len(box.points) <= int(2**d) + 2

    def _search_points(self, wanted: list[tuple[int, Index]]) -> None:
        """Search points of connections that have not been searched yet."""
        todo = [(c, p) for c, at in wanted for p in at[~self._exact[c, at]].tolist()]
        if not todo:
            return
        c, p = (np.array(part, dtype=np.intp) for part in zip(*todo, strict=True))
        found = self._search(self.points[p], c)
        self.searched += len(p)
        self.x[c, p], self.binding[c, p], self.q[c, p] = found.x_kw, found.binding, found.q_kvar
        self._exact[c, p] = True

    def _to_check(self, box: _Box) -> Index:
        """Points at which a box is checked: that nearest to its middle, and one between the middle and a corner."""
        z = self.points[box.points]
        low, high = z.min(axis=0), z.max(axis=0)
        span = np.where(high > low, high - low, 1.0)
        u = (z - (low + high) / 2) / span
        ask = [np.zeros(z.shape[1]), np.full(z.shape[1], 0.25), np.where(np.arange(z.shape[1]) % 2, -0.25, 0.25)]
        return np.unique([box.points[int(((u - at) ** 2).sum(axis=1).argmin())] for at in ask])

    def _search_corners(self, boxes: list[_Box]) -> list[tuple[Real, Real, Searched]]:
        """Lower ends and spans of boxes, and the searches at their corners."""
        ends, corners, who = [], [], []
        for b in boxes:
            z = self.points[b.points]
            low, high = z.min(axis=0), z.max(axis=0)
            moving = np.flatnonzero(high > low)
            for signs in product((0, 1), repeat=len(moving)):
                at = low.copy()
                at[moving] = np.where(np.array(signs, dtype=bool), high[moving], low[moving])
                corners.append(at)
                who.append(b.connection)
            ends.append((low, high - low, 2 ** len(moving)))
        if not corners:
            return []
        found = self._search(np.array(corners), np.array(who, dtype=np.intp))
        self.searched += len(corners)
        result, first = [], 0
        for low, span, count in ends:
            part = slice(first, first + count)
            result.append((low, span, found.some(part)))
            first += count
        return result

    def _accept(self, box: _Box, low: Real, span: Real, at: Searched) -> bool:
        """Interpolate in a box, if that agrees with what is known inside."""
        c, points = box.connection, box.points
        known = points[self._exact[c, points]]
        if np.isnan(at.x_kw).any() or np.isnan(self.x[c, known]).any() or (at.binding < -1).any():
            return False
        candidates = np.unique(np.concatenate([at.binding, self.binding[c, known]]))
        if (candidates < -1).any():
            return False
        candidates = candidates[candidates >= 0]
        moving = np.flatnonzero(span > 0)
        u = (self.points[points][:, moving] - low[moving]) / span[moving]
        weights = np.ones((len(points), 1))
        for k in reversed(range(len(moving))):  # the first scalar changes slowest, as among the corners
            weights = np.concatenate([weights * (1 - u[:, k : k + 1]), weights * u[:, k : k + 1]], axis=1)
        x, binding = np.full(len(points), self._cap), np.full(len(points), -1, dtype=np.intp)
        for row in candidates.tolist():
            own = self._limit_of(row, at, weights)
            binding, x = np.where(own < x, row, binding), np.minimum(own, x)
        inside = self._exact[c, points]
        error = np.abs(x[inside] - self.x[c, known]) / allowed_kw(self.x[c, known])
        if not (error <= CHECKED).all():
            return False
        at_points = points[~inside]
        self.x[c, at_points], self.binding[c, at_points] = np.maximum(x[~inside], 0.0), binding[~inside]
        self.q[c, at_points] = (weights @ at.q_kvar)[~inside]
        self._box[c, points] = len(self._boxes)
        self._boxes.append(box)
        return True

    def _limit_of(self, row: int, at: Searched, weights: Real) -> Real:
        """(points,) limit of the draw by one row alone; where it is not among the nearest of a corner, of the last of
        these.

        The limit of the network and what replaces it where the base case breaks it are interpolated by themselves: each
        is smooth, the larger of the two is not.
        """
        here = at.rows == row
        finite = np.where(np.isfinite(at.own_kw), at.own_kw, -np.inf).max(axis=1)
        far = np.maximum(np.where(np.isfinite(finite), finite, self._cap), at.x_kw)

        def of(kw: Real) -> Real:
            own = np.where(here & np.isfinite(kw), kw, -np.inf).max(axis=1)
            return np.minimum(np.where(np.isfinite(own), own, far), 2 * self._cap)

        own, second = weights @ of(at.own_kw), of(at.second_kw)
        if self._left_out:
            return np.where(weights @ second < 0, np.inf, own)
        # the room beside the base case's own value is the same everywhere: the slope is what changes
        return np.asarray(np.maximum(own, 1.0 / (weights @ (1.0 / np.maximum(second, SMALLEST_KW)))))

    def _halves(self, box: _Box) -> list[_Box]:
        """Two boxes of the points on either side of the middle of the longest scalar."""
        z = self.points[box.points]
        low, high = z.min(axis=0), z.max(axis=0)
        k = int((high - low).argmax())
        below = z[:, k] <= (low[k] + high[k]) / 2
        return [_Box(box.connection, box.points[part]) for part in (below, ~below)]
