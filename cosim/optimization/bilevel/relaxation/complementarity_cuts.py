"""Valid rows for a relaxation without complementarity: of a dual and a slack that may not both be positive, the larger
the one the smaller the other,

    sigma_i / most sigma_i  +  s_i / most s_i  <=  1,

with proven bounds. Each row holds at every point of the bilevel problem and cuts off points that break its pair.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from cosim.optimization.bilevel.model.single_level import SingleLevel
from cosim.optimization.bilevel.relaxation.obbt import FollowerBounds
from cosim.optimization.bilevel.settings import DEFAULT, SearchSettings
from cosim.optimization.qp.arrays import Indices, Matrix, Vector, rows, stacked
from cosim.optimization.qp.bound_propagation import largest, smallest, variable_bounds

_NEVER = 3e-6
_LEAST = 1e-6


@dataclass(frozen=True, slots=True)
class PairRows:
    """Rows over the variables of a single-level form, matrix @ z <= rhs, and the pairs whose dual is always zero."""

    matrix: Matrix
    rhs: Vector
    never: Indices


def pair_rows(level: SingleLevel, settings: SearchSettings = DEFAULT) -> PairRows:
    """The rows of all pairs whose dual and slack are bounded; it takes a linear program or two for each pair."""
    follower, size = level.follower, len(level.qp.variables)
    lower, upper = variable_bounds(follower)
    reach = largest(follower.ineq_theta, follower.theta_lower, follower.theta_upper)
    finite = np.isfinite(follower.ineq_rhs + reach - smallest(follower.ineq_matrix, lower, upper))
    bounds = FollowerBounds(follower, settings=settings)
    dual = np.array([bounds.dual(i) for i in range(len(finite))])
    slack = np.array([bounds.slack(i) if finite[i] else np.inf for i in range(len(finite))])
    pairs = np.flatnonzero(np.isfinite(dual) & np.isfinite(slack) & (dual > _NEVER) & (slack > _LEAST))
    ratio = sp.csr_array((slack[pairs] / dual[pairs], (np.arange(len(pairs)), pairs)), (len(pairs), len(finite)))
    matrix = stacked(size, [[
        (ratio, level.sigma_at, 1.0),
        (rows(follower.ineq_matrix, pairs), level.x_at, -1.0),
        (rows(follower.ineq_theta, pairs), level.theta_at, 1.0),
    ]])  # fmt: skip
    return PairRows(matrix, slack[pairs] - follower.ineq_rhs[pairs], np.flatnonzero(dual <= _NEVER))
