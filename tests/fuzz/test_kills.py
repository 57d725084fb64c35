"""Kills at random moments: of a worker, a helper of the pool or the parent of a sweep, of ``run``, of ``compare``.

Whatever was killed, and whenever: what was finished stays, and the same command again leaves the bytes that an
undisturbed one leaves.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import cosim

SEED = 17
COUNT = 60
"""Kills in all; the first of a run is part of the normal suite, others are in the tests of sweeps."""
KINDS = ("fork server", "compare", "worker", "parent", "resource tracker", "run")
AFTER_FIRST = 0.7
"""Share of the kills that wait for the first finished run."""
LIMITS = [round(0.9 + 0.001 * i, 3) for i in range(40)]
STARTED_WITHIN_S, ENDED_WITHIN_S = 120.0, 120.0
MODES = ("uncoordinated", "welfare")
MEASURE = '''
import time
from pathlib import Path

import pandas as pd

from cosim.sweep.worker import Outcome


def slow(scenario, path):
    """A twentieth of a second, until there is a file that says to hurry."""
    if not (Path(path).parent / "hurry").exists():
        time.sleep(0.05)
    level = scenario.network.v_min_pu
    return Outcome({"double": 2 * level}, {"pair": pd.DataFrame({"row": [0, 1], "value": [level, 2 * level]})})
'''
pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="the processes of others are in /proc")


def prepared(place: Path) -> Path:
    """A folder with a scenario, an experiment and its measurement."""
    place.mkdir(exist_ok=True)
    (place / "kill_measure.py").write_text(MEASURE)
    (place / "mine.yaml").write_text("base: ieee37\nname: mine\nmode: uncoordinated\nclock: {steps: 1}\n")
    (place / "e.yaml").write_text(
        f"name: kills\nscenario: mine.yaml\nmeasure: 'kill_measure:slow'\nfactors: {{network.v_min_pu: {LIMITS}}}\n"
    )
    return place


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    prepared(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("kill_measure", None)
    yield tmp_path
    sys.modules.pop("kill_measure", None)


def again(kind: str, out: Path, force: bool = False) -> None:
    """The command that is killed, undisturbed, and without figures: tables alone are compared."""
    steps = {"clock.steps": 2}
    if kind == "run":
        cosim.run("ieee37", mode=MODES[0], overrides=steps, out=out, force=force, figures=False)
    elif kind == "compare":
        cosim.compare("ieee37", modes=MODES, overrides=steps, out=out, force=force, figures=False)
    else:
        cosim.run_sweep(out.parent / "e.yaml", out, engine="serial", analyse=False)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of what a command leaves that nobody kills; each is done once."""
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            place = prepared(tmp_path_factory.mktemp("undisturbed"))
            (place / "hurry").touch()
            again(kind, place / "out")
            made[kind] = place / "out"
        return made[kind]

    return folder


