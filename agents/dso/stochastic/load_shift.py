"""Clearings of many scenarios on one linearisation of each step, moved with the load of the scenario.

A tangent of the network at what is forecast has slopes and values. In a scenario with another base load the outputs
(import, voltages, flows) at the same demand and dispatch are taken from power flow at three load scales and a parabola
through them; their slopes by demand and dispatch stay those of the forecast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cosim.agents.dso.clearing import ClearingModel, ReducedStep
from cosim.agents.dso.network_rows import NetworkRows
from cosim.agents.dso.own_problem import OwnStep
from cosim.grid.linear.network import LinearNetwork

Real = NDArray[np.float64]


def load_nodes(forecast: Real, scenarios: Real) -> Real:
    """(3, steps) load scales through which the parabola goes: that of the forecast, one above all and one below.

    Args:
        forecast: (steps,); scenarios: (scenarios, steps).
    """
    reach = np.maximum(np.abs(scenarios - forecast).max(axis=0), 1e-3)
    below = np.where(forecast > reach, forecast - reach, forecast + 0.5 * reach)
    return np.stack([forecast, forecast + reach, below])


@dataclass(frozen=True, slots=True)
class Parabola:
    """The outputs of a step as a parabola of the load scale, in Newton's form.

    Attributes:
        at: (3,) load scales. slope, curvature: (outputs,) divided differences of first and second order.
    """

    at: Real
    slope: Real
    curvature: Real

    @classmethod
    def through(cls, at: Real, values: Sequence[Real]) -> Parabola:
        """Through the outputs at three load scales."""
        first, second, third = values
        slope = (second - first) / (at[1] - at[0])
        return cls(at, slope, ((third - first) / (at[2] - at[0]) - slope) / (at[2] - at[1]))

    def change(self, scale: float) -> Real:
        """(outputs,) by how much they differ from those at the first of the load scales."""
        a, b, _ = self.at
        return np.asarray((scale - a) * (self.slope + (scale - b) * self.curvature))


def parabolas(
    model: ClearingModel, networks: Sequence[Sequence[LinearNetwork]], at: Real, p_mw: Real, q_mvar: Real
) -> list[Parabola]:
    """Of each step the outputs by load scale.

    Args:
        networks: at each of three load scales those of all steps, linearised at their own solution.
        at: (3, steps) these load scales.
        p_mw, q_mvar: (steps, nodes) demand that they were linearised at.
    """
    values = [model.outputs_at(some, p_mw, q_mvar) for some in networks]
    return [Parabola.through(at[:, t], [v[t] for v in values]) for t in range(at.shape[1])]


def moved_with_load(
    model: ClearingModel, forecast: Sequence[ReducedStep], by_load: Sequence[Parabola], scale: Real,
    own: Sequence[OwnStep],
) -> list[ReducedStep]:  # fmt: skip
    """The clearings of all scenarios, step by step of the first scenario, then of the next.

    Args:
        forecast: clearings of the steps on what is forecast; by_load: their outputs by load scale.
        scale: (scenarios, steps) of the base load. own: of each scenario and step what the operator decides.
    """

    def moved(part: tuple[Real, Real, Real], rows: NetworkRows, change: Real) -> tuple[Real, Real, Real]:
        return part[0], part[1] - rows.outputs @ change, part[2]

    found = []
    for i, decided in enumerate(own):
        w, t = divmod(i, len(forecast))
        step, change = forecast[t], by_load[t].change(float(scale[w, t]))
        found.append(
            replace(
                step,
                own=decided,
                equalities=moved(step.equalities, model.equalities, change),
                inequalities=moved(step.inequalities, model.inequalities, change),
            )
        )
    return found
