"""Expected cost and prices against the extensive form in Pyomo, solved by HiGHS, and the times of both.

    python -m cosim.experiments.benchmarks.stochastic.exactness [SCENARIOS [STEPS]]
"""

from __future__ import annotations

import sys
import time

import numpy as np

from cosim.coordination.welfare import optimum
from cosim.experiments.benchmarks.stochastic.cases import opened, operator_of
from cosim.experiments.benchmarks.stochastic.extensive_form import build, scenarios_of, solved


def main(scenarios: int = 5, steps: int = 6) -> None:
    """Print both optima and how they differ."""
    case = opened("ieee37", scenarios, steps)
    market, operator = case.market, operator_of(case)
    names = operator.parameter_names()
    started = time.perf_counter()
    best = optimum(market)
    ours_s = time.perf_counter() - started
    agents = [a.problem([row[a.columns] for row in names]) for a in market.aggregators]
    started = time.perf_counter()
    found = solved(build(operator, scenarios_of(case), agents, names), market.hours)
    theirs_s = time.perf_counter() - started
    price = float(np.abs(best.price_usd_per_mwh / found.price - 1.0).max())
    print(f"{scenarios} scenarios, {steps} steps, ieee37, social cost {best.social_cost_usd:.6f} USD in expectation")
    print(f"cost    relative difference {abs(best.social_cost_usd / found.cost_usd - 1):.1e}   (target 1e-6)")
    print(f"prices  relative difference {price:.1e}   (target 1e-5)")
    print(f"time    {ours_s:.3f} s against {theirs_s:.2f} s in Pyomo and HiGHS: {theirs_s / ours_s:.0f} times")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
