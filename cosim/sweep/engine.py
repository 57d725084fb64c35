"""Engines: who does the runs. All of them stand behind ``concurrent.futures.Executor``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from cosim.errors import InputError
from cosim.sweep.pool import IsolatedPool
from cosim.sweep.worker import prepare_worker

P = ParamSpec("P")
T = TypeVar("T")
ENGINES = ("pool", "dask", "serial")
_CONNECT_S = 30
_PRELOAD = ("cosim.sweep.worker", "cosim.agents.dca", "cosim.agents.dso")


@dataclass(frozen=True)
class Engine:
    """An executor and what has to be known of it.

    Attributes:
        workers: how many runs it does at a time.
        deaths: errors that mean that a worker died.
        own_process: whether a run has its process for itself.
        kill: end everything at once.
    """

    executor: Executor
    workers: int
    deaths: tuple[type[BaseException], ...]
    own_process: bool
    kill: Callable[[], None]


class SerialExecutor(Executor):
    """Does everything at once, in this process: for debugging, and to compare with."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Do it now; an interrupt goes to the caller."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def default_workers() -> int:
    """One for each processor that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def open_engine(
    name: str, workers: int | None = None, scheduler: str | None = None, recycle_after: int = 100
) -> Iterator[Engine]:
    """An engine for the length of a block.

    Args:
        name: ``pool`` (processes), ``dask`` (a local cluster on the loopback interface, or ``scheduler``), ``serial``.
        workers: processes; by default one for each processor.
        scheduler: address of a Dask scheduler, as ``tcp://host:8786``; its workers need the same cosim, and the store
            on a file system that they share.
        recycle_after: tasks after which a process of the pool is replaced.

    Raises:
        InputError: no such engine, Dask is not installed, or the scheduler does not answer.
    """
    check_engine(name, scheduler)
    count = workers or default_workers()
    if name == "serial":
        yield Engine(SerialExecutor(), 1, (BrokenExecutor,), False, lambda: None)
    elif name == "pool":
        yield from _pool(count, recycle_after)
    else:
        yield from _dask(count, scheduler)


def check_engine(name: str, scheduler: str | None) -> None:
    """Refuse an engine that is not there.

    Raises:
        InputError: see :func:`open_engine`.
    """
    if name not in ENGINES:
        raise InputError("no such engine", key="--engine", value=name, allowed=", ".join(ENGINES))
    if scheduler is not None and name != "dask":
        raise InputError("a scheduler goes with the engine dask", key="--scheduler", value=scheduler,
                         allowed="--engine dask")  # fmt: skip
    if name == "dask":
        try:
            import distributed  # noqa: F401
        except ImportError:
            raise InputError("Dask is not installed", key="--engine", value="dask",
                             allowed="pool; or install cosim-grid[dask]") from None  # fmt: skip


def _pool(workers: int, recycle_after: int) -> Iterator[Engine]:
    pool = IsolatedPool(workers, recycle_after, prepare_worker, (True,), _PRELOAD)
    try:
        yield Engine(pool, workers, (BrokenExecutor,), True, pool.kill)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _dask(workers: int, scheduler: str | None) -> Iterator[Engine]:
    import dask
    from distributed import Client, KilledWorker, LocalCluster

    settings = {
        "distributed.scheduler.allowed-failures": 0,  # dying twice is counted here, run by run
        "distributed.comm.timeouts.connect": f"{_CONNECT_S}s",
    }
    with dask.config.set(settings):
        cluster: Any = None
        if scheduler is None:
            cluster = LocalCluster(  # type: ignore[no-untyped-call]
                n_workers=workers, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None,
                silence_logs=50,
            )  # fmt: skip
        try:
            client = _connected(Client, cluster, scheduler)
            try:
                shared = sum(client.nthreads().values()) if scheduler else workers
                executor = client.get_executor(pure=False, retries=0)
                yield Engine(executor, max(1, shared), (BrokenExecutor, KilledWorker), False, lambda: None)
            finally:
                client.close(timeout=_CONNECT_S)
        finally:
            if cluster is not None:
                cluster.close(timeout=_CONNECT_S)


def _connected(client: Any, cluster: Any, scheduler: str | None) -> Any:
    try:
        return client(cluster if scheduler is None else scheduler, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"the scheduler does not answer ({error})", key="--scheduler", value=scheduler,
                         allowed="the address of a running Dask scheduler, as tcp://host:8786") from None  # fmt: skip


def sees(path: str) -> bool:
    """Whether a worker sees a file: what it writes must land in the store."""
    return Path(path).is_file()
