"""What every coordination mode shares: the market around which the agents sit, and the outcome of a window."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import simpy

from cosim.coordination.operators import Index, Operators, Seat
from cosim.protocol.channel import Channel, Mailbox
from cosim.protocol.desk import AggregatorDesk, Desk, Standing
from cosim.protocol.messages import Award
from cosim.protocol.roles import AggregatorAgent, Array, Clearing, OperatorAgent, Prices
from cosim.results.columns import Columns
from cosim.scenario.calendar import Window
from cosim.scenario.feeders import parts_of
from cosim.scenario.schema import Scenario

Process = Generator[Any, Any, "Outcome"]
Task = Generator[simpy.Event, Any, Any]
"""An operator's part of something that all operators do."""


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """One round of a negotiation: residuals, costs, and simulated time in seconds."""

    round: int
    time_s: float
    price_residual: float
    power_residual_kw: float
    dca_cost_usd: float
    dso_cost_usd: float


class Tell(Protocol):
    """Is told what is being done, for somebody who waits."""

    def __call__(
        self, text: str, made: RoundRecord | None = None, posted_usd_per_mwh: Array | None = None
    ) -> None:
        """Say what is being done; of a negotiation also its last round, and the prices that are posted next."""


def _nobody(text: str, made: RoundRecord | None = None, posted_usd_per_mwh: Array | None = None) -> None:
    """Nobody waits."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a window ends with, whatever the mode.

    Attributes:
        clearing: final demand, cost and settlement prices.
        own_cost_usd: aggregators' own costs (waiting, moving, wear), all together.
        rounds: record of each round; converged: whether the stopping test passed.
        regrets_usd: (aggregators, operator) of the awarded bids at the price they answered: together they bound what
            the award costs above the optimum. None if the award answers no posted price.
        certificate: proof of a centralized solution; solver and solver_s: what solved it and how long.
        gap: relative gap between the solution and its proven bound.
        rows: of result tables, by table, that the mode knows of the steps that are taken, each of one step.
        firm_prices: whether prices stay as they were told, whatever is delivered.
        limits_mw: (steps, terminals) most that may be drawn, nan where no limit arrived; None: no limits.
    """

    clearing: Clearing
    own_cost_usd: float
    converged: bool = True
    rounds: tuple[RoundRecord, ...] = ()
    regrets_usd: tuple[float, float] | None = None
    certificate: dict[str, object] | None = None
    gap: float | None = None
    solver: str = "piqp"
    solver_s: float = 0.0
    notes: tuple[str, ...] = ()
    rows: tuple[tuple[str, Columns], ...] = ()
    firm_prices: bool = False
    limits_mw: Array | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Link:
    """An operator and an aggregator that has sites on its feeder.

    Attributes:
        columns: numbers of the aggregator's terminals on the feeder among all terminals; own: among its own ones.
    """

    seat: Seat
    aggregator: AggregatorAgent
    columns: Index
    own: Index


