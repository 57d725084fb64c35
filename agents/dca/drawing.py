"""The schedule that draws a given power."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.qp.transform import with_rows
from cosim.optimization.solvers.proximal import ProximalSolver

Array = NDArray[np.float64]
_PENALTY, _ROUNDS = 1e5, 20
ADOPTED_MW = 1e-9
"""How closely a power is drawn."""


def drawing(solver: ProximalSolver, columns: NDArray[np.intp], p_mw: Array) -> Array:
    """The cheapest schedule that draws this power, or the nearest that can be had (method of multipliers).

    Args:
        solver: of the schedule, near a power. columns: (steps, terminals) of its variables that are power.
    """
    multiplier, before = np.zeros_like(p_mw), np.full_like(p_mw, np.inf)
    for _ in range(_ROUNDS):
        x = solver.solve(multiplier, p_mw, _PENALTY).x
        off = x[columns] - p_mw
        if min(np.abs(off).max(), np.abs(off - before).max()) <= ADOPTED_MW:
            break
        multiplier, before = multiplier + _PENALTY * off, off
    return np.asarray(x)


def punctual(qp: ParametricQP, late: NDArray[np.intp], prompt: Array) -> ParametricQP:
    """A window's problem with no more late, over all steps together, than if all work ran on arrival.

    It is for answers that do not weigh the late cost against a price that is charged: the nearest to an award on a
    grid would leave undone what must run for a watt, and a price that is guessed from its slopes may be anything.

    Args:
        late: columns of what is late. prompt: (variables,) the schedule of work run on arrival.
    """
    row = sp.csr_array((np.ones(late.size), (np.zeros(late.size, dtype=int), late)), shape=(1, len(prompt)))
    allowed = np.maximum(prompt[late], 0.0).sum(keepdims=True)
    return with_rows(qp, row, np.asarray(allowed), ("late",))
