"""A sweep from start to finish: plan, what is missing, the runs, the tables, the analysis, the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosim.errors import InputError, RunFailure
from cosim.results.folders import PAGE_FILE, REPORT_FILE
from cosim.scenario.inputs.keeping import keep_inputs
from cosim.scenario.inputs.manifest import EXPERIMENT_COPY, SCENARIO_COPY
from cosim.scenario.inputs.named import named_inputs
from cosim.scenario.loading import files_read, scenario_data
from cosim.scenario.own_code import imported
from cosim.sweep.engine import check_engine, default_workers, open_engine, sees
from cosim.sweep.experiment import Experiment
from cosim.sweep.findings import Findings
from cosim.sweep.pages.overview import write_sweep_page
from cosim.sweep.plan import Plan, PlannedRun, estimate_s, make_plan, named_code
from cosim.sweep.reading import OUTCOME_COLUMNS, RUN_COLUMNS, Sweep, read_sweep
from cosim.sweep.report import write_findings, write_sweep_report
from cosim.sweep.schedule import Schedule
from cosim.sweep.storage.manifest import Damage
from cosim.sweep.storage.store import PLAN_FILE, Store, StoreFailure, Survey
from cosim.sweep.worker import Report, Task

Progress = Callable[[int, int, int, str], None]
RUNS_TABLE, TIMES_TABLE = "runs.csv", "times.csv"


@dataclass(frozen=True)
class Outlook:
    """What a sweep is going to do.

    Attributes:
        due: runs to be done, each content once. done: runs that are complete. failed: of those, how many failed.
        estimate_s: how long it will take; ``timed`` says whether that rests on runs that were timed.
        workers: how many runs at a time.
        survey: what the store has of the runs; those that are damaged are among ``due``.
    """

    plan: Plan
    due: tuple[PlannedRun, ...]
    done: int
    failed: int
    estimate_s: float
    timed: bool
    workers: int
    survey: Survey


def outlook(plan: Plan, store: Store, only_failed: bool = False, workers: int | None = None) -> Outlook:
    """What is to be done of a plan, given what the store has."""
    first = {run.key: run for run in reversed(plan.runs)}
    survey = store.survey(plan.keys, thorough=True)
    notes = survey.notes
    failed = {key for key, n in notes.items() if n.status == "failed"}
    again = failed | set(survey.damaged)
    due = [first[k] for k in plan.keys if (k in again if only_failed else k not in notes)]
    timed = {k: float(n.timing["wall_s"]) for k, n in notes.items() if n.status == "ok" and "wall_s" in n.timing}
    count = workers or default_workers()
    estimate, known = estimate_s(due, [first[k] for k in notes], timed, count)
    return Outlook(plan, tuple(due), len(notes), len(failed), estimate, known, count, survey)


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
    figures: bool = True,
    progress: Progress | None = None,
) -> Sweep:
    """Do the runs of an experiment that are not done yet.

    Args:
        experiment: shipped name, path, an experiment that has been read, or its plan (``changes`` are in it then).
        out: the sweep's folder; each run appears in it when it is complete.
        engine: ``pool``, ``dask`` or ``serial``. scheduler: address of a Dask scheduler.
        workers: runs at a time; by default one for each processor.
        resume: continue a sweep that is in the folder. What is complete and unchanged is not run again; what is
            damaged is, and is named in ``repairs`` of what is returned.
        only_failed: do only the runs that failed.
        changes: keys of the scenario, dotted, for all runs.
        analyse: draw the experiment's figures and write the report when all is done. figures: draw them; without,
            the report has its tables alone, and ``cosim report`` draws them later.
        progress: called with (runs done, of those failed, runs in all, what happened).

    Returns:
        The sweep as it is in the folder. Runs that failed are rows with status ``failed``.

    Raises:
        InputError: something in the input cannot be used; nothing is run.
        StoreFailure: the folder cannot be written any more, or is gone; complete runs are kept.
        RunFailure: the engine broke down, or the analysis failed; complete runs are kept.
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
        repairs = _repairs(todo, store)
        replanned = store.write_plan(plan)
        for problem in _keep_inputs(plan, store):
            store.log(problem)
        store.log(f"plan: {len(plan.runs)} runs, {len(todo.due)} to do, engine {engine}, {todo.workers} workers")
        try:
            if todo.due:
                _carry_out(todo, store, engine, scheduler, progress)
            found, changed = write_tables(store, None if todo.due else todo.survey)
            _refuse_loss(found, todo)
        except BaseException as error:
            store.log(f"stopped: {type(error).__name__}: {error}")
            with suppress(StoreFailure):
                write_tables(store)
            raise
        if changed and not (todo.due or todo.survey.damaged or replanned):
            repairs.append(f"{' and '.join(changed)}: not what the runs say; written again")
        store.log(f"done: {len(found.ok)} of {len(found.runs)} runs are well")
        try:
            store.check_outputs()
            spoiled = not (store.root / REPORT_FILE).is_file()
        except Damage as damage:
            spoiled = True
            if not (changed or replanned):
                repairs.append(f"{damage}: the report is {'made again' if analyse else 'to be made again'}")
        for text in repairs:
            store.log(text)
        if analyse and found.complete and (changed or replanned or spoiled):
            finish(found, figures)
    found.repairs = tuple(repairs)
    return found


