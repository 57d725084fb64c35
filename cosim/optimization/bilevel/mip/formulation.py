"""A bilevel problem as one mixed-integer program for HiGHS, SCIP or Gurobi."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyomo.environ as pyo
import scipy.sparse as sp
import scipy.sparse.csgraph

from cosim.optimization.bilevel.mip.complementarity import Conditions, add_kkt, add_row, dot
from cosim.optimization.bilevel.model.settlement import Settlement, SettlementShares
from cosim.optimization.bilevel.model.strong_duality import (
    PaymentTerms,
    add_mccormick,
    discretisation_bound,
    payment_terms,
    start_bits,
)
from cosim.optimization.bilevel.relaxation.obbt import Cutoff, FollowerBounds
from cosim.optimization.bilevel.settings import DEFAULT, SearchSettings
from cosim.optimization.qp.arrays import Matrix, Vector, columns, rows
from cosim.optimization.qp.blocks import Block, split
from cosim.optimization.qp.bound_propagation import variable_bounds
from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.solvers.mip_solvers import Product, SolverRun, solve_model


@dataclass(frozen=True, slots=True)
class Repairs:
    """What helps a mixed-integer program, each by itself; without any it is the textbook formulation.

    Attributes:
        tighten: bounds of parameters, prices, duals and slacks from a good point and the decomposition's bound.
        cut: in 'kkt-mccormick' the payment is also at least what strong duality makes of it.
        start: the solver begins with a good point.
    """

    tighten: bool = True
    cut: bool = True
    start: bool = True


@dataclass(frozen=True, slots=True)
class Start:
    """A point to begin with: parameters, and dual and slack of each row."""

    theta: Vector
    sigma: Vector
    slack: Vector


@dataclass(frozen=True)
class MipAnswer:
    """What the mixed-integer program found, in the vectors of leader and follower.

    Attributes:
        leader_x, x, nu, sigma: the point.
        run: solver, objective and bound; the bound is one of the bilevel problem in both formulations.
        conditions: big-M values and SOS1 pairs.
        discretisation: how far the objective may lie below the leader's cost (McCormick), else 0.
    """

    leader_x: Vector
    x: Vector
    nu: Vector
    sigma: Vector
    run: SolverRun
    conditions: Conditions
    discretisation: float


def solve_mip(
    follower: ParametricQP,
    leader: ParametricQP,
    *,
    payment: bool,
    shares: SettlementShares | None = None,
    formulation: str,
    complementarity: str,
    solver: str,
    bits: int,
    gap: float,
    time_limit_s: float,
    dual_bounds: Mapping[str, float] | None,
    repairs: Repairs,
    start: Start | None = None,
    cutoff: Cutoff | None = None,
    settings: SearchSettings = DEFAULT,
) -> MipAnswer:
    """Build the mixed-integer program and solve it; arguments as in `bilevel.solve`, and:

    Args:
        shares: of a settlement that is not the whole price.
        start: a point to begin with.
        cutoff: what points keep that are as good as one already known; the program then has no others.
        settings: of the search.
    """
    model = pyo.ConcreteModel()
    model.leader = pyo.Var(range(len(leader.variables)))
    at = {name: model.leader[i] for i, name in enumerate(leader.variables)}
    lower, upper = variable_bounds(leader)
    for i in range(len(leader.variables)):
        model.leader[i].setlb(_finite(lower[i]))
        model.leader[i].setub(_finite(upper[i]))
    theta = [at[name] for name in follower.parameters]
    bounds = FollowerBounds(follower, settings.obbt_effort if cutoff is not None else 0, cutoff, settings)
    for v, (low, high) in zip(theta, map(bounds.parameter, range(len(theta))), strict=True):
        v.setlb(_finite(max(low, -np.inf if v.lb is None else v.lb)))
        v.setub(_finite(min(high, np.inf if v.ub is None else v.ub)))
    model.rows = pyo.ConstraintList()
    everyone = list(model.leader.values())
    for matrix, rhs, names, is_equality in (
        (leader.eq_matrix, leader.eq_rhs, leader.eq_rows, True),
        (leader.ineq_matrix, leader.ineq_rhs, leader.ineq_rows, False),
    ):
        for i in np.flatnonzero(np.isfinite(rhs)).tolist():
            add_row(model.rows, dot(matrix, i, everyone), float(rhs[i]), names[i], equality=is_equality)
    model.follower = pyo.Block()
    conditions = add_kkt(
        model.follower,
        follower,
        theta,
        complementarity=complementarity,
        bounds=bounds,
        dual_bounds=dual_bounds,
    )
    for name, v in zip(follower.variables, conditions.x, strict=True):
        if name in at:
            model.rows.add(at[name] == v)
    cost: Any = leader.constant + pyo.quicksum(
        float(c) * v for c, v in zip(leader.cost, everyone, strict=True) if c != 0.0
    )
    squares = _Squares(model)
    products: list[Product] = []
    cost += squares.add(leader.hessian, everyone)
    discretisation = 0.0
    if payment and formulation == "strong-duality":
        terms = payment_terms(follower, shares)
        cost += _linear_part(terms, conditions, theta)
        cost += squares.add(terms.hessian, conditions.x)
        if shares is not None:
            cost += _products(model, shares, conditions, theta, products)
    elif payment:
        model.products = pyo.Block()
        settlement = None if shares is None else shares.settlement
        ranges = [bounds.price(i, settlement) for i in range(len(theta))]
        prices = conditions.prices if settlement is None else settled(settlement, conditions)
        paid = add_mccormick(model.products, prices, theta, ranges, bits)
        if repairs.cut and shares is None:
            cost += _payments(model, follower, conditions, theta, paid, squares)
        else:
            cost += pyo.quicksum(paid)
        discretisation = discretisation_bound(
            np.array([high - low for low, high in ranges]), np.array([v.ub - v.lb for v in theta]), bits
        )
    model.cost = pyo.Objective(expr=cost)
    if start is not None:
        for b, sigma, slack in zip(conditions.bind, start.sigma, start.slack, strict=True):
            if not b.fixed:
                b.set_value(int(sigma > slack))
        if discretisation:
            start_bits(model.products, theta, start.theta, bits)
    run = solve_model(
        model,
        solver,
        squares=squares.pairs,
        products=products,
        indicators=conditions.indicators,
        gap=gap,
        time_limit_s=time_limit_s,
        started=start is not None,
    )
    return MipAnswer(
        _values(everyone),
        _values(conditions.x),
        _values(conditions.nu),
        np.maximum(_values(conditions.sigma), 0.0),
        run,
        conditions,
        discretisation,
    )


def _payments(
    model: Any,
    follower: ParametricQP,
    conditions: Conditions,
    theta: list[Any],
    paid: list[Any],
    squares: _Squares,
) -> Any:
    """The payment block by block: at least its products' envelopes, and at least its convex form by strong duality.

    Parameters that enter no block have a constant price, whose product is exact.
    """
    model.payment, blocks = pyo.VarList(), split(follower, by_parameter=True)
    terms = payment_terms(follower)
    entering = {int(k) for block in blocks for k in block.parameters}
    total: list[Any] = [paid[k] for k in range(len(theta)) if k not in entering]
    for block in blocks:
        if not len(block.parameters):
            continue
        payment = model.payment.add()
        model.rows.add(payment >= pyo.quicksum(paid[k] for k in block.parameters))
        convex: Any = squares.add(
            columns(rows(terms.hessian, block.variables), block.variables), [conditions.x[j] for j in block.variables]
        )
        convex += _linear_part(terms, conditions, theta, block)
        model.rows.add(payment >= convex)
        total.append(payment)
    return pyo.quicksum(total)


def _linear_part(terms: PaymentTerms, conditions: Conditions, theta: list[Any], block: Block | None = None) -> Any:
    """The payment without its squares, of all blocks or of one."""
    parts = (
        (terms.cost_x, conditions.x, None if block is None else block.variables),
        (terms.cost_nu, conditions.nu, None if block is None else block.eq_rows),
        (terms.cost_sigma, conditions.sigma, None if block is None else block.ineq_rows),
        (terms.cost_theta, theta, None if block is None else block.parameters),
    )
    return pyo.quicksum(
        float(coefficients[i]) * variables[i]
        for coefficients, variables, at in parts
        for i in (range(len(variables)) if at is None else at)
        if coefficients[i] != 0.0
    )


def settled(settlement: Settlement, conditions: Conditions) -> list[Any]:
    """The settlement for each parameter as expressions of the duals."""
    by_nu, by_sigma = settlement.by_nu.T.tocsr(), settlement.by_sigma.T.tocsr()
    return [
        float(settlement.constant[k]) - dot(by_nu, k, conditions.nu) - dot(by_sigma, k, conditions.sigma)
        for k in range(len(settlement.constant))
    ]


def _products(
    model: Any, shares: SettlementShares, conditions: Conditions, theta: list[Any], products: list[Product]
) -> Any:
    """The expression that stands for rest'th; adds to `products` what it stands on."""
    model.rest, model.rest_product = pyo.VarList(), pyo.VarList()
    rests, total = settled(shares.rest, conditions), []
    for k in np.flatnonzero(shares.rest.used()):
        rest, product = model.rest.add(), model.rest_product.add()
        rest.setlb(float(shares.root.low[k]))
        rest.setub(float(shares.root.high[k]))
        model.rows.add(rest == rests[k])
        products.append((product, rest, theta[k]))
        total.append(product)
    return pyo.quicksum(total)


