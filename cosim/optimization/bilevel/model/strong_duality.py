"""What the leader pays: price'th with price = constant_theta - B'nu - W'sigma, a product of two variables.

Two ways around the product.

Strong duality (exact). Multiply stationarity, H x + c + C th + A'nu + G'sigma = 0, by x' with C = 0 and put
in A x = b + B th and sigma'(G x) = sigma'(h + W th) - sigma's:

    x'Hx + c'x + b'nu + B th .nu + h'sigma + W th .sigma - sigma's = 0
    price'th = constant_theta'th + x'Hx + c'x + b'nu + h'sigma - sigma's

and complementarity removes sigma's, leaving a convex quadratic of the follower's variables.

McCormick with binary expansion (a lower bound). th_i = lower + range * sum_k 2^-k bit_k + rest, with the
products bit * price exact and rest * price within its McCormick envelope: the error is at most range(price) *
(range(th) / 2^K) / 4 = range(price) * range(th) / 2^(K+2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyomo.environ as pyo
import scipy.sparse as sp

from cosim.errors import InputError
from cosim.optimization.bilevel.model.settlement import SettlementShares
from cosim.optimization.qp.arrays import Matrix, Vector, csr
from cosim.optimization.qp.parametric import ParametricQP


@dataclass(frozen=True, slots=True)
class PaymentTerms:
    """Payment: 1/2 x'(hessian)x + cost_x'x + cost_nu'nu + cost_sigma'sigma + cost_theta'th - sigma's."""

    hessian: Matrix
    cost_x: Vector
    cost_nu: Vector
    cost_sigma: Vector
    cost_theta: Vector

    def of_follower(self, x: Vector, nu: Vector, sigma: Vector) -> float:
        """The part of the payment that the follower's variables and duals make."""
        quadratic = 0.5 * x @ (self.hessian @ x) + self.cost_x @ x
        return float(quadratic + self.cost_nu @ nu + self.cost_sigma @ sigma)


def payment_terms(follower: ParametricQP, shares: SettlementShares | None = None) -> PaymentTerms:
    """The payment by strong duality; of a settlement what is not bilinear (see `settlement`).

    Raises:
        InputError: if parameters multiply the follower's variables in its objective (C is not zero); then the
            payment has a further bilinear term.
    """
    require_right_hand_sides(follower)
    if shares is not None:
        share = shares.share_x
        return PaymentTerms(
            2.0 * csr(sp.diags_array(share) @ follower.hessian, follower.hessian.shape),
            share * follower.cost,
            shares.share_nu * follower.eq_rhs,
            shares.share_sigma * follower.ineq_rhs,
            shares.constant,
        )
    return PaymentTerms(
        2.0 * follower.hessian, follower.cost, follower.eq_rhs, follower.ineq_rhs, follower.constant_theta
    )


def payment_by_strong_duality(
    follower: ParametricQP,
    theta: Vector,
    x: Vector,
    nu: Vector,
    sigma: Vector,
    shares: SettlementShares | None = None,
) -> float:
    """The payment at a point that meets the follower's optimality conditions."""
    terms = payment_terms(follower, shares)
    paid = terms.of_follower(x, nu, sigma) + float(terms.cost_theta @ theta)
    return paid if shares is None else paid + float(shares.rest.price(nu, sigma) @ theta)


def payment_terms_size(
    follower: ParametricQP, theta: Vector, x: Vector, nu: Vector, sigma: Vector, shares: SettlementShares | None = None
) -> float:
    """Sum of the magnitudes of all terms whose sum is the payment by strong duality: what rounding is relative to."""
    terms = payment_terms(follower, shares)
    parts = (0.5 * x * (terms.hessian @ x), terms.cost_x * x, terms.cost_nu * nu, terms.cost_sigma * sigma)
    return float(sum(np.abs(part).sum() for part in (*parts, terms.cost_theta * theta)))


def without_open_rows(follower: ParametricQP) -> ParametricQP:
    """The follower with zero instead of an infinite limit, whose dual is zero anyway, so that products stay finite."""
    return replace(follower, ineq_rhs=np.where(np.isfinite(follower.ineq_rhs), follower.ineq_rhs, 0.0))


