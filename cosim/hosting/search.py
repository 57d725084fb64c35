"""The largest draw of a connection in many states at once: quadratic interpolation of every row, and AC at the root.

Each row of a network (a squared voltage, a squared power) is a function f(x) of the draw x. Through the base case
(x = 0) and the last two AC solutions goes a parabola; the smallest draw at which any parabola leaves its bounds upwards
is the next one to be solved, until it moves no more. A draw without a solution, or one that is found to break a limit,
bounds the search from above, one that keeps all limits from below.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cosim.constants import KILO
from cosim.hosting.power_flow import PowerFlow, States
from cosim.hosting.rows import Bounds, Rows

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Index = NDArray[np.intp]
Flags = NDArray[np.bool_]
MOST_TRIALS = 40
SETTLED_KW, SETTLED_SHARE = 0.02, 1e-4
"""A search ends when its next draw is nearer to the last than this, in kW and as a share of it."""
APART = 0.02
"""Share of the draw by which two solutions must differ to tell a curvature."""
NEAREST = 24
"""Rows whose own limits of the draw are kept: the smallest ones."""
FIRST_DROP_PU = 0.03
"""Drop of the voltage at the connection, by its own impedance, that the first draw is to make."""


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Searches, one a state.

    Attributes:
        power: (states, m) of the base draws. which: (states,) the connection. ratio: (states,) kvar per kW.
        q_kvar: (states,) what is drawn beside it (an SVG).
        base: solutions without the connection. values: (states, rows) of the base case. bounds: of the rows.
    """

    power: Complex
    which: Index
    ratio: Real
    q_kvar: Real
    base: States
    values: Real
    bounds: Bounds


@dataclass(slots=True, eq=False)
class Found:
    """Largest draws.

    Attributes:
        x_kw: (states,) at most the cap. binding: (states,) number of the element that binds, -1 none, -2: there is no
            solution beyond.
        rows: (states, NEAREST) the elements that would bind first. own_kw, second_kw: the draws at which each alone
            reaches its limit, and the second of its bounds. held: (states,) whether all limits hold there.
    """

    x_kw: Real
    binding: Index
    rows: Index
    own_kw: Real
    second_kw: Real
    held: Flags


NO_SOLUTION = -2


def largest(flow: PowerFlow, rows: Rows, problem: Problem, cap_kw: float) -> Found:
    """The largest draw of each state up to ``cap_kw``."""
    count, r = len(problem.which), rows.count
    near = min(NEAREST, 2 * r)
    none = np.full((count, near), np.inf)
    found = Found(np.zeros(count), np.full(count, -1, dtype=np.intp), np.zeros((count, near), dtype=np.intp), none,
                  none.copy(), np.zeros(count, dtype=bool))  # fmt: skip
    f0, start = _at_none(flow, rows, problem)
    s = _Points(f0, start, np.minimum(flow.first_draw_mva(problem.which, FIRST_DROP_PU) * KILO, cap_kw))
    rest = np.arange(count)
    for _ in range(MOST_TRIALS):
        x = s.trial[rest]
        states = flow.solve(problem.power[rest], problem.which[rest], _drawn(problem, rest, x), s.start(rest))
        f = rows.values(states.v)
        held = states.solved & rows.held(f, problem.bounds.some(rest))
        s.take(rest, x, f, states, held)
        bounds = problem.bounds.some(rest)
        roots = s.roots(rest, bounds.low, bounds.high)
        following = roots.min(axis=1)
        following, unsolved = s.inside(rest, following, cap_kw)
        done = np.abs(following - x) <= SETTLED_KW + SETTLED_SHARE * x
        done &= states.solved | unsolved
        at = rest[done]
        found.x_kw[at] = following[done]
        place = np.argpartition(roots[done], near - 1, axis=1)[:, :near] if near < 2 * r else np.arange(2 * r)[None]
        found.rows[at] = place
        own, second = s.roots(at, rows.low, rows.high), s.roots(at, *problem.bounds.second(at))
        found.own_kw[at] = np.take_along_axis(own, found.rows[at], axis=1)
        found.second_kw[at] = np.take_along_axis(second, found.rows[at], axis=1)
        found.held[at] = held[done] | (s.good[at] > 0)
        free = (following >= cap_kw) & held
        found.binding[at] = np.where(free, -1, np.where(unsolved, NO_SOLUTION, _binding(roots, bounds)))[done]
        s.trial[rest] = following
        rest = rest[~done]
        if not len(rest):
            break
    else:
        found.x_kw[rest] = s.good[rest]
        found.binding[rest] = NO_SOLUTION
    return found


