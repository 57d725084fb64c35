"""What a leader pays where that is not the follower's whole price, and how strong duality still serves.

A settlement is any affine function of the follower's duals that is paid for each unit of a parameter: the price of
active power alone, say, where demand also draws reactive power.

    settlement = constant - by_nu'nu - by_sigma'sigma,        payment = settlement'th

For each block b of the follower (a part that shares no variable with the rest) and any number share_b >= 0

    payment = sum_b share_b * (the block's part of price'th, convex by strong duality)  +  constant'th  +  rest'th

where rest = settlement - constant - share * (what duals make of the price) is again affine in the duals. Only rest'th
is bilinear. It is small where one share fits all rows of a block, and it lies above its McCormick envelope over a box
of th and a proven range of rest, which branching makes as tight as one likes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cosim.errors import InputError
from cosim.optimization.qp.arrays import Indices, Matrix, Vector, columns, csr, rows
from cosim.optimization.qp.parametric import ParametricQP, price_of_duals

_NEAR = 1e-7


@dataclass(frozen=True)
class Settlement:
    """constant - by_nu'nu - by_sigma'sigma, paid for each unit of the parameters.

    Attributes:
        constant: (k,).
        by_nu, by_sigma: (p, k) and (m, k), in the order of the follower's rows and parameters.
    """

    constant: Vector
    by_nu: Matrix
    by_sigma: Matrix

    @classmethod
    def of(cls, qp: ParametricQP) -> Settlement:
        """The whole price of a QP; of one with the follower's rows and other parameter columns, a part of its price."""
        return cls(qp.constant_theta, qp.eq_theta, qp.ineq_theta)

    def price(self, nu: Vector, sigma: Vector) -> Vector:
        """The settlement for each parameter at these duals, (k,)."""
        return price_of_duals(self.constant, self.by_nu, self.by_sigma, nu, sigma)

    def part(self, eq_rows: Indices, ineq_rows: Indices, parameters: Indices) -> Settlement:
        """Only these rows and parameters of the follower."""
        return replace(self, by_nu=rows(self.by_nu, eq_rows)).of_rows(ineq_rows).of_parameters(parameters)

    def of_rows(self, ineq_rows: Indices) -> Settlement:
        """Only these inequalities of the follower."""
        return replace(self, by_sigma=rows(self.by_sigma, ineq_rows))

    def of_parameters(self, parameters: Indices) -> Settlement:
        """Only these parameters of the follower."""
        by_nu, by_sigma = columns(self.by_nu, parameters), columns(self.by_sigma, parameters)
        return Settlement(self.constant[parameters], by_nu, by_sigma)

    def used(self) -> npt.NDArray[np.bool_]:
        """(k,) which parameters the duals enter the settlement of."""
        there = (abs(self.by_nu).sum(axis=0) > 0) | (abs(self.by_sigma).sum(axis=0) > 0)
        return np.asarray(there).ravel()

    def require(self, follower: ParametricQP) -> None:
        """Refuse a settlement that does not fit a follower.

        Raises:
            InputError: for other shapes, or where the settlement counts the dual of a row that no parameter moves
                (presolve may take such a row out together with its dual).
        """
        k, p, m = len(follower.parameters), len(follower.eq_rows), len(follower.ineq_rows)
        shapes = (self.constant.shape, self.by_nu.shape, self.by_sigma.shape)
        if shapes != ((k,), (p, k), (m, k)):
            raise InputError("a settlement does not fit the follower", key="settlement", value=shapes)
        moved, settled = abs(follower.ineq_theta).sum(axis=1) > 0, abs(self.by_sigma).sum(axis=1) > 0
        if np.any(settled & ~moved):
            first = follower.ineq_rows[int(np.argmax(settled & ~moved))]
            raise InputError("a settlement for a row that no parameter moves", key="settlement", value=first)


