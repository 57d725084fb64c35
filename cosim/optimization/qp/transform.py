"""Small exact transformations of a ParametricQP: new parameters, new names, further rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from cosim.optimization.qp.arrays import Matrix, Vector
from cosim.optimization.qp.parametric import ParametricQP


def map_parameters(
    qp: ParametricQP, matrix: Matrix, names: tuple[str, ...], lower: Vector, upper: Vector
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


def with_rows(
    qp: ParametricQP, matrix: Matrix, rhs: Vector, names: tuple[str, ...], *, equality: bool = False
) -> ParametricQP:
    """Add rows ``matrix x <= rhs`` or, as equalities, ``matrix x = rhs`` that do not depend on the parameters."""
    kind = "eq" if equality else "ineq"
    blank = sp.csr_array((len(rhs), len(qp.parameters)))
    longer: dict[str, Any] = {
        f"{kind}_matrix": sp.csr_array(sp.vstack([getattr(qp, f"{kind}_matrix"), matrix])),
        f"{kind}_rhs": np.concatenate([getattr(qp, f"{kind}_rhs"), rhs]),
        f"{kind}_theta": sp.csr_array(sp.vstack([getattr(qp, f"{kind}_theta"), blank])),
        f"{kind}_rows": getattr(qp, f"{kind}_rows") + names,
    }
    return replace(qp, **longer)
