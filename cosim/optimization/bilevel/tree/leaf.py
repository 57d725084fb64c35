"""Leaves of the tree of a pricing problem, and their lower bounds at multipliers for which they were not solved."""

from __future__ import annotations

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

    def at(self, mu: Vector, lower: Vector, upper: Vector) -> float:
        """A lower bound at other multipliers.

        The Lagrangian of an optimum gives  payment - mu_j'th >= bound_j + reduced_cost_j'(th - th_j)  on the leaf. What
        is left is linear in the parameters, and therefore least at an end of their box.
        """
        change = self.mu - mu
        slope = change + self.reduced_cost
        ends = np.minimum(slope * (lower - self.theta), slope * (upper - self.theta))
        moved = np.sum(change * self.theta + ends, axis=1)
        # At multipliers that were solved for, such reduced costs are only the solver's rounding.
        moved[~np.any(change, axis=1)] = 0.0
        return float((self.bound + moved).max())

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

    def take(self, mu: Vector, found: Point, bound: float, theta: Vector, reduced_cost: Vector, kept: int) -> None:
        """Store an optimum at these multipliers and its bound, beside the last ones up to a number of `kept`."""
        new = Seen(mu[None], theta[None], reduced_cost[None], np.array([bound]))
        self.seen = new if self.seen is None else new.before(self.seen, kept)
        self.mu, self.z, self.short = mu, found.z, found.short
