"""Lagrangian decomposition: a stronger bound for bilevel problems whose follower consists of blocks.

Give leader and follower a copy each of the parameters th and price their difference by mu:

    L(mu) = min over the leader's rows of  own cost + mu'th   +   sum over blocks b of  c_b(mu_b),
    c_b(mu_b) = min over the exact optimality conditions of block b of  payment_b - mu_b'th_b

For every mu, L(mu) is a lower bound, and at its best the bound is that of the convex hulls of all blocks, where
the relaxation of `relaxation` only has each block's convex relaxation. c_b is the value of a pricing problem, solved
exactly by `pricing`; mu moves by a proximal bundle method with one model per block (Kiwiel 1990; Frangioni 2002).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from cosim.optimization.bilevel.model.settlement import SettlementShares
from cosim.optimization.bilevel.model.single_level import SingleLevel
from cosim.optimization.bilevel.primal.region_search import RegionOptimum, RegionSearch
from cosim.optimization.bilevel.settings import DEFAULT, SearchSettings
from cosim.optimization.bilevel.tree.cache import SearchCache
from cosim.optimization.bilevel.tree.columns import Column, Mixture, excluded
from cosim.optimization.bilevel.tree.domain import BlockDomain, Domain
from cosim.optimization.bilevel.tree.pricing import PricingProblem
from cosim.optimization.qp.arrays import Vector, csr, rows
from cosim.optimization.qp.blocks import Block
from cosim.optimization.qp.conflicts import Conflicts
from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.qp.two_sided import Limits, full_form, place_rows, two_sided
from cosim.optimization.solvers.backends import Highs, Piqp
from cosim.optimization.solvers.contract import Backend

_TOLERANCE = 1e-8
_LEADER_TOLERANCE = 1e-9
_SAME = 1e-9
_ZERO = 1e-7


@dataclass(frozen=True, slots=True)
class Step:
    """A step that the cutting-plane model of all blocks proposes.

    Attributes:
        mu: the next multipliers.
        value: what the model promises for L(mu).
        theta: the leader's parameters.
        mixtures: for each block the combination of its columns.
        apart: (k,) by how much the leader's parameters exceed those of the mixtures.
    """

    mu: Vector
    value: float
    theta: Vector
    mixtures: list[Mixture]
    apart: Vector


class Decomposition:
    """The Lagrangian function of one single-level form and the model of it; make it with `decompose`.

    Args:
        level: the whole problem.
        pricing: pricing problems of its blocks, each parameter in exactly one.
        home: for each of them its place among the blocks of the region search.
        settings: of the search.

    Attributes:
        level, pricing, home: see above.
        columns: the points found so far, block by block.
        minima: bounds of the blocks' minima at the multipliers asked for last.
        width: mean width of the parameters' box.
    """

    def __init__(
        self,
        level: SingleLevel,
        pricing: Sequence[PricingProblem],
        home: Sequence[int],
        settings: SearchSettings = DEFAULT,
    ) -> None:
        self.level, self.pricing, self.home, self._settings = level, tuple(pricing), tuple(home), settings
        leader, follower = level.leader, level.follower
        place = {name: i for i, name in enumerate(leader.variables)}
        self._at = np.array([place[name] for name in follower.parameters], dtype=np.int64)
        self.columns: list[list[Column]] = [[] for _ in self.pricing]
        self.minima = np.full(len(self.pricing), -np.inf)
        eye = sp.eye_array(len(leader.variables), format="csr")
        matrix = sp.vstack([leader.ineq_matrix, eye[self._at], -eye[self._at]])
        rhs = np.concatenate([leader.ineq_rhs, follower.theta_upper, -follower.theta_lower])
        self._leader = ParametricQP.build(
            hessian=leader.hessian,
            cost=leader.cost,
            constant=leader.constant,
            eq_matrix=leader.eq_matrix,
            eq_rhs=leader.eq_rhs,
            ineq_matrix=matrix,
            ineq_rhs=rhs,
        )
        put = place_rows(self._leader)
        self._limits, _ = two_sided(put, len(leader.variables), leader.eq_rhs, rhs)
        self._rows = rows(self._leader.ineq_matrix, put.first_rows)
        # The model has only the leader's own limits, without the box, which the columns keep.
        own = place_rows(leader)
        self._own_limits, _ = two_sided(own, len(leader.variables), leader.eq_rhs, leader.ineq_rhs)
        self._own_rows = rows(leader.ineq_matrix, own.first_rows)
        self.width = max(float(np.mean(follower.theta_upper - follower.theta_lower)), 1e-9)
        form = full_form(leader.hessian, leader.eq_matrix, self._rows)
        # Of a linear program only the cost changes, so that the simplex method starts from the last basis.
        curved = bool(leader.hessian.count_nonzero())
        self._alone: Backend = Piqp(form, _LEADER_TOLERANCE) if curved else Highs(form, _LEADER_TOLERANCE)

    @property
    def size(self) -> int:
        """Columns known so far."""
        return sum(map(len, self.columns))

    def first_step(self, mu: Vector) -> float:
        """Change of mu per difference of parameters from which the proximal term starts."""
        return self._settings.first_step * max(float(np.mean(np.abs(mu))), 1e-6) / self.width

    def evaluate(
        self,
        mu: Vector,
        domain: Domain,
        enough: float,
        deadline: float = np.inf,
        suffices: float = np.inf,
    ) -> float | None:
        """L(mu) of a domain, and a new column of every block.

        Args:
            mu: (k,) multipliers in the order of the follower's parameters.
            domain: of the node.
            enough: how far each block's part may stay below its minimum.
            deadline: `time.perf_counter()` after which blocks return the bounds they have.
            suffices: a bound at which to stop, before all blocks are at their minima.

        Returns:
            The bound; infinite if leader or a block has no point; None if one could not be minimised.
        """
        total = self._leader_cost(mu)
        if total is None:
            return None
        asked = self.parts(domain)
        # Branching changes the domain of one block, which is new: the others come first, to know what bound suffices.
        order = sorted(range(len(asked)), key=lambda b: not self.pricing[b].knows(asked[b]))
        for b in order:
            problem = self.pricing[b]
            price = mu[problem.parameters]
            fit = [c for c in self.columns[b] if problem.lies_in(c, asked[b])]
            sure = (c for c in fit if not c.underestimated)
            known = min(sure, key=lambda c: c.payment - float(price @ c.theta), default=None)
            most = suffices - total if b == order[-1] and self._settings.stop_pricing_early else np.inf
            found = problem.minimise(price, asked[b], enough, known, deadline, most)
            if found is None:
                return None
            self.minima[b] = found.bound
            total += found.bound
            if total == np.inf:
                return total
            self._raise(b, fit, price, found.bound)
            if found.column is not None and found.column is not known:
                self._add(b, found.column)
        return total

    def parts(self, domain: Domain) -> list[BlockDomain]:
        """The domain of each block."""
        return [domain.part(b, problem.rows, problem.parameters) for b, problem in enumerate(self.pricing)]

    def divide(self, domain: Domain, number: int, direction: Vector, at: float) -> list[Domain] | None:
        """Two domains that cover this one, each with a block confined to some leaves of its pricing problem."""
        problem = self.pricing[number]
        found = problem.divide(domain.part(number, problem.rows, problem.parameters), direction, at)
        return None if found is None else [domain.within(number, cell) for cell in found]

    def prune(self, mu: Vector, missing: float) -> int:
        """Remove leaves that no point has which costs less than L(mu) + `missing`; how many those were.

        A point costs at least L(mu), and where one of its blocks is not at its minimum at least by that much more. To
        be asked right after `evaluate` at these multipliers with nothing decided.
        """
        gone = 0
        for b, problem in enumerate(self.pricing):
            price, most = mu[problem.parameters], float(self.minima[b]) + missing
            gone += problem.prune(price, most)
            self.columns[b] = [c for c in self.columns[b] if c.payment - float(price @ c.theta) < most]
        return gone

    def take(self, optimum: RegionOptimum, regions: RegionSearch) -> Vector:
        """Add a point of the whole problem as columns; the multipliers (k,) at which it is optimal."""
        mu = np.zeros(len(self._at))
        theta = regions.theta(optimum.y)
        z, _ = regions.point(optimum)
        slack, dual = self.level.slack(z), z[self.level.sigma_at]
        rest = self.level.rest(z)
        mu += optimum.bounds[self._at]
        loose = dual <= _ZERO * (1.0 + np.abs(dual).max(initial=0.0))
        binding = slack <= _ZERO * (1.0 + np.abs(self.level.follower.ineq_rhs))
        for b, (problem, home) in enumerate(zip(self.pricing, self.home, strict=True)):
            region, at = optimum.regions[home], theta[problem.parameters]
            mu[problem.parameters] += region.hessian @ at + region.linear + region.matrix.T @ optimum.multipliers[home]
            mine = None if rest is None else rest[problem.parameters]
            broken = excluded(loose[problem.rows], binding[problem.rows])
            self._add(b, Column(at, region.payment(at), broken, mine))
        return mu

    def _add(self, b: int, new: Column) -> None:
        """Keep a column unless there is one at its parameters that is no dearer and keeps every decision it keeps."""
        most = new.payment + _SAME * (1.0 + abs(new.payment))
        for c in self.columns[b]:
            if c.payment <= most and np.abs(c.theta - new.theta).max(initial=0.0) < _SAME and c.covers(new):
                return
        self.columns[b].append(new)

    def _raise(self, b: int, fit: Sequence[Column], price: Vector, bound: float) -> None:
        """Raise the payment of columns to what the block's least payment at these multipliers proves."""
        raised = {
            id(c): replace(c, payment=bound + float(price @ c.theta))
            for c in fit
            if c.payment - float(price @ c.theta) < bound
        }
        if raised:
            self.columns[b] = [raised.get(id(c), c) for c in self.columns[b]]

    def _leader_cost(self, mu: Vector) -> float | None:
        """The leader's least own cost + mu'th; infinite if it has no point, None if it could not be found."""
        leader, put = self._leader, self._limits
        cost = leader.cost.copy()
        np.add.at(cost, self._at, mu)
        raw = self._alone.solve(cost, None, put)
        if raw.status != "optimal":
            return np.inf if raw.status == "infeasible" else None
        return float(cost @ raw.x + 0.5 * raw.x @ (leader.hessian @ raw.x)) + leader.constant

    def propose(self, center: Vector, step: float, domain: Domain) -> Step | None:
        """The leader against mixtures of the blocks' columns, with a quadratic penalty on their difference."""
        leader, k = self._leader, len(self._at)
        n = len(leader.cost)
        columns = [
            [c for c in mine if problem.lies_in(c, part)]
            for problem, mine, part in zip(self.pricing, self.columns, self.parts(domain), strict=True)
        ]
        count = sum(map(len, columns))
        mixture, member, paid = self._mixtures(columns)
        pick = sp.csr_array((np.ones(k), (np.arange(k), self._at)), shape=(k, n))
        form = full_form(
            sp.block_diag([leader.hessian, sp.csr_array((count, count)), step * sp.eye_array(k)]),
            csr(sp.block_array([
                [leader.eq_matrix, sp.csr_array((len(leader.eq_rhs), count)), None],
                [None, member, sp.csr_array((member.shape[0], k))],
                [pick, -mixture, -sp.eye_array(k)],
            ]), (0, 0)),
            csr(sp.hstack([self._own_rows, sp.csr_array((self._own_rows.shape[0], count + k))]), (0, 0)),
        )  # fmt: skip
        base, open_end = self._own_limits, np.full(k, np.inf)
        limits = Limits(
            np.concatenate([leader.eq_rhs, np.ones(member.shape[0]), np.zeros(k)]),
            base.lower,
            base.upper,
            np.concatenate([base.x_lower, np.zeros(count), -open_end]),
            np.concatenate([base.x_upper, np.full(count + k, np.inf)]),
        )
        cost = np.concatenate([leader.cost, paid, center])
        raw = Piqp(form, _TOLERANCE, verdicts=False).solve(cost, None, limits)
        if raw.status != "optimal":
            return None
        y, weights, difference = raw.x[:n], raw.x[n : n + count], raw.x[n + count :]
        mu = center + step * difference
        own = float(leader.cost @ y + 0.5 * y @ (leader.hessian @ y) + mu @ y[self._at]) + leader.constant
        value, mixtures, first = own, [], 0
        for problem, mine in zip(self.pricing, columns, strict=True):
            at = mu[problem.parameters]
            value += min((c.payment - float(at @ c.theta) for c in mine), default=np.inf)
            mixtures.append(Mixture.of(mine, weights[first : first + len(mine)]))
            first += len(mine)
        return Step(mu, value, y[self._at], mixtures, difference)

    def _mixtures(self, columns: list[list[Column]]) -> tuple[sp.csr_array, sp.csr_array, Vector]:
        """Parameters of each column (k, columns), membership (blocks with columns, columns), and payments."""
        count = sum(map(len, columns))
        at_row, at_column, value = [], [], []
        block: list[int] = []
        paid: npt.NDArray[np.float64] = np.array([c.payment for mine in columns for c in mine])
        for b, (problem, mine) in enumerate(zip(self.pricing, columns, strict=True)):
            for c in mine:
                at_row.append(problem.parameters)
                at_column.append(np.full(len(c.theta), len(block)))
                value.append(c.theta)
                block.append(b)
        shape = (len(self._at), count)
        if not count:
            return sp.csr_array(shape), sp.csr_array((0, 0)), paid
        mixture = sp.csr_array(
            (np.concatenate(value), (np.concatenate(at_row), np.concatenate(at_column))), shape=shape
        )
        member = sp.csr_array((np.ones(count), (block, np.arange(count))), shape=(len(columns), count))
        return mixture, member, paid


