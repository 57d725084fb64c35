"""The leader's optimum of a day with ten data centers on feeders of every size.

    python -m cosim.experiments.benchmarks.leader.feeders ieee37 ieee123 path/to/Master.dss

The day of scenario `ieee37` with ten data centers and five generators on three-phase buses spread over the feeder,
together a fifth of its load. ``prepare``: linearise and open the window; ``solve``: the bilevel problem itself,
presolve and certificate included. Times are of one processor.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cosim.coordination.leaders import stackelberg_problem
from cosim.coordination.welfare import optimum
from cosim.experiments.benchmarks.leader.methods import opened
from cosim.experiments.studies.common import print_table
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.tables import read_feeder, write_feeder
from cosim.grid.opendss.importer.importer import import_feeder
from cosim.optimization.bilevel.solver import solve
from cosim.optimization.qp.presolve import presolve

SITES, UNITS, SHARE = 10, 5, 0.2
MEDIUM_KV = (1.0, 50.0)


def day_on(feeder: Feeder, folder: str | Path, load: float = 1.0) -> dict[str, Any]:
    """Overrides of scenario `ieee37` that put its day on another feeder, whose tables lie in a folder.

    `load` scales the feeder's load and with it all else.
    """
    low, high = MEDIUM_KV
    buses = [b.name for b in feeder.buses if len(b.phases) == 3 and low < b.kv_base < high]
    buses = [name for name in buses if name != feeder.source_bus]
    sites = buses[len(buses) // (2 * SITES) :: max(1, len(buses) // SITES)][:SITES]
    units = buses[len(buses) // (3 * UNITS) :: max(1, len(buses) // UNITS)][:UNITS]
    peak = load * SHARE * feeder.load_kw / SITES
    return {
        "network.feeder": str(folder),
        "network.load_scale.scale": load,
        "remove": ["datacenters", "generators"],
        "datacenters": [
            {"name": f"dc{k}", "bus": bus, "it_peak_kw": peak, "it_idle_kw": 0.3 * peak, "pue": 1.1 + 0.04 * k}
            for k, bus in enumerate(sites)
        ],
        "generators": [
            {
                "name": f"dg{k}", "bus": bus, "p_max_kw": peak, "s_kva": 1.1 * peak,
                "cost_usd_per_mwh": 30 + 3 * k, "cost_usd_per_mw2h": 20,
            }
            for k, bus in enumerate(units)
        ],
    }  # fmt: skip


def measure(
    name: str, hours: int = 24, gap: float = 1e-3, load: float = 1.0, time_limit_s: float = 300.0
) -> dict[str, object]:
    """One feeder by its name, or by an OpenDSS script; a script that is not there says so."""
    if name.lower().endswith(".dss") and not Path(name).is_file():
        return {"feeder": Path(name).parent.name, "outcome": "skipped: no such script"}
    with tempfile.TemporaryDirectory() as folder:
        where: str | Path = name
        if name.lower().endswith(".dss"):
            feeder = import_feeder(name).feeder
            where = Path(folder) / "feeder"
            write_feeder(feeder, where)
        else:
            feeder = read_feeder(name)
        started = time.process_time()
        market = opened("ieee37", hours, more=day_on(feeder, where, load))
        prepared = time.process_time()
        problem, start = stackelberg_problem(market), optimum(market).p_mw.ravel()
        left = len(presolve(problem.follower, problem.leader).qp.ineq_rows)
        before = time.process_time()
        found = solve(problem, gap=gap, time_limit_s=time_limit_s, start=start)
        return {
            "feeder": feeder.name, "buses": len(feeder.buses), "hours": hours, "rows left": left,
            "prepare s": round(prepared - started, 2), "solve s": round(time.process_time() - before, 2),
            "objective USD": round(found.leader_cost, 2), "gap": f"{found.gap:.1e}", "outcome": found.status,
        }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("feeders", nargs="*", default=["ieee37", "ieee123"])
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--gap", type=float, default=1e-3)
    parser.add_argument("--load", type=float, default=1.0, help="scale of the feeder's load")
    options = parser.parse_args(arguments)
    rows = [measure(name, options.hours, options.gap, options.load) for name in options.feeders]
    print_table(f"the leader's optimum with {SITES} data centers, gap {options.gap:g}", rows)


if __name__ == "__main__":
    main()
