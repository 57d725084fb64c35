"""From a checked scenario to what a run works with: the feeder, the calendar, the series over the horizon."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cosim.errors import InputError
from cosim.grid.feeder.check import check_feeder
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.limits import NetworkLimits, VoltageLimits
from cosim.grid.feeder.positions import without_controls
from cosim.grid.feeder.tables import read_feeder
from cosim.grid.opendss.circuit import AcSolution
from cosim.scenario.calendar import MarketCalendar, zone_of
from cosim.scenario.equipment import ResourceSection
from cosim.scenario.feeders import FeederPart, parts_of
from cosim.scenario.forecasts.drawing import Draws, Supposing
from cosim.scenario.network_limits import limits_of_network, voltage_limits_of
from cosim.scenario.schema import ClockSpec, DataCenterSpec, RealTimeSpec, Scenario
from cosim.scenario.series.reading import Series, read_series
from cosim.scenario.series.spec import SeriesSpec
from cosim.scenario.series.units import Quantity
from cosim.scenario.types import Section

Array = NDArray[np.float64]
_NEAR_PU = (0.5, 1.5)
"""Voltages beyond which a power flow says nothing of a feeder any more."""


class ReadsSeries(Protocol):
    """Reads series on the calendar, within limits; see :class:`SeriesReader`."""

    def __call__(
        self, spec: SeriesSpec, key: str, lower: float = ..., upper: float = ..., quantity: Quantity | None = ...
    ) -> Array: ...


@dataclass(frozen=True, slots=True)
class PreparedFeeder:
    """A feeder as its operator gets it; all series are (steps,).

    Attributes:
        part: of the scenario, and where its keys stand in the file.
        price_usd_per_mwh: energy price at the substation.
        load_scale: scale of the feeder's base load.
        read: reads further series; shared with the whole, whose notes say what was assumed of them.
        live: whether series change as more becomes known; supposing: shows scenarios of a window, if it has them.
    """

    part: FeederPart
    path: Path
    feeder: Feeder
    calendar: MarketCalendar
    price_usd_per_mwh: Array
    load_scale: Array
    read: ReadsSeries
    live: bool = False
    supposing: Supposing | None = None

    @property
    def name(self) -> str:
        """Name of the feeder in the scenario; empty if it is the only one, in the short spelling."""
        return self.part.name

    @property
    def scenario(self) -> Scenario:
        """The scenario as it is for this feeder alone."""
        return self.part.scenario

    @property
    def limits(self) -> NetworkLimits:
        """What is kept in its network."""
        return limits_of_network(self.scenario.network, self.feeder)

    @property
    def voltage_limits(self) -> VoltageLimits:
        """Voltage limits of its buses."""
        return voltage_limits_of(self.scenario.network, self.feeder)

    def series(
        self,
        spec: SeriesSpec,
        key: str,
        lower: float = -np.inf,
        upper: float = np.inf,
        quantity: Quantity | None = None,
    ) -> Array:
        """(steps,) values of a further series that a section names; what was assumed of it is noted.

        Raises:
            InputError: it cannot be read, is in a unit of something else than ``quantity``, or a value is out of range.
        """
        return self.read(spec, self.part.key(key), lower, upper, quantity)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything read and checked before a run; all series are (steps,).

    Attributes:
        feeders: in the order of the scenario.
        utilisation: share of the data centers' capacity that arrives as work.
        tariff_usd_per_mwh: what a tariff charges, if the scenario has one; own_tariffs_usd_per_mwh: the same for
            aggregators, by name, that have one of their own.
        customer_tariff_usd_per_mwh: what other customers pay; None: the DLMP.
        notes: what was assumed of the series and of the clock, in words.
        read: what the series were read by.
    """

    scenario: Scenario
    path: Path
    calendar: MarketCalendar
    feeders: tuple[PreparedFeeder, ...]
    utilisation: Array
    read: ReadsSeries
    tariff_usd_per_mwh: Array | None = None
    own_tariffs_usd_per_mwh: Mapping[str, Array] = field(default_factory=dict)
    customer_tariff_usd_per_mwh: Array | None = None
    notes: list[str] = field(default_factory=list)

    def feeder_of(self, site: DataCenterSpec) -> PreparedFeeder:
        """The feeder that a data center lies on."""
        name = self.scenario.feeder_of(site)
        return next(f for f in self.feeders if f.name == name)

    @property
    def only(self) -> PreparedFeeder:
        """The feeder, for those who can do with one only.

        Raises:
            InputError: there are several.
        """
        if len(self.feeders) > 1:
            raise InputError("this is for a scenario with a single feeder", file=self.path, key="feeders",
                             value=", ".join(f.name for f in self.feeders), allowed="network")  # fmt: skip
        return self.feeders[0]

    @property
    def feeder(self) -> Feeder:
        """The only feeder; see :attr:`only`."""
        return self.only.feeder

    @property
    def price_usd_per_mwh(self) -> Array:
        """Energy price at the substation of the only feeder; see :attr:`only`."""
        return self.only.price_usd_per_mwh

    @property
    def load_scale(self) -> Array:
        """Scale of the base load of the only feeder; see :attr:`only`."""
        return self.only.load_scale


