"""What each device of the leader's search is worth: random days solved with one device off at a time.

    python -m cosim.experiments.benchmarks.leader.ablation --out ablation.jsonl
    python -m cosim.experiments.benchmarks.leader.ablation --out ablation.jsonl --only "conflicts of rows" --days 20
    python -m cosim.experiments.benchmarks.leader.ablation --out ablation.jsonl --table

Half of the days have voltage limits that bind, half a sloped import price, on seeds that no constant was tuned on. Each
solve is appended to a file at once, so that a run that is broken off goes on where it was. The devices come in another
order every day; a second full search is the control, which shows what noise is. Times, and the time limit, are those of
the processor, so that others on it do no harm.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cosim import InputError, RunFailure
from cosim.experiments.benchmarks.leader.instances import Shape, instance
from cosim.experiments.studies.common import print_table
from cosim.optimization.bilevel.settings import SearchSettings
from cosim.optimization.bilevel.solver import BilevelProblem, solve

FIRST_SEED = 9000
SLOPE = 5.0
FULL, CONTROL = "full search", "nothing (control)"
_OFF: Mapping[str, Mapping[str, Any]] = {
    FULL: {},
    CONTROL: {},
    "presolve: fixed variables": {"remove_fixed": False},
    "presolve: separate variables": {"remove_separate": False},
    "decomposition": {"decompose": False},
    "conflicts of rows": {"conflicts": False},
    "pricing by linear programs": {"linear_programs": False},
    "warm start of the simplex method": {"warm_start": False},
    "leaves kept between pricing problems": {"keep_leaves": False},
    "several optima of a leaf": {"optima_kept": 1},
    "early end of pricing": {"stop_pricing_early": False},
    "leaving out leaves": {"prune_leaves": False},
    "branching on leaves": {"branch_on_leaves": False},
    "moving blocks together": {"move_together": False},
    "moving blocks alone": {"single_moves": 0},
    "screening of moves": {"screen_moves": False},
    "rough first values": {"rough": 0.0},
    "recentring on new points": {"recentres": 0},
    "lengthening of steps": {"lengthenings": 1},
}  # fmt: skip
DEVICES: Mapping[str, SearchSettings] = {name: replace(SearchSettings(), **off) for name, off in _OFF.items()}
"""Settings without one device each, by the device's name."""


@dataclass(frozen=True, slots=True)
class Day:
    """One day solved without one device: processor time, cost and bound (both None without a point), gap, status."""

    device: str
    day: int
    binds: bool
    cpu_s: float
    cost: float | None
    bound: float | None
    gap: float | None
    status: str


def problem(day: int, size: tuple[int, int, int]) -> tuple[BilevelProblem, bool]:
    """The problem of a day, and whether its limits bind; four days in a row have all kinds."""
    binds = day // 2 % 2 == 0
    shape = Shape(*size, step_h=24.0 / size[2], slope=SLOPE if day % 2 else 0.0, tight=binds)
    return instance(shape, FIRST_SEED + day), binds


@contextmanager
def processor_clock() -> Iterator[None]:
    """Deadlines are of processor time inside."""
    wall = time.perf_counter
    time.perf_counter = time.process_time
    try:
        yield
    finally:
        time.perf_counter = wall


def measure(device: str, day: int, size: tuple[int, int, int], gap: float, limit_s: float) -> Day:
    """Solve one day without one device."""
    made, binds = problem(day, size)
    told: tuple[float | None, float | None, float | None, str]
    began = time.process_time()
    try:
        with processor_clock():
            found = solve(made, gap=gap, time_limit_s=limit_s, settings=DEVICES[device])
        told = found.leader_cost, found.bound, found.gap, found.status
    except (InputError, RunFailure) as error:
        told = None, None, None, str(error)[:200]
    return Day(device, day, binds, time.process_time() - began, *told)


def table(days: Sequence[Day], gap: float) -> list[dict[str, object]]:
    """One row for each device, against the full search on the same days."""
    full = {d.day: d for d in days if d.device == FULL}
    rows = []
    for device in DEVICES:
        mine = [d for d in days if d.device == device and d.day in full]
        if not mine:
            continue
        ours, theirs = np.array([d.cpu_s for d in mine]), np.array([full[d.day].cpu_s for d in mine])
        gaps = [np.inf if d.gap is None else d.gap for d in mine]
        bind = np.array([d.binds for d in mine])
        rows.append(
            {
                "without": device,
                "days": len(mine),
                "median s": round(float(np.median(ours)), 2),
                "median": _percent(np.median(ours) / np.median(theirs)),
                "day by day": _percent(np.median(ours / theirs)),
                "all": _percent(ours.sum() / theirs.sum()),
                "binding days": _percent(ours[bind].sum() / theirs[bind].sum()),
                "worst s": round(float(ours.max()), 1),
                "worst": _percent(ours.max() / theirs.max()),
                "open": sum(g > gap for g in gaps),
                "widest gap": f"{max(gaps):.1e}",
                "contradictions": sum(not _agree(d, full[d.day]) for d in mine),
            }
        )
    return rows


def _percent(ratio: float) -> str:
    return f"{100.0 * (float(ratio) - 1.0):+.0f} %"


def _agree(one: Day, other: Day) -> bool:
    """Whether neither bound lies above the other's cost."""
    if one.cost is None or one.bound is None or other.cost is None or other.bound is None:
        return True
    room = 1e-6 * max(1.0, abs(other.cost))
    return one.bound <= other.cost + room and other.bound <= one.cost + room


def read(path: Path) -> list[Day]:
    """The days that a file holds."""
    return [Day(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def _size(text: str) -> tuple[int, int, int]:
    sites, generators, steps = (int(part) for part in text.split("x"))
    return sites, generators, steps


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="file that days are appended to, one JSON line each")
    parser.add_argument("--size", type=_size, default=(4, 5, 12), metavar="SxGxT", help="sites x generators x steps")
    parser.add_argument("--first", type=int, default=0, help="day to begin with")
    parser.add_argument("--days", type=int, default=40, help="day to end before")
    parser.add_argument("--only", nargs="+", choices=[*DEVICES], default=[*DEVICES], metavar="DEVICE")
    parser.add_argument("--gap", type=float, default=1e-3)
    parser.add_argument("--time-limit", type=float, default=10.0, metavar="S", help="of each solve")
    parser.add_argument("--table", action="store_true", help="only print the table of what the file holds")
    options = parser.parse_args()
    done = {(d.device, d.day) for d in read(options.out)}
    for day in range(options.first, options.first if options.table else options.days):
        for device in np.random.default_rng(day).permutation(options.only).tolist():
            if (device, day) not in done:
                line = json.dumps(asdict(measure(device, day, options.size, options.gap, options.time_limit)))
                with options.out.open("a") as file:
                    file.write(line + "\n")
    print_table(f"Without one device, gap {options.gap:g}", table(read(options.out), options.gap))


if __name__ == "__main__":
    _main()
