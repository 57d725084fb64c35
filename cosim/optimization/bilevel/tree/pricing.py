"""Pricing problems: the exact least payment of one block less the worth of its parameters at given multipliers.

A block is a part of the follower that shares no variable with the rest. For multipliers mu of its parameters th

    c(mu) = min of  payment - mu'th   over the block's optimality conditions and the box of th.

Where the payment is not the follower's whole price (see `settlement`), a leaf is also a box of parameters and rests.

The leaves of one solve are the start of the next one: they cover the block whatever mu is, and a leaf's old bound
moves with mu by at most the box, bound(mu') >= bound(mu) + min over the box of
(mu - mu')'th, so that most leaves need no new solve.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from cosim.optimization.bilevel.model.settlement import SettlementShares
from cosim.optimization.bilevel.model.single_level import single_level
from cosim.optimization.bilevel.primal.critical_regions import CriticalRegions
from cosim.optimization.bilevel.relaxation.outer_approximation import TangentRelaxation
from cosim.optimization.bilevel.relaxation.relaxation import DUAL_ZERO, OPEN, SLACK_ZERO, Decisions
from cosim.optimization.bilevel.settings import DEFAULT, SearchSettings
from cosim.optimization.bilevel.tree.columns import Column, excluded
from cosim.optimization.bilevel.tree.domain import BlockDomain
from cosim.optimization.bilevel.tree.leaf import Leaf, bounds
from cosim.optimization.qp.arrays import Indices, Vector
from cosim.optimization.qp.best_first import BestFirst
from cosim.optimization.qp.blocks import Block
from cosim.optimization.qp.conflicts import Conflicts
from cosim.optimization.qp.parametric import ParametricQP

_ZERO = 1e-7
_EXACT = 1e-9


@dataclass(frozen=True, slots=True)
class BlockAnswer:
    """The block's minimum at some multipliers: a proven lower bound of c(mu), and a point, None if none was found."""

    bound: float
    column: Column | None


