"""The margins of an operator's limits in the steps of a window: what errs, where it is injected, what moves by it.

Load of a feeder errs alike everywhere, and so do plants whose series share an entry of the forecasts. So each entry is
one direction of injections, and the rows of the clearing move along it by their slopes on the linear network: of plants
those that the clearing has already, of the base load a central difference of the network linearised anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cosim.agents.dso.chance.margins import individual, of_the_worst, row_stds, shared
from cosim.agents.dso.chance.price import with_risk, without_margins
from cosim.agents.dso.clearing import ClearingModel
from cosim.agents.dso.resources.resource import Driven, Resource
from cosim.agents.dso.window import StepResult, WindowClearing
from cosim.grid.linear.network import LinearNetwork
from cosim.optimization.qp.solution import QPSolution
from cosim.scenario.forecasts.chance import ChanceSpec, injection_errors
from cosim.scenario.forecasts.covariance import error_covariance
from cosim.scenario.forecasts.evolution import sizes
from cosim.scenario.forecasts.spec import ForecastsSpec
from cosim.scenario.preparation import PreparedFeeder

Real = NDArray[np.float64]
APART = 0.01
"""Share of the load by which it is moved up and down for the slope by it."""
AtLoad = Callable[[Sequence[float]], tuple[Sequence[LinearNetwork], object]]
"""The networks of a window's steps linearised at these scales of the base load, and what else comes with them."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """Series that err alike: name of their errors, whether the base load does, and plants by resource."""

    name: str
    load: bool
    plants: tuple[tuple[str, Driven], ...]