def _keep_inputs(plan: Plan, store: Store) -> tuple[str, ...]:
    """Keep what the runs are made from in the sweep's folder, and return what could not be."""
    experiment = {**plan.experiment.model_dump(mode="json"), "scenario": SCENARIO_COPY}
    documents = {SCENARIO_COPY: scenario_data(plan.scenario_path), EXPERIMENT_COPY: experiment}
    named = {(n.kind, n.name): n for run in plan.runs for n in named_inputs(run.scenario)}
    experiment_files = [] if plan.file is None else [plan.file]
    besides = [*files_read(plan.scenario_path)[1:], *experiment_files]
    return keep_inputs(
        store.root, plan.scenario_path, documents, named.values(), named_code(plan), besides, experiment_files
    ).problems


def _repairs(todo: Outlook, store: Store) -> list[str]:
    """What is found damaged before anything is done, in sentences."""
    due = {run.key for run in todo.due}
    said = [f"run {key}: {why}; it is run again" for key, why in todo.survey.damaged.items() if key in due]
    said += [f"{name}: no run has written it; it is left alone" for name in todo.survey.strange]
    if store.exists:
        try:
            store.plan()
        except Damage as damage:
            said.append(f"{damage}: the plan is written again")
    return said


def _refuse_loss(found: Sweep, todo: Outlook) -> None:
    """See that all runs that were complete, or have been done, are in the folder at the end.

    Raises:
        StoreFailure: some are not.
    """
    expected = {*todo.survey.notes, *(run.key for run in todo.due)}
    lost = found.runs[(found.runs["status"] == "pending") & found.runs["run"].isin(expected)]
    if len(lost):
        first = lost.iloc[0]
        raise StoreFailure(
            f"{len(lost)} runs that were done are not in the folder any more, the first is {first['run']} "
            f"({first['error'] or 'it is missing'}); --resume does them again"
        )


def _carry_out(todo: Outlook, store: Store, engine: str, scheduler: str | None, progress: Progress | None) -> None:
    counted = {"done": todo.done, "failed": todo.failed}
    total = todo.done + len(todo.due)
    tasks = [_task(run, todo.plan) for run in todo.due]
    for task in tasks:  # those that failed, or are damaged, make room
        store.discard(store.folder(task.key))
        if task.key in todo.survey.notes:
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
    taken = (*RUN_COLUMNS, *plan.experiment.factors, *OUTCOME_COLUMNS)
    keep = plan.experiment.keep.tables
    path, beside = str(plan.scenario_path), str(plan.file or plan.scenario_path)
    return Task(run.key, run.scenario, path, beside, plan.experiment.measure, keep, taken)


def write_tables(store: Store, survey: Survey | None = None) -> tuple[Sweep, list[str]]:
    """Write ``runs.csv`` (what follows from the seeds) and ``times.csv`` (what belongs to the machine).

    Args:
        survey: what the store has of the runs, if that is known.

    Returns:
        The sweep, and which of the two files say something else than before.

    Raises:
        StoreFailure: they cannot be written, or the folder is gone.
    """
    try:
        found = read_sweep(store.root, survey)
    except InputError as error:
        raise store.failure(error.message) from None
    tables = {RUNS_TABLE: found.runs, TIMES_TABLE: found.times}
    texts = {name: t.to_csv(index=False, lineterminator="\n", float_format="%.12g") for name, t in tables.items()}
    return found, [name for name, text in texts.items() if store.write_changed(name, text.encode())]


def finish(found: Sweep, figures: bool = True) -> Path:
    """Draw what the experiment's analysis draws, if figures are wanted, and write the report; returns its path.

    Raises:
        RunFailure: the analysis failed; the runs are kept.
    """
    store = Store(found.root)
    findings, written = None, []
    if found.experiment.analysis is not None:
        try:
            findings = imported(found.experiment.analysis, "analysis")(found)
            if not isinstance(findings, Findings):
                raise TypeError(f"it returned {type(findings).__name__}, not Findings")
            written += write_findings(findings, found.root, figures)
        except StoreFailure:
            raise
        except (Exception, SystemExit) as error:
            store.log(f"the analysis failed: {type(error).__name__}: {error}")
            raise RunFailure(
                f"the analysis {found.experiment.analysis} failed: {type(error).__name__}: {error}; the runs are kept"
            ) from error
    written += write_sweep_report(found, findings, figures)
    if figures:
        written += write_sweep_page(found)
    else:
        (store.root / PAGE_FILE).unlink(missing_ok=True)  # an earlier one would say what is not so any more
    store.write_outputs(written)
    return store.root / REPORT_FILE