def prepare(scenario: Scenario, path: Path) -> Prepared:
    """Read what the scenario names.

    Raises:
        InputError: a feeder, series or clock that cannot be used; the scenario's file and the key are named.
    """
    with naming_file(path):
        return _prepare(scenario, path)


@contextmanager
def naming_file(path: Path) -> Iterator[None]:
    """Name the scenario's file in errors about its input that name no other file."""
    try:
        yield
    except InputError as error:
        if error.file is not None:
            raise
        raise error.changed(file=path) from None


def _prepare(scenario: Scenario, path: Path) -> Prepared:
    calendar = calendar_of(scenario)
    forecasts = scenario.forecasts
    draws = None if forecasts.foresees else Draws(forecasts, calendar, scenario.seed)
    read = SeriesReader(calendar, path, _clock_notes(calendar), draws)
    customers = scenario.market.customer_tariff_usd_per_mwh
    return Prepared(
        scenario=scenario,
        path=path,
        calendar=calendar,
        feeders=tuple(_prepared_feeder(part, read) for part in parts_of(scenario)),
        **_agents_series(scenario, read),
        customer_tariff_usd_per_mwh=_price(customers, "market.customer_tariff_usd_per_mwh", read),
        notes=read.notes,
    )


def known_by(prepared: Prepared, read: ReadsSeries, supposing: Supposing | None = None) -> Prepared:
    """The scenario as agents get it, with series as another reader says they know them."""
    feeders = (replace(f, live=True, supposing=supposing, **_feeder_series(f.part, read)) for f in prepared.feeders)
    return replace(prepared, feeders=tuple(feeders), **_agents_series(prepared.scenario, read))


def _agents_series(scenario: Scenario, read: ReadsSeries) -> dict[str, Any]:
    """Fields of :class:`Prepared` that agents go by, whatever the feeder."""
    told = {a.name: a.tariff_usd_per_mwh for a in scenario.aggregators}
    own = {name: _price(spec, f"aggregators.{name}.tariff_usd_per_mwh", read) for name, spec in told.items()}
    return {
        "utilisation": read(scenario.workload.utilisation, "workload.utilisation", 0.0, 1.0, "share"),
        "tariff_usd_per_mwh": _price(scenario.market.tariff_usd_per_mwh, "market.tariff_usd_per_mwh", read),
        "own_tariffs_usd_per_mwh": {name: tariff for name, tariff in own.items() if tariff is not None},
        "read": read,
    }


def _price(spec: SeriesSpec | None, key: str, read: ReadsSeries) -> Array | None:
    return None if spec is None else read(spec, key, quantity="price")


