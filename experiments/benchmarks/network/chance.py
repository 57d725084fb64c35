"""Limits by chance out of sample: how often they break in OpenDSS, against the level that they are kept to.

    python -m cosim.experiments.benchmarks.network.chance --samples 2000 --jobs 2

The stressed feeder with uncertain load and sun, planned by the welfare optimum on the tangent of AC power flow, with
limits kept at 90, 95 and 99 %, one by one and together. Told of the worst limit and step (one by one) or the worst step
(together): frequency, 95 % interval, verdict; and in how many steps a tightened limit binds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cosim.experiments.studies.chance import BASE, ERRORS
from cosim.simulation.runner import run
from cosim.sweep.evaluation.evaluate import evaluate, verdict

LEVELS = (0.9, 0.95, 0.99)
JOINT = ("individual", "bonferroni", "scenario")


def measure(
    probability: float, joint: str, samples: int, jobs: int, overrides: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A row of the table: a run at one level, solved out of sample."""
    chance = {"probability": probability, "joint": joint, **ERRORS}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        made = run("ieee37_stress", overrides={**BASE, **(overrides or {}), "network.chance": chance}, out=folder,
                   figures=False)  # fmt: skip
        began = time.perf_counter()
        found = evaluate(folder, samples, jobs=jobs)
        wall_s = time.perf_counter() - began
        binding = made.limits[(made.limits["margin"] > 0) & (made.limits["source"] == "linear")]["step"].nunique()
    of = "worst" if joint == "individual" else "any"
    return {
        "probability": probability, "joint": joint, "frequency": found.kpis[f"{of}_frequency"],
        "low": found.kpis[f"{of}_low"], "high": found.kpis[f"{of}_high"], "binding": binding,
        "steps": len(found.steps), "verdict": verdict(found.record), "wall_s": wall_s,
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a row per level and way of keeping limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--joint", nargs="+", default=list(JOINT), choices=JOINT)
    asked = parser.parse_args(arguments)
    print("kept      together    binds in  broken (95 % interval)       level   verdict                    s")
    for joint in asked.joint:
        for probability in LEVELS:
            r = measure(probability, joint, asked.samples, asked.jobs)
            told = f"{100 * r['frequency']:.2f} % ({100 * r['low']:.2f} to {100 * r['high']:.2f})"
            print(f"{100 * probability:g} %".ljust(10) + joint.ljust(12) + f"{r['binding']}/{r['steps']}".ljust(10)
                  + told.ljust(29) + f"{100 * (1 - probability):g} %".ljust(8) + r["verdict"].ljust(38)
                  + f"{r['wall_s']:.1f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
