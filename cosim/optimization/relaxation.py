"""The single-level form of a bilevel problem without its complementarities, and with some of them decided.

Variables: the leader's (among them the parameters th of the follower), the follower's x, and its duals nu and
sigma. Rows: the leader's, the follower's, the box of th, and stationarity H x + c + C th + A'nu + G'sigma =
0. Objective: the leader's own cost and, if it pays, the payment (see `payments.payment_terms`), which is
convex. Left out is sigma_i s_i = 0 for each row i with slack s = h + W th - G x; deciding a pair fixes one of
the two to zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from cosim.errors import InputError
from cosim.optimization.arrays import Indices, Matrix, Vector, rows
from cosim.optimization.charge import Box, Charge, Remainder
from cosim.optimization.envelope import Envelope, Products
from cosim.optimization.parametric import ParametricQP
from cosim.optimization.payments import payment_terms
from cosim.optimization.qp_backends import Highs, Limits, Piqp, full_form, prove
from cosim.optimization.qp_solvers import NOTHING, ROW, QPSolver, place_rows, two_sided

Decisions = npt.NDArray[np.int8]
OPEN, DUAL_ZERO, SLACK_ZERO = 0, 1, 2
_TOLERANCE = 1e-9
_SHARP = 1e-7
_MARGIN = 1e-7


def both(decisions: Decisions, pair: int) -> list[Decisions]:
    """The decisions with one more pair decided, one way and the other."""
    out = [decisions.copy(), decisions.copy()]
    out[0][pair], out[1][pair] = DUAL_ZERO, SLACK_ZERO
    return out


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
    def charge(self) -> Charge:
        """What the leader pays for each unit of the parameters."""
        return Charge.of(self.follower) if self.products is None else self.products.remainder.charge

    def complete(self, z: Vector) -> Vector:
        """z with the products that follow from its other entries."""
        if self.products is not None:
            self.products.fill(z, z[self.nu_at], z[self.sigma_at])
        return z

    def rest(self, z: Vector) -> Vector | None:
        """(k,) the rest of each parameter at z, of a payment with products."""
        if self.products is None:
            return None
        return self.products.remainder.rest.price(z[self.nu_at], z[self.sigma_at])

    def slack(self, z: Vector) -> Vector:
        """The follower's slacks h + W th - G x at z."""
        f = self.follower
        slack: Vector = f.ineq_rhs + f.ineq_theta @ z[self.theta_at] - f.ineq_matrix @ z[self.x_at]
        return slack


