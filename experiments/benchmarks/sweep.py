"""Benchmark: what a sweep adds to its runs: speed-up, overhead, memory, reading, resuming.

    python -m cosim.experiments.benchmarks.sweep --runs 100 --short 1000

Times are those of this machine and of whatever else it is doing, so each stands beside what it is to be compared with:
the work itself. ``--only`` picks parts: overhead, store, waiting, computing, memory.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cosim.experiments.studies.common import print_table
from cosim.scenario.schema import Scenario
from cosim.simulation.runner import simulate
from cosim.sweep.experiment import Experiment, check_experiment
from cosim.sweep.reading import Sweep, read_sweep
from cosim.sweep.run import run_sweep
from cosim.sweep.worker import Outcome

PARTS = ("overhead", "store", "waiting", "computing", "memory")
_THIS = "cosim.experiments.benchmarks.sweep"
Row = dict[str, object]


def nothing(scenario: Scenario, path: Path) -> Outcome:
    """No work at all, and as much to keep as from a short run: thirty key figures and a table of a day."""
    frame = pd.DataFrame({"step": np.arange(24), **{f"x{i}": np.linspace(0.0, i, 24) for i in range(12)}})
    return Outcome({f"figure_{i}": float(i) for i in range(30)}, {"steps": frame})


def waiting(scenario: Scenario, path: Path) -> Outcome:
    """A second in which the processor is free for others."""
    time.sleep(1.0)
    return nothing(scenario, path)


def weighed(scenario: Scenario, path: Path) -> Outcome:
    """A run, and afterwards the memory (MB) and open files of its process."""
    result = simulate(scenario, path)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    memory = pages * resource.getpagesize() / 1e6
    return Outcome({**result.kpis, "memory_mb": memory, "open_files": len(os.listdir("/proc/self/fd"))})


def experiment(measure: str | None, count: int, steps: int = 1, mode: str = "uncoordinated") -> Experiment:
    """So many runs that differ in a limit that never binds."""
    limits = [round(0.80 + 1e-6 * i, 6) for i in range(count)]
    return check_experiment(
        {
            "name": "benchmark",
            "scenario": "ieee37",
            "modes": [mode],
            "set": {"clock.steps": steps},
            "factors": {"network.v_min_pu": limits},
            "measure": None if measure is None else f"{_THIS}:{measure}",
        }
    )


class Laps:
    """When runs were reported, so that starting the engine can be told from the work."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, done: int, failed: int, total: int, text: str) -> None:
        if done:
            self.times.append(time.perf_counter())

    def per_run_s(self, skip: int) -> float:
        """Mean time from run to run, without the first ones, in which workers start."""
        return (self.times[-1] - self.times[skip]) / (len(self.times) - 1 - skip)


def done(made: Experiment, out: Path, engine: str, workers: int, laps: Laps | None = None) -> tuple[Sweep, float]:
    """A sweep and the seconds it took."""
    began = time.perf_counter()
    found = run_sweep(made, out, engine=engine, workers=workers, analyse=False, progress=laps)
    return found, time.perf_counter() - began


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds that something takes, and seconds of processor: apart if the machine does other things as well."""
    began, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - used


def overhead(folder: Path, runs: int) -> list[Row]:
    """Time per run that does nothing, by engine, with one worker; the run by itself (in this process) beside it."""
    rows: list[Row] = []
    for engine, target in (("serial", 5.0), ("pool", 5.0), ("dask", 20.0)):
        laps = Laps()
        try:
            done(experiment("nothing", runs), folder / f"overhead-{engine}", engine, 1, laps)
        except ValueError as error:
            rows.append({"engine": engine, "ms a run": str(error)})
            continue
        each = 1e3 * laps.per_run_s(runs // 5)
        rows.append({"engine": engine, "ms a run": round(each, 2), "target": target, "ratio": round(each / target, 2)})
    return rows


def store(folder: Path, runs: int) -> list[Row]:
    """Reading and resuming a finished sweep."""
    made = experiment("nothing", runs)
    done(made, folder / "store", "pool", 2)
    tasks = {
        "read: table of runs": lambda: read_sweep(folder / "store").runs,
        "read: and a long table": lambda: read_sweep(folder / "store").steps,
        "resume, nothing to do": lambda: run_sweep(made, folder / "store", resume=True, analyse=False),
    }
    rows: list[Row] = []
    for name, work in tasks.items():
        seconds, used = min(timed(work) for _ in range(3))
        target = (1.0 if "resume" in name else 2.0) * runs / 1000
        rows.append({"what": f"{name}, {runs} runs", "s": round(seconds, 3), "cpu s": round(used, 3), "target": target,
                     "ratio": round(seconds / target, 2)})  # fmt: skip
    return rows


def speed_up(folder: Path, runs: int, kind: str) -> list[Row]:
    """Two workers against one, on runs of about a second: waiting (what scheduling costs) or computing (all of it)."""
    made = experiment("waiting", runs) if kind == "waiting" else experiment(None, runs, steps=3, mode="welfare")
    rows: list[Row] = []
    for workers in (1, 2):
        laps = Laps()
        found, seconds = done(made, folder / f"{kind}-{workers}", "pool", workers, laps)
        inside = float(found.times["wall_s"].sum())
        rows.append({"work": kind, "workers": workers, "runs": runs, "mean run s": round(inside / runs, 3),
                     "s, start to end": round(seconds, 2), "speed-up": 0.0,
                     "time in runs / (workers x time)": round(inside / workers / seconds, 3)})  # fmt: skip
    for row in rows:
        row["speed-up"] = round(float(str(rows[0]["s, start to end"])) / float(str(row["s, start to end"])), 3)
    return rows


def memory(folder: Path, runs: int) -> list[Row]:
    """Memory and open files of one worker that is never replaced, over many short runs."""
    found, _ = done(experiment("weighed", runs), folder / "memory", "pool", 1)
    used = found.ok["memory_mb"].to_numpy()
    files = found.ok["open_files"].to_numpy()
    process = found.times["process"].nunique()
    tenth = max(1, runs // 10)
    places = {
        "after a tenth": slice(tenth, 2 * tenth),
        "half": slice(5 * tenth, 6 * tenth),
        "at the end": slice(-tenth, None),
    }
    first = float(used[places["after a tenth"]].mean())
    return [
        {"runs": runs, "when": name, "MB": round(float(used[at].mean()), 1),
         "ratio": round(float(used[at].mean()) / first, 3), "open files": int(files[at].max()), "processes": process}
        for name, at in places.items()
    ]  # fmt: skip


def measure(folder: Path, runs: int, short: int, parts: Sequence[str] = PARTS) -> dict[str, list[Row]]:
    """All parts; tables by title."""
    work: dict[str, tuple[str, Callable[[], list[Row]]]] = {
        "overhead": ("Overhead of a run beyond itself", lambda: overhead(folder, min(short, 500))),
        "store": ("Reading and resuming", lambda: store(folder, short)),
        "waiting": ("Speed-up, runs that wait for a second", lambda: speed_up(folder, runs, "waiting")),
        "computing": ("Speed-up, runs that compute", lambda: speed_up(folder, runs, "computing")),
        "memory": ("Memory over short runs", lambda: memory(folder, short)),
    }
    tables: dict[str, list[Row]] = {}
    for part in parts:
        title, do = work[part]
        tables[title] = do()
        print_table(title, tables[title])
    return tables


def _main() -> None:
    parser: Any = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100, help="runs of about a second, for the speed-up")
    parser.add_argument("--short", type=int, default=1000, help="short runs, for memory, reading and resuming")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options.runs, options.short, options.only)


if __name__ == "__main__":
    _main()
