"""Two settlements: positions that are agreed on day ahead, and what is drawn beside them in real time.

Day ahead, demand q1 is agreed on at prices p1, on forecasts. In real time windows on newer forecasts follow, by a mode
and a rule of their own, and q2 is drawn at prices of delivery p2. An aggregator pays its operator

    p1 q1 + p2 (q2 - q1)

for active power, and alike for reactive power unless the settlement is on active power. Who draws what it holds pays
day-ahead prices alone; what is drawn beyond that is bought, and what is left of it sold, at real-time prices (Kirschen
and Strbac, *Fundamentals of Power System Economics*, 2nd ed., 2018, chapter 3). All others settle at delivery alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from cosim.constants import KILO
from cosim.coordination import coordination_of
from cosim.coordination.base import Coordination, Market, Outcome
from cosim.coordination.delivery import Delivery
from cosim.coordination.session import Session
from cosim.errors import InputError
from cosim.protocol.roles import Array, Clearing, Prices
from cosim.results.columns import Columns
from cosim.scenario.calendar import Window
from cosim.scenario.forecasts.information import Information
from cosim.scenario.market import RealTimeSpec
from cosim.scenario.schema import Scenario


def in_real_time(scenario: Scenario) -> Scenario:
    """A scenario as its real-time market is run: mode, rule, floor and cap are those of real time."""
    spec, market = scenario.market.real_time, scenario.market
    mode = spec.mode or scenario.mode
    floor, cap = spec.within(market.price_floor_usd_per_mwh, market.price_cap_usd_per_mwh)
    limits = {"price_floor_usd_per_mwh": floor, "price_cap_usd_per_mwh": cap}
    changed: dict[str, Any] = {"mode": mode, "market": market.model_copy(update=limits)}
    if spec.rule is not None:
        ruled = getattr(scenario, mode)
        changed[mode] = ruled.model_copy(update={"rule": spec.rule, "parameters": spec.parameters})
    return scenario.model_copy(update=changed)


@contextmanager
def _naming_real_time(spec: RealTimeSpec) -> Iterator[None]:
    """Name rule and parameters as they stand in the file in errors about those of the real-time market."""

    def placed(key: str | None) -> str:
        section, _, rest = (key or "").partition(".")
        own = spec.rule is not None and section == spec.mode and rest.partition(".")[0] in ("rule", "parameters")
        return f"market.real_time.{rest}" if own else (key or "")

    try:
        yield
    except InputError as error:
        raise error.placed(placed) from None


class Stage:
    """A market that is run by a mode: the only one, or one of two settlements.

    Attributes:
        session: of the agents, once they have joined.

    Raises:
        InputError: an aggregator cannot deliver anything else than what it adopted, though it may have to.
    """

    session: Session

    def __init__(self, market: Market, mode: Coordination, information: Information | None) -> None:
        self.market, self._mode = market, mode
        self.delivery = Delivery(market, mode, information)

    def second(self, information: Information | None) -> Stage:
        """The second settlement: the same agents under the rules of real time.

        Raises:
            InputError: its mode or its rule cannot take the scenario.
        """
        scenario = self.market.scenario
        later = in_real_time(scenario)
        mode = coordination_of(later.mode)
        with _naming_real_time(scenario.market.real_time):
            mode.check(later)
        return Stage(self.market.under(later), mode, information)

    def join(self, beside: Stage | None = None) -> None:
        """Start the processes of the agents, or, beside another stage, have those do.

        Raises:
            InputError: an agent that cannot take part in the mode.
        """
        self.session = Session(self.market, self._mode, None if beside is None else beside.session)


@dataclass(frozen=True, slots=True)
class SettledStep:
    """What was held of a delivered step, and what was drawn beside it, each (1, terminals) at its prices."""

    held: Clearing
    beside: Clearing


@dataclass(slots=True)
class _Day:
    """A day that was agreed on: window and outcome.

    Attributes:
        shown: what was known of every series; None where everything is known beforehand.
        stands: whether nothing has come otherwise than was known then.
    """

    window: Window
    outcome: Outcome
    shown: list[Array] | None
    stands: bool


class Positions:
    """What the aggregators hold from day ahead, and whether it stands as long as nothing else is known.

    Where real time has the mode, the rule and the limits of day ahead and looks as far, nobody has reason to agree on
    anything else as long as nothing is known that was not known then: the rest of a plan is a plan of the rest. Then
    positions are delivered as they are.

    Args:
        market: the day-ahead market; real_time: the same agents under the rules of real time.
    """

    def __init__(self, market: Market, real_time: Market, information: Information | None) -> None:
        self._market, self._real_time, self._information = market, real_time, information
        spec = market.scenario.market.real_time
        self._alike = market.scenario == real_time.scenario and spec.window_steps is None
        self._day: _Day | None = None

    def notes(self) -> list[str]:
        """What a reader of the run should know of how it is settled."""
        told = [
            "two settlements: data centers pay day-ahead prices for their positions, and prices of delivery for what "
            "they draw beside them; all others settle at delivery alone"
        ]
        if self._real_time.scenario.mode == "centralized":
            told.append("in real time leaders reckon with the real-time price of all that they draw: what they hold "
                        "from day ahead is not in their problem")  # fmt: skip
        return told

    def hold(self, window: Window, outcome: Outcome) -> None:
        """Take up what a day was agreed on at, with what is known now."""
        shown = None if self._information is None else self._information.shown()
        self._day = _Day(window, outcome, shown, self._alike)

    @property
    def day(self) -> tuple[Window, Outcome]:
        """The day that was agreed on last."""
        assert self._day is not None, "a day is agreed on before its first step"
        return self._day.window, self._day.outcome

    def stand(self, window: Window) -> bool:
        """Whether what the day was agreed on at is delivered in a real-time window too, with what is known now."""
        day = self._day
        assert day is not None
        if self._information is not None and day.shown is not None:
            rest = range(window.first, day.window.last_exclusive)
            day.stands = day.stands and self._information.shows(day.shown, rest)
        return day.stands

    def leave(self) -> None:
        """Have the rest of the day agreed on anew, as something else happened than was known."""
        assert self._day is not None
        self._day.stands = False

    def settled(self, t: int, drawn: Clearing, local: int) -> SettledStep:
        """What is held of step ``t``, and what is drawn beside it at the prices of delivery."""
        window, outcome = self.day
        held = _step_of(outcome.clearing, t - window.first)
        now = _step_of(drawn, local)
        return SettledStep(held, replace(now, p_mw=now.p_mw - held.p_mw))

    def payments_usd(self, settled: SettledStep) -> list[float]:
        """The payment to each operator for a step: p1 q1 + p2 (q2 - q1)."""
        parts = [self._market.payments_of_step_usd(part, 0) for part in (settled.held, settled.beside)]
        return [float(sum(of_operator)) for of_operator in zip(*parts, strict=True)]

    def rows(self, t: int, settled: SettledStep, terminals: Sequence[tuple[str, str, str]]) -> Columns:
        """Rows of the table of deviations.

        Args:
            terminals: feeder, site and phase of each.
        """
        market, held, beside = self._market, settled.held, settled.beside
        feeders, sites, phases = zip(*terminals, strict=True)
        owners = [a.name for a in market.aggregators for _ in range(a.columns.stop - a.columns.start)]
        position, deviation = KILO * held.p_mw[0], KILO * beside.p_mw[0]
        return {
            "step": t,
            **({"feeder": list(feeders)} if any(feeders) else {}),
            "aggregator": owners,
            "datacenter": list(sites),
            "phase": list(phases),
            "position_kw": position,
            "drawn_kw": KILO * (held.p_mw[0] + beside.p_mw[0]),
            "deviation_kw": deviation,
            "deviation_kvar": deviation * market.operator.reactive_ratio,
            "day_ahead_usd_per_mwh": held.prices.p_usd_per_mwh[0],
            "real_time_usd_per_mwh": beside.prices.p_usd_per_mwh[0],
            "day_ahead_usd_per_mvarh": held.prices.q_usd_per_mvarh[0],
            "real_time_usd_per_mvarh": beside.prices.q_usd_per_mvarh[0],
            "day_ahead_payment_usd": market.payments_of_terminals_usd(held, 0),
            "deviation_payment_usd": market.payments_of_terminals_usd(beside, 0),
            "deviation_day_ahead_usd": market.payments_of_terminals_usd(replace(beside, prices=held.prices), 0),
        }


def _step_of(clearing: Clearing, t: int) -> Clearing:
    """Demand and prices of one step of a clearing, (1, terminals)."""
    prices = clearing.prices
    here = slice(t, t + 1)
    return Clearing(clearing.p_mw[here], 0.0, Prices(prices.p_usd_per_mwh[here], prices.q_usd_per_mvarh[here]))
