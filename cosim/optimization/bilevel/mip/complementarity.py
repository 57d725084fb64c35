"""The optimality conditions of a ParametricQP as a Pyomo block; complementarity by big-M, indicators, or SOS1.

For each row i of G with dual sigma_i and slack s_i:

    big-M   sigma_i <= D_i b_i,  s_i <= S_i (1 - b_i),  b_i binary, with D_i and S_i proven (see `obbt`)
    indicator  b_i = 0 forces sigma_i = 0, b_i = 1 forces s_i = 0; the same bounds stand on the two variables
    SOS1    at most one of sigma_i and s_i is not zero

A row that provably never binds gets sigma_i = 0, one that always binds s_i = 0. There is no other source of
an M: where a bound cannot be proven the pair becomes an SOS1, whatever was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyomo.environ as pyo

from cosim.errors import InputError
from cosim.optimization.bilevel.relaxation.obbt import FollowerBounds
from cosim.optimization.qp.arrays import Matrix, Vector
from cosim.optimization.qp.bound_propagation import variable_bounds
from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.qp.solution import NoSolution

COMPLEMENTARITIES = ("big-m", "sos1", "indicator")
_EMPTY = 1e-9


@dataclass(frozen=True)
class Conditions:
    """What `add_kkt` added.

    Attributes:
        x, nu, sigma, slack: Pyomo variables in the order of the follower's columns and rows.
        prices: the expressions constant_theta - B'nu - W'sigma, one per parameter.
        dual_bounds: the M of each dual, infinite where SOS1 stands instead.
        sos1: rows with an SOS1.
        indicators: triples (binary, value, variable): where the binary has the value the variable is at most 0.
        bind: the binary of each pair, fixed where it has none.
    """

    x: list[Any]
    nu: list[Any]
    sigma: list[Any]
    slack: list[Any]
    prices: list[Any]
    dual_bounds: Vector
    sos1: tuple[str, ...]
    indicators: list[tuple[Any, bool, Any]]
    bind: list[Any]


def add_kkt(
    block: Any,
    qp: ParametricQP,
    theta: Sequence[Any],
    *,
    complementarity: str = "big-m",
    bounds: FollowerBounds | None = None,
    dual_bounds: Mapping[str, float] | None = None,
) -> Conditions:
    """Add the optimality conditions of a QP whose parameters are Pyomo variables to an empty Pyomo block.

    Args:
        block: an empty Pyomo block.
        qp: the follower.
        theta: Pyomo variables in the order of its parameters.
        complementarity: one of `COMPLEMENTARITIES`.
        bounds: proven bounds of `qp`, if they have been made before.
        dual_bounds: bounds of some duals, by row name, that the caller can prove; they may only tighten.

    Raises:
        InputError: for another complementarity or an unknown row.
    """
    if complementarity not in COMPLEMENTARITIES:
        raise InputError(
            "unknown complementarity",
            key="complementarity",
            value=complementarity,
            allowed=", ".join(COMPLEMENTARITIES),
        )
    given = dict(dual_bounds or {})
    unknown = set(given) - set(qp.ineq_rows)
    if unknown:
        raise InputError("a dual bound for an unknown row", key="dual_bounds", value=min(unknown))
    n, p, m = len(qp.variables), len(qp.eq_rows), len(qp.ineq_rows)
    proven = bounds or FollowerBounds(qp)
    lower, upper = variable_bounds(qp)
    block.x = pyo.Var(range(n))
    block.nu = pyo.Var(range(p))
    block.sigma = pyo.Var(range(m), bounds=(0, None))
    block.slack = pyo.Var(range(m), bounds=(0, None))
    for j in range(n):
        block.x[j].setlb(_finite(lower[j]))
        block.x[j].setub(_finite(upper[j]))
    x, nu = list(block.x.values()), list(block.nu.values())
    sigma, slack = list(block.sigma.values()), list(block.slack.values())
    block.rows = pyo.ConstraintList()
    for i in range(p):
        add_row(block.rows, dot(qp.eq_matrix, i, x) - dot(qp.eq_theta, i, theta), float(qp.eq_rhs[i]), qp.eq_rows[i])
    for i in range(m):
        block.rows.add(dot(qp.ineq_matrix, i, x) + slack[i] == qp.ineq_rhs[i] + dot(qp.ineq_theta, i, theta))
    down, across = qp.eq_matrix.T.tocsr(), qp.ineq_matrix.T.tocsr()
    for j in range(n):
        gradient = dot(qp.hessian, j, x) + qp.cost[j] + dot(qp.cost_theta, j, theta)
        gradient = gradient + dot(down, j, nu) + dot(across, j, sigma)
        add_row(block.rows, gradient, 0.0, f"stationarity of {qp.variables[j]}")
    big, sos = np.full(m, np.inf), []
    indicators: list[tuple[Any, bool, Any]] = []
    block.bind = pyo.Var(range(m), domain=pyo.Binary)
    for i, name in enumerate(qp.ineq_rows):
        block.bind[i].fix(0)
        dual = min(proven.dual(i), given.get(name, np.inf))
        if dual == 0.0:
            sigma[i].fix(0.0)
            continue
        room = proven.slack(i)
        if room == 0.0:
            slack[i].fix(0.0)
        elif complementarity != "sos1" and np.isfinite(dual) and np.isfinite(room):
            block.bind[i].unfix()
            big[i] = dual
            sigma[i].setub(dual)
            if complementarity == "indicator":
                # Never on an open variable: a solver that then makes up an M of its own may cut off the optimum.
                slack[i].setub(room)
                indicators += [(block.bind[i], False, sigma[i]), (block.bind[i], True, slack[i])]
                continue
            block.rows.add(sigma[i] <= dual * block.bind[i])
            block.rows.add(slack[i] <= room * (1 - block.bind[i]))
        else:
            sigma[i].setub(_finite(dual))
            sos.append(i)
    block.pairs = pyo.SOSConstraint(sos, rule=lambda _, i: ([sigma[i], slack[i]], [1, 2]), sos=1)
    by_eq, by_ineq = qp.eq_theta.T.tocsr(), qp.ineq_theta.T.tocsr()
    prices = [
        float(qp.constant_theta[k]) - dot(by_eq, k, nu) - dot(by_ineq, k, sigma)
        for k in range(len(qp.parameters))
    ]
    names = tuple(qp.ineq_rows[i] for i in sos)
    return Conditions(x, nu, sigma, slack, prices, big, names, indicators, list(block.bind.values()))


def add_row(rows: Any, left: Any, rhs: float, name: str, *, equality: bool = True) -> None:
    """Add left == rhs (or <=) to a constraint list; where no variable is left, only check it.

    Raises:
        NoSolution: a row without a variable does not hold, so nothing is feasible.
    """
    if not isinstance(left, int | float | np.floating):
        rows.add(left == rhs if equality else left <= rhs)
    elif left - rhs > _EMPTY or (equality and rhs - left > _EMPTY):
        raise NoSolution("infeasible", f"; {name} has no variable, and does not hold")


def dot(matrix: Matrix, row: int, variables: Sequence[Any]) -> Any:
    """A row of a csr matrix times variables, as a Pyomo expression (0.0 if the row is empty)."""
    part = slice(matrix.indptr[row], matrix.indptr[row + 1])
    terms = [
        float(value) * variables[j]
        for j, value in zip(matrix.indices[part], matrix.data[part], strict=True)
        if value != 0.0
    ]
    return pyo.quicksum(terms) if terms else 0.0


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
