"""Which run is where: a few chunks per worker under way, and a worker's death costs only the run that it was at."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from queue import SimpleQueue
from statistics import fmean

from cosim.errors import RunFailure
from cosim.sweep.engine import Engine
from cosim.sweep.storage.note import RunNote
from cosim.sweep.storage.store import LOG_FILE, Store
from cosim.sweep.worker import Report, Task, execute

MOST_ATTEMPTS = 2
_CHUNK_S = 0.5
_AHEAD = 2
_LONGEST_CHUNK = 64
_RECENT = 50
_MOST_DEATHS_AT_NOTHING = 5
Told = Callable[[Report], None]


class Schedule:
    """Hands tasks to an engine until all are complete.

    Args:
        tell: called with the report of each run as it ends.
    """

    def __init__(self, tasks: Sequence[Task], store: Store, engine: Engine, tell: Told) -> None:
        self._waiting = deque(tasks)
        self._store, self._engine, self._tell = store, engine, tell
        self._running: dict[Future[list[Report]], list[Task]] = {}
        self._ended: SimpleQueue[Future[list[Report]]] = SimpleQueue()
        self._times: deque[float] = deque(maxlen=_RECENT)
        self._deaths_at_nothing = 0

    def work(self) -> None:
        """Do everything.

        Raises:
            StoreFailure: the store cannot be written any more.
            RunFailure: workers die before they begin.
        """
        most = 1 if self._engine.workers == 1 else _AHEAD * self._engine.workers
        while self._waiting or self._running:
            while self._waiting and len(self._running) < most:
                chunk = self._next_chunk()
                future = self._engine.executor.submit(
                    execute, chunk, str(self._store.root), self._engine.own_process, self._store.session
                )
                self._running[future] = chunk
                future.add_done_callback(self._ended.put)
            # Not `concurrent.futures.wait`: an interrupt while it takes the locks of all futures leaves some of them
            # taken, and whoever is to end such a future then waits for ever.
            ended = self._ended.get()
            self._take(ended, self._running.pop(ended))

    def _next_chunk(self) -> list[Task]:
        """As many runs as take about half a second, fewer towards the end; a run that was fatal once goes alone."""
        if self._waiting[0].attempt > 1:
            return [self._waiting.popleft()]
        mean_s = max(fmean(self._times), 1e-4) if self._times else _CHUNK_S
        fair = len(self._waiting) // (2 * _AHEAD * self._engine.workers)
        size = max(1, min(int(_CHUNK_S / mean_s), fair, _LONGEST_CHUNK))
        chunk: list[Task] = []
        while self._waiting and len(chunk) < size and self._waiting[0].attempt == 1:
            chunk.append(self._waiting.popleft())
        return chunk

    def _take(self, future: Future[list[Report]], chunk: list[Task]) -> None:
        try:
            reports = future.result()
        except BaseException as error:
            if not isinstance(error, (*self._engine.deaths, CancelledError)):
                raise
            self._after_death(chunk, error)
            return
        for report in reports:
            if report.status == "store":
                raise self._store.failure(report.message)
            self._deaths_at_nothing = 0
            self._times.append(report.wall_s)
            self._tell(report)
        self._waiting.extendleft(reversed(chunk[len(reports) :]))

    def _after_death(self, chunk: list[Task], death: BaseException) -> None:
        """Keep what the dead worker had completed; the run that it was at is tried once more, the rest goes on."""
        begun = False
        for task in chunk:
            try:
                note = self._store.note(task.key) or self._store.adopt(task.key, task.attempt)
            except OSError as error:
                raise self._store.failure(error.strerror or str(error)) from None
            if note is not None:
                self._tell(Report(task.key, note.status, "", float(note.timing.get("wall_s", 0.0))))
            elif self._store.part(task.key, task.attempt).is_dir():
                self._blame(task, death)
            else:
                self._waiting.appendleft(task)
                continue
            begun = True
        self._deaths_at_nothing = 0 if begun else self._deaths_at_nothing + 1
        if self._deaths_at_nothing > _MOST_DEATHS_AT_NOTHING:
            raise RunFailure(f"workers die before they begin ({type(death).__name__}: {death})")

    def _blame(self, task: Task, death: BaseException) -> None:
        part = self._store.part(task.key, task.attempt)
        try:
            log = part / LOG_FILE
            history = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
            history += f"the worker died ({type(death).__name__}), attempt {task.attempt} of {MOST_ATTEMPTS}\n"
            if task.attempt < MOST_ATTEMPTS:
                self._store.log(f"run {task.key}: its worker died; once more")
                self._store.discard(part)
                self._waiting.append(replace(task, attempt=task.attempt + 1, history=history))
                return
            message = f"its worker died {task.attempt} times"
            log.write_text(history, encoding="utf-8")
            note = RunNote(task.key, "failed", error=("WorkerDied", message), attempts=task.attempt,
                           scenario=task.scenario)  # fmt: skip
            self._store.complete(part, note)
            self._store.publish(part, task.key)
            self._store.flush()
        except OSError as error:
            raise self._store.failure(error.strerror or str(error)) from None
        self._tell(Report(task.key, "failed", message))
