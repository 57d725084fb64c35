"""The exact least payment of one block at given multipliers, asked for again and again.

A block is a part of the follower that shares no variable with the rest. For multipliers mu of its parameters th

    c(mu) = min of  payment - mu'th   over the block's optimality conditions and the box of th.

Where the payment is not the follower's whole price (see `charge`), a leaf is also a box of parameters and rests.

The search tree of the last question is the start of the next one: its leaves cover the block whatever mu is,
and a leaf's old bound moves with mu by at most the box, bound(mu') >= bound(mu) + min over the box of
(mu - mu')'th, so that most leaves need no new solve.
"""

from __future__ import annotations

import heapq
import itertools
import time
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cosim.optimization.arrays import Indices, Vector
from cosim.optimization.blocks import Block
from cosim.optimization.charge import Box, Remainder
from cosim.optimization.leaf import Leaf
from cosim.optimization.parametric import ParametricQP
from cosim.optimization.relaxation import DUAL_ZERO, OPEN, SLACK_ZERO, Decisions, both
from cosim.optimization.single_level import single_level
from cosim.optimization.tangents import TangentRelaxation

_ZERO = 1e-7
_HARD, _MOST_SOLVES = 200, 2000
_TIGHTER = 0.7


@dataclass(frozen=True, slots=True)
class Column:
    """A point of a block: its parameters, the payment, duals and slacks (exactly zero where they count as zero), and
    its rests.

    One that is `hopeful` comes from a search that was broken off: its payment may be too low.
    """

    theta: Vector
    payment: float
    dual: Vector
    slack: Vector
    rest: Vector | None = None
    hopeful: bool = False

    @property
    def dual_zero(self) -> npt.NDArray[np.bool_]:
        """Which duals are zero."""
        zero: npt.NDArray[np.bool_] = self.dual == 0.0
        return zero

    @property
    def slack_zero(self) -> npt.NDArray[np.bool_]:
        """Which slacks are zero."""
        zero: npt.NDArray[np.bool_] = self.slack == 0.0
        return zero

    def allowed(self, held: Decisions, box: Box | None = None) -> bool:
        """Whether the point keeps these decisions and lies in the box."""
        broken = ((held == DUAL_ZERO) & ~self.dual_zero) | ((held == SLACK_ZERO) & ~self.slack_zero)
        inside = box is None or self.rest is None or box.holds(self.theta, self.rest)
        return inside and not bool(np.any(broken))

    def covers(self, other: Column) -> bool:
        """Whether every decision that the other point keeps is kept by this one."""
        lost = (other.dual_zero & ~self.dual_zero) | (other.slack_zero & ~self.slack_zero)
        return not bool(np.any(lost))


@dataclass(frozen=True, slots=True)
class BlockAnswer:
    """The block's minimum at some multipliers: a proven lower bound of c(mu), and a point, None if none was found."""

    bound: float
    column: Column | None


