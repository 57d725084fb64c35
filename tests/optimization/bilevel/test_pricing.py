"""Rows that cannot bind together, and the minima of pricing problems, against answers of the follower."""

import numpy as np
import pytest

from cosim.experiments.benchmarks.leader.instances import Shape, instance
from cosim.optimization.bilevel.primal.critical_regions import CriticalRegions
from cosim.optimization.bilevel.relaxation.relaxation import OPEN
from cosim.optimization.bilevel.tree.domain import BlockDomain
from cosim.optimization.bilevel.tree.pricing import PricingProblem
from cosim.optimization.qp.blocks import Block, split
from cosim.optimization.qp.conflicts import Conflicts, conflicts
from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.qp.presolve import presolve
from cosim.optimization.solvers.qp_solver import QPSolver


@pytest.fixture(scope="module", params=[(4, 5, 0.0), (3, 6, 5.0)])
def block(request: pytest.FixtureRequest) -> Block:
    sites, generators, slope = request.param
    problem = instance(Shape(sites, generators, 4, step_h=6.0, slope=slope), seed=3)
    return split(presolve(problem.follower, problem.leader).qp)[2]


def _answers(qp: ParametricQP) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Parameters, x, sigma and slack of the follower at random corners and inner points of the box."""
    rng, solver, out = np.random.default_rng(5), QPSolver(qp), []
    for number in range(60):
        share = rng.random(len(qp.parameters)) if number % 2 else rng.integers(0, 2, len(qp.parameters))
        theta = qp.theta_lower + share * (qp.theta_upper - qp.theta_lower)
        found = solver.solve(theta).require()
        slack = qp.ineq_rhs + qp.ineq_theta @ theta - qp.ineq_matrix @ found.x
        out.append((theta, found.x, found.sigma, slack))
    return out


def _price(qp: ParametricQP, solver: QPSolver, theta: np.ndarray) -> np.ndarray:
    found = solver.solve(theta).require()
    return qp.price(found.nu, found.sigma)


def test_no_optimum_has_two_rows_binding_that_cannot(block: Block) -> None:
    apart = conflicts(block.qp).toarray() > 0
    assert apart.sum() > len(block.qp.ineq_rows)
    for _, _, _, slack in _answers(block.qp):
        binding = slack < 1e-9
        assert not np.any(apart[np.ix_(binding, binding)])


def test_conflicts_of_blocks_are_those_of_the_whole() -> None:
    follower = instance(Shape(4, 5, 3, tight=True), 2).follower
    together = Conflicts(follower)
    for block in split(follower, by_parameter=True):
        alone = conflicts(block.qp).toarray() > 0
        for row, beside in zip(alone, together.beside(block.ineq_rows), strict=True):
            assert sorted(beside.tolist()) == np.flatnonzero(row).tolist()


def test_conflicts_of_a_generator_between_two_limits() -> None:
    # x <= 3, x >= 0, x + y <= 3.5, y <= 1, y >= -1: at rest neither the limit nor the sum can bind.
    qp = ParametricQP.build(
        cost=[1.0, 1.0],
        ineq_matrix=np.array([[1.0, 0.0], [-1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, -1.0]]),
        ineq_rhs=[3.0, 0.0, 3.5, 1.0, 1.0],
    )
    found = conflicts(qp).toarray() > 0
    assert np.array_equal(np.argwhere(np.triu(found)), [[0, 1], [1, 2], [2, 4], [3, 4]])


def test_the_minimum_is_no_dearer_than_any_answer_of_the_follower(block: Block) -> None:
    constant = np.zeros(len(block.qp.parameters))
    nothing = np.full(len(block.qp.ineq_rows), OPEN, dtype=np.int8)
    solver = QPSolver(block.qp)
    for mu in (60.0, 90.0, 150.0, 400.0):
        problem = PricingProblem(block, constant, CriticalRegions(block, constant))
        found = problem.minimise(constant + mu, BlockDomain(nothing), 1e-6, None, np.inf)
        assert found is not None and found.column is not None
        costs = [
            float((_price(block.qp, solver, theta) - mu) @ theta)
            for theta, _, _, _ in _answers(block.qp)
        ]
        assert found.bound <= min(costs) + 1e-6
