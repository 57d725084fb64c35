"""Limits by chance out of sample: how often they break in OpenDSS, against the level that they are kept to.

    python -m cosim.experiments.benchmarks.network.chance --samples 2000 --jobs 2

The stressed feeder with uncertain load and sun, planned by the welfare optimum on the tangent of AC power flow, with
limits kept at 90, 95 and 99 %, one by one and together. Told of the worst limit and step (one by one) or the worst step
(together): frequency, 95 % interval, verdict; and the same of all steps in which a tightened limit binds, whose errors
are independent here, which the choice of the worst does not bias.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cosim.experiments.studies.uncertainty.chance import BASE, ERRORS
from cosim.simulation.runner import run
from cosim.sweep.evaluation.evaluate import evaluate, interval
from cosim.sweep.evaluation.result import verdict

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
        rows = made.limits[(made.limits["margin"] > 0) & (made.limits["source"] == "linear")]
        binding = sorted(set(rows["step"].tolist()))
    of = "worst" if joint == "individual" else "any"
    broken = round(float((found.steps[of] * found.steps["samples"])[binding].sum()))
    whole = int(found.steps["samples"][binding].sum())
    low, high = interval(broken, whole)
    return {
        "all": broken / max(whole, 1), "all_low": float(low), "all_high": float(high),
        "probability": probability, "joint": joint, "frequency": found.kpis[f"{of}_frequency"],
        "low": found.kpis[f"{of}_low"], "high": found.kpis[f"{of}_high"], "binding": len(binding),
        "steps": len(found.steps), "verdict": verdict(found.record), "wall_s": wall_s,
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a row per level and way of keeping limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--joint", nargs="+", default=list(JOINT), choices=JOINT)
    asked = parser.parse_args(arguments)
    print("kept      together    binds in  broken in the worst step     in all that bind         level   verdict, s")
    for joint in asked.joint:
        for probability in LEVELS:
            r = measure(probability, joint, asked.samples, asked.jobs)
            told, whole = (
                f"{100 * r[name]:.2f} % ({100 * r[low]:.2f} to {100 * r[high]:.2f})"
                for name, low, high in (("frequency", "low", "high"), ("all", "all_low", "all_high"))
            )
            kept = f"{100 * probability:g} %".ljust(10) + joint.ljust(12) + f"{r['binding']}/{r['steps']}".ljust(10)
            level = f"{100 * (1 - probability):g} %".ljust(8)
            print(f"{kept}{told:<29}{whole:<25}{level}{r['verdict']}, {r['wall_s']:.0f}", flush=True)


if __name__ == "__main__":
    main()