def _feeder_series(part: FeederPart, read: ReadsSeries) -> dict[str, Any]:
    """Fields of :class:`PreparedFeeder` that agents go by."""
    price, scale = part.scenario.market.price_usd_per_mwh, part.scenario.network.load_scale
    assert price is not None, "the schema sees to it"
    return {
        "price_usd_per_mwh": read(price, part.key("market.price_usd_per_mwh"), quantity="price"),
        "load_scale": read(scale, part.key("network.load_scale"), 0.0, np.inf, "share"),
        "read": read,
    }


def _prepared_feeder(part: FeederPart, read: SeriesReader) -> PreparedFeeder:
    scenario = part.scenario
    for g in scenario.generators:
        if g.profile is not None:
            read(g.profile, part.key(f"generators.{g.name}.profile"), 0.0, 1.0, "share")
    with part.naming_keys():
        feeder = feeder_of(scenario, read.path)
        voltage_limits_of(scenario.network, feeder)
    return PreparedFeeder(
        part=part,
        path=read.path,
        feeder=feeder,
        calendar=read.calendar,
        **_feeder_series(part, read),
    )


@dataclass(frozen=True, slots=True)
class SeriesReader:
    """Reads series on a calendar, within limits, each once; files lie beside the scenario or are shipped.

    Attributes:
        notes: what was assumed of the series is added to these.
        draws: errors of forecasts, around which what happens may be drawn.
    """

    calendar: MarketCalendar
    path: Path
    notes: list[str]
    draws: Draws | None = None
    _known: dict[tuple[SeriesSpec, str, Quantity | None], Series] = field(default_factory=dict)

    def __call__(
        self,
        spec: SeriesSpec,
        key: str,
        lower: float = -np.inf,
        upper: float = np.inf,
        quantity: Quantity | None = None,
    ) -> Array:
        values = self.plain(spec, key, quantity)
        if values.min() < lower or values.max() > upper:
            worst = values.min() if values.min() < lower else values.max()
            raise InputError("a value of the series is out of range", key=key, value=float(worst),
                             allowed=f"{lower:g} to {upper:g}")  # fmt: skip
        self.notes.extend(note for note in self._known[spec, key, quantity].notes if note not in self.notes)
        return values if self.draws is None else self.draws.truth(key, values, lower, upper)

    def plain(self, spec: SeriesSpec, key: str, quantity: Quantity | None = None) -> Array:
        """(steps,) the series as the scenario has it, whatever happens."""
        known = (spec, key, quantity)
        if known not in self._known:
            self._known[known] = read_series(spec, self.calendar, base_dir=self.path.parent, key=key, quantity=quantity)
        return self._known[known].values


def _clock_notes(calendar: MarketCalendar) -> list[str]:
    """Where clocks are changed within the horizon: local times are then missing, or stand twice."""
    return [
        f"clocks are put {'forward' if moved_s > 0 else 'back'} by {abs(moved_s)} s before step {step}"
        for step, moved_s in calendar.clock_changes()
    ]


def calendar_of(scenario: Scenario) -> MarketCalendar:
    """The market calendar of a scenario."""
    return calendar_of_clock(scenario.clock, scenario.market.real_time)


def calendar_of_clock(clock: ClockSpec, second: RealTimeSpec | None = None) -> MarketCalendar:
    """The market calendar of a section ``clock``, and of the second settlement where the market has two."""
    try:
        start = datetime.fromisoformat(clock.start)
    except ValueError:
        raise InputError(
            "not a date and time",
            key="clock.start",
            value=clock.start,
            allowed="ISO 8601, as 2024-07-15T00:00:00 or 2024-07-15T00:00:00-07:00",
        ) from None
    zone = None if clock.timezone is None else zone_of(clock.timezone, "clock.timezone")
    if start.tzinfo is not None:
        zone = start.tzinfo if zone is None else zone
        start = start.astimezone(zone).replace(tzinfo=None)
    real_time = (second or RealTimeSpec()).timed(clock.gate_s) if clock.market == "two_settlement" else None
    return MarketCalendar(
        start, clock.step_s, clock.steps, clock.window_steps, clock.market, clock.gate_s, clock.round_s, zone, real_time
    )


