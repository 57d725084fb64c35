"""Capacity of a site from hourly limits: what it may always draw, and what it may draw if it is limited now and then.

A site of capacity C wants ``C u(t)``, where u is its profile (1 where it draws all of its capacity), and the network
lets it draw at most L(t). Without a battery and without work that can wait, ``max(C u(t) - L(t), 0)`` is not served.

* **Firm**: the largest C of which everything is served, min over t of L(t)/u(t).
* **Flexible** for a budget of hours: the largest C with something not served in at most a share b of the steps.
* **Flexible** for a budget of energy: the largest C of which at most a share b of the energy it wants is not served.

Arrays have the shape (steps, sites): every site has a capacity and limits of its own, and all are reckoned at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cosim.constants import KILO
from cosim.errors import InputError

Array = NDArray[np.float64]
Per = Literal["hours", "energy"]
SEEN_KW = 1e-6
"""Power not served below which a step does not count as limited: rounding of sums over a year."""
_HALVINGS = 26
_TOGETHER = 256


@dataclass(frozen=True, slots=True)
class Battery:
    """A battery beside the site, full at the start.

    Attributes:
        mwh: energy that it can give. mw: most power, in and out.
        efficiency: energy given over energy taken; the loss is one of charging.
    """

    mwh: float
    mw: float
    efficiency: float = 0.9

    def __post_init__(self) -> None:
        if not (self.mwh > 0 and self.mw > 0):
            raise InputError("a battery has an energy and a power above 0", key="battery",
                             value=f"{self.mwh:g} MWh, {self.mw:g} MW", allowed="both above 0")  # fmt: skip
        if not 0 < self.efficiency <= 1:
            raise InputError("not an efficiency", key="battery", value=self.efficiency, allowed="above 0, at most 1")


@dataclass(frozen=True, slots=True)
class Shift:
    """Work that may wait.

    Attributes:
        share: of what the site wants in a step, the part that may be drawn later.
        hours: by how much, at most.
        peak: most that the site draws while it catches up, as a multiple of the most that it wants.
    """

    share: float
    hours: float
    peak: float = 1.25

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise InputError("not a share of work", key="shift", value=self.share, allowed="above 0, at most 1")
        if not self.hours > 0:
            raise InputError("work that may wait waits some time", key="shift", value=self.hours,
                             allowed="hours above 0")  # fmt: skip
        if not self.peak >= 1:
            raise InputError("a site can draw what it wants", key="shift", value=self.peak, allowed="1 or more")


Help = Battery | Shift | None


def clipped_walk(increments: Array, low: Array, high: Array, start: Array) -> Array:
    """How much each step of a walk that is held between two bounds would be below the lower one.

    The walk is ``s(t) = clip(s(t-1) + increment(t), low(t), high(t))``; the shortfall ``max(low(t) - s(t-1) -
    increment(t), 0)``. The state of charge of a battery that charges when it can and gives when it must is such a
    walk, and so is all work done so far by a queue that works off the oldest first and gives up what is too late.

    Args:
        increments, low, high: (steps, n). start: (n,).

    Returns:
        (steps, n) shortfall, 0 or more.
    """
    short = np.empty_like(increments)
    state = start
    for t, more in enumerate(increments):
        wanted = state + more
        state = np.maximum(np.minimum(wanted, high[t]), low[t])
        np.subtract(low[t], wanted, out=short[t])
    return np.maximum(short, 0.0, out=short)


def not_served_kw(capacity_kw: Array, limit_kw: Array, profile: Array, step_h: float, means: Help = None) -> Array:
    """(steps, n) power that sites want and do not get; with shifted work, the power of work that was given up.

    A battery charges with whatever room there is and gives whenever it is needed: no other use of it leaves less energy
    not served. Work that may wait is done earliest due date first, after work that may not wait, and given up when it
    is due: no other order gives up less. What is not yet due at the end counts as served.

    Args:
        capacity_kw: (n,). limit_kw: (steps, n), 0 or more. profile: (steps,), 0 or more. step_h: hours a step.
    """
    wanted = profile[:, None] * capacity_kw
    if isinstance(means, Shift):
        return _not_served_by_queue(capacity_kw, wanted, limit_kw, profile, step_h, means)
    missing = np.maximum(wanted - limit_kw, 0.0)
    if means is None:
        return missing
    power_kw, energy_kwh = KILO * means.mw, KILO * means.mwh
    given = np.minimum(missing, power_kw)
    taken = np.minimum(np.maximum(limit_kw - wanted, 0.0), power_kw)
    bounds = np.zeros(limit_kw.shape), np.full(limit_kw.shape, energy_kwh)
    full = np.full(len(capacity_kw), energy_kwh)
    short = clipped_walk((means.efficiency * taken - given) * step_h, *bounds, full)
    return np.asarray(missing - given + short / step_h)


def _not_served_by_queue(
    capacity_kw: Array, wanted: Array, limit_kw: Array, profile: Array, step_h: float, means: Shift
) -> Array:
    """See :func:`not_served_kw`. Work that may wait is counted up: arrived so far A, done or given up so far S, and
    ``S(t) = clip(S(t-1) + room(t), A(t-d), A(t))``, for work that is d steps old is done or given up."""
    rigid = (1.0 - means.share) * wanted
    room = np.minimum(limit_kw, means.peak * profile.max(initial=0.0) * capacity_kw)
    lost = np.maximum(rigid - room, 0.0)
    arrived = np.cumsum(means.share * wanted, axis=0)
    due = np.zeros_like(arrived)
    waits = max(0, int(means.hours / step_h + 1e-9))
    due[waits:] = arrived[: max(0, len(arrived) - waits)]
    return np.asarray(lost + clipped_walk(room - (rigid - lost), due, arrived, np.zeros(len(capacity_kw))))


def curtailment(
    capacity_kw: Array, limit_kw: Array, profile: Array, step_h: float, means: Help = None
) -> tuple[Array, Array]:
    """(n,) share of the steps in which something is not served, and share of the wanted energy that is not served."""
    missing = not_served_kw(capacity_kw, limit_kw, profile, step_h, means)
    hours = np.count_nonzero(missing > SEEN_KW, axis=0) / len(profile)
    wanted = capacity_kw * profile.sum()
    energy = np.divide(missing.sum(axis=0), wanted, out=np.zeros_like(wanted), where=wanted > 0)
    return np.asarray(hours), energy


def firm_kw(limit_kw: Array, profile: Array, most_kw: float) -> Array:
    """(n,) the largest capacity of which everything is served without a battery and without waiting."""
    drawn = profile > 0
    if not drawn.any():
        return np.full(limit_kw.shape[1], most_kw)
    return np.asarray(np.minimum((limit_kw[drawn] / profile[drawn, None]).min(axis=0), most_kw))


def largest_kw(
    limit_kw: Array,
    profile: Array,
    step_h: float,
    budgets: tuple[tuple[Per, float], ...],
    most_kw: float,
    means: Help = None,
    progress: Callable[[float], None] | None = None,
) -> Array:
    """(n, budgets) the largest capacity that keeps each budget, at most ``most_kw``; found by halving.

    Of energy this is the largest there is, since the share that is not served grows with the capacity (the energy is a
    convex function of it that begins at 0). So it is of hours, except with work that may wait: there it is one that
    holds, next to one that does not.

    Args:
        limit_kw: (steps, n), 0 or more. profile: (steps,). step_h: hours a step.
        budgets: (of hours or of energy, share). means: a battery or work that may wait.
        progress: is told the share that is done.

    Raises:
        InputError: a limit is not a number.
    """
    if not np.isfinite(limit_kw).all() or (limit_kw < 0).any():
        raise InputError("limits of draws are 0 or more", key="limit_kw", value="a limit below 0, or none")
    found = np.empty((limit_kw.shape[1], len(budgets)))
    sites = max(1, _TOGETHER // max(1, len(budgets)))
    for first in range(0, len(found), sites):
        part = limit_kw[:, first : first + sites]
        found[first : first + sites] = _largest(part, profile, step_h, budgets, most_kw, means)
        if progress is not None:
            progress(min(1.0, (first + sites) / len(found)))
    return found


def _largest(
    limit_kw: Array, profile: Array, step_h: float, budgets: tuple[tuple[Per, float], ...], most_kw: float, means: Help
) -> Array:
    count = limit_kw.shape[1]
    limits = np.ascontiguousarray(np.repeat(limit_kw, len(budgets), axis=1))
    share = np.tile(np.array([b for _, b in budgets]), count)
    of_hours = np.tile(np.array([per == "hours" for per, _ in budgets]), count)

    def holds(capacity_kw: Array) -> NDArray[np.bool_]:
        hours, energy = curtailment(capacity_kw, limits, profile, step_h, means)
        return np.where(of_hours, hours, energy) <= share + 1e-12

    low, high = firm_kw(limits, profile, most_kw), np.full(len(share), most_kw)
    low = np.where(holds(high), high, low)
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        good = holds(middle)
        low, high = np.where(good, middle, low), np.where(good, high, middle)
    return low.reshape(count, len(budgets))
