"""One run, in whichever process: measured, written to the store, its output and errors in a log of its own."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import logging
import math
import os
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, TextIO

import pandas as pd
import threadpoolctl

from cosim.errors import InputError, RunFailure
from cosim.results.record import utc_now
from cosim.scenario import Scenario
from cosim.simulation import simulate
from cosim.sweep.forget import forgetting
from cosim.sweep.plan import imported
from cosim.sweep.store import LOG_FILE, RunNote, Store, write_frame

_TIMES = ("wall_s", "solver_s")
_one_at_a_time = threading.Lock()
"""OpenDSS and the standard streams belong to the process, so a worker of several threads runs one at a time."""


@dataclass(frozen=True, slots=True)
class Task:
    """A run to be done.

    Attributes:
        scenario_path: file of the scenario, beside which its tables lie.
        measure: import path of what is done instead of a run, if anything.
        tables: names of the result tables to keep.
        attempt: how often it has been begun, this time included.
        history: log of earlier attempts.
    """

    key: str
    scenario: Mapping[str, Any]
    scenario_path: str
    measure: str | None
    tables: tuple[str, ...]
    attempt: int = 1
    history: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """How a run ended: complete (``ok``, ``failed``), or not written because the store failed (``store``)."""

    key: str
    status: Literal["ok", "failed", "store"]
    message: str = ""
    wall_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a measurement leaves: key figures by name, tables by name, and notes.

    A measurement of a user's own is a function of (scenario, path of its file) that returns one.
    """

    kpis: Mapping[str, float | int | str | None]
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def execute(tasks: Sequence[Task], root: str, own_process: bool) -> list[Report]:
    """Do runs one after another; stops at the first that the store cannot take.

    Args:
        root: folder of the store.
        own_process: whether all output of the process, of solvers too, may go into the run's log.
    """
    store = Store(root)
    reports: list[Report] = []
    with _one_at_a_time, _threads().limit(limits=1):
        for task in tasks:
            with forgetting():
                reports.append(_execute(task, store, own_process))
            if reports[-1].status == "store":
                break
    return reports


@cache
def _threads() -> threadpoolctl.ThreadpoolController:
    """The thread pools of linear algebra in this process; looking for them takes milliseconds."""
    return threadpoolctl.ThreadpoolController()


def prepare_worker(watch_parent: bool) -> None:
    """Make a process ready: it leaves interrupts to its parent, and ends when its parent does."""
    import signal

    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if watch_parent:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    gc.collect()
    gc.freeze()  # what was imported stays, and need not be looked through again


def _end_with_parent() -> None:
    import multiprocessing
    from multiprocessing.connection import wait

    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _execute(task: Task, store: Store, own_process: bool) -> Report:
    part = store.part(task.key, task.attempt)
    began, started = time.perf_counter(), utc_now()
    try:
        part.mkdir(exist_ok=True)
        with (part / LOG_FILE).open("w", encoding="utf-8", buffering=1) as log:
            log.write(f"{task.history}{started} run {task.key}, attempt {task.attempt}, process {os.getpid()}\n")
            with _output_to(log, own_process):
                note, tables = _measured(task, log)
            wall_s = time.perf_counter() - began
            log.write(f"{utc_now()} {note.status} after {wall_s:.3f} s\n")
        for name, frame in tables.items():
            write_frame(frame, part / f"{name}.parquet")
        timing = {**note.timing, "wall_s": wall_s, "started": started, "process": os.getpid()}
        store.publish(part, replace(note, timing=timing, tables=tuple(tables), attempts=task.attempt))
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        return Report(task.key, "store", f"{error.strerror or error}")
    return Report(task.key, note.status, "" if note.error is None else ": ".join(note.error), wall_s)


def _measured(task: Task, log: TextIO) -> tuple[RunNote, Mapping[str, pd.DataFrame]]:
    """The note and the tables of a run; whatever goes wrong in it becomes its note."""
    try:
        scenario = Scenario.model_validate(task.scenario)
        path = Path(task.scenario_path)
        if task.measure is None:
            outcome = _simulated(scenario, path, task.tables)
        else:
            outcome = imported(task.measure, "measure")(scenario, path)
    except (InputError, RunFailure) as error:
        log.write(f"{type(error).__name__}: {error}\n")
        return _failed(task, error), {}
    except Exception as error:
        traceback.print_exc(file=log)
        return _failed(task, error), {}
    for text in outcome.notes:
        log.write(f"note: {text}\n")
    plain = {name: _plain(value) for name, value in outcome.kpis.items()}
    kpis = {k: v for k, v in plain.items() if k not in _TIMES}
    timing = {k: v for k, v in plain.items() if k in _TIMES}
    note = RunNote(task.key, "ok", kpis, tuple(outcome.notes), timing=timing, scenario=task.scenario)
    return note, outcome.tables


def _simulated(scenario: Scenario, path: Path, tables: Sequence[str]) -> Outcome:
    result = simulate(scenario, path)
    return Outcome(result.kpis, {name: getattr(result.tables, name) for name in tables}, result.notes)


def _failed(task: Task, error: Exception) -> RunNote:
    return RunNote(task.key, "failed", error=(type(error).__name__, str(error)), scenario=task.scenario)


def _plain(value: Any) -> float | int | str | None:
    """A key figure as JSON knows it."""
    if hasattr(value, "item"):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    return float(value) if math.isfinite(value) else None


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
        sys.stdout.flush()
