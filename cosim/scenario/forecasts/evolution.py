"""The martingale model of forecast evolution (Heath and Jackson, IIE Transactions 26(3), 1994).

A forecast F(t|s) of what happens at time t moves, while time s goes on to t, by revisions that nobody can foresee:

    X(t) - F(t|s) = integral from s to t of g(t - u) dW(u),     g(h)^2 = d sigma^2(h) / dh

W is a Brownian motion, one for all t: so revisions are independent over time, forecasts are unbiased and consistent
(the expectation at s of F(t|s') is F(t|s), s < s' < t), errors of neighbouring hours are correlated, and the error at
lead time h has the standard deviation

    sigma(h) = std_1h h^a,     a = ln(std_24h / std_1h) / ln 24,     h in hours, no further than ``reach_h``

W moves in slots of time: between the beginnings of steps and the times at which windows open.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from cosim.constants import HOUR_S
from cosim.scenario.calendar import MarketCalendar

Array = NDArray[np.float64]


def error_std(lead_h: Array, std_1h: float, std_24h: float, reach_h: float) -> Array:
    """Standard deviation of the error at lead times (hours); zero for what has begun, and constant beyond the reach."""
    exponent = np.log(std_24h / std_1h) / np.log(24.0)
    within = np.clip(lead_h, 0.0, reach_h)
    return np.asarray(np.where(within > 0, std_1h * np.power(np.maximum(within, 1e-12), exponent), 0.0))


@dataclass(frozen=True, slots=True)
class Slots:
    """The time in which revisions happen, from the reach before the first step to the end of the horizon.

    Attributes:
        step_s: length of a step. early_s: by how much windows open before a step begins, less whole steps.
        reach: (steps) for how long before a step its forecast is revised. steps: of the horizon.
    """

    step_s: int
    early_s: int
    reach: int
    steps: int

    @classmethod
    def of(cls, calendar: MarketCalendar, reach_h: float) -> Slots:
        """The slots of a calendar."""
        reach = int(np.ceil(reach_h * HOUR_S / calendar.step_s))
        return cls(calendar.step_s, calendar.gate_s % calendar.step_s, reach, calendar.steps)

    @property
    def a_step(self) -> int:
        """Slots in a step."""
        return 2 if self.early_s else 1

    @property
    def count(self) -> int:
        """All slots: those of the reach, then those of the horizon."""
        return self.a_step * (self.reach + self.steps)

    def at(self, moment_s: int) -> int:
        """Number of the first slot that is not over at a moment (seconds from the beginning of the first step)."""
        step, rest = divmod(moment_s, self.step_s)
        slot = self.a_step * (self.reach + step)
        if rest:
            slot += 1 if self.early_s and rest >= self.step_s - self.early_s else 0
        return int(np.clip(slot, 0, self.count))

    def leads_h(self) -> Array:
        """(slots of the reach + 1,) lead times (hours) of a step at the boundaries of the slots before it."""
        begins = np.arange(-self.reach, 1, dtype=np.float64) * self.step_s
        if not self.early_s:
            return -begins / HOUR_S
        both = np.sort(np.concatenate([begins, begins[1:] - self.early_s]))
        return -both / HOUR_S


def innovations(seed: int, names: Sequence[str], correlation: Array, slots: Slots) -> dict[str, Array]:
    """(slots,) standard normal increments of each name, correlated between names and independent in time.

    Each name has streams of its own, and those before the first step are drawn backward in time: a further name, or
    another one's longer reach, changes none of the others.
    """
    horizon, rows = slots.a_step * slots.steps, []
    for name in names:
        word = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
        after, before = (np.random.default_rng(np.random.SeedSequence([seed, word, part])) for part in range(2))
        earlier = before.standard_normal(slots.count - horizon)[::-1]
        rows.append(np.concatenate([earlier, after.standard_normal(horizon)]))
    if np.array_equal(correlation, np.eye(len(names))):
        return dict(zip(names, rows, strict=True))
    return dict(zip(names, square_root(correlation) @ np.array(rows), strict=True))


def square_root(correlation: Array) -> Array:
    """The symmetric square root of a correlation matrix."""
    values, vectors = np.linalg.eigh(correlation)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T)


@dataclass(frozen=True, slots=True)
class Errors:
    """What forecasts still miss, for one path of revisions, before the size of the series comes in.

    Attributes:
        slots: of the revisions. weights: (slots of the reach,) what each moves the forecast of the step after them by.
        moves: (all slots,) standard normal increments.
    """

    slots: Slots
    weights: Array
    moves: Array

    @classmethod
    def of(cls, slots: Slots, moves: Array, std_1h: float, std_24h: float, reach_h: float) -> Errors:
        """The path of revisions with the law of :func:`error_std`."""
        variance = error_std(slots.leads_h(), std_1h, std_24h, reach_h) ** 2
        return cls(slots, np.sqrt(np.maximum(-np.diff(variance), 0.0)), moves)

    def whole(self) -> Array:
        """(steps,) all revisions of each step together: what was missed before the first of them.

        Step by step, so that what comes later has no part in it, not even in rounding.
        """
        found = np.correlate(self.moves, self.weights, mode="valid")
        return np.asarray(found[:: self.slots.a_step][: self.slots.steps])

    def revealed(self, moment_s: int, first: int) -> Array:
        """(steps from ``first`` on,) revisions that have been made by a moment."""
        slots, reach = self.slots, len(self.weights)
        out, now = np.zeros(slots.steps - first), slots.at(moment_s)
        done = reach - slots.a_step * (np.arange(first, slots.steps) + slots.reach) + now
        near = done[done > 0]
        most = int(near.max(initial=0))
        place = near[:, None] - np.arange(most, 0, -1)
        share = np.where((place >= 0) & (place < reach), self.weights[np.clip(place, 0, reach - 1)], 0.0)
        out[: len(near)] = share @ self.moves[now - most : now]
        return out

    def missing(self, moment_s: int, first: int, whole: Array) -> Array:
        """(steps from ``first`` on,) revisions that are still to come at a moment."""
        slots, reach = self.slots, len(self.weights)
        out, now = whole[first:].copy(), slots.at(moment_s)
        left = slots.a_step * (np.arange(first, slots.steps) + slots.reach) - now
        near = left[left < reach]  # the others still have all revisions before them
        most = int(near.max(initial=0))
        out[: len(near)] = self._shares(near, most) @ self.moves[now : now + most]
        return out

    def to_come(self, moment_s: int, first: int, last_exclusive: int) -> Array:
        """(steps, slots) what each increment from a moment on adds to what forecasts of some steps miss then."""
        slots = self.slots
        left = slots.a_step * (np.arange(first, last_exclusive) + slots.reach) - slots.at(moment_s)
        return self._shares(left, int(left.max(initial=0)))

    def _shares(self, left: NDArray[np.intp], most: int) -> Array:
        """(steps, slots) what each of the coming slots moves steps by that have so many of them left."""
        reach = len(self.weights)
        place = reach - left[:, None] + np.arange(most)
        share = self.weights[np.clip(place, 0, reach - 1)]
        return np.where((place >= 0) & (place < reach), share, 0.0)


def clipped_mean(mean: Array, std: Array, lower: float, upper: float) -> Array:
    """Expectation of a normal variable that is cut off at bounds, so that all beyond a bound lies on it.

    With a = (lower - mean) / std and b likewise: mean (Phi(b) - Phi(a)) - std (phi(b) - phi(a)) + lower Phi(a)
    + upper (1 - Phi(b)).
    """
    out = np.clip(mean, lower, upper)
    some = np.flatnonzero(std > 0)
    if (np.isinf(lower) and np.isinf(upper)) or not some.size:
        return np.asarray(out)
    m, s = mean[some], std[some]
    a, b = (lower - m) / s, (upper - m) / s
    density_a, density_b = (np.exp(-0.5 * edge**2) / np.sqrt(2 * np.pi) for edge in (a, b))
    found = m * (ndtr(b) - ndtr(a)) - s * (density_b - density_a)
    found += 0.0 if np.isinf(lower) else lower * ndtr(a)
    found += 0.0 if np.isinf(upper) else upper * ndtr(-b)
    out[some] = np.clip(found, lower, upper)
    return np.asarray(out)


@dataclass(frozen=True, slots=True)
class Evolution:
    """Forecasts of one series that err around what happens, or that what happens is drawn around.

    Attributes:
        errors: the path of revisions. series: (steps,) as the scenario has it.
        size: (steps,) what an error of 1 comes to. sampled: whether what happens is drawn.
        lower, upper: what values cannot go beyond.
    """

    errors: Errors
    series: Array
    size: Array
    sampled: bool
    lower: float
    upper: float

    @property
    def truth(self) -> Array:
        """(steps,) what happens."""
        if not self.sampled:
            return self.series
        return np.asarray(np.clip(self.series + self.size * self.errors.whole(), self.lower, self.upper))

    def forecast(self, moment_s: int, first: int, whole: Array, std: Array) -> Array:
        """(steps from ``first`` on,) what is expected at a moment.

        Where what happens is drawn it is the expectation of what happens within its bounds, so that bounds bias
        nothing. Where the series is what happens it is the series less what is still to come, cut off at the bounds,
        which moves the mean of forecasts near a bound away from it.

        Args:
            whole: of :meth:`Errors.whole`. std: (steps from ``first`` on,) of what is still to come, before its size.
        """
        size, series = self.size[first:], self.series[first:]
        if not self.sampled:
            missing = self.errors.missing(moment_s, first, whole)
            return np.asarray(np.clip(series - size * missing, self.lower, self.upper))
        known = series + size * self.errors.revealed(moment_s, first)
        return clipped_mean(known, size * std, self.lower, self.upper)

    def scenarios(self, moment_s: int, first: int, missing: Array, forecast: Array, form: str) -> Array:
        """(scenarios, steps) what happens if this is what forecasts miss at a moment, within the bounds.

        Where the series is what happens, errors are as large as the forecast says, as nobody knows the series.

        Args:
            missing: (scenarios, steps from ``first`` on,) before its size. forecast: (steps,), of :meth:`forecast`.
        """
        if self.sampled:
            some = slice(first, first + missing.shape[1])
            size = self.size[some]
            centre = self.series[some] + size * self.errors.revealed(moment_s, first)[: missing.shape[1]]
        else:
            size, centre = sizes(forecast, form, self.lower), forecast
        return np.asarray(np.clip(centre + size * missing, self.lower, self.upper))


def sizes(series: Array, form: str, lower: float) -> Array:
    """(steps,) what a relative error of 1 comes to: the value itself, or 1 in the series' unit; nothing where a value
    that cannot be negative is zero, as the sun at night."""
    size = np.abs(series) if form == "multiplicative" else np.ones_like(series)
    return np.where((lower == 0.0) & (series == 0.0), 0.0, size)
