"""From the reduced clearings of steps to one parametric QP: rows that can bind, names, and where each row came from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cosim.agents.dso.clearing import ClearingModel, ReducedStep
from cosim.agents.dso.network_rows import NetworkRows
from cosim.agents.dso.own_problem import OwnWindow
from cosim.optimization.qp.arrays import blocks_from_dense
from cosim.optimization.qp.dominated_rows import can_bind, implied
from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.qp.transform import with_rows

Array = NDArray[np.float64]
Index = NDArray[np.intp]
LARGEST = 1 << 20
"""How many coefficients of limits are looked at together."""


@dataclass(frozen=True, slots=True)
class AssembledWindow:
    """The QP of all steps of a window side by side, and which rows of the clearing its inequalities are.

    Attributes:
        qp: names end in ``@step``; parameters of each step are P, then Q of each terminal; of each step's equalities
            the network's are the first ones, of its inequalities the operator's own.
        own_rows, network_rows: of each step the rows that stayed.
    """

    qp: ParametricQP
    own_rows: tuple[Index, ...]
    network_rows: tuple[Index, ...]


def assemble(
    model: ClearingModel, steps: Sequence[ReducedStep], ratio: Array, p_low_mw: Array, p_high_mw: Array
) -> AssembledWindow:
    """The QP of reduced steps with the rows that can bind while terminals draw between these limits.

    Args:
        model: the clearing.
        steps: the steps with their networks solved for.
        ratio: (terminals,) Mvar per MW.
        p_low_mw, p_high_mw: (steps, terminals) least and most that each terminal draws.
    """
    owns, k, count = [step.own for step in steps], len(model.parameters), range(len(steps))
    own_kept = [own.binding for own in owns]
    kept = _network_rows(model.inequalities, steps, ratio, p_low_mw, p_high_mw)
    row_names = [
        [own.row_names[i] for i in mine.tolist()] + [model.inequalities.names[i] for i in rows.tolist()]
        for own, mine, rows in zip(owns, own_kept, kept, strict=True)
    ]
    square = np.concatenate([own.square for own in owns])
    there, n = np.flatnonzero(square), len(square)
    left = zip(steps, kept, strict=True)
    matrix, rhs, by_theta = zip(*([part[rows] for part in step.inequalities] for step, rows in left), strict=True)

    def below(upper: Callable[[int], Array], lower: Callable[[int], Array]) -> list[Array]:
        return [np.concatenate([upper(t), lower(t)]) for t in count]

    def by_step(of_step: Callable[[int], Sequence[str]]) -> tuple[str, ...]:
        return tuple(f"{name}@{t}" for t in count for name in of_step(t))

    qp = ParametricQP(
        hessian=sp.csr_array((2.0 * square[there], there, np.append(0, np.cumsum(square != 0))), shape=(n, n)),
        cost=np.concatenate([own.cost for own in owns]),
        cost_theta=sp.csr_array((n, k * len(steps))),
        eq_matrix=blocks_from_dense(below(lambda t: steps[t].equalities[0], lambda t: owns[t].equalities)),
        eq_rhs=np.concatenate(below(lambda t: steps[t].equalities[1], lambda t: owns[t].eq_rhs)),
        eq_theta=blocks_from_dense(
            below(lambda t: steps[t].equalities[2], lambda t: np.zeros((len(owns[t].eq_rhs), k)))
        ),
        ineq_matrix=blocks_from_dense(below(lambda t: owns[t].rows[own_kept[t]], lambda t: matrix[t])),
        ineq_rhs=np.concatenate(below(lambda t: owns[t].rhs[own_kept[t]], lambda t: rhs[t])),
        ineq_theta=blocks_from_dense(
            below(lambda t: np.zeros((len(own_kept[t]), k)), lambda t: by_theta[t])
        ),
        constant=sum(own.constant for own in owns),
        constant_theta=np.zeros(k * len(steps)),
        variables=by_step(lambda t: model.variables),
        parameters=by_step(lambda t: model.parameters),
        eq_rows=by_step(lambda t: (*model.equalities.names, *owns[t].eq_names)),
        ineq_rows=by_step(lambda t: row_names[t]),
        theta_lower=np.concatenate([p_low_mw, p_low_mw * ratio], axis=1).ravel(),
        theta_upper=np.concatenate([p_high_mw, p_high_mw * ratio], axis=1).ravel(),
        exclusive=tuple((f"{a}@{t}", f"{b}@{t}") for t in count for a, b in owns[t].exclusive),
    )
    return AssembledWindow(qp, tuple(own_kept), tuple(kept))


def _network_rows(
    kinds: NetworkRows, steps: Sequence[ReducedStep], ratio: Array, p_low_mw: Array, p_high_mw: Array
) -> list[Index]:
    """Of each step the limits that can bind, and of those of one family the ones that no other always undercuts."""
    terminals = len(ratio)
    low = np.concatenate([[step.own.low for step in steps], p_low_mw], axis=1)
    high = np.concatenate([[step.own.high for step in steps], p_high_mw], axis=1)
    found: dict[int, Index] = {}
    for some in _side_by_side([step.inequalities[0] for step in steps]):
        matrix, by_theta = (np.array([steps[places[0]].inequalities[i] for places in some]) for i in (0, 2))
        both = np.concatenate([matrix, -(by_theta[..., :terminals] + by_theta[..., terminals:] * ratio)], axis=2)
        least = np.array([np.min([steps[t].inequalities[1] for t in places], axis=0) for places in some])
        widest = [low[places].min(axis=0) for places in some], [high[places].max(axis=0) for places in some]
        for k, (places, rows) in enumerate(zip(some, can_bind(both, least, *map(np.array, widest)), strict=True)):
            left = np.flatnonzero(rows)
            few = both[k, left]
            for t in places:
                rhs = steps[t].inequalities[1][left]
                there = can_bind(few, rhs, low[t], high[t]) if len(places) > 1 else np.ones(len(left), dtype=bool)
                kept = _tightest(kinds.family[left[there]], few[there], rhs[there], low[t], high[t])
                found[t] = left[there][kept]
    return [found[t] for t in range(len(steps))]


def _tightest(family: Index, matrix: Array, rhs: Array, low: Array, high: Array) -> Index:
    """Places of the rows that no other of their family always undercuts, family by family."""
    kept = [np.zeros(0, dtype=np.intp)]
    for one in np.unique(family):
        members = np.flatnonzero(family == one)
        # rows of a family differ in what they depend on, never in their slack, so open columns cancel
        gone, _ = implied(matrix[members], rhs[members], low, high)
        kept.append(members[~gone])
    return np.concatenate(kept)


def _side_by_side(matrices: Sequence[Array]) -> list[list[list[int]]]:
    """Places of each matrix that occurs, as scenarios on one linearisation share theirs; so many matrices at a time
    that working on all of them together needs little memory."""
    sharing: dict[int, list[int]] = {}
    for t, matrix in enumerate(matrices):
        sharing.setdefault(id(matrix), []).append(t)
    groups = list(sharing.values())
    together = max(1, LARGEST // max(1, matrices[0].size)) if groups else 1
    return [groups[i : i + together] for i in range(0, len(groups), together)]


def with_joined(qp: ParametricQP, own: OwnWindow) -> ParametricQP:
    """The window's problem with the rows that join its steps: ramps, state of charge."""
    eq, ineq = own.equalities, own.inequalities
    if len(ineq.names):
        qp = with_rows(qp, ineq.matrix, ineq.rhs, ineq.names)
    if len(eq.names):
        qp = with_rows(qp, eq.matrix, eq.rhs, eq.names, equality=True)
    return qp
