"""Local search over critical regions: with one region per block the problem is a convex QP in the leader's variables.

It minimises own cost + sum of the regions' payments over the leader's rows and the regions' facets. The search moves
to neighbouring regions across facets whose multipliers are positive.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from cosim.optimization.bilevel.model.single_level import SingleLevel
from cosim.optimization.bilevel.primal.critical_regions import CriticalRegion, CriticalRegions
from cosim.optimization.bilevel.relaxation.relaxation import DUAL_ZERO, SLACK_ZERO, Decisions
from cosim.optimization.bilevel.settings import DEFAULT, SearchSettings
from cosim.optimization.qp.arrays import Indices, Vector, rows
from cosim.optimization.qp.blocks import Block, split
from cosim.optimization.qp.two_sided import Limits, full_form, place_rows, two_sided
from cosim.optimization.solvers.backends import Piqp

_TOLERANCE = 1e-9
_BETTER = 1e-8
_NO_MULTIPLIER = 1e-6
_SETTLED = 1e-6


@dataclass(frozen=True, slots=True)
class RegionOptimum:
    """The optimum with one critical region per block.

    Attributes:
        regions: one per block.
        cost: the leader's whole cost.
        y: the leader's variables.
        multipliers: per block, of the facets of its region.
        bounds: those of the leader's variables' bounds, of upper ones less those of lower ones.
    """

    regions: tuple[CriticalRegion, ...]
    cost: float
    y: Vector
    multipliers: tuple[Vector, ...]
    bounds: Vector


class RegionSearch:
    """The critical regions of all blocks, and the leader's problem over them; make it with `region_search`.

    Args:
        level: the problem.
        blocks: of the follower.
        least: relative improvement below which the search does not go on.
    """

    def __init__(
        self, level: SingleLevel, blocks: Sequence[CriticalRegions], least: float, settings: SearchSettings = DEFAULT
    ) -> None:
        leader, follower = level.leader, level.follower
        place = {name: i for i, name in enumerate(leader.variables)}
        self._level, self.blocks, self._least, self._settings = level, tuple(blocks), least, settings
        self._whole = level.products is None
        at = np.array([place[name] for name in follower.parameters], dtype=np.int64)
        self._at = [at[block.block.parameters] for block in self.blocks]
        put = place_rows(leader)
        self._rows, self._eq_rows = rows(leader.ineq_matrix, put.first_rows), leader.eq_matrix
        self._limits, self._possible = two_sided(put, len(leader.variables), leader.eq_rhs, leader.ineq_rhs)
        low, high = self._limits.x_lower.copy(), self._limits.x_upper.copy()
        low[at], high[at] = np.maximum(low[at], follower.theta_lower), np.minimum(high[at], follower.theta_upper)
        self._low, self._high = low, np.maximum(low, high)
        self._tried: set[tuple[int, ...]] = set()

    def at(self, theta: Vector) -> tuple[CriticalRegion, ...] | None:
        """One region per block at these parameters of the whole follower; None if a block has none to offer."""
        found = [block.at(theta[block.block.parameters]) for block in self.blocks]
        return None if any(region is None for region in found) else tuple(p for p in found if p is not None)

    def theta(self, y: Vector) -> Vector:
        """The follower's parameters among the leader's variables."""
        out = np.zeros(len(self._level.follower.parameters))
        for block, at in zip(self.blocks, self._at, strict=True):
            out[block.block.parameters] = y[at]
        return out

    def solve(self, regions: Sequence[CriticalRegion], patient: bool = True) -> RegionOptimum | None:
        """The best point with these regions; None if they have no common point.

        Args:
            patient: whether a tolerance a thousand times coarser is tried where the solver does not converge.
        """
        leader, n = self._level.leader, len(self._level.leader.variables)
        cost, entries, squares, concave = leader.cost.copy(), [], [], []
        first = 0
        for region, at in zip(regions, self._at, strict=True):
            cost[at] += region.linear
            size, count = len(at), len(region.rhs)
            curved, off = (region.hessian, None) if self._whole else region.convex()
            if off is not None:
                concave.append((off, at))
            squares.append((curved.ravel(), np.repeat(at, size), np.tile(at, size)))
            entries.append((region.matrix.ravel(), np.repeat(first + np.arange(count), size), np.tile(at, count)))
            first += count
        hessian = leader.hessian + _gather(squares, (n, n))
        matrix = sp.vstack([self._rows, _gather(entries, (first, n))])
        upper = np.concatenate([self._limits.upper, *(region.rhs for region in regions)])
        lower = np.concatenate([self._limits.lower, np.full(first, -np.inf)])
        limits = Limits(leader.eq_rhs, lower, upper, self._low, self._high)
        form = full_form(hessian, self._eq_rows, matrix)
        solver = Piqp(form, _TOLERANCE, patient=patient)
        raw = solver.solve(cost, None, limits)
        if raw.status != "optimal":
            return None
        for _ in range(self._settings.concave_rounds if concave else 0):
            # A tangent is an upper bound of a concave function, so that no step raises the cost.
            tangent = cost.copy()
            for off, at in concave:
                tangent[at] -= off @ raw.x[at]
            again = solver.solve(tangent, None, limits)
            if again.status != "optimal" or np.abs(again.x - raw.x).max() <= _SETTLED:
                break
            raw = again
        value = float(cost @ raw.x + 0.5 * raw.x @ (hessian @ raw.x)) + leader.constant
        value -= sum(0.5 * float(raw.x[at] @ (off @ raw.x[at])) for off, at in concave)
        ends = self._rows.shape[0] + np.cumsum([0, *(len(region.rhs) for region in regions)])
        multipliers = tuple(raw.rows[start:end] for start, end in itertools.pairwise(ends.tolist()))
        return RegionOptimum(tuple(regions), value, raw.x, multipliers, raw.bounds)

    def descend(
        self,
        start: Sequence[CriticalRegion],
        deadline: float,
        others: Sequence[Sequence[CriticalRegion]] = (),
        known: float = np.inf,
    ) -> RegionOptimum | None:
        """Move from one choice of regions to better ones until no neighbour is; no choice is tried twice.

        Args:
            start: one region per block.
            deadline: `time.perf_counter()` at which to stop.
            others: per block, further regions to try.
            known: cost of an optimum whose neighbours are known; the search does not go on from one of the same cost.
        """
        best = self._new(start, patient=True)
        if best is None or abs(best.cost - known) <= self._enough(best.cost):
            return best
        return self.onward(best, deadline, others)

    def onward(
        self, best: RegionOptimum, deadline: float, others: Sequence[Sequence[CriticalRegion]] = ()
    ) -> RegionOptimum:
        """Search on from an optimum; see `descend`."""
        for _ in range(self._settings.descent_steps):
            better = self._step(best, others, deadline)
            if better is None:
                return best
            best = better
        return best

    def _step(
        self, now: RegionOptimum, others: Sequence[Sequence[CriticalRegion]], deadline: float
    ) -> RegionOptimum | None:
        """The first better neighbour: all blocks moved across a facet together, then one block at a time."""
        if time.perf_counter() > deadline:
            return None
        least = self._enough(now.cost)
        every = range(len(self.blocks)) if self._settings.move_together else ()
        strongest = [move for b in every for move in self._moves(now, b, 1)]
        together = list(now.regions)
        for _, b, region in strongest:
            together[b] = region
        if len(strongest) > 1 and sum(gain for gain, _, _ in strongest) < -least:
            found = self._new(together)
            if found is not None and found.cost < now.cost - least:
                return found
        given = others if others else [()] * len(self.blocks)
        moves = [move for b, more in enumerate(given) for move in self._moves(now, b, None, more)]
        for gain, b, region in sorted(moves, key=lambda move: move[0])[: self._settings.single_moves]:
            if gain >= -least or time.perf_counter() > deadline:
                return None
            single = list(now.regions)
            single[b] = region
            found = self._new(single)
            if found is not None and found.cost < now.cost - least:
                return found
        return None

    def _enough(self, cost: float) -> float:
        """A difference of costs that is worth a step."""
        return max(self._least, _BETTER) * max(1.0, abs(cost))

    def _new(self, regions: Sequence[CriticalRegion], patient: bool = False) -> RegionOptimum | None:
        """The best point with these regions, unless they were tried before."""
        key = tuple(id(region) for region in regions)
        if key in self._tried:
            return None
        self._tried.add(key)
        return self.solve(regions, patient)

    def _moves(
        self, now: RegionOptimum, b: int, most: int | None, others: Sequence[CriticalRegion] = ()
    ) -> list[tuple[float, int, CriticalRegion]]:
        """Other regions for one block, each with a bound of what it changes the cost by (see `_change`).

        Args:
            most: how many facets to cross, those with the largest multipliers; None for all.
            others: further regions.
        """
        block, region, theta, multipliers = self.blocks[b], now.regions[b], now.y[self._at[b]], now.multipliers[b]
        found = []
        for row in np.argsort(-multipliers, kind="stable")[:most].tolist():
            if multipliers[row] <= _NO_MULTIPLIER * max(1.0, float(multipliers.max())):
                break
            found.append(block.across(region, row, theta))
        different = {id(other): other for other in (*found, *others) if other is not None and other is not region}
        return [(self._change(now, b, other), b, other) for other in different.values()]

    def _change(self, now: RegionOptimum, b: int, other: CriticalRegion) -> float:
        """A lower bound of the change of the cost when a block takes another region.

        At the multipliers mu that hold the optimum, the leader minimises own cost + mu'th, and each block minimises
        payment - mu'th. With another region only the minimum of its block changes.
        """
        region, at = now.regions[b], self._at[b]
        theta = now.y[at]
        mu = region.hessian @ theta + region.linear + region.matrix.T @ now.multipliers[b]
        if not self._whole or not self._settings.screen_moves:  # not convex
            return float(other.payment(theta) - region.payment(theta) - 0.1 * now.multipliers[b].max(initial=0.0))
        return other.least(mu, self._low[at], self._high[at]) - float(region.payment(theta) - mu @ theta)

    def point(self, optimum: RegionOptimum) -> tuple[Vector, Decisions]:
        """All variables of the single-level form at an optimum, and its decisions."""
        level, follower = self._level, self._level.follower
        x, nu, sigma = (np.zeros(len(of)) for of in (follower.variables, follower.eq_rows, follower.ineq_rows))
        decisions = np.full(len(sigma), DUAL_ZERO, dtype=np.int8)
        for block, region, at in zip(self.blocks, optimum.regions, self._at, strict=True):
            answer = region.answer @ optimum.y[at] + region.answer_at
            of, n, p = block.block, len(block.block.variables), len(block.block.eq_rows)
            x[of.variables], nu[of.eq_rows] = answer[:n], answer[n : n + p]
            binding = of.ineq_rows[region.binding]
            sigma[binding] = np.maximum(answer[n + p :], 0.0)
            decisions[binding] = SLACK_ZERO
        z = np.zeros(len(level.qp.variables))
        z[level.x_at], z[level.nu_at], z[level.sigma_at], z[level.leader_at] = x, nu, sigma, optimum.y
        return level.complete(z), decisions


def region_search(
    level: SingleLevel,
    *,
    payment: bool,
    least: float = 0.0,
    known: Callable[[Block, Vector], CriticalRegions] | None = None,
    settings: SearchSettings = DEFAULT,
) -> RegionSearch | None:
    """The search over critical regions of a problem; None where it does not apply.

    It needs a payment, a leader that does not name follower variables, each parameter in a block, and blocks small
    enough for dense algebra.

    Args:
        known: what gives the critical regions of a block (and the constant of its parameters), as found so far.
    """
    follower, leader = level.follower, level.leader
    if not payment or set(leader.variables) & set(follower.variables) or not np.all(np.isfinite(follower.ineq_rhs)):
        return None
    parts = split(follower, by_parameter=True)
    if sum(len(part.parameters) for part in parts) != len(follower.parameters):
        return None
    constants = [follower.constant_theta[part.parameters] for part in parts]
    if level.products is not None:
        settlements = [level.settlement.part(part.eq_rows, part.ineq_rows, part.parameters) for part in parts]
        blocks = [CriticalRegions(*one, settings) for one in zip(parts, constants, settlements, strict=True)]
    else:
        blocks = [
            CriticalRegions(part, constant, settings=settings) if known is None else known(part, constant)
            for part, constant in zip(parts, constants, strict=True)
        ]
    return RegionSearch(level, blocks, least, settings) if all(block.usable for block in blocks) else None


def _gather(parts: Sequence[tuple[Vector, Indices, Indices]], shape: tuple[int, int]) -> sp.csr_array:
    if not parts:
        return sp.csr_array(shape)
    value = np.concatenate([part[0] for part in parts])
    row, column = (np.concatenate([part[i] for part in parts]) for i in (1, 2))
    return sp.csr_array((value, (row, column)), shape=shape)
