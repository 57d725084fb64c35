"""The interface of all solvers of the two-sided form, and their answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cosim.optimization.qp.arrays import Vector
from cosim.optimization.qp.two_sided import Form, Limits


@dataclass(frozen=True, slots=True)
class Raw:
    """A solver's answer; `rows` and `bounds` are the duals of the upper sides minus those of the lower sides.

    `status` is 'optimal', 'infeasible', 'unbounded', 'failed', or 'rough' where the solver stopped early at a point
    that may still be polished; the caller has to check such a point.
    """

    status: str
    x: Vector
    equalities: Vector
    rows: Vector
    bounds: Vector


class Backend(Protocol):
    """A solver of the two-sided form that keeps its matrices between solves."""

    def solve(self, cost: Vector, diagonal: Vector | None, limits: Limits) -> Raw:
        """Solve; `diagonal` is added to the diagonal of the Hessian."""
        ...


def unsolved(form: Form, status: str) -> Raw:
    """An answer without numbers."""
    n, p, m = form.hessian.shape[0], form.eq_matrix.shape[0], form.row_matrix.shape[0]
    return Raw(status, *(np.full(size, np.nan) for size in (n, p, m, n)))
