"""From hourly limits to the tables of a study: capacities and what limits them, duration, curtailment, base case."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cosim.constants import HOUR_S, KILO
from cosim.hosting.limits import NOTHING, Element, HourlyLimits
from cosim.hosting.study.capacity import (
    SEEN_KW,
    Array,
    Battery,
    Help,
    Per,
    Shift,
    curtailment,
    firm_kw,
    largest_kw,
)
from cosim.hosting.study.schemas import ALL_CASES, CAPACITY, CURTAILMENT, DURATION, HOURLY_LIMITS
from cosim.results.tables import ROW_GROUP, check

SOLUTION = "solution"
"""Kind of the element that stands for no power flow solution."""
_POINTS = 33
_FARTHEST = 0.2
"""The curve of curtailment goes from the firm capacity to the one that is limited in this share of the steps."""
_SHARES_PCT = np.unique(np.concatenate([np.linspace(0, 100, 101), 100 - np.array([0.1, 0.25, 0.5])]))
Index = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Site:
    """What is asked of every connection.

    Attributes:
        profile: (steps,) what the site wants in a step, as a share of its capacity; 0 to 1.
        budgets: (of hours or energy, share) that may be lost.
        battery, shift: what it may have; each is looked at by itself.
        largest_kw: capacities above are not looked at.
    """

    profile: Array
    budgets: tuple[tuple[Per, float], ...]
    largest_kw: float
    battery: Battery | None = None
    shift: Shift | None = None

    def means(self) -> dict[str, Help]:
        """What the site may have, by name; first nothing."""
        own: dict[str, Help] = {"none": None, "battery": self.battery, "shift": self.shift}
        return {name: help_ for name, help_ in own.items() if name == "none" or help_ is not None}


@dataclass(frozen=True, slots=True)
class CaseLimits:
    """Limits of one case, or of all together.

    Attributes:
        name: of the case. limit_kw: (steps, connections), nan where the feeder has no solution by itself.
        binding: (steps, connections) number of the element that binds, -1 for none. case: (steps, connections) number
            of the case that binds.
    """

    name: str
    limit_kw: Array
    binding: Index
    case: Index

    def counted(self, most_kw: float) -> Array:
        """(steps, connections) limits; a step in which the feeder alone has no solution limits nobody."""
        return np.asarray(np.where(np.isnan(self.limit_kw), most_kw, np.minimum(self.limit_kw, most_kw)))


def case_limits(limits: HourlyLimits) -> list[CaseLimits]:
    """Limits case by case; first those of all cases together, where there are several.

    A case in which the feeder alone never has a solution is left out.
    """
    found = []
    for i, name in enumerate(limits.cases):
        p_kw = limits.p_kw[i].T
        if not np.isnan(p_kw).all():
            found.append(CaseLimits(name, p_kw, limits.binding[i].T.astype(np.intp), np.full(p_kw.shape, i)))
    if len(found) < 2:
        return found
    p_kw, binding, case = limits.least()
    return [CaseLimits(ALL_CASES, p_kw.T, binding.T.astype(np.intp), case.T), *found]


def named(means: str, svg: bool) -> str:
    """Name of what a site has, with or without reactive power at the connection."""
    return means if not svg else "svg" if means == "none" else f"svg+{means}"


def capacity_table(
    limits: Mapping[bool, HourlyLimits], site: Site, progress: Callable[[float], None] | None = None
) -> pd.DataFrame:
    """Firm and flexible capacities of every connection, case by case and of all cases; see ``CAPACITY``.

    What a site may have beside it, a battery or work that may wait, is looked at over all cases.

    Args:
        limits: without (False), and perhaps with (True), reactive power at the connection.
    """
    rows: list[pd.DataFrame] = []
    budgets: tuple[tuple[Per, float], ...] = (("hours", 0.0), *site.budgets)
    work = [(svg, one, case, means, help_) for svg, one in limits.items() for i, case in enumerate(case_limits(one))
            for means, help_ in site.means().items() if i == 0 or help_ is None]  # fmt: skip
    for i, (svg, one, case, means, help_) in enumerate(work):
        if progress is not None:
            progress(i / len(work))
        step_h = one.step_s / HOUR_S
        kw = case.counted(site.largest_kw)
        found = largest_kw(kw, site.profile, step_h, budgets, site.largest_kw, help_)
        hours, energy = curtailment(found, kw, site.profile, step_h, help_)
        broken = bound_by_broken(one, case)
        unbroken = firm_kw(np.where(broken, site.largest_kw, kw), site.profile, site.largest_kw)
        for k, (per, share) in enumerate(budgets):
            frame = _binding_of(one, case, kw, site, found[:, k])
            frame["limited_hours_pct"], frame["not_served_pct"] = 100 * hours[:, k], 100 * energy[:, k]
            frame["broken_steps_pct"] = 100 * broken.mean(axis=0)
            frame["unbroken_kw"] = unbroken if k == 0 and help_ is None else np.nan
            frame["budget_of"], frame["budget_pct"] = "firm" if k == 0 else per, 100 * share
            rows.append(frame.assign(case=case.name, means=named(means, svg)))
    return check(CAPACITY, pd.concat(rows, ignore_index=True))


def _binding_of(limits: HourlyLimits, case: CaseLimits, kw: Array, site: Site, capacity_kw: Array) -> pd.DataFrame:
    """What limits each connection at a capacity: what binds most often in the steps in which the network does not let
    it draw what it wants, and if there is none, what binds in the step that limits it most."""
    rows = []
    wanted = site.profile > 0
    broken = broken_in_base(limits)
    for k, name in enumerate(names_of(limits)):
        capacity = float(capacity_kw[k])
        limited = np.flatnonzero(site.profile * capacity > kw[:, k] + SEEN_KW)
        if not len(limited) and wanted.any():
            ratio = np.where(wanted, kw[:, k] / np.where(wanted, site.profile, 1.0), np.inf)
            limited = np.array([int(np.argmin(ratio))])
        open_ended = capacity >= site.largest_kw * (1 - 1e-9)
        pairs = case.binding[limited, k] * len(limits.cases) + case.case[limited, k]
        values, counts = np.unique(pairs[case.binding[limited, k] != NOTHING], return_counts=True)
        row: dict[str, object] = {"connection": name, "capacity_kw": capacity, "open_ended": open_ended,
                                  "kind": None, "element": None, "phase": None, "binding_pct": np.nan,
                                  "in_case": None, "broken_in_base": False}  # fmt: skip
        if len(values):
            most = int(np.argmax(counts))
            element, number = divmod(int(values[most]), len(limits.cases))
            what, worst = _named(limits.elements[element]), limits.cases[number]
            row |= {**what, "binding_pct": 100 * counts[most] / len(limited), "in_case": worst,
                    "broken_in_base": (worst, *what.values()) in broken}  # fmt: skip
        rows.append(row)
    frame = pd.DataFrame(rows)
    return frame.astype(dict.fromkeys(("kind", "element", "phase", "in_case"), "str"))


def _named(element: Element) -> dict[str, str]:
    return {"kind": element.kind, "element": element.name, "phase": element.phase}


def broken_in_base(limits: HourlyLimits) -> set[tuple[str, ...]]:
    """(case, kind, element, phase) of the limits that the base case breaks by itself."""
    base = limits.base
    return set(zip(base["case"], base["kind"], base["name"], base["phase"], strict=True))


def bound_by_broken(limits: HourlyLimits, case: CaseLimits) -> NDArray[np.bool_]:
    """(steps, connections) whether what binds is a limit that the base case breaks, in a step where it breaks any."""
    broken = broken_in_base(limits)
    known = [[(name, *_named(e).values()) in broken for e in limits.elements] + [False] for name in limits.cases]
    steps = np.arange(len(case.case))[:, None]
    bound = np.array(known)[case.case, case.binding] & limits.base_broken[case.case, steps]
    return np.asarray(bound & ~np.isnan(case.limit_kw))


def names_of(limits: HourlyLimits) -> list[str]:
    """Names of the connections."""
    return [connection.name for connection in limits.connections]


def limit_parts(limits: Mapping[bool, HourlyLimits]) -> Iterator[pd.DataFrame]:
    """The rows of ``HOURLY_LIMITS`` in order, some connections of a case at a time, to save memory."""
    texts = {svg: _texts(one) for svg, one in limits.items()}
    first = next(iter(limits.values()))
    names, steps = names_of(first), first.p_kw.shape[2]
    order = sorted(range(len(names)), key=lambda k: names[k])
    together = max(1, ROW_GROUP // (steps * len(limits)))
    for i in sorted(range(len(first.cases)), key=lambda i: first.cases[i]):
        for begin in range(0, len(order), together):
            rows: list[pd.DataFrame] = []
            for k in order[begin : begin + together]:
                for svg, one in limits.items():
                    at = one.binding[i, k].astype(np.intp)
                    own = {column: values.take(at) for column, values in texts[svg].items()}
                    where = {"connection": names[k], "means": named("none", svg)}
                    rows.append(pd.DataFrame({**where, "step": np.arange(steps), "limit_kw": one.p_kw[i, k], **own}))
            yield check(HOURLY_LIMITS, pd.concat(rows, ignore_index=True).assign(case=first.cases[i]))


def _texts(limits: HourlyLimits) -> dict[str, pd.api.extensions.ExtensionArray]:
    """Kind, name and phase of each element, then of none, which its number -1 finds."""
    rows = [list(_named(element).values()) for element in limits.elements]
    columns = zip(*rows, (None, None, None), strict=True)
    return {
        name: pd.array(list(texts), dtype="str")
        for name, texts in zip(("kind", "element", "phase"), columns, strict=True)
    }


def duration_table(limits: Mapping[bool, HourlyLimits]) -> pd.DataFrame:
    """Limits that are exceeded or met in shares of the steps; see ``DURATION``."""
    rows = []
    for svg, one in limits.items():
        names = names_of(one)
        for case in case_limits(one):
            kw = np.sort(case.limit_kw, axis=0)  # what is not known last
            known = np.count_nonzero(~np.isnan(kw), axis=0)
            at = np.maximum(np.ceil(_SHARES_PCT[:, None] / 100 * known).astype(int), 1)  # so many are at least as high
            curve = np.take_along_axis(kw, np.maximum(known - at, 0), axis=0)
            frame = pd.DataFrame({"connection": np.repeat(names, len(_SHARES_PCT)), "limit_kw": curve.T.ravel(),
                                  "at_least_pct": np.tile(_SHARES_PCT, len(names))})  # fmt: skip
            rows.append(frame[np.repeat(known > 0, len(_SHARES_PCT))].assign(case=case.name, means=named("none", svg)))
    return check(DURATION, pd.concat(rows, ignore_index=True))


def curtailment_table(limits: Mapping[bool, HourlyLimits], site: Site) -> pd.DataFrame:
    """What a site loses at capacities from the firm one upwards, over all cases; see ``CURTAILMENT``."""
    rows = []
    for svg, one in limits.items():
        step_h = one.step_s / HOUR_S
        kw = case_limits(one)[0].counted(site.largest_kw)
        ends = largest_kw(kw, site.profile, step_h, (("hours", 0.0), ("hours", _FARTHEST)), site.largest_kw)
        grid = ends[:, :1] + (ends[:, 1:] - ends[:, :1]) * np.linspace(0, 1, _POINTS)
        for means, help_ in site.means().items():
            hours, energy = curtailment(grid, kw, site.profile, step_h, help_)
            frame = pd.DataFrame({"connection": np.repeat(names_of(one), _POINTS), "means": named(means, svg),
                                  "capacity_kw": grid.ravel(), "limited_hours_pct": 100 * hours.ravel(),
                                  "not_served_pct": 100 * energy.ravel()})  # fmt: skip
            rows.append(frame.drop_duplicates(["connection", "capacity_kw"]))
    return check(CURTAILMENT, pd.concat(rows, ignore_index=True))


def flexible(capacity: pd.DataFrame, budget_pct: float, of: str = "hours", means: str = "none") -> pd.Series:
    """Capacity by connection over all cases (or in the only one): firm for a budget of 0."""
    overall = over_all_cases(capacity)
    wanted = "firm" if budget_pct == 0 else of
    rows = overall[(overall["means"] == means) & (overall["budget_of"] == wanted)
                   & np.isclose(overall["budget_pct"], budget_pct)]  # fmt: skip
    return rows.set_index("connection")["capacity_kw"]


def over_all_cases(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of all cases together, or of the only case."""
    return table[table["case"] == (ALL_CASES if (table["case"] == ALL_CASES).any() else table["case"].iloc[0])]


def not_served_mwh(not_served_pct: float, capacity_kw: float, profile: Array, step_h: float) -> float:
    """Energy that is not served, MWh, from its share of the energy that is wanted."""
    return not_served_pct / 100 * capacity_kw * float(profile.sum()) * step_h / KILO
