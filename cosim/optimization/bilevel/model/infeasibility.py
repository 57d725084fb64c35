"""Why a bilevel problem has no optimum: families of limits that cannot hold together, or variables along which the cost
falls without end.

A family is all rows whose names begin alike, up to the first digit or bracket.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from cosim.optimization.qp.arrays import csr
from cosim.optimization.qp.bound_propagation import variable_bounds
from cosim.optimization.qp.parametric import ParametricQP, join
from cosim.optimization.qp.transform import rename
from cosim.optimization.qp.two_sided import Limits, full_form
from cosim.optimization.solvers.backends import Highs, falls_without_end

_SHORT = 1e-6


def family(name: str) -> str:
    """The part of a row's or variable's name before its first digit or bracket."""
    return re.split(r"[\d\[(:@]", name, maxsplit=1)[0].strip(" _-.,") or name


def reason(leader: ParametricQP, follower: ParametricQP, status: str) -> str:
    """The cause of 'infeasible' or 'unbounded' as far as linear programs can tell, to be appended to the status."""
    if status == "infeasible":
        found = why_infeasible(leader, follower)
        if found:
            return f"; these limits cannot hold together: {', '.join(found)}"
        return "; the follower's cost has no lower end" if without_end(follower) else ""
    if status == "unbounded":
        found = why_unbounded(leader)
        return f"; without an end: {', '.join(found)}" if found else ""
    return ""


def why_infeasible(leader: ParametricQP, follower: ParametricQP) -> tuple[str, ...]:
    """Families of rows of leader and follower that have no common point, by the least total violation; empty if there
    is one.

    The follower's answer only has to be feasible, not optimal.
    """
    both = _together(leader, follower)
    n, eq_rhs, rhs = len(both.variables), both.eq_rhs, both.ineq_rhs
    own = [*leader.eq_rows, *follower.eq_rows, *leader.ineq_rows, *follower.ineq_rows]
    box = both.ineq_rows[len(own) - len(eq_rhs) :]
    rows = [*own, *(f"range of {name.removeprefix('follower ')[:-3]}" for name in box)]
    p, m = len(eq_rhs), len(rhs)
    # One variable per row for its violation, two for an equality.
    give = sp.vstack([sp.hstack([sp.eye_array(p), -sp.eye_array(p), sp.csr_array((p, m))]),
                      sp.hstack([sp.csr_array((m, 2 * p)), -sp.eye_array(m)])])  # fmt: skip
    matrix = sp.hstack([sp.vstack([both.eq_matrix, both.ineq_matrix]), give])
    size = n + 2 * p + m
    form = full_form(sp.csr_array((size, size)), sp.csr_array((0, size)), matrix)
    cost = np.concatenate([np.zeros(n), np.ones(2 * p + m)])
    open_end = np.full(n, np.inf)
    found = Highs(form, 1e-9).solve(
        cost,
        None,
        Limits(
            np.zeros(0),
            np.concatenate([eq_rhs, np.full(m, -np.inf)]),
            np.concatenate([eq_rhs, rhs]),
            np.concatenate([-open_end, np.zeros(2 * p + m)]),
            np.full(size, np.inf),
        ),
    )
    if found.status != "optimal":
        return ()
    short = found.x[n:] > _SHORT * (1.0 + np.abs(np.concatenate([eq_rhs, eq_rhs, rhs])))
    # Rows with a dual cannot hold together, whichever of them is violated.
    return _families(rows, np.abs(found.rows) > _SHORT) if np.any(short) else ()


def why_unbounded(leader: ParametricQP) -> tuple[str, ...]:
    """Families of the leader's variables that have no end in the direction in which they lower its own cost."""
    lower, upper = variable_bounds(leader)
    falls = ((leader.cost > 0) & ~np.isfinite(lower)) | ((leader.cost < 0) & ~np.isfinite(upper))
    return _families(leader.variables, falls)


def without_end(follower: ParametricQP) -> bool:
    """Whether the follower's cost falls without end wherever it has a feasible answer, whatever its parameters.

    Only told where its linear cost does not depend on them.
    """
    if follower.cost_theta.nnz:
        return False
    n, p = len(follower.variables), len(follower.eq_rows)
    form = full_form(follower.hessian, follower.eq_matrix, follower.ineq_matrix)
    open_end = np.full(n, np.inf)
    limits = Limits(np.zeros(p), np.full(len(follower.ineq_rhs), -np.inf), follower.ineq_rhs, -open_end, open_end)
    return falls_without_end(form, form.hessian, follower.cost, limits)


def _together(leader: ParametricQP, follower: ParametricQP) -> ParametricQP:
    """Both problems as one QP, in which the leader also decides the follower's variables: own costs added, rows put
    together. The leader's rows come first, then the follower's, then the box of its parameters.

    What the parameters make of the follower's linear cost is left out, because it is not convex.
    """
    plain = replace(follower, cost_theta=csr(None, follower.cost_theta.shape))
    return join([leader, rename(plain.free(plain.parameters), str, "follower {}".format)])


def _families(names: Iterable[str], which: npt.NDArray[np.bool_]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(family(name) for name, flag in zip(names, which, strict=True) if flag))