def decompose(
    level: SingleLevel, regions: RegionSearch, cache: SearchCache | None = None, settings: SearchSettings = DEFAULT
) -> Decomposition | None:
    """The decomposition of a problem; None where it does not apply.

    It needs a search over critical regions, at least two blocks, and a bounded box. Blocks without parameters are left
    out, because nothing is paid for them.
    """
    follower = level.follower
    bounded = np.all(np.isfinite(follower.theta_lower)) and np.all(np.isfinite(follower.theta_upper))
    blocks = [regions_of.block for regions_of in regions.blocks]
    rows_known = sum(len(block.ineq_rows) for block in blocks) == len(follower.ineq_rows)
    if len(blocks) < 2 or not bounded or not rows_known or not settings.decompose:
        return None
    home = [b for b, block in enumerate(blocks) if len(block.parameters)]
    constants = [follower.constant_theta[blocks[b].parameters] for b in home]
    together = Conflicts(follower)
    pricing = [
        PricingProblem(blocks[b], constant, regions.blocks[b], _part(level, blocks[b]), settings, together)
        if level.products is not None or cache is None
        else cache.pricing(blocks[b], constant, regions.blocks[b])
        for b, constant in zip(home, constants, strict=True)
    ]
    return Decomposition(level, pricing, home, settings)


def _part(level: SingleLevel, block: Block) -> SettlementShares | None:
    if level.products is None:
        return None
    return level.products.shares.part(block.variables, block.eq_rows, block.ineq_rows, block.parameters)
