"""What avoiding risk costs: expected payment against its CVaR for an aggregator at the prices of scenarios.

    python -m cosim.experiments.benchmarks.stochastic.risk [SCENARIOS] [--alpha 0.9] [--figure frontier.png]

The prices are those of scenarios of the day `ieee37_stress` at the planner's demand; the schedule is solved for weights
beta of the CVaR from 0 to 1. Along the efficient frontier the expected cost rises and the CVaR falls.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from cosim.agents.dca.answers import RiskAverse, cvar
from cosim.coordination.welfare import optimum
from cosim.experiments.benchmarks.stochastic.cases import opened, operator_of
from cosim.experiments.studies.common import print_table

BETAS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)


def frontier(scenarios: int, alpha: float) -> list[dict[str, float]]:
    """Expected cost and CVaR of the aggregator's cost (USD) by the weight of the CVaR."""
    case = opened("ieee37_stress", scenarios)
    market, operator = case.market, operator_of(case)
    (agent,) = market.aggregators
    best = optimum(market)
    window = operator.clearing
    weights = np.array(operator.futures_weights)
    p, q = window.scenario_slopes(window.solve(best.p_mw))
    price = (p + q * operator.reactive_ratio) / weights[:, None, None]
    names = operator.parameter_names()
    problem = agent.problem([row[agent.columns] for row in names])
    place = {name: i for i, name in enumerate(problem.variables)}
    columns = np.array([[place[n] for n in row] for row in names])
    rows = []
    for beta in BETAS:
        averse = RiskAverse(problem, columns, price, weights, beta, alpha)
        x = averse.minimum().x[: len(problem.variables)]
        cost = problem.objective(x) + averse.payment_usd(x[columns])
        rows.append({"beta": beta, "expected USD": float(weights @ cost), "CVaR USD": cvar(cost, weights, alpha)})
    return rows


def main() -> None:
    """Print the frontier."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", type=int, nargs="?", default=50)
    parser.add_argument("--alpha", type=float, default=0.9)
    parser.add_argument("--figure", type=Path)
    asked = parser.parse_args()
    rows = frontier(asked.scenarios, asked.alpha)
    print_table("Efficient frontier", [{k: f"{v:.6g}" for k, v in row.items()} for row in rows])
    mean, worst = (np.array([row[key] for row in rows]) for key in ("expected USD", "CVaR USD"))
    ordered = bool((np.diff(mean) >= -1e-6 * mean[0]).all() and (np.diff(worst) <= 1e-6 * worst[0]).all())
    print(f"expected cost rises and CVaR falls with beta: {ordered}; from 0 to 1 the mean rises by "
          f"{mean[-1] - mean[0]:.3g} USD and the CVaR falls by {worst[0] - worst[-1]:.3g} USD")  # fmt: skip
    if asked.figure is not None:
        from matplotlib.figure import Figure

        drawn = Figure(figsize=(4.6, 3.4), layout="constrained")
        axes = drawn.subplots()
        axes.plot(worst, mean, marker="o")
        axes.set(xlabel=f"CVaR {asked.alpha:g} of the cost, USD", ylabel="expected cost, USD",
                 title="Efficient frontier of the aggregator")  # fmt: skip
        drawn.savefig(asked.figure, dpi=150)


if __name__ == "__main__":
    main()
