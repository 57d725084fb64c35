"""A leader that does not pay the whole price: against grids of parameters, dynamic programs and other solvers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from cosim.errors import InputError
from cosim.optimization.bilevel.model.settlement import Settlement, settled_at
from cosim.optimization.bilevel.model.strong_duality import payment_by_strong_duality
from cosim.optimization.bilevel.relaxation.obbt import FollowerBounds
from cosim.optimization.bilevel.relaxation.settlement_split import find_shares
from cosim.optimization.bilevel.solver import BilevelProblem, solve
from cosim.optimization.qp.parametric import ParametricQP, stack
from cosim.optimization.solvers.dual_face import DualFace
from cosim.optimization.solvers.qp_solver import QPSolver, solve_qp
from tests.optimization.random_programs import random_qp


def part_of_the_price(qp: ParametricQP, seed: int) -> Settlement:
    """A settlement that takes between 60 and 100 % of what each row passes on to each parameter."""
    rng = np.random.default_rng(seed)

    def some(matrix: sp.csr_array) -> sp.csr_array:
        out = sp.csr_array(matrix.copy())
        out.data = out.data * rng.uniform(0.6, 1.0, out.nnz)
        return out

    return Settlement(0.8 * qp.constant_theta, some(qp.eq_theta), some(qp.ineq_theta))


def small(seed: int) -> BilevelProblem:
    """A random follower with two parameters, a leader that must place a total of them, and a settlement."""
    follower = random_qp(seed, variables=3, rows=4, equalities=1, parameters=2, box=1.0)
    rng = np.random.default_rng(seed)
    leader = ParametricQP.build(
        hessian=0.5 * np.eye(2), cost=rng.normal(size=2), ineq_matrix=[[-1.0, -1.0]], ineq_rhs=[-0.3],
        variables=["theta0", "theta1"],
    )  # fmt: skip
    return BilevelProblem(follower, leader, settlement=part_of_the_price(follower, seed))


def steps(seed: int, count: int = 3) -> BilevelProblem:
    """Some small followers side by side and a leader that moves a total of one parameter between them."""
    parts = []
    for t in range(count):
        qp = random_qp(10 * seed + t, variables=3, rows=4, equalities=1, parameters=1, box=1.0)
        names = {"variables": qp.variables, "parameters": ("th",), "eq_rows": qp.eq_rows, "ineq_rows": qp.ineq_rows}
        parts.append(replace(qp, **{key: tuple(f"t{t} {n}" for n in of) for key, of in names.items()}))
    follower = stack(parts)
    leader = ParametricQP.build(
        cost=np.random.default_rng(seed).normal(size=count), eq_matrix=np.ones((1, count)), eq_rhs=[0.5],
        variables=follower.parameters,
    )  # fmt: skip
    return BilevelProblem(follower, leader, settlement=part_of_the_price(follower, seed))


def least_payment(problem: BilevelProblem, theta: np.ndarray, solver: QPSolver) -> float:
    """The follower cleared at these parameters, and the cheapest of its optimal duals by a linear program."""
    found = solver.solve(theta).require()
    face = DualFace(settled_at(problem.follower, theta, problem.settlement), found, np.zeros(len(theta)))
    return -face.extreme(-theta).value


@pytest.mark.parametrize("seed", range(6))
def test_strong_duality_with_a_rest_is_the_settlement_times_quantity(seed: int) -> None:
    qp = random_qp(seed, rank=3)
    settlement = part_of_the_price(qp, seed)
    theta = np.random.default_rng(seed).uniform(-0.2, 0.2, 3)
    found = solve_qp(qp, theta).require()
    paid = payment_by_strong_duality(qp, theta, found.x, found.nu, found.sigma, find_shares(qp, settlement))
    assert paid == pytest.approx(float(settlement.price(found.nu, found.sigma) @ theta), rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("seed", range(4))
def test_the_rest_stays_within_its_proven_range(seed: int) -> None:
    qp = small(seed).follower
    shares = find_shares(qp, part_of_the_price(qp, seed))
    for theta in np.random.default_rng(seed).uniform(-1.0, 1.0, (20, 2)):
        found = solve_qp(qp, theta).require()
        rest = shares.rest.price(found.nu, found.sigma)
        assert np.all(rest >= shares.root.low - 1e-6) and np.all(rest <= shares.root.high + 1e-6)


@pytest.mark.parametrize(
    ("seed", "points"), [(0, 11), *(pytest.param(k, 21, marks=pytest.mark.slow) for k in range(6))]
)
def test_no_parameters_on_a_grid_are_cheaper(seed: int, points: int) -> None:
    problem = small(seed)
    found, solver = solve(problem, gap=1e-5), QPSolver(problem.follower)
    best = np.inf
    for a in np.linspace(-1, 1, points):
        for b in np.linspace(max(-1.0, 0.3 - a), 1, points):
            theta = np.array([a, b])
            best = min(best, problem.leader.objective(theta) + least_payment(problem, theta, solver))
    assert found.bound - 1e-6 <= best
    assert found.leader_cost <= best + 1e-6
    assert found.leader_cost - found.bound <= 1e-5 * max(1.0, abs(found.leader_cost))


@pytest.mark.parametrize("seed", [0, *(pytest.param(k, marks=pytest.mark.slow) for k in (1, 2))])
def test_a_dynamic_program_over_the_steps_finds_nothing_cheaper(seed: int) -> None:
    problem = steps(seed)
    found = solve(problem, gap=1e-5)
    grid = np.round(np.arange(-20, 21) * 0.05, 2)
    left = {round(0.0, 2): 0.0}
    for t in range(3):
        name = f"t{t} th"
        others = {n: 0.0 for n in problem.follower.parameters if n != name}
        k = problem.follower.parameters.index(name)
        alone = BilevelProblem(
            problem.follower.fix(others), ParametricQP.build(cost=[0.0], variables=[name]),
            settlement=problem.settlement.of_parameters(np.array([k])) if problem.settlement else None,
        )  # fmt: skip
        solver = QPSolver(alone.follower)
        cost = {
            th: problem.leader.cost[k] * th + least_payment(alone, np.array([th]), solver) for th in grid.tolist()
        }
        after: dict[float, float] = {}
        for done, spent in left.items():
            for th, more in cost.items():
                total = round(done + th, 2)
                after[total] = min(after.get(total, np.inf), spent + more)
        left = after
    assert found.bound - 1e-6 <= left[0.5]
    assert found.leader_cost <= left[0.5] + 1e-6


@pytest.mark.parametrize("make", [small, pytest.param(steps, marks=pytest.mark.slow)])
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_scip_with_bilinear_terms_agrees(seed: int, make: type[BilevelProblem]) -> None:
    pytest.importorskip("pyscipopt")
    problem = make(seed)
    ours = solve(problem, gap=1e-5)
    theirs = solve(problem, solver="scip", gap=1e-5, time_limit_s=60)
    assert ours.leader_cost == pytest.approx(theirs.leader_cost, rel=2e-5, abs=2e-5)


@pytest.mark.slow
def test_mccormick_is_within_its_error() -> None:
    pytest.importorskip("pyscipopt")
    problem = steps(1)
    exact = solve(problem, gap=1e-5)
    coarse = solve(problem, "kkt-mccormick", "scip", bits=3, gap=1e-5, time_limit_s=60)
    allowed = 2e-5 * max(1.0, abs(exact.leader_cost))
    assert coarse.bound <= exact.leader_cost + allowed
    assert exact.leader_cost - allowed <= coarse.leader_cost
    assert coarse.leader_cost <= exact.leader_cost + coarse.certificate.discretisation + allowed


@pytest.mark.parametrize("seed", range(3))
def test_the_certificate_is_of_the_settlement(seed: int) -> None:
    problem = small(seed)
    found = solve(problem, gap=1e-3)
    assert problem.settlement is not None
    paid = float(problem.settlement.price(found.nu, found.sigma) @ found.theta)
    assert found.payment == pytest.approx(paid, rel=1e-9)
    assert found.certificate.payment_optimistic == pytest.approx(paid, rel=1e-5, abs=1e-6)
    assert found.certificate.payment_error < 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_the_whole_price_as_a_settlement_changes_nothing(seed: int) -> None:
    problem = replace(small(seed), settlement=None)
    same = replace(problem, settlement=Settlement.of(problem.follower))
    assert solve(same, gap=1e-7).leader_cost == pytest.approx(solve(problem, gap=1e-7).leader_cost, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_bounds_of_a_settlement_scale_with_it(share: float) -> None:
    qp = random_qp(0)
    settlement = Settlement(share * qp.constant_theta, share * qp.eq_theta, share * qp.ineq_theta)
    bounds = FollowerBounds(qp)
    scaled = tuple(share * end for end in bounds.price(0))
    assert bounds.price(0, settlement) == pytest.approx(scaled, rel=1e-4, abs=1e-4)


def test_settlements_that_do_not_fit_are_refused() -> None:
    problem = small(0)
    assert problem.settlement is not None
    with pytest.raises(InputError, match="does not fit"):
        replace(problem, settlement=problem.settlement.of_parameters(np.array([0])))
    with pytest.raises(InputError, match="without a payment"):
        replace(problem, payment=False)
    everywhere = replace(problem.settlement, by_sigma=sp.csr_array(np.ones(problem.settlement.by_sigma.shape)))
    with pytest.raises(InputError, match="no parameter moves"):
        replace(problem, settlement=everywhere)


def test_highs_refuses_bilinear_terms() -> None:
    with pytest.raises(InputError, match="bilinear"):
        solve(small(0), solver="highs")
