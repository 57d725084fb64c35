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
    Base,
    Part,
    Standing,
    base_of,
    limits_of,
    standing,
)
from cosim.hosting.cases import Case
from cosim.hosting.limits import NOTHING, Connection, Element, HourlyLimits
from cosim.hosting.surroundings import Surroundings

TOGETHER = 16
"""Connections that are worked on together; results do not depend on the number of processes."""


def hourly_limits(
    around: Surroundings,
    connections: Sequence[Connection],
    cases: Sequence[Case] = (Case("base"),),
    *,
    largest_kw: float,
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
        left_out: limits that the base case breaks do not bind; by default they are "not made worse".
        jobs: processes. seed: of the points at which interpolated limits are compared with AC power flow.
        progress: called with the number of parts done, and of all.

    Raises:
        InputError: no connection or case, names that are not there or stand twice, ``largest_kw`` not above 0.
    """
    _check(around, connections, cases, largest_kw)
    size = -(-len(connections) // -(-len(connections) // TOGETHER))
    chunks = [connections[k : k + size] for k in range(0, len(connections), size)]
    total = len(cases) * (2 + len(chunks))
    with _Pool(jobs, total, progress) as pool:
        stands: list[Standing] = pool.all(standing, [(around, case) for case in cases])
        tasks: list[tuple[Any, ...]] = []
        for at in stands:
            tasks += [(at, None), *((at, chunk) for chunk in chunks)]
        done = pool.all(_task, [(around, at, chunk, largest_kw, left_out, seed) for at, chunk in tasks])
    bases: list[Base] = [found for found in done if isinstance(found, Base)]
    parts: list[Part] = [found for found in done if isinstance(found, Part)]
    return _together(around, connections, cases, bases, parts, largest_kw)


def _task(
    around: Surroundings, at: Standing, chunk: Sequence[Connection] | None, cap_kw: float, left_out: bool, seed: int
) -> Base | Part:
    return base_of(around, at) if chunk is None else limits_of(around, at, chunk, cap_kw, left_out, seed)


def _together(
    around: Surroundings, connections: Sequence[Connection], cases: Sequence[Case], bases: Sequence[Base],
    parts: Sequence[Part], largest_kw: float,
) -> HourlyLimits:  # fmt: skip
    per_case = len(parts) // len(cases)
    names: dict[Element, int] = {}
    p, binding = [], []
    for k, base in enumerate(bases):
        mine = parts[k * per_case : (k + 1) * per_case]
        p.append(np.where(base.unsolved, np.nan, np.concatenate([part.p_kw for part in mine])))
        found = np.concatenate([_renumbered(part, names, cases[k]) for part in mine])
        binding.append(np.where(base.unsolved, _number(names, Element("solution", "", "", 0.0, "")), found)
                       if base.unsolved.any() else found)  # fmt: skip
    tables = [base.table for base in bases if len(base.table)] or [bases[0].table]
    return HourlyLimits(
        connections=tuple(connections), cases=tuple(case.name for case in cases), elements=tuple(names),
        p_kw=np.stack(p), binding=np.stack(binding).astype(np.int32), step_s=around.step_s, start=around.start,
        largest_kw=largest_kw, base=pd.concat(tables, ignore_index=True),
        base_broken=np.stack([base.broken for base in bases]), error=max(part.error for part in parts),
        counts={"searches": sum(part.searched for part in parts),
                "bus-steps": len(cases) * len(connections) * around.steps},
        notes=around.notes,
    )  # fmt: skip


def _renumbered(part: Part, names: dict[Element, int], case: Case) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Numbers of binding elements among those of all parts."""
    result = np.full(part.binding.shape, NOTHING, dtype=np.intp)
    lines = ", ".join(case.lines_out)
    own = {UNSUPPLIED: Element("supply", lines, "", 0.0, ""), UNSOLVED: Element("solution", "", "", 0.0, "")}
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

    def __init__(self, jobs: int, total: int, progress: Callable[[int, int], None] | None) -> None:
        self._pool = None
        if jobs > 1:
            self._pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"))
        self._total, self._done, self._progress = total, 0, progress

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def all(self, task: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Results of a task for each of some arguments, in their order."""
        found = []
        futures: list[Future[Any]] = []
        if self._pool is not None:
            futures = [self._pool.submit(task, *these) for these in arguments]
        for k, these in enumerate(arguments):
            found.append(futures[k].result() if futures else task(*these))
            self._done += 1
            if self._progress is not None:
                self._progress(self._done, self._total)
        return found
