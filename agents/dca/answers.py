"""Answers to what is posted beside a price: slopes of the price, and prices of several scenarios."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cosim.optimization.qp.arrays import csr
from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.qp.solution import QPSolution
from cosim.optimization.solvers.proximal import proximal_gradient, steepened
from cosim.optimization.solvers.qp_solver import QPSolver
from cosim.protocol.messages import PricePosting
from cosim.scenario.market import RiskSpec

Array = NDArray[np.float64]


def anticipating(
    qp: ParametricQP, columns: NDArray[np.intp], hours: float, price: Array, posting: PricePosting
) -> Array:
    """Schedule that reckons with its own weight on the price: price + slope (p - target) is what it pays.

    Args:
        qp: the schedule; columns: (steps, terminals) of the power. price: (steps, terminals) that it pays, USD/MWh.
        posting: by how much that moves with each demand, around which target.
    """
    slope, target = np.asarray(posting.price_slope_usd_per_mw2h).reshape(*price.shape, -1), posting.target_p_mw
    if target is None:
        raise ValueError("slopes of a price need the demand they hold around")
    linear = np.zeros(len(qp.variables))
    linear[columns] = hours * (price - proximal_gradient(slope, target))
    steeper = steepened(qp, columns, 2 * hours * slope)
    return np.asarray(QPSolver(steeper).solve(np.zeros(0), extra_linear=linear).require().x)


@dataclass(frozen=True, slots=True)
class RiskAverse:
    """An aggregator that minimises own cost + (1 - beta) E[payment] + beta CVaR_alpha[payment] over price scenarios.

    CVaR_alpha, the mean of the worst share 1 - alpha, is min over v of v + E[max(0, payment - v)] / (1 - alpha)
    (Rockafellar and Uryasev, Journal of Risk 2(3), 2000): a variable u_w and a row for each scenario. The own cost is
    the same in all scenarios, so it adds to either.

    Args:
        qp: the schedule; columns: (steps, terminals) of the power.
        price: (scenarios, steps, terminals) USD/MW of a step; weights: (scenarios,) their probabilities.
        beta: weight of the CVaR; alpha: share of the outcomes that are not among the worst.
    """

    qp: ParametricQP
    columns: NDArray[np.intp]
    price: Array
    weights: Array
    beta: float
    alpha: float

    @classmethod
    def of(
        cls, posting: PricePosting, risk: RiskSpec | None, hours: float, qp: ParametricQP, columns: NDArray[np.intp]
    ) -> RiskAverse | None:
        """What somebody who minds risk makes of prices of scenarios; None without either."""
        price, weights = posting.scenario_price_usd_per_mwh, posting.scenario_weight
        if risk is None or price is None or weights is None:
            return None
        return cls(qp, columns, hours * price.reshape(-1, *columns.shape), weights[:, 0], risk.beta, risk.alpha)

    def minimum(self, near: Array | None = None, penalty: float | Array = 0.0) -> QPSolution:
        """The best schedule, its variables first.

        Args:
            near, penalty: of a proximal term 1/2 penalty (p - near)^2: (steps, terminals), and a number or (steps, 1).
        """
        program = self._program
        extra, diagonal = np.zeros((2, len(program.variables)))
        if near is not None:
            extra[self.columns] = -proximal_gradient(penalty, near)
            diagonal[self.columns] = penalty
        return QPSolver(program).solve(np.zeros(0), extra_linear=extra, extra_diagonal=diagonal).require()

    def payment_usd(self, p_mw: Array) -> Array:
        """(scenarios,) payment for a demand (steps, terminals)."""
        return np.asarray(self.price.reshape(len(self.price), -1) @ p_mw.ravel())

    def charge_usd(self, p_mw: Array) -> float:
        """(1 - beta) E + beta CVaR_alpha of the payment for a demand."""
        payment = self.payment_usd(p_mw)
        mean = float(self.weights @ payment)
        return (1.0 - self.beta) * mean + self.beta * cvar(payment, self.weights, self.alpha)

    def regret_usd(self, p_mw: Array, own_usd: float) -> float:
        """What a demand and its own cost come to above the best ones (USD)."""
        return max(0.0, own_usd + self.charge_usd(p_mw) - self.minimum().objective)

    @property
    def _program(self) -> ParametricQP:
        qp, count, steepness = self.qp, len(self.weights), self.beta / (1.0 - self.alpha)
        n = len(qp.variables)
        cost = np.concatenate([qp.cost, [self.beta], steepness * self.weights])
        expected = (1.0 - self.beta) * np.tensordot(self.weights, self.price, axes=1)
        cost[self.columns.ravel()] += expected.ravel()
        paid = sp.lil_array((count, n))
        paid[:, self.columns.ravel()] = self.price.reshape(count, -1)
        above = sp.hstack([csr(paid, paid.shape), -np.ones((count, 1)), -sp.eye_array(count)])
        positive = sp.hstack([sp.csr_array((count, n + 1)), -sp.eye_array(count)])
        blank = [sp.csr_array((len(rows), count + 1)) for rows in (qp.ineq_rows, qp.eq_rows)]
        return ParametricQP.build(
            hessian=sp.block_diag([qp.hessian, sp.csr_array((count + 1, count + 1))]),
            cost=cost,
            eq_matrix=sp.hstack([qp.eq_matrix, blank[1]]),
            eq_rhs=qp.eq_rhs,
            ineq_matrix=sp.vstack([sp.hstack([qp.ineq_matrix, blank[0]]), above, positive]),
            ineq_rhs=np.concatenate([qp.ineq_rhs, np.zeros(2 * count)]),
            constant=qp.constant,
        )


def cvar(values: Array, weights: Array, alpha: float) -> float:
    """Mean of the worst share 1 - alpha of weighted outcomes."""
    order = np.argsort(values)[::-1]
    before = np.concatenate([[0.0], np.cumsum(weights[order])[:-1]])
    taken = np.clip((1.0 - alpha) - before, 0.0, weights[order])
    return float(taken @ values[order]) / (1.0 - alpha)
