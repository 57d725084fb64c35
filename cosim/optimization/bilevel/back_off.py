"""Keeping a leader off the kinks where the follower's prices are not unique.

An optimistic leader likes to sit exactly where a limit begins to bind, and counts on the cheaper of the prices there.
Here it sees limits that are a little tighter than the true ones, so that at its decision the true ones do not yet bind.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np

from cosim.errors import InputError
from cosim.optimization.bilevel.model.certificate import certify
from cosim.optimization.bilevel.model.strong_duality import payment_by_strong_duality
from cosim.optimization.bilevel.solver import BilevelProblem, BilevelSolution, solve
from cosim.optimization.qp.arrays import relative_gap
from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.solvers.qp_solver import solve_qp


def solve_backed_off(problem: BilevelProblem, margin: float, **options: Any) -> BilevelSolution:
    """The leader's optimum with tighter limits in its copy of the follower, cleared with the true ones.

    Args:
        problem: with a payment, and a leader that names no follower variable.
        margin: how much tighter, in the units of the rows: all rows of the follower that a parameter moves or that
            have more than one variable.
        options: of `bilevel.solve`, which runs twice: for the bound with true limits, for the point with tighter ones.

    Returns:
        The point as the true follower answers it. Its bound is that of the true problem, so its gap includes what the
        margin costs.

    Raises:
        InputError: for a margin that is not positive, or a problem that does not fit.
        RunFailure: see `bilevel.solve`; also if the tighter limits leave no point.
    """
    began = time.perf_counter()
    follower, leader = problem.follower, problem.leader
    if not margin > 0:
        raise InputError("a back-off is positive", key="margin", value=margin, allowed="> 0")
    if problem.settlement is not None:
        raise InputError("a back-off is for a payment of the whole price", key="problem.settlement")
    if not problem.payment or set(leader.variables) & set(follower.variables):
        raise InputError("a back-off needs a payment and a leader without follower variables", key="problem")
    true = solve(problem, **options)
    tighter = BilevelProblem(tightened(follower, margin), leader)
    held = solve(tighter, **{**options, "start": true.theta})
    answer = solve_qp(follower, held.theta).require()
    price = follower.price(answer.nu, answer.sigma)
    payment = float(price @ held.theta)
    open_rows = np.where(np.isfinite(follower.ineq_rhs), follower.ineq_rhs, 0.0)
    terms = payment_by_strong_duality(
        replace(follower, ineq_rhs=open_rows), held.theta, answer.x, answer.nu, answer.sigma
    )
    certificate = certify(
        follower, held.theta, answer.x, answer.nu, answer.sigma, payment=terms
    ).require()
    cost = leader.objective(held.leader_x) + payment
    bound = min(true.bound, cost)
    return replace(
        held,
        x=answer.x,
        nu=answer.nu,
        sigma=answer.sigma,
        price=price,
        leader_cost=cost,
        payment=payment,
        bound=bound,
        gap=relative_gap(cost, bound),
        nodes=true.nodes + held.nodes,
        time_s=time.perf_counter() - began,
        certificate=certificate,
    )


def tightened(follower: ParametricQP, margin: float) -> ParametricQP:
    """The follower with its limits so much tighter; bounds of single variables that no parameter moves stay."""
    matrix = follower.ineq_matrix.copy()
    matrix.eliminate_zeros()
    limit = (np.diff(matrix.indptr) > 1) | (abs(follower.ineq_theta).sum(axis=1) > 0)
    return replace(follower, ineq_rhs=follower.ineq_rhs - np.where(limit, margin, 0.0))
