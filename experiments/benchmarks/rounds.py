"""Benchmark: rounds until a negotiation agrees, over random loadings of a scenario.

    python -m cosim.experiments.benchmarks.rounds --loadings 50

Each loading scales every hour's base load and arriving work by numbers of its own, drawn around a level that is drawn
as well. With ``--load 1.1`` a tenth of load comes on top, so that many a price climbs far or to the cap; with
``--rolling 6`` every hour negotiates six hours, from what the last one left. Rounds (of each window) and gaps follow
from the seed alone; the time of a round is this machine's. Rolling windows have no optimum of the whole horizon to
compare with.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np

import cosim
from cosim.experiments.studies.common import print_table
from cosim.scenario.loading import load_scenario
from cosim.scenario.preparation import prepare

RULES = ("admm", "bundle", "best_response")
LEVEL, HOURLY = 0.05, 0.10


def loading(scenario: str, seed: int, steps: int | None = None) -> dict[str, Any]:
    """Overrides that make one random loading: load and work each times a level times a number for each hour."""
    prepared = prepare(*load_scenario(scenario, {} if steps is None else {"clock.steps": steps}))
    rng = np.random.default_rng(seed)

    def factors(count: int) -> Any:
        return rng.uniform(1 - LEVEL, 1 + LEVEL) * rng.uniform(1 - HOURLY, 1 + HOURLY, count)

    load = prepared.load_scale * factors(len(prepared.load_scale))
    work = np.clip(prepared.utilisation * factors(len(prepared.utilisation)), 0.0, 1.0)
    changes: dict[str, Any] = {
        "network.load_scale": {"values": load.tolist()},
        "workload.utilisation": {"values": work.tolist()},
    }
    return changes if steps is None else changes | {"clock.steps": steps}


def negotiate(
    seed: int,
    scenario: str,
    rules: Sequence[str],
    tolerance: float,
    steps: int | None,
    load: float = 1.0,
    rolling: int | None = None,
) -> list[dict[str, Any]]:
    """One loading, its base load times a factor, negotiated by each rule; in rolling windows if given."""
    rows, drawn = [], loading(scenario, seed, steps)
    drawn["network.load_scale"]["values"] = [load * value for value in drawn["network.load_scale"]["values"]]
    if rolling is not None:
        drawn |= {"clock.market": "rolling", "clock.window_steps": rolling}
    for rule in rules:
        changes = {**drawn, "decentralized.rule": rule, "decentralized.tolerance": tolerance}
        result = cosim.run(scenario, mode="decentralized", overrides=changes)
        named = [note for note in result.notes if "period" in note]
        rows.append(
            {
                "loading": seed,
                "rule": rule,
                "rounds": result.rounds.groupby("step").size().tolist(),
                "agreed": bool(result.steps["converged"].all()),
                "cycle": named[0].rsplit("period of ", 1)[1].split()[0] if named else "",
                "welfare gap": result.kpis["welfare_gap"],
                "ms a round": 1e3 * (result.kpis["solver_s"] or 0.0) / max(1, len(result.rounds)),
            }
        )
    return rows


def measure(
    scenario: str,
    loadings: int,
    rules: Sequence[str],
    tolerance: float,
    steps: int | None = None,
    workers: int = 2,
    first: int = 0,
    load: float = 1.0,
    rolling: int | None = None,
) -> list[dict[str, Any]]:
    """All loadings, from the seed ``first`` on, by all rules, one row each."""
    seeds = range(first, first + loadings)
    one = partial(negotiate, scenario=scenario, rules=rules, tolerance=tolerance, steps=steps)
    one = partial(one, load=load, rolling=rolling)
    if workers == 1:
        return [row for seed in seeds for row in one(seed)]
    with ProcessPoolExecutor(workers) as pool:
        return [row for rows in pool.map(one, seeds) for row in rows]


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, object]]:
    """One row per rule: rounds (least, median, most), how many agreed, the largest gap of those, cycles."""
    lines: list[dict[str, object]] = []
    for rule in dict.fromkeys(row["rule"] for row in rows):
        mine = [row for row in rows if row["rule"] == rule]
        agreed = [row for row in mine if row["agreed"]]
        gaps = [row["welfare gap"] for row in agreed if row["welfare gap"] is not None]
        rounds = np.concatenate([row["rounds"] for row in mine])
        lines.append(
            {
                "rule": rule,
                "loadings": len(mine),
                "agreed": len(agreed),
                "windows": len(rounds),
                "rounds, least": rounds.min(),
                "median": float(np.median(rounds)),
                "most": rounds.max(),
                "largest welfare gap if agreed": f"{max(gaps):.1e}" if gaps else "–",
                "cycles named": sum(bool(row["cycle"]) for row in mine),
                "periods": ", ".join(sorted({row["cycle"] for row in mine if row["cycle"]})) or "–",
                "median ms a round": round(float(np.median([row["ms a round"] for row in mine])), 1),
            }
        )
    return lines


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", default="ieee37_stress")
    parser.add_argument("--loadings", type=int, default=50)
    parser.add_argument("--first", type=int, default=0, help="seed of the first loading")
    parser.add_argument("--rules", nargs="+", default=list(RULES))
    parser.add_argument("--tolerance", type=float, default=1e-5, help="both regrets together, of the operator's cost")
    parser.add_argument("--steps", type=int, help="hours (all of the scenario's if absent)")
    parser.add_argument("--load", type=float, default=1.0, help="factor of the base load")
    parser.add_argument("--rolling", type=int, help="steps of a rolling window (one window for all steps if absent)")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    rows = measure(
        options.scenario,
        options.loadings,
        options.rules,
        options.tolerance,
        options.steps,
        options.workers,
        options.first,
        options.load,
        options.rolling,
    )
    print_table(f"{options.scenario}: rounds to agree, tolerance {options.tolerance:g}", summary(rows))


if __name__ == "__main__":
    _main()
