"""A solver that gives up before its last digit: its point is polished and checked before another is asked."""

from __future__ import annotations

import numpy as np
import pytest

from cosim.optimization.qp.solution import QPSolution
from cosim.optimization.solvers.backends import Piqp
from cosim.optimization.solvers.qp_solver import QPSolver, solve_qp
from tests.optimization.random_programs import random_qp


def given_up(seed: int, iterations: int) -> QPSolution:
    """The answer of a solver whose first backend stops after so many iterations."""
    qp = random_qp(seed)
    solver = QPSolver(qp, "piqp-dense")
    solver._backends["piqp-dense"] = Piqp(
        solver._form, 1e-12, dense=True, max_iterations=iterations, patient=False
    )
    return solver.solve(np.zeros(3))


@pytest.mark.parametrize("iterations", range(1, 9))
@pytest.mark.parametrize("seed", range(4))
def test_the_answer_is_the_optimum_wherever_it_stops(seed: int, iterations: int) -> None:
    found = given_up(seed, iterations).require()
    assert found.objective == pytest.approx(solve_qp(random_qp(seed), np.zeros(3), solver="highs").objective, abs=1e-6)
    assert found.residual <= 1e-7


def test_a_point_that_polishing_settles_needs_no_other_solver() -> None:
    assert given_up(0, 6).solver == "piqp-dense"


def test_a_bad_point_is_left_for_another_solver() -> None:
    assert given_up(0, 1).solver == "piqp-dense > piqp"