class BlockOracle:
    """One block, its relaxation, and the leaves of the trees of earlier questions.

    Args:
        block: the part of the follower.
        constant_theta: (k,) linear price that the follower's constant adds to each parameter.
        remainder: the block's part of a charge that is not the whole price.

    Attributes:
        block: see above.
        parameters, rows: where the block's parameters and inequalities lie in the whole follower.
        solves: QPs solved so far.
    """

    def __init__(self, block: Block, constant_theta: Vector, remainder: Remainder | None = None) -> None:
        qp = replace(block.qp, constant_theta=constant_theta)
        leader = ParametricQP.build(cost=np.zeros(len(qp.parameters)), variables=qp.parameters)
        self._relaxation = TangentRelaxation(single_level(qp, leader, payment=True, remainder=remainder))
        self._plain = self._relaxation.cost.copy()
        self._lower, self._upper = qp.theta_lower, qp.theta_upper
        self.block = block
        self.parameters: Indices = block.parameters
        self.rows: Indices = block.ineq_rows
        self._leaves: dict[bytes, list[Leaf]] = {}

    @property
    def solves(self) -> int:
        """QPs solved so far."""
        return self._relaxation.solves

    def minimise(
        self,
        mu: Vector,
        held: Decisions,
        enough: float,
        known: Column | None,
        deadline: float,
        box: Box | None = None,
        suffices: float = np.inf,
    ) -> BlockAnswer | None:
        """The least payment - mu'th where these pairs are decided, infinite if there is no point; None if the
        solver gave up or there is no lower end.

        Args:
            mu: (k,) multipliers.
            held: (m,) decided pairs.
            enough: how far the bound may stay below the minimum.
            known: a point of the block that keeps the decisions, the better the sooner the search ends.
            deadline: `time.perf_counter()` after which the bound is returned as it is.
            box: where the block's parameters and rests lie, of a payment with products.
            suffices: a bound at which to stop.
        """
        relaxation, level = self._relaxation, self._relaxation.level
        relaxation.cost = self._plain.copy()
        relaxation.cost[level.theta_at] -= mu
        box = relaxation.root() if box is None else box
        key, number = self._key(held, box), itertools.count()
        heap: list[tuple[float, int, Leaf]] = []
        for leaf in self._start(held, box):
            heapq.heappush(heap, (self._bound(leaf, mu), next(number), leaf))
        hard, limit = relaxation.solves + _HARD, relaxation.solves + _MOST_SOLVES
        target = np.inf if known is None else known.payment - float(mu @ known.theta) - enough
        relaxation.enough, relaxation.suffices = enough, min(target, suffices)
        while heap:
            bound, _, leaf = heapq.heappop(heap)
            if bound >= min(target, suffices) or (time.perf_counter() > deadline and np.isfinite(bound)):
                self._leaves[key] = [other for _, _, other in heap] + [leaf]
                return BlockAnswer(bound, known)
            product, errors = self._broken(leaf, mu)
            missing = float(product.sum() + errors.sum())
            if leaf.solved(mu) and leaf.short <= relaxation.allowed(missing, bound):
                if missing <= enough or relaxation.solves >= limit or missing <= 0:
                    self._leaves[key] = [other for _, _, other in heap] + [leaf]
                    # A column may lie a little too low, by what its point violates: the model is then too hopeful.
                    return BlockAnswer(bound, self._column(leaf, bound, mu, hopeful=missing > enough))
                if self._tighten(leaf, product, errors):
                    if leaf.box is not None:
                        heapq.heappush(heap, (bound, next(number), leaf))
                    continue
                for child in self._children(leaf, product, errors):
                    heapq.heappush(heap, (bound, next(number), child))
                continue
            if relaxation.solves == hard and relaxation.tighten():
                # Worth beginning anew: the tree of a tighter relaxation is another one.
                heap = [(-np.inf, next(number), Leaf(held.copy(), box=box))]
                continue
            found = relaxation.solve(leaf.decisions, box=leaf.box)
            if found.status == "infeasible":
                continue
            if found.status != "optimal" or found.pull is None:
                # The old bound holds; deciding one more pair mostly gives the solver an easier problem.
                split = self._split(leaf)
                if split is None or relaxation.solves >= limit:
                    return None
                for child in split:
                    heapq.heappush(heap, (bound, next(number), child))
                continue
            # The old bound, carried along, may be the better one by the solver's last digits.
            bound = max(found.objective, bound)
            leaf.take(mu, found, bound, found.z[level.theta_at], found.pull)
            heapq.heappush(heap, (bound, next(number), leaf))
        self._leaves[key] = []
        return BlockAnswer(np.inf, None)

    def prune(self, mu: Vector, most: float) -> int:
        """Leave out for good, in this object, what of the whole block has payment - mu'th of at least `most`; how many
        leaves that were.
        """
        root = self._relaxation.root()
        key = self._key(np.zeros(len(self.rows), dtype=np.int8), root)
        known = self._leaves.get(key, [])
        kept = [leaf for leaf in known if self._bound(leaf, mu) < most]
        if len(kept) < len(known):
            # A new mapping: another problem may share the old one, and what is decided is to grow from these leaves.
            self._leaves = {key: kept}
        return len(known) - len(kept)

    def told_apart(self, held: Decisions) -> npt.NDArray[np.bool_]:
        """(m,) pairs that some leaves of the whole block decide one way and some the other, where these are decided."""
        leaves = self._leaves.get(self._key(np.zeros_like(held), self._relaxation.root()), [])
        if not leaves:
            return np.zeros(len(held), dtype=bool)
        decided = np.array([leaf.decisions for leaf in leaves])
        fit = ~np.any((decided != OPEN) & (held != OPEN) & (decided != held), axis=1)
        one, other = decided[fit] == DUAL_ZERO, decided[fit] == SLACK_ZERO
        apart: npt.NDArray[np.bool_] = one.any(axis=0) & other.any(axis=0)
        return apart

    def knows(self, held: Decisions, box: Box | None = None) -> bool:
        """Whether the block was asked for its minimum before with these pairs decided in this box."""
        return self._key(held, self._relaxation.root() if box is None else box) in self._leaves

    def _key(self, held: Decisions, box: Box | None) -> bytes:
        return held.tobytes() + (b"" if box is None else box.key())

    def _start(self, held: Decisions, box: Box | None) -> list[Leaf]:
        """The leaves known for these decisions, or those of the whole block with the decisions put in."""
        known = self._leaves.get(self._key(held, box))
        if known is not None:
            return known
        whole = self._leaves.get(self._key(np.zeros_like(held), self._relaxation.root()))
        if whole is None:
            return [Leaf(held.copy(), box=box)]
        out = []
        for leaf in whole:
            if np.any((leaf.decisions != OPEN) & (held != OPEN) & (leaf.decisions != held)):
                continue
            inside = leaf.box if leaf.box is None or box is None else leaf.box.meet(box)
            if inside is not None or box is None:
                out.append(leaf.below(np.maximum(leaf.decisions, held), inside))
        return out

    def _bound(self, leaf: Leaf, mu: Vector) -> float:
        """What is known of a leaf at these multipliers."""
        return leaf.bound(mu, self._lower, self._upper)

    def _broken(self, leaf: Leaf, mu: Vector) -> tuple[Vector, Vector]:
        """Products of duals and slacks, and errors of other products, at a leaf's answer; zero where it has none."""
        if leaf.z is None or not leaf.solved(mu):
            return np.zeros(len(leaf.decisions)), np.zeros(len(mu))
        return self._relaxation.violations(leaf.z, leaf.decisions), self._relaxation.errors(leaf.z)

    def _tighten(self, leaf: Leaf, product: Vector, errors: Vector) -> bool:
        """Draw the box of a leaf together before products are told apart, once; whether that changed something. A leaf
        that is empty is left without a box.
        """
        before = leaf.box
        if leaf.tight or before is None or errors.max() <= product.max(initial=0.0):
            return False
        leaf.tight, leaf.box = True, self._relaxation.tightened(leaf.decisions, before)
        if leaf.box is None:
            return True
        old, new = before.area(), leaf.box.area()
        if new.sum() > _TIGHTER * old.sum():
            return False
        leaf.z = None
        return True

    def _children(self, leaf: Leaf, product: Vector, errors: Vector) -> list[Leaf]:
        """The worst pair decided both ways; where a product of parameter and rest is worse, two boxes."""
        products, box = self._relaxation.level.products, leaf.box
        if products is not None and box is not None and errors.max() > product.max(initial=0.0):
            assert leaf.z is not None
            halves = products.split(leaf.z, int(np.argmax(errors)), box)
            return [leaf.below(leaf.decisions, half) for half in halves]
        return [leaf.below(one, box) for one in both(leaf.decisions, int(np.argmax(product)))]

    def _split(self, leaf: Leaf) -> list[Leaf] | None:
        """Both decisions of one open pair of a leaf without a point; None if all are decided."""
        undecided = np.flatnonzero(leaf.decisions == OPEN)
        if not len(undecided):
            return None
        return [leaf.below(half, leaf.box) for half in both(leaf.decisions, int(undecided[0]))]

    def _column(self, leaf: Leaf, bound: float, mu: Vector, hopeful: bool) -> Column:
        level, z = self._relaxation.level, leaf.z
        assert z is not None
        theta, slack, dual = z[level.theta_at].copy(), level.slack(z), z[level.sigma_at]
        # What the leaf decides holds whatever the solver's last digits say.
        dual_zero = (leaf.decisions == DUAL_ZERO) | (dual <= _ZERO * (1.0 + np.abs(dual).max(initial=0.0)))
        slack_zero = (leaf.decisions == SLACK_ZERO) | (slack <= _ZERO * (1.0 + np.abs(level.follower.ineq_rhs)))
        dual, slack = np.where(dual_zero, 0.0, dual), np.where(slack_zero, 0.0, slack)
        return Column(theta, bound + float(mu @ theta), dual, slack, level.rest(z), hopeful)
