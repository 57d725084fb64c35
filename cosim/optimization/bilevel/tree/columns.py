"""Points of blocks, as columns of the model of a decomposition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from cosim.optimization.bilevel.relaxation.relaxation import DUAL_ZERO, SLACK_ZERO
from cosim.optimization.bilevel.tree.domain import BlockDomain
from cosim.optimization.qp.arrays import Vector

Mask: TypeAlias = npt.NDArray[np.bool_]
_USED = 1e-3


@dataclass(frozen=True, slots=True)
class Column:
    """A point of a block: parameters, payment, which duals and which slacks are zero, and rests.

    The payment of an `underestimated` column may be too low: its pricing problem was stopped early.
    """

    theta: Vector
    payment: float
    dual_zero: Mask
    slack_zero: Mask
    rest: Vector | None = None
    underestimated: bool = False

    def lies_in(self, part: BlockDomain) -> bool:
        """Whether the point satisfies the decisions of a domain of its block, and lies in its box."""
        if part.box is not None and self.rest is not None and not part.box.holds(self.theta, self.rest):
            return False
        broken = ((part.held == DUAL_ZERO) & ~self.dual_zero) | ((part.held == SLACK_ZERO) & ~self.slack_zero)
        return not bool(np.any(broken))

    def covers(self, other: Column) -> bool:
        """Whether this point satisfies every decision that the other one satisfies."""
        lost = (other.dual_zero & ~self.dual_zero) | (other.slack_zero & ~self.slack_zero)
        return not bool(np.any(lost))


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
