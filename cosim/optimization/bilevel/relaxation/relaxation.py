"""The single-level form of a bilevel problem with some of its complementarities decided, and solved.

Deciding a pair (dual sigma_i, slack s_i) fixes one of the two to zero; the pairs left open are left out, so that the
optimum is a lower bound of the bilevel problem.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from cosim.optimization.bilevel.model.mccormick import Envelope
from cosim.optimization.bilevel.model.settlement import Box
from cosim.optimization.bilevel.model.single_level import SingleLevel
from cosim.optimization.bilevel.settings import DEFAULT, SearchSettings
from cosim.optimization.qp.arrays import Indices, Vector, rows
from cosim.optimization.qp.conflicts import Conflicts
from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.qp.two_sided import BOUND, ROW, Limits, full_form, place_rows, two_sided
from cosim.optimization.solvers.backends import Highs, Piqp, make_backend, prove
from cosim.optimization.solvers.qp_solver import QPSolver

Decisions = npt.NDArray[np.int8]
OPEN, DUAL_ZERO, SLACK_ZERO = 0, 1, 2
_TOLERANCE = 1e-9
_SHARP = 1e-7
_MARGIN = 1e-7
_LAST_RESORT_S = 1.0


def both(decisions: Decisions, pair: int) -> list[Decisions]:
    """The decisions with one more pair decided, one way and the other."""
    out = [decisions.copy(), decisions.copy()]
    out[0][pair], out[1][pair] = DUAL_ZERO, SLACK_ZERO
    return out


@dataclass(frozen=True, slots=True)
class Point:
    """An answer of the relaxation.

    Attributes:
        status: 'optimal', 'infeasible', 'unbounded' or 'failed'.
        z, objective: variables and objective.
        fixing_gain: (m,) positive where a fixed slack or dual would lower the objective by becoming positive.
        reduced_cost: (k,) of the parameters.
        short: how far the objective may lie below the optimum.
    """

    status: str
    z: Vector
    objective: float
    fixing_gain: Vector
    reduced_cost: Vector | None = None
    short: float = 0.0


class Relaxation:
    """The single-level form without complementarity, solved for many sets of decided pairs.

    Args:
        level, settings: see below.
        beside: for each row of the follower those that cannot bind together with it, where somebody knows them.

    Attributes:
        level: the form.
        settings: of the search.
        pairs: how many complementarities it has.
        cost: linear cost of its variables; may be changed between solves.
        solves: QPs solved so far.
    """

    def __init__(
        self,
        level: SingleLevel,
        settings: SearchSettings = DEFAULT,
        beside: Callable[[], list[Indices]] | None = None,
    ) -> None:
        self.level, self.settings, self._known_beside = level, settings, beside
        qp = level.qp
        self.pairs = len(level.follower.ineq_rows)
        self._put = place_rows(qp)
        self._form = full_form(qp.hessian, qp.eq_matrix, rows(qp.ineq_matrix, self._put.first_rows))
        self._limits, self._possible = two_sided(self._put, len(qp.variables), qp.eq_rhs, qp.ineq_rhs)
        self._envelope = None if level.products is None else Envelope(level.products, self._form)
        self._box: Box | None = None
        if level.products is not None and self._envelope is not None:
            self._box = level.products.shares.root
            self._form = self._envelope.form(self._box)
        self._piqp = Piqp(self._form, _TOLERANCE)
        self.cost = qp.cost.copy()
        self.solves = 0

    @property
    def first_rows(self) -> Indices:
        """The inequalities of the form that are rows of its two-sided form."""
        return self._put.first_rows

    @cached_property
    def follower_solver(self) -> QPSolver:
        """The follower alone. Its answers are sharpened: a pattern read off a blurred one often has an empty cell."""
        return QPSolver(self.level.follower)

    @cached_property
    def _beside(self) -> list[Indices]:
        """For each row those that cannot bind together with it."""
        if not self.settings.conflicts:
            return [np.zeros(0, dtype=np.int64)] * self.pairs
        if self._known_beside is not None:
            return self._known_beside()
        return Conflicts(self.level.follower).beside(np.arange(self.pairs))

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
        return self._answer(decisions, limits, proof)

    def _answer(self, decisions: Decisions, limits: Limits, proof: bool) -> Point:
        """As `solve`, within limits that do not contradict each other at once."""
        cost = self.cost
        raw = self._piqp.solve(cost, None, limits)
        if raw.status != "optimal" and not proof:
            return self._nothing("failed")
        if raw.status != "optimal":
            verdict = self._verdict(cost, limits)
            if verdict != "bounded":
                return self._nothing(verdict)
            raw = Piqp(self._form, _TOLERANCE, verdicts=False).solve(cost, None, limits)
        if raw.status != "optimal":
            raw = make_backend("clarabel", self._form, _TOLERANCE).solve(cost, None, limits)
        if raw.status != "optimal":
            raw = Highs(self._form, _TOLERANCE, time_limit_s=_LAST_RESORT_S).solve(cost, None, limits)
            if raw.status != "optimal":
                return self._nothing("failed")
        z = raw.x
        value = float(cost @ z + 0.5 * z @ (self.level.qp.hessian @ z)) + self.level.qp.constant
        put, m = self._put, self.pairs
        is_row = put.kind[:m] == ROW
        net = np.where(
            is_row, _take(raw.rows, put.place[:m], is_row), _take(raw.bounds, put.place[:m], ~is_row)
        )
        fixing_gain = np.zeros(m)
        fixing_gain[decisions == SLACK_ZERO] = (-net / put.scale[:m])[decisions == SLACK_ZERO]
        fixing_gain[decisions == DUAL_ZERO] = raw.bounds[self.level.sigma_at][decisions == DUAL_ZERO]
        return Point("optimal", z, value, fixing_gain, -raw.bounds[self.level.theta_at])

    def _verdict(self, cost: Vector, limits: Limits) -> str:
        """As `backends.prove`; the linear program that proves infeasibility is re-solved from node to node."""
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
        return product if level.products is None else product * level.products.shares.share_sigma

    def errors(self, z: Vector) -> Vector:
        """(k,) by how much the product of each parameter with its rest is underestimated at z."""
        products = self.level.products
        return np.zeros(len(self.level.theta_at)) if products is None else products.errors(z)

    def root(self) -> Box | None:
        """The whole box, of a payment with products."""
        return None if self.level.products is None else self.level.products.shares.root

    def tightened(self, decisions: Decisions, box: Box) -> Box | None:
        """The box drawn together to what rests can be where these pairs are decided, by two linear programs for each;
        None if nothing is left.
        """
        if self._envelope is None:
            return box
        products, wide = self._envelope.products, self._envelope.wide
        limits = self._envelope.boxed(self.decided(decisions), self.level.theta_at, box)
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

    def decided(self, decisions: Decisions) -> Limits:
        """The limits of the two-sided form without products' rows, with the decided pairs at zero."""
        base, put = self._limits, self._put
        lower, upper = base.lower.copy(), base.upper.copy()
        x_lower, x_upper = base.x_lower.copy(), base.x_upper.copy()
        x_upper[self.level.sigma_at[decisions == DUAL_ZERO]] = 0.0
        binding = np.flatnonzero(decisions == SLACK_ZERO)
        if len(binding):
            beside = np.concatenate([self._beside[i] for i in binding])
            x_upper[self.level.sigma_at[beside]] = 0.0
            if np.any(decisions[beside] == SLACK_ZERO):
                # Two that cannot bind together: nothing is left.
                x_upper[self.level.sigma_at[beside]] = -1.0
            # Of the rows at one place one at most is its upper side, and one its lower side.
            kind, place, scale = put.kind[binding], put.place[binding], put.scale[binding]
            side, rising, is_row = self.level.follower.ineq_rhs[binding] / scale, scale > 0, kind == ROW
            for there, low, high in ((is_row, lower, upper), (kind == BOUND, x_lower, x_upper)):
                up, down = there & rising, there & ~rising
                low[place[up]] = np.maximum(low[place[up]], side[up])
                high[place[down]] = np.minimum(high[place[down]], side[down])
        return Limits(base.eq_rhs, lower, upper, x_lower, x_upper)

    def limits(self, decisions: Decisions, box: Box | None = None) -> Limits:
        """The limits of the two-sided form with the decided pairs at zero; the form itself is brought to the box."""
        limits = self.decided(decisions)
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
