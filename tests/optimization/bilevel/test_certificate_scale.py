"""Errors in a certificate count relative to what can be computed: moving the origin changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

from cosim.optimization.bilevel.model.certificate import Certificate, certify
from cosim.optimization.qp.parametric import ParametricQP

THETA = np.array([1.5])
PRICE = 2 * 1.5 + 4.0


def certificate(origin: float, *, payment_off: float = 0.0, x_off: float = 0.0) -> Certificate:
    """min (x - origin)^2 + 4 (x - origin), x - origin = t: the price of t is 2 t + 4, wherever the origin lies.

    The linear and the quadratic part are then of the size of origin^2 and cancel.
    """
    follower = ParametricQP.build(
        hessian=[[2.0]], cost=[4.0 - 2.0 * origin], constant=origin**2 - 4.0 * origin, eq_matrix=[[1.0]],
        eq_rhs=[origin], eq_theta=[[1.0]], parameters=["t"], theta_lower=[0.0], theta_upper=[3.0],
    )  # fmt: skip
    x = np.array([origin + THETA[0] + x_off])
    return certify(follower, THETA, x, np.array([-PRICE]), np.zeros(0), payment=PRICE * THETA[0] + payment_off)


@pytest.mark.parametrize("origin", [0.0, 1e3, 1e5])
def test_rounding_passes_wherever_the_origin_lies(origin: float) -> None:
    size = 2.0 * origin**2
    assert certificate(origin, payment_off=1e-10 * size, x_off=1e-11 * origin).passed


@pytest.mark.parametrize("origin", [0.0, 1e3])
def test_a_payment_that_is_wrong_by_a_hundredth_fails_wherever_the_origin_lies(origin: float) -> None:
    assert not certificate(origin, payment_off=0.01 * PRICE * THETA[0]).passed


def test_a_failure_says_what_its_numbers_are_compared_with() -> None:
    with pytest.raises(RuntimeError, match=r"each relative, at most 1e-05"):
        certificate(0.0, payment_off=1.0).require()
