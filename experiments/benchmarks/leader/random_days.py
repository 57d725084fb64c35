"""How long the bilevel optimum of random days takes: by size, import price, and voltage limits that bind or do not.

    python -m cosim.experiments.benchmarks.leader.random_days --sizes 10x12x24 20x20x24 --seeds 20 --gap 1e-3

A size is leader sites x generators x steps of a day. Every other seed has a sloped import price.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cosim import InputError, RunFailure
from cosim.experiments.benchmarks.leader.ablation import processor_clock
from cosim.experiments.benchmarks.leader.instances import Shape, instance
from cosim.experiments.studies.common import print_table
from cosim.optimization.bilevel.solver import solve

_SLOPE = 5.0


@dataclass(frozen=True, slots=True)
class Run:
    """One instance solved: gap (infinite without a point), wall and processor time in seconds, nodes."""

    seed: int
    slope: float
    gap: float
    wall_s: float
    cpu_s: float
    nodes: int
    status: str


def measure(size: tuple[int, int, int], seeds: Sequence[int], *, tight: bool, gap: float, limit_s: float) -> list[Run]:
    """Solve one instance per seed without any start."""
    out = []
    for seed in seeds:
        slope = _SLOPE if seed % 2 else 0.0
        problem = instance(Shape(*size, step_h=24.0 / size[2], slope=slope, tight=tight), seed)
        wall, cpu = time.monotonic(), time.process_time()
        try:
            found = solve(problem, gap=gap, time_limit_s=limit_s)
            told = found.gap, found.nodes, found.status
        except (InputError, RunFailure) as error:
            told = np.inf, 0, str(error)
        out.append(Run(seed, slope, told[0], time.monotonic() - wall, time.process_time() - cpu, told[1], told[2]))
    return out


def row(size: tuple[int, int, int], tight: bool, slope: str, runs: Sequence[Run], gap: float) -> dict[str, object]:
    """One line of the table."""
    wall, cpu = [r.wall_s for r in runs], [r.cpu_s for r in runs]
    return {
        "sites x generators x steps": "x".join(map(str, size)),
        "voltage limits": "bind" if tight else "loose",
        "import price": slope,
        "closed": f"{sum(r.gap <= gap for r in runs)}/{len(runs)}",
        "worst gap": f"{max(r.gap for r in runs):.1e}",
        "median s": round(float(np.median(wall)), 2),
        "worst s": round(max(wall), 2),
        "median cpu s": round(float(np.median(cpu)), 2),
        "worst cpu s": round(max(cpu), 2),
    }


def _size(text: str) -> tuple[int, int, int]:
    sites, generators, steps = (int(part) for part in text.split("x"))
    return sites, generators, steps


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=_size, nargs="+", default=[(10, 12, 24)], metavar="SxGxT")
    parser.add_argument("--seeds", type=int, default=20, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--gap", type=float, default=1e-3)
    parser.add_argument("--time-limit", type=float, default=60.0, metavar="S", help="of each solve, in processor time")
    parser.add_argument("--loose", action="store_true", help="only voltage limits that do not bind")
    parser.add_argument("--tight", action="store_true", help="only voltage limits that bind")
    options = parser.parse_args()
    table = []
    for size in options.sizes:
        for tight in (True, False):
            if (options.loose and tight) or (options.tight and not tight):
                continue
            seeds = range(options.first, options.first + options.seeds)
            with processor_clock():
                runs = measure(size, seeds, tight=tight, gap=options.gap, limit_s=options.time_limit)
            for name, sloped in (("flat", False), ("sloped", True)):
                part = [r for r in runs if bool(r.slope) == sloped]
                if part:
                    table.append(row(size, tight, name, part, options.gap))
    print_table(f"Random days to a gap of {options.gap:g}, at most {options.time_limit:g} s each", table)


if __name__ == "__main__":
    _main()
