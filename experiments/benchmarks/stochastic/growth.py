"""Growth of time with the number of scenarios: a day of IEEE 37, agreed on by negotiation and by the planner.

    python -m cosim.experiments.benchmarks.stochastic.growth [--scenarios 5 10 20 50 100] [--figure growth.png]

``open``: scenarios, linearisation and clearing of all of them; ``plan``: the planner's optimum of that window; ``run``:
a whole run with rounds of ADMM to 1e-4 of the operator's cost, and delivery. Seconds are of the processor, so that
others on the machine do not count; the exponent is of a line through their logarithms.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cosim.coordination.welfare import optimum
from cosim.experiments.benchmarks.stochastic.cases import opened, uncertain
from cosim.experiments.studies.common import print_table

TARGET_S = 60.0


def measure(scenarios: int, tangents: str, scenario: str = "ieee37") -> dict[str, float]:
    """Seconds of a day over so many scenarios, and what the negotiation costs above the optimum."""
    changes = {"market.stochastic.tangents": tangents}
    started = time.process_time()
    case = opened(scenario, scenarios, changes=changes)
    opened_s = time.process_time() - started
    best = optimum(case.market)
    planned_s = time.process_time() - started - opened_s
    run = uncertain(scenario, scenarios, changes={**changes, "mode": "decentralized", "decentralized.tolerance": 1e-4})
    started, wall = time.process_time(), time.perf_counter()
    books = run.run()
    whole_s, wall_s = time.process_time() - started, time.perf_counter() - wall
    (outcome,) = books.outcomes
    cost = outcome.clearing.cost_usd + outcome.own_cost_usd
    return {
        "scenarios": scenarios, "open s": opened_s, "plan s": planned_s, "run s": whole_s, "run wall s": wall_s,
        "rounds": len(outcome.rounds), "agreed": float(outcome.converged),
        "above optimum": cost / best.social_cost_usd - 1,
    }  # fmt: skip


def exponent(rows: Sequence[dict[str, float]], what: Sequence[str]) -> float:
    """Power of the number of scenarios with which the sum of some times grows."""
    seconds = [sum(row[key] for key in what) for row in rows]
    return float(np.polyfit(np.log([row["scenarios"] for row in rows]), np.log(seconds), 1)[0])


def figure(rows: Sequence[dict[str, float]], path: Path) -> None:
    """Draw times against the number of scenarios."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(5.2, 3.6), layout="constrained")
    axes = drawn.subplots()
    for key in ("open s", "plan s", "run s"):
        axes.loglog([r["scenarios"] for r in rows], [r[key] for r in rows], marker="o", label=key.removesuffix(" s"))
    first, last = rows[0], rows[-1]
    line = [first["open s"], first["open s"] * last["scenarios"] / first["scenarios"]]
    axes.loglog([first["scenarios"], last["scenarios"]], line, color="0.6", linestyle="--", label="linear")
    axes.set(xlabel="scenarios", ylabel="seconds of the processor", title="A day of IEEE 37")
    axes.legend(frameon=False)
    drawn.savefig(path, dpi=150)


def main() -> None:
    """Print the table and the exponents."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenarios", type=int, nargs="+", default=[5, 10, 20, 50, 100])
    parser.add_argument("--tangents", choices=["scenario", "step"], default="scenario")
    parser.add_argument("--figure", type=Path)
    asked = parser.parse_args()
    rows = [measure(count, asked.tangents) for count in asked.scenarios]
    print_table("A day of ieee37 over scenarios", [{k: f"{v:.4g}" for k, v in row.items()} for row in rows])
    last = rows[-1]
    print(f"{last['scenarios']:.0f} scenarios, decentralized to 1e-4, delivery included: {last['run wall s']:.1f} s, "
          f"{last['run s']:.1f} s of the processor (target {TARGET_S:.0f} s)")  # fmt: skip
    if len(rows) > 1:
        grown = exponent(rows, ("open s", "plan s"))
        print(f"time to agree grows as scenarios to the power {grown:.2f} (linear: 1)")
    if asked.figure is not None:
        figure(rows, asked.figure)


if __name__ == "__main__":
    main()
