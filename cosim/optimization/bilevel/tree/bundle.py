"""The Lagrangian bound of one node of the tree over hulls, maximised by a proximal bundle method (Kiwiel 1990).

The cutting-plane model of the decomposition proposes a step. A step is serious where L(mu) rises by a given part of
the predicted rise; every evaluation adds columns to the model. Incumbents are sought near the leader's parameters in
the model.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cosim.optimization.bilevel.primal.critical_regions import CriticalRegion
from cosim.optimization.bilevel.primal.incumbents import Incumbents
from cosim.optimization.bilevel.relaxation.relaxation import Relaxation
from cosim.optimization.bilevel.tree.domain import Domain
from cosim.optimization.bilevel.tree.lagrangian import Decomposition, Step
from cosim.optimization.qp.arrays import Vector

_LEAST, _APART = 1e-7, 1e-9


@dataclass(slots=True)
class Node:
    """A node of the tree.

    Attributes:
        bound: the best known.
        domain: of the node.
        center, step: multipliers from which the search goes on, and the weight of its proximal term.
    """

    bound: float
    domain: Domain
    center: Vector
    step: float


@dataclass(frozen=True, slots=True)
class Goal:
    """When a search may stop: at a relative gap to the best of these points, or at a `time.perf_counter()`."""

    points: Incumbents
    gap: float
    deadline: float

    @property
    def allowed(self) -> float:
        """The gap in units of the cost."""
        return self.gap * max(1.0, abs(self.points.best))

    def missing(self, bound: float) -> float:
        """How far a bound is from closing the gap to the best point; not positive when it is closed."""
        return self.points.best - self.allowed - bound

    def late(self) -> bool:
        """Whether the time is up."""
        return time.perf_counter() > self.deadline


class Ascent:
    """The bundle method, which raises the Lagrangian bounds of nodes.

    Args:
        parts: the decomposition.
        relaxation: of the same problem.
        goal: when to stop.
        report: told of the best bound whenever it moves.
    """

    def __init__(
        self, parts: Decomposition, relaxation: Relaxation, goal: Goal, report: Callable[[float], None]
    ) -> None:
        points = goal.points
        assert points.optimum is not None and points.regions is not None
        self._parts, self._relaxation, self._goal, self._report = parts, relaxation, goal, report
        self._points, self._regions, self._taken = points, points.regions, points.optimum
        self._settings, self._longest = relaxation.settings, np.inf

    def first(self) -> Node:
        """The node with nothing decided, at the multipliers of the best point."""
        mu = self._parts.take(self._taken, self._regions)
        domain = Domain(np.zeros(self._relaxation.pairs, dtype=np.int8), self._relaxation.root())
        step = self._parts.first_step(mu)
        self._longest = self._settings.longest_step * step
        return Node(-np.inf, domain, mu, step)

    def value(self, node: Node, mu: Vector, *, rough: bool = False, whole: bool = False) -> float | None:
        """A lower bound of L(mu) of a node; unless `whole`, the evaluation may stop at a bound that closes the gap.

        All blocks together may stay below their minima by a part of the gap, or by a part of what is missing to close
        the gap, where that is less.
        """
        goal, settings = self._goal, self._settings
        allowed, missing = (settings.rough if rough else settings.fine) * goal.allowed, goal.missing(node.bound)
        if 0 < missing < allowed:
            allowed = settings.closer * missing
        enough = max(_LEAST, allowed / len(self._parts.pricing))
        suffices = np.inf if whole else self._points.best - goal.allowed
        return self._parts.evaluate(mu, node.domain, enough, goal.deadline, suffices)

    def bound(self, node: Node, others: float) -> Step | None:
        """Raise a node's bound until it closes the gap or the model predicts little further gain; the last step.

        None if no step is taken: the gap is closed, a block cannot be minimised, the time limit is reached, or the node
        is infeasible (then its bound is infinite).

        Args:
            others: the least bound of the other nodes.
        """
        parts, goal, settings = self._parts, self._goal, self._settings
        best = self._at_center(node)
        if best is None:
            return None
        best = self._recentre(node, best)
        last: Step | None = None
        vain = 0
        for number in range(settings.rounds):
            if goal.missing(node.bound) <= 0 or goal.late():
                break
            step = self._proposed(node, best)
            if step is None:
                break
            before = parts.size
            last, mu, promised = step, step.mu, step.value - best
            missing = goal.missing(node.bound)
            value = self.value(node, mu)
            if value is None:
                return None
            gained = value - best
            serious = gained > settings.serious * promised
            if gained > 0:
                node.center, best = mu, value
            vain = 0 if serious else vain + 1
            another = serious or vain > settings.vain_steps or gained < -promised
            if another and promised > settings.promise_noise * missing:
                vain = 0
                # To where the value would be best along the step, were it a parabola.
                parabola = settings.serious * promised / max(promised - gained, _APART)
                node.step *= min(max(parabola, settings.slowest), settings.fastest)
            node.bound = max(node.bound, value)
            self._report(min(node.bound, others))
            stalled = value <= best and parts.size == before
            # Where leader and mixtures agree, the optimum of the model is reached.
            little = (settings.little if self._agree(step) else settings.worth) * goal.missing(node.bound)
            if stalled or (not serious and promised < little and number > 0):
                break
        if last is not None and goal.missing(node.bound) > 0:
            self._ask(last)
        return last

    def _at_center(self, node: Node) -> float | None:
        """L at a node's center; None if it closes the gap or cannot be computed.

        A value of low accuracy is tried first, because it often closes the gap. Steps need accurate values: from
        inaccurate ones the model would predict gains that are only errors.
        """
        value: float | None = None
        for rough in (True, False) if self._settings.rough else (False,):
            value = self.value(node, node.center, rough=rough)
            if value is None:
                return None
            node.bound = max(node.bound, value)
            if self._goal.missing(node.bound) <= 0:
                return None
        return value

    def _proposed(self, node: Node, best: float) -> Step | None:
        """The next step, lengthened while it predicts little gain and leader and mixtures disagree."""
        found, length, settings = None, node.step, self._settings
        for _ in range(settings.lengthenings):
            step = self._parts.propose(node.center, length, node.domain)
            if step is None:
                # The QP of a long step is worse conditioned.
                length *= settings.slowest
                continue
            found, node.step = step, length
            enough = step.value - best >= settings.worth * self._goal.missing(node.bound) or length >= self._longest
            if enough or self._agree(step):
                break
            length *= settings.fastest
        return found

    def _agree(self, step: Step) -> bool:
        """Whether the leader's parameters and those of the mixtures are nearly equal; longer steps then gain little."""
        return float(np.abs(step.apart).sum()) <= self._settings.agree * self._parts.width

    def _ask(self, step: Step) -> None:
        """Look for an incumbent near the parameters of a step, and in the critical regions of its columns; a new one
        adds columns to the model.
        """
        others: list[list[CriticalRegion]] = [[] for _ in self._regions.blocks]
        for home, mixture in zip(self._parts.home, step.mixtures, strict=True):
            if mixture.mixed:
                found = [self._regions.blocks[home].at(c.theta) for c in mixture.columns]
                others[home] = [region for region in found if region is not None]
        self._points.near(step.theta, others)
        self._take()

    def _recentre(self, node: Node, best: float) -> float:
        """Move the center to the multipliers of a better incumbent as long as the critical regions of the blocks' last
        columns lead to one; the value at the center.
        """
        for _ in range(self._settings.recentres):
            missing, before = self._goal.missing(node.bound), self._points.best
            if missing <= 0 or self._goal.late():
                break
            mu = self._switch()
            gained = before - self._points.best
            if mu is None or gained < self._settings.recentre_gain * missing or not node.domain.whole:
                break
            value = self.value(node, mu)
            if value is None:
                break
            if value > best:
                node.center, best = mu, value
                node.bound = max(node.bound, value)
        return best

    def _switch(self) -> Vector | None:
        """Search from the incumbent in the critical regions of the blocks' last columns; multipliers of a new
        incumbent, None if there is none.
        """
        others: list[list[CriticalRegion]] = [[] for _ in self._regions.blocks]
        for home, columns in zip(self._parts.home, self._parts.columns, strict=True):
            region = self._regions.blocks[home].at(columns[-1].theta)
            others[home] = [] if region is None else [region]
        self._points.onward(others)
        return self._take()

    def _take(self) -> Vector | None:
        """Add a new incumbent to the model as columns; its multipliers."""
        if self._points.optimum is None or self._points.optimum is self._taken:
            return None
        self._taken = self._points.optimum
        return self._parts.take(self._taken, self._regions)