class ChanceLimits:
    """Margins of the limits of a feeder.

    Args:
        spec: of the scenario. errors: how series err.
        prepared: the feeder with its series as they are known.
        resources: of the operator.
        margins: where they are kept for every clearing, by step of the horizon.
    """

    def __init__(
        self,
        spec: ChanceSpec,
        errors: ForecastsSpec,
        prepared: PreparedFeeder,
        resources: Sequence[Resource],
        margins: dict[int, Real],
    ) -> None:
        self._spec, self._errors, self._calendar = spec, errors, prepared.calendar
        self._load, self.margins = prepared.load_scale, margins
        self._load_key = prepared.part.key("network.load_scale")
        driven = [(r.name, replace(d, key=prepared.part.key(d.key))) for r in resources for d in r.driven()]
        self._entries = self._found(driven)
        self._plain: tuple[QPSolution, QPSolution] | None = None

    def _found(self, driven: Sequence[tuple[str, Driven]]) -> list[_Entry]:
        """The entries of kind error that move injections, in order."""
        named = {key: self._errors.of(key) for key in (self._load_key, *(d.key for _, d in driven))}
        erring = {key: name for key, (_, name, how) in named.items() if how.kind == "error"}
        return [
            _Entry(
                name, erring.get(self._load_key) == name, tuple((r, d) for r, d in driven if erring.get(d.key) == name)
            )
            for name in dict.fromkeys(erring.values())
        ]

    def loosen(self) -> None:
        """Forget all margins: a window is opened without them, to be tightened where it is linearised."""
        self.margins.clear()

    def tighten(
        self, window: WindowClearing, first: int, at_load: AtLoad, p_mw: Real, dispatch: Sequence[Real]
    ) -> None:
        """Work out the margins of the steps from ``first`` on, where a window is linearised that was opened without.

        Args:
            p_mw: (steps, terminals) demand there; dispatch: (resources' variables,) of each step.
        """
        model, steps = window.model, range(first, first + len(window.networks))
        directions = self.directions(window, first, at_load, *window.demand(p_mw, np.array(dispatch)))
        now_s = first * self._calendar.step_s - self._calendar.gate_s
        covariance = error_covariance(self._errors, [e.name for e in self._entries], self._calendar, now_s, steps)
        limits = len(set(zip(model.inequalities.kind.tolist(), model.inequalities.of.tolist(), strict=True)))
        for t, step in enumerate(steps):
            stds = row_stds(directions[t], covariance[t])
            if self._spec.joint == "individual":
                z = individual(self._spec.probability)
            elif self._spec.joint == "bonferroni":
                z = shared(self._spec.probability, limits)
            else:
                z = of_the_worst(self._spec.probability, directions[t], covariance[t], stds)
            self.margins[step] = z * stds

    def directions(self, window: WindowClearing, first: int, at_load: AtLoad, p: Real, q: Real) -> Real:
        """(steps, rows, entries) by how much the network's inequalities grow by an error of 1 of each entry, with the
        size that the series has in each step.

        Args:
            p, q: (steps, nodes) demand (MW, Mvar) where the window is linearised.
        """
        model, steps = window.model, np.arange(first, first + len(window.networks))
        rows, count = model.inequalities.outputs, len(window.networks)
        found = np.zeros((count, len(model.inequalities.names), len(self._entries)))
        by_load = _by_load(model, at_load, self._load[steps], p, q) if any(e.load for e in self._entries) else None
        slopes = [slope for _, slope in model.outputs_of(window.networks)]
        given = _inputs(model)
        for k, entry in enumerate(self._entries):
            on_outputs = np.zeros((count, model.outputs.count))
            if entry.load and by_load is not None:
                size, load = self._sizes(self._load_key, self._load)[steps], self._load[steps]
                on_outputs += by_load * np.divide(size, load, out=np.zeros_like(load), where=load > 0)[:, None]
            for resource, driven in entry.plants:
                size = self._sizes(driven.key, driven.series)[steps] * driven.mw_per_terminal
                for place in given.get(resource, ()):
                    on_outputs += size[:, None] * np.array([slope[:, place] for slope in slopes])
            found[:, :, k] = (rows @ on_outputs.T).T
        return found

    def _sizes(self, key: str, series: Real) -> Real:
        """(steps,) what an error of 1 comes to, by what is known of the series."""
        return sizes(series, self._errors.of(key)[2].form, 0.0)

    def priced(
        self, result: StepResult, t: int, window: WindowClearing, p_mw: Real, solution: QPSolution
    ) -> StepResult:
        """A result whose prices have the part of the margins; see :mod:`cosim.agents.dso.chance.price`."""

        def plain() -> QPSolution:
            if self._plain is None or self._plain[0] is not solution:
                self._plain = solution, without_margins(window, p_mw, solution)
            return self._plain[1]

        return with_risk(result, t, window, solution, plain)


def _by_load(model: ClearingModel, at_load: AtLoad, load: Real, p: Real, q: Real) -> Real:
    """(steps, outputs) slope by the base load, a step's own load as unit; moved by ``APART`` either way."""
    moved = []
    for factor in (1 + APART, 1 - APART):
        networks, _ = at_load((factor * load).tolist())
        moved.append(model.outputs_at(networks, p, q))
    return np.asarray((moved[0] - moved[1]) / (2 * APART))


def _inputs(model: ClearingModel) -> Mapping[str, list[int]]:
    """Which inputs of the network are the active power of each resource, terminal by terminal."""
    found: dict[str, list[int]] = {}
    at = 0
    for port in model.ports:
        if port.p is not None:
            found.setdefault(port.owner, []).append(at)
        at += (port.p is not None) + (port.q is not None)
    return found


def chance_limits(
    prepared: PreparedFeeder, resources: Sequence[Resource], margins: dict[int, Real]
) -> ChanceLimits | None:
    """The margins of a feeder's limits; None where its scenario has no limits by chance.

    Raises:
        InputError: nothing errs that moves injections.
    """
    scenario = prepared.scenario
    spec = scenario.network.chance
    if spec is None:
        return None
    keys = ["network.load_scale", *(d.key for r in resources for d in r.driven())]
    errors = injection_errors(
        spec, scenario.forecasts, [prepared.part.key(key) for key in keys], prepared.part.key("network.chance")
    )
    return ChanceLimits(spec, errors, prepared, resources, margins)
