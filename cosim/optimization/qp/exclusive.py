"""Pairs of variables of which one at most is positive (a battery charges or discharges), beyond a convex program.

    minimise f(x) over a convex set,     min(x_i, x_j) = 0     for each pair (i, j)

Branch and bound, best bound first (Land and Doig 1960): the relaxation leaves the pairs out, and where both variables
of a pair are positive in its optimum, each child closes one of them (holds it at zero).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np

from cosim.errors import InputError, RunFailure
from cosim.optimization.qp.arrays import relative_gap
from cosim.optimization.qp.best_first import BestFirst
from cosim.optimization.qp.parametric import ParametricQP

Answer = TypeVar("Answer")
Pairs = Sequence[tuple[str, str]]

APART = 1e-9
"""The smaller variable of a pair counts as zero up to this (1 mW for variables in MW)."""


@dataclass(frozen=True, slots=True)
class Trial(Generic[Answer]):
    """The program with some variables closed: cost of the point found, proven bound, values by name, and the answer."""

    cost: float
    bound: float
    values: Mapping[str, float]
    answer: Answer


@dataclass(frozen=True, slots=True)
class Chosen(Generic[Answer]):
    """The best point that keeps all pairs, and what is proven.

    Attributes:
        answer: of the program in which it was found.
        cost: of the point; bound: no point that keeps the pairs costs less.
        solved: programs solved.
        closed: variables held at zero in that program.
    """

    answer: Answer
    cost: float
    bound: float
    solved: int
    closed: frozenset[str]


def overlapping(pairs: Pairs, values: Mapping[str, float]) -> list[tuple[str, str]]:
    """The pairs of which both are positive, each as (smaller, larger), the largest overlap first."""
    apart = [(a, b) if values[a] <= values[b] else (b, a) for a, b in pairs]
    both = [pair for pair in apart if values[pair[0]] > APART]
    return sorted(both, key=lambda pair: -values[pair[0]])


def closed(qp: ParametricQP, names: Collection[str]) -> ParametricQP:
    """The problem with these variables (not negative, bounded from above) held at zero; its rows stay the same.

    Names of other problems are left aside.

    Raises:
        InputError: a variable has no upper bound to close.
    """
    place = {name: i for i, name in enumerate(qp.variables)}
    mine = {place[name]: name for name in names if name in place}
    if not mine:
        return qp
    matrix = qp.ineq_matrix.tocsr(copy=True)
    matrix.eliminate_zeros()
    single = np.flatnonzero(np.diff(matrix.indptr) == 1)
    first = matrix.indptr[single]
    upper = single[(matrix.data[first] > 0) & np.isin(matrix.indices[first], list(mine))]
    without = set(mine) - set(matrix.indices[matrix.indptr[upper]].tolist())
    if without:
        raise InputError("a variable without a bound cannot be closed", key="exclusive", value=mine[min(without)])
    rhs = qp.ineq_rhs.copy()
    rhs[upper] = 0.0
    return replace(qp, ineq_rhs=rhs)


def choose_sides(
    pairs: Pairs,
    solve: Callable[[frozenset[str]], Trial[Answer] | None],
    *,
    gap: float = 1e-7,
    limit: int = 60,
    hint: Mapping[str, float] | None = None,
) -> Chosen[Answer]:
    """The least cost with one variable of each pair at zero.

    Args:
        solve: the program with these variables closed; None where it has no point.
        gap: relative gap at which the search ends.
        limit: programs to solve at most, after which the best point stands with the bound that is proven; the way to
            the first point is always gone to its end.
        hint: values of a point that keeps the pairs, whose sides the first point takes where it has any.

    Raises:
        RunFailure: of the program without the pairs, or none of the programs tried has a point.
    """
    root = solve(frozenset())
    if root is None:
        raise RunFailure("a program with exclusive variables has no point")
    none: frozenset[str] = frozenset()
    if not overlapping(pairs, root.values):
        return Chosen(root.answer, root.cost, root.bound, 1, none)
    solved, queue = 1, BestFirst[tuple[frozenset[str], Trial[Answer]]]()
    best: tuple[Trial[Answer], frozenset[str]] | None = None
    queue.push(root.bound, (none, root))
    known = {} if hint is None else hint
    # The first point: where both are positive, the smaller one is closed, until no pair overlaps.
    names, trial = none, root
    while both := overlapping(pairs, trial.values):
        names = names | {min(pair, key=lambda v: known.get(v, 0.0)) for pair in both}
        found, solved = _attempt(solve, names)[0], solved + 1
        if found is None:
            break
        trial = found
    else:
        best = (trial, names)
    for bound, (names, trial) in queue:
        done = best is not None and (solved >= limit or relative_gap(best[0].cost, bound) <= gap)
        if done:
            queue.push(bound, (names, trial))
            break
        for side in overlapping(pairs, trial.values)[0]:
            further = names | {side}
            found, proven = _attempt(solve, further)
            solved += 1
            if found is None:
                queue.close(np.inf if proven else bound)
            elif overlapping(pairs, found.values):
                queue.push(max(found.bound, bound), (further, found))
            elif best is None or found.cost < best[0].cost:
                best = (found, further)
    if best is None:
        raise RunFailure("no choice between exclusive variables has a point")
    return Chosen(best[0].answer, best[0].cost, min(best[0].cost, queue.bound), solved, best[1])


def _attempt(
    solve: Callable[[frozenset[str]], Trial[Answer] | None], names: frozenset[str]
) -> tuple[Trial[Answer] | None, bool]:
    """The program with these variables closed, and whether it is known to have no point where there is none."""
    try:
        return solve(names), True
    except RunFailure:
        return None, False
