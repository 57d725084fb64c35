"""What a QP solver returns, in the signs of ParametricQP."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cosim.errors import RunFailure
from cosim.optimization.arrays import Vector


@dataclass(frozen=True, slots=True)
class QPSolution:
    """What a solver returned.

    Attributes:
        x: variables, (n,); not a number where there is no optimum, like the duals.
        nu: duals of the equalities, (p,).
        sigma: duals of the inequalities, (m,), not negative.
        objective: the objective at x; infinite where there is no optimum (+ infeasible, - unbounded).
        status: 'optimal', 'infeasible', 'unbounded' or 'failed'.
        solver: which one answered, after those that had failed ('piqp', 'piqp > highs').
        residual: largest violation of the optimality conditions, relative to the sizes that enter them.
    """

    x: Vector
    nu: Vector
    sigma: Vector
    objective: float
    status: str
    solver: str
    residual: float = np.nan

    @property
    def optimal(self) -> bool:
        """Whether x, nu and sigma are an optimum."""
        return self.status == "optimal"

    def require(self) -> QPSolution:
        """This solution if it is optimal; else RunFailure with the status and the solvers tried."""
        if not self.optimal:
            raise RunFailure(f"a quadratic program has no optimum: {self.status} (solver {self.solver})")
        return self
