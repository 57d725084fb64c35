"""A load that gives way: energy to be had by a deadline each day, or power that is curtailed at a cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from cosim.agents.dso.resources.resource import Resource, ResourceSpec, Site, Symbol, by_terminal
from cosim.agents.dso.resources.statement import Expression, Statement
from cosim.constants import KILO
from cosim.grid.feeder.phases import Terminal
from cosim.scenario.equipment import reactive_ratio
from cosim.scenario.series.spec import SeriesSpec
from cosim.scenario.types import NonNegative, Positive

DAY_S = 86_400
HOUR_S = 3600


class FlexibleLoadSpec(ResourceSpec):
    """Either ``curtailed_usd_per_mwh``, what it costs to draw less than the ``wanted`` share of ``p_max_kw``; or
    ``energy_kwh``, to be had each day between ``from_h`` and ``deadline_h`` (hours from midnight), where
    ``missed_usd_per_mwh`` is paid for what is not. ``wanted`` then limits what can be drawn.
    """

    p_max_kw: Positive
    power_factor: Annotated[float, Field(gt=0, le=1)] = 0.95
    wanted: SeriesSpec | None = None
    curtailed_usd_per_mwh: NonNegative | None = None
    energy_kwh: Positive | None = None
    from_h: Annotated[float, Field(ge=0, lt=24)] = 0.0
    deadline_h: Annotated[float, Field(gt=0, le=24)] = 24.0
    missed_usd_per_mwh: Positive = 1000.0

    @model_validator(mode="after")
    def _one_of_two(self) -> FlexibleLoadSpec:
        if (self.energy_kwh is None) == (self.curtailed_usd_per_mwh is None):
            raise ValueError("a flexible load takes exactly one of energy_kwh, curtailed_usd_per_mwh")
        if self.from_h >= self.deadline_h:
            raise ValueError(f"from_h {self.from_h:g} must be before deadline_h {self.deadline_h:g}")
        return self


class FlexibleLoad(Resource):
    """A flexible load; on several terminals each may draw its share of the power."""

    Spec = FlexibleLoadSpec
    kind = "flexible_load"
    symbol = Symbol("flexible load", "v", 17.0)

    def __init__(self, spec: FlexibleLoadSpec, site: Site) -> None:
        super().__init__(spec, site)
        calendar = site.calendar
        share = np.ones(calendar.steps)
        if spec.wanted is not None:
            share = site.series(spec.wanted, "wanted", 0.0, 1.0, "share")
        self._spec, self._hours, self._steps = spec, calendar.step_hours, calendar.steps
        self._ratio = reactive_ratio(spec.power_factor)
        self._most_mw = spec.p_max_kw / KILO * share
        self.energy_mwh = 0.0 if spec.energy_kwh is None else spec.energy_kwh / KILO
        self._start_s, self._step_s = calendar.start_of_day_s, calendar.step_s
        self._moved_s = calendar.wall_begins_s() - self._step_s * np.arange(self._steps)
        self._had_mwh: dict[int, float] = {}
        if spec.energy_kwh is not None:
            self._most_mw = np.where(self._open(np.arange(self._steps)), self._most_mw, 0.0)

    def _begins_s(self, t: np.ndarray) -> np.ndarray:
        """Seconds on the clock on the wall from the first step's midnight; none is changed beyond the horizon."""
        return np.asarray(self._start_s + t * self._step_s + self._moved_s[np.clip(t, 0, self._steps - 1)])

    def _open(self, t: np.ndarray) -> np.ndarray:
        """Whether steps lie wholly between the hour from which energy can be had and the deadline."""
        of_day = self._begins_s(t) % DAY_S
        return np.asarray(
            (of_day >= self._spec.from_h * HOUR_S) & (of_day + self._step_s <= self._spec.deadline_h * HOUR_S)
        )

    def _day(self, t: np.ndarray) -> np.ndarray:
        """Day, from that of the first step, in which steps begin."""
        return np.asarray(self._begins_s(t) // DAY_S)

    def state(self, window: Statement) -> None:
        share = 1 / len(self.terminals)
        most = self._most_mw[window.horizon]
        drawn = list[Expression]()
        for i, terminal in enumerate(self.terminals):
            p = window.active(by_terminal("p", self.terminals, i), -most * share, 0.0)
            reach = self._ratio * float(most.max()) * share
            q = window.reactive(by_terminal("q", self.terminals, i), within=(-reach, 0.0))
            window.inject(terminal, p, q)
            window.equal(by_terminal("power_factor", self.terminals, i), q - self._ratio * p, 0.0)
            drawn.append(-p)
        power = sum(drawn[1:], drawn[0])
        if self._spec.curtailed_usd_per_mwh is not None:
            window.cost((most - power) * (window.hours * self._spec.curtailed_usd_per_mwh))
            return
        self._by_deadline(window, power)

    def _by_deadline(self, window: Statement, power: Expression) -> None:
        """Energy had in the window, missed, and still to be had after it are at least what each day is left to have."""
        steps = window.horizon
        open_, day = self._open(steps), self._day(steps)
        last = {int(d): int(np.flatnonzero(open_ & (day == d))[-1]) for d in np.unique(day[open_])}
        upper = np.zeros(window.steps)
        upper[list(last.values())] = self.energy_mwh
        missed = window.variable("missed", 0.0, upper)
        window.cost(self._spec.missed_usd_per_mwh * missed)
        for d, end in last.items():
            mine = np.flatnonzero(open_ & (day == d))
            left = self._asked_mwh(d) - self._had_mwh.get(d, 0.0) - self._after_mwh(d, int(steps[end]))
            if left > 0.0:
                had = window.hours * power[mine].sum() + missed[np.array([end])]
                window.at_most(f"deadline[{d}]", -had, -left)

    def _asked_mwh(self, day: int) -> float:
        """Energy of a day; of one that began before the first step, the share of the steps that are left."""
        of_day = self._steps_of(day)
        return self.energy_mwh * float(np.mean(of_day >= 0))

    def _after_mwh(self, day: int, t: int) -> float:
        """What can be had of a day's energy after a step, also beyond the last step of the horizon."""
        later = self._steps_of(day)
        known = later[(later > t) & (later < self._steps)]
        beyond = int(np.sum(later >= self._steps))
        return self._hours * (float(self._most_mw[known].sum()) + beyond * self._spec.p_max_kw / KILO)

    def _steps_of(self, day: int) -> np.ndarray:
        """Steps of a day's session; negative ones lie before the horizon."""
        first = (day * DAY_S - self._start_s) // self._step_s
        hour = HOUR_S // self._step_s + 1  # by which clocks may have been changed
        around = np.arange(first - 1 - hour, first + DAY_S // self._step_s + 2 + hour)
        return np.asarray(around[self._open(around) & (self._day(around) == day)])

    def delivered(self, t: int, values: Mapping[str, float]) -> None:
        day = int(self._day(np.array([t]))[0])
        given = sum(values[by_terminal("p", self.terminals, i)] for i in range(len(self.terminals)))
        self._had_mwh = {day: self._had_mwh.get(day, 0.0) - self._hours * given}

    def expected(self, t: int) -> list[tuple[Terminal, float, float]]:
        """All that is wanted, if it is not to be had by a deadline."""
        if self._spec.curtailed_usd_per_mwh is None:
            return []
        each = float(self._most_mw[t]) / len(self.terminals)
        return [(terminal, -each, -each * self._ratio) for terminal in self.terminals]
