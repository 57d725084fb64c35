"""A stochastic day-ahead clearing on a large feeder: expected prices at every node, and the resources it takes.

    python -m cosim.experiments.benchmarks.stochastic.large path/to/Master.dss [SCENARIOS] [--load 0.5]

The day of scenario `ieee37` with ten data centers, five generators and two photovoltaic plants on three-phase buses,
price, load and sun uncertain; the planner's optimum over all scenarios, on one linearisation of each step. The gap is
that of the planner's cost to a bound from its own duals. The figure to beat: published stochastic DLMPs reach 69 nodes.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from cosim.coordination.welfare import optimum
from cosim.experiments.benchmarks.leader.feeders import day_on
from cosim.experiments.benchmarks.stochastic.cases import opened, operator_of
from cosim.grid.feeder.tables import read_feeder, write_feeder
from cosim.grid.opendss.importer.importer import import_feeder

PUBLISHED_NODES = 69


def with_sun(day: dict[str, Any]) -> dict[str, Any]:
    """The day with photovoltaic plants of the same size at the first two generators' buses."""
    sun = {"kind": "pv", "profile": {"file": "profiles/pv_clear_sky", "column": "per_unit"}}
    plants = [{k: g[k] for k in ("bus", "p_max_kw", "s_kva")} | sun for g in day["generators"][:2]]
    named = [{"name": f"pv{k}", **plant} for k, plant in enumerate(plants)]
    return {**day, "generators": [*day["generators"], *named]}


def main() -> None:
    """Print times, memory, gap and prices."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("feeder")
    parser.add_argument("scenarios", type=int, nargs="?", default=100)
    parser.add_argument("--load", type=float, default=0.5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        where: str | Path = asked.feeder
        if asked.feeder.lower().endswith(".dss"):
            feeder = import_feeder(asked.feeder).feeder
            where = Path(folder) / "feeder"
            write_feeder(feeder, where)
        else:
            feeder = read_feeder(asked.feeder)
        started = time.perf_counter()
        day = with_sun(day_on(feeder, where, asked.load))
        case = opened("ieee37", asked.scenarios, 24, {**day, "market.stochastic.tangents": "step"})
        opened_s = time.perf_counter() - started
    operator = operator_of(case)
    best = optimum(case.market)
    solved = time.perf_counter()
    solution = operator.clearing.nearest_dual(
        operator.clearing.solve(best.p_mw), best.p_mw, operator.hours * best.price_usd_per_mwh
    )
    parts = [operator.clearing.node_prices(t, solution, operator.hours) for t in range(24)]
    prices = np.array([np.sum([part.total()[0] for part in step], axis=0) for step in parts])
    regret = operator.regret_usd(best.p_mw, best.price_usd_per_mwh)
    priced_s = time.perf_counter() - solved
    whole = time.perf_counter() - started
    memory_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    nodes = prices.shape[1]
    qp = operator.clearing.follower
    print(f"{feeder.name}: {nodes} nodes, {asked.scenarios} scenarios, 24 steps; QP of {len(qp.variables)} variables "
          f"and {len(qp.ineq_rows)} limits")  # fmt: skip
    print(f"open {opened_s:.0f} s, optimum {best.solver_s:.0f} s, prices and regret {priced_s:.0f} s: {whole:.0f} s "
          f"(target 600 s), {memory_gb:.1f} GB (target 8 GB)")  # fmt: skip
    print(f"expected social cost {best.social_cost_usd:.2f} USD, operator's regret at the price {regret:.2e} USD: gap "
          f"{regret / abs(best.social_cost_usd):.1e} (target 1e-3)")  # fmt: skip
    print(f"expected price {prices.min():.2f} to {prices.max():.2f} USD/MWh at {nodes} nodes: "
          f"{nodes / PUBLISHED_NODES:.0f} times the {PUBLISHED_NODES} that are published")  # fmt: skip


if __name__ == "__main__":
    main()
