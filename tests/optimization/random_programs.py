"""Random parametric QPs with a known feasible point, for the tests of this folder."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.solvers.qp_solver import solve_qp


def random_qp(
    seed: int,
    *,
    variables: int = 6,
    rows: int = 8,
    equalities: int = 2,
    parameters: int = 3,
    rank: int | None = None,
    cost_theta: bool = False,
    box: float = 0.2,
) -> ParametricQP:
    """A QP that is feasible for every parameter in [-box, box]: a soft slack loosens its rows at a price."""
    rng = np.random.default_rng(seed)
    n, m, p, k = variables, rows, equalities, parameters
    root = rng.normal(size=(n if rank is None else rank, n))
    point = rng.normal(size=n)
    eq, ineq = rng.normal(size=(p, n)), rng.normal(size=(m, n))
    wide = np.eye(n)
    hessian = np.zeros((n + 1, n + 1))
    hessian[:n, :n] = root.T @ root / n
    soft = np.zeros((m + 2 * n + 1, n + 1))
    soft[:m, :n], soft[m : m + n, :n], soft[m + n : -1, :n] = ineq, wide, -wide
    soft[:, n] = -1.0
    limit = np.concatenate([ineq @ point + 0.4 * rng.random(m), point + 1.5, 1.5 - point, [0.0]])
    return ParametricQP.build(
        hessian=hessian,
        cost=np.append(2 * rng.normal(size=n), 50.0),
        cost_theta=np.vstack([rng.normal(size=(n, k)), np.zeros((1, k))]) if cost_theta else None,
        eq_matrix=np.hstack([eq, np.zeros((p, 1))]),
        eq_rhs=eq @ point,
        eq_theta=0.5 * rng.normal(size=(p, k)),
        ineq_matrix=soft,
        ineq_rhs=limit,
        ineq_theta=np.vstack([0.5 * rng.normal(size=(m, k)), np.zeros((2 * n + 1, k))]),
        constant=1.5,
        constant_theta=rng.normal(size=k),
        theta_lower=np.full(k, -box),
        theta_upper=np.full(k, box),
    )


def with_states(seed: int, *, states: int = 15, **size: int) -> ParametricQP:
    """A random QP plus states y that equalities M y = N x + r + S th define, limited by rows of their own."""
    base = random_qp(seed, **size)
    rng = np.random.default_rng(seed + 1000)
    n, k, m, p = len(base.variables), len(base.parameters), len(base.ineq_rows), len(base.eq_rows)
    solved = solve_qp(base, np.zeros(k)).require()
    network = np.eye(states) + np.tril(rng.normal(size=(states, states)) * 0.4, -1)
    drive, shift = rng.normal(size=(states, n)) * 0.3, rng.normal(size=states)
    response = rng.normal(size=(states, k)) * 0.3
    middle = np.linalg.solve(network, drive @ solved.x + shift)
    lower = sp.hstack([sp.csr_array((states, n)), -sp.eye_array(states)])
    upper = sp.hstack([sp.csr_array((states, n)), sp.eye_array(states)])
    return ParametricQP.build(
        hessian=sp.block_diag([base.hessian, sp.csr_array((states, states))]),
        cost=np.concatenate([base.cost, 0.1 * rng.normal(size=states)]),
        cost_theta=sp.vstack([base.cost_theta, sp.csr_array((states, k))]),
        eq_matrix=sp.block_array([[base.eq_matrix, sp.csr_array((p, states))], [-drive, network]]),
        eq_rhs=np.concatenate([base.eq_rhs, shift]),
        eq_theta=sp.vstack([base.eq_theta, response]),
        ineq_matrix=sp.vstack([sp.hstack([base.ineq_matrix, sp.csr_array((m, states))]), lower, upper]),
        ineq_rhs=np.concatenate(
            [base.ineq_rhs, 0.3 + rng.random(states) - middle, 0.3 + rng.random(states) + middle]
        ),
        ineq_theta=sp.vstack([base.ineq_theta, sp.csr_array((2 * states, k))]),
        constant=base.constant,
        constant_theta=base.constant_theta,
        theta_lower=base.theta_lower,
        theta_upper=base.theta_upper,
    )
