"""A run out of sample: samples to workers, and what they found as tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import beta

from cosim.constants import KILO
from cosim.errors import InputError, RunFailure, listed
from cosim.results.folders import ResultFolder
from cosim.results.record import utc_now, versions
from cosim.results.tables import check
from cosim.results.underway.writing import Underway
from cosim.sweep.engine import Engine, open_engine
from cosim.sweep.evaluation.decided import Decided, Errs, read_decided
from cosim.sweep.evaluation.page import write_evaluation_page
from cosim.sweep.evaluation.paying import payment_notes, payment_usd
from cosim.sweep.evaluation.report import write_evaluation_report
from cosim.sweep.evaluation.result import Evaluation, EvaluationRecord
from cosim.sweep.evaluation.schemas import SAMPLES, STEPS, VIOLATIONS
from cosim.sweep.evaluation.solving import TOGETHER, Chunk, import_usd, solve_chunk, solved

Real = NDArray[np.float64]
Progress = Callable[[int, int, str], None]
SURE = 0.95
"""Confidence of intervals."""
ATTEMPTS = 2
"""How often samples are begun whose worker dies."""
LOCAL = "local"
"""In place of the address of a Dask scheduler: a cluster on this machine."""


def interval(broken: Any, samples: Any) -> tuple[Real, Real]:
    """Lower and upper end of the interval of a frequency (Clopper and Pearson, Biometrika 26(4), 1934)."""
    k, n = np.asarray(broken, dtype=float), np.asarray(samples, dtype=float)
    tail = (1 - SURE) / 2
    low = np.where(k > 0, beta.ppf(tail, np.maximum(k, 1), n - k + 1), 0.0)
    high = np.where(k < n, beta.ppf(1 - tail, k + 1, np.maximum(n - k, 1)), 1.0)
    return np.asarray(low), np.asarray(high)


def evaluate(
    run: str | Path,
    samples: int = 1000,
    seed: int = 0,
    *,
    errs: Errs = Errs(),  # noqa: B008
    jobs: int = 1,
    dask: str | None = None,
    out: str | Path | None = None,
    force: bool = False,
    figures: bool = True,
    progress: Progress | None = None,
) -> Evaluation:
    """How often limits break, and what it costs, if load, sun and price are drawn anew and what was decided stays.

    Args:
        run: folder of a finished run with one feeder.
        samples: fresh draws, each of all steps. seed: of the draws, apart from that of the run.
        errs: errors that the scenario does not say.
        jobs: processes. dask: address of a Dask scheduler whose workers see the folder, or ``local``. Neither changes
            the results.
        out: folder for tables, figures and report; nothing is written without. force: replace earlier results.
        progress: called with (done, in all, what is being done).

    Raises:
        InputError: no finished run of one feeder in the folder, or nothing errs. RunFailure: no sample was solved.
    """
    if samples < 1:
        raise InputError("at least one sample is needed", key="--samples", value=samples, allowed="1 or more")
    folder = Path(run).resolve()
    if out is None:
        return _evaluated(folder, samples, seed, errs, jobs, dask, progress)
    with ResultFolder(out, force=force) as place, Underway(place.path, "evaluation", folder.name) as watch:
        found = _evaluated(folder, samples, seed, errs, jobs, dask, watch.also(progress))
        watch.say("writing the report")
        found.write(place.path)
        write_evaluation_report(place.path, figures)
        if figures:
            write_evaluation_page(place.path)
    return found


def _evaluated(
    folder: Path, samples: int, seed: int, errs: Errs, jobs: int, dask: str | None, progress: Progress | None
) -> Evaluation:
    began, started = time.perf_counter(), utc_now()
    decided = read_decided(folder, errs)
    parts = _parts(samples)
    name = "dask" if dask is not None else "serial" if jobs == 1 else "pool"
    try:
        with open_engine(name, jobs, dask if dask != LOCAL else None) as engine:
            chunks = _solved(engine, str(folder), errs, seed, parts, progress)
    except InputError as error:
        raise error.placed(lambda key: "--dask" if key in ("--engine", "--scheduler") else key or "") from None
    settings = {"samples": samples, "seed": seed, **{k: v for k, v in asdict(errs).items() if v}}
    found = _together(decided, parts, chunks, settings)
    wall_times_s = {"evaluation": round(time.perf_counter() - began, 3)}
    return replace(found, record=replace(found.record, started=started, wall_times_s=wall_times_s))


def evaluated(decided: Decided, samples: int, seed: int = 0) -> Evaluation:
    """As :func:`evaluate` of a run at hand, in this process."""
    parts = _parts(samples)
    chunks = [solved(decided, seed, range(first, first + count)) for first, count in parts]
    return _together(decided, parts, chunks, {"samples": samples, "seed": seed})


def _parts(samples: int) -> list[tuple[int, int]]:
    """First sample and number of those that are solved together."""
    return [(first, min(TOGETHER, samples - first)) for first in range(0, samples, TOGETHER)]


def _together(
    decided: Decided, parts: Sequence[tuple[int, int]], chunks: Sequence[Chunk | str], settings: dict[str, Any]
) -> Evaluation:
    there = [(first, chunk) for (first, _), chunk in zip(parts, chunks, strict=True) if isinstance(chunk, Chunk)]
    lost = [(first, count, text) for (first, count), text in zip(parts, chunks, strict=True) if isinstance(text, str)]
    if not there:
        raise RunFailure(f"no sample was solved: {lost[0][2]}")
    violations, steps = _violations([c for _, c in there]), _steps(decided, [c for _, c in there])
    costs = _samples(decided, there)
    kpis = _kpis(violations, steps, costs)
    record = EvaluationRecord(
        name=decided.run.record.scenario, run=decided.run.record.run_id,
        settings=settings, level=decided.level, joint=decided.joint, kpis=kpis, versions=versions(),
        notes=_notes(decided, steps, kpis, lost),
    )  # fmt: skip
    return Evaluation(violations, steps, costs, record)


def _solved(
    engine: Engine, folder: str, errs: Errs, seed: int, parts: Sequence[tuple[int, int]], progress: Progress | None
) -> list[Chunk | str]:
    """The parts in order; of one that failed or whose worker died too often, why."""
    found: list[Chunk | str] = []
    futures: list[Future[Chunk]] = [
        engine.executor.submit(solve_chunk, folder, errs, seed, first, count) for first, count in parts
    ]
    for i, (first, count) in enumerate(parts):
        found.append(_result(engine, futures[i], (folder, errs, seed, first, count)))
        if progress is not None:
            progress(sum(n for _, n in parts[: i + 1]), sum(n for _, n in parts), "samples")
    return found


def _result(engine: Engine, future: Future[Chunk], task: tuple[str, Errs, int, int, int]) -> Chunk | str:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return future.result()
        except engine.deaths as death:
            said = f"their worker died {attempt} times ({type(death).__name__})"
            if attempt < ATTEMPTS:
                future = engine.executor.submit(solve_chunk, *task)
        except RunFailure as error:
            return str(error)
    return said


def _violations(chunks: Sequence[Chunk]) -> pd.DataFrame:
    """Limits that break in any sample; samples without a solution do not count for them."""
    first = chunks[0]
    broken = np.sum([c.broken for c in chunks], axis=0)
    excess = np.sum([c.excess for c in chunks], axis=0)
    worst = np.max([c.worst for c in chunks], axis=0)
    solved = np.sum([(~c.unsolved).sum(axis=0) for c in chunks], axis=0)
    t, k = np.nonzero(broken)
    count = broken[t, k]
    low, high = interval(count, solved[t])
    frame = pd.DataFrame({
        "step": t, "kind": np.array(first.kinds)[k], "element": np.array(first.elements)[k],
        "phase": np.array(first.phases)[k], "samples": solved[t], "broken": count, "frequency": count / solved[t],
        "low": low, "high": high, "limit": first.limits[k], "mean_excess": excess[t, k] / count,
        "worst_excess": worst[t, k], "unit": np.array(first.units)[k],
    })  # fmt: skip
    return check(VIOLATIONS, frame)


def _steps(decided: Decided, chunks: Sequence[Chunk]) -> pd.DataFrame:
    unsolved = np.sum([c.unsolved.sum(axis=0) for c in chunks], axis=0)
    total = sum(len(c.unsolved) for c in chunks)
    worst = np.sum([c.broken for c in chunks], axis=0).max(axis=1, initial=0)
    broken = np.sum([c.any_broken.sum(axis=0) for c in chunks], axis=0)
    solved = np.maximum(total - unsolved, 1)
    worst_low, worst_high = interval(worst, solved)
    any_low, any_high = interval(broken, total)
    calendar = decided.prepared.calendar
    frame = pd.DataFrame({
        "step": np.arange(decided.steps), "time": [calendar.timestamp(t) for t in range(decided.steps)],
        "samples": total, "worst": worst / solved, "worst_low": worst_low, "worst_high": worst_high,
        "any": broken / total, "any_low": any_low, "any_high": any_high, "unsolved": unsolved,
    })  # fmt: skip
    return check(STEPS, frame)


def _samples(decided: Decided, there: Sequence[tuple[int, Chunk]]) -> pd.DataFrame:
    """Cost and payment of each sample; missing where a step has no solution.

    What data centers pay is :func:`cosim.sweep.evaluation.paying.payment_usd`.
    """
    hours = decided.prepared.calendar.step_hours
    frames = []
    for first, c in there:
        frames.append(pd.DataFrame({
            "sample": first + np.arange(len(c.unsolved)), "import_mwh": hours * c.import_kw.sum(axis=1) / KILO,
            "import_cost_usd": import_usd(decided, c.import_kw, c.price).sum(axis=1),
            "payment_usd": payment_usd(decided, c.price),
            "steps_broken": c.any_broken.sum(axis=1), "steps_unsolved": c.unsolved.sum(axis=1),
        }))  # fmt: skip
    return check(SAMPLES, pd.concat(frames, ignore_index=True))


def _kpis(violations: pd.DataFrame, steps: pd.DataFrame, samples: pd.DataFrame) -> dict[str, float | None]:
    at = steps.iloc[int(steps["worst"].to_numpy().argmax())]
    together = steps.iloc[int(steps["any"].to_numpy().argmax())]

    def of(column: str, share: float | None = None) -> float | None:
        values = samples[column].dropna()
        if not len(values):
            return None
        return float(values.mean() if share is None else values.quantile(share))

    return {
        "samples": float(len(samples)),
        "worst_frequency": float(at["worst"]), "worst_low": float(at["worst_low"]),
        "worst_high": float(at["worst_high"]), "any_frequency": float(together["any"]),
        "any_low": float(together["any_low"]), "any_high": float(together["any_high"]),
        "mean_any_frequency": float(steps["any"].mean()), "limits_that_break": float(len(violations)),
        "import_cost_usd": of("import_cost_usd"), "import_cost_p95_usd": of("import_cost_usd", 0.95),
        "payment_usd": of("payment_usd"), "payment_p95_usd": of("payment_usd", 0.95),
        "unsolved": float(steps["unsolved"].sum()),
    }  # fmt: skip


def _notes(
    decided: Decided, steps: pd.DataFrame, kpis: dict[str, float | None], lost: Sequence[tuple[int, int, str]]
) -> tuple[str, ...]:
    notes = [
        "what data centers draw and units give is fixed; a plant that is not curtailed gives what the drawn sun "
        "allows, a curtailed one its set-point or what the sun allows, whichever is less"
    ]
    if decided.delivered:
        notes.append("steps were decided again on what happened: errors are those from the gate of each step on")
    missing = [e.name for e in decided.errors.series if e.kind == "error" and not any(map(e.names, decided.series))]
    if missing:
        notes.append(f"errors of {', '.join(missing)} move nothing that is fixed, and are not drawn")
    notes += payment_notes(decided)
    if kpis["unsolved"]:
        few = steps.loc[steps["unsolved"] > 0, "step"].tolist()
        notes.append(f"AC power flow has no solution in some samples of steps {listed(few, 8)}: there all limits "
                     "together count as broken, and none by itself")  # fmt: skip
    notes += [f"samples {first} to {first + count - 1} are missing: {why}" for first, count, why in lost]
    return tuple(notes)
