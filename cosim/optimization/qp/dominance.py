"""Dropping inequalities that another one always implies: of many limits of one kind only a few can ever bind first."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import scipy.sparse as sp

from cosim.optimization.qp.arrays import rows
from cosim.optimization.qp.bound_propagation import Dropped, Screening, keep_rows, variable_bounds
from cosim.optimization.qp.dominated_rows import implied
from cosim.optimization.qp.parametric import ParametricQP


def drop_dominated(
    qp: ParametricQP, candidates: Callable[[str], bool], known: Mapping[str, tuple[float, float]] | None = None
) -> Screening:
    """Drop each candidate inequality that another one implies everywhere in the box of variables and parameters.

    Row i, ``g_i z <= h_i`` with ``z = (x, theta)``, goes if some row j has ``(g_i - g_j) z <= h_i - h_j`` for every
    z in the box. Rows that imply each other keep the first. The feasible set stays as it is; a dual that could have
    been on either row is on the one that stays.

    Args:
        qp: the problem; rows with an open difference (unbounded variable) are left alone.
        candidates: says of a row's name whether it may go; never a bound of a variable, for the box rests on those.
        known: further bounds of variables by name, which the caller vouches for: rows that are no candidates imply
            them.
    """
    lower, upper = variable_bounds(qp)
    for name, (least, most) in (known or {}).items():
        i = qp.variables.index(name)
        lower[i], upper[i] = max(lower[i], least), min(upper[i], most)
    low, high = np.concatenate([lower, qp.theta_lower]), np.concatenate([upper, qp.theta_upper])
    which = np.array([i for i, name in enumerate(qp.ineq_rows) if candidates(name)], dtype=np.int64)
    matrix = rows(sp.csr_array(sp.hstack([qp.ineq_matrix, -qp.ineq_theta])), which).toarray()
    gone, slack = implied(matrix, qp.ineq_rhs[which], low, high)
    kept = np.setdiff1d(np.arange(len(qp.ineq_rows)), which[gone])
    smaller = keep_rows(qp, kept)
    dropped = tuple(
        Dropped(qp.ineq_rows[which[i]], "dominated", float(slack[i])) for i in np.flatnonzero(gone)
    )
    return Screening(smaller, dropped, kept, len(qp.ineq_rows))
