"""From the reduced clearings of steps to one parametric QP: rows that can bind, names, and where each row came from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cosim.agents.dso.clearing import ClearingModel, ReducedStep
from cosim.agents.dso.network_rows import NetworkRows
from cosim.agents.dso.own_problem import OwnStep, OwnWindow
from cosim.optimization.qp.arrays import from_dense
from cosim.optimization.qp.dominated_rows import can_bind, implied
from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.qp.transform import with_equalities, with_rows

Array = NDArray[np.float64]
Index = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class AssembledStep:
    """The QP of one step, and which rows of the clearing its inequalities are.

    Attributes:
        qp: names end in ``@step``; parameters are P, then Q of each terminal; the network's equalities are
            the first ones.
        own_rows, network_rows: rows that stayed; the QP has the own ones first.
    """

    qp: ParametricQP
    own_rows: Index
    network_rows: Index


def assemble(
    model: ClearingModel, step: ReducedStep, t: int, ratio: Array, p_low_mw: Array, p_high_mw: Array
) -> AssembledStep:
    """The QP of a reduced step with the rows that can bind while terminals draw between these limits.

    Args:
        model: the clearing.
        step: the step with its network solved for.
        t: number of the step, for the names.
        ratio: (terminals,) Mvar per MW.
        p_low_mw, p_high_mw: (terminals,) least and most that each terminal draws.
    """
    own = step.own
    matrix, rhs, by_theta = step.inequalities
    own_kept = _own_rows(step.own)
    kept = _network_rows(model.inequalities, step, ratio, p_low_mw, p_high_mw)
    e, e_rhs, e_theta = step.equalities
    k = len(model.parameters)
    names = [own.row_names[i] for i in own_kept] + [model.inequalities.names[i] for i in kept]
    qp = ParametricQP(
        hessian=own.hessian,
        cost=own.cost,
        cost_theta=sp.csr_array((len(own.cost), k)),
        eq_matrix=from_dense(np.vstack([e, own.equalities])),
        eq_rhs=np.concatenate([e_rhs, own.eq_rhs]),
        eq_theta=from_dense(np.vstack([e_theta, np.zeros((len(own.eq_rhs), k))])),
        ineq_matrix=from_dense(np.vstack([own.rows[own_kept], matrix[kept]])),
        ineq_rhs=np.concatenate([own.rhs[own_kept], rhs[kept]]),
        ineq_theta=from_dense(np.vstack([np.zeros((len(own_kept), k)), by_theta[kept]])),
        constant=own.constant,
        constant_theta=np.zeros(k),
        variables=tuple(f"{name}@{t}" for name in model.variables),
        parameters=tuple(f"{name}@{t}" for name in model.parameters),
        eq_rows=tuple(f"{name}@{t}" for name in (*model.equalities.names, *own.eq_names)),
        ineq_rows=tuple(f"{name}@{t}" for name in names),
        theta_lower=np.concatenate([p_low_mw, p_low_mw * ratio]),
        theta_upper=np.concatenate([p_high_mw, p_high_mw * ratio]),
        exclusive=tuple((f"{a}@{t}", f"{b}@{t}") for a, b in own.exclusive),
    )
    return AssembledStep(qp, own_kept, kept)


def _own_rows(own: OwnStep) -> Index:
    """Bounds, and those rows of several variables that the bounds leave a chance to bind."""
    bound = np.count_nonzero(own.rows, axis=1) <= 1
    return np.flatnonzero(bound | can_bind(own.rows, own.rhs, own.low, own.high))


def _network_rows(kinds: NetworkRows, step: ReducedStep, ratio: Array, p_low_mw: Array, p_high_mw: Array) -> Index:
    """Limits that can bind, and of those of one family the ones that no other always undercuts."""
    matrix, rhs, by_theta = step.inequalities
    terminals = len(ratio)
    both = np.hstack([matrix, -(by_theta[:, :terminals] + by_theta[:, terminals:] * ratio)])
    low, high = np.concatenate([step.own.low, p_low_mw]), np.concatenate([step.own.high, p_high_mw])
    left = np.flatnonzero(can_bind(both, rhs, low, high))
    kept = [np.zeros(0, dtype=np.intp)]
    for family in np.unique(kinds.family[left]):
        members = left[kinds.family[left] == family]
        # rows of a family differ in what they depend on, never in their slack, so open columns cancel
        gone, _ = implied(both[members], rhs[members], low, high)
        kept.append(members[~gone])
    return np.concatenate(kept)


def with_joined(qp: ParametricQP, own: OwnWindow) -> ParametricQP:
    """The window's problem with the rows that join its steps: ramps, state of charge."""
    eq, ineq = own.equalities, own.inequalities
    if len(ineq.names):
        qp = with_rows(qp, ineq.matrix, ineq.rhs, ineq.names)
    if len(eq.names):
        qp = with_equalities(qp, eq.matrix, eq.rhs, eq.names)
    return qp
