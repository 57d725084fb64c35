"""What agents and coordination say to each other in process: the interfaces of an operator and an aggregator.

A scenario names the classes that fulfil them; nothing here knows any of them. Arrays are (steps of the window,
terminals): power in MW and Mvar, prices in USD/MWh and USD/Mvarh.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.phases import Terminal
from cosim.grid.opendss.circuit import AcSolution
from cosim.optimization.bilevel.model.settlement import Settlement
from cosim.optimization.qp.parametric import ParametricQP
from cosim.protocol.envelopes import Envelope, SharingRule
from cosim.protocol.messages import Bid, PricePosting
from cosim.results.columns import Columns
from cosim.scenario.calendar import Window

Array = NDArray[np.float64]
OPERATOR_METHODS = ("open_window", "clear", "refine", "settle", "commit", "rows")
AGGREGATOR_METHODS = ("terminals", "open_window", "respond", "adopt", "commit")
"""What an agent must be able to do in any mode; see the interfaces below."""


@dataclass(frozen=True, slots=True)
class ScenarioPrices:
    """Prices of scenarios, each (scenarios, steps, terminals), and their probabilities (scenarios,)."""

    weights: Array
    p_usd_per_mwh: Array
    q_usd_per_mvarh: Array


@dataclass(frozen=True, slots=True)
class Prices:
    """Active and reactive prices at the terminals, each (steps, terminals).

    Attributes:
        scenarios: those of each scenario, where they are expected prices and somebody minds what they are expected of.
    """

    p_usd_per_mwh: Array
    q_usd_per_mvarh: Array
    scenarios: ScenarioPrices | None = None


@dataclass(frozen=True, slots=True)
class Clearing:
    """A cleared window: the demand it was cleared for, what it costs the operator (USD), and its prices.

    Attributes:
        step_costs_usd: (steps,) the cost step by step, each a convex function of that step's demand alone; None where
            the steps hang together (ramps), or where nobody asked.
        parts: of each operator in turn, where this is the clearing of all operators of a market together.
    """

    p_mw: Array
    cost_usd: float
    prices: Prices
    step_costs_usd: Array | None = None
    parts: tuple[Clearing, ...] = ()


@dataclass(frozen=True, slots=True)
class Refined:
    """What AC power flow leaves of a demand that a window was agreed on at.

    Attributes:
        p_mw: (steps, terminals) the best demand so far, the very array that was asked about if that is it.
        again: whether the window was linearised anew there and is to be agreed on again.
        notes: what a reader of the run should know of how it ended.
    """

    p_mw: Array
    again: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Agreement:
    """What an operator is told of the agreement of a connection that is not firm.

    Attributes:
        site: whose it is, of which a terminal may be one of several; they share the power equally.
        firm_mw: may always be drawn; flexible_mw: most beyond it, within limits.
        priority: place in the queue, 1 is first.
        notice_h: hours before a step until which its limit may change; None: never once it is told.
    """

    site: str
    firm_mw: float
    flexible_mw: float
    priority: int = 1
    notice_h: float | None = None


@dataclass(frozen=True, slots=True)
class TerminalLoad:
    """A data-center terminal as the operator is told of it: where, at most how many MW, and Mvar per MW.

    Attributes:
        on_arrival_mw: (steps of the horizon,) what it would draw if all work ran where and when it arrives, whatever
            has been agreed on; None if nobody knows.
        feeder: name of the feeder in a scenario with several.
        agreement: of its site; None where all that the connection carries is firm.
    """

    name: str
    terminal: Terminal
    p_max_mw: float
    reactive_ratio: float
    on_arrival_mw: Array | None = None
    feeder: str = ""
    agreement: Agreement | None = None


@dataclass(frozen=True, slots=True)
class PriceList:
    """Active (USD/MWh) and reactive (USD/Mvarh) price at some terminals in a step, each (terminals,)."""

    p_usd_per_mwh: Array
    q_usd_per_mvarh: Array

    def at(self, some: Sequence[int]) -> PriceList:
        """Those at some of the terminals."""
        return PriceList(self.p_usd_per_mwh[list(some)], self.q_usd_per_mvarh[list(some)])


@dataclass(frozen=True, slots=True)
class Position:
    """What a unit draws in a committed step, what it pays a MWh for it, and what the step costs it itself.

    Attributes:
        kind: what it is; owner: whose accounts it is booked in.
        p_mw, q_mvar: (terminals,) drawn if positive, given if negative.
        price: at its terminals, before the market's floor and cap.
        held: of it, what was agreed on day ahead, at its price; what is drawn beside that is paid at ``price``. None:
            all is.
    """

    unit: str
    kind: str
    owner: str
    p_mw: Array
    q_mvar: Array
    price: PriceList
    own_cost_usd: float = 0.0
    held: Position | None = None


class StepAccounts(Protocol):
    """What the operator's books say of a committed step.

    Attributes:
        units: what the operator dispatched; source: the import, at what the source asks.
        operator_cost_usd: what the step costs the operator itself: broken limits and unbalance.
    """

    @property
    def units(self) -> tuple[Position, ...]: ...
    @property
    def source(self) -> Position: ...
    @property
    def operator_cost_usd(self) -> float: ...

    def prices_at(self, terminals: tuple[Terminal, ...]) -> PriceList:
        """DLMPs of the step at some terminals."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """A committed step: what it cost, what came from the source, and every controllable injection.

    Attributes:
        injections: (terminal, demand in MW, demand in Mvar) of data centers and dispatched units.
        cost_usd: operator's cost of the step, with what broken limits cost.
        slack_kwh: what broken limits cost, as energy at the price cap.
        feeder: with regulators and capacitors as they stood in the step; None: as in the tables.
        accounts: who drew and gave what at which price; None if the operator keeps no such books.
    """

    injections: tuple[tuple[Terminal, float, float], ...]
    p_sub_kw: float
    q_sub_kvar: float
    cost_usd: float
    slack_kwh: float
    feeder: Feeder | None = None
    accounts: StepAccounts | None = None


class OperatorAgent(Protocol):
    """The distribution system operator of one feeder as coordination sees it; terminals are those on its feeder.

    Its process is its ``run(env, desk)``, or :func:`cosim.protocol.desk.conducting` if it has none.
    """

    name: str
    reactive_ratio: Array
    """(terminals,) Mvar drawn per MW at each terminal."""

    def open_window(self, window: Window, declared_p_mw: Array) -> None:
        """Linearise the network for a window around the declared demand; the same in every mode."""

    def refine(self, p_mw: Array, own_usd: float | None, last: bool = False) -> Refined:
        """Judge what the open window was agreed on at by AC power flow, and linearise it anew at the best point so far.

        Args:
            own_usd: aggregators' own cost at this demand; the operator may then settle on a mixture of demands that it
                was asked about. None: the demand was decided on at the prices of the linearisation, and stays with it.
            last: whether the window cannot be agreed on again.
        """

    def clear(self, p_mw: Array) -> Clearing:
        """Least cost of serving this demand, and the prices that come with it."""

    def opening_price(self, steps: int) -> Array:
        """(steps, terminals) price that a negotiation may start from: energy at the source, without limits."""

    def clear_near(self, p_mw: Array, price: Array, penalty: float | Array) -> Clearing:
        """Demand the operator would choose at a price, held near ``p_mw`` by a quadratic penalty: one number for all
        steps, or a matrix for each (steps, terminals, terminals)."""

    def regret_usd(self, p_mw: Array, price: Array) -> float:
        """What the operator loses at this (effective) price against the demand it would rather serve."""

    def follower(self) -> ParametricQP:
        """The window's clearing with the terminals' active power as parameters (reactive power follows)."""

    def parameter_names(self) -> list[list[str]]:
        """(steps, terminals) names of the parameters in :meth:`follower`."""

    def settle(self, p_mw: Array, support: Array | None) -> Clearing:
        """Final clearing; among equally right prices the one nearest to the supporting price."""

    def active_settlement(self) -> Settlement:
        """What active power alone is charged in :meth:`follower`; asked where settlement is on active power only."""

    def settle_active(self, p_mw: Array, price: Array) -> Clearing:
        """Final clearing; among equally right prices the one whose active part is nearest to this active price."""

    def envelope(self, forecast_p_mw: Array, rule: SharingRule) -> Envelope:
        """Limits of the sites in the open window at which every demand from nothing to the limits keeps the network's
        limits; asked in mode ``envelope``.

        Args:
            forecast_p_mw: demand at which the operator expects its own dispatch.
            rule: how sites share what the network carries.
        """

    def follow(self, window: Window, p_mw: Array) -> None:
        """Open a window anew around what is drawn in it, devices that move between steps acting on that; asked in mode
        ``envelope``."""

    def commit(self, t: int) -> Delivered:
        """Take step ``t`` of the horizon as delivered."""

    def rows(self, t: int, ac: AcSolution) -> dict[str, Columns]:
        """Rows of the result tables that the operator knows of a committed step, column by column."""


class AggregatorAgent(Protocol):
    """A data center aggregator as coordination sees it.

    Its process is its ``run(env, desk)``, or :func:`cosim.protocol.desk.bidding` if it has none; both answer postings
    by messages alone.
    """

    name: str
    columns: slice
    """Its terminals among all terminals."""

    def open_window(self, window: Window) -> Array:
        """Take up the work of a window; returns the demand (steps, own terminals) if it all ran on arrival."""

    def respond(self, posting: PricePosting) -> Bid:
        """Best demand at a posted price; on a grid of bids with cost and regret of what would be drawn for it."""

    def limit(self, p_max_mw: Array) -> Array:
        """Draw at most so much (steps, own terminals) for the rest of the open window, the firm part of an agreement
        where it is nan. Returns the demand if work runs on arrival as far as that allows; asked in mode ``envelope``.
        """

    def problem(self, names: Sequence[Sequence[str]]) -> ParametricQP:
        """Its schedule as a QP whose power variables bear these names (steps, own terminals)."""

    def adopt(self, p_mw: Array, solution: Array | None = None) -> float:
        """Commit to a demand (and, if given, to this solution of :meth:`problem`); returns its own cost in USD."""

    def drawn_mw(self) -> Array:
        """(steps, own terminals) what the adopted schedule draws; asked where it may differ from what was adopted: with
        batteries, bids on a grid, or awards of some of several operators."""

    def commit(self, t: int) -> tuple[float, dict[str, Columns]]:
        """Do the work of step ``t`` of the horizon; returns its own cost (USD) and its rows of the result tables,
        column by column. What the step cost each site it may say in ``site_costs_usd``, by the site's name, for the
        accounts."""
