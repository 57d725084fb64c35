"""How forecast errors of several entries vary together at the lead times of steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cosim.scenario.calendar import MarketCalendar
from cosim.scenario.forecasts.evolution import Errors, Slots
from cosim.scenario.forecasts.spec import ForecastsSpec

Array = NDArray[np.float64]


def decided_s(calendar: MarketCalendar, now_s: int, t: int) -> int:
    """When what is set in a step is decided, in seconds from the first step: when its window opens, and by the time
    between gate and delivery before the step begins at the latest."""
    return min(now_s, t * calendar.step_s - calendar.gate_s)


def error_covariance(
    spec: ForecastsSpec, names: Sequence[str], calendar: MarketCalendar, now_s: int, steps: Sequence[int]
) -> Array:
    """(steps, names, names) covariance of what forecasts miss of some steps, before the size of the series comes in.

    Of errors X_i and X_j whose increments have the correlation rho it is rho times the integral of g_i g_j over the
    lead time (see :mod:`cosim.scenario.forecasts.evolution`), slot by slot as they are drawn.

    Args:
        names: of entries of kind ``error``, as :meth:`ForecastsSpec.of` calls them.
        now_s: moment from which on errors are counted, see :func:`decided_s`.
    """
    entries = {e.name: e for e in spec.series}
    laws = [entries.get(name, spec.default) for name in names]
    slots = Slots.of(calendar, max(law.reach_h for law in laws))
    weights = np.array([_weights(slots, spec.scale, law.std_1h, law.std_24h, law.reach_h) for law in laws])
    products = np.einsum("is,js->sij", weights, weights)[::-1]
    until = np.concatenate([np.zeros((1, len(names), len(names))), np.cumsum(products, axis=0)])
    left = [slots.a_step * (t + slots.reach) - slots.at(decided_s(calendar, now_s, t)) for t in steps]
    known = {name: i for i, name in enumerate(spec.erring)}
    among = np.eye(len(names))
    for i, a in enumerate(names):
        for j, b in enumerate(names):
            if a in known and b in known:
                among[i, j] = spec.correlation[known[a], known[b]]
    return np.asarray(among * until[np.clip(left, 0, len(until) - 1)])


def _weights(slots: Slots, scale: float, std_1h: float | None, std_24h: float | None, reach_h: float) -> Array:
    assert std_1h is not None and std_24h is not None, "entries of kind error say them"
    return Errors.of(slots, np.zeros(0), scale * std_1h, scale * std_24h, reach_h).weights
