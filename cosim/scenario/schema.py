"""The schema of a scenario file: one place where what a user writes is checked.

A scenario is a YAML file. It may name another one as its ``base``; then only what differs is written.
Every key carries its unit in its name. Unknown keys are refused with the nearest known one.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from cosim.scenario.channel import ChannelSpec
from cosim.scenario.modes import Mode
from cosim.scenario.resource import ResourceSection
from cosim.scenario.series_spec import SeriesSpec as SeriesSpec
from cosim.scenario.types import (
    BusName,
    Connection,
    Finite,
    ImportPath,
    Name,
    NonNegative,
    PerUnit,
    Positive,
    Section,
    Share,
    twice,
)

MOST_STEPS = 1_000_000
"""Most market steps of a horizon (a year of minutes has 525,600)."""


class ClockSpec(Section):
    """Market calendar: integer seconds; ``window_steps`` is the look-ahead that is negotiated at once.

    ``start`` is local time, in ``timezone`` (a name as ``America/Los_Angeles``, or an offset) where there is one: then
    days have 23 and 25 hours. A start with an offset of its own needs no ``timezone`` and keeps that offset.
    """

    start: str = "2024-07-15T00:00:00"
    timezone: str | None = None
    step_s: Annotated[int, Field(gt=0, le=86_400)] = 3600
    steps: Annotated[int, Field(gt=0, le=MOST_STEPS)] = 24
    window_steps: Annotated[int, Field(gt=0, le=MOST_STEPS)] = 24
    market: Literal["day_ahead", "rolling"] = "day_ahead"
    gate_s: Annotated[int, Field(gt=0)] = 1800
    round_s: Annotated[int, Field(gt=0)] = 5


class UnbalanceSpec(Section):
    """A price on voltage unbalance, USD/h per (percent VUF)^2, and limits of it, percent, at each named bus.

    VUF (``limit_pct``) is |V2|/|V1|, linearised; PVUR (``pvur_limit_pct``) the largest deviation of a phase's magnitude
    from the mean of the three, on three-wire buses in the centroid frame. A limit is broken rather than kept where
    keeping it costs more than the price cap.
    """

    price_usd_per_pct2h: NonNegative = 0.0
    limit_pct: Positive | None = None
    pvur_limit_pct: Annotated[float, Field(gt=0, le=20)] | None = None
    buses: tuple[BusName, ...] = ()

    @model_validator(mode="after")
    def _limit_somewhere(self) -> UnbalanceSpec:
        for key in ("limit_pct", "pvur_limit_pct"):
            if getattr(self, key) is not None and not self.buses:
                raise ValueError(f"{key} needs the buses at which it holds; allowed: buses: [...]")
        return self


class NetworkSpec(Section):
    """The feeder and its limits. Voltage limits are line-to-line where a section has no neutral.

    ``branch_rating_kva`` limits the flow through named branches (three-phase; a third of it each phase);
    ``feeder_ratings`` takes those of the feeder's tables for all others: the ampacity of lines, the kVA of
    transformers and regulators. ``ac_rounds`` is how often a window may be agreed on again on the tangent of the
    AC power flow at the best point so far. ``controls``: regulators and capacitors stay where the tables and
    ``taps`` have them (``fixed``), or their controls move them before each step, never within one
    (``between_steps``).
    """

    feeder: str
    model: Literal["lindist3flow", "ac-linear"] = "lindist3flow"
    losses: bool = True
    ac_rounds: Annotated[int, Field(ge=0, le=20)] = 0
    source_pu: PerUnit | None = None
    taps: dict[str, int] = Field(default_factory=dict)
    controls: Literal["fixed", "between_steps"] = "fixed"
    v_min_pu: PerUnit = 0.95
    v_max_pu: PerUnit = 1.05
    price_cap_usd_per_mwh: Positive = 2000.0
    branch_rating_kva: dict[str, Positive] = Field(default_factory=dict)
    feeder_ratings: bool = False
    unbalance: UnbalanceSpec = UnbalanceSpec()
    load_scale: SeriesSpec

    @model_validator(mode="after")
    def _limits_in_order(self) -> NetworkSpec:
        if not self.v_min_pu < self.v_max_pu:
            raise ValueError(f"v_min_pu {self.v_min_pu} must be below v_max_pu {self.v_max_pu}")
        return self

    @model_validator(mode="after")
    def _losses_of_the_tangent(self) -> NetworkSpec:
        if self.model == "ac-linear" and not self.losses:
            raise ValueError("model ac-linear always has losses; losses: false needs model lindist3flow")
        return self


class MarketSpec(Section):
    """What energy costs at the substation, and what the aggregator is charged for.

    ``price_floor`` and ``price_cap`` limit the price that is charged (not what aggregators negotiate about); prices
    may be negative. ``bid_step_kw`` is the grid on which power is bid; what is drawn is the nearest in
    which no work is late that need not be, and the operator settles that.
    """

    price_usd_per_mwh: SeriesSpec
    slope_usd_per_mwh_per_mw: NonNegative = 0.0
    reactive_price_usd_per_mvarh: NonNegative = 0.0
    settlement: Literal["active", "active+reactive"] = "active+reactive"
    tariff_usd_per_mwh: SeriesSpec | None = None
    price_floor_usd_per_mwh: Finite | None = None
    price_cap_usd_per_mwh: Finite | None = None
    bid_step_kw: Positive | None = None

    @model_validator(mode="after")
    def _floor_below_cap(self) -> MarketSpec:
        floor, cap = self.price_floor_usd_per_mwh, self.price_cap_usd_per_mwh
        if floor is not None and cap is not None and floor > cap:
            raise ValueError(f"price_floor_usd_per_mwh {floor:g} is above price_cap_usd_per_mwh {cap:g}")
        return self


class GeneratorSpec(Section):
    """A distributed generator behind an inverter: P and Q within an inscribed polygon of ``s_kva``."""

    name: Name
    bus: BusName
    connection: Connection = "three_phase"
    kind: Literal["dispatchable", "pv"] = "dispatchable"
    p_max_kw: NonNegative
    p_min_kw: NonNegative = 0.0
    s_kva: Positive
    cost_usd_per_mwh: Finite = 0.0
    cost_usd_per_mw2h: NonNegative = 0.0
    reactive_cost_usd_per_mvar2h: NonNegative = 3.0
    ramp_kw_per_step: Positive | None = None
    profile: SeriesSpec | None = None

    @model_validator(mode="after")
    def _ranges(self) -> GeneratorSpec:
        if self.p_min_kw > self.p_max_kw:
            raise ValueError(f"p_min_kw {self.p_min_kw} is above p_max_kw {self.p_max_kw}")
        if self.kind == "pv" and self.profile is None:
            raise ValueError("a pv generator needs a profile")
        if self.kind == "pv" and self.p_min_kw > 0:
            raise ValueError("a pv generator can always be curtailed: p_min_kw must be 0")
        if self.p_max_kw > self.s_kva:
            raise ValueError(f"p_max_kw {self.p_max_kw} is above s_kva {self.s_kva}")
        return self


class SvgSpec(Section):
    """A static var generator dispatched by the DSO; ``kvar`` is its total rating (a third per leg)."""

    name: Name
    bus: BusName
    kvar: Positive
    mode: Literal["none", "balanced", "per_leg"] = "balanced"
    reactive_cost_usd_per_mvar2h: NonNegative = 3.0


class BatterySpec(Section):
    """A UPS battery that may be cycled above the reserve it keeps for outages."""

    energy_kwh: Positive
    power_kw: Positive
    efficiency: Annotated[float, Field(gt=0, le=1)] = 0.95
    reserve: Share = 0.5
    initial: Share = 0.75
    wear_usd_per_mwh: NonNegative = 20.0

    @model_validator(mode="after")
    def _charge_in_range(self) -> BatterySpec:
        if self.initial < self.reserve:
            raise ValueError(f"initial charge {self.initial} is below the reserve {self.reserve}")
        return self


class DataCenterSpec(Section):
    """A data center: P = PUE (idle + (peak - idle) utilisation), Q from the power factor (lagging)."""

    name: Name
    bus: BusName
    connection: Connection = "three_phase"
    it_peak_kw: Positive
    it_idle_kw: NonNegative
    pue: Annotated[float, Field(ge=1, le=3)]
    power_factor: Annotated[float, Field(gt=0, le=1)] = 0.95
    max_utilisation: Annotated[float, Field(gt=0, le=1)] = 0.95
    rating_kva: Positive | None = None
    battery: BatterySpec | None = None

    @model_validator(mode="after")
    def _idle_below_peak(self) -> DataCenterSpec:
        if self.it_idle_kw >= self.it_peak_kw:
            raise ValueError(f"it_idle_kw {self.it_idle_kw} must be below it_peak_kw {self.it_peak_kw}")
        return self

    @property
    def reactive_ratio(self) -> float:
        """kvar drawn per kW, from the power factor."""
        return math.tan(math.acos(self.power_factor))


class WorkClassSpec(Section):
    """One class of computing work, a share of the arrival series.

    ``max_delay_steps`` 0 means serve now; ``movable`` work may run at any site at ``migration_cost``.
    Work is measured in MWh of dynamic IT energy; delay is priced per MWh and hour of waiting.
    """

    name: Name
    share: Share
    movable: bool = False
    max_delay_steps: Annotated[int, Field(strict=True)] = 0
    delay_cost_usd_per_mwh_h: NonNegative = 0.0
    migration_cost_usd_per_mwh: NonNegative = 0.0

    @model_validator(mode="after")
    def _deadline_after_arrival(self) -> WorkClassSpec:
        if self.max_delay_steps < 0:
            raise ValueError(
                f"max_delay_steps {self.max_delay_steps} puts the deadline before the arrival; allowed: 0 or more"
            )
        return self


class WorkloadSpec(Section):
    """Arrivals: ``utilisation`` is the share of each site's capacity that arrives in a step."""

    utilisation: SeriesSpec
    site_weight: dict[str, NonNegative] = Field(default_factory=dict)
    classes: tuple[WorkClassSpec, ...]
    late_cost_usd_per_mwh: Positive = 5000.0

    @model_validator(mode="after")
    def _shares_add_up(self) -> WorkloadSpec:
        total = sum(c.share for c in self.classes)
        if not math.isclose(total, 1.0, abs_tol=1e-9):
            raise ValueError(f"the shares of the work classes add up to {total:g}, not 1")
        names = [c.name for c in self.classes]
        if len(set(names)) != len(names):
            raise ValueError(f"work classes must have different names, found {names}")
        return self


