"""The single-level form of a bilevel problem without its complementarities.

Variables: the leader's (among them the parameters th of the follower), the follower's x, and its duals nu and
sigma. Rows: the leader's, the follower's, the box of th, and stationarity H x + c + C th + A'nu + G'sigma =
0. Objective: the leader's own cost and, if it pays, the payment (see `strong_duality.payment_terms`), which is
convex. Left out is sigma_i s_i = 0 for each row i with slack s = h + W th - G x (see `relaxation`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from cosim.errors import InputError
from cosim.optimization.bilevel.model.mccormick import Products
from cosim.optimization.bilevel.model.settlement import Settlement, SettlementShares
from cosim.optimization.bilevel.model.strong_duality import payment_terms
from cosim.optimization.qp.arrays import Indices, Matrix, Vector, stacked
from cosim.optimization.qp.parametric import ParametricQP


@dataclass(frozen=True)
class SingleLevel:
    """A bilevel problem's single-level form as one QP without parameters.

    Attributes:
        qp: the relaxation; its first inequalities are the follower's, in the follower's order, then -sigma <=
            0.
        follower, leader: what it was made from.
        leader_at, theta_at, x_at, nu_at, sigma_at: where each lies among the variables.
        products: of a payment that is not the follower's whole price, what stays bilinear; `qp` alone leaves them
            without a lower end.
    """

    qp: ParametricQP
    follower: ParametricQP
    leader: ParametricQP
    leader_at: Indices
    theta_at: Indices
    x_at: Indices
    nu_at: Indices
    sigma_at: Indices
    products: Products | None = None

    @property
    def settlement(self) -> Settlement:
        """What the leader pays for each unit of the parameters."""
        return Settlement.of(self.follower) if self.products is None else self.products.shares.settlement

    def complete(self, z: Vector) -> Vector:
        """z with the products that follow from its other entries."""
        if self.products is not None:
            self.products.fill(z, z[self.nu_at], z[self.sigma_at])
        return z

    def rest(self, z: Vector) -> Vector | None:
        """(k,) the rest of each parameter at z, of a payment with products."""
        if self.products is None:
            return None
        return self.products.shares.rest.price(z[self.nu_at], z[self.sigma_at])

    def slack(self, z: Vector) -> Vector:
        """The follower's slacks h + W th - G x at z."""
        f = self.follower
        slack: Vector = f.ineq_rhs + f.ineq_theta @ z[self.theta_at] - f.ineq_matrix @ z[self.x_at]
        return slack


def single_level(
    follower: ParametricQP, leader: ParametricQP, *, payment: bool, shares: SettlementShares | None = None
) -> SingleLevel:
    """Put leader, follower and the follower's stationarity into one QP.

    Args:
        follower: with the parameters th.
        leader: without parameters; its variables include, by name, every th, and may include follower
            variables (in its cost, or in rows that couple it to the follower's answer).
        payment: whether the leader also pays price'th.
        shares: the payment's settlement taken apart, if it is not the whole price.
    """
    check_names(follower, leader)
    duals = [f"dual {name}" for name in (*follower.eq_rows, *follower.ineq_rows)]
    names = list(dict.fromkeys((*leader.variables, *follower.variables)))
    bilinear = np.zeros(0, dtype=np.int64) if shares is None else np.flatnonzero(shares.rest.used())
    place = {name: i for i, name in enumerate(names + duals)}
    n, p, m = len(names), len(follower.eq_rows), len(follower.ineq_rows)
    size = n + p + m + 2 * len(bilinear)

    def where(wanted: Sequence[str]) -> Indices:
        return np.array([place[name] for name in wanted], dtype=np.int64)

    leader_at, theta_at = where(leader.variables), where(follower.parameters)
    x_at, nu_at, sigma_at = where(follower.variables), n + np.arange(p), n + p + np.arange(m)
    hessian, cost = _spread_square(leader.hessian, leader_at, size), np.zeros(size)
    constant = leader.constant
    np.add.at(cost, leader_at, leader.cost)
    if payment:
        terms = payment_terms(follower, shares)
        paid = _spread_square(terms.hessian, x_at, size)
        hessian = hessian + paid if hessian.nnz else paid
        for at, part in ((x_at, terms.cost_x), (nu_at, terms.cost_nu), (sigma_at, terms.cost_sigma)):
            np.add.at(cost, at, part)
        np.add.at(cost, theta_at, terms.cost_theta)
    products = None
    if shares is not None:
        first = n + p + m + np.arange(len(bilinear))
        products = Products(shares, bilinear, theta_at[bilinear], first, first + len(bilinear))
        cost[products.product_at] = 1.0
        duals += [f"{kind} {follower.parameters[k]}" for kind in ("rest", "product") for k in bilinear]
    has_lo = np.flatnonzero(np.isfinite(follower.theta_lower))
    has_up = np.flatnonzero(np.isfinite(follower.theta_upper))
    eq = stacked(size, [
        [(leader.eq_matrix, leader_at, 1.0)],
        [(follower.eq_matrix, x_at, 1.0), (follower.eq_theta, theta_at, -1.0)],
        [
            (follower.hessian, x_at, 1.0), (follower.cost_theta, theta_at, 1.0),
            (follower.eq_matrix.T, nu_at, 1.0), (follower.ineq_matrix.T, sigma_at, 1.0),
        ],
    ])  # fmt: skip
    if products is not None:
        eq = sp.vstack([eq, products.equations(size, nu_at, sigma_at)])
    ineq = stacked(size, [
        [(follower.ineq_matrix, x_at, 1.0), (follower.ineq_theta, theta_at, -1.0)],
        [(None, sigma_at, -1.0)],
        [(leader.ineq_matrix, leader_at, 1.0)],
        [(None, theta_at[has_lo], -1.0)],
        [(None, theta_at[has_up], 1.0)],
    ])  # fmt: skip
    qp = ParametricQP.build(
        hessian=hessian,
        cost=cost,
        constant=constant,
        eq_matrix=eq,
        eq_rhs=np.concatenate([leader.eq_rhs, follower.eq_rhs, -follower.cost, np.zeros(len(bilinear))]),
        ineq_matrix=ineq,
        ineq_rhs=np.concatenate([
            follower.ineq_rhs, np.zeros(m), leader.ineq_rhs,
            -follower.theta_lower[has_lo], follower.theta_upper[has_up],
        ]),
        variables=names + duals,
    )  # fmt: skip
    return SingleLevel(qp, follower, leader, leader_at, theta_at, x_at, nu_at, sigma_at, products)


def check_names(follower: ParametricQP, leader: ParametricQP) -> None:
    """Refuse a leader with parameters of its own or without the follower's parameters among its variables."""
    if leader.parameters:
        raise InputError(
            "the leader of a bilevel problem has parameters", key="leader", value=leader.parameters[0]
        )
    missing = [name for name in follower.parameters if name not in set(leader.variables)]
    if missing:
        raise InputError("a follower parameter is no variable of the leader", key="leader", value=missing[0])


def _spread_square(matrix: Matrix, at: Indices, size: int) -> Matrix:
    entries = sp.coo_array(matrix)
    row, column = entries.coords
    return sp.csr_array((entries.data, (at[row], at[column])), shape=(size, size))
