"""Small exact transformations of a ParametricQP: new parameters, new names, further rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cosim.optimization.qp.parametric import ParametricQP

Vector = NDArray[np.float64]


def map_parameters(
    qp: ParametricQP, matrix: sp.csr_array, names: tuple[str, ...], lower: Vector, upper: Vector
) -> ParametricQP:
    """Substitute ``theta = matrix @ phi``: the same problem in the parameters ``phi`` with their box.

    Args:
        matrix: (old parameters, new parameters).
        names: names of the new parameters; lower, upper: their box.
    """
    return replace(
        qp,
        cost_theta=sp.csr_array(qp.cost_theta @ matrix),
        eq_theta=sp.csr_array(qp.eq_theta @ matrix),
        ineq_theta=sp.csr_array(qp.ineq_theta @ matrix),
        constant_theta=matrix.T @ qp.constant_theta,
        parameters=names,
        theta_lower=np.asarray(lower, dtype=float),
        theta_upper=np.asarray(upper, dtype=float),
    )


def rename(
    qp: ParametricQP,
    variable: Callable[[str], str],
    row: Callable[[str], str],
    parameter: Callable[[str], str] = lambda name: name,
) -> ParametricQP:
    """The same problem with other names for its variables, rows and (if asked) parameters."""
    return replace(
        qp,
        variables=tuple(map(variable, qp.variables)),
        parameters=tuple(map(parameter, qp.parameters)),
        eq_rows=tuple(map(row, qp.eq_rows)),
        ineq_rows=tuple(map(row, qp.ineq_rows)),
        exclusive=tuple((variable(a), variable(b)) for a, b in qp.exclusive),
    )


def with_rows(qp: ParametricQP, matrix: sp.csr_array, rhs: Vector, names: tuple[str, ...]) -> ParametricQP:
    """Add inequality rows ``matrix x <= rhs`` that do not depend on the parameters."""
    empty = sp.csr_array((len(rhs), len(qp.parameters)))
    return replace(
        qp,
        ineq_matrix=sp.csr_array(sp.vstack([qp.ineq_matrix, matrix])),
        ineq_rhs=np.concatenate([qp.ineq_rhs, rhs]),
        ineq_theta=sp.csr_array(sp.vstack([qp.ineq_theta, empty])),
        ineq_rows=qp.ineq_rows + names,
    )


def with_equalities(qp: ParametricQP, matrix: sp.csr_array, rhs: Vector, names: tuple[str, ...]) -> ParametricQP:
    """Add equality rows ``matrix x = rhs`` that do not depend on the parameters."""
    empty = sp.csr_array((len(rhs), len(qp.parameters)))
    return replace(
        qp,
        eq_matrix=sp.csr_array(sp.vstack([qp.eq_matrix, matrix])),
        eq_rhs=np.concatenate([qp.eq_rhs, rhs]),
        eq_theta=sp.csr_array(sp.vstack([qp.eq_theta, empty])),
        eq_rows=qp.eq_rows + names,
    )
