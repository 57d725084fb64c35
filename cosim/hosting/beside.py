"""A static var generator beside a connection: the reactive power with which most can be drawn.

For a reactive power q each row of the network has a largest draw L_r(q) of its own, a smooth function; the largest draw
is the maximum over q of their minimum, which lies where two rows cross, at the top of one, or at the rating of the
generator. Parabolas through three values of q find it, ever closer; every value is one of AC power flow.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cosim.hosting.power_flow import PowerFlow
from cosim.hosting.rows import Rows
from cosim.hosting.search import Found, Problem, largest

Real = NDArray[np.float64]
SPREADS = (1.0, 1 / 6, 1 / 30)
"""Distances between the values of reactive power that parabolas go through, one round after another, of the rating."""
GRID = 401
"""Values of reactive power among which the top of the parabolas is looked for."""
ROWS = 4
"""Rows of each of the three values that are followed: those nearest to binding."""
BACK = (0.75, 0.5, 0.25)
"""Shares of the best reactive power that are tried where a limit is broken with all of it."""


def largest_beside(flow: PowerFlow, rows: Rows, problem: Problem, cap_kw: float, kvar: float) -> tuple[Found, Real]:
    """Largest draws with up to ``kvar`` of reactive power either way beside them, and that power (drawn positive).

    Among equals it is the least reactive power that was looked at.
    """
    count = len(problem.which)
    best, best_q = largest(flow, rows, problem, cap_kw), np.zeros(count)
    centre = np.zeros(count)
    for spread in SPREADS:
        tried, results = [], []
        for sign in (-1.0, 0.0, 1.0):
            q = np.clip(centre + sign * spread * kvar, -kvar, kvar)
            tried.append(q)
            results.append(_at(flow, rows, problem, cap_kw, q))
            best_q = _better(best, best_q, results[-1], q)
        centre = _top(np.stack(tried), results, np.maximum(best.x_kw, 1e-6), kvar)
    last = _at(flow, rows, problem, cap_kw, centre)
    best_q = _better(best, best_q, last, centre)
    for share in BACK if not last.held.all() else ():
        best_q = _better(best, best_q, _at(flow, rows, problem, cap_kw, share * centre), share * centre)
    return best, best_q


def _at(flow: PowerFlow, rows: Rows, problem: Problem, cap_kw: float, q_kvar: Real) -> Found:
    return largest(flow, rows, replace(problem, q_kvar=q_kvar), cap_kw)


def _better(best: Found, best_q: Real, other: Found, q_kvar: Real) -> Real:
    """Take what is larger, or equal with less reactive power; the reactive powers of the best."""
    more = other.x_kw - best.x_kw
    small = 1e-4 * np.abs(best.x_kw) + 0.01
    take = other.held & ((more > small) | ((more >= -small) & (np.abs(q_kvar) < np.abs(best_q))))
    for name in ("x_kw", "binding", "rows", "own_kw", "second_kw"):
        getattr(best, name)[take] = getattr(other, name)[take]
    return np.where(take, q_kvar, best_q)


def _top(tried: Real, results: list[Found], scale_kw: Real, kvar: float) -> Real:
    """(states,) reactive power at which the smallest of the rows' parabolas is largest.

    Args:
        tried: (3, states) reactive powers of the results. scale_kw: (states,) draws; rows far above them are left out.
    """
    limit = [np.maximum(r.own_kw, r.second_kw) for r in results]
    near = [np.take_along_axis(r.rows, np.argsort(x, axis=1)[:, :ROWS], axis=1) for r, x in zip(results, limit,
            strict=True)]  # fmt: skip
    candidates = np.concatenate(near, axis=1)
    far = 10 * scale_kw[:, None]
    values = []
    for r, x in zip(results, limit, strict=True):
        here = candidates[:, :, None] == r.rows[:, None, :]
        own = np.where(here, x[:, None, :], np.inf).min(axis=2)
        values.append(np.clip(own, -far, far))
    q0, q1, q2 = (q[:, None] for q in tried)
    f0, f1, f2 = values
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = (f1 - f0) / (q1 - q0), (f2 - f1) / (q2 - q1)
        curve = (second - first) / (q2 - q0)
    first = np.where(np.isfinite(first), first, second)
    first, curve = np.nan_to_num(first), np.where(np.isfinite(curve), curve, 0.0)
    q = np.linspace(-kvar, kvar, GRID)[:, None, None]
    lowest = (f1 + first * (q - q1) + curve * (q - q0) * (q - q1)).min(axis=2)
    return np.asarray(q[lowest.argmax(axis=0), 0, 0])
