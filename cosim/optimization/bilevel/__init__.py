"""Bilevel problems: a leader sets the parameters of a convex quadratic program and pays by its duals.

| folder | what it does |
|---|---|
| `model` | the single-level problem: optimality conditions, settlement, strong duality, certificate |
| `relaxation` | convex relaxations, cuts and tighter bounds |
| `primal` | good feasible points: critical regions and searches among them |
| `tree` | branch and bound over complementarities, Lagrangian bounds, columns |
| `mip` | the mixed-integer formulations for SCIP, HiGHS and Gurobi |
"""

from typing import TYPE_CHECKING

from cosim.exports import exported

if TYPE_CHECKING:
    from cosim.optimization.bilevel.solver import BilevelProblem, BilevelSolution, solve

__all__ = ["BilevelProblem", "BilevelSolution", "solve"]

__getattr__ = exported(__name__, dict.fromkeys(__all__, "cosim.optimization.bilevel.solver"))
