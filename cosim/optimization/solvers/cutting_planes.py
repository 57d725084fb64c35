"""A cutting-plane model: a problem plus convex functions of which only tangents (lower bounds) are known.

    minimise   f(x) + sum_g F_g(y_g) + weight/2 |y - centre|^2,      y a part of x
    known:     F_g(y_g) >= value_kg + slope_kg'(y_g - at_kg)         for each tangent k

F_g being the cost of group g of y's entries (Benders cuts; with the quadratic term a proximal bundle method).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp

from cosim.errors import InputError
from cosim.optimization.qp.arrays import Indices, Vector
from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.solvers.qp_solver import QPSolver

_ACCEPT = 1e-6


@dataclass(frozen=True, slots=True)
class CutPoint:
    """The minimiser: ``x`` of the problem, ``slope`` (groups, entries) of the tangents that hold it there."""

    x: Vector
    slope: Vector


@dataclass(slots=True)
class CutModel:
    """Tangents collected so far.

    Attributes:
        problem: without parameters.
        columns: (groups, entries) which variables make up the part y.
    """

    problem: ParametricQP
    columns: Indices
    _values: list[Vector] = field(default_factory=list)
    _slopes: list[Vector] = field(default_factory=list)
    _points: list[Vector] = field(default_factory=list)

    def add(self, values: Vector, slopes: Vector, at: Vector) -> None:
        """Add one tangent of each group, or one of the sum of all groups.

        Args:
            values: (groups,) costs, or (1,) their sum.
            slopes, at: (groups, entries).

        Raises:
            InputError: shapes that do not fit.
        """
        if len(values) not in (1, len(self.columns)) or slopes.shape != self.columns.shape != at.shape:
            raise InputError("a tangent does not fit the problem", key="shape", value=(values.shape, slopes.shape))
        self._values.append(np.asarray(values, dtype=float))
        self._slopes.append(np.asarray(slopes, dtype=float))
        self._points.append(np.asarray(at, dtype=float))

    def __len__(self) -> int:
        return len(self._values)

    def minimise(self, centre: Vector, weight: float | Vector) -> CutPoint:
        """The minimum over the tangents known, held near ``centre`` (groups, entries), by one weight or (groups, 1).

        Raises:
            RunFailure: there is none.
        """
        problem, columns = self.problem, self.columns
        n, groups = len(problem.variables), len(columns)
        rows, rhs = self._rows(n)
        diagonal = np.zeros(n + groups)
        diagonal[columns] = weight
        cost = np.concatenate([problem.cost, np.ones(groups)])
        cost[columns] -= weight * centre
        wide = (problem.eq_matrix.shape[0], groups), (problem.ineq_matrix.shape[0], groups)
        with_cuts = ParametricQP.build(
            hessian=sp.block_diag([problem.hessian, sp.csr_array((groups, groups))]) + sp.diags_array(diagonal),
            cost=cost,
            eq_matrix=sp.hstack([problem.eq_matrix, sp.csr_array(wide[0])]),
            eq_rhs=problem.eq_rhs,
            ineq_matrix=sp.vstack([sp.hstack([problem.ineq_matrix, sp.csr_array(wide[1])]), rows]),
            ineq_rhs=np.concatenate([problem.ineq_rhs, rhs]),
        )
        found = QPSolver(with_cuts, accept=_ACCEPT).solve().require()
        weights = found.sigma[len(problem.ineq_rows) :]
        return CutPoint(found.x[:n], self._combined(weights))

    def _rows(self, n: int) -> tuple[sp.csr_array, Vector]:
        """The tangents as rows ``slope'y - F <= slope'at - value`` over the variables and one F per group."""
        groups = len(self.columns)
        blocks, rhs = [], []
        for values, slopes, at in zip(self._values, self._slopes, self._points, strict=True):
            apart = len(values) == groups
            line = np.repeat(np.arange(groups) if apart else np.zeros(groups, dtype=int), slopes.shape[1])
            of_cost = np.arange(groups)
            entries = np.concatenate([slopes.ravel(), -np.ones(groups)])
            where_row = np.concatenate([line, of_cost if apart else np.zeros(groups, dtype=int)])
            where_column = np.concatenate([self.columns.ravel(), n + of_cost])
            blocks.append(sp.csr_array((entries, (where_row, where_column)), shape=(len(values), n + groups)))
            moved = (slopes * at).sum(axis=1)
            rhs.append((moved if apart else np.array([moved.sum()])) - values)
        return sp.csr_array(sp.vstack(blocks)), np.concatenate(rhs)

    def _combined(self, weights: Vector) -> Vector:
        """The slopes weighted by the multipliers of their tangents."""
        total = np.zeros(self.columns.shape)
        at = 0
        for values, slopes in zip(self._values, self._slopes, strict=True):
            mine = weights[at : at + len(values)]
            total += mine[:, None] * slopes
            at += len(values)
        return total