def single_level(
    follower: ParametricQP, leader: ParametricQP, *, payment: bool, remainder: Remainder | None = None
) -> SingleLevel:
    """Put leader, follower and the follower's stationarity into one QP.

    Args:
        follower: with the parameters th.
        leader: without parameters; its variables include, by name, every th, and may include follower
            variables (in its cost, or in rows that couple it to the follower's answer).
        payment: whether the leader also pays price'th.
        remainder: the payment's charge taken apart, if it is not the whole price.
    """
    check_names(follower, leader)
    duals = [f"dual {name}" for name in (*follower.eq_rows, *follower.ineq_rows)]
    names = list(dict.fromkeys((*leader.variables, *follower.variables)))
    bilinear = np.zeros(0, dtype=np.int64) if remainder is None else np.flatnonzero(remainder.rest.used())
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
        terms = payment_terms(follower, remainder)
        hessian = hessian + _spread_square(terms.hessian, x_at, size)
        for at, part in ((x_at, terms.cost_x), (nu_at, terms.cost_nu), (sigma_at, terms.cost_sigma)):
            np.add.at(cost, at, part)
        np.add.at(cost, theta_at, terms.cost_theta)
    products = None
    if remainder is not None:
        first = n + p + m + np.arange(len(bilinear))
        products = Products(remainder, bilinear, theta_at[bilinear], first, first + len(bilinear))
        cost[products.product_at] = 1.0
        duals += [f"{kind} {follower.parameters[k]}" for kind in ("rest", "product") for k in bilinear]
    spread = _spread
    eq = sp.vstack([
        spread(leader.eq_matrix, leader_at, size),
        spread(follower.eq_matrix, x_at, size) - spread(follower.eq_theta, theta_at, size),
        spread(follower.hessian, x_at, size) + spread(follower.cost_theta, theta_at, size)
        + spread(follower.eq_matrix.T, nu_at, size) + spread(follower.ineq_matrix.T, sigma_at, size),
        *([] if products is None else [products.equations(size, nu_at, sigma_at)]),
    ])  # fmt: skip
    has_lo = np.flatnonzero(np.isfinite(follower.theta_lower))
    has_up = np.flatnonzero(np.isfinite(follower.theta_upper))
    eye = sp.eye_array(size, format="csr")
    ineq = sp.vstack([
        spread(follower.ineq_matrix, x_at, size) - spread(follower.ineq_theta, theta_at, size),
        -eye[sigma_at],
        spread(leader.ineq_matrix, leader_at, size),
        -eye[theta_at[has_lo]],
        eye[theta_at[has_up]],
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


def cheapest_together(level: SingleLevel) -> Vector | None:
    """Parameters at which leader's and follower's own costs together are least, a start for searches; None if there
    are none to be had.
    """
    follower, leader = level.follower, level.leader
    n = int(max(level.leader_at.max(initial=-1), level.x_at.max(initial=-1))) + 1
    cost, k = np.zeros(n), np.arange(len(level.theta_at))
    np.add.at(cost, level.leader_at, leader.cost)
    np.add.at(cost, level.x_at, follower.cost)
    np.add.at(cost, level.theta_at, follower.constant_theta)
    finite = np.flatnonzero(np.isfinite(follower.ineq_rhs))
    low, high = np.isfinite(follower.theta_lower), np.isfinite(follower.theta_upper)
    box = sp.csr_array((np.ones(len(k)), (k, level.theta_at)), shape=(len(k), n))
    both = ParametricQP.build(
        hessian=_spread_square(leader.hessian, level.leader_at, n) + _spread_square(follower.hessian, level.x_at, n),
        cost=cost,
        eq_matrix=sp.vstack([
            _spread(leader.eq_matrix, level.leader_at, n),
            _spread(follower.eq_matrix, level.x_at, n) - _spread(follower.eq_theta, level.theta_at, n),
        ]),
        eq_rhs=np.concatenate([leader.eq_rhs, follower.eq_rhs]),
        ineq_matrix=sp.vstack([
            _spread(leader.ineq_matrix, level.leader_at, n),
            _spread(rows(follower.ineq_matrix, finite), level.x_at, n)
            - _spread(rows(follower.ineq_theta, finite), level.theta_at, n),
            box[np.flatnonzero(high)], -box[np.flatnonzero(low)],
        ]),
        ineq_rhs=np.concatenate([
            leader.ineq_rhs, follower.ineq_rhs[finite], follower.theta_upper[high], -follower.theta_lower[low],
        ]),
    )  # fmt: skip
    found = QPSolver(both, "piqp", accept=_SHARP, polish=False, alone=True).solve()
    if not found.optimal:
        return None
    theta: Vector = np.clip(found.x[level.theta_at], follower.theta_lower, follower.theta_upper)
    return theta


def check_names(follower: ParametricQP, leader: ParametricQP) -> None:
    """Refuse a leader with parameters of its own or without the follower's parameters among its variables."""
    if leader.parameters:
        raise InputError(
            "the leader of a bilevel problem has parameters", key="leader", value=leader.parameters[0]
        )
    missing = [name for name in follower.parameters if name not in set(leader.variables)]
    if missing:
        raise InputError("a follower parameter is no variable of the leader", key="leader", value=missing[0])


@dataclass(frozen=True, slots=True)
class Point:
    """An answer of the relaxation: status, variables, objective, and for each pair the wish to leave its
    fixing.

    `wish` is positive where a fixed slack or dual would lower the objective by becoming positive.
    """

    status: str
    z: Vector
    objective: float
    wish: Vector


class Relaxation:
    """The single-level form made ready for many solves that differ in which pairs are decided.

    Attributes:
        level: the form.
        pairs: how many complementarities it has.
        cost: linear cost of its variables; may be changed between solves.
        solves: QPs solved so far.
    """

    def __init__(self, level: SingleLevel) -> None:
        self.level = level
        qp = level.qp
        self.pairs = len(level.follower.ineq_rows)
        self._put = place_rows(qp)
        self._form = full_form(qp.hessian, qp.eq_matrix, rows(qp.ineq_matrix, self._put.first_rows))
        self._limits, self._possible = two_sided(self._put, len(qp.variables), qp.eq_rhs, qp.ineq_rhs)
        self._envelope = None if level.products is None else Envelope(level.products, self._form)
        self._box: Box | None = None
        if level.products is not None and self._envelope is not None:
            self._box = level.products.remainder.root
            self._form = self._envelope.form(self._box)
        self._piqp = Piqp(self._form, _TOLERANCE)
        self.cost = qp.cost.copy()
        self.solves = 0

    @cached_property
    def follower_solver(self) -> QPSolver:
        """The follower alone. Its answers are sharpened: a pattern read off a blurred one often has an empty cell."""
        return QPSolver(self.level.follower)

    def solve(self, decisions: Decisions, *, box: Box | None = None, proof: bool = True) -> Point:
        """The optimum with these pairs decided; 'infeasible' and 'unbounded' are proved by two LPs.

        Args:
            decisions: what is decided of each pair.
            box: where parameters and rests lie, of a payment with products; the whole box if left out.
            proof: False where an answer other than an optimum is of no use; it is then 'failed', unproven.
        """
        self.solves += 1
        limits = self.limits(decisions, box)
        if (
            not self._possible
            or np.any(limits.lower > limits.upper)
            or np.any(limits.x_lower > limits.x_upper)
        ):
            return self._nothing("infeasible")
        cost = self.cost
        raw = self._piqp.solve(cost, None, limits)
        if raw.status != "optimal" and not proof:
            return self._nothing("failed")
        if raw.status != "optimal":
            verdict = self._verdict(cost, limits)
            if verdict != "bounded":
                return self._nothing(verdict)
            raw = Highs(self._form, _TOLERANCE, time_limit_s=10.0).solve(cost, None, limits)
            if raw.status != "optimal":
                return self._nothing("failed")
        z = raw.x
        value = float(cost @ z + 0.5 * z @ (self.level.qp.hessian @ z)) + self.level.qp.constant
        put, m = self._put, self.pairs
        is_row = put.kind[:m] == ROW
        net = np.where(
            is_row, _take(raw.rows, put.place[:m], is_row), _take(raw.bounds, put.place[:m], ~is_row)
        )
        wish = np.zeros(m)
        wish[decisions == SLACK_ZERO] = (-net / put.scale[:m])[decisions == SLACK_ZERO]
        wish[decisions == DUAL_ZERO] = raw.bounds[self.level.sigma_at][decisions == DUAL_ZERO]
        return Point("optimal", z, value, wish)

    def _verdict(self, cost: Vector, limits: Limits) -> str:
        """As `qp_backends.prove`; the linear program that shows an empty node is kept from node to node."""
        if self._envelope is None and self._flat.solve(np.zeros(len(cost)), None, limits).status == "infeasible":
            return "infeasible"
        return prove(self._form, cost, None, limits)

    @cached_property
    def _flat(self) -> Highs:
        n = len(self.cost)
        return Highs(full_form(sp.csc_array((n, n)), self._form.eq_matrix, self._form.row_matrix), _TOLERANCE)

    def violations(self, z: Vector, decisions: Decisions) -> Vector:
        """dual * slack of each undecided pair at z, (m,): what the payment is underestimated by."""
        level = self.level
        product: Vector = np.maximum(z[level.sigma_at], 0.0) * np.maximum(level.slack(z), 0.0)
        product[decisions != OPEN] = 0.0
        return product if level.products is None else product * level.products.remainder.share_sigma

    def errors(self, z: Vector) -> Vector:
        """(k,) by how much the product of each parameter with its rest is underestimated at z."""
        products = self.level.products
        return np.zeros(len(self.level.theta_at)) if products is None else products.errors(z)

    def root(self) -> Box | None:
        """The whole box, of a payment with products."""
        return None if self.level.products is None else self.level.products.remainder.root

    def tightened(self, decisions: Decisions, box: Box) -> Box | None:
        """The box drawn together to what rests can be where these pairs are decided, by two linear programs for each;
        None if nothing is left.
        """
        if self._envelope is None:
            return box
        products, wide = self._envelope.products, self._envelope.wide
        limits = self._envelope.boxed(self._decided(decisions), self.level.theta_at, box)
        low, high = box.low.copy(), box.high.copy()
        for k, at in zip(products.numbers.tolist(), products.rest_at.tolist(), strict=True):
            for sign, side, inner in ((1.0, low, max), (-1.0, high, min)):
                cost = np.zeros(len(self.cost))
                cost[at] = sign
                raw = wide.solve(cost, None, limits)
                if raw.status == "infeasible":
                    return None
                if raw.status == "optimal":
                    end = float(raw.x[at])
                    side[k] = inner(side[k], end - sign * _MARGIN * (1.0 + abs(end)))
        return None if np.any(low > high) else replace(box, low=low, high=high)

    def any_point(self, decisions: Decisions, box: Box | None = None) -> Vector | None:
        """A feasible point of small size where the relaxation has no lower end."""
        n, limits = len(self.level.qp.variables), self.limits(decisions, box)
        flat = full_form(sp.eye_array(n), self._form.eq_matrix, self._form.row_matrix)
        raw = Piqp(flat, 1e-8).solve(np.zeros(n), None, limits)
        return raw.x if raw.status == "optimal" else None

    def _decided(self, decisions: Decisions) -> Limits:
        """The limits of the two-sided form without products, with the decided pairs at zero."""
        base, put = self._limits, self._put
        lower, upper = base.lower.copy(), base.upper.copy()
        x_lower, x_upper = base.x_lower.copy(), base.x_upper.copy()
        x_upper[self.level.sigma_at[decisions == DUAL_ZERO]] = 0.0
        for i in np.flatnonzero((decisions == SLACK_ZERO) & (put.kind[: self.pairs] != NOTHING)):
            low, high = (lower, upper) if put.kind[i] == ROW else (x_lower, x_upper)
            at, side = put.place[i], self.level.follower.ineq_rhs[i] / put.scale[i]
            if put.scale[i] > 0:
                low[at] = max(low[at], side)
            else:
                high[at] = min(high[at], side)
        return Limits(base.eq_rhs, lower, upper, x_lower, x_upper)

    def limits(self, decisions: Decisions, box: Box | None = None) -> Limits:
        """The limits of the two-sided form with the decided pairs at zero; the form itself is brought to the box."""
        limits = self._decided(decisions)
        box = self.root() if box is None else box
        if self._envelope is None or box is None:
            return limits
        if box is not self._box:
            self._box, self._form = box, self._envelope.form(box)
            self._piqp.rows(self._form)
        return self._envelope.limits(limits, self.level.theta_at, box)

    def sharpen(self, decisions: Decisions) -> Vector | None:
        """The optimum of a wholly decided relaxation to full accuracy, as equations on the decided pairs."""
        qp = self.level.qp
        zero = np.flatnonzero(np.concatenate([decisions == SLACK_ZERO, decisions == DUAL_ZERO]))
        stay = np.setdiff1d(np.arange(len(qp.ineq_rows)), zero)
        decided = ParametricQP.build(
            hessian=qp.hessian,
            cost=self.cost,
            constant=qp.constant,
            eq_matrix=sp.vstack([qp.eq_matrix, rows(qp.ineq_matrix, zero)]),
            eq_rhs=np.concatenate([qp.eq_rhs, qp.ineq_rhs[zero]]),
            ineq_matrix=rows(qp.ineq_matrix, stay),
            ineq_rhs=qp.ineq_rhs[stay],
        )
        # A coarser answer is better here than a slow one from the solver of last resort: the certificate judges it.
        found = QPSolver(decided, "piqp", accept=_SHARP, alone=True).solve()
        return found.x if found.optimal else None

    def _nothing(self, status: str) -> Point:
        value = {"infeasible": np.inf, "unbounded": -np.inf}.get(status, np.nan)
        n = len(self.level.qp.variables)
        return Point(status, np.full(n, np.nan), value, np.zeros(self.pairs))


def _take(values: Vector, place: Indices, where: npt.NDArray[np.bool_]) -> Vector:
    out = np.zeros(len(place))
    out[where] = values[place[where]]
    return out


def _spread(matrix: Matrix, at: Indices, size: int) -> Matrix:
    """A matrix over some variables as one over all."""
    own = sp.csr_array(matrix)
    out = sp.csr_array((own.data.copy(), at[own.indices], own.indptr), shape=(own.shape[0], size))
    out.sort_indices()
    return out


def _spread_square(matrix: Matrix, at: Indices, size: int) -> Matrix:
    entries = sp.coo_array(matrix)
    row, column = entries.coords
    return sp.csr_array((entries.data, (at[row], at[column])), shape=(size, size))
