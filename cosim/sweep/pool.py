"""A pool of processes in which the death of one costs only what that one was doing."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import BaseContext
from typing import Any, ParamSpec, TypeVar

from cosim.errors import RunFailure

P = ParamSpec("P")
T = TypeVar("T")
_Item = tuple[Future[Any], Callable[..., Any], tuple[Any, ...], dict[str, Any]]


_SERVER, _TRACKER = "fork server", "resource tracker"
_DYING_S = 0.2
"""How long a process that has lost its connections may take to be gone."""
_KEPT = "what is finished is kept, and --resume goes on from there"


class HelperDied(RunFailure):
    """A process that Python keeps beside the workers of a pool, to start them, has ended."""


class IsolatedPool(Executor):
    """An executor of single processes, each replaced when it dies and after so many tasks.

    The standard pool gives up all of its work when one process dies. Here every process has a pool of its own; the
    task that it was doing ends with ``BrokenProcessPool``, the others do not notice. Where the system can fork from a
    server, that server starts all processes and none outlives it; if it dies, tasks end with :class:`HelperDied`.

    Args:
        workers: number of processes.
        recycle_after: tasks after which a process makes room for a fresh one.
        initializer: called in each process with ``initargs``; must be importable.
        preload: modules that processes start with where the system can fork from a server.
    """

    def __init__(
        self,
        workers: int,
        recycle_after: int = 100,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        preload: tuple[str, ...] = ("cosim.sweep.worker",),
    ) -> None:
        self._waiting: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._recycle_after = recycle_after
        self._start = (initializer, initargs)
        self._context = _context(preload)
        self._stopped = False
        self._pools: dict[int, ProcessPoolExecutor] = {}
        self._helpers = _started_helpers(self._context)
        self._threads = [
            threading.Thread(target=self._serve, args=(i,), name=f"sweep-{i}", daemon=True) for i in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have something done by the next free process."""
        if self._stopped:
            raise RuntimeError("the pool has been shut down")
        future: Future[T] = Future()
        self._waiting.put((future, fn, args, kwargs))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes when they are done; with ``cancel_futures`` what has not begun is not done."""
        self._stopped = True
        if cancel_futures:
            with contextlib.suppress(queue.Empty):
                while True:
                    item = self._waiting.get_nowait()
                    if item is not None:
                        item[0].cancel()
        for _ in self._threads:
            self._waiting.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def kill(self) -> None:
        """End all processes at once, whatever they are doing."""
        self._stopped = True
        for process in self.processes():
            process.kill()
        self.shutdown(wait=True, cancel_futures=True)

    def processes(self) -> list[multiprocessing.process.BaseProcess]:
        """The processes that are there now."""
        found: list[multiprocessing.process.BaseProcess] = []
        for pool in list(self._pools.values()):
            found += list((getattr(pool, "_processes", None) or {}).values())
        return found

    def _serve(self, slot: int) -> None:
        """Hand tasks to one process, one after another."""
        done = 0
        while (item := self._waiting.get()) is not None:
            future, fn, args, kwargs = item
            if not future.set_running_or_notify_cancel():
                continue
            if done >= self._recycle_after:
                self._close(slot)
                done = 0
            try:
                future.set_result(self._pool(slot).submit(fn, *args, **kwargs).result())
                done += 1
            except BaseException as error:
                if isinstance(error, BrokenProcessPool | EOFError | OSError | UserWarning):
                    self._close(slot)
                    done = 0
                    error = self._explained(error)
                future.set_exception(error)
        self._close(slot)

    def _explained(self, error: BaseException) -> BaseException:
        """What broke a process, or kept one from starting: a helper that died, if there is one.

        Processes that run do without the resource tracker, which Python starts again with a warning.
        """
        started = isinstance(error, BrokenProcessPool)
        until = time.monotonic() + (_DYING_S if started else 10 * _DYING_S)
        while True:
            for name, pid in self._helpers.items():
                if (name == _SERVER or not started) and (_has_ended(pid) or _helpers().get(name, pid) != pid):
                    return HelperDied(f"the {name} of the pool (process {pid}) died; {_KEPT}")
            if time.monotonic() > until:
                break
            time.sleep(0.01)
        if started:
            return error
        return RunFailure(f"a worker of the pool cannot be started ({type(error).__name__}: {error}); {_KEPT}")

    def _pool(self, slot: int) -> ProcessPoolExecutor:
        if slot not in self._pools:
            initializer, initargs = self._start
            self._pools[slot] = ProcessPoolExecutor(1, self._context, initializer, initargs)
        return self._pools[slot]

    def _close(self, slot: int) -> None:
        pool = self._pools.pop(slot, None)
        if pool is not None:
            pool.shutdown(wait=True)


def _context(preload: tuple[str, ...]) -> BaseContext:
    """Processes forked from a server that has imported what they need, or fresh ones where that cannot be."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    return context


def _started_helpers(context: BaseContext) -> dict[str, int]:
    """Start what Python keeps beside the workers now, so that it is known; see :func:`_helpers`."""
    if context.get_start_method() == "forkserver":
        forkserver.ensure_running()
    return _helpers()


def _helpers() -> dict[str, int]:
    """Process ids of what Python keeps beside the workers, by what it is; none where that cannot be known."""
    found = {
        _SERVER: getattr(getattr(forkserver, "_forkserver", None), "_forkserver_pid", None),
        _TRACKER: getattr(getattr(resource_tracker, "_resource_tracker", None), "_pid", None),
    }
    return {name: pid for name, pid in found.items() if isinstance(pid, int)}


def _has_ended(pid: int) -> bool:
    """Whether a child of this process has ended; its status is left to whoever waits for it."""
    if not hasattr(os, "waitid"):
        return False
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True
