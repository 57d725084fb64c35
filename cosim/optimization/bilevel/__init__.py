"""Bilevel problems: a leader sets the parameters of a convex quadratic program and pays by its duals.

| folder | what it does |
|---|---|
| `model` | the single-level problem: optimality conditions, settlement, strong duality, certificate |
| `relaxation` | convex relaxations, cuts and tighter bounds |
| `primal` | good feasible points: critical regions and searches among them |
| `tree` | branch and bound over complementarities, Lagrangian bounds, columns |
| `mip` | the mixed-integer formulations for SCIP, HiGHS and Gurobi |
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cosim.optimization.bilevel.solver import BilevelProblem, BilevelSolution, solve

__all__ = ["BilevelProblem", "BilevelSolution", "solve"]


def __getattr__(name: str) -> Any:
    """Load the solver only when it is asked for: the folders below are imported by it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.solver"), name)
