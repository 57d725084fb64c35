"""Points of a bilevel problem: the best one so far, and the searches that look for better ones near given parameters.

Where the follower has critical regions (see `region_search`) the search moves over them. Otherwise: clear the follower,
decide every pair as that answer does, solve the relaxation so decided (a cell: its optimum is a point of the bilevel
problem, the best with this pattern), and walk to neighbouring cells.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from cosim.optimization.bilevel.model.settlement import settled_at
from cosim.optimization.bilevel.primal.critical_regions import CriticalRegion
from cosim.optimization.bilevel.primal.region_search import RegionOptimum, RegionSearch
from cosim.optimization.bilevel.relaxation.relaxation import DUAL_ZERO, OPEN, SLACK_ZERO, Decisions, Point, Relaxation
from cosim.optimization.qp.arrays import Vector
from cosim.optimization.qp.parametric import selector
from cosim.optimization.qp.transform import with_rows
from cosim.optimization.solvers.dual_face import DualFace
from cosim.optimization.solvers.qp_solver import QPSolver

_ZERO = 1e-7
_TOUCH = 1e-5
_BETTER = 1e-9


class Incumbents:
    """The best point of one problem.

    Args:
        relaxation: of the problem.
        payment: whether the leader pays.
        regions: search over the critical regions of the follower, where there is one.
        deadline: `time.perf_counter()` after which no search begins.

    Attributes:
        best: cost of the best point; infinite as long as there is none.
        z: all variables of the single-level form there.
        decisions: its pattern.
        optimum: the best point of the search over critical regions, which may be another one than `z`.
        exact: whether `z` comes from that search, to the accuracy of linear algebra.
    """

    def __init__(self, relaxation: Relaxation, *, payment: bool, regions: RegionSearch | None, deadline: float) -> None:
        self._relaxation, self._payment, self.regions, self._deadline = relaxation, payment, regions, deadline
        self._seen: set[bytes] = set()
        self.best = np.inf
        self.z: Vector | None = None
        self.decisions: Decisions | None = None
        self.optimum: RegionOptimum | None = None
        self.exact = False

    def near(self, theta: Vector, others: Sequence[Sequence[CriticalRegion]] = ()) -> None:
        """Search near these parameters.

        Args:
            theta: parameters of the follower.
            others: per block, further critical regions to try.
        """
        if time.perf_counter() > self._deadline:
            return
        start = None if self.regions is None else self.regions.at(theta)
        if self.regions is None or start is None:
            self._from_answer(theta)
            return
        # A first point may be sought shortly after the deadline: without one there is nothing to return.
        deadline = self._deadline + (self._relaxation.settings.grace_s if self.optimum is None else 0.0)
        known = np.inf if self.optimum is None else self.optimum.cost
        self._keep(self.regions, self.regions.descend(start, deadline, others, known))

    def onward(self, others: Sequence[Sequence[CriticalRegion]]) -> None:
        """Search on from the best optimum, with these further critical regions per block."""
        if self.regions is not None and self.optimum is not None and time.perf_counter() <= self._deadline:
            self._keep(self.regions, self.regions.onward(self.optimum, self._deadline, others))

    def _keep(self, regions: RegionSearch, found: RegionOptimum | None) -> None:
        if found is None:
            return
        if self.optimum is None or found.cost < self.optimum.cost:
            self.optimum = found
            if self._relaxation.level.products is not None:
                self.at(regions.theta(found.y))
        z, decisions = regions.point(found)
        cost = self._relaxation.level.qp.objective(z)
        if self._offer(Point("optimal", z, cost, np.zeros(len(decisions))), decisions):
            self.exact = True

    def accept(self, found: Point, decisions: Decisions, violation: float) -> None:
        """Offer a relaxed point whose undecided pairs are complementary, with what it underestimates added."""
        level = self._relaxation.level
        binds = found.z[level.sigma_at] > level.slack(found.z)
        whole = np.where(binds, SLACK_ZERO, DUAL_ZERO).astype(np.int8)
        whole[decisions != OPEN] = decisions[decisions != OPEN]
        if level.products is not None:
            self.at(found.z[level.theta_at])
        else:
            self._offer(replace(found, objective=found.objective + violation), whole)
        if self.regions is not None:
            self.near(found.z[level.theta_at])
        elif np.any(decisions == OPEN) and level.products is None:
            self._walk(self._cell(whole), whole)

    def at(self, theta: Vector) -> None:
        """Offer the point at exactly these parameters: the leader's other variables at their optimum, the follower's
        answer, and of its optimal duals those with the least payment. It needs no pattern of binding rows.
        """
        level = self._relaxation.level
        leader, follower = level.leader, level.follower
        picks = selector(follower.parameters, leader.variables)
        held = with_rows(leader, picks, theta, tuple(f"at {name}" for name in follower.parameters), equality=True)
        answer, rest = self._relaxation.follower_solver.solve(theta), QPSolver(held).solve()
        if not (self._payment and answer.optimal and rest.optimal):
            return
        priced = settled_at(follower, theta, level.settlement)
        dual = DualFace(priced, answer, np.zeros(len(theta))).extreme(-theta)
        if not np.isfinite(dual.value):
            return
        z = np.zeros(len(level.qp.variables))
        for place, values in (
            (level.leader_at, rest.x), (level.x_at, answer.x), (level.nu_at, dual.nu), (level.sigma_at, dual.sigma),
        ):  # fmt: skip
            z[place] = values
        z[level.theta_at] = theta
        z = level.complete(z)
        decisions = np.where(level.slack(z) <= 1e-6, SLACK_ZERO, DUAL_ZERO).astype(np.int8)
        offered = self._offer(Point("optimal", z, level.qp.objective(z), np.zeros(len(decisions))), decisions)
        self.exact |= offered and level.products is not None

    def _from_answer(self, theta: Vector) -> None:
        """Clear the follower at theta, and search from the cell of its answer. With products the payment is not convex
        on cells, and the point at theta is offered instead.
        """
        if self._relaxation.level.products is not None:
            self.at(theta)
            return
        answer = self._relaxation.follower_solver.solve(theta)
        if not answer.optimal:
            return
        follower = self._relaxation.level.follower
        slack = follower.ineq_rhs + follower.ineq_theta @ theta - follower.ineq_matrix @ answer.x
        decisions = np.where(answer.sigma > slack, SLACK_ZERO, DUAL_ZERO).astype(np.int8)
        decisions[(slack <= _ZERO) & (answer.sigma <= _ZERO)] = SLACK_ZERO
        self._walk(self._cell(decisions), decisions)

    def _walk(self, found: Point | None, decisions: Decisions) -> None:
        """Offer a cell's point, and go on to neighbouring cells as long as they are better."""
        for _ in range(self._relaxation.settings.cell_walk):
            if found is None or not found.objective < self.best + self._least():
                return
            self._offer(found, decisions)
            turned = found.fixing_gain > _ZERO * max(1.0, float(np.max(np.abs(found.fixing_gain), initial=0.0)))
            turned &= self._at_zero(found.z)
            if not np.any(turned):
                return
            together, alone = decisions.copy(), decisions.copy()
            together[turned] = 3 - decisions[turned]
            first = int(np.argmax(np.where(turned, found.fixing_gain, -np.inf)))
            alone[first] = 3 - decisions[first]
            found, decisions = self._better(together, alone)

    def _better(self, *patterns: Decisions) -> tuple[Point | None, Decisions]:
        """The first of these cells that beats the incumbent."""
        for pattern in patterns:
            found = self._cell(pattern)
            if found is not None and found.objective < self.best - self._least():
                return found, pattern
        return None, patterns[0]

    def _least(self) -> float:
        """A difference of costs that is rounding."""
        return _BETTER * max(1.0, abs(self.best)) if np.isfinite(self.best) else 0.0

    def _at_zero(self, z: Vector) -> npt.NDArray[np.bool_]:
        """Pairs whose dual and slack are both zero, so that turning them does not leave the point."""
        level = self._relaxation.level
        dual, slack = np.abs(z[level.sigma_at]), np.abs(level.slack(z))
        at_zero: npt.NDArray[np.bool_] = (dual <= _TOUCH) & (slack <= _TOUCH)
        return at_zero

    def _cell(self, decisions: Decisions) -> Point | None:
        """The optimum of a wholly decided relaxation, each pattern at most once."""
        key = decisions.tobytes()
        if key in self._seen or time.perf_counter() > self._deadline:
            return None
        self._seen.add(key)
        found = self._relaxation.solve(decisions, proof=False)
        return found if found.status == "optimal" else None

    def _offer(self, found: Point, decisions: Decisions) -> bool:
        if not found.objective < self.best:
            return False
        self.best, self.z, self.decisions, self.exact = found.objective, found.z, decisions.copy(), False
        return True
