"""Presolve of the follower of a bilevel problem, and recovery of the full answer from the reduced one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cosim.optimization.qp.arrays import Indices, Vector
from cosim.optimization.qp.bound_propagation import screen, variable_bounds
from cosim.optimization.qp.fixed_variables import WithoutFixed, without_fixed, without_separate
from cosim.optimization.qp.parametric import ParametricQP

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Presolved:
    """A follower without fixed variables, without rows that cannot bind, and without variables that are separate then.

    Attributes:
        qp: the reduced follower, in the leader's box of the parameters.
        rows: where its inequalities lie among those of the follower.
    """

    qp: ParametricQP
    rows: Indices
    _smaller: WithoutFixed
    _kept: Indices
    _joined: WithoutFixed

    def recover(self, x: Vector, nu: Vector, sigma: Vector) -> tuple[Vector, Vector]:
        """x and sigma of the follower as it was; nu stays."""
        x, sigma = self._joined.recover(x, nu, sigma)
        before = np.zeros(len(self._smaller.kept_rows))
        before[self._kept] = sigma
        return self._smaller.recover(x, nu, before)


def empty_ranges(follower: ParametricQP, leader: ParametricQP) -> tuple[str, ...]:
    """The parameters for which the leader's own bounds and the follower's box leave no value."""
    lower, upper = _ranges(follower, leader)
    return tuple(np.array(follower.parameters)[lower > upper].tolist())


def _ranges(follower: ParametricQP, leader: ParametricQP) -> tuple[Vector, Vector]:
    """Lower and upper bounds of the parameters by both problems; bounds that cross by rounding only are made equal."""
    lower, upper = variable_bounds(leader)
    at = {name: i for i, name in enumerate(leader.variables)}
    where = [at[name] for name in follower.parameters]
    low, high = np.maximum(follower.theta_lower, lower[where]), np.minimum(follower.theta_upper, upper[where])
    rounding = (low > high) & (low - high <= _ROUNDING * (1.0 + np.abs(high)))
    return np.where(rounding, high, low), high


def presolve(
    follower: ParametricQP, leader: ParametricQP, *, fixed: bool = True, separate: bool = True
) -> Presolved:
    """Narrow the parameters' box to the leader's own bounds, then remove fixed variables, rows that cannot bind, and
    separate variables.

    Variables that the leader names stay.

    Args:
        fixed: whether fixed variables are removed.
        separate: whether separate variables are removed.
    """
    boxed, named = follower.with_theta_box(*_ranges(follower, leader)), set(leader.variables)
    smaller = without_fixed(boxed, named if fixed else set(boxed.variables))
    screened, bind = screen(smaller.qp)
    joined = without_separate(screened, named if separate else set(screened.variables))
    kept = smaller.kept_rows[bind[joined.kept_rows]]
    return Presolved(joined.qp, kept, smaller, bind, joined)