def require_right_hand_sides(follower: ParametricQP) -> None:
    """Refuse a follower whose objective multiplies parameters with variables."""
    if follower.cost_theta.count_nonzero():
        raise InputError(
            "a payment needs parameters in right-hand sides only, but the follower's objective multiplies "
            "some with variables",
            key="follower.cost_theta",
        )


def discretisation_bound(price_range: Vector, theta_range: Vector, bits: int) -> float:
    """How far the binary expansion can stay below the payment: sum of range(price) * range(th) / 2^(bits +
    2).
    """
    return float(price_range @ theta_range) * float(2.0 ** -(bits + 2))


def add_mccormick(
    block: Any,
    prices: Sequence[Any],
    thetas: Sequence[Any],
    price_bounds: Sequence[tuple[float, float]],
    bits: int,
) -> list[Any]:
    """Add variables and rows for each product price * theta to a Pyomo block.

    Args:
        block: an empty Pyomo block.
        prices: linear expressions.
        thetas: Pyomo variables with finite bounds.
        price_bounds: proven bounds of each price.
        bits: how many binaries each theta gets.

    Returns:
        The expression of each product, never above the true one when minimised.

    Raises:
        InputError: if a theta or a price is not bounded.
    """
    count = range(len(thetas))
    block.price = pyo.Var(count)
    block.bit = pyo.Var(count, range(1, bits + 1), domain=pyo.Binary)
    block.bit_price = pyo.Var(count, range(1, bits + 1))
    block.rest = pyo.Var(count, domain=pyo.NonNegativeReals)
    block.rest_price = pyo.Var(count)
    block.rows = pyo.ConstraintList()
    products: list[Any] = []
    for i, theta in enumerate(thetas):
        lower, upper = pyo.value(theta.lower), pyo.value(theta.upper)
        low, high = price_bounds[i]
        if lower is None or upper is None or not all(abs(v) < float("inf") for v in (low, high)):
            raise InputError(
                "McCormick needs a bounded parameter and a bounded price",
                key=theta.name,
                value=(lower, upper, low, high),
            )
        price, width = block.price[i], upper - lower
        price.setlb(low)
        price.setub(high)
        block.rows.add(price == prices[i])
        block.rest[i].setub(width / 2**bits)
        block.rows.add(
            theta
            == lower + width * sum(2.0**-k * block.bit[i, k] for k in range(1, bits + 1)) + block.rest[i]
        )
        total: Any = lower * price + block.rest_price[i]
        for k in range(1, bits + 1):
            _envelope(block, block.bit_price[i, k], block.bit[i, k], (0.0, 1.0), price, (low, high))
            total += width * 2.0**-k * block.bit_price[i, k]
        _envelope(block, block.rest_price[i], block.rest[i], (0.0, width / 2**bits), price, (low, high))
        products.append(total)
    return products


def start_bits(block: Any, thetas: Sequence[Any], at: Vector, bits: int) -> None:
    """Give the binaries that `add_mccormick` made the values that stand for these parameters."""
    for i, theta in enumerate(thetas):
        lower, upper = pyo.value(theta.lower), pyo.value(theta.upper)
        share = 0.0 if upper <= lower else (float(at[i]) - lower) / (upper - lower)
        whole = min(max(int(share * 2**bits), 0), 2**bits - 1)
        for k in range(1, bits + 1):
            block.bit[i, k].set_value((whole >> (bits - k)) & 1)


def _envelope(
    block: Any, product: Any, u: Any, u_box: tuple[float, float], v: Any, v_box: tuple[float, float]
) -> None:
    """The McCormick envelope of product = u v."""
    (a, b), (c, d) = u_box, v_box
    block.rows.add(product >= a * v + c * u - a * c)
    block.rows.add(product >= b * v + d * u - b * d)
    block.rows.add(product <= a * v + d * u - a * d)
    block.rows.add(product <= b * v + c * u - b * c)
