"""Points of blocks, as columns of the model of a decomposition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cosim.optimization.bilevel.relaxation.relaxation import DUAL_ZERO, SLACK_ZERO
from cosim.optimization.bilevel.tree.domain import BlockDomain
from cosim.optimization.qp.arrays import Vector

_USED = 1e-3


@dataclass(frozen=True, slots=True)
class Column:
    """A point of a block: its parameters, the payment, duals and slacks (exactly zero where they count as zero), and
    its rests.

    One that is `underestimated` comes from a search that was broken off: its payment may be too low.
    """

    theta: Vector
    payment: float
    dual: Vector
    slack: Vector
    rest: Vector | None = None
    underestimated: bool = False

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

    def lies_in(self, part: BlockDomain) -> bool:
        """Whether the point keeps what is decided in a part of its block, and lies in its box."""
        if part.box is not None and self.rest is not None and not part.box.holds(self.theta, self.rest):
            return False
        broken = ((part.held == DUAL_ZERO) & ~self.dual_zero) | ((part.held == SLACK_ZERO) & ~self.slack_zero)
        return not bool(np.any(broken))

    def covers(self, other: Column) -> bool:
        """Whether every decision that the other point keeps is kept by this one."""
        lost = (other.dual_zero & ~self.dual_zero) | (other.slack_zero & ~self.slack_zero)
        return not bool(np.any(lost))


@dataclass(frozen=True, slots=True)
class Mixture:
    """Points of one block between which a model meets the block's hull.

    Attributes:
        columns: those of some weight.
        weights: (columns,) which add up to one.
    """

    columns: tuple[Column, ...]
    weights: Vector

    @classmethod
    def of(cls, columns: Sequence[Column], weights: Vector) -> Mixture:
        """Columns with their weights, but for those of next to none."""
        used = np.flatnonzero(weights > _USED)
        chosen: Vector = weights[used] / max(float(weights[used].sum()), _USED)
        return cls(tuple(columns[i] for i in used.tolist()), chosen)

    @property
    def mixed(self) -> bool:
        """Whether there is more than one."""
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
