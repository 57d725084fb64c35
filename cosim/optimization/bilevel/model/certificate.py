"""The certificate of a bilevel solution: the follower cleared again, and what its prices could have been."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cosim.errors import RunFailure
from cosim.optimization.bilevel.model.settlement import Settlement, settled_at
from cosim.optimization.bilevel.model.strong_duality import payment_terms_size, without_open_rows
from cosim.optimization.qp.arrays import Vector
from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.qp.solution import QPSolution
from cosim.optimization.solvers.dual_face import DualFace
from cosim.optimization.solvers.polish import Conditions, Matrices
from cosim.optimization.solvers.qp_solver import solve_qp

_ACCEPT = 1e-5
_COMPUTED = 1e-4
"""An error of 1e-9 of the terms, the accuracy asked of the solvers of relaxations, is one of `_ACCEPT`."""
_RESOLVED = 1e-6
"""How far apart optima may lie that solvers do not tell apart, in the unit of the variables (1 W for one in MW)."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """How a bilevel solution stands up to the follower cleared again at its parameters.

    Attributes:
        follower_error: difference between the follower's cost in the solution and its optimum, relative to the largest
            of one, that cost, and 1e-4 times the magnitudes of its terms.
        optimality_error: largest violation of the follower's optimality conditions by x, nu and sigma, each relative to
            the sizes that enter it.
        payment_error: difference between the payment in the solver's terms and price'th, relative to the largest of
            one, the payment, and 1e-4 times the magnitudes of the terms that strong duality makes it of.
        payment_optimistic, payment_pessimistic: least and largest payment over the duals that are optimal at these
            parameters for the solution or the follower's optimum found anew, or for any x within 1e-6 of one of
            them (infinite where prices have no end): whatever a settlement can charge that clears the follower to a
            solver's accuracy. The solution is the optimistic one up to the gap. Not numbers without a payment.
        dual_margin: the smallest (M - sigma) / M over the pairs with a big-M; 1 if there is none.
        discretisation: how far binary expansion may underestimate the payment; 0 for strong duality.
        sos1: rows without a proven bound, handled by SOS1.
        passed: whether errors are within 1e-5 (plus the discretisation) and every dual is strictly below its
            M.
    """

    follower_error: float
    optimality_error: float
    payment_error: float
    payment_optimistic: float
    payment_pessimistic: float
    dual_margin: float
    discretisation: float
    sos1: tuple[str, ...]
    passed: bool

    def require(self) -> Certificate:
        """This certificate if it passed; else RunFailure."""
        if not self.passed:
            raise RunFailure(
                "a bilevel solution failed its certificate: "
                f"follower error {self.follower_error:.1e}, optimality error {self.optimality_error:.1e}, "
                f"payment error {self.payment_error:.1e} (each relative, at most {_ACCEPT:.0e}), "
                f"dual margin {self.dual_margin:.1e} (above 0)"
            )
        return self


def _relative(error: float, value: float, terms: float) -> float:
    """An error relative to a value, or to what its terms can be computed to where they are much larger than their sum.

    Args:
        error, value: in the same unit.
        terms: sum of the magnitudes of the terms that add up to the value.
    """
    return abs(error) / max(1.0, abs(value), _COMPUTED * terms)


def certify(
    follower: ParametricQP,
    theta: Vector,
    x: Vector,
    nu: Vector,
    sigma: Vector,
    *,
    payment: float | None,
    dual_bounds: Vector | None = None,
    discretisation: float = 0.0,
    sos1: tuple[str, ...] = (),
    settlement: Settlement | None = None,
) -> Certificate:
    """Clear the follower again at theta and compare.

    Args:
        follower: the follower, unscreened.
        theta, x, nu, sigma: the solution.
        payment: the payment the solver counted with; None if the leader pays nothing.
        dual_bounds: M per row, infinite where none was used.
        discretisation: the proven error of a discretised payment.
        sos1: rows without a proven bound.
        settlement: what is paid for each unit of the parameters, if not the whole price.
    """
    again = solve_qp(follower, theta).require()
    here = follower.objective(x, theta)
    cost = follower.cost + follower.cost_theta @ theta
    size = float(np.abs(cost * x).sum() + 0.5 * np.abs(x * (follower.hessian @ x)).sum())
    follower_error = _relative(here - again.objective, again.objective, size)
    sides = (follower.eq_rhs + follower.eq_theta @ theta, follower.ineq_rhs + follower.ineq_theta @ theta)
    optimality = Conditions(Matrices(follower), cost, None, *sides).residual((x, nu, sigma))
    payment_error, low, high = 0.0, np.nan, np.nan
    if payment is not None:
        price = (Settlement.of(follower) if settlement is None else settlement).price(nu, sigma)
        paid = float(price @ theta)
        excess = max(0.0, abs(paid - payment) - discretisation)
        size = payment_terms_size(without_open_rows(follower), theta, x, nu, sigma)
        payment_error = _relative(excess, paid, size)
        solution = QPSolution(x, nu, sigma, here, "optimal", "bilevel")
        held, zero = settled_at(follower, theta, settlement), np.zeros(len(theta))
        faces = [DualFace(held, at, zero, reach=_RESOLVED) for at in (solution, again)]
        low = min(-face.extreme(-theta).value for face in faces)
        high = max(face.extreme(theta).value for face in faces)
    margin = 1.0
    if dual_bounds is not None and np.any(np.isfinite(dual_bounds)):
        used = np.isfinite(dual_bounds)
        margin = float(np.min((dual_bounds[used] - sigma[used]) / dual_bounds[used]))
    passed = max(follower_error, optimality, payment_error) <= _ACCEPT and margin > 0
    return Certificate(
        follower_error, optimality, payment_error, low, high, margin, discretisation, sos1, bool(passed)
    )
