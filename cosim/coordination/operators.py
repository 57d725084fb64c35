"""All operators of a market as one side: what modes and update rules deal with, whether there is one operator or more.

Feeders share nothing but the aggregators whose sites lie on them. So costs add up, prices and demand stand side by
side, and the clearing as a parametric QP is block diagonal in (operator, step).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cosim.errors import RunFailure
from cosim.optimization.bilevel.model.settlement import Settlement
from cosim.optimization.qp.arrays import block_diagonal
from cosim.optimization.qp.parametric import ParametricQP, stack
from cosim.optimization.qp.transform import rename
from cosim.protocol.envelopes import Envelope, SharingRule
from cosim.protocol.roles import Array, Clearing, OperatorAgent, Prices, Refined
from cosim.scenario.calendar import Window

Index = NDArray[np.intp]
OPENINGS = 5
"""Shares of the declared demand tried before none."""


@dataclass(frozen=True, slots=True, eq=False)
class Seat:
    """An operator's seat at the market.

    Attributes:
        feeder: name of its feeder; empty where it is the only one, in the short spelling.
        columns: numbers of the terminals on its feeder among all terminals.
    """

    operator: OperatorAgent
    feeder: str
    columns: Index

    def own(self, values: Array) -> Array:
        """(steps, terminals) of its feeder, of (steps, all terminals)."""
        return np.take(values, self.columns, axis=1)

    def block(self, matrices: Array) -> Array:
        """(steps, terminals, terminals) of its feeder, of (steps, all terminals, all terminals)."""
        return np.take(np.take(matrices, self.columns, axis=1), self.columns, axis=2)

    def named(self, what: str) -> str:
        """A name or a note with the feeder before it, if the feeder has a name."""
        return f"{self.feeder}: {what}" if self.feeder else what


class Operators:
    """The operators of a market together, with the interface that one of them has.

    Args:
        seats: in the order in which their blocks stand in the follower.
    """

    def __init__(self, seats: Sequence[Seat]) -> None:
        self.seats = tuple(seats)
        self.count = sum(len(seat.columns) for seat in self.seats)
        self.reactive_ratio = np.empty(self.count)
        for seat in self.seats:
            self.reactive_ratio[seat.columns] = seat.operator.reactive_ratio
        self._stacked: tuple[list[ParametricQP], ParametricQP] | None = None

    def _beside(self, parts: Sequence[Array]) -> Array:
        """(steps, all terminals) of what each operator has of its own."""
        out = np.empty((len(parts[0]), self.count))
        for seat, values in zip(self.seats, parts, strict=True):
            out[:, seat.columns] = values
        return out

    def _joined(self, parts: Sequence[Clearing], p_mw: Array | None = None) -> Clearing:
        """Clearings put together.

        Args:
            p_mw: the demand that they were asked for, if they were.
        """
        costs = [c.step_costs_usd for c in parts if c.step_costs_usd is not None]
        return Clearing(
            self._beside([c.p_mw for c in parts]) if p_mw is None else p_mw,
            sum(c.cost_usd for c in parts),
            Prices(
                self._beside([c.prices.p_usd_per_mwh for c in parts]),
                self._beside([c.prices.q_usd_per_mvarh for c in parts]),
                parts[0].prices.scenarios if len(parts) == 1 else None,
            ),
            np.asarray(sum(costs)) if len(costs) == len(parts) else None,
            tuple(parts),
        )

    def open_window(self, window: Window, declared_p_mw: Array) -> None:
        """Have every operator linearise its network for a window around the declared demand."""
        for seat in self.seats:
            seat.operator.open_window(window, seat.own(declared_p_mw))

    def open_limited(self, window: Window, declared_p_mw: Array) -> float:
        """Open a window whose declared demand will be limited: around it, or around the largest share of it (halved
        again and again, at last none) at which power flow has a solution.

        Returns:
            That share.

        Raises:
            RunFailure: there is none without any demand either.
        """
        for share in (*(0.5**k for k in range(OPENINGS)), 0.0):
            try:
                with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # where numbers run off
                    self.follow(window, share * declared_p_mw)
            except RunFailure:
                if share == 0.0:
                    raise
            else:
                return share
        raise AssertionError("the last share is none")

    def envelopes(self, forecast_p_mw: Array, rule: SharingRule) -> list[Envelope]:
        """Limits of the sites on each feeder; see :meth:`OperatorAgent.envelope`."""
        return [seat.operator.envelope(seat.own(forecast_p_mw), rule) for seat in self.seats]

    def limits(self, envelopes: Sequence[Envelope]) -> Array:
        """(steps, all terminals) most that each may draw."""
        return self._beside([envelope.p_max_mw for envelope in envelopes])

    def follow(self, window: Window, p_mw: Array) -> None:
        """Open the window anew around what is drawn; see :meth:`OperatorAgent.follow`."""
        for seat in self.seats:
            seat.operator.follow(window, seat.own(p_mw))

    def refine(self, p_mw: Array, own_usd: float | None, last: bool = False) -> Refined:
        """What AC power flow leaves of a demand; see :meth:`OperatorAgent.refine`."""
        asked = [seat.own(p_mw) for seat in self.seats]
        found = [s.operator.refine(own, own_usd, last) for s, own in zip(self.seats, asked, strict=True)]
        same = all(refined.p_mw is own for refined, own in zip(found, asked, strict=True))
        notes = [s.named(note) for s, refined in zip(self.seats, found, strict=True) for note in refined.notes]
        return Refined(
            p_mw if same else self._beside([r.p_mw for r in found]), any(r.again for r in found), tuple(notes)
        )

    def clear(self, p_mw: Array) -> Clearing:
        """Least cost of serving this demand, and the prices that come with it."""
        return self._joined([s.operator.clear(s.own(p_mw)) for s in self.seats], p_mw)

    def opening_price(self, steps: int) -> Array:
        """(steps, terminals) price of energy at the source of each terminal's feeder."""
        return self._beside([s.operator.opening_price(steps) for s in self.seats])

    def clear_near(self, p_mw: Array, price: Array, penalty: float | Array) -> Clearing:
        """Demand that the operators would choose at a price; see :meth:`OperatorAgent.clear_near`.

        Args:
            penalty: one number, or (steps, terminals, terminals) matrices, block diagonal in the feeders.
        """

        def own(seat: Seat) -> float | Array:
            return seat.block(np.asarray(penalty)) if np.ndim(penalty) == 3 else penalty

        return self._joined([s.operator.clear_near(s.own(p_mw), s.own(price), own(s)) for s in self.seats])

    def regret_usd(self, p_mw: Array, price: Array) -> float:
        """What the operators together lose at this price against the demand they would rather serve."""
        return sum(s.operator.regret_usd(s.own(p_mw), s.own(price)) for s in self.seats)

    def follower(self) -> ParametricQP:
        """The window's clearing with the terminals' active power as parameters, operator after operator."""
        parts = [seat.operator.follower() for seat in self.seats]
        if self._stacked is None or any(a is not b for a, b in zip(self._stacked[0], parts, strict=True)):
            named = [
                rename(qp, seat.named, seat.named, seat.named) if seat.feeder else qp
                for seat, qp in zip(self.seats, parts, strict=True)
            ]
            self._stacked = parts, named[0] if len(named) == 1 else stack(named)
        return self._stacked[1]

    def parameter_names(self) -> list[list[str]]:
        """(steps, terminals) names of the parameters in :meth:`follower`."""
        own = [seat.operator.parameter_names() for seat in self.seats]
        out = np.empty((len(own[0]), self.count), dtype=object)
        for seat, names in zip(self.seats, own, strict=True):
            for k, column in enumerate(seat.columns.tolist()):
                out[:, column] = [seat.named(row[k]) for row in names]
        return [list(row) for row in out]

    def active_settlement(self) -> Settlement:
        """What active power alone is charged in :meth:`follower`."""
        parts = [seat.operator.active_settlement() for seat in self.seats]
        return Settlement(
            np.concatenate([c.constant for c in parts]),
            block_diagonal([c.by_nu for c in parts]),
            block_diagonal([c.by_sigma for c in parts]),
        )

    def settle(self, p_mw: Array, support: Array | None) -> Clearing:
        """Final clearing; among equally right prices the ones nearest to the supporting price."""
        return self._settled(p_mw, lambda s, p: s.operator.settle(p, None if support is None else s.own(support)))

    def settle_active(self, p_mw: Array, price: Array) -> Clearing:
        """Final clearing; among equally right prices the ones whose active part is nearest to this active price."""
        return self._settled(p_mw, lambda s, p: s.operator.settle_active(p, s.own(price)))

    def _settled(self, p_mw: Array, settle: Callable[[Seat, Array], Clearing]) -> Clearing:
        return self._joined([settle(seat, seat.own(p_mw)) for seat in self.seats], p_mw)