class PricingProblem:
    """One block, its relaxation, and the leaves of earlier solves.

    Args:
        block: the part of the follower.
        constant_theta: (k,) linear price that the follower's constant adds to each parameter.
        regions: of the same block.
        shares: the block's part of a settlement that is not the whole price.
        settings: of the search.
        together: conflicts of the whole follower's rows, where they are known; else the block's own are found.

    Attributes:
        block, regions: see above.
        parameters, rows: where the block's parameters and inequalities lie in the whole follower.
    """

    def __init__(
        self,
        block: Block,
        constant_theta: Vector,
        regions: CriticalRegions,
        shares: SettlementShares | None = None,
        settings: SearchSettings = DEFAULT,
        together: Conflicts | None = None,
    ) -> None:
        qp = replace(block.qp, constant_theta=constant_theta)
        leader = ParametricQP.build(cost=np.zeros(len(qp.parameters)), variables=qp.parameters)
        level = single_level(qp, leader, payment=True, shares=shares)
        beside = None if together is None else partial(together.beside, block.ineq_rows)
        self._relaxation = TangentRelaxation(level, settings, beside)
        self._plain = self._relaxation.cost.copy()
        self._lower, self._upper = qp.theta_lower, qp.theta_upper
        self.block, self.regions, self._settings = block, regions, settings
        self.parameters: Indices = block.parameters
        self.rows: Indices = block.ineq_rows
        self._leaves: dict[bytes, list[Leaf]] = {}
        self._cells: dict[int, list[BlockDomain]] = {}
        self._decided: dict[int, Decisions] = {}
        self._confined: dict[bytes, list[Leaf]] = {}

    def copy(self, block: Block, regions: CriticalRegions) -> PricingProblem:
        """The pricing problem of a block with the same numbers but other rows and parameters of the follower.

        Both share the leaves of the whole block, but not cells and pruned leaves.
        """
        found = copy.copy(self)
        found.block, found.regions, found.parameters, found.rows = block, regions, block.parameters, block.ineq_rows
        found._cells, found._decided, found._confined = {}, {}, {}
        return found

    def _known(self, part: BlockDomain) -> dict[bytes, list[Leaf]]:
        """Where leaves of a part are kept."""
        return self._confined if part.cell else self._leaves

    def minimise(
        self,
        mu: Vector,
        part: BlockDomain,
        enough: float,
        known: Column | None,
        deadline: float,
        suffices: float = np.inf,
    ) -> BlockAnswer | None:
        """The least payment - mu'th in a part of the block, infinite if the part is empty; None if it cannot be
        computed or is unbounded.

        Args:
            mu: (k,) multipliers.
            part: where to look.
            enough: how far the bound may stay below the minimum.
            known: a point of that part, which is returned unless a better one is found.
            deadline: `time.perf_counter()` after which the bound is returned as it is.
            suffices: a bound at which to stop.
        """
        relaxation, level = self._relaxation, self._relaxation.level
        relaxation.cost = self._plain.copy()
        relaxation.cost[level.theta_at] -= mu
        leaves, key, queue = self._known(part), part.key(), BestFirst[Leaf]()
        start = self._start(part)
        for leaf, bound in zip(start, self._bounds(start, mu), strict=True):
            queue.push(bound, leaf)
        limit = relaxation.solves + self._settings.most_programs
        relaxation.enough = enough

        # A bound that close to the known point ends the search.
        best = np.inf if known is None else known.payment - float(mu @ known.theta)
        relaxation.suffices = min(best - enough, suffices)
        for bound, leaf in queue:
            if bound >= relaxation.suffices or (time.perf_counter() > deadline and np.isfinite(bound)):
                leaves[key] = [*queue.nodes, leaf]
                return BlockAnswer(bound, known)
            product, errors = self._broken(leaf, mu)
            missing = float(product.sum() + errors.sum())
            if leaf.solved(mu) and leaf.short <= relaxation.allowed(missing, bound):
                if missing <= min(enough, _EXACT * (1.0 + abs(bound))) or relaxation.solves >= limit:
                    leaves[key] = [*queue.nodes, leaf]
                    # The payment of such a column may be too low by what its point violates.
                    return BlockAnswer(bound, self._column(leaf, bound, mu, underestimated=missing > enough))
                if self._tighten(leaf, product, errors):
                    if leaf.z is None:
                        queue.push(bound, leaf)
                    continue
                for child in self._children(leaf, product, errors):
                    queue.push(bound, child)
                continue
            found = relaxation.solve(leaf.part.held, box=leaf.part.box)
            if found.status == "infeasible":
                continue
            if found.status != "optimal" or found.reduced_cost is None:
                # The old bound holds. With one more pair decided the program is mostly easier to solve.
                split = self._split(leaf)
                if split is None or relaxation.solves >= limit:
                    return None
                for child in split:
                    queue.push(bound, child)
                continue
            # The old bound, carried along, may be the better one by the solver's last digits.
            bound = max(found.objective, bound)
            leaf.take(mu, found, bound, found.z[level.theta_at], found.reduced_cost, self._settings.optima_kept)
            queue.push(bound, leaf)
        leaves[key] = []
        return BlockAnswer(np.inf, None)

    def prune(self, mu: Vector, most: float) -> int:
        """Remove leaves of the whole block whose payment - mu'th is at least `most`, in this object; how many."""
        key = self._root().key()
        known = self._leaves.get(key, [])
        kept = [leaf for leaf, bound in zip(known, self._bounds(known, mu), strict=True) if bound < most]
        if len(kept) < len(known):
            # A new mapping: another problem may share the old one, and what is decided is to grow from these leaves.
            self._leaves = {key: kept}
        return len(known) - len(kept)

    def knows(self, part: BlockDomain) -> bool:
        """Whether the block was asked for its minimum in this part before."""
        return part.key() in self._known(part)

    def lies_in(self, column: Column, part: BlockDomain) -> bool:
        """Whether a point of the block lies in a part of it."""
        if not column.lies_in(part):
            return False
        return part.cell == 0 or column.lies_in_one(self._cells[part.cell], self._decided[part.cell])

    def divide(self, part: BlockDomain, direction: Vector, at: float) -> tuple[int, int] | None:
        """Two new cells that cover a domain: its leaves whose last optimum lies before a plane of parameters, and those
        where it lies beyond; None if one of them has all leaves.
        """
        known = self._known(part).get(part.key(), [])
        where = [np.nan if leaf.seen is None else float(direction @ leaf.seen.theta[0]) for leaf in known]
        # What has no optimum yet goes to both.
        before = [leaf for leaf, along in zip(known, where, strict=True) if not along > at]
        beyond = [leaf for leaf, along in zip(known, where, strict=True) if not along <= at]
        if len(before) == len(known) or len(beyond) == len(known):
            return None
        first = len(self._cells) + 1
        for cell, leaves in ((first, before), (first + 1, beyond)):
            inside = [leaf.below(replace(leaf.part, cell=cell)) for leaf in leaves]
            self._cells[cell] = [leaf.part for leaf in inside]
            self._decided[cell] = np.array([leaf.part.held for leaf in inside])
            self._confined[self._root(cell).key()] = inside
        return first, first + 1

    def _root(self, cell: int = 0) -> BlockDomain:
        """The whole block, or a cell of it."""
        return BlockDomain(np.zeros(len(self.rows), dtype=np.int8), self._relaxation.root(), cell)

    def _anew(self, part: BlockDomain) -> list[Leaf]:
        """Leaves that cover a part, of which nothing is known."""
        if not part.cell:
            return [Leaf(part)]
        return [Leaf(inside) for leaf in self._cells[part.cell] if (inside := leaf.meet(part)) is not None]

    def _start(self, part: BlockDomain) -> list[Leaf]:
        """The leaves known for this part, or those of the whole block as far as they lie in it."""
        known = self._known(part).get(part.key())
        if not self._settings.keep_leaves:
            return self._anew(part)
        if known is not None:
            return known
        whole = self._known(part).get(self._root(part.cell).key())
        if whole is None:
            return self._anew(part)
        met = [(leaf, leaf.part.meet(part)) for leaf in whole]
        return [leaf.below(inside) for leaf, inside in met if inside is not None]

    def _bounds(self, leaves: Sequence[Leaf], mu: Vector) -> list[float]:
        """What is known of leaves at these multipliers."""
        known: list[float] = bounds(leaves, mu, self._lower, self._upper).tolist()
        return known

    def _broken(self, leaf: Leaf, mu: Vector) -> tuple[Vector, Vector]:
        """Products of duals and slacks, and errors of other products, at a leaf's answer; zero where it has none."""
        if leaf.z is None or not leaf.solved(mu):
            return np.zeros(len(leaf.part.held)), np.zeros(len(mu))
        return self._relaxation.violations(leaf.z, leaf.part.held), self._relaxation.errors(leaf.z)

    def _tighten(self, leaf: Leaf, product: Vector, errors: Vector) -> bool:
        """Tighten the box of a leaf once before products are branched on; whether it is done or to be solved anew.

        An empty leaf keeps its old answer; one to be solved anew has none.
        """
        before = leaf.part.box
        if leaf.tight or before is None or errors.max() <= product.max(initial=0.0):
            return False
        leaf.tight, box = True, self._relaxation.tightened(leaf.part.held, before)
        if box is None:
            return True
        leaf.part = replace(leaf.part, box=box)
        if box.area().sum() > self._settings.box_shrinks * before.area().sum():
            return False
        leaf.z = None
        return True

    def _children(self, leaf: Leaf, product: Vector, errors: Vector) -> list[Leaf]:
        """Branch on the most violated pair, or divide the box where a product is violated more."""
        products, box = self._relaxation.level.products, leaf.part.box
        if products is not None and box is not None and errors.max() > product.max(initial=0.0):
            assert leaf.z is not None
            halves = products.split(leaf.z, int(np.argmax(errors)), box)
            return [leaf.below(replace(leaf.part, box=half)) for half in halves]
        return [leaf.below(part) for part in leaf.part.decided(int(np.argmax(product)))]

    def _split(self, leaf: Leaf) -> list[Leaf] | None:
        """Both decisions of one open pair of a leaf without a point; None if all are decided."""
        undecided = np.flatnonzero(leaf.part.held == OPEN)
        if not len(undecided):
            return None
        return [leaf.below(part) for part in leaf.part.decided(int(undecided[0]))]

    def _column(self, leaf: Leaf, bound: float, mu: Vector, underestimated: bool) -> Column:
        level, z = self._relaxation.level, leaf.z
        assert z is not None
        theta, slack, dual = z[level.theta_at].copy(), level.slack(z), z[level.sigma_at]
        # What the leaf decides holds whatever the solver's last digits say.
        dual_zero = (leaf.part.held == DUAL_ZERO) | (dual <= _ZERO * (1.0 + np.abs(dual).max(initial=0.0)))
        slack_zero = (leaf.part.held == SLACK_ZERO) | (slack <= _ZERO * (1.0 + np.abs(level.follower.ineq_rhs)))
        broken = excluded(dual_zero, slack_zero)
        return Column(theta, bound + float(mu @ theta), broken, level.rest(z), underestimated)