class AggregatorSpec(Section):
    """A data center aggregator: an agent class by import path and the sites that it runs (default: all).

    ``parameters`` are for the class, checked by its own model.
    """

    name: Name = "dca"
    agent: ImportPath = "cosim.agents.dca:DataCenterAggregator"
    datacenters: tuple[str, ...] = ()
    parameters: dict[str, Any] = Field(default_factory=dict)


class OperatorSpec(Section):
    """The distribution system operator: an agent class by import path, and what is for the class (``parameters``)."""

    name: Name = "dso"
    agent: ImportPath = "cosim.agents.dso:DistributionSystemOperator"
    parameters: dict[str, Any] = Field(default_factory=dict)


class DecentralizedSpec(Section):
    """The negotiation: update rule (or ``package.module:Class``), its parameters, and when it may stop.

    ``parameters`` are for a rule of one's own, checked by its own model.

    ``tolerance`` bounds both regrets together relative to the operator's cost; ``penalty`` is that of the proximal
    rule, and of ADMM at first; ``acceleration`` is how many rounds ADMM's Anderson acceleration looks back (0: none);
    ``averaging`` is the step of the averaged rule.
    """

    rule: str = "admm"
    parameters: dict[str, Any] = Field(default_factory=dict)
    max_rounds: Annotated[int, Field(gt=0)] = 200
    tolerance: Positive = 1e-6
    penalty_usd_per_mw2h: Positive = 50.0
    acceleration: Annotated[int, Field(ge=0, le=50)] = 5
    averaging: Literal["1/k", "2/(k+2)"] | Annotated[float, Field(gt=0, le=1)] = "2/(k+2)"


