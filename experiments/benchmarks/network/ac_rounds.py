"""Windows linearised anew at what was agreed on: are limits kept, is the cost right, does it settle, are prices right?

    python -m cosim.experiments.benchmarks.network.ac_rounds --feeders ieee13 ieee37 --seeds 10 --rounds 0 1 3 10 20
    python -m cosim.experiments.benchmarks.network.ac_rounds --feeders ieee37 --seeds 5 --rounds 10 --prices 4
    python -m cosim.experiments.benchmarks.network.ac_rounds --feeders ieee37 --rounds 10 --prices 8 --v-min 0.975

Each seed places data centers, generators and a static var generator at random buses and draws the lower voltage limit
(or takes that of ``--v-min``). For every number of rounds the run is judged by its AC check alone: voltages beyond
their limits, the worst of them, the largest difference between linear and AC voltage, and the social cost with the AC
import. With ``--prices`` the price of active power at random places of each run is compared with the slope of the
AC-feasible cost there: a little more and a little less demand, dispatched anew by :mod:`scipy` with OpenDSS in the
loop, which knows nothing of tangents and duals.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

import cosim
from cosim.experiments.benchmarks.network.ac_slopes import LEAST_PART, price_rows, summary
from cosim.experiments.studies.common import print_table
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.tables import read_feeder
from cosim.simulation.runner import RunResult

HELD_PU = 1e-4
STEPS = 6


def overrides(
    feeder: Feeder, name: str | Path, seed: int, rounds: int, model: str = "ac-linear", size: float = 1.0
) -> dict[str, object]:
    """A day of six steps with random units on a feeder, its lower limit one of three; ``size``: factor on the units."""
    rng = np.random.default_rng(seed)
    full = [b.name for b in feeder.buses if b.phases == "abc" and b.name != feeder.source_bus]
    places = rng.choice(full, size=5, replace=False).tolist()
    base_kw = sum(load.p_kw for load in feeder.loads)
    size_kw = float(size * rng.uniform(0.15, 0.3) * base_kw)
    hours = np.arange(STEPS)
    return {
        "network.feeder": str(name), "network.model": model, "network.ac_rounds": rounds,
        "network.v_min_pu": float(rng.choice([0.93, 0.94, 0.95])), "network.v_max_pu": 1.1,
        "network.load_scale": {"values": (0.6 + 0.25 * np.sin(hours + rng.uniform(0, 6))).tolist()},
        "network.unbalance": {}, "network.branch_rating_kva": {},
        "market.price_usd_per_mwh": {"values": (60 + 30 * np.cos(hours + rng.uniform(0, 6))).tolist()},
        "clock.steps": STEPS, "clock.window_steps": STEPS, "clock.step_s": 3600,
        "remove": ["datacenters", "generators", "workload.classes"],
        "datacenters": [
            {"name": f"dc{k}", "bus": bus, "connection": "per_phase", "it_idle_kw": 0.02 * size_kw,
             "it_peak_kw": size_kw, "pue": 1.3, "power_factor": 0.95}
            for k, bus in enumerate(places[:2])
        ],
        "generators": [
            {"name": f"dg{k}", "bus": bus, "p_max_kw": 0.3 * size_kw, "s_kva": 0.4 * size_kw,
             "cost_usd_per_mwh": float(rng.uniform(40, 80)), "cost_usd_per_mw2h": 20.0}
            for k, bus in enumerate(places[2:4])
        ],
        "svgs": [{"name": "svg", "bus": places[4], "kvar": 0.4 * size_kw, "mode": "per_leg"}],
        "workload.site_weight": {}, "workload.utilisation": {"constant": 0.35},
        "workload.classes": [
            {"name": "interactive", "share": 0.0}, {"name": "movable", "share": 0.0},
            {"name": "batch", "share": 1.0, "movable": True, "max_delay_steps": 4, "delay_cost_usd_per_mwh_h": 0.01},
        ],
    }  # fmt: skip


def judged(run: RunResult) -> dict[str, object]:
    """What the AC check says of a run."""
    steps, v = run.steps, run.voltages
    low, high = run.record.limits.v_min_pu, run.record.limits.v_max_pu  # type: ignore[union-attr]
    ac = v["v_ac_pu"].to_numpy(dtype=float)
    beyond = np.maximum(np.maximum(low - ac, ac - high), 0.0)
    hourly = steps["price_sub_usd_per_mwh"] * (steps["p_sub_ac_kw"] - steps["p_sub_kw"]) / 1000.0
    unsettled = [note for note in run.notes if "not settled" in note or "no solution" in note]
    return {
        "violations": int((beyond > HELD_PU).sum()), "worst_pu": float(beyond.max()),
        "apart_pu": float((v["v_pu"] - v["v_ac_pu"]).abs().max()),
        "cost_usd": float(steps["social_cost_usd"].sum() + hourly.sum()), "said": "; ".join(unsettled)[-60:],
    }  # fmt: skip


def study(
    feeders: Sequence[str | Path], seeds: Sequence[int], rounds: Sequence[int], mode: str, prices: int, model: str,
    v_min_pu: float | None = None, size: float = 1.0,
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """One row for each feeder, seed and number of rounds; and one for each price that was checked, in the last.

    With a lower limit of their own (pu) prices are checked where a voltage limit has a part in them, if there are such.
    """
    rows: list[dict[str, object]] = []
    checked: list[dict[str, object]] = []
    for name in feeders:
        feeder = read_feeder(name)
        for seed in seeds:
            for count in rounds:
                changes = overrides(feeder, name, seed, count, model, size)
                changes |= {} if v_min_pu is None else {"network.v_min_pu": v_min_pu}
                try:
                    run = cosim.run("ieee37", mode=mode, overrides=changes)
                except cosim.errors.RunFailure as failure:
                    rows.append({"feeder": feeder.name, "seed": seed, "rounds": count, "said": str(failure)[:80]})
                    continue
                rows.append({"feeder": feeder.name, "seed": seed, "rounds": count, **judged(run)})
                print(rows[-1], flush=True)
            if prices:
                found = price_rows(changes, mode, prices, np.random.default_rng(seed), bound=v_min_pu is not None)
                checked += [{"feeder": feeder.name, "seed": seed, **row} for row in found]
                print(*checked[-len(found) :], sep="\n", flush=True)
    return rows, checked


def worse_than_before(rows: Sequence[dict[str, object]]) -> pd.DataFrame:
    """Rows that break more limits than the same case with fewer rounds, by count or by the worst voltage."""
    table = pd.DataFrame(list(rows)).reindex(columns=["feeder", "seed", "rounds", "violations", "worst_pu"])
    ordered = table.dropna(subset="violations").sort_values(["feeder", "seed", "rounds"])
    before = ordered.groupby(["feeder", "seed"])[["violations", "worst_pu"]].shift()
    more = ordered["violations"] > before["violations"]
    return ordered[more | (ordered["worst_pu"] > before["worst_pu"] + 0.1 * HELD_PU)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, what got worse, and how far prices are from slopes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--feeders", nargs="*", default=["ieee13", "ieee37", "ieee123"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, nargs="*", default=[0, 1, 3, 10, 20])
    parser.add_argument("--mode", default="welfare")
    parser.add_argument("--model", default="ac-linear")
    parser.add_argument("--v-min", type=float, help="lower limit, pu; prices are then checked where it binds")
    parser.add_argument("--size", type=float, default=1.0, help="factor on the size of the units, as for large feeders")
    parser.add_argument("--prices", type=int, default=0, help="places of each run at which the price is checked")
    options = parser.parse_args(arguments)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    table, checked = study(
        options.feeders, seeds, options.rounds, options.mode, options.prices, options.model, options.v_min,
        options.size,
    )
    print_table(f"{options.mode}, {options.model}", table)
    worse = worse_than_before(table)
    print(f"{len(worse)} of {len(table)} break more limits than with fewer rounds")
    if len(worse):
        print(worse.to_string(index=False))
    if len(checked):
        bound = [row for row in checked if abs(float(str(row["voltage_part"]))) > LEAST_PART]
        kinds = {"all": checked, "a voltage limit has a part in": bound}
        table = [{"where": kind, **summary(rows)} for kind, rows in kinds.items() if rows]
        print_table("prices against slopes of the least AC cost", table)


if __name__ == "__main__":
    main()
