"""Leaves of the tree of a pricing problem, and their lower bounds at multipliers for which they were not solved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from cosim.optimization.bilevel.relaxation.relaxation import Point
from cosim.optimization.bilevel.tree.domain import BlockDomain
from cosim.optimization.qp.arrays import Vector


@dataclass(frozen=True, slots=True)
class Seen:
    """Optima of a leaf, or of one that contains it, at several multipliers, a row each.

    Attributes:
        mu, theta, reduced_cost: (e, k) the multipliers, the parameters there, and their reduced costs (not positive at
            the upper end of their box, not negative at the lower one).
        bound: (e,) the values.
    """

    mu: Vector
    theta: Vector
    reduced_cost: Vector
    bound: Vector

    def before(self, older: Seen, kept: int) -> Seen:
        """These optima, then older ones up to a number of `kept` in all."""
        mine, others = ((of.mu, of.theta, of.reduced_cost, of.bound) for of in (self, older))
        return Seen(*(np.concatenate([new, old])[:kept] for new, old in zip(mine, others, strict=True)))


@dataclass(slots=True)
class Leaf:
    """A leaf of a pricing problem's tree.

    Attributes:
        part: its domain; `tight` if its box was tightened.
        mu, z: where it was solved last, and its optimum there; None before that.
        short: how far its objective may lie below the optimum.
    """

    part: BlockDomain
    seen: Seen | None = None
    tight: bool = False
    mu: Vector | None = None
    z: Vector | None = field(default=None, repr=False)
    short: float = 0.0

    def below(self, part: BlockDomain) -> Leaf:
        """A child of this leaf, which inherits its optima."""
        return Leaf(part, self.seen)

    def solved(self, mu: Vector) -> bool:
        """Whether its optimum at these multipliers is at hand."""
        return self.z is not None and self.mu is not None and np.array_equal(self.mu, mu)

    def take(self, mu: Vector, found: Point, bound: float, theta: Vector, reduced_cost: Vector, kept: int) -> None:
        """Store an optimum at these multipliers and its bound, beside the last ones up to a number of `kept`."""
        new = Seen(mu[None], theta[None], reduced_cost[None], np.array([bound]))
        self.seen = new if self.seen is None else new.before(self.seen, kept)
        self.mu, self.z, self.short = mu, found.z, found.short


def bounds(leaves: Sequence[Leaf], mu: Vector, lower: Vector, upper: Vector) -> Vector:
    """(leaves,) lower bounds of payment - mu'th in leaves whose parameters lie within these limits at most.

    The Lagrangian of an optimum gives  payment - mu_j'th >= bound_j + reduced_cost_j'(th - th_j)  on the leaf. What is
    left at other multipliers is linear in the parameters, and therefore least at an end of their box.
    """
    out = np.full(len(leaves), -np.inf)
    seen = [(i, leaf.part.box, leaf.seen) for i, leaf in enumerate(leaves) if leaf.seen is not None]
    if not seen:
        return out
    count = [len(optima.bound) for *_, optima in seen]
    theta, bound = (np.concatenate([getattr(optima, name) for *_, optima in seen]) for name in ("theta", "bound"))
    change = np.concatenate([optima.mu for *_, optima in seen]) - mu
    slope = change + np.concatenate([optima.reduced_cost for *_, optima in seen])
    low, high = lower, upper
    if any(box is not None for _, box, _ in seen):
        low = np.repeat([lower if box is None else box.lower for _, box, _ in seen], count, axis=0)
        high = np.repeat([upper if box is None else box.upper for _, box, _ in seen], count, axis=0)
    moved = np.sum(change * theta + np.minimum(slope * (low - theta), slope * (high - theta)), axis=1)
    # At multipliers that were solved for, such reduced costs are only the solver's rounding.
    moved[~np.any(change, axis=1)] = 0.0
    first = np.concatenate([[0], np.cumsum(count)[:-1]])
    out[[i for i, *_ in seen]] = np.maximum.reduceat(bound + moved, first)
    return out
