"""What the agents say to each other: price postings, bids and awards.

Arrays are (T, n): steps of the window times the receiving or bidding aggregator's terminals. Power is in MW
and Mvar (demand positive), prices are in USD/MWh and USD/Mvarh. A message never changes after it was made:
its arrays are read-only copies. Messages are compared by identity.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cosim.errors import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Message:
    """What every message carries.

    Attributes:
        sender: name of the agent that speaks.
        receiver: name of the agent that is spoken to.
        step: first step of the window that is negotiated.
        round: number of the round within the window, from 0.

    Raises:
        InputError: a nameless agent, a negative step or round, or content of wrong shape or not finite.
    """

    kind: ClassVar[str] = "message"

    sender: str
    receiver: str
    step: int
    round: int

    def stale(self, step: int, round: int = 0) -> bool:
        """Whether it counts for nothing to who is in this round of the window that begins with this step.

        The one rule of staleness, for both sides and every kind of message: what belongs to another window is stale,
        whoever sent it and whatever its round, and so is what belongs to an earlier round of this window.
        """
        return self.step != step or self.round < round

    def __post_init__(self) -> None:
        for key in ("sender", "receiver"):
            if not getattr(self, key):
                raise InputError("an agent without a name cannot take part", key=f"{self.kind}.{key}")
        for key in ("step", "round"):
            number = getattr(self, key)
            if number < 0:
                raise InputError("a number from 0 is expected", key=f"{self.kind}.{key}", value=number)
        self._check_content()

    def _check_content(self) -> None:
        """Check and freeze what the kind of message adds."""

    def _freeze(self, *keys: str) -> None:
        """Turn fields into read-only (T, n) arrays of one shape."""
        shape: tuple[int, ...] | None = None
        for key in keys:
            array = _read_only(getattr(self, key), f"{self.kind}.{key}")
            if shape is not None and array.shape != shape:
                raise InputError(
                    f"shape differs from that of {keys[0]}",
                    key=f"{self.kind}.{key}",
                    value=array.shape,
                    allowed=str(shape),
                )
            shape = array.shape
            object.__setattr__(self, key, array)

    def _check_finite(self, *keys: str) -> None:
        for key in keys:
            value = getattr(self, key)
            if not math.isfinite(value):
                raise InputError("not a finite number", key=f"{self.kind}.{key}", value=value)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PricePosting(Message):
    """The operator posts prices, and in some rules a target that demand should stay near.

    Attributes:
        price_p_usd_per_mwh: (T, n) price of active energy.
        price_q_usd_per_mvarh: (T, n) price of reactive energy.
        target_p_mw: (T, n) demand that the operator would serve, or None.
        penalty_usd_per_mw2h: (T, 1) weight of ``1/2 (p - target)^2`` in the receiver's cost, or one number for all
            steps, or (T, n n) the matrix of ``1/2 (p - target)'W(p - target)``; needs a target.
        cut_p_mw, cut_slope_usd_per_mwh: (T, n) demand of the receiver at which the operator's cost is told, and its
            slope there, reactive power included; cut_cost_usd: (T, 1) that cost in each step, or (1, 1) of all.
        price_slope_usd_per_mw2h: (T, n n) how the price at each terminal moves with each demand, around the target.
        scenario_price_usd_per_mwh: (W T, n) price of each of W scenarios, all steps of the first one first, reactive
            power included if it is settled, or None; scenario_weight: (W, 1) their probabilities.
        fresh: whether the operator starts anew: tangents told before no longer hold.
    """

    kind: ClassVar[str] = "price_posting"

    price_p_usd_per_mwh: Array
    price_q_usd_per_mvarh: Array
    target_p_mw: Array | None = None
    penalty_usd_per_mw2h: Array | float = 0.0
    cut_p_mw: Array | None = None
    cut_slope_usd_per_mwh: Array | None = None
    cut_cost_usd: Array | None = None
    price_slope_usd_per_mw2h: Array | None = None
    scenario_price_usd_per_mwh: Array | None = None
    scenario_weight: Array | None = None
    fresh: bool = False

    def _check_content(self) -> None:
        target = () if self.target_p_mw is None else ("target_p_mw",)
        cut = () if self.cut_p_mw is None else ("cut_p_mw", "cut_slope_usd_per_mwh")
        self._freeze("price_p_usd_per_mwh", "price_q_usd_per_mvarh", *target, *cut)
        for key in ("cut_cost_usd", "price_slope_usd_per_mw2h", "scenario_price_usd_per_mwh", "scenario_weight"):
            if getattr(self, key) is not None:
                self._freeze(key)
        key, (steps, n) = f"{self.kind}.penalty_usd_per_mw2h", self.price_p_usd_per_mwh.shape
        given = np.asarray(self.penalty_usd_per_mw2h)
        penalty = _read_only(np.full((steps, 1), given) if given.ndim == 0 else given, key)
        if penalty.shape not in ((steps, 1), (steps, n * n)):
            allowed = f"({steps}, 1) or ({steps}, {n * n})"
            raise InputError("not one penalty for each step", key=key, value=penalty.shape, allowed=allowed)
        object.__setattr__(self, "penalty_usd_per_mw2h", penalty)
        weights = self.penalty()
        least = float((np.linalg.eigvalsh(weights) if weights.ndim == 3 else weights).min())
        if least < 0 or (penalty.any() and not target):
            raise InputError("a penalty is never negative, and needs a target", key=key, value=least)

    def penalty(self) -> Array:
        """The penalty as (T, 1), or as (T, n, n) matrices."""
        penalty, (steps, n) = np.asarray(self.penalty_usd_per_mw2h), self.price_p_usd_per_mwh.shape
        return penalty if penalty.shape == (steps, 1) else penalty.reshape(steps, n, n)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LimitPosting(Message):
    """The operator says how much may be drawn.

    Attributes:
        p_max_mw: (T, n) most active power that each terminal may draw, firm part included.
    """

    kind: ClassVar[str] = "limit_posting"

    p_max_mw: Array

    def _check_content(self) -> None:
        self._freeze("p_max_mw")
        if (self.p_max_mw < 0).any():
            key, least = f"{self.kind}.p_max_mw", float(self.p_max_mw.min())
            raise InputError("a limit is never negative", key=key, value=least, allowed="0 or more")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bid(Message):
    """An aggregator answers with the demand it would draw.

    Attributes:
        p_mw: (T, n) active demand.
        q_mvar: (T, n) reactive demand.
        regret_usd: what the bid costs more than the bidder's best answer to the posted price alone.
        cost_usd: the bidder's own cost without payment (waiting, moving, wear).
        price_usd_per_mwh: (T, n) price, reactive power included, at which the bidder would draw this (and at which its
            regret is stated); None: the posted one.
    """

    kind: ClassVar[str] = "bid"

    p_mw: Array
    q_mvar: Array
    regret_usd: float
    cost_usd: float
    price_usd_per_mwh: Array | None = None

    def _check_content(self) -> None:
        self._freeze("p_mw", "q_mvar", *(() if self.price_usd_per_mwh is None else ("price_usd_per_mwh",)))
        self._check_finite("regret_usd", "cost_usd")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Award(Message):
    """The operator tells an aggregator what it was awarded, and at which price.

    Attributes:
        p_mw: (T, n) active demand.
        q_mvar: (T, n) reactive demand.
        price_p_usd_per_mwh: (T, n) price of active energy.
        price_q_usd_per_mvarh: (T, n) price of reactive energy.
    """

    kind: ClassVar[str] = "award"

    p_mw: Array
    q_mvar: Array
    price_p_usd_per_mwh: Array
    price_q_usd_per_mvarh: Array

    def _check_content(self) -> None:
        self._freeze("p_mw", "q_mvar", "price_p_usd_per_mwh", "price_q_usd_per_mvarh")


Kind = TypeVar("Kind", bound=Message)


def current(messages: Iterable[Message], kind: type[Kind], step: int, round: int = 0) -> list[Kind]:
    """The messages of a kind that are not stale, oldest round first, in order of arrival within a round.

    Args:
        step: first step of the window that is open; round: the reader's own round, of which it still takes messages.
    """
    found = [m for m in messages if isinstance(m, kind) and not m.stale(step, round)]
    return sorted(found, key=lambda m: m.round)


def _read_only(values: ArrayLike, key: str) -> Array:
    """A read-only, finite (T, n) copy."""
    try:
        array = np.asarray(values).astype(np.float64, casting="same_kind")
    except (TypeError, ValueError):
        raise InputError("not an array of numbers", key=key, value=values) from None
    if array.ndim != 2 or array.size == 0:
        shape = array.shape
        raise InputError(
            "not a table of steps and terminals", key=key, value=shape, allowed="(steps, terminals)"
        )
    if not np.isfinite(array).all():
        row, column = (int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise InputError(
            f"not a finite number at step {row}, terminal {column}", key=key, value=float(array[row, column])
        )
    array.setflags(write=False)
    return array
