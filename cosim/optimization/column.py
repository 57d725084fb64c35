"""Points of blocks, as columns of the model of a decomposition."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cosim.optimization.arrays import Vector
from cosim.optimization.region import Part
from cosim.optimization.relaxation import DUAL_ZERO, SLACK_ZERO


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

    def lies_in(self, part: Part) -> bool:
        """Whether the point keeps what is decided in a part of its block, and lies in its box."""
        if part.box is not None and self.rest is not None and not part.box.holds(self.theta, self.rest):
            return False
        broken = ((part.held == DUAL_ZERO) & ~self.dual_zero) | ((part.held == SLACK_ZERO) & ~self.slack_zero)
        return not bool(np.any(broken))

    def covers(self, other: Column) -> bool:
        """Whether every decision that the other point keeps is kept by this one."""
        lost = (other.dual_zero & ~self.dual_zero) | (other.slack_zero & ~self.slack_zero)
        return not bool(np.any(lost))
