"""Points of blocks, as columns of the model of a decomposition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from cosim.optimization.bilevel.relaxation.relaxation import DUAL_ZERO, OPEN, SLACK_ZERO, Decisions
from cosim.optimization.bilevel.tree.domain import BlockDomain
from cosim.optimization.qp.arrays import Vector

Mask: TypeAlias = npt.NDArray[np.bool_]
_USED = 1e-3


@dataclass(frozen=True, slots=True)
class Column:
    """A point of a block: parameters, payment, decisions that exclude it, and rests.

    The payment of an `underestimated` column may be too low: its pricing problem was stopped early.

    Attributes:
        excluded: (m,) for each pair the decisions that the point breaks, see `excluded`.
    """

    theta: Vector
    payment: float
    excluded: Decisions
    rest: Vector | None = None
    underestimated: bool = False

    def lies_in(self, part: BlockDomain) -> bool:
        """Whether the point satisfies the decisions of a domain of its block, and lies in its box."""
        return not (part.held & self.excluded).any() and self._in_box(part)

    def lies_in_one(self, parts: Sequence[BlockDomain], held: Decisions) -> bool:
        """Whether the point lies in one of some domains at least, whose decisions are the rows of `held`."""
        met = np.flatnonzero(~(held & self.excluded).any(axis=1))
        return any(self._in_box(parts[i]) for i in met.tolist())

    def _in_box(self, part: BlockDomain) -> bool:
        return part.box is None or self.rest is None or part.box.holds(self.theta, self.rest)

    def covers(self, other: Column) -> bool:
        """Whether this point satisfies every decision that the other one satisfies."""
        return not (self.excluded & ~other.excluded).any()


def excluded(dual_zero: Mask, slack_zero: Mask) -> Decisions:
    """(m,) the decisions that a point breaks, as their sum: that a dual is zero, that a slack is."""
    return np.where(dual_zero, OPEN, DUAL_ZERO).astype(np.int8) + np.where(slack_zero, OPEN, SLACK_ZERO).astype(np.int8)


@dataclass(frozen=True, slots=True)
class Mixture:
    """A convex combination of columns of one block.

    Attributes:
        columns: those with a weight above rounding.
        weights: (columns,) which add up to one.
    """

    columns: tuple[Column, ...]
    weights: Vector

    @classmethod
    def of(cls, columns: Sequence[Column], weights: Vector) -> Mixture:
        """The combination with these weights, without columns of next to no weight."""
        used = np.flatnonzero(weights > _USED)
        chosen: Vector = weights[used] / max(float(weights[used].sum()), _USED)
        return cls(tuple(columns[i] for i in used.tolist()), chosen)

    @property
    def mixed(self) -> bool:
        """Whether it combines more than one column."""
        return len(self.columns) > 1

    @property
    def thetas(self) -> Vector:
        """(columns, k) their parameters."""
        return np.array([c.theta for c in self.columns])

    @property
    def theta(self) -> Vector:
        """(k,) their mean."""
        mean: Vector = self.weights @ self.thetas
        return mean

    @property
    def payment(self) -> float:
        """Mean payment."""
        return float(self.weights @ np.array([c.payment for c in self.columns]))
