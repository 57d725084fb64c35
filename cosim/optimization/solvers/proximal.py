"""A problem with a proximal term, as both sides of a negotiation solve it in every round.

    minimise   f(x) + linear'y + 1/2 sum_g (y_g - near_g)' W_g (y_g - near_g),      y a part of x in groups g
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from cosim.optimization.qp.arrays import Indices, Vector
from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.qp.solution import QPSolution
from cosim.optimization.solvers.qp_solver import FINE, QPSolver


def proximal_gradient(weight: float | Vector, apart: Vector) -> Vector:
    """``W_g apart_g`` for each group.

    Args:
        weight: one number, (groups, 1), or a matrix for each group (groups, entries, entries).
        apart: (groups, entries).
    """
    if np.ndim(weight) == 3:
        return np.asarray(np.einsum("gij,gj->gi", weight, apart))
    return np.asarray(weight * apart)


def steepened(qp: ParametricQP, columns: Indices, weights: Vector) -> ParametricQP:
    """The problem with ``1/2 y_g' W_g y_g`` added for each group.

    Args:
        columns: (groups, entries) which variables; weights: (groups, entries, entries), symmetric.
    """
    hessian = qp.hessian
    own = np.repeat(np.arange(hessian.shape[0]), np.diff(hessian.indptr))
    rows = np.repeat(columns[:, :, None], columns.shape[1], axis=2)
    i = np.concatenate([own, rows.ravel()])
    j = np.concatenate([hessian.indices, rows.transpose(0, 2, 1).ravel()])
    together = sp.csr_array((np.concatenate([hessian.data, weights.ravel()]), (i, j)), shape=hessian.shape)
    return replace(qp, hessian=together)


class ProximalSolver:
    """A problem that is solved again and again with different proximal terms.

    Args:
        solver: of the problem alone, which has no parameters.
        columns: (groups, entries) which variables make up the part y.
    """

    def __init__(self, solver: QPSolver, columns: Indices) -> None:
        self._plain, self._columns = solver, columns
        self._weights: Vector = np.zeros(0)
        self._steep = solver

    @cached_property
    def _alone(self) -> QPSolver:
        """The solver of the problem alone: of a linear one the simplex method, which starts from its last basis."""
        linear = not self._plain.qp.hessian.count_nonzero()
        return QPSolver(self._plain.qp, "highs", like=self._plain) if linear else self._plain

    def solve(self, linear: Vector, near: Vector | None = None, weight: float | Vector = 0.0) -> QPSolution:
        """The minimum.

        Args:
            linear, near: (groups, entries). weight: see :func:`proximal_gradient`; none without ``near``.

        Raises:
            RunFailure: there is none.
        """
        extra, nothing = np.zeros(len(self._plain.qp.variables)), np.zeros(0)
        extra[self._columns] = linear
        if near is None:
            return self._alone.solve(nothing, extra_linear=extra).require()
        extra[self._columns] -= proximal_gradient(weight, near)
        if np.ndim(weight) == 3:
            return self._steeper(np.asarray(weight)).solve(nothing, extra_linear=extra, follow=True).require()
        diagonal = np.zeros(len(extra))
        diagonal[self._columns] = weight
        return self._plain.solve(nothing, extra_linear=extra, extra_diagonal=diagonal, follow=True).require()

    def _steeper(self, weights: Vector) -> QPSolver:
        """The solver with these matrices; they stay the same for many rounds once they have been learned."""
        if not np.array_equal(weights, self._weights):
            steep = steepened(self._plain.qp, self._columns, weights)
            self._weights, self._steep = weights, QPSolver(steep, tolerance=FINE, like=self._plain)
        return self._steep
