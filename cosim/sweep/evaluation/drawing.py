"""Fresh draws of what errs, sample by sample: jointly over time and series, by the model of errors of the scenario."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cosim.scenario.forecasts.covariance import decided_s
from cosim.scenario.forecasts.drawing import Draws
from cosim.sweep.evaluation.decided import Decided

Real = NDArray[np.float64]
_APART = 2**32
"""Seeds of samples lie apart from those of scenarios, whose draws they must not repeat."""


def drawn(decided: Decided, seed: int, sample: int) -> dict[str, Real]:
    """(steps,) what happens in a sample, by key: what decisions went by, and what forecasts missed when they were made.

    Steps of a window were decided when it opened; those that were decided again on what happened, at their gates.

    Args:
        seed: of the evaluation.
    """
    calendar = decided.prepared.calendar
    draws = Draws(decided.errors, calendar, (seed + 1) * _APART + sample)
    found = {}
    for key, series in decided.series.items():
        lower, upper = decided.bounds[key]
        evolution = draws.evolution(key, series, lower, upper)
        if evolution is None:
            found[key] = series
            continue
        errors, whole = evolution.errors, evolution.errors.whole()
        missing = np.zeros(calendar.steps)
        for window in calendar.windows():
            now_s = window.first * calendar.step_s - calendar.gate_s
            if not decided.delivered:
                missing[window.first :] = errors.missing(now_s, window.first, whole)
                continue
            for t in window.committed:
                missing[t] = errors.missing(decided_s(calendar, t * calendar.step_s, t), t, whole)[0]
        found[key] = np.clip(series + evolution.size * missing, lower, upper)
    return found
