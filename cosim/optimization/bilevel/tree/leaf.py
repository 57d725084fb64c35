"""Leaves of the tree of a pricing problem, and their lower bounds at multipliers for which they were not solved."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from cosim.optimization.bilevel.relaxation.relaxation import Point
from cosim.optimization.bilevel.tree.domain import BlockDomain
from cosim.optimization.qp.arrays import Vector


@dataclass(frozen=True, slots=True)
class Seen:
    """The optimum of a leaf, or of one that contains it, at some multipliers.

    Attributes:
        mu, theta, reduced_cost: (k,) the multipliers, the parameters there, and their reduced costs (not positive at
            the upper end of their box, not negative at the lower one).
        bound: its value.
    """

    mu: Vector
    theta: Vector
    reduced_cost: Vector
    bound: float

    def at(self, mu: Vector, lower: Vector, upper: Vector) -> float:
        """A lower bound at other multipliers.

        The Lagrangian of the optimum gives  payment - seen.mu'th >= bound + reduced_cost'(th - theta)  on the leaf, so
        that what is left is linear in the parameters and least at an end of their box.
        """
        change = self.mu - mu
        if not np.any(change):
            # At the multipliers that were solved for, reduced costs are only the solver's rounding.
            return self.bound
        slope = change + self.reduced_cost
        ends = np.minimum(slope * (lower - self.theta), slope * (upper - self.theta))
        return self.bound + float(np.sum(change * self.theta + ends))


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
        """A child of this leaf, which inherits its optimum."""
        return Leaf(part, self.seen)

    def bound(self, mu: Vector, lower: Vector, upper: Vector) -> float:
        """A lower bound of payment - mu'th in the leaf, whose parameters lie within these limits at most."""
        if self.seen is None:
            return -np.inf
        if self.part.box is not None:
            lower, upper = self.part.box.lower, self.part.box.upper
        return self.seen.at(mu, lower, upper)

    def solved(self, mu: Vector) -> bool:
        """Whether its optimum at these multipliers is at hand."""
        return self.z is not None and self.mu is not None and np.array_equal(self.mu, mu)

    def take(self, mu: Vector, found: Point, bound: float, theta: Vector, reduced_cost: Vector) -> None:
        """Store an optimum at these multipliers and its bound."""
        self.seen = Seen(mu, theta, reduced_cost, bound)
        self.mu, self.z, self.short = mu, found.z, found.short
