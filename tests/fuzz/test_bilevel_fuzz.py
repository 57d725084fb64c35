"""Every solver of the leader on adversarial problems, against the enumeration of all complementarity patterns."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from bilevel_cases import CLASSES, enumerate_patterns

from cosim.errors import InputError
from cosim.optimization.bilevel.solver import solve
from cosim.optimization.qp.solution import NoSolution
from cosim.optimization.solvers.mip_solvers import installed

PER_CLASS = 15  # 16 classes: 240 problems
FEW = 1
WAYS = [
    ("branch", "big-m"), ("scip", "big-m"), ("scip", "sos1"), ("scip", "indicator"), ("gurobi", "big-m"),
    ("highs", "big-m"),
]  # fmt: skip
QUICK = [("branch", "big-m"), ("scip", "sos1"), ("gurobi", "big-m")]
CANNOT = ("HiGHS has no SOS1", "indicator constraints go to SCIP only", "too large for Gurobi")
NEAR = 1e-5


def check(kind: str, number: int, ways: list[tuple[str, str]]) -> None:
    """All solvers end where the enumeration ends, or give the same reason why there is nothing to find."""
    draft = CLASSES[kind](np.random.default_rng([list(CLASSES).index(kind), number]))
    status, least = enumerate_patterns(draft)
    reasons = set()
    for solver, complementarity in ways:
        if solver != "branch" and solver not in installed():
            continue
        who = f"{kind} {number}: {solver} {complementarity}"
        try:
            found = solve(draft.problem(), solver=solver, complementarity=complementarity, gap=1e-7, time_limit_s=20)
        except InputError as error:
            assert any(text in str(error) for text in CANNOT), who
        except NoSolution as error:
            assert error.status == status, f"{who} says {error}, enumeration {status} {least}"
            reasons.add(str(error))
        else:
            room = NEAR * max(1.0, abs(least))
            assert status == "optimal", f"{who} finds {found.leader_cost}, enumeration {status}"
            assert found.bound <= least + 1e-8 * max(1.0, abs(least)), f"{who} bound {found.bound}, least {least}"
            assert found.leader_cost >= least - room, f"{who} finds {found.leader_cost}, least {least}"
            if found.status != "time limit":
                assert found.leader_cost <= least + room, f"{who} finds {found.leader_cost}, least {least}"
            if found.status == "optimal":  # the gap that was asked for is reached
                assert found.bound >= least - room, f"{who} bound {found.bound}, least {least}"
    assert len(reasons) <= 1, reasons


@pytest.mark.parametrize("kind", CLASSES)
def test_every_solver_is_right_on_a_few_of_each_class(kind: str) -> None:
    for number in range(FEW):
        check(kind, number, QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(PER_CLASS))
@pytest.mark.parametrize("kind", CLASSES)
def test_every_solver_is_right_on_240_adversarial_problems(kind: str, number: int) -> None:
    check(kind, number, WAYS)


def test_a_gap_that_a_solver_leaves_is_told() -> None:
    """Gurobi calls a point optimal that is infeasible by its tolerance; its bound is then below what can be had."""
    if "gurobi" not in installed():
        pytest.skip("Gurobi is not installed")
    draft = CLASSES["free_duals"](np.random.default_rng([list(CLASSES).index("free_duals"), 2]))
    found = solve(draft.problem(), solver="gurobi", complementarity="big-m", gap=1e-7, time_limit_s=20)
    assert (found.status == "optimal") == (found.gap <= 1e-5)
