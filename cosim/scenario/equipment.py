"""The sections of a scenario file on what is connected: the operator's resources, data centers, and their work."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from cosim.scenario.series.spec import SeriesSpec
from cosim.scenario.types import (
    KIND,
    BriefSection,
    BusName,
    Connection,
    Finite,
    LeftOut,
    Name,
    NonNegative,
    Positive,
    Section,
    Share,
)


def reactive_ratio(power_factor: float) -> float:
    """kvar drawn per kW at a lagging power factor, tan(arccos(pf))."""
    return math.tan(math.acos(power_factor))


class ResourceSection(BriefSection):
    """A resource of the operator: what every kind says; the other keys are checked by the kind.

    ``kind``: one that comes with the operator, as ``battery`` or ``flexible_load``, or ``package.module:Class``.
    ``parameters`` are for a class of one's own, checked by its own model.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: Name
    kind: Annotated[str, Field(min_length=1, max_length=300, pattern=KIND)]
    bus: BusName
    parameters: Annotated[dict[str, Any], LeftOut] = Field(default_factory=dict)

    def own_keys(self) -> dict[str, Any]:
        """Everything but the kind and the parameters."""
        return {"name": self.name, "bus": self.bus, **(self.model_extra or {})}


class GeneratorSpec(BriefSection):
    """A distributed generator behind an inverter: P and Q within an inscribed polygon of ``s_kva``.

    ``owner``: whose accounts it is booked in (default: its own).
    """

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
    owner: Annotated[Name | None, LeftOut] = None

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


class SvgSpec(BriefSection):
    """A static var generator dispatched by the DSO; ``kvar`` is its total rating (a third per leg).

    ``owner``: whose accounts it is booked in (default: its own).
    """

    name: Name
    bus: BusName
    kvar: Positive
    mode: Literal["none", "balanced", "per_leg"] = "balanced"
    reactive_cost_usd_per_mvar2h: NonNegative = 3.0
    owner: Annotated[Name | None, LeftOut] = None


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


class BackupSpec(BriefSection):
    """A generator behind the meter of a data center: it runs instead of drawing from the grid, and never feeds it.

    It has the site's power factor, so that ``kva`` limits it to ``kva`` times that.
    """

    p_max_kw: Positive
    cost_usd_per_mwh: NonNegative
    kva: Annotated[Positive | None, LeftOut] = None


class AgreementSpec(BriefSection):
    """The connection agreement of a data center: ``firm_kw`` may be drawn always, up to ``flexible_kw`` more within
    limits that the operator sets step by step (mode ``envelope``; other modes set none).

    All power is what is drawn from the grid at the connection point, cooling included. ``flexible_kw`` without a value
    is the rest of what the connection carries. ``priority``: place in the queue, 1 is first. ``notice``: limits stay as
    they were told (``day_ahead``), or may change until so many hours before their step. ``lost_usd_per_mwh``: cost of
    work (MWh of computing) that may wait or move and is dropped instead; without it no work is dropped.
    """

    firm_kw: NonNegative
    flexible_kw: Annotated[NonNegative | None, LeftOut] = None
    priority: Annotated[int, Field(ge=1, le=1_000_000), LeftOut] = 1
    notice: Annotated[Literal["day_ahead"] | NonNegative, LeftOut] = "day_ahead"
    lost_usd_per_mwh: Annotated[NonNegative | None, LeftOut] = None
    backup: Annotated[BackupSpec | None, LeftOut] = None


class DataCenterSpec(BriefSection):
    """A data center: P = PUE (idle + (peak - idle) utilisation), Q from the power factor (lagging).

    ``feeder``: the one of ``feeders`` that it lies on, if there are several. ``agreement``: of a connection that is not
    firm; without one all that the connection carries is firm.
    """

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
    feeder: Annotated[Name | None, LeftOut] = None
    agreement: Annotated[AgreementSpec | None, LeftOut] = None

    @model_validator(mode="after")
    def _idle_below_peak(self) -> DataCenterSpec:
        if self.it_idle_kw >= self.it_peak_kw:
            raise ValueError(f"it_idle_kw {self.it_idle_kw} must be below it_peak_kw {self.it_peak_kw}")
        return self

    @property
    def reactive_ratio(self) -> float:
        """kvar drawn per kW, from the power factor."""
        return reactive_ratio(self.power_factor)


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
