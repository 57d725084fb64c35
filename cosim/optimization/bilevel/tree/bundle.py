"""The bound of one node of the tree over hulls: multipliers are improved by a proximal bundle method.

The model of the decomposition proposes a step. Where the value rises as predicted the step is serious, and its end is
the next center; otherwise the model gets new columns. Incumbents are sought near the leader's point in the model.
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

    def value(self, node: Node, mu: Vector, *, rough: bool = False, whole: bool = False) -> float | None:
        """L(mu) of a node, or, unless the whole is asked for, as much of it as closes the gap.

        All blocks together may stay a part of the gap below their minima, or less where that could be all that is
        missing.
        """
        goal, settings = self._goal, self._settings
        allowed, missing = (settings.rough if rough else settings.fine) * goal.allowed, goal.missing(node.bound)
        if 0 < missing < allowed:
            allowed = settings.closer * missing
        enough = max(_LEAST, allowed / len(self._parts.pricing))
        suffices = np.inf if whole else self._points.best - goal.allowed
        return self._parts.evaluate(mu, node.domain, enough, goal.deadline, suffices)

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
            # Where leader and mixtures agree the model is at its best.
            little = (settings.little if self._agree(step) else settings.worth) * goal.missing(node.bound)
            if stalled or (not serious and promised < little and number > 0):
                break
        if last is not None and goal.missing(node.bound) > 0:
            self._ask(last)
        return last

    def _at_center(self, node: Node) -> float | None:
        """The value at a node's center; None if it closes the gap, or there is none to be had.

        Often a rough value is enough. A model of rough ones would promise what is only roughness.
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
        """Look for an incumbent near the parameters of a step, and in the critical regions of its columns."""
        others: list[list[CriticalRegion]] = [[] for _ in self._regions.blocks]
        for home, mixture in zip(self._parts.home, step.mixtures, strict=True):
            if mixture.mixed:
                found = [self._regions.blocks[home].at(c.theta) for c in mixture.columns]
                others[home] = [region for region in found if region is not None]
        self._points.near(step.theta, others)
        self._take()

    def _recentre(self, node: Node, best: float) -> float:
        """Move the center to the multipliers of a better incumbent while the blocks' last columns lead to one; the
        value there.
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
        """Try the critical regions of the blocks' last columns from the incumbent; multipliers of a new one."""
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