@dataclass(frozen=True, slots=True)
class Market:
    """Where a coordination mode works: the agents, the channel between them, and the rules.

    Attributes:
        operator: all operators as one side.
        operator_desks: of the operators, in order; desks: of the aggregators, in order.
        links: who deals with whom, aggregator by aggregator.
    """

    operator: Operators
    aggregators: tuple[AggregatorAgent, ...]
    env: simpy.Environment
    channel: Channel
    scenario: Scenario
    hours: float
    tariff_usd_per_mwh: Array | None = None
    """(steps of the horizon,) what aggregators are charged under a tariff; None: the price at the source."""
    own_tariffs_usd_per_mwh: Mapping[str, Array] = field(default_factory=dict)
    """(steps of the horizon,) the same for aggregators, by name, that have a tariff of their own."""
    tell: Tell = _nobody
    operator_desks: tuple[Desk[Task, Any], ...] = field(init=False)
    desks: tuple[AggregatorDesk, ...] = field(init=False)
    links: tuple[Link, ...] = field(init=False)

    def __post_init__(self) -> None:
        def desk(name: str) -> Desk[Any, Any]:
            return Desk(self.env, self.channel.mailbox(name))

        object.__setattr__(self, "operator_desks", tuple(desk(o.name) for o in self.operators))
        object.__setattr__(self, "desks", tuple(desk(a.name) for a in self.aggregators))
        object.__setattr__(self, "links", tuple(self._links()))

    def _links(self) -> Generator[Link, None, None]:
        for a in self.aggregators:
            mine = np.arange(a.columns.start, a.columns.stop)
            for seat in self.operator.seats:
                columns = np.intersect1d(mine, seat.columns)
                if len(columns):
                    yield Link(seat, a, columns, columns - a.columns.start)

    @property
    def operators(self) -> tuple[OperatorAgent, ...]:
        """The operators one by one."""
        return tuple(seat.operator for seat in self.operator.seats)

    @property
    def judged_in_ac(self) -> bool:
        """Whether an operator judges by AC power flow what was agreed on, and may have it agreed on again."""
        return any(part.scenario.network.ac_rounds > 0 for part in parts_of(self.scenario))

    @property
    def settles_active(self) -> bool:
        """Whether only active power is paid for."""
        return self.scenario.market.settlement == "active"

    def declared(self, window: Window) -> Array:
        """Demand of all aggregators if work ran on arrival: (steps, terminals)."""
        return np.hstack([a.open_window(window) for a in self.aggregators])

    def effective(self, prices: Prices) -> Array:
        """Price per MWh drawn, reactive power included: p + q * (Mvar per MW)."""
        return prices.p_usd_per_mwh + prices.q_usd_per_mvarh * self.operator.reactive_ratio

    def payment_usd(self, p_mw: Array, prices: Prices) -> float:
        """What the aggregators pay: price times demand, reactive too unless the settlement is on active power."""
        if self.settles_active:
            charged = prices.p_usd_per_mwh
        else:
            charged = self.effective(prices)
        return float(self.hours * (charged * p_mw).sum())

    def payments_of_step_usd(self, clearing: Clearing, t: int) -> list[float]:
        """The payment to each operator for one step of a cleared window."""
        paid = self._paid_usd_per_h(clearing, t)
        return [float(self.hours * paid[seat.columns].sum()) for seat in self.operator.seats]

    def payments_of_terminals_usd(self, clearing: Clearing, t: int) -> Array:
        """(terminals,) the payment for what each draws in one step of a cleared window."""
        return self.hours * self._paid_usd_per_h(clearing, t)

    def _paid_usd_per_h(self, clearing: Clearing, t: int) -> Array:
        prices = clearing.prices
        charged = prices.p_usd_per_mwh if self.settles_active else self.effective(prices)
        return np.asarray(charged[t] * clearing.p_mw[t])

    def under(self, scenario: Scenario) -> Market:
        """The same agents, at the same desks, under the rules of another scenario."""
        other = copy(self)
        object.__setattr__(other, "scenario", scenario)
        return other

    def drawn_mw(self, p_mw: Array) -> Array:
        """What the aggregators draw that adopted a demand: (steps, terminals).

        It is that demand, unless bids lie on a grid, where what must run comes first, or there are batteries: a
        mixture of schedules may charge and discharge one at once.
        """
        batteries = any(d.battery is not None for d in self.scenario.datacenters)
        if batteries or self.scenario.market.bid_step_kw is not None:
            return np.hstack([a.drawn_mw() for a in self.aggregators])
        return p_mw

    def together(self, task: Callable[[Seat, Mailbox], Task]) -> Generator[simpy.Event, Any, list[Any]]:
        """Have each operator's process do its part of something; what these lead to, operator by operator."""
        for seat, desk in zip(self.operator.seats, self.operator_desks, strict=True):
            desk.open(task(seat, desk.mailbox))
        found = []
        for desk in self.operator_desks:
            found.append((yield desk.closed))
        return found

    def standings(self) -> Generator[simpy.Event, Standing, list[Standing]]:
        """Wait until each aggregator has adopted what it goes into delivery with."""
        found = []
        for desk in self.desks:
            found.append((yield desk.closed))
        return found

    def award(self, window: Window, number: int, clearing: Clearing) -> Clearing:
        """Have every operator tell its aggregators what they were awarded and at which price; returns that, prices
        within floor and cap."""
        clearing = self.charged(clearing)
        mailboxes = {s: d.mailbox for s, d in zip(self.operator.seats, self.operator_desks, strict=True)}
        for link in self.links:
            p_mw = np.take(clearing.p_mw, link.columns, axis=1)
            mailboxes[link.seat].send(
                Award(
                    sender=link.seat.operator.name,
                    receiver=link.aggregator.name,
                    step=window.first,
                    round=number,
                    p_mw=p_mw,
                    q_mvar=p_mw * self.operator.reactive_ratio[link.columns],
                    price_p_usd_per_mwh=np.take(clearing.prices.p_usd_per_mwh, link.columns, axis=1),
                    price_q_usd_per_mvarh=np.take(clearing.prices.q_usd_per_mvarh, link.columns, axis=1),
                )
            )
        return clearing

    def charged(self, clearing: Clearing) -> Clearing:
        """A clearing with prices of active power within the floor and the cap of each aggregator."""
        price = clearing.prices.p_usd_per_mwh.copy()
        for agent, spec in zip(self.aggregators, self.scenario.aggregators, strict=True):
            price[:, agent.columns] = _within(price[:, agent.columns], *self.scenario.price_limits(spec))
        return replace(clearing, prices=replace(clearing.prices, p_usd_per_mwh=price))

    def limited(self, price_usd_per_mwh: Array) -> Array:
        """Prices of active power within the market's floor and cap, as parties other than aggregators get them."""
        spec = self.scenario.market
        return _within(price_usd_per_mwh, spec.price_floor_usd_per_mwh, spec.price_cap_usd_per_mwh)


def _within(price: Array, floor: float | None, cap: float | None) -> Array:
    if floor is None and cap is None:
        return price
    return np.clip(price, -np.inf if floor is None else floor, np.inf if cap is None else cap)


class Coordination(Protocol):
    """A mode: what happens in a window, which ends with an outcome."""

    decides_alone: bool
    """Whether it knows the problems of all and tells aggregators by :meth:`AggregatorAgent.adopt`; else they act."""
    posts: bool
    """Whether anything is posted that aggregators answer, round by round."""
    limits: bool
    """Whether operators limit what may be drawn."""

    def check(self, scenario: Scenario) -> None:
        """Refuse, before anything runs, a scenario that this mode cannot take.

        Raises:
            InputError: naming the key.
        """

    def admit(self, market: Market) -> None:
        """Refuse, before anything runs, agents that cannot take part in this mode.

        Raises:
            InputError: naming the agent.
        """

    def run(self, market: Market, window: Window, declared_p_mw: Array) -> Process:
        """Coordinate one window; yields simulation events, returns the outcome."""