class _Squares:
    """A convex quadratic as a sum of new variables t with t >= y^2, y linear: one per eigenvalue of each
    block.
    """

    def __init__(self, model: Any) -> None:
        self.pairs: list[tuple[Any, Any]] = []
        model.square_t = pyo.VarList(domain=pyo.NonNegativeReals)
        model.square_y = pyo.VarList()
        model.square_rows = pyo.ConstraintList()
        self._model = model

    def add(self, hessian: Matrix, variables: list[Any]) -> Any:
        """The expression that stands for 1/2 v'Hv in an objective."""
        if not hessian.nnz:
            return 0.0
        model, total = self._model, []
        _, label = scipy.sparse.csgraph.connected_components(hessian, directed=False)
        for block in np.unique(label[np.flatnonzero(abs(hessian).sum(axis=1))]):
            at = np.flatnonzero(label == block)
            values, vectors = np.linalg.eigh(columns(rows(hessian, at), at).toarray())
            for value, vector in zip(values, vectors.T, strict=True):
                if value <= 1e-12 * values[-1]:
                    continue
                t, y = model.square_t.add(), model.square_y.add()
                weights = sp.csr_array(np.where(abs(vector) > 1e-14, vector, 0.0)[None, :])
                model.square_rows.add(y == dot(weights, 0, [variables[i] for i in at]))
                self.pairs.append((t, y))
                total.append(0.5 * float(value) * t)
        return pyo.quicksum(total)


def _values(variables: list[Any]) -> Vector:
    return np.array([0.0 if v.value is None else float(v.value) for v in variables])


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
