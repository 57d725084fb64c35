"""One run, in whichever process: measured, written to the store, its output and errors in a log of its own."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, TextIO

import pyarrow as pa
import threadpoolctl

from cosim.errors import InputError, RunFailure
from cosim.results.record import utc_now
from cosim.results.underway.writing import Underway
from cosim.scenario.own_code import imported
from cosim.scenario.schema import Scenario
from cosim.simulation.forget import forgetting
from cosim.simulation.runner import simulate
from cosim.sweep.outcome import Outcome as Outcome
from cosim.sweep.outcome import kept
from cosim.sweep.storage.note import RunNote, table_file
from cosim.sweep.storage.store import LOG_FILE, Store, write_frame

_TIMES = ("wall_s", "solver_s")
_FLUSHES = 4
"""Runs that are flushed at the same time, while the next is under way: a disk does several as fast as one."""
_LONGEST_MESSAGE = 1800
_one_at_a_time = threading.Lock()
"""OpenDSS and the standard streams belong to the process, so a worker of several threads runs one at a time."""


@dataclass(frozen=True, slots=True)
class Task:
    """A run to be done.

    Attributes:
        scenario_path: file of the scenario, beside which its tables lie.
        beside: file that names what is measured, beside which its module may lie.
        measure: import path of what is done instead of a run, if anything.
        tables: names of the result tables to keep.
        taken: names that a key figure cannot have, since the table of the runs has such columns.
        attempt: how often it has been begun, this time included.
        history: log of earlier attempts.
    """

    key: str
    scenario: Mapping[str, Any]
    scenario_path: str
    beside: str
    measure: str | None
    tables: tuple[str, ...]
    taken: tuple[str, ...] = ()
    attempt: int = 1
    history: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """How a run ended: complete (``ok``, ``failed``), or not written because the store failed (``store``)."""

    key: str
    status: Literal["ok", "failed", "store"]
    message: str = ""
    wall_s: float = 0.0


def execute(tasks: Sequence[Task], root: str, own_process: bool, session: str = "") -> list[Report]:
    """Do runs one after another, and have them on the disk; stops when the store cannot take one.

    Args:
        root: folder of the store.
        own_process: whether all output of the process, of solvers too, may go into the run's log.
        session: see :class:`cosim.sweep.storage.store.Store`.
    """
    store = Store(root, session)
    flushed: list[Future[Report]] = []
    with _one_at_a_time, _threads().limit(limits=1), ThreadPoolExecutor(_FLUSHES) as flushes:
        for task in tasks:
            with forgetting():
                report = _execute(task, store, own_process)
            flushed.append(flushes.submit(_published, task, store, report))
            if any(f.done() and f.result().status == "store" for f in flushed):
                break
    reports = [f.result() for f in flushed]
    try:
        store.flush()
    except OSError as error:
        reports.append(_refused(tasks[-1], error))
    return reports


@cache
def _threads() -> threadpoolctl.ThreadpoolController:
    """The thread pools of linear algebra in this process; looking for them takes milliseconds."""
    return threadpoolctl.ThreadpoolController()


def prepare_worker(watch_parent: bool) -> None:
    """Make a process ready: it leaves interrupts to its parent, and ends when its parent does."""
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if watch_parent:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    gc.collect()
    gc.freeze()  # what was imported stays, and need not be looked through again


def _end_with_parent() -> None:
    """Wait for the process that the work is for, and for the one that has forked this one, if that is another."""
    import multiprocessing
    from multiprocessing.connection import wait

    parent = multiprocessing.parent_process()
    if parent is None:
        return
    watched: list[Any] = [parent.sentinel]
    if hasattr(os, "pidfd_open"):
        with contextlib.suppress(OSError):
            watched.append(os.pidfd_open(os.getppid()))
    wait(watched)
    os._exit(1)


def _execute(task: Task, store: Store, own_process: bool) -> Report:
    """Do a run and write all of it into its part."""
    part = store.part(task.key, task.attempt)
    began, started = time.perf_counter(), utc_now()
    try:
        part.mkdir(exist_ok=True)
        log_path = part / LOG_FILE
        with log_path.open("w", encoding="utf-8", errors="backslashreplace", buffering=1) as log:
            log.write(f"{task.history}{started} run {task.key}, attempt {task.attempt}, process {os.getpid()}\n")
            with _output_to(log, own_process):
                note, tables = _measured(task, log, part)
        wall_s = time.perf_counter() - began
        note = _with_tables(note, tables, part)
        with log_path.open("a", encoding="utf-8", errors="backslashreplace") as log:
            if note.error is not None:
                log.write(f"{': '.join(note.error)}\n")
            log.write(f"{utc_now()} {note.status} after {wall_s:.3f} s\n")
        timing = {**note.timing, "wall_s": wall_s, "started": started, "process": os.getpid()}
        store.complete(part, replace(note, timing=timing, attempts=task.attempt))
    except OSError as error:
        return _refused(task, error)
    return Report(task.key, note.status, "" if note.error is None else ": ".join(note.error), wall_s)


def _published(task: Task, store: Store, report: Report) -> Report:
    """Put a run that is complete in its place; a part that cannot be published is removed."""
    part = store.part(task.key, task.attempt)
    if report.status != "store":
        try:
            store.publish(part, task.key)
            return report
        except OSError as error:
            report = _refused(task, error)
    store.discard(part)
    return report


def _refused(task: Task, error: OSError) -> Report:
    return Report(task.key, "store", f"{error.strerror or error}")


def _with_tables(note: RunNote, tables: Mapping[str, pa.Table], part: Path) -> RunNote:
    """Write the tables of a run; one that Parquet cannot hold is a failure of the run.

    Raises:
        OSError: the store cannot be written.
    """
    try:
        for name, table in tables.items():
            write_frame(table, part / table_file(name))
    except pa.ArrowException as error:
        if isinstance(error, OSError):
            raise
        for name in tables:
            (part / table_file(name)).unlink(missing_ok=True)
        return replace(note, status="failed", kpis={}, tables=(), error=_said(error))
    return replace(note, tables=tuple(tables))


def _measured(task: Task, log: TextIO, part: Path) -> tuple[RunNote, Mapping[str, pa.Table]]:
    """The note and the tables of a run; whatever goes wrong in it becomes its note."""
    try:
        scenario = Scenario.model_validate(task.scenario)
        path = Path(task.scenario_path)
        if task.measure is None:
            outcome = _simulated(scenario, path, task.tables, part)
        else:
            outcome = imported(task.measure, "measure", beside=Path(task.beside))(scenario, path)
        found = kept(outcome, task.taken)
    except BaseException as error:  # sys.exit too: what a measurement does ends its run, never the sweep
        if _interrupted(error):
            raise
        if not isinstance(error, InputError | RunFailure):
            with contextlib.suppress(Exception):
                traceback.print_exc(file=log)
        return RunNote(task.key, "failed", error=_said(error), scenario=task.scenario), {}
    with contextlib.suppress(ValueError):  # a measurement that has closed the log
        for text in found.notes:
            log.write(f"note: {text}\n")
    kpis = {k: v for k, v in found.kpis.items() if k not in _TIMES}
    timing = {k: v for k, v in found.kpis.items() if k in _TIMES}
    return RunNote(task.key, "ok", kpis, found.notes, timing=timing, scenario=task.scenario), found.tables


def _simulated(scenario: Scenario, path: Path, tables: Sequence[str], part: Path) -> Outcome:
    with Underway(part, "run", scenario.name, mode=scenario.mode) as watch:
        result = simulate(scenario, path, watch.also(None))
    return Outcome(result.kpis, {name: getattr(result.tables, name) for name in tables}, result.notes)


def _interrupted(error: BaseException) -> bool:
    """Whether an error is an interrupt by the user, which goes to the main thread of a process that heeds it."""
    heeded = signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    return isinstance(error, KeyboardInterrupt) and heeded and threading.current_thread() is threading.main_thread()


def _said(error: BaseException) -> tuple[str, str]:
    """Kind and message of an error, as text of moderate length."""
    try:
        message = str(error)
    except Exception:
        message = "it cannot say why"
    message = message.encode(errors="backslashreplace").decode()
    if len(message) > _LONGEST_MESSAGE:
        message = f"{message[:_LONGEST_MESSAGE]} ..."
    return type(error).__name__, message


@contextlib.contextmanager
def _output_to(log: TextIO, own_process: bool) -> Iterator[None]:
    """Standard output, errors, warnings and log messages into a file; of the whole process if it is ours."""
    handler = logging.StreamHandler(log)
    handler.setLevel(logging.WARNING)
    logging.getLogger().addHandler(handler)
    try:
        with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            if own_process:
                with _descriptors_to(log):
                    yield
            else:
                yield
    finally:
        logging.getLogger().removeHandler(handler)


@contextlib.contextmanager
def _descriptors_to(log: TextIO) -> Iterator[None]:
    """What solvers write past Python, and where a crash happened, into the file as well."""
    kept = [os.dup(fd) for fd in (1, 2)]
    faulthandler.enable(file=log)
    try:
        for fd in (1, 2):
            os.dup2(log.fileno(), fd)
        yield
    finally:
        faulthandler.disable()
        for fd, old in zip((1, 2), kept, strict=True):
            os.dup2(old, fd)
            os.close(old)
        with contextlib.suppress(ValueError):  # a measurement that has closed the log
            sys.stdout.flush()
