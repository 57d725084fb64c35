"""Samples solved by OpenDSS, some at a time: one circuit for them all, step by step."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cosim.constants import KILO
from cosim.grid.linear.branch_flows import ac_flows
from cosim.grid.opendss.circuit import AcCircuit
from cosim.results.record import record_text
from cosim.sweep.evaluation.decided import LOAD_KEY, PRICE_KEY, Decided, Errs, read_decided
from cosim.sweep.evaluation.drawing import drawn

Real = NDArray[np.float64]
Counts = NDArray[np.int64]
TOGETHER = 50
"""Samples that are solved together; results do not depend on who solves them."""
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Some samples.

    Attributes:
        kinds, elements, phases, limits, units: (k,) of the limits.
        broken: (steps, k) in how many samples each is broken; excess, worst: (steps, k) sum and largest of how far.
        any_broken, unsolved: (samples, steps) whether any limit is broken; whether there is no solution.
        import_kw: (samples, steps). price: (samples, steps) at the source, USD/MWh.
    """

    kinds: Sequence[str]
    elements: Sequence[str]
    phases: Sequence[str]
    limits: Real
    units: Sequence[str]
    broken: Counts
    excess: Real
    worst: Real
    any_broken: NDArray[np.bool_]
    unsolved: NDArray[np.bool_]
    import_kw: Real
    price: Real


def solve_chunk(folder: str, errs: Errs, seed: int, first: int, count: int) -> Chunk:
    """Samples from ``first`` on of the run in a folder, each step solved by OpenDSS.

    The circuit is made anew for them, so that no last digit depends on what was solved before.
    """
    with _one_at_a_time:
        return solved(_known(folder, record_text(Path(folder), "run"), errs), seed, range(first, first + count))


@lru_cache(maxsize=1)
def _known(folder: str, record: str, errs: Errs) -> Decided:
    """What the run in a folder decided, kept between chunks; its record tells it from a later one in its place."""
    return read_decided(Path(folder), errs)


def solved(decided: Decided, seed: int, samples: range) -> Chunk:
    """Some samples of what was decided, each step solved by OpenDSS."""
    circuit, steps = AcCircuit(decided.prepared.only.feeder), decided.steps
    values = [drawn(decided, seed, s) for s in samples]
    rated = bool(decided.alone.limits.phase_kva)
    shape = len(samples), steps
    any_broken, unsolved = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    import_kw = np.full(shape, np.nan)
    book = decided.alone.book_of(circuit.solve(0.0, []))
    k = len(book.kinds)
    broken, excess, worst = np.zeros((steps, k), dtype=np.int64), np.zeros((steps, k)), np.zeros((steps, k))
    for t in range(steps):
        circuit.move_to(decided.feeders[t])
        for s, at in enumerate(values):
            plants = [
                (p.terminal, -p.given_kw(t, float(at[p.key][t]), float(decided.series[p.key][t])), -float(p.q_kvar[t]))
                for p in decided.plants
            ]
            solution = circuit.solve(float(at[LOAD_KEY][t]), [*decided.fixed[t], *plants])
            if not solution.converged:
                unsolved[s, t] = any_broken[s, t] = True
                continue
            if rated:
                solution = replace(solution, flows=ac_flows(circuit))
            seen = decided.alone.values(solution)
            over = book.broken(seen)
            import_kw[s, t] = solution.p_source_kw
            if over.any():
                beyond = np.where(over, book.beyond(seen), 0.0)
                broken[t] += over
                excess[t] += beyond
                worst[t] = np.maximum(worst[t], beyond)
                any_broken[s, t] = True
    every = np.arange(k)
    return Chunk(
        list(book.kinds), list(book.elements), list(book.phases), book.limit, book.units_of(every), broken, excess,
        worst, any_broken, unsolved, import_kw, np.array([at[PRICE_KEY] for at in values]),
    )  # fmt: skip


def import_usd(decided: Decided, import_kw: Real, price: Real) -> Real:
    """(samples, steps) cost of the import at the drawn price, its slope counted."""
    market = decided.prepared.scenario.market
    mw = import_kw / KILO
    cost = price * mw + 0.5 * market.slope_usd_per_mwh_per_mw * mw**2
    return np.asarray(decided.prepared.calendar.step_hours * cost)