@dataclass(frozen=True)
class Box:
    """Where a node of a search looks: parameters within [lower, upper] and rests within [low, high], each (k,)."""

    lower: Vector
    upper: Vector
    low: Vector
    high: Vector

    def key(self) -> bytes:
        """Equal for equal boxes."""
        return np.concatenate([self.lower, self.upper, self.low, self.high]).tobytes()

    def part(self, parameters: Indices) -> Box:
        """The box of some parameters."""
        return Box(*(side[parameters] for side in (self.lower, self.upper, self.low, self.high)))

    def meet(self, other: Box) -> Box | None:
        """What lies in both boxes; None where nothing does."""
        both = Box(
            np.maximum(self.lower, other.lower), np.minimum(self.upper, other.upper),
            np.maximum(self.low, other.low), np.minimum(self.high, other.high),
        )  # fmt: skip
        return None if np.any(both.lower > both.upper) or np.any(both.low > both.high) else both

    def split(self, k: int, at: float) -> tuple[Box, Box]:
        """Parameter k up to a value, and from there on."""
        return self._halves("lower", "upper", k, at)

    def split_rest(self, k: int, at: float) -> tuple[Box, Box]:
        """The rest of parameter k up to a value, and from there on."""
        return self._halves("low", "high", k, at)

    def _halves(self, least: str, most: str, k: int, at: float) -> tuple[Box, Box]:
        """The box with entry k of its side ``most`` at a value, and with that of its side ``least`` there."""
        up_to, from_there = getattr(self, most).copy(), getattr(self, least).copy()
        up_to[k] = from_there[k] = at
        return replace(self, **{most: up_to}), replace(self, **{least: from_there})

    def area(self) -> Vector:
        """(k,) width of each parameter times that of its rest: four times how far its envelope may lie below."""
        return (self.upper - self.lower) * (self.high - self.low)

    def holds(self, theta: Vector, rest: Vector) -> bool:
        """Whether parameters and their rests lie in the box, up to rounding."""
        near = _NEAR * (1.0 + np.abs(rest))
        inside = (self.lower - _NEAR <= theta) & (theta <= self.upper + _NEAR)
        return bool(np.all(inside & (self.low - near <= rest) & (rest <= self.high + near)))


@dataclass(frozen=True)
class SettlementShares:
    """A settlement as shares of the whole price and a rest; see the module.

    Attributes:
        settlement: the settlement itself.
        share_x, share_nu, share_sigma: the share of the block that each variable and row belongs to.
        rest: the rest as a settlement with constant 0.
        root: the box of the parameters and the proven range of the rests.
    """

    settlement: Settlement
    share_x: Vector
    share_nu: Vector
    share_sigma: Vector
    rest: Settlement
    root: Box

    @property
    def constant(self) -> Vector:
        """(k,) constant part of the settlement."""
        return self.settlement.constant

    def part(self, variables: Indices, eq_rows: Indices, ineq_rows: Indices, parameters: Indices) -> SettlementShares:
        """Only this part of the follower, whose parameters enter no other part."""
        return SettlementShares(
            self.settlement.part(eq_rows, ineq_rows, parameters),
            self.share_x[variables], self.share_nu[eq_rows], self.share_sigma[ineq_rows],
            self.rest.part(eq_rows, ineq_rows, parameters), self.root.part(parameters),
        )  # fmt: skip


def settled_at(follower: ParametricQP, theta: Vector, settlement: Settlement | None) -> ParametricQP:
    """The follower held at these parameters, with new ones around zero whose price is the settlement.

    Its duals are the follower's, so that a face of optimal duals can be asked for the settlement. Without a settlement
    the new parameters are the old ones, moved.
    """
    settlement = Settlement.of(follower) if settlement is None else settlement
    k = len(theta)
    return replace(
        follower,
        cost=follower.cost + follower.cost_theta @ theta,
        cost_theta=csr(None, (len(follower.variables), k)),
        eq_rhs=follower.eq_rhs + follower.eq_theta @ theta,
        ineq_rhs=follower.ineq_rhs + follower.ineq_theta @ theta,
        eq_theta=settlement.by_nu,
        ineq_theta=settlement.by_sigma,
        constant_theta=settlement.constant,
        theta_lower=np.zeros(k),
        theta_upper=np.zeros(k),
    )
