"""Quadratic programs at which solvers give up: who is asked next, and what is kept when nobody is left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

import cosim
from cosim.errors import RunFailure
from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.qp.two_sided import Limits, full_form
from cosim.optimization.qp.unsolved import PROGRAM_FILE, UnsolvedProgram
from cosim.optimization.solvers import qp_solver
from cosim.optimization.solvers.backends import make_backend
from cosim.optimization.solvers.contract import Raw, unsolved
from cosim.optimization.solvers.qp_solver import QPSolver

MODES = {"bundle": "decentralized", "centralized": "centralized"}


def degenerate(seed: int) -> tuple[ParametricQP, float]:
    """A flat QP over rows that depend on each other, built around an optimum that is known: the QP and its value."""
    rng = np.random.default_rng(seed)
    n, p, m = 40, 8, 30
    eq = rng.normal(size=(p, n)) * (rng.random((p, n)) < 0.3)
    ineq = rng.normal(size=(m, n)) * 10.0 ** rng.integers(-1, 4)
    ineq[m // 2 : m // 2 + 3] = ineq[:3] + ineq[3:6]
    x = np.where(rng.random(n) < 0.5, 0.0, rng.exponential(size=n))
    matrix = np.vstack([ineq, -np.eye(n)])
    binds = np.concatenate([rng.random(m) < 0.6, x == 0.0])
    rhs = matrix @ x + np.where(binds, 0.0, rng.exponential(size=m + n))
    sigma = np.where(binds & (rng.random(m + n) < 0.5), 10.0 ** rng.uniform(-2, 3, size=m + n), 0.0)
    curvature = np.where(rng.random(n) < 0.15, 0.5, 0.0)
    cost = -(curvature * x + eq.T @ rng.normal(size=p) + matrix.T @ sigma)
    qp = ParametricQP.build(
        hessian=np.diag(curvature), cost=cost, eq_matrix=eq, eq_rhs=eq @ x, ineq_matrix=matrix, ineq_rhs=rhs
    )
    return qp, float(0.5 * x @ (curvature * x) + cost @ x)


@pytest.mark.parametrize("seed", range(6))
def test_clarabel_alone_finds_an_optimum_that_is_known(seed: int) -> None:
    qp, value = degenerate(seed)
    found = QPSolver(qp, "clarabel", alone=True).solve().require()
    assert found.objective == pytest.approx(value, rel=1e-7, abs=1e-7)
    assert found.residual <= 1e-7 and np.all(found.sigma >= 0.0)


def test_clarabel_gives_the_duals_of_both_sides_and_of_sides_that_meet() -> None:
    form = full_form(sp.eye_array(3), sp.csr_array((0, 3)), sp.csr_array([[1.0, 1.0, 0.0]]))
    limits = Limits(
        np.zeros(0), np.array([4.0]), np.array([9.0]), np.array([-np.inf, -np.inf, 2.0]), np.array([np.inf, 1.0, 2.0])
    )
    raw = make_backend("clarabel", form, 1e-10).solve(np.zeros(3), None, limits)
    # x = (3, 1, 2); stationarity x + (rows, rows, 0) + bounds = 0
    assert raw.x == pytest.approx([3.0, 1.0, 2.0], abs=1e-7)
    assert raw.rows == pytest.approx([-3.0], abs=1e-7)
    assert raw.bounds == pytest.approx([0.0, 2.0, -2.0], abs=1e-7)


@pytest.mark.parametrize(("rhs", "status"), [(-1.0, "infeasible"), (np.inf, "unbounded")])
def test_clarabel_says_that_there_is_no_optimum(rhs: float, status: str) -> None:
    qp = ParametricQP.build(cost=[-1.0], ineq_matrix=[[1.0], [-1.0]], ineq_rhs=[rhs, 0.0])
    assert QPSolver(qp, "clarabel", alone=True).solve().status == status


class _NotANumber:
    """A solver that gives up at a point that is not a number, as PIQP does after its factors broke down."""

    def solve(self, cost: np.ndarray, *_: object) -> Raw:
        lost = np.full(len(cost), np.nan)
        return Raw("rough", lost, np.zeros(0), np.zeros(0), lost)


def test_a_point_that_is_not_a_number_hides_no_good_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(name: str, form: object, tolerance: float) -> object:
        return _NotANumber() if name == "piqp" else make_backend(name, form, tolerance)  # type: ignore[arg-type]

    monkeypatch.setattr(qp_solver, "make_backend", made)
    qp = ParametricQP.build(hessian=[[2.0]], cost=[-1.0], ineq_matrix=[[-1.0]], ineq_rhs=[0.0])
    found = QPSolver(qp, "piqp").solve().require()
    assert found.x == pytest.approx([0.5]) and found.solver == "piqp > clarabel"


class _GivesUp:
    def __init__(self, form: object) -> None:
        self._form = form

    def solve(self, *_: object) -> Raw:
        return unsolved(self._form, "failed")  # type: ignore[arg-type]


def test_a_program_that_nobody_solves_is_kept_with_its_numbers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(qp_solver, "make_backend", lambda name, form, tolerance: _GivesUp(form))
    qp = ParametricQP.build(
        hessian=[[2.0, 0.0], [0.0, 0.0]], cost=[-1.0, 1.0], eq_matrix=[[1.0, 1.0]], eq_rhs=[1.0],
        eq_theta=[[3.0]], ineq_matrix=[[-1.0, 0.0]], ineq_rhs=[0.0], parameters=["t"],
    )  # fmt: skip
    with pytest.raises(RunFailure, match="2 variables, 1 equations, 1 inequalities") as failed:
        QPSolver(qp, "piqp").solve(np.array([2.0]), extra_diagonal=np.array([0.0, 4.0])).require()
    assert failed.value.evidence is not None
    held = UnsolvedProgram.load(failed.value.evidence.save(tmp_path))
    assert np.array_equal(held.hessian.toarray(), [[2.0, 0.0], [0.0, 4.0]])
    assert np.array_equal(held.eq_rhs, [7.0]) and np.array_equal(held.cost, [-1.0, 1.0])


def test_a_run_that_fails_leaves_the_program_in_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def stop(*_: object) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(qp_solver, "make_backend", lambda name, form, tolerance: _GivesUp(form))
            QPSolver(ParametricQP.build(hessian=[[1.0]], cost=[1.0]), "piqp").solve().require()

    monkeypatch.setattr("cosim.simulation.runner.Simulation.run", stop)
    with pytest.raises(RunFailure, match="no optimum: failed"):
        cosim.run("ieee37", mode="uncoordinated", overrides={"clock.steps": 1}, out=tmp_path / "run")
    assert (tmp_path / "run" / "record.json").is_file()
    assert np.array_equal(UnsolvedProgram.load(tmp_path / "run" / PROGRAM_FILE).cost, [1.0])


@pytest.mark.slow
@pytest.mark.parametrize("case", MODES)
def test_markets_that_ended_without_a_verdict_come_to_an_end(case: str, reference: Path) -> None:
    cases = reference.parent / "cases"
    if not cases.is_dir():
        pytest.skip(f"no cases in {cases}")
    cosim.run(cases / f"qp_without_verdict_{case}.yaml", mode=MODES[case])
