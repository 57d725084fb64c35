"""What may go wrong in the middle: a worker or the parent is killed, the disk is full. Finished runs stay."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Executor, Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

import cosim
from cosim.errors import RunFailure
from cosim.sweep import worker
from cosim.sweep.engine import Engine
from cosim.sweep.schedule import Schedule
from cosim.sweep.storage.store import Store, StoreFailure
from cosim.sweep.worker import Report, Task

from .conftest import LIMITS, Make


@pytest.fixture
def expected(experiment: Make, place: Path) -> bytes:
    """The table of an undisturbed sweep; its values follow from the limits alone."""
    found = cosim.run_sweep(experiment(), place / "undisturbed", engine="serial", analyse=False)
    return values(found.runs)


def values(runs: pd.DataFrame) -> bytes:
    """A table without the keys, which depend on the function that measured."""
    return runs.drop(columns="run").to_csv(index=False).encode()


def test_a_worker_that_dies_once_costs_nothing_in_the_end(experiment: Make, place: Path, expected: bytes) -> None:
    found = cosim.run_sweep(experiment("fatal_once"), place / "out", workers=2, analyse=False)
    assert values(found.runs) == expected
    tried = found.times.set_index("run")["attempts"]
    assert tried.to_dict()[found.runs["run"][2]] == 2 and tried.sum() == len(LIMITS) + 1
    assert "about to die" in found.log(found.runs["run"][2]), "the log has what the first attempt said"


def test_a_run_that_always_kills_its_worker_is_recorded_as_failed(experiment: Make, place: Path) -> None:
    found = cosim.run_sweep(experiment("fatal"), place / "out", workers=2, analyse=False)
    assert found.runs["status"].tolist() == ["ok", "ok", "failed", "ok", "ok", "ok"]
    assert found.runs["error"][2] == "WorkerDied: its worker died 2 times"
    assert found.log(found.runs["run"][2]).count("about to die") == 2


@pytest.mark.slow
def test_a_dask_worker_that_dies_costs_its_own_run_only(experiment: Make, place: Path) -> None:
    pytest.importorskip("distributed")
    found = cosim.run_sweep(experiment("fatal"), place / "out", engine="dask", workers=2, analyse=False)
    assert found.runs["status"].tolist() == ["ok", "ok", "failed", "ok", "ok", "ok"]


def test_workers_that_die_before_they_begin_end_the_sweep(experiment: Make, place: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("cosim.sweep.engine.prepare_worker", os.abort)
    with pytest.raises(RunFailure, match="die before they begin"):
        cosim.run_sweep(experiment(), place / "out", workers=1, analyse=False)


COUNT = 25
"""Runs of a sweep that is stopped before all of them are done."""


def listen() -> None:
    """Heed an interrupt as in a terminal: what is started in the background inherits that it is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def started(place: Path, count: int, *options: str) -> subprocess.Popen[bytes]:
    """A sweep of slow runs in a process of its own, of which so many are complete."""
    limits = [round(0.9 + 0.001 * i, 3) for i in range(COUNT)]
    (place / "e.yaml").write_text(
        f"name: limits\nscenario: mine.yaml\nmeasure: 'sweep_measures:slow'\nfactors: {{network.v_min_pu: {limits}}}\n"
    )
    command = [sys.executable, "-m", "cosim.cli.main", "sweep", "e.yaml", "--out", "out", "--workers", "1", *options]
    environment = {**os.environ, "PYTHONPATH": str(place)}
    process = subprocess.Popen(command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               start_new_session=True, preexec_fn=listen)  # fmt: skip
    until = time.monotonic() + 60
    while len(complete(place)) < count and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    assert process.poll() is None, process.communicate()
    return process