def started(place: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command line in a process of its own; what it says goes to files, so that orphans keep nobody waiting."""
    environment = {**os.environ, "PYTHONPATH": str(place), "OMP_NUM_THREADS": "1"}
    with (place / "stdout").open("w") as out, (place / "stderr").open("w") as err:
        return subprocess.Popen([sys.executable, "-m", "cosim.cli.main", *arguments], cwd=place, env=environment,
                                stdout=out, stderr=err, text=True, start_new_session=True)  # fmt: skip


def until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait for a condition, or for the process to end."""
    limit = time.monotonic() + STARTED_WITHIN_S
    while not condition() and process.poll() is None:
        assert time.monotonic() < limit, "nothing happened for too long"
        time.sleep(0.005)


def children(pid: int) -> list[int]:
    """Processes that a process has started and that have not ended."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if int(parent) == pid and state != "Z":
                found.append(int(entry.name))
    return found


def helper(pid: int, module: str) -> list[int]:
    """Children of a process that run a module of multiprocessing."""
    found = []
    for child in children(pid):
        try:
            if f"multiprocessing.{module}".encode() in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(child)
        except OSError:
            continue
    return found


def victims(kind: str, pid: int) -> list[int]:
    """Who is to be killed, in a sweep whose parent is ``pid``."""
    if kind == "parent":
        return [pid]
    if kind == "resource tracker":
        return helper(pid, "resource_tracker")
    servers = helper(pid, "forkserver")
    return servers if kind == "fork server" else [worker for server in servers for worker in children(server)]


def content(folder: Path, pattern: str) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.glob(pattern))}


def finished(out: Path) -> dict[str, int]:
    return {p.parent.name: p.stat().st_mtime_ns for p in out.glob("runs/run=*/run.json")}


def sweep_killed(place: Path, kind: str, rng: random.Random, undisturbed: Callable[[str], Path]) -> None:
    """Kill something of a sweep, resume, and compare with an undisturbed one."""
    out = place / "out"
    process = started(place, "sweep", "e.yaml", "--out", "out", "--workers", "2")
    wanted = rng.randrange(1, 30) if rng.random() < AFTER_FIRST else 0
    until(lambda: len(finished(out)) >= wanted if wanted else victims(kind, process.pid), process)
    time.sleep(rng.uniform(0.0, 0.2 if wanted else 1.5))
    marked = victims(kind, process.pid)
    if marked:
        os.kill(rng.choice(marked), signal.SIGKILL)
    process.wait(timeout=ENDED_WITHIN_S)
    said = (place / "stderr").read_text()
    assert "Abort" not in said, said
    if kind == "resource tracker":  # Python starts another one, which complains of what it does not know
        assert "resource_tracker: process died" in said or not marked or process.returncode == 1, said
    else:
        assert "Traceback" not in said, said
    if kind == "parent":
        assert process.returncode in (-signal.SIGKILL, 0)
    elif process.returncode:
        assert process.returncode == 1 and f"the {kind} of the pool" in said and "--resume" in said, said
        assert kind != "worker", "a worker that dies once costs nothing"
    kept = finished(out)
    assert len(kept) >= wanted, "what was finished is not lost"
    (place / "hurry").touch()
    found = cosim.run_sweep(place / "e.yaml", out, engine="serial", resume=True, analyse=False)
    assert found.complete and not found.repairs, found.repairs
    after = finished(out)
    assert {k: v for k, v in after.items() if k in kept} == kept, "what was finished is not done again"
    for pattern in ("runs.csv", "runs/*/*.parquet"):
        assert content(out, pattern) == content(undisturbed("sweep"), pattern), pattern
    assert not [p for p in (*out.glob(".*"), *(out / "runs").glob(".*")) if p.name != ".lock"]


def command_killed(place: Path, kind: str, rng: random.Random, undisturbed: Callable[[str], Path]) -> None:
    """Kill ``run`` or ``compare``, with or without earlier results; the same again leaves the undisturbed bytes."""
    out = place / "out"
    wanted = content(undisturbed(kind), "**/*.parquet")
    if rng.random() < 0.5:
        shutil.copytree(undisturbed(kind), out)
    before = content(out, "**/*.parquet")
    chosen = ["--mode", MODES[0]] if kind == "run" else ["--modes", ",".join(MODES)]
    process = started(place, kind, "ieee37", *chosen, "--steps", "2", "--out", "out", "--force")
    progress = "*.parquet" if kind == "run" else f"{MODES[0]}/record.json"
    if rng.random() < AFTER_FIRST:
        until(lambda: list(place.glob(f".out.*.part/{progress}")), process)
        time.sleep(rng.uniform(0.0, 1.0))
    else:
        time.sleep(rng.uniform(0.0, 4.0))
    process.kill()
    process.wait(timeout=ENDED_WITHIN_S)
    assert content(out, "**/*.parquet") in (before, wanted, {}), "old results, new results or none; never half"
    again(kind, out, force=True)
    assert content(out, "**/*.parquet") == wanted and wanted
    assert not list(place.glob(".out*")), "nothing hidden stays"


def cases() -> list[Any]:
    found = []
    for number in range(COUNT):
        marks = [] if number < len(KINDS) and KINDS[number] == "run" else [pytest.mark.slow]
        kind = KINDS[number % len(KINDS)]
        found.append(pytest.param(number, kind, id=f"{number}-{kind.replace(' ', '-')}", marks=marks))
    return found


@pytest.mark.parametrize(("number", "kind"), cases())
def test_a_kill_loses_nothing_that_was_finished(
    place: Path, undisturbed: Callable[[str], Path], number: int, kind: str
) -> None:
    rng = random.Random(f"{SEED}-{number}")
    (command_killed if kind in ("run", "compare") else sweep_killed)(place, kind, rng, undisturbed)
