"""Capacity of a site from hourly limits: what it may always draw, and what it may draw if it is limited now and then.

A site of capacity C wants ``C u(t)``, where u is its profile (1 where it draws all of its capacity), and the network
lets it draw at most L(t). Without a battery and without work that can wait, ``max(C u(t) - L(t), 0)`` is not served.

* **Firm**: the largest C of which everything is served, min over t of L(t)/u(t).
* **Flexible** for a budget of hours: the largest C with something not served in at most a share b of the steps.
* **Flexible** for a budget of energy: the largest C of which at most a share b of the energy it wants is not served.

Every site has a capacity and limits of its own, and all are reckoned at once, step after step.
"""

from __future__ import annotations

from collections.abc import Iterator
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
RESOLUTION_KW = 0.1
_IDLE = 1e-9
"""Share of its capacity below which a site draws nothing."""
_INNER = 7
"""Sizes that are tried at once: a step of a few sites costs as much as one of many."""
_TOGETHER = 4096
"""Sizes of sites that are reckoned at once: so many that a step's arrays stay in a processor's cache."""


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


def held(wanted: Array, low: Array | float, high: Array | float) -> tuple[Array, Array]:
    """A state that would be ``wanted`` and is held between two bounds, and by how much it would be below the lower one.

    The state of charge of a battery that charges when it can and gives when it must goes this way step by step, and so
    does all work done so far by a queue that works off the oldest first and gives up what is too late.
    """
    state = np.maximum(np.minimum(wanted, high), low)
    return state, np.maximum(low - wanted, 0.0)


def not_served_kw(
    capacity_kw: Array, limit_kw: Array, profile: Array, step_h: float, means: Help = None
) -> Iterator[Array]:
    """Power that sites want and do not get, step by step; with shifted work, the power of work that was given up.

    A battery charges with whatever room there is and gives whenever it is needed: no other use of it leaves less energy
    not served. Work that may wait is done earliest due date first, after work that may not wait, and given up when it
    is due: no other order gives up less. What is not yet due at the end counts as served.

    Args:
        capacity_kw: of the sites, of any shape. limit_kw: (steps, ...), 0 or more, its rows of a shape that fits.
        profile: (steps,), 0 or more. step_h: hours a step.

    Yields:
        One array of the sites a step.
    """
    if isinstance(means, Battery):
        yield from _with_battery(capacity_kw, limit_kw, profile, step_h, means)
    elif isinstance(means, Shift):
        yield from _by_queue(capacity_kw, limit_kw, profile, step_h, means)
    else:
        for share, limit in zip(profile, limit_kw, strict=True):
            yield np.maximum(share * capacity_kw - limit, 0.0)


def _with_battery(
    capacity_kw: Array, limit_kw: Array, profile: Array, step_h: float, means: Battery
) -> Iterator[Array]:
    power_kw, energy_kwh = KILO * means.mw, KILO * means.mwh
    stored: Array | float = energy_kwh
    for share, limit in zip(profile, limit_kw, strict=True):
        over = share * capacity_kw - limit
        given = np.minimum(np.maximum(over, 0.0), power_kw)
        taken = np.minimum(np.maximum(-over, 0.0), power_kw)
        stored, short = held(stored + (means.efficiency * taken - given) * step_h, 0.0, energy_kwh)
        yield np.maximum(over, 0.0) - given + short / step_h


def _by_queue(capacity_kw: Array, limit_kw: Array, profile: Array, step_h: float, means: Shift) -> Iterator[Array]:
    """See :func:`not_served_kw`. Work that may wait is counted up, in kW times steps: with A(t) arrived so far, S(t)
    done or given up so far is S(t-1) and the room of the step, at least A(t-d) and at most A(t)."""
    waits = max(0, int(means.hours / step_h + 1e-9))
    arrived = means.share * np.cumsum(profile)
    due = np.concatenate([np.zeros(min(waits, len(profile))), arrived[: max(0, len(profile) - waits)]])
    most_kw = means.peak * profile.max(initial=0.0) * capacity_kw
    done: Array | float = 0.0
    for t, limit in enumerate(limit_kw):
        rigid = (1.0 - means.share) * profile[t] * capacity_kw
        room = np.minimum(limit, most_kw)
        done, lost = held(done + np.maximum(room - rigid, 0.0), due[t] * capacity_kw, arrived[t] * capacity_kw)
        yield np.maximum(rigid - room, 0.0) + lost


