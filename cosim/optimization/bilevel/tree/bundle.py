"""The bound of one node of the tree over hulls: the multipliers are moved by a proximal bundle method.

The model of the decomposition proposes a step; the value there either keeps what was promised (then the step's end is
the next center) or gives the model new columns. On the way points are sought where the model puts the leader.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from cosim.optimization.bilevel.primal.critical_regions import Piece
from cosim.optimization.bilevel.primal.incumbents import Incumbents
from cosim.optimization.bilevel.relaxation.relaxation import Relaxation
from cosim.optimization.bilevel.tree.domain import Region
from cosim.optimization.bilevel.tree.lagrangian import Decomposition, Step
from cosim.optimization.qp.arrays import Vector

# Accuracy of values, as a part of the gap: where a rough one may do, and else.
_ROUGH, _FINE = 0.9, 0.05
_LEAST, _CLOSER = 1e-7, 0.25
# Steps: how many, how long at most (in first ones), how often tried, and how many in vain before they get shorter.
_ROUNDS, _LONGEST, _TRIES, _VAIN = 60, 1e4, 8, 2
# Their length: what part of a promise counts, and how much it changes at once.
_SERIOUS, _FASTEST, _SLOWEST, _ONWARD, _ALIKE = 0.5, 5.0, 0.1, 2.0, 0.7
# Promises, as parts of what is missing: too little, little where the model is at its best, far too much, and noise.
_WORTH, _LITTLE, _FAR, _LEAP, _NOISE = 0.05, 0.5, 3.0, 1.2, 1e-3
_TOGETHER, _APART = 0.2, 1e-9
_RECENTRES, _BETTER = 6, 0.1


@dataclass(order=True, slots=True)
class Node:
    """A node of the tree.

    Attributes:
        bound: the best known.
        order: of two with the same bound the lower goes first.
        region: what it holds.
        center, step: multipliers from which the search for better ones goes on, and the length of its steps.
    """

    bound: float
    order: int
    region: Region = field(compare=False)
    center: Vector = field(compare=False)
    step: float = field(compare=False)


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
        assert points.patch is not None and points.pieces is not None
        self._parts, self._relaxation, self._goal, self._report = parts, relaxation, goal, report
        self._points, self._pieces, self._taken = points, points.pieces, points.patch
        self._longest = np.inf

    def first(self) -> Node:
        """The node with nothing decided, at the multipliers of the best point."""
        mu = self._parts.take(self._taken, self._pieces)
        region = Region(np.zeros(self._relaxation.pairs, dtype=np.int8), self._relaxation.root())
        step = self._parts.first_step(mu)
        self._longest = _LONGEST * step
        return Node(-np.inf, 0, region, mu, step)

    def value(self, node: Node, mu: Vector, *, rough: bool = False, whole: bool = False) -> float | None:
        """L(mu) of a node, or, unless the whole is asked for, as much of it as closes the gap.

        All blocks together may stay a part of the gap below their minima, or less where that could be all that is
        missing.
        """
        goal = self._goal
        allowed, missing = (_ROUGH if rough else _FINE) * goal.allowed, goal.missing(node.bound)
        if 0 < missing < allowed:
            allowed = _CLOSER * missing
        enough = max(_LEAST, allowed / len(self._parts.oracles))
        suffices = np.inf if whole else self._points.best - goal.allowed
        return self._parts.evaluate(mu, node.region, enough, goal.deadline, suffices)

    def bound(self, node: Node, others: float) -> Step | None:
        """Raise a node's bound until it closes the gap or the model promises little more; its last step.

        None if that takes no step, a block gave up, the time is up, or the node has no point (then its bound is
        infinite).

        Args:
            others: the least bound of the other nodes.
        """
        parts, goal = self._parts, self._goal
        best = self._at_center(node)
        if best is None:
            return None
        best = self._recentre(node, best)
        last: Step | None = None
        vain = 0
        for number in range(_ROUNDS):
            if goal.missing(node.bound) <= 0 or goal.late():
                break
            step = self._proposed(node, best)
            if step is None:
                break
            before, way = parts.size, None if last is None else last.apart
            last, mu, promised = step, step.mu, step.value - best
            # The model is concave: a part of the way promises at least that part, and far away it is far too hopeful.
            missing = goal.missing(node.bound)
            if promised > _FAR * missing:
                part = _LEAP * missing / promised
                mu, promised = node.center + part * (step.mu - node.center), part * promised
            value = self.value(node, mu)
            if value is None:
                return None
            gained = value - best
            serious = gained > _SERIOUS * promised
            if gained > 0:
                node.center, best = mu, value
            vain = 0 if serious else vain + 1
            if promised > _NOISE * missing and (serious or vain > _VAIN or gained < -promised):
                vain = 0
                # To where the value would be best along the step, were it a parabola; the same way again goes faster.
                parabola = _SERIOUS * promised / max(promised - gained, _APART)
                if serious and way is not None and _alike(way, step.apart):
                    parabola *= _ONWARD
                node.step *= min(max(parabola, _SLOWEST), _FASTEST)
            node.bound = max(node.bound, value)
            self._report(min(node.bound, others))
            if number > 1 and number & (number + 1) == 0 and goal.missing(node.bound) > 0:
                self._ask(last)
            stalled = value <= best and parts.size == before
            # Where leader and mixtures agree the model is at its best.
            little = (_LITTLE if self._agree(step) else _WORTH) * goal.missing(node.bound)
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
        for rough in (True, False):
            value = self.value(node, node.center, rough=rough)
            if value is None:
                return None
            node.bound = max(node.bound, value)
            if self._goal.missing(node.bound) <= 0:
                return None
        return value

    def _proposed(self, node: Node, best: float) -> Step | None:
        """The next step. One that promises little where leader and mixtures are apart is too short, and lengthened."""
        found, length = None, node.step
        for _ in range(_TRIES):
            step = self._parts.propose(node.center, length, node.region)
            if step is None:
                # Long steps are the harder ones to find.
                length *= _SLOWEST
                continue
            found, node.step = step, length
            enough = step.value - best >= _WORTH * self._goal.missing(node.bound) or length >= self._longest
            if enough or self._agree(step):
                break
            length *= _FASTEST
        return found

    def _agree(self, step: Step) -> bool:
        """Whether the leader's parameters are those of the mixtures, or nearly so."""
        return float(np.abs(step.apart).sum()) <= _TOGETHER * self._parts.width

    def _ask(self, step: Step) -> None:
        """Search for a point near the parameters of a step, and over the pieces that its mixtures come from."""
        others: list[list[Piece]] = [[] for _ in self._pieces.blocks]
        for home, mixture in zip(self._parts.home, step.mixtures, strict=True):
            if mixture.torn:
                found = [self._pieces.blocks[home].at(c.theta) for c in mixture.columns]
                others[home] = [piece for piece in found if piece is not None]
        self._points.near(step.theta, others)
        self._take()

    def _recentre(self, node: Node, best: float) -> float:
        """As long as the blocks' last columns lead to a clearly better point, go to the multipliers that hold it; the
        value at the node's center.
        """
        for _ in range(_RECENTRES):
            missing, before = self._goal.missing(node.bound), self._points.best
            if missing <= 0 or self._goal.late():
                break
            mu = self._switch()
            if mu is None or before - self._points.best < _BETTER * missing or not node.region.whole:
                break
            value = self.value(node, mu)
            if value is None:
                break
            if value > best:
                node.center, best = mu, value
                node.bound = max(node.bound, value)
        return best

    def _switch(self) -> Vector | None:
        """From the best point, try for each block the piece of its last column; the multipliers of a new best."""
        others: list[list[Piece]] = [[] for _ in self._pieces.blocks]
        for home, columns in zip(self._parts.home, self._parts.columns, strict=True):
            piece = self._pieces.blocks[home].at(columns[-1].theta)
            others[home] = [] if piece is None else [piece]
        self._points.onward(others)
        return self._take()

    def _take(self) -> Vector | None:
        """Give the model the best point as columns when it is a new one; the multipliers that hold it."""
        if self._points.patch is None or self._points.patch is self._taken:
            return None
        self._taken = self._points.patch
        return self._parts.take(self._taken, self._pieces)


def _alike(one: Vector, other: Vector) -> bool:
    """Whether two steps lead the same way."""
    return float(one @ other) > _ALIKE * float(np.linalg.norm(one) * np.linalg.norm(other))
