"""The registry of mixed-integer solvers."""

from __future__ import annotations

import subprocess
import sys

import pyomo.environ as pyo
import pytest

from cosim.errors import InputError, RunFailure
from cosim.optimization.solvers.mip_solvers import (
    BOUND_TOLERANCE,
    choose,
    installed,
    solve_model,
)


def knapsack() -> pyo.ConcreteModel:
    m = pyo.ConcreteModel()
    m.take = pyo.Var(range(3), domain=pyo.Binary)
    m.weight = pyo.Constraint(expr=3 * m.take[0] + 4 * m.take[1] + 2 * m.take[2] <= 6)
    m.value = pyo.Objective(expr=-5 * m.take[0] - 6 * m.take[1] - 3 * m.take[2])
    return m


@pytest.mark.parametrize("name", ["highs", "scip", "gurobi"])
def test_every_installed_solver_solves_a_small_program(name: str) -> None:
    if name not in installed():
        pytest.skip(f"{name} is not installed")
    run = solve_model(knapsack(), name)
    assert (run.solver, run.status) == (name, "optimal")
    assert run.objective == pytest.approx(-9.0)
    # A bound is stated lower by what the solver's tolerance leaves open.
    assert -9.0 * (1.0 + 2.0 * BOUND_TOLERANCE) <= run.bound <= -9.0


@pytest.mark.parametrize("name", ["highs", "scip", "gurobi"])
def test_squares_are_taken_by_every_solver(name: str) -> None:
    """min (y - 2.5)^2 over integer y plus a slope: y = 2."""
    if name not in installed():
        pytest.skip(f"{name} is not installed")
    m = pyo.ConcreteModel()
    m.y, m.t, m.k = (
        pyo.Var(bounds=(0, 10)),
        pyo.Var(bounds=(0, None)),
        pyo.Var(domain=pyo.Integers, bounds=(0, 10)),
    )
    m.same = pyo.Constraint(expr=m.y == m.k)
    m.cost = pyo.Objective(expr=m.t - 4.9 * m.y)
    run = solve_model(m, name, squares=[(m.t, m.y)], gap=1e-6)
    assert run.objective == pytest.approx(4 - 9.8, abs=1e-4)
    assert m.y.value == pytest.approx(2.0, abs=1e-4)


def test_auto_takes_highs_for_linear_and_another_for_sos() -> None:
    assert choose("auto") == "highs"
    assert choose("auto", sos=True) in ("scip", "gurobi")
    with pytest.raises(InputError, match="no SOS1"):
        choose("highs", sos=True)
    with pytest.raises(InputError, match="unknown solver"):
        choose("abacus")


def test_no_point_is_a_failed_run() -> None:
    m = knapsack()
    m.never = pyo.Constraint(expr=m.take[0] + m.take[1] >= 3)
    with pytest.raises(RunFailure, match="infeasible"):
        solve_model(m, "highs")

def test_highs_prints_nothing_not_even_its_name() -> None:
    program = "from cosim.optimization.solvers.backends import quiet_highs; quiet_highs(); quiet_highs(); print('end')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("end\n", "")