def curtailment(
    capacity_kw: Array, limit_kw: Array, profile: Array, step_h: float, means: Help = None
) -> tuple[Array, Array]:
    """(n, sizes) share of the steps in which something is not served, and share of the wanted energy that is not.

    Args:
        capacity_kw: (n, sizes): several capacities of each site. limit_kw: (steps, n). The others: see
            :func:`not_served_kw`.
    """
    hours, energy = np.zeros(capacity_kw.shape), np.zeros(capacity_kw.shape)
    if means is None:
        for site, sizes in enumerate(capacity_kw):
            hours[site], energy[site] = _bare(sizes, limit_kw[:, site], profile)
    else:
        sites = max(1, _TOGETHER // max(1, capacity_kw.shape[1]))
        for first in range(0, len(capacity_kw), sites):
            part = slice(first, first + sites)
            sizes, own_kw = np.ascontiguousarray(capacity_kw[part].T), np.ascontiguousarray(limit_kw[:, part])
            often, much = np.zeros(sizes.shape), np.zeros(sizes.shape)
            for missing in not_served_kw(sizes, own_kw, profile, step_h, means):
                often += missing > SEEN_KW
                much += missing
            hours[part], energy[part] = often.T, much.T
    wanted = capacity_kw * profile.sum()
    return hours / len(profile), np.divide(energy, wanted, out=np.zeros_like(energy), where=wanted > 0)


def _bare(sizes: Array, limit_kw: Array, profile: Array) -> tuple[Array, Array]:
    """Number of steps with something not served and the sum of it over the steps (kW), of one site without means.

    With the steps sorted by L/u the first k are those in which C u > L, so that sums over them give all sizes at once.
    """
    drawn = profile > _IDLE
    ratio = limit_kw[drawn] / profile[drawn]
    order = np.argsort(ratio, kind="stable")
    wanted, let = (np.concatenate([[0.0], np.cumsum(x[drawn][order])]) for x in (profile, limit_kw))
    count = np.searchsorted(ratio[order], sizes, side="left")
    return count.astype(float), np.maximum(sizes * wanted[count] - let[count], 0.0)


def firm_kw(limit_kw: Array, profile: Array, most_kw: float) -> Array:
    """(n,) the largest capacity of which everything is served without a battery and without waiting."""
    drawn = profile > _IDLE
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
) -> Array:
    """(n, budgets) the largest capacity that keeps each budget, at most ``most_kw``.

    Found by narrowing a bracket down to ``RESOLUTION_KW``; the answer is its lower end, which holds. Of energy
    this is the largest there is, since the share that is not served grows with the capacity (the energy is a convex
    function of it that begins at 0). So it is of hours, except with work that may wait: there it is one that holds,
    next to one that does not.

    Args:
        limit_kw: (steps, n), 0 or more. profile: (steps,). step_h: hours a step.
        budgets: (of hours or of energy, share). means: a battery or work that may wait.

    Raises:
        InputError: a limit is not a number.
    """
    if not np.isfinite(limit_kw).all() or (limit_kw < 0).any():
        raise InputError("limits of draws are 0 or more", key="limit_kw", value="a limit below 0, or none")
    share = np.array([b for _, b in budgets])
    of_hours = np.array([per == "hours" for per, _ in budgets])

    def holds(sizes_kw: Array) -> NDArray[np.bool_]:
        """Whether sizes (n, budgets, k) keep the budgets."""
        flat = sizes_kw.reshape(len(sizes_kw), -1)
        hours, energy = (x.reshape(sizes_kw.shape) for x in curtailment(flat, limit_kw, profile, step_h, means))
        return np.where(of_hours[:, None], hours, energy) <= share[:, None] + 1e-12

    low = np.repeat(firm_kw(limit_kw, profile, most_kw)[:, None], len(budgets), axis=1)
    high = np.full(low.shape, most_kw)
    low = np.where(holds(high[..., None])[..., 0], high, low)
    while (high - low > RESOLUTION_KW).any():
        sizes = low[..., None] + (high - low)[..., None] * np.arange(1, _INNER + 1) / (_INNER + 1)
        good = holds(sizes)
        first = np.where(good.all(axis=2), _INNER, np.argmin(good, axis=2))[..., None]
        grid = np.concatenate([low[..., None], sizes, high[..., None]], axis=2)
        low, high = (np.take_along_axis(grid, first + k, axis=2)[..., 0] for k in (0, 1))
    return low
