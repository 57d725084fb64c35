"""What a QP solver returns, in the signs of ParametricQP."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cosim.errors import RunFailure
from cosim.optimization.qp.arrays import Vector
from cosim.optimization.qp.unsolved import UnsolvedProgram


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
        program: what was to be solved, where every solver failed.
    """

    x: Vector
    nu: Vector
    sigma: Vector
    objective: float
    status: str
    solver: str
    residual: float = np.nan
    program: UnsolvedProgram | None = None

    @property
    def optimal(self) -> bool:
        """Whether x, nu and sigma are an optimum."""
        return self.status == "optimal"

    def require(self) -> QPSolution:
        """This solution if it is optimal; else RunFailure with the status, the solvers tried and the program."""
        if not self.optimal:
            size = "" if self.program is None else f"; {self.program}"
            raise RunFailure(
                f"a quadratic program has no optimum: {self.status} (solver {self.solver}{size})", evidence=self.program
            )
        return self


class NoSolution(RunFailure):
    """A bilevel problem, or a program made from it, without a best point.

    Args:
        status: 'infeasible', 'unbounded', or what else a solver says.
        why: the cause, appended to the status.
        solver: the solver that reports the status, if it is another than cosim's own search.
    """

    def __init__(self, status: str, why: str = "", solver: str = "") -> None:
        by = f" (solver {solver})" if solver else ""
        super().__init__(f"a bilevel problem has no solution to offer: {status}{why}{by}")
        self.status, self.why = status, why
