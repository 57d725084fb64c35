"""Hourly limits: every case and connection, in processes of their own where there are several."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

import numpy as np
import pandas as pd

from cosim.errors import InputError
from cosim.hosting.case_limits import (
    UNSOLVED,
    UNSUPPLIED,
    Asked,
    Base,
    Part,
    Standing,
    limits_of,
    standing,
    together,
)
from cosim.hosting.cases import Case
from cosim.hosting.limits import BASE_COLUMNS, NOTHING, Connection, Element, HourlyLimits
from cosim.hosting.surroundings import Surroundings

TOGETHER = 16
"""Connections that are worked on together; results do not depend on the number of processes."""
FEEDERS_APART = 8
"""Parts into which the states of a feeder's devices go, where there are as many."""
NO_BASE = Element("solution", "", "", 0.0, "")


def hourly_limits(
    around: Surroundings,
    connections: Sequence[Connection],
    cases: Sequence[Case] = (Case("base"),),
    *,
    largest_kw: float,
    svg_kvar: float | None = None,
    left_out: bool = False,
    jobs: int = 1,
    seed: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> HourlyLimits:
    """The largest draw of each connection in each case and step, such that every limit holds in AC power flow.

    Args:
        around: the feeder, its limits and what is drawn on it already.
        connections: asked for one at a time. cases: contingencies and switching states.
        largest_kw: draw up to which is searched.
        svg_kvar: rating of a static var generator beside the connection, shared as its draw is; its reactive power is
            that with which most can be drawn.
        left_out: limits that the base case breaks do not bind; by default they are "not made worse".
        jobs: processes; a script of its own needs ``if __name__ == "__main__"`` for more than one.
        seed: of the points at which interpolated limits are compared with AC power flow.
        progress: called with the number of parts done, and of all.

    Raises:
        InputError: no connection or case, names that are not there or stand twice, ``largest_kw`` not above 0.
    """
    _check(around, connections, cases, largest_kw)
    if svg_kvar is not None and not (np.isfinite(svg_kvar) and svg_kvar > 0):
        raise InputError("not a rating", key="svg_kvar", value=svg_kvar, allowed="above 0, or none")
    asked = Asked(largest_kw, left_out, svg_kvar, seed)
    with _Pool(jobs, progress) as pool:
        stands: list[Standing] = pool.all(standing, [(around, case) for case in cases])
        work = [(k, *part) for k, at in enumerate(stands) for part in _parts(at, len(connections))]
        tasks = [(around, stands[k], groups, [connections[c] for c in chunk], asked, chunk[0] == 0)
                 for k, groups, chunk in work]  # fmt: skip
        parts: list[Part] = pool.all(limits_of, tasks)
    return _together(around, connections, cases, [(k, chunk) for k, _, chunk in work], parts, asked)


def _parts(at: Standing, connections: int) -> list[tuple[list[int], list[int]]]:
    """Numbers of feeders and of connections that are worked on together: a feeder costs more than a connection."""
    feeders, everything = len(at.feeders), list(range(connections))
    if feeders >= FEEDERS_APART:
        return [(list(range(k, feeders, FEEDERS_APART)), everything) for k in range(FEEDERS_APART)]
    size = -(-connections // -(-connections // TOGETHER))
    return [(list(range(feeders)), everything[k : k + size]) for k in range(0, connections, size)]


def _together(
    around: Surroundings, connections: Sequence[Connection], cases: Sequence[Case],
    places: Sequence[tuple[int, Sequence[int]]], parts: Sequence[Part], asked: Asked,
) -> HourlyLimits:  # fmt: skip
    names: dict[Element, int] = {}
    shape = len(cases), len(connections), around.steps
    p, q, broken = np.full(shape, np.nan), np.zeros(shape), np.ones((len(cases), around.steps), dtype=bool)
    unsolved, binding = broken.copy(), np.full(shape, NOTHING, dtype=np.int32)
    bases: list[list[Base]] = [[] for _ in cases]
    for (k, chunk), part in zip(places, parts, strict=True):
        block = np.ix_(np.asarray(chunk, dtype=np.intp), part.steps)
        p[k][block], q[k][block], binding[k][block] = part.p_kw, part.q_kvar, _renumbered(part, names, cases[k])
        if part.base is not None:
            bases[k].append(part.base)
            unsolved[k, part.steps] = broken[k, part.steps] = False
            broken[k, part.base.broken], unsolved[k, part.base.unsolved] = True, True
    if unsolved.any():
        gone = np.broadcast_to(unsolved[:, None], shape)
        p[gone], binding[gone] = np.nan, _number(names, NO_BASE)
    return HourlyLimits(
        connections=tuple(connections), cases=tuple(case.name for case in cases), elements=tuple(names), p_kw=p,
        binding=binding, step_s=around.step_s, start=around.start,
        largest_kw=asked.cap_kw, q_kvar=None if asked.svg_kvar is None else q,
        base=_table([together(found) for found in bases], unsolved, cases), base_broken=broken | unsolved,
        error=max(part.error for part in parts),
        counts={"searches": sum(part.searched for part in parts), "bus-steps": p.size}, notes=around.notes,
    )  # fmt: skip


def _table(bases: Sequence[Base], unsolved: np.ndarray[Any, np.dtype[np.bool_]], cases: Sequence[Case]) -> pd.DataFrame:
    """What the base cases break by themselves."""
    rows: list[tuple[Any, ...]] = []
    for case, base, lost in zip(cases, bases, unsolved, strict=True):
        for e, (steps, worst) in base.found.items():
            rows.append((case.name, e.kind, e.name, e.phase, e.limit, e.unit, steps, worst))
        if lost.any():
            rows.append((case.name, NO_BASE.kind, "", "", np.nan, "", int(lost.sum()), np.nan))
    table = pd.DataFrame(rows, columns=list(BASE_COLUMNS))
    return table.astype({"limit": float, "worst": float, "steps": int})


def _renumbered(part: Part, names: dict[Element, int], case: Case) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Numbers of binding elements among those of all parts."""
    result = np.full(part.binding.shape, NOTHING, dtype=np.intp)
    lines = ", ".join(case.lines_out)
    own = {UNSUPPLIED: Element("supply", lines, "", 0.0, ""), UNSOLVED: NO_BASE}
    own |= dict(enumerate(part.elements))
    for number in np.unique(part.binding).tolist():
        if number != NOTHING:
            result[part.binding == number] = _number(names, own[number])
    return result


def _number(names: dict[Element, int], element: Element) -> int:
    return names.setdefault(element, len(names))


def _check(
    around: Surroundings, connections: Sequence[Connection], cases: Sequence[Case], largest_kw: float
) -> None:
    if not connections or not cases:
        raise InputError("hourly limits need at least one connection and one case", key="connections, cases")
    if not (np.isfinite(largest_kw) and largest_kw > 0):
        raise InputError("not a largest draw", key="largest_kw", value=largest_kw, allowed="above 0")
    names = [case.name for case in cases]
    if len(set(names)) < len(names):
        raise InputError("cases must have different names", key="cases", value=names)
    for c in connections:
        for bus in c.buses:
            if bus not in around.feeder.bus_by_name:
                raise InputError(f"feeder {around.feeder.name} has no such bus", key="connections", value=bus)
            if bus == around.feeder.source_bus:
                raise InputError("a connection at the source's own bus has no limit", key="connections", value=bus)


class _Pool:
    """Tasks one after another, or in processes of their own."""

    def __init__(self, jobs: int, progress: Callable[[int, int], None] | None) -> None:
        self._pool = None
        if jobs > 1:
            self._pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"))
        self._total, self._done, self._progress = 0, 0, progress

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def all(self, task: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Results of a task for each of some arguments, in their order."""
        found = []
        self._total += len(arguments)
        futures: list[Future[Any]] = []
        if self._pool is not None:
            futures = [self._pool.submit(task, *these) for these in arguments]
        for k, these in enumerate(arguments):
            found.append(futures[k].result() if futures else task(*these))
            self._done += 1
            if self._progress is not None:
                self._progress(self._done, self._total)
        return found
