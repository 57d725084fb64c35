"""The sections of a scenario file on the market: what energy costs, and what aggregators are charged."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from cosim.scenario.calendar import RealTime
from cosim.scenario.modes import Mode
from cosim.scenario.series.spec import SeriesSpec
from cosim.scenario.types import BriefSection, Finite, ImportPath, LeftOut, Name, NonNegative, Positive

MOST_STEPS = 1_000_000
"""Most market steps of a horizon (a year of minutes has 525,600)."""
RULED: tuple[Mode, ...] = ("decentralized", "envelope")
"""Modes with a rule to choose."""


def check_order(floor: float | None, cap: float | None) -> None:
    """Refuse a floor of the price above its cap; either may be missing."""
    if floor is not None and cap is not None and floor > cap:
        raise ValueError(f"price_floor_usd_per_mwh {floor:g} is above price_cap_usd_per_mwh {cap:g}")


class RealTimeSpec(BriefSection):
    """The second of two settlements: how real-time windows are agreed on; what is left out is as day ahead.

    ``mode`` and ``rule`` (an update rule of mode ``decentralized``, or a sharing rule of ``envelope``) are those of
    real time; ``parameters`` are for a rule of one's own. ``window_steps`` is the look-ahead of real-time windows, at
    most to the end of the day. They open ``gate_s`` before their step, by default half of ``clock.gate_s``. Floor and
    cap are those of real-time prices; an aggregator's own go before them.
    """

    mode: Mode | None = None
    rule: str | None = None
    parameters: Annotated[dict[str, Any], LeftOut] = Field(default_factory=dict)
    window_steps: Annotated[int, Field(gt=0, le=MOST_STEPS)] | None = None
    gate_s: Annotated[int, Field(gt=0)] | None = None
    price_floor_usd_per_mwh: Finite | None = None
    price_cap_usd_per_mwh: Finite | None = None

    @model_validator(mode="after")
    def _rule_of_its_mode(self) -> RealTimeSpec:
        if self.rule is not None and self.mode not in RULED:
            raise ValueError(f"rule {self.rule} needs the mode that it is of; allowed: mode {' or '.join(RULED)}")
        if self.parameters and self.rule is None:
            raise ValueError("parameters need the rule that they are for; allowed: rule: package.module:Class")
        return self

    def timed(self, clock_gate_s: int) -> RealTime:
        """When real-time windows are agreed on, where ``clock.gate_s`` is this."""
        return RealTime(clock_gate_s // 2 if self.gate_s is None else self.gate_s, self.window_steps)

    def within(self, floor: float | None, cap: float | None) -> tuple[float | None, float | None]:
        """Floor and cap of real-time prices where day ahead they are these."""
        own = self.price_floor_usd_per_mwh, self.price_cap_usd_per_mwh
        return floor if own[0] is None else own[0], cap if own[1] is None else own[1]


class RiskSpec(BriefSection):
    """How much aggregators mind prices that are uncertain: they minimise (1 - beta) E + beta CVaR_alpha of their cost.

    ``alpha``: CVaR is the mean of the worst share 1 - alpha of the outcomes.
    """

    beta: Annotated[float, Field(ge=0, le=1)]
    alpha: Annotated[float, Field(ge=0, lt=1)] = 0.9


class StochasticSpec(BriefSection):
    """Clearing on scenarios of what may happen, instead of on forecasts alone.

    ``scenarios``: of the series that are forecast with an error, each with a weight; ``sampled``: how many are drawn,
    of which they are kept. ``sampling``: by a Sobol sequence or ``monte_carlo``. ``reduction``: how those to keep are
    chosen, ``forward_selection``, or ``none`` (what is drawn is kept, all equally likely). ``tangents``: whether the
    network is linearised in each ``scenario``, or once a ``step`` on what is forecast and moved with the load.
    ``worth``: whether the values of the stochastic solution and of perfect information are worked out, which costs a
    solve for each scenario. ``risk``: how much aggregators mind prices that are uncertain.
    """

    scenarios: Annotated[int, Field(ge=1, le=1000)] = 20
    sampled: Annotated[int, Field(ge=1, le=8192)] | None = None
    sampling: Literal["sobol", "monte_carlo"] = "sobol"
    reduction: Literal["forward_selection", "none"] = "forward_selection"
    tangents: Literal["scenario", "step"] = "scenario"
    worth: bool = False
    risk: Annotated[RiskSpec | None, LeftOut] = None

    @model_validator(mode="after")
    def _enough(self) -> StochasticSpec:
        if self.sampled is not None and self.reduction == "none" and self.sampled != self.scenarios:
            raise ValueError(f"reduction none keeps what is drawn: sampled {self.sampled}, scenarios {self.scenarios}")
        if self.sampled is not None and self.sampled < self.scenarios:
            raise ValueError(f"sampled {self.sampled} is below scenarios {self.scenarios}, which are kept of them")
        return self

    @property
    def drawn(self) -> int:
        """How many scenarios are drawn: by default ten times those that are kept, a power of two."""
        if self.reduction == "none":
            return self.scenarios
        return self.sampled or 1 << (10 * self.scenarios - 1).bit_length()

    @property
    def said(self) -> str:
        """How scenarios come about, in words."""
        how = {"sobol": "by a Sobol sequence", "monte_carlo": "by Monte Carlo"}[self.sampling]
        if self.reduction == "none":
            return f"{self.scenarios} scenarios {how}"
        return f"{self.scenarios} scenarios, kept by forward selection of {self.drawn} drawn {how},"


class MarketSpec(BriefSection):
    """What energy costs at the substation, and what the aggregator is charged for.

    ``price_floor`` and ``price_cap`` limit the price that is charged (not what aggregators negotiate about); prices
    may be negative. ``customer_tariff`` is what other customers pay; without it they pay the DLMP. ``bid_step_kw`` is
    the grid on which power is bid; what is drawn is the nearest in which no work is late that need not be, and the
    operator settles that. ``real_time`` is the second settlement of a market with two. ``stochastic``: windows are
    agreed on over scenarios of what may happen. With ``feeders`` each of them has its own price, slope and reactive
    price instead.
    """

    price_usd_per_mwh: Annotated[SeriesSpec | None, LeftOut] = None
    slope_usd_per_mwh_per_mw: NonNegative = 0.0
    reactive_price_usd_per_mvarh: NonNegative = 0.0
    settlement: Literal["active", "active+reactive"] = "active+reactive"
    tariff_usd_per_mwh: SeriesSpec | None = None
    customer_tariff_usd_per_mwh: Annotated[SeriesSpec | None, LeftOut] = None
    price_floor_usd_per_mwh: Finite | None = None
    price_cap_usd_per_mwh: Finite | None = None
    bid_step_kw: Positive | None = None
    real_time: Annotated[RealTimeSpec, LeftOut] = RealTimeSpec()
    stochastic: Annotated[StochasticSpec | None, LeftOut] = None

    @model_validator(mode="after")
    def _floor_below_cap(self) -> MarketSpec:
        limits = self.price_floor_usd_per_mwh, self.price_cap_usd_per_mwh
        check_order(*limits)
        check_order(*self.real_time.within(*limits))
        return self


class EnvelopeSpec(BriefSection):
    """Hourly limits of connections that are not firm: by which rule sites share the room of the network, and prices.

    ``rule``: one that comes with cosim, or ``package.module:Class``; ``parameters`` are for a rule of one's own,
    checked by its own model. ``prices``: what is charged, ``tariff`` (``market.tariff_usd_per_mwh``, else the price at
    the source) or ``posted`` (the operator's DLMPs at its forecast, each site drawing what it declared within its
    limit).
    """

    rule: str = "equal"
    parameters: Annotated[dict[str, Any], LeftOut] = Field(default_factory=dict)
    prices: Literal["tariff", "posted"] = "tariff"


class AggregatorSpec(BriefSection):
    """A data center aggregator: an agent class by import path and the sites that it runs (default: all).

    ``parameters`` are for the class, checked by its own model. ``tariff``, ``price_floor`` and ``price_cap`` are its
    own, in place of the market's.
    """

    name: Name = "dca"
    agent: ImportPath = "cosim.agents.dca:DataCenterAggregator"
    datacenters: tuple[str, ...] = ()
    parameters: dict[str, Any] = Field(default_factory=dict)
    tariff_usd_per_mwh: Annotated[SeriesSpec | None, LeftOut] = None
    price_floor_usd_per_mwh: Annotated[Finite | None, LeftOut] = None
    price_cap_usd_per_mwh: Annotated[Finite | None, LeftOut] = None
