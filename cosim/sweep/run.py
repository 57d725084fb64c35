"""A sweep from start to finish: plan, what is missing, the runs, the tables, the analysis, the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosim.errors import InputError, RunFailure
from cosim.results.folders import REPORT_FILE
from cosim.sweep.engine import check_engine, default_workers, open_engine, sees
from cosim.sweep.experiment import Experiment
from cosim.sweep.plan import Plan, PlannedRun, estimate_s, imported, make_plan
from cosim.sweep.reading import Sweep, read_sweep
from cosim.sweep.report import write_findings, write_sweep_report
from cosim.sweep.schedule import Schedule
from cosim.sweep.store import PLAN_FILE, RunNote, Store, StoreFailure
from cosim.sweep.worker import Report, Task

Progress = Callable[[int, int, int, str], None]
RUNS_TABLE, TIMES_TABLE = "runs.csv", "times.csv"


@dataclass(frozen=True)
class Outlook:
    """What a sweep is going to do.

    Attributes:
        due: runs to be done, each content once. done: runs that are complete. failed: of those, how many failed.
        estimate_s: how long it will take; ``timed`` says whether that rests on runs that were timed.
        workers: how many runs at a time. notes: what complete runs say of themselves, by key.
    """

    plan: Plan
    due: tuple[PlannedRun, ...]
    done: int
    failed: int
    estimate_s: float
    timed: bool
    workers: int
    notes: Mapping[str, RunNote]


def outlook(plan: Plan, store: Store, only_failed: bool = False, workers: int | None = None) -> Outlook:
    """What is to be done of a plan, given what the store has."""
    first = {run.key: run for run in reversed(plan.runs)}
    notes: dict[str, RunNote] = {key: n for key in plan.keys if (n := store.note(key)) is not None}
    failed = {key for key, n in notes.items() if n.status == "failed"}
    due = [first[k] for k in plan.keys if (k in failed if only_failed else k not in notes)]
    timed = {k: float(n.timing["wall_s"]) for k, n in notes.items() if n.status == "ok" and "wall_s" in n.timing}
    count = workers or default_workers()
    estimate, known = estimate_s(due, [first[k] for k in notes], timed, count)
    return Outlook(plan, tuple(due), len(notes), len(failed), estimate, known, count, notes)


def run_sweep(
    experiment: str | Path | Experiment | Plan,
    out: str | Path,
    *,
    engine: str = "pool",
    scheduler: str | None = None,
    workers: int | None = None,
    resume: bool = False,
    only_failed: bool = False,
    changes: Mapping[str, Any] | None = None,
    analyse: bool = True,
    progress: Progress | None = None,
) -> Sweep:
    """Do the runs of an experiment that are not done yet.

    Args:
        experiment: shipped name, path, an experiment that has been read, or its plan (``changes`` are in it then).
        out: the sweep's folder; each run appears in it when it is complete.
        engine: ``pool``, ``dask`` or ``serial``. scheduler: address of a Dask scheduler.
        workers: runs at a time; by default one for each processor.
        resume: continue a sweep that is in the folder. What is complete and unchanged is not run again.
        only_failed: do only the runs that failed.
        changes: keys of the scenario, dotted, for all runs.
        analyse: draw the experiment's figures and write the report when all is done.
        progress: called with (runs done, of those failed, runs in all, what happened).

    Returns:
        The sweep as it is in the folder. Runs that failed are rows with status ``failed``.

    Raises:
        InputError: something in the input cannot be used; nothing is run.
        StoreFailure: the folder cannot be written any more; complete runs are kept.
        KeyboardInterrupt: interrupted; complete runs are kept.
    """
    check_engine(engine, scheduler)
    store = Store(out)
    store.refuse_or_resume(resume=resume, only_failed=only_failed)
    plan = experiment if isinstance(experiment, Plan) else make_plan(experiment, changes)
    store.open()
    with store.locked():
        store.clear_parts()
        todo = outlook(plan, store, only_failed, workers)
        replanned = store.write_plan(plan)
        store.log(f"plan: {len(plan.runs)} runs, {len(todo.due)} to do, engine {engine}, {todo.workers} workers")
        try:
            if todo.due:
                _carry_out(todo, store, engine, scheduler, progress)
        except BaseException as error:
            store.log(f"stopped: {type(error).__name__}: {error}")
            with suppress(StoreFailure):
                write_tables(store)
            raise
        found, changed = write_tables(store, None if todo.due else todo.notes)
        store.log(f"done: {len(found.ok)} of {len(found.runs)} runs are well")
        if analyse and found.complete and (changed or replanned or not (store.root / REPORT_FILE).is_file()):
            finish(found)
    return found


def _carry_out(todo: Outlook, store: Store, engine: str, scheduler: str | None, progress: Progress | None) -> None:
    counted = {"done": todo.done, "failed": todo.failed}
    total = todo.done + len(todo.due)
    tasks = [_task(run, todo.plan) for run in todo.due]
    for task in tasks:  # those that failed make room
        if store.folder(task.key).exists():
            store.discard(store.folder(task.key))
            counted["done"] -= 1
            counted["failed"] -= 1
            total -= 1

    def tell(report: Report) -> None:
        counted["done"] += 1
        counted["failed"] += report.status == "failed"
        text = f"run {report.key} {report.status}" + (f" ({report.message})" if report.message else "")
        store.log(f"{text}, {report.wall_s:.3f} s")
        if progress is not None:
            progress(counted["done"], counted["failed"], total, text)

    if progress is not None:
        progress(counted["done"], counted["failed"], total, "starting")
    with open_engine(engine, min(todo.workers, len(tasks)), scheduler) as opened:
        if scheduler is not None:
            _check_shared(opened.executor, store)
        try:
            Schedule(tasks, store, opened, tell).work()
        except BaseException:
            opened.kill()
            raise


def _check_shared(executor: Any, store: Store) -> None:
    """See that the workers of a scheduler elsewhere see the store."""
    if not executor.submit(sees, str(store.root / PLAN_FILE)).result():
        raise InputError("the workers of the scheduler do not see the output folder", key="--out",
                         value=str(store.root), allowed="a folder on a file system that all workers share")  # fmt: skip


def _task(run: PlannedRun, plan: Plan) -> Task:
    return Task(run.key, run.scenario, str(plan.scenario_path), plan.experiment.measure, plan.experiment.keep.tables)


def write_tables(store: Store, notes: Mapping[str, RunNote] | None = None) -> tuple[Sweep, bool]:
    """Write ``runs.csv`` (what follows from the seeds) and ``times.csv`` (what belongs to the machine).

    Args:
        notes: what complete runs say of themselves, if that has been read.

    Returns:
        The sweep, and whether ``runs.csv`` says something else than before.

    Raises:
        StoreFailure: they cannot be written.
    """
    found = read_sweep(store.root, notes)
    path = store.root / RUNS_TABLE
    text, times = (t.to_csv(index=False, lineterminator="\n", float_format="%.12g") for t in (found.runs, found.times))
    changed = not path.is_file() or path.read_text(encoding="utf-8") != text
    store.write_text(TIMES_TABLE, times)
    if changed:
        store.write_text(RUNS_TABLE, text)
    return found, changed


def finish(found: Sweep) -> Path:
    """Draw what the experiment's analysis draws, and write the report; returns its path.

    Raises:
        RunFailure: the analysis failed; the runs are kept.
    """
    findings = None
    if found.experiment.analysis is not None:
        try:
            findings = imported(found.experiment.analysis, "analysis")(found)
        except Exception as error:
            Store(found.root).log(f"the analysis failed: {type(error).__name__}: {error}")
            raise RunFailure(
                f"the analysis {found.experiment.analysis} failed: {type(error).__name__}: {error}; the runs are kept"
            ) from error
        write_findings(findings, found.root)
    return write_sweep_report(found, findings)