def feeder_of(scenario: Scenario, path: Path) -> Feeder:
    """The scenario's feeder with its settings: tables (shipped by name, or a folder beside the scenario), or an OpenDSS
    script beside it."""
    spec = scenario.network
    feeder = read_feeder(spec.feeder or "", path.parent) if spec.dss is None else _circuit(spec.dss, path.parent)
    if spec.source_pu is not None:
        feeder = replace(feeder, source_pu=spec.source_pu)
    if spec.taps:
        feeder = _with_taps(feeder, spec.taps)
    if spec.controls == "fixed":
        return without_controls(feeder)
    if not feeder.controlled:
        if spec.controls is None:
            return feeder
        raise InputError(
            f"feeder {feeder.name} has no controls that could move anything", key="network.controls",
            value=spec.controls, allowed="fixed, or tables regulator_controls or capacitor_controls, or an OpenDSS "
            "circuit with RegControls or CapControls",
        )  # fmt: skip
    if spec.dss is None:
        check_feeder(feeder)
    return feeder


def _circuit(file: str, folder: Path) -> Feeder:
    """An OpenDSS circuit whose files lie inside the scenario's folder, or inside its own if that is elsewhere."""
    from cosim.grid.opendss.whole.reader import read_dss

    script, inside = (folder / file).resolve(), folder.resolve()
    return read_dss(script, inside=inside if script.is_relative_to(inside) else None)


def _with_taps(feeder: Feeder, taps: Mapping[str, int]) -> Feeder:
    """Regulator taps from the scenario, keyed ``REGULATOR.LEG``."""
    known = {f"{r.name}.{leg}" for r in feeder.regulators for leg in r.taps}
    for key in taps:
        if key not in known:
            raise InputError(
                f"feeder {feeder.name} has no such regulator tap", key=f"network.taps.{key}", value=key,
                allowed=", ".join(sorted(known)) or "none",
            )  # fmt: skip
    regulators = tuple(
        replace(r, taps={leg: taps.get(f"{r.name}.{leg}", tap) for leg, tap in r.taps.items()})
        for r in feeder.regulators
    )
    return replace(feeder, regulators=regulators)


def resource_sections(scenario: Scenario) -> list[tuple[str, ResourceSection]]:
    """Key and section of every resource, first those in the short spellings of ``generators`` and ``svgs``."""
    found = []
    for g in scenario.generators:
        found.append((f"generators.{g.name}", _section(g, "pv" if g.kind == "pv" else "generator", {"kind"})))
    for s in scenario.svgs:
        if s.mode != "none":
            connection = "three_phase" if s.mode == "balanced" else "per_phase"
            found.append((f"svgs.{s.name}", _section(s, "svg", {"mode"}, connection=connection)))
    return found + [(f"resources.{r.name}", r) for r in scenario.resources]


def _section(spec: Section, kind: str, without: set[str], **more: Any) -> ResourceSection:
    """A short spelling as a resource's section."""
    return ResourceSection.model_validate({**spec.model_dump(exclude=without), **more, "kind": kind})


def check_base_case(solution: AcSolution, load_scale: float) -> None:
    """Refuse a feeder that has no AC solution of its own, without data centers and generators.

    Voltages that are merely far from nominal are no error: what is connected may mend them.

    Raises:
        InputError: the power flow at peak load has no solution.
    """
    low, high = min(solution.voltages.values()), max(solution.voltages.values())
    if not (solution.settled and _NEAR_PU[0] <= low and high <= _NEAR_PU[1]):
        raise InputError("the AC power flow of the feeder alone has no solution at peak load", key="network",
                         value=f"voltages from {low:.4g} to {high:.4g} pu at {load_scale:g} times its base load",
                         allowed=f"voltages between {_NEAR_PU[0]:g} and {_NEAR_PU[1]:g} pu")  # fmt: skip
