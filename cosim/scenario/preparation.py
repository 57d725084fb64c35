"""From a checked scenario to what a run works with: the feeder, the calendar, the series over the horizon."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosim.errors import InputError
from cosim.grid.feeder.check import check_feeder
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.tables import read_feeder
from cosim.grid.opendss.circuit import AcSolution
from cosim.scenario.calendar import MarketCalendar
from cosim.scenario.resource import ResourceSection
from cosim.scenario.schema import Scenario
from cosim.scenario.series import Series, read_series
from cosim.scenario.series_spec import SeriesSpec
from cosim.scenario.types import Section
from cosim.scenario.units import Quantity
from cosim.scenario.zones import zone_of

Array = NDArray[np.float64]
_NEAR_PU = (0.5, 1.5)
"""Voltages beyond which a power flow says nothing of a feeder any more."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything read and checked before a run; all series are (steps,).

    Attributes:
        price_usd_per_mwh: energy price at the substation.
        load_scale: scale of the feeder's base load.
        utilisation: share of the data centers' capacity that arrives as work.
        tariff_usd_per_mwh: what a tariff charges, if the scenario has one.
        notes: what was assumed of the series and of the clock, in words.
    """

    scenario: Scenario
    path: Path
    feeder: Feeder
    calendar: MarketCalendar
    price_usd_per_mwh: Array
    load_scale: Array
    utilisation: Array
    tariff_usd_per_mwh: Array | None = None
    notes: list[str] = field(default_factory=list)

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
        found = _series(spec, key, self.calendar, self.path, lower, upper, quantity)
        self.notes.extend(note for note in found.notes if note not in self.notes)
        return found.values


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
        raise InputError(
            error.message, file=path, key=error.key, value=error.value, allowed=error.allowed, others=error.others
        ) from None


def _prepare(scenario: Scenario, path: Path) -> Prepared:
    calendar = calendar_of(scenario)

    notes = _clock_notes(calendar)

    def series(spec: SeriesSpec, key: str, lower: float, upper: float, quantity: Quantity) -> Array:
        found = _series(spec, key, calendar, path, lower, upper, quantity)
        notes.extend(note for note in found.notes if note not in notes)
        return found.values

    for g in scenario.generators:
        if g.profile is not None:
            series(g.profile, f"generators.{g.name}.profile", 0.0, 1.0, "share")
    market, free = scenario.market, (-np.inf, np.inf)
    tariff = market.tariff_usd_per_mwh
    return Prepared(
        scenario=scenario,
        path=path,
        feeder=feeder_of(scenario, path),
        calendar=calendar,
        price_usd_per_mwh=series(market.price_usd_per_mwh, "market.price_usd_per_mwh", *free, "price"),
        load_scale=series(scenario.network.load_scale, "network.load_scale", 0.0, np.inf, "share"),
        utilisation=series(scenario.workload.utilisation, "workload.utilisation", 0.0, 1.0, "share"),
        tariff_usd_per_mwh=None if tariff is None else series(tariff, "market.tariff_usd_per_mwh", *free, "price"),
        notes=notes,
    )


def _series(
    spec: SeriesSpec,
    key: str,
    calendar: MarketCalendar,
    path: Path,
    lower: float,
    upper: float,
    quantity: Quantity | None,
) -> Series:
    """A series on the calendar, within limits; files lie beside the scenario or are shipped."""
    found = read_series(spec, calendar, base_dir=path.parent, key=key, quantity=quantity)
    values = found.values
    if values.min() < lower or values.max() > upper:
        worst = values.min() if values.min() < lower else values.max()
        raise InputError("a value of the series is out of range", key=key, value=float(worst),
                         allowed=f"{lower:g} to {upper:g}")  # fmt: skip
    return found


def _clock_notes(calendar: MarketCalendar) -> list[str]:
    """Where clocks are changed within the horizon: local times are then missing, or stand twice."""
    return [
        f"clocks are put {'forward' if moved_s > 0 else 'back'} by {abs(moved_s)} s before step {step}"
        for step, moved_s in calendar.clock_changes()
    ]


def calendar_of(scenario: Scenario) -> MarketCalendar:
    """The market calendar of a scenario."""
    clock = scenario.clock
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
    return MarketCalendar(
        start, clock.step_s, clock.steps, clock.window_steps, clock.market, clock.gate_s, clock.round_s, zone
    )


def feeder_of(scenario: Scenario, path: Path) -> Feeder:
    """The scenario's feeder (shipped by name, or a folder of tables beside the scenario) with its settings."""
    spec = scenario.network
    feeder = read_feeder(spec.feeder, path.parent)
    if spec.source_pu is not None:
        feeder = replace(feeder, source_pu=spec.source_pu)
    if spec.taps:
        feeder = _with_taps(feeder, spec.taps)
    if spec.controls == "fixed":
        return replace(feeder, regulator_controls=(), capacitor_controls=())
    if not feeder.regulator_controls and not feeder.capacitor_controls:
        raise InputError(
            f"feeder {feeder.name} has no controls that could move anything", key="network.controls",
            value=spec.controls, allowed="fixed, or a feeder with tables regulator_controls or capacitor_controls",
        )  # fmt: skip
    check_feeder(feeder)
    return feeder


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