def _at_none(flow: PowerFlow, rows: Rows, problem: Problem) -> tuple[Real, States]:
    """Values without any draw but what is beside the connection, and those states."""
    moved = np.flatnonzero(problem.q_kvar != 0)
    if not len(moved):
        return problem.values, problem.base
    base = problem.base.some(moved)
    states = flow.solve(problem.power[moved], problem.which[moved], _drawn(problem, moved, np.zeros(len(moved))), base)
    values, start = problem.values.copy(), problem.base.copy()
    values[moved] = np.where(states.solved[:, None], rows.values(states.v), values[moved])
    start.put(moved, states)
    return values, start


def _drawn(problem: Problem, rest: Index, x: Real) -> Complex:
    return np.asarray((x * (1 + 1j * problem.ratio[rest]) + 1j * problem.q_kvar[rest]) / KILO)


class _Points:
    """Solutions that the parabolas of each state go through: at no draw, and the last two."""

    def __init__(self, f0: Real, start: States, trial: Real) -> None:
        self.f0, self._states, self.trial = f0, start.copy(), trial
        count = len(f0)
        self._x1, self._x2 = np.full(count, np.nan), np.full(count, np.nan)
        self._f1, self._f2 = np.zeros_like(f0), np.zeros_like(f0)
        self.good, self.bad = np.zeros(count), np.full(count, np.inf)
        self._unsolved = np.zeros(count, dtype=bool)

    def start(self, rest: Index) -> States:
        return self._states.some(rest)

    def take(self, rest: Index, x: Real, f: Real, states: States, held: Flags) -> None:
        ok = np.flatnonzero(states.solved)
        at = rest[ok]
        shift = ~(np.abs(self._x2[at] - x[ok]) < APART * np.maximum(x[ok], self._x2[at])) & ~np.isnan(self._x2[at])
        self._x1[at[shift]], self._f1[at[shift]] = self._x2[at[shift]], self._f2[at[shift]]
        self._x2[at], self._f2[at] = x[ok], f[ok]
        self._states.put(at, states.some(ok))
        self.good[rest] = np.where(held, np.maximum(self.good[rest], x), self.good[rest])
        beyond = ~held & (x < self.bad[rest])
        self.bad[rest] = np.where(beyond, x, self.bad[rest])
        self._unsolved[rest] = np.where(beyond, ~states.solved, self._unsolved[rest])

    def roots(self, rest: Index, low: Real, high: Real) -> Real:
        """(states, 2 rows) draw at which each row leaves its lower and its upper bound; inf: never."""
        x1, x2 = self._x1[rest, None], self._x2[rest, None]
        f0, f1, f2 = self.f0[rest], self._f1[rest], self._f2[rest]
        with np.errstate(divide="ignore", invalid="ignore"):
            slope1, slope2 = (f1 - f0) / x1, (f2 - f0) / x2
            a = np.where(np.isnan(x1), 0.0, (slope2 - slope1) / (x2 - x1))
            b = slope2 - a * x2
            a, b = np.where(np.isnan(x2), 0.0, a), np.where(np.isnan(x2), 0.0, b)
            return np.concatenate([_upward(-a, -b, low - f0), _upward(a, b, f0 - high)], axis=1)

    def inside(self, rest: Index, following: Real, cap_kw: float) -> tuple[Real, Flags]:
        """The next draws, between what is known to hold and what is not; and whether a missing solution is why."""
        good, bad = self.good[rest], self.bad[rest]
        following = np.minimum(following, cap_kw)
        close = SETTLED_KW + SETTLED_SHARE * good
        unsolved = self._unsolved[rest] & (following >= bad - close)
        middle = (good + np.minimum(bad, cap_kw)) / 2
        out = (following > bad + close) | (following < good - close) | unsolved
        narrow = np.isfinite(bad) & (bad - good <= close)
        return np.where(out & narrow, good, np.where(out & np.isfinite(bad), middle, following)), unsolved


def _upward(a: Real, b: Real, c: Real) -> Real:
    """The root of a x^2 + b x + c at which it turns positive; inf where it never does beyond 0."""
    root = np.sqrt(b * b - 4 * a * c)  # nan: it never reaches zero
    x = -2 * c / (b + root)
    never = np.isnan(root) | ((c <= 0) & ~(b + root > 0)) | ((c > 0) & (b <= 0) & (a <= 0)) | np.isnan(x)
    return np.where(never, np.inf, x)


def _binding(roots: Real, bounds: Bounds) -> Index:
    """Number of the element of the smallest root; the end of the loads' model is an element of its own."""
    place, r = roots.argmin(axis=1), bounds.low.shape[1]
    at = np.arange(len(place))
    of_model = np.where(place < r, bounds.of_model_low[at, place % r], bounds.of_model_high[at, place % r])
    return np.asarray(place + 2 * r * of_model)