def complete(place: Path) -> dict[str, int]:
    return {p.parent.name: p.stat().st_mtime_ns for p in place.glob("out/runs/run=*/run.json")}


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_sweep_whose_parent_is_stopped_resumes_where_it_was(place: Path, number: signal.Signals) -> None:
    process = started(place, 3)
    os.kill(process.pid, number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    if number == signal.SIGINT:
        assert b"--resume" in said and b"Traceback" not in said
    time.sleep(1.0)
    before = complete(place)
    assert 3 <= len(before) < COUNT
    time.sleep(0.5)
    assert complete(place) == before, "no worker goes on by itself"
    (place / "hurry").touch()
    found = cosim.run_sweep(place / "e.yaml", place / "out", engine="serial", resume=True, analyse=False)
    assert {k: v for k, v in complete(place).items() if k in before} == before
    undisturbed = cosim.run_sweep(place / "e.yaml", place / "other", engine="serial", analyse=False)
    assert (place / "out" / "runs.csv").read_bytes() == (place / "other" / "runs.csv").read_bytes()
    assert found.complete and undisturbed.complete
    assert not list((place / "out" / "runs").glob(".*"))


def test_waiting_for_runs_takes_no_lock_that_an_interrupt_could_leave_taken(place: Path) -> None:
    taken: list[bool] = []

    class Watched(Future[list[Report]]):
        def __init__(self) -> None:
            super().__init__()
            lock: Any = self._condition
            acquire = lock.acquire
            lock.acquire = lambda *given, **named: taken.append(True) or acquire(*given, **named)

    class Later(Executor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            future = Watched()
            reports = [Report(task.key, "ok", "", 0.01) for task in args[0]]
            threading.Timer(0.05, future.set_result, [reports]).start()
            return future

    told: list[Report] = []
    tasks = [Task(str(i), None, "", None, (), ()) for i in range(5)]  # type: ignore[arg-type]
    store: Any = SimpleNamespace(root=place, session="")
    Schedule(tasks, store, Engine(Later(), 2, (), False, lambda: None), told.append).work()
    assert {report.key for report in told} == {"0", "1", "2", "3", "4"} and not taken


def test_a_full_disk_stops_the_sweep_and_keeps_what_is_complete(
    experiment: Make, place: Path, monkeypatch: pytest.MonkeyPatch, expected: bytes
) -> None:
    written = worker.write_frame
    count = 0

    def full(frame: pd.DataFrame, path: Path) -> None:
        nonlocal count
        count += 1
        if count > 3:
            path.write_bytes(b"half a table")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written(frame, path)

    monkeypatch.setattr(worker, "write_frame", full)
    with pytest.raises(StoreFailure, match="No space left"):
        cosim.run_sweep(experiment(), place / "out", engine="serial", analyse=False)
    kept = cosim.read_sweep(place / "out")
    assert kept.runs["status"].tolist() == ["ok"] * 3 + ["pending"] * 3 and not list(kept.root.glob("runs/.run*"))
    monkeypatch.undo()
    monkeypatch.syspath_prepend(str(place))
    found = cosim.run_sweep(experiment(), place / "out", engine="serial", resume=True, analyse=False)
    assert values(found.runs) == expected


@pytest.mark.slow
def test_a_really_full_file_system(experiment: Make, place: Path) -> None:
    """The same on a small file system in memory, where one can be mounted."""
    small = place / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a file system in memory cannot be mounted here")
    try:
        limits = [round(0.9 + 0.0005 * i, 4) for i in range(60)]
        many = experiment(factors={"network.v_min_pu": limits})
        with pytest.raises(RunFailure, match="No space left|cannot be written"):
            cosim.run_sweep(many, small / "out", engine="serial", analyse=False)
        kept = len(list(small.glob("out/runs/run=*/run.json")))
        assert 0 < kept < len(limits)
        subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True)
        found = cosim.run_sweep(many, small / "out", engine="serial", resume=True, analyse=False)
        assert found.complete and len(found.ok) == len(limits)
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_folder_that_may_not_be_written_is_refused(
    experiment: Make, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, data: bytes) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(cosim.InputError, match="cannot be written .Permission denied"):
        cosim.run_sweep(experiment(), place / "out", engine="serial", analyse=False)
    assert not Store(place / "out").exists


def test_a_folder_deleted_under_a_sweep_has_its_own_message(place: Path) -> None:
    process = started(place, 2)
    shutil.rmtree(place / "out", ignore_errors=True)
    shutil.rmtree(place / "out", ignore_errors=True)  # what a worker wrote meanwhile
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1 and b"is gone" in said and b"Traceback" not in said, said
    assert str(place / "out").encode() in said


def test_a_finished_run_that_vanishes_under_a_sweep_is_missed(
    experiment: Make, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed = Store.flush

    def vanish(self: Store) -> None:
        flushed(self)
        if (last := sorted(self.runs.glob("run=*"))) and len(last) == len(LIMITS):
            (last[0] / "pair.parquet").unlink()

    monkeypatch.setattr(Store, "flush", vanish)
    with pytest.raises(StoreFailure, match="1 runs that were done .*pair.parquet is missing"):
        cosim.run_sweep(experiment(), place / "out", engine="serial", analyse=False)


def test_a_run_is_on_the_disk_before_it_has_its_name(
    experiment: Make, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of calls to the system: every file of a run, then its folder, then its name, then the folder around."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("open files cannot be named here")
    done: list[tuple[str, str]] = []
    flushed, renamed = os.fsync, os.rename

    def flush(descriptor: int) -> None:
        done.append(("flush", os.readlink(f"/proc/self/fd/{descriptor}")))
        flushed(descriptor)

    def rename(old: Path, new: Path) -> None:
        renamed(old, new)
        done.append(("rename", str(old)))

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "rename", rename)
    one = experiment(factors={"network.v_min_pu": [0.95]})
    found = cosim.run_sweep(one, place / "out", engine="serial", analyse=False)
    part = next(old for kind, old in done if kind == "rename")
    assert Path(part).name.startswith(f".run={found.runs['run'][0]}.")
    at = done.index(("rename", part))
    files = {("flush", f"{part}/{name}") for name in ("log.txt", "pair.parquet", "run.json")}
    assert set(done[at - 4 : at - 1]) == files and done[at - 1] == ("flush", part)
    assert ("flush", str(place / "out" / "runs")) in done[at + 1 :]
