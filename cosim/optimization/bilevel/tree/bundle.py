"""The bound of one node of the tree over hulls: the multipliers are moved by a proximal bundle method.

The model of the decomposition proposes a step; the value there either keeps what was promised (then the step's end is
the next center) or gives the model new columns. On the way points are sought where the model puts the leader.
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
        domain: what it holds.
        center, step: multipliers from which the search for better ones goes on, and the length of its steps.
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
    """Raises the bounds of nodes.

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

    def value(self, node: Node, mu: Vector) -> float | None:
        """L(mu) of a node.

        All blocks together may stay below their minima by a part of the gap, or of what is missing where that is less.
        """
        goal, settings = self._goal, self._settings
        allowed, missing = settings.fine * goal.allowed, goal.missing(node.bound)
        if 0 < missing < allowed:
            allowed = settings.closer * missing
        enough = max(_LEAST, allowed / len(self._parts.pricing))
        return self._parts.evaluate(mu, node.domain, enough, goal.deadline)

    def bound(self, node: Node, others: float) -> Step | None:
        """Raise a node's bound until it closes the gap or the model promises little more; its last step.

        None if that takes no step, a block gave up, the time is up, or the node has no point (then its bound is
        infinite).

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
            before, last, promised = parts.size, step, step.value - best
            missing, value = goal.missing(node.bound), self.value(node, step.mu)
            if value is None:
                return None
            gained = value - best
            serious = gained > settings.serious * promised
            if gained > 0:
                node.center, best = step.mu, value
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
            # Where leader and mixtures agree the model is at its best.
            little = (settings.little if self._agree(step) else settings.worth) * goal.missing(node.bound)
            if stalled or (not serious and promised < little and number > 0):
                break
        if last is not None and goal.missing(node.bound) > 0:
            self._ask(last)
        return last

    def _at_center(self, node: Node) -> float | None:
        """The value at a node's center; None if it closes the gap, or there is none to be had."""
        value = self.value(node, node.center)
        if value is None:
            return None
        node.bound = max(node.bound, value)
        return None if self._goal.missing(node.bound) <= 0 else value

    def _proposed(self, node: Node, best: float) -> Step | None:
        """The next step. One that promises little where leader and mixtures are apart is too short, and lengthened."""
        found, length, settings = None, node.step, self._settings
        for _ in range(settings.lengthenings):
            step = self._parts.propose(node.center, length, node.domain)
            if step is None:
                # Long steps are the harder ones to find.
                length *= settings.slowest
                continue
            found, node.step = step, length
            enough = step.value - best >= settings.worth * self._goal.missing(node.bound) or length >= self._longest
            if enough or self._agree(step):
                break
            length *= settings.fastest
        return found

    def _agree(self, step: Step) -> bool:
        """Whether the leader's parameters are those of the mixtures, or nearly so."""
        return float(np.abs(step.apart).sum()) <= self._settings.agree * self._parts.width

    def _ask(self, step: Step) -> None:
        """Search for a point near the parameters of a step, and over the regions that its mixtures come from."""
        others: list[list[CriticalRegion]] = [[] for _ in self._regions.blocks]
        for home, mixture in zip(self._parts.home, step.mixtures, strict=True):
            if mixture.mixed:
                found = [self._regions.blocks[home].at(c.theta) for c in mixture.columns]
                others[home] = [region for region in found if region is not None]
        self._points.near(step.theta, others)
        self._take()

    def _recentre(self, node: Node, best: float) -> float:
        """As long as the blocks' last columns lead to a clearly better point, go to the multipliers that hold it; the
        value at the node's center.
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
        """From the best point, try for each block the region of its last column; the multipliers of a new best."""
        others: list[list[CriticalRegion]] = [[] for _ in self._regions.blocks]
        for home, columns in zip(self._parts.home, self._parts.columns, strict=True):
            region = self._regions.blocks[home].at(columns[-1].theta)
            others[home] = [] if region is None else [region]
        self._points.onward(others)
        return self._take()

    def _take(self) -> Vector | None:
        """Give the model the best point as columns when it is a new one; the multipliers that hold it."""
        if self._points.optimum is None or self._points.optimum is self._taken:
            return None
        self._taken = self._points.optimum
        return self._parts.take(self._taken, self._regions)
