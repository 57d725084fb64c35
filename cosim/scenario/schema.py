"""The schema of a scenario file: one place where what a user writes is checked.

A scenario is a YAML file. It may name another one as its ``base``; then only what differs is written.
Every key carries its unit in its name. Unknown keys are refused with the nearest known one.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NoReturn

from pydantic import (
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from cosim.scenario.channel import ChannelSpec
from cosim.scenario.equipment import AgreementSpec as AgreementSpec
from cosim.scenario.equipment import BatterySpec as BatterySpec
from cosim.scenario.equipment import DataCenterSpec as DataCenterSpec
from cosim.scenario.equipment import GeneratorSpec as GeneratorSpec
from cosim.scenario.equipment import ResourceSection as ResourceSection
from cosim.scenario.equipment import SvgSpec as SvgSpec
from cosim.scenario.equipment import WorkClassSpec as WorkClassSpec
from cosim.scenario.equipment import WorkloadSpec as WorkloadSpec
from cosim.scenario.forecasts.chance import ChanceSpec
from cosim.scenario.forecasts.spec import ForecastsSpec
from cosim.scenario.market import MOST_STEPS, check_order
from cosim.scenario.market import AggregatorSpec as AggregatorSpec
from cosim.scenario.market import EnvelopeSpec as EnvelopeSpec
from cosim.scenario.market import MarketSpec as MarketSpec
from cosim.scenario.market import RealTimeSpec as RealTimeSpec
from cosim.scenario.modes import Mode
from cosim.scenario.network_door import NetworkDoor
from cosim.scenario.network_door import UnbalanceSpec as UnbalanceSpec
from cosim.scenario.network_door import VoltageLimitSpec as VoltageLimitSpec
from cosim.scenario.results_spec import ResultsSpec as ResultsSpec
from cosim.scenario.series.spec import SeriesSpec as SeriesSpec
from cosim.scenario.types import (
    BriefSection,
    ImportPath,
    LeftOut,
    Name,
    NonNegative,
    PerUnit,
    Positive,
    Section,
    twice,
)


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
    market: Literal["day_ahead", "rolling", "two_settlement"] = "day_ahead"
    gate_s: Annotated[int, Field(gt=0)] = 1800
    round_s: Annotated[int, Field(gt=0)] = 5


class NetworkSpec(NetworkDoor):
    """The feeder and its limits. Voltage limits are line-to-line where a section has no neutral; ``voltage_limits``
    has those of single buses or voltage levels, before those of the feeder's table of buses and the general ones.

    ``branch_rating_kva`` limits the flow through named branches (three-phase; a third of it each phase);
    ``feeder_ratings`` takes those of the feeder's tables for all others: the ampacity of lines, the kVA of
    transformers and regulators. ``ac_rounds`` is how often a window may be agreed on again on the tangent of the
    AC power flow at the best point so far. ``chance`` keeps limits with a probability while load and sun err.
    """

    losses: bool = True
    ac_rounds: Annotated[int, Field(ge=0, le=20)] = 0
    source_pu: PerUnit | None = None
    v_min_pu: PerUnit = 0.95
    v_max_pu: PerUnit = 1.05
    voltage_limits: Annotated[tuple[VoltageLimitSpec, ...], LeftOut] = ()
    price_cap_usd_per_mwh: Positive = 2000.0
    branch_rating_kva: dict[str, Positive] = Field(default_factory=dict)
    feeder_ratings: bool = False
    unbalance: UnbalanceSpec = UnbalanceSpec()
    chance: Annotated[ChanceSpec | None, LeftOut] = None
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


class OperatorSpec(Section):
    """The distribution system operator: an agent class by import path, and what is for the class (``parameters``)."""

    name: Name = "dso"
    agent: ImportPath = "cosim.agents.dso:DistributionSystemOperator"
    parameters: dict[str, Any] = Field(default_factory=dict)


class FeederSpec(Section):
    """One feeder of several: its network, what the import at its source costs, its resources and its operator.

    The keys are those that stand at the top, or in ``market``, where there is one feeder. An operator without a name is
    called ``dso_`` and the feeder's name.
    """

    network: NetworkSpec
    price_usd_per_mwh: SeriesSpec
    slope_usd_per_mwh_per_mw: NonNegative = 0.0
    reactive_price_usd_per_mvarh: NonNegative = 0.0
    generators: tuple[GeneratorSpec, ...] = ()
    svgs: tuple[SvgSpec, ...] = ()
    resources: tuple[ResourceSection, ...] = ()
    operator: OperatorSpec = OperatorSpec()

    @model_validator(mode="after")
    def _one_agreement(self) -> FeederSpec:
        if self.network.ac_rounds:
            raise ValueError(
                f"network.ac_rounds {self.network.ac_rounds} is for a single feeder: a mixture of bids would have to "
                "be judged on all of them together; allowed: 0"
            )
        return self


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


class Scenario(BriefSection):
    """Everything that one run needs, apart from its mode and where to leave its results.

    There is one feeder (``network``, ``market.price_usd_per_mwh``, ``generators``, ...) or there are ``feeders`` by
    name, each with these keys of its own; see :mod:`cosim.scenario.feeders`.
    """

    schema_version: Literal[1] = 1
    name: Name
    description: str = ""
    seed: Annotated[int, Field(ge=0)] = 1
    mode: Mode = "decentralized"
    clock: ClockSpec = ClockSpec()
    feeders: Annotated[dict[Name, FeederSpec], LeftOut] = Field(default_factory=dict)
    # None where there are feeders, whose parts of the scenario each have one
    network: Annotated[NetworkSpec, LeftOut] = Field(default=None, validate_default=True)
    market: MarketSpec = Field(default_factory=MarketSpec, validate_default=True)
    generators: tuple[GeneratorSpec, ...] = ()
    svgs: tuple[SvgSpec, ...] = ()
    resources: tuple[ResourceSection, ...] = ()
    datacenters: tuple[DataCenterSpec, ...]
    workload: WorkloadSpec
    operator: OperatorSpec = OperatorSpec()
    aggregators: tuple[AggregatorSpec, ...] = (AggregatorSpec(),)
    decentralized: DecentralizedSpec = DecentralizedSpec()
    centralized: CentralizedSpec = CentralizedSpec()
    envelope: Annotated[EnvelopeSpec, LeftOut] = EnvelopeSpec()
    channel: ChannelSpec = ChannelSpec()
    forecasts: Annotated[ForecastsSpec, LeftOut] = ForecastsSpec()
    results: Annotated[ResultsSpec, LeftOut] = ResultsSpec()

    @field_validator("feeders")
    @classmethod
    def _operators_named(cls, value: dict[str, FeederSpec]) -> dict[str, FeederSpec]:
        return {name: f.model_copy(update={"operator": _named(f.operator, f"dso_{name}")}) for name, f in value.items()}

    @field_validator("network", mode="wrap")
    @classmethod
    def _network_or_feeders(cls, value: Any, read: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        several = bool(info.data.get("feeders", True))  # what is wrong with them is told at their own keys
        if value is None:
            return None if several else _missing()
        if several and "feeders" in info.data:
            raise ValueError("a scenario has either one network or feeders, each with its own")
        return read(value)

    @field_validator("market")
    @classmethod
    def _priced_once(cls, value: MarketSpec, info: ValidationInfo) -> MarketSpec:
        if not info.data.get("feeders", True) and value.price_usd_per_mwh is None:
            _missing("price_usd_per_mwh")
        if info.data.get("feeders"):
            told = [k for k in AT_SOURCE if getattr(value, k) != MarketSpec.model_fields[k].default]
            if told:
                raise ValueError(f"{', '.join(told)}: with feeders these stand in each feeder's section")
        return value

    @model_validator(mode="after")
    def _limits_of_aggregators(self) -> Scenario:
        """The floor of an aggregator below its cap, one of them perhaps the market's."""
        for i, spec in enumerate(self.aggregators):
            try:
                check_order(*self.price_limits(spec))
            except ValueError as error:
                _wrong(str(error), "aggregators", i)
        return self

    @model_validator(mode="after")
    def _feeders_whole(self) -> Scenario:
        """Everything of a feeder in its section, and every site on a feeder."""
        told = [k for k in OF_FEEDER if self.feeders and getattr(self, k) != type(self).model_fields[k].default]
        if told:
            raise ValueError(f"{', '.join(told)}: with feeders these stand in each feeder's section")
        names = list(self.feeders)
        for i, site in enumerate(self.datacenters):
            key = ("datacenters", i, "feeder")
            if site.feeder is None and len(names) > 1:
                _wrong(f"a data center lies on one of several feeders; allowed: {', '.join(names)}", *key)
            if site.feeder is not None and site.feeder not in names:
                allowed = ", ".join(names) or "none, as there is only one"
                _wrong(f"no such feeder; allowed: {allowed}", *key, value=site.feeder)
        bare = sorted(set(names) - {self.feeder_of(d) for d in self.datacenters})
        if bare:
            raise ValueError(f"feeders {bare} have no data center, so that there is nothing to agree on with them")
        sure = [name for name, feeder in self.feeders.items() if feeder.network.chance is None]
        if 0 < len(sure) < len(names):
            raise ValueError(f"feeders {sure} have no network.chance; allowed: limits by chance on all feeders or none")
        return self

    @model_validator(mode="after")
    def _names_agree(self) -> Scenario:
        sites = [d.name for d in self.datacenters]
        parts: dict[str, Scenario | FeederSpec] = {**self.feeders} or {"": self}
        for name, part in parts.items():
            units = [g.name for g in part.generators] + [s.name for s in part.svgs] + [r.name for r in part.resources]
            if repeated := twice(units + sites):
                raise ValueError(
                    f"generators, svgs, resources and datacenters must have different names, found twice: {repeated}"
                    + (f" (feeder {name})" if name else "")
                )
        if not self.datacenters:
            raise ValueError("datacenters: at least one is needed")
        unknown = sorted(set(self.workload.site_weight) - set(sites))
        if unknown:
            raise ValueError(
                f"workload.site_weight names {unknown}, which are not data centers; allowed: {sites}"
            )
        talking = [*(o.name for o in self.operators().values()), *(a.name for a in self.aggregators)]
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

    @model_validator(mode="after")
    def _second_settlement(self) -> Scenario:
        """Real time only where there is one."""
        if self.clock.market != "two_settlement" and self.market.real_time != RealTimeSpec():
            _wrong("only clock.market: two_settlement has a real-time market", "market", "real_time")
        return self

    @property
    def modes(self) -> tuple[Mode, ...]:
        """Mode of the run, and that of real time where it is another."""
        second = self.market.real_time.mode
        return (self.mode,) if second in (None, self.mode) else (self.mode, second)

    def price_limits(self, spec: AggregatorSpec) -> tuple[float | None, float | None]:
        """Floor and cap of the price that an aggregator is charged, USD/MWh: its own, else the market's."""
        floor, cap = spec.price_floor_usd_per_mwh, spec.price_cap_usd_per_mwh
        return (
            self.market.price_floor_usd_per_mwh if floor is None else floor,
            self.market.price_cap_usd_per_mwh if cap is None else cap,
        )

    def operators(self) -> dict[str, OperatorSpec]:
        """The operators by the names of their feeders; the name of the only feeder is empty."""
        if not self.feeders:
            return {"": self.operator}
        return {name: feeder.operator for name, feeder in self.feeders.items()}

    def feeder_of(self, site: DataCenterSpec) -> str:
        """Name of the feeder that a site lies on."""
        return site.feeder or next(iter(self.feeders), "")


AT_SOURCE = ("price_usd_per_mwh", "slope_usd_per_mwh_per_mw", "reactive_price_usd_per_mvarh")
"""Keys of a feeder's section that stand in ``market`` where there is one feeder."""
OF_FEEDER = ("generators", "svgs", "resources", "operator")
"""Keys of a feeder's section that stand at the top where there is one feeder, besides ``network``."""


def _named(operator: OperatorSpec, name: str) -> OperatorSpec:
    return operator if "name" in operator.model_fields_set else operator.model_copy(update={"name": name})


def _wrong(message: str, *key: str | int, value: Any = None) -> NoReturn:
    """Say what is wrong with a key of the section that is being read."""
    error = PydanticCustomError("value_error", "{told}", {"told": message})
    raise ValidationError.from_exception_data("Scenario", [{"type": error, "loc": key, "input": value}])


def _missing(*key: str) -> NoReturn:
    """Say that a key of the section that is being read is missing."""
    raise ValidationError.from_exception_data("Scenario", [{"type": "missing", "loc": key, "input": {}}])