class CentralizedSpec(Section):
    """The bilevel optimum: who leads, which single-level form, which solver, how close.

    ``leader``: ``all`` aggregators as one, one by its name with the others taking prices, or ``each`` in turn with the
    others' demand as it last was, until no demand moves by more than ``settled_kw`` or ``max_sweeps`` are over.

    MIP solvers get bounds narrowed around the negotiated point (``tighten``), strong duality as a cut on discretised
    payments (``cut``) and the negotiated point to begin with (``start``); without the three it is the textbook program.
    """

    leader: Name = "all"
    max_sweeps: Annotated[int, Field(gt=0)] = 20
    settled_kw: Positive = 1.0
    formulation: Literal["strong-duality", "kkt-mccormick"] = "strong-duality"
    solver: Literal["auto", "branch", "scip", "highs", "gurobi"] = "auto"
    complementarity: Literal["big-m", "sos1", "indicator"] = "big-m"
    bits: Annotated[int, Field(ge=1, le=16)] = 6
    tighten: bool = True
    cut: bool = True
    start: bool = True
    gap: Positive = 1e-3
    time_limit_s: Positive = 300.0


class Scenario(Section):
    """Everything that one run needs, apart from its mode and where to leave its results."""

    schema_version: Literal[1] = 1
    name: Name
    description: str = ""
    seed: Annotated[int, Field(ge=0)] = 1
    mode: Mode = "decentralized"
    clock: ClockSpec = ClockSpec()
    network: NetworkSpec
    market: MarketSpec
    generators: tuple[GeneratorSpec, ...] = ()
    svgs: tuple[SvgSpec, ...] = ()
    resources: tuple[ResourceSection, ...] = ()
    datacenters: tuple[DataCenterSpec, ...]
    workload: WorkloadSpec
    operator: OperatorSpec = OperatorSpec()
    aggregators: tuple[AggregatorSpec, ...] = (AggregatorSpec(),)
    decentralized: DecentralizedSpec = DecentralizedSpec()
    centralized: CentralizedSpec = CentralizedSpec()
    channel: ChannelSpec = ChannelSpec()

    @model_validator(mode="after")
    def _names_agree(self) -> Scenario:
        units = (
            [g.name for g in self.generators]
            + [s.name for s in self.svgs]
            + [r.name for r in self.resources]
            + [d.name for d in self.datacenters]
        )
        if repeated := twice(units):
            raise ValueError(
                f"generators, svgs, resources and datacenters must have different names, found twice: {repeated}"
            )
        if not self.datacenters:
            raise ValueError("datacenters: at least one is needed")
        sites = [d.name for d in self.datacenters]
        unknown = sorted(set(self.workload.site_weight) - set(sites))
        if unknown:
            raise ValueError(
                f"workload.site_weight names {unknown}, which are not data centers; allowed: {sites}"
            )
        talking = [self.operator.name, *(a.name for a in self.aggregators)]
        if len(set(talking)) != len(talking):
            raise ValueError(f"operator and aggregators must have different names, found {talking}")
        heard = [(f"links.{i}", (k.sender, k.receiver)) for i, k in enumerate(self.channel.links)]
        for i, o in enumerate(self.channel.outages):
            heard.append((f"outages.{i}", (o.agent or o.sender, o.agent or o.receiver)))
        for key, ends in heard:
            if not set(ends) <= set(talking):
                raise ValueError(f"channel.{key} names an agent that is not there; allowed: {talking}")
        owned = [s for a in self.aggregators for s in (a.datacenters or sites)]
        if sorted(owned) != sorted(sites):
            raise ValueError(
                f"aggregators must own every data center exactly once; they own {owned} of {sites}"
            )
        return self
