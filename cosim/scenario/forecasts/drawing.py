"""The paths of forecast errors of a scenario, drawn once by its seed, and what happens where that is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cosim.scenario.calendar import MarketCalendar, Window
from cosim.scenario.forecasts.evolution import Errors, Evolution, Slots, innovations, sizes
from cosim.scenario.forecasts.spec import ForecastSpec, ForecastsSpec

Array = NDArray[np.float64]
Supposing = Callable[[Window], Iterator[float]]
"""Shows scenarios of what may happen in a window one after the other, and says the probability of each."""


@dataclass(frozen=True, slots=True)
class Draws:
    """The errors of forecasts of a scenario, by its seed; series of one entry share theirs.

    Args:
        seed: of the scenario.
    """

    spec: ForecastsSpec
    calendar: MarketCalendar
    seed: int
    _moves: dict[str, Array] = field(default_factory=dict)

    def evolution(self, key: str, series: Array, lower: float, upper: float) -> Evolution | None:
        """How forecasts of a series evolve; None where they are of another kind.

        Args:
            series: (steps,) as the scenario has it.
        """
        _, name, spec = self.spec.of(key)
        if spec.kind != "error":
            return None
        assert spec.std_1h is not None and spec.std_24h is not None
        slots = Slots.of(self.calendar, spec.reach_h)
        law = (self.spec.scale * spec.std_1h, self.spec.scale * spec.std_24h, spec.reach_h)
        moves = self._of(name, spec)
        errors = Errors.of(slots, moves[len(moves) - slots.count :], *law)
        return Evolution(errors, series, sizes(series, spec.form, lower), spec.truth == "sampled", lower, upper)

    def truth(self, key: str, series: Array, lower: float, upper: float) -> Array:
        """(steps,) what happens: the series, or what is drawn around it."""
        found = self.evolution(key, series, lower, upper)
        if found is None or not found.sampled:
            return series
        drawn = found.truth
        drawn.setflags(write=False)
        return drawn

    def _of(self, name: str, spec: ForecastSpec) -> Array:
        """The increments of an entry, or of a series that is forecast as the default has it."""
        if name not in self._moves:
            entries = {e.name: e for e in self.spec.series if e.kind == "error"}
            if name in entries:
                slots = Slots.of(self.calendar, max(e.reach_h for e in entries.values()))
                self._moves.update(innovations(self.seed, [*entries], self.spec.correlation, slots))
            else:
                own = Slots.of(self.calendar, spec.reach_h)
                self._moves.update(innovations(self.seed, [name], np.eye(1), own))
        return self._moves[name]
