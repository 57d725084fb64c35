"""Exclusive variables: the search against every choice of sides one by one."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from cosim.errors import InputError, RunFailure
from cosim.optimization.qp.exclusive import APART, Trial, choose_sides, closed, overlapping
from cosim.optimization.qp.parametric import ParametricQP, join
from cosim.optimization.qp.solution import QPSolution
from cosim.optimization.solvers.qp_solver import solve_qp

COUNT = 4


def random_pairs(seed: int) -> ParametricQP:
    """Pairs (x_i, y_i) in [0, 1] that share two equalities, with costs that often pay for having both."""
    rng = np.random.default_rng(seed)
    n = 2 * COUNT
    root = rng.normal(size=(n, n))
    matrix = rng.uniform(0.2, 1.0, size=(2, n)) * np.tile([1.0, -1.0], COUNT)
    return ParametricQP.build(
        hessian=0.1 * root @ root.T,
        cost=rng.normal(-1.0, 1.0, size=n),
        eq_matrix=matrix,
        eq_rhs=0.2 * rng.normal(size=2),
        ineq_matrix=np.vstack([np.eye(n), -np.eye(n)]),
        ineq_rhs=np.concatenate([np.ones(n), np.zeros(n)]),
    )


def pairs_of(qp: ParametricQP) -> list[tuple[str, str]]:
    return [(qp.variables[2 * i], qp.variables[2 * i + 1]) for i in range(COUNT)]


def trial(qp: ParametricQP, names: frozenset[str]) -> Trial[QPSolution] | None:
    found = solve_qp(closed(qp, names), np.zeros(0))
    if not found.optimal:
        return None
    return Trial(found.objective, found.objective, dict(zip(qp.variables, found.x.tolist(), strict=True)), found)


@pytest.mark.parametrize("seed", range(12))
def test_the_best_choice_is_that_of_brute_force(seed: int) -> None:
    qp = random_pairs(seed)
    pairs = pairs_of(qp)
    every = [trial(qp, frozenset(sides)) for sides in product(*pairs)]
    least = min((t.cost for t in every if t is not None), default=None)
    if least is None:
        with pytest.raises(RunFailure):
            choose_sides(pairs, lambda names: trial(qp, names), gap=1e-9)
        return
    chosen = choose_sides(pairs, lambda names: trial(qp, names), gap=1e-9)
    assert chosen.cost == pytest.approx(least, rel=1e-7, abs=1e-7)
    assert chosen.bound == pytest.approx(least, rel=1e-7, abs=1e-7)
    at = dict(zip(qp.variables, chosen.answer.x.tolist(), strict=True))
    assert not overlapping(pairs, at)


@pytest.mark.parametrize("seed", range(12))
def test_a_search_cut_short_states_a_bound_below_the_optimum(seed: int) -> None:
    qp = random_pairs(seed)
    pairs = pairs_of(qp)
    every = [trial(qp, frozenset(sides)) for sides in product(*pairs)]
    least = min((t.cost for t in every if t is not None), default=np.inf)
    if not np.isfinite(least):
        return
    chosen = choose_sides(pairs, lambda names: trial(qp, names), limit=1)
    assert chosen.bound <= least + 1e-7 <= chosen.cost + 2e-7


def test_a_failure_below_the_root_leaves_the_bound_of_its_parent() -> None:
    qp = random_pairs(0)
    pairs = pairs_of(qp)
    root = trial(qp, frozenset())
    assert root is not None
    assert overlapping(pairs, root.values)
    fragile = overlapping(pairs, root.values)[0][1]

    def solve(names: frozenset[str]) -> Trial[QPSolution] | None:
        if fragile in names:
            raise RunFailure("no verdict")
        return trial(qp, names)

    assert choose_sides(pairs, solve).bound <= root.bound + 1e-12


def test_closing_keeps_rows_and_holds_the_variable_at_zero() -> None:
    qp = random_pairs(1)
    shut = closed(qp, {qp.variables[3], "of another problem"})
    assert shut.ineq_rows == qp.ineq_rows
    assert solve_qp(shut, np.zeros(0)).require().x[3] == pytest.approx(0.0, abs=APART)


def test_a_variable_without_a_bound_is_not_closed() -> None:
    qp = ParametricQP.build(cost=[1.0], ineq_matrix=[[-1.0]], ineq_rhs=[0.0])
    with pytest.raises(InputError, match="without a bound"):
        closed(qp, {"x0"})


def test_joined_problems_keep_their_pairs() -> None:
    one, two = (ParametricQP.build(cost=[0.0, 0.0], variables=v) for v in (("a", "b"), ("c", "d")))
    marked = [ParametricQP(**{**vars(qp), "exclusive": (qp.variables,)}) for qp in (one, two)]
    assert join(marked).exclusive == (("a", "b"), ("c", "d"))
