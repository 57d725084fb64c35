"""Regulators and capacitors that move between steps: where each stands in every step of the horizon.

OpenDSS's own controls decide, once before each step, from where the step before left the devices. They act on a
forecast that no mode has a part in: the base load of the step, data centers as if all work ran where and when it
arrives, and what resources are expected to do (photovoltaics give what the sun does, most others nothing). So the
devices stand alike in every mode, modes are compared on one network, and a day's positions are known when its window
opens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from cosim.agents.dso.resources.resource import Resource
from cosim.constants import KILO
from cosim.errors import RunFailure
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.phases import Terminal
from cosim.grid.feeder.positions import Positions, at_positions, moved_by_controls, positions_of
from cosim.grid.opendss.controlled import ControlledCircuit
from cosim.protocol.roles import TerminalLoad
from cosim.results.columns import Columns
from cosim.scenario.preparation import PreparedFeeder

Array = NDArray[np.float64]
Demand = Sequence[tuple[Terminal, float, float]]
Forecast = Callable[[int], Demand]
Drawing = Callable[[int, Array], Demand]
KEPT = 64
"""How many feeders at other positions are kept: more than a window has steps, mostly."""


class MovingDevices:
    """The positions of a feeder's devices, step after step.

    Args:
        feeder: with controls, its devices as they stand before the first step.
        load_scale: (steps,) factor on the base loads.
        forecast: (terminal, kW, kvar) of everything else in a step, demand positive.
        start_of_day_s: seconds from midnight to the first step; step_s: length of a step.
        drawing: as the forecast, given what data centers draw in the step (terminals,) MW, where that may be known.
    """

    def __init__(
        self,
        feeder: Feeder,
        load_scale: Array,
        forecast: Forecast,
        start_of_day_s: int,
        step_s: int,
        drawing: Drawing | None = None,
    ) -> None:
        self._circuit, self._feeder = ControlledCircuit(feeder), feeder
        self._load_scale, self._forecast, self._drawing = load_scale, forecast, drawing
        self._drawn: dict[int, Array] = {}
        self._start_s, self._step_s = start_of_day_s, step_s
        self._positions = [positions_of(feeder)]  # before the first step, then of each step
        self._feeders: dict[Positions, Feeder] = {}

    def positions(self, t: int) -> Positions:
        """Where the devices stand in step ``t``.

        Raises:
            RunFailure: the controls find no rest, or the forecast has no AC solution; the step is named.
        """
        while len(self._positions) <= t + 1:
            step = len(self._positions) - 1
            now_s = self._start_s + step * self._step_s
            try:
                found = self._circuit.settle(float(self._load_scale[step]), self._demand(step), now_s)
            except RunFailure as error:
                raise RunFailure(f"step {step}: {error}; network.controls: fixed holds all devices") from None
            self._positions.append(self._positions[-1] if found == self._positions[-1] else found)
        return self._positions[t + 1]

    def _demand(self, step: int) -> Demand:
        """What the devices act on in a step besides the base load."""
        drawn = self._drawn.get(step)
        return self._forecast(step) if drawn is None or self._drawing is None else self._drawing(step, drawn)

    def follow(self, first: int, p_mw: Array) -> None:
        """Act from step ``first`` on on what data centers draw (steps, terminals; MW) instead of the forecast."""
        self._drawn |= dict(enumerate(p_mw, first))
        self.forget(first)

    def forget(self, first: int) -> None:
        """Find positions from step ``first`` on anew, as more is known of what they act on."""
        kept = self._positions[: first + 1]
        if len(kept) < len(self._positions):
            self._positions = kept
            self._circuit.move_to(at_positions(self._feeder, kept[-1]))

    def feeder_at(self, t: int) -> Feeder:
        """The feeder with its devices as they stand in step ``t``; the same object for the same positions."""
        where = self.positions(t)
        feeder = self._feeders.pop(where, None) or at_positions(self._feeder, where)
        self._feeders[where] = feeder  # the one used last stands last
        if len(self._feeders) > KEPT:
            self._feeders.pop(next(iter(self._feeders)))
        return feeder

    def rows(self, t: int) -> Columns:
        """Position of every device that a control moves, and by how many steps it has moved."""
        after, before = self.positions(t), self._positions[t]
        taps, phases = moved_by_controls(self._feeder)
        rows = [
            (device, "regulator", unit, tap, abs(tap - was))
            for (device, unit, tap), (_, _, was) in zip(after.taps, before.taps, strict=True)
            if (device, unit) in taps
        ]
        rows += [
            (device, "capacitor", phases[device], on, abs(on - was))
            for (device, on), (_, was) in zip(after.steps, before.steps, strict=True)
            if device in phases
        ]
        columns = zip(("device", "kind", "phase", "position", "moves"), zip(*rows, strict=True), strict=False)
        return {"step": t, **dict(columns)} if rows else {}


def forecast_of(loads: Sequence[TerminalLoad], resources: Sequence[Resource]) -> Forecast:
    """What devices are set for: data centers as work arrives, and what resources are expected to give, as the sun does.

    Args:
        loads: data-center terminals; one that does not say what it would draw counts for nothing.
        resources: of the operator.
    """
    drawing = drawing_of(loads, resources)

    def forecast(t: int) -> Demand:
        on_arrival = [np.nan if x.on_arrival_mw is None else float(x.on_arrival_mw[t]) for x in loads]
        return drawing(t, np.array(on_arrival))

    return forecast


def drawing_of(loads: Sequence[TerminalLoad], resources: Sequence[Resource]) -> Drawing:
    """The same where it is known what data centers draw; nan is what nobody knows."""

    def drawing(t: int, p_mw: Array) -> Demand:
        given = [one for resource in resources for one in resource.expected(t)]
        drawn = [(x, KILO * p) for x, p in zip(loads, p_mw.tolist(), strict=True) if not math.isnan(p)]
        demand = [(x.terminal, kw, kw * x.reactive_ratio) for x, kw in drawn]
        return demand + [(terminal, -KILO * p, -KILO * q if q else 0.0) for terminal, p, q in given]

    return drawing


def moving_devices(
    prepared: PreparedFeeder, loads: Sequence[TerminalLoad], resources: Sequence[Resource]
) -> MovingDevices | None:
    """The devices that move between steps; None if the scenario holds them, or the feeder has no controls."""
    if not prepared.feeder.controlled:
        return None
    calendar = prepared.calendar
    return MovingDevices(
        prepared.feeder, prepared.load_scale, forecast_of(loads, resources), calendar.start_of_day_s, calendar.step_s,
        drawing_of(loads, resources),
    )  # fmt: skip
