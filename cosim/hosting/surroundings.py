"""What is drawn on a feeder already, step by step: loads, sun, generation; and the limits that are kept there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cosim.errors import InputError, listed
from cosim.grid.feeder.circuit import CircuitFeeder
from cosim.grid.feeder.connections import terminals_of
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.limits import NetworkLimits
from cosim.grid.feeder.phases import Terminal
from cosim.scenario.equipment import GeneratorSpec
from cosim.scenario.preparation import PreparedFeeder, resource_sections

Real = NDArray[np.float64]
Controls = Literal["held", "fixed"]
"""Regulators and capacitors: ``held`` where their controls bring them in the base case of each step, while the new
connection draws fast; ``fixed`` where the feeder has them."""
_LISTED = 20


@dataclass(frozen=True, eq=False)
class Injection:
    """Power drawn at a terminal (given: less than 0), (steps,) each."""

    terminal: Terminal
    p_kw: Real
    q_kvar: Real


@dataclass(frozen=True, eq=False)
class Surroundings:
    """A feeder and everything on it but the connections asked for.

    Attributes:
        limits: that are kept. load_scale: (steps,) factor on the feeder's own loads.
        injections: generation and sites that are part of the base case.
        controls: see :data:`Controls`; of no meaning for a feeder without any.
        notes: what was assumed, in sentences.
    """

    feeder: Feeder
    limits: NetworkLimits
    load_scale: Real
    injections: tuple[Injection, ...] = ()
    step_s: int = 3600
    start: datetime = datetime(2023, 1, 1)
    controls: Controls = "held"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape = np.shape(self.load_scale)
        parts = [part for i in self.injections for part in (i.p_kw, i.q_kvar)]
        if len(shape) != 1 or not shape[0] or any(np.shape(part) != shape for part in parts):
            raise InputError("load and injections must be series of one length, at least one step long",
                             key="load_scale", value=shape)  # fmt: skip
        if not all(np.isfinite(part).all() for part in (self.load_scale, *parts)) or min(self.load_scale) < 0:
            raise InputError("load and injections must be numbers, load 0 or more", key="load_scale")

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.load_scale)


def surroundings_of(
    prepared: PreparedFeeder, sites: Mapping[str, Real] | None = None, controls: Controls | None = None
) -> Surroundings:
    """A feeder of a scenario with its limits, load and sun.

    Photovoltaic plants give what the sun allows, at unit power factor; everything that is dispatched (generators,
    batteries, flexible loads, static var generators) is idle. The scenario's data centers are left out unless told.

    Args:
        sites: (steps,) kW that data centers of the scenario draw, by name, as a run's table ``demand`` has it.
        controls: the scenario's own by default (``network.controls: fixed`` leaves devices where they are).

    Raises:
        InputError: a series that cannot be read, a site that is not there.
    """
    scenario, feeder, calendar = prepared.scenario, prepared.feeder, prepared.calendar
    found: list[Injection] = []
    idle: list[str] = []
    for key, section in resource_sections(scenario):
        if section.kind != "pv":
            idle.append(section.name)
            continue
        spec = GeneratorSpec.model_validate({**section.own_keys(), "kind": "pv"})
        assert spec.profile is not None, "its schema asks for one"
        given = spec.p_max_kw * prepared.series(spec.profile, f"{key}.profile", 0.0, 1.0, "share")
        terminals = terminals_of(feeder, spec.bus, spec.connection, prepared.part.key(key))
        found += [Injection(t, -given / len(terminals), np.zeros(len(given))) for t in terminals]
    known = {site.name: site for site in scenario.datacenters}
    for name, p_kw in (sites or {}).items():
        if name not in known:
            raise InputError("the scenario has no such data center", key="sites", value=name,
                             allowed=", ".join(known))  # fmt: skip
        site = known[name]
        terminals = terminals_of(feeder, site.bus, site.connection, prepared.part.key(f"datacenters.{name}"))
        share = np.asarray(p_kw, dtype=float) / len(terminals)
        found += [Injection(t, share, site.reactive_ratio * share) for t in terminals]
    left = [name for name in known if name not in (sites or {})]
    notes = [f"the scenario's own data centers draw nothing: {listed(left, _LISTED)}"] if left else []
    if idle:
        notes.append(f"what the operator dispatches gives nothing, for no capacity may rest on its price: "
                     f"{listed(idle, _LISTED)}")  # fmt: skip
    if isinstance(feeder, CircuitFeeder) and feeder.controlled:
        feeder = feeder.held()
        notes.append("regulators and capacitors of the circuit stay where its script leaves them")
    return Surroundings(
        feeder, prepared.limits, prepared.load_scale, tuple(found), calendar.step_s, calendar.start,
        controls or "held", tuple(notes),
    )  # fmt: skip


def surroundings_at(
    feeder: Feeder,
    limits: NetworkLimits,
    load_scale: Real,
    sun: Real | None = None,
    *,
    step_s: int = 3600,
    start: datetime = datetime(2023, 1, 1),
    controls: Controls = "held",
) -> Surroundings:
    """A feeder by itself under series of load and sun.

    Args:
        load_scale: (steps,) factor on its loads.
        sun: (steps,) share of their power that its photovoltaic generators give; None: they stay where the feeder has
            them.

    Raises:
        InputError: a sun below 0; generators of a circuit named by its script, whose power its script sets.
    """
    units = [g for g in feeder.generators if g.kind == "pv"]
    if sun is None or not units:
        return Surroundings(feeder, limits, load_scale, (), step_s, start, controls)
    if isinstance(feeder, CircuitFeeder):
        raise InputError(
            "photovoltaic generators of a circuit named by its script stand as the script leaves them", key="sun",
            value=units[0].name, allowed="the feeder as tables, or no series of sun",
        )  # fmt: skip
    share = np.asarray(sun, dtype=float)
    if len(share) and share.min() < 0:
        raise InputError("sun must be 0 or more", key="sun", value=float(share.min()))
    found = tuple(
        Injection(Terminal(g.bus, g.connection, (g.phases,)), -g.p_kw * share, -g.q_kvar * share) for g in units
    )
    rest = replace(feeder, generators=tuple(g for g in feeder.generators if g.kind != "pv"))
    return Surroundings(rest, limits, load_scale, found, step_s, start, controls)
