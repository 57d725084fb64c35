"""Who knows what when: every series of a scenario as it is known at a moment.

Agents get their series from here instead of what happens: arrays that show, at each moment, what has happened so far
and what is forecast of the rest. Who keeps the array that it was given always sees what is known. When a window opens,
forecasts are those of that moment; when a step is delivered, it has happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from cosim.errors import InputError, did_you_mean
from cosim.scenario.calendar import MarketCalendar, Window
from cosim.scenario.forecasts.evolution import Evolution, error_std, square_root
from cosim.scenario.forecasts.models import (
    ForecastModel,
    Moment,
    Persistence,
    SeriesFacts,
    Vintages,
    steps_of_a_day,
)
from cosim.scenario.forecasts.sampling import error_paths, stream
from cosim.scenario.forecasts.spec import KINDS, ForecastSpec
from cosim.scenario.own_code import agent_class, told
from cosim.scenario.preparation import Prepared, SeriesReader, known_by
from cosim.scenario.series.reading import read_series
from cosim.scenario.series.spec import SeriesSpec
from cosim.scenario.series.units import Quantity

Array = NDArray[np.float64]
Ahead = Callable[[Moment], Array]
WORK = "workload.utilisation"
"""What aggregators go by alone: they plan for the work that is forecast."""


@dataclass(slots=True, eq=False)
class Known:
    """A series as it is known.

    Attributes:
        truth: (steps,) what happens. ahead: what is forecast at a moment, from its first step on; None: the truth.
        values: (steps,) what is known now; shown: the same, which nobody can write to.
    """

    truth: Array
    ahead: Ahead | None
    values: Array = field(init=False)
    shown: Array = field(init=False)

    def __post_init__(self) -> None:
        self.values = np.array(self.truth)
        self.shown = self.values[:]
        self.shown.setflags(write=False)

    def show(self, moment: Moment) -> None:
        """Show what is known at a moment: what has happened before the first step, and what is forecast from it on."""
        if self.ahead is not None:
            self.values[: moment.first] = self.truth[: moment.first]
            if moment.first < len(self.truth):
                self.values[moment.first :] = self.ahead(moment)


class Information:
    """What is known of every series of a scenario; reads as a reader of series does.

    Args:
        prepared: the scenario with what happens.
    """

    def __init__(self, prepared: Prepared) -> None:
        assert isinstance(prepared.read, SeriesReader), "what happens is read by it"
        self._prepared, self._calendar, self._read = prepared, prepared.calendar, prepared.read
        self._known: dict[tuple[str, SeriesSpec], Known] = {}
        self._erring: dict[tuple[str, SeriesSpec], Evolution] = {}
        self._scenarios: tuple[Window, Array, dict[tuple[str, SeriesSpec], Array]] | None = None
        self._now = self._opening(next(iter(self._calendar.windows())))

    def __call__(
        self,
        spec: SeriesSpec,
        key: str,
        lower: float = -np.inf,
        upper: float = np.inf,
        quantity: Quantity | None = None,
    ) -> Array:
        """(steps,) a series as it is known: see :class:`SeriesReader` for arguments and errors."""
        if (key, spec) not in self._known:
            truth = self._read(spec, key, lower, upper, quantity)
            known = self._known[key, spec] = Known(truth, self._ahead(spec, key, truth, lower, upper, quantity))
            known.show(self._now)
        return self._known[key, spec].shown

    def told(self) -> Prepared:
        """The scenario as agents get it, with series as they are known."""
        market = self._prepared.scenario.market
        return known_by(self._prepared, self, None if market.stochastic is None else self.supposing)

    def supposing(self, window: Window) -> Iterator[float]:
        """Show, one after the other, scenarios of what may happen in a window that is opening; then what is forecast.

        Yields:
            The probability of each, all of which come to 1.
        """
        if self._scenarios is None or self._scenarios[0] != window:
            self._scenarios = (window, *self._sampled(window))
        _, weights, values = self._scenarios
        for w, weight in enumerate(weights.tolist()):
            for known, scenarios in values.items():
                self._known[known].values[window.first : window.last_exclusive] = scenarios[w]
            yield weight
        self._show(self._now)

    def _sampled(self, window: Window) -> tuple[Array, dict[tuple[str, SeriesSpec], Array]]:
        """Weights (scenarios,) and values (scenarios, steps of the window) of each series that errs."""
        scenario, moment = self._prepared.scenario, self._opening(window)
        spec, forecasts = scenario.market.stochastic, scenario.forecasts
        assert spec is not None
        entries: dict[str, Array] = {}
        for (key, _), evolution in self._erring.items():
            name = forecasts.of(key)[1]
            entries[name] = evolution.errors.to_come(moment.now_s, moment.first, window.last_exclusive)
        correlation, at = np.eye(len(entries)), {name: i for i, name in enumerate(entries)}
        for c in forecasts.correlations:
            if all(name in at for name in c.between):
                i, j = (at[name] for name in c.between)
                correlation[i, j] = correlation[j, i] = c.value
        paths = error_paths([*entries.values()], square_root(correlation), spec, stream(scenario.seed, window.first))
        found = {}
        for known, evolution in self._erring.items():
            missing = paths.missing[at[forecasts.of(known[0])[1]]]
            shown = self._known[known].values[window.first : window.last_exclusive]
            form = forecasts.of(known[0])[2].form
            found[known] = evolution.scenarios(moment.now_s, moment.first, missing, shown, form)
        return paths.weights, found

    def open(self, window: Window) -> None:
        """Show what is known when a window opens."""
        self._show(self._opening(window))

    def deliver(self, step: int) -> None:
        """Show what is known when a step is delivered: what happens in it, and what is forecast then of later ones."""
        self._show(Moment(step * self._calendar.step_s, step, step + 1))

    def foreseen(self, window: Window) -> bool:
        """Whether what is shown of the steps that a window commits is just what happens."""
        some = slice(window.first, window.commit_until)
        return all(np.array_equal(k.values[some], k.truth[some]) for k in self._known.values())

    def shown(self) -> list[Array]:
        """What is shown now of every series that agents have read, as it stays whatever is shown later."""
        return [known.values.copy() for known in self._known.values()]

    def shows(self, before: list[Array], steps: range) -> bool:
        """Whether what is shown of some steps is what was shown before, see :meth:`shown`."""
        some = slice(steps.start, steps.stop)
        pairs = zip(self._known.values(), before, strict=True)
        return all(np.array_equal(known.values[some], then[some]) for known, then in pairs)

    def uncertain(self, key: str) -> bool:
        """Whether a series that agents have read is not known perfectly."""
        return any(known.ahead is not None for (name, _), known in self._known.items() if name == key)

    def notes(self) -> list[str]:
        """What a reader of the run should know of how series are forecast."""
        of = {key: self._prepared.scenario.forecasts.of(key)[2] for key, _ in self._known}
        told = {
            "what happens is drawn by the seed around the series": [k for k, s in of.items() if s.truth == "sampled"],
            "the first day counts as known": [k for k, s in of.items() if s.first_day == "perfect"],
        }
        spec = self._prepared.scenario.market.stochastic
        if spec is not None:
            scenarios = ", ".join(dict.fromkeys(key for key, _ in self._erring))
            sure = [k for k in of if k not in scenarios.split(", ") and not of[k].kind == "perfect"]
            told[f"{spec.said} of what may happen"] = [scenarios]
            told["scenarios have the forecast alone"] = sure
        return [f"forecasts: {what} of {', '.join(keys)}" for what, keys in told.items() if keys]

    def check(self) -> None:
        """Refuse entries of ``forecasts.series`` that are about no series which agents have read, and scenarios of
        what may happen where no series errs.

        Raises:
            InputError: naming the entry and the keys of all series.
        """
        if self._prepared.scenario.market.stochastic is not None and not self._erring:
            raise no_errors()
        spec = self._prepared.scenario.market.stochastic
        mode = self._prepared.scenario.mode
        if spec is not None and any(f.scenario.network.chance is not None for f in self._prepared.feeders):
            raise InputError("scenarios have the errors of load and sun that limits by chance keep margins for",
                             key="market.stochastic", value=f"{spec.scenarios} scenarios",
                             allowed="without network.chance")  # fmt: skip
        if spec is not None and spec.risk is not None and mode != "decentralized":
            raise InputError("only aggregators that answer posted prices can mind the risk of them",
                             key="market.stochastic.risk", value=f"mode {mode}",
                             allowed="mode decentralized")  # fmt: skip
        if spec is not None and spec.worth and self._calendar.market == "rolling":
            raise InputError("windows of a rolling market share steps, so that their worth does not add up",
                             key="market.stochastic.worth", value=True,
                             allowed="false, or clock.market day_ahead")  # fmt: skip
        keys = list(dict.fromkeys(key for key, _ in self._known))
        for entry in self._prepared.scenario.forecasts.series:
            for pattern in entry.of:
                if not any(fnmatchcase(key, pattern) for key in keys):
                    raise InputError(f"no series of this key{did_you_mean(pattern, keys)}",
                                     key=f"forecasts.series.{entry.name}.of", value=pattern,
                                     allowed=", ".join(keys))  # fmt: skip

    def _show(self, moment: Moment) -> None:
        self._now = moment
        for known in self._known.values():
            known.show(moment)

    def _opening(self, window: Window) -> Moment:
        calendar = self._calendar
        now_s = window.opens_s - calendar.step_start_s(0)
        return Moment(now_s, max(0, now_s // calendar.step_s), window.first)

    def _ahead(
        self, spec: SeriesSpec, key: str, truth: Array, lower: float, upper: float, quantity: Quantity | None
    ) -> Ahead | None:
        """How a series is forecast."""
        at, _, how = self._prepared.scenario.forecasts.of(key)
        if how.kind == "perfect" or spec.constant is not None and how.kind == "persistence":
            return None
        if how.kind == "error":
            assert self._read.draws is not None
            found = self._read.draws.evolution(key, self._read.plain(spec, key, quantity), lower, upper)
            assert found is not None
            if key != WORK:
                self._erring[key, spec] = found
            return _of_errors(found, how, self._prepared.scenario.forecasts.scale, self._calendar)
        model = self._model(spec, key, truth, lower, upper, quantity, at, how)

        def ahead(moment: Moment) -> Array:
            known = np.array(truth[: moment.over])
            try:
                values = np.asarray(model.forecast(moment, known), dtype=np.float64)
            except Exception as error:
                if how.kind in KINDS:
                    raise
                raise InputError(f"it cannot say what is ahead of {key} ({type(error).__name__}: {error})",
                                 key=f"{at}.kind", value=how.kind) from error  # fmt: skip
            if how.kind not in KINDS and not np.isfinite(values).all():
                raise InputError(f"a forecast of {key} is not finite", key=f"{at}.kind", value=how.kind)
            if values.shape != (self._calendar.steps - moment.first,):
                raise InputError("a forecast has a value for each step to the end of the horizon", key=f"{at}.kind",
                                 value=f"{values.shape} at step {moment.first}",
                                 allowed=f"({self._calendar.steps - moment.first},)")  # fmt: skip
            return np.asarray(np.clip(values, lower, upper))

        if isinstance(model, Vintages):
            for window in self._calendar.windows():
                model.check(self._opening(window), self._needed(window, key))
        return ahead

    def _needed(self, window: Window, key: str) -> int:
        """The step until which a window looks at a series: work is planned until the longest delay is over."""
        calendar, last = self._calendar, window.last_exclusive
        if key == WORK:
            longest = max(c.max_delay_steps for c in self._prepared.scenario.workload.classes)
            return max(last, min(window.first + longest + 1, calendar.end_of_work(window.first)))
        return last

    def _model(
        self, spec: SeriesSpec, key: str, truth: Array, lower: float, upper: float, quantity: Quantity | None, at: str,
        how: ForecastSpec,
    ) -> ForecastModel:
        """A forecast that is made of what is known alone."""
        calendar, folder = self._calendar, self._prepared.path.parent
        if how.kind == "file":
            return Vintages(how, calendar, folder, key, quantity, at)
        history: Array | None = None
        try:
            history = self._history(spec, key, quantity)
        except InputError as error:
            if how.kind == "persistence" and how.first_day == "history":
                raise InputError(
                    f"persistence needs the day before the scenario begins, not in {key} ({error.message})",
                    key=f"{at}.first_day", value="history",
                    allowed="first_day: perfect (the first day counts as known), or a series with that day",
                ) from None  # fmt: skip
        if how.kind != "persistence":
            facts = SeriesFacts(key, calendar, np.zeros(0) if history is None else history, lower, upper)
            found = agent_class(how.kind, f"{at}.kind", ("forecast",))
            made: ForecastModel = found(facts, **told(found, how.parameters, f"{at}.parameters"))
            return made
        if history is None:
            day = round(24 / calendar.step_hours)
            first = truth[: day if how.last == "day" else 1]
            history = np.pad(first, (0, max(0, day - len(first)) if how.last == "day" else 0), mode="edge")
        return Persistence(SeriesFacts(key, calendar, history, lower, upper), how.last)

    def _history(self, spec: SeriesSpec, key: str, quantity: Quantity | None) -> Array:
        """(steps of a day,) values of the day before the first step.

        Raises:
            InputError: the series does not say them.
        """
        calendar = self._calendar
        day = steps_of_a_day(calendar)
        before = replace(calendar, start=calendar.start - timedelta(days=1), steps=day)
        if spec.begins == "clock" or (spec.values is not None and spec.begins is None and spec.repeat is None
                                      and not _is_a_day(spec, calendar)):  # fmt: skip
            raise InputError("it begins with the scenario", key=key)
        return read_series(spec, before, base_dir=self._prepared.path.parent, key=key, quantity=quantity).values


def _is_a_day(spec: SeriesSpec, calendar: MarketCalendar) -> bool:
    """Whether values written inline are those of a day, which comes again."""
    count = len(spec.values or ())
    return count * (spec.step_s or (3600 if count == 24 else calendar.step_s)) == 86_400


def _of_errors(found: Evolution, how: ForecastSpec, scale: float, calendar: MarketCalendar) -> Ahead:
    whole = found.errors.whole()
    assert how.std_1h is not None and how.std_24h is not None
    law = (scale * how.std_1h, scale * how.std_24h, how.reach_h)
    begins_s = np.arange(calendar.steps) * calendar.step_s

    def ahead(moment: Moment) -> Array:
        leads_h = (begins_s[moment.first :] - moment.now_s) / 3600
        return found.forecast(moment.now_s, moment.first, whole, error_std(leads_h, *law))

    return ahead


def information_of(prepared: Prepared) -> Information | None:
    """What is known when; None where everything is known beforehand."""
    if not prepared.scenario.forecasts.foresees:
        return Information(prepared)
    if prepared.scenario.market.stochastic is not None:
        raise no_errors()
    return None


def no_errors() -> InputError:
    """What is wrong where a window is to be agreed on over scenarios and nothing is uncertain."""
    return InputError("no series is forecast with an error, so there are no scenarios of what may happen",
                      key="market.stochastic", allowed="an entry of forecasts.series of kind error")  # fmt: skip


