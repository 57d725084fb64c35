"""Hourly limits over a year: how exact, how long, and how much quicker than bisection hour by hour.

    python -m cosim.experiments.benchmarks.hosting.year --dss path/to/ieee8500/Master.dss

Feeders: IEEE 37 with all its three-phase buses, the base case and two contingencies (the regulator at tap 0; a line
out with its buses fed from behind by a tie); IEEE 123 with all its three-phase buses and its controls held hour by
hour; and with ``--dss`` 20 three-phase buses of a circuit. 8,760 hours of load and sun. Every branch of the first two
is rated, at random between 1.2 and 4 times its own flow at peak load, so that voltages and ratings both bind.

Exactness: bus-hours drawn at random, each by bisection in OpenDSS. Brute force: the same bisections, whose time is that
of one bus-hour; for a year it is multiplied by the number of bus-hours. Both are compared in processor time, so that
whatever else the machine does is left out. A study runs in a process of its own, with ``--jobs`` more for its parts.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cosim.experiments.benchmarks.hosting.bisection import Bisection
from cosim.experiments.studies.common import print_table
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.limits import NetworkLimits, VoltageLimits
from cosim.grid.feeder.tables import read_feeder
from cosim.grid.linear.branch_flows import ac_flows
from cosim.grid.opendss.circuit import AcCircuit
from cosim.grid.opendss.whole.reader import read_dss
from cosim.hosting import (
    Case,
    Connection,
    HourlyLimits,
    Injection,
    Surroundings,
    Tie,
    connection_at,
    hourly_limits,
    surroundings_at,
)
from cosim.hosting.case_limits import standing
from cosim.hosting.cells import allowed_kw

YEAR = Path(__file__).parents[3] / "data" / "profiles" / "synthetic_year.csv"
LARGEST_KW = 10_000.0
PV = {"ieee37": (("711", 600.0), ("706", 400.0)), "ieee123": (("67", 500.0),)}
CONTINGENCIES = {
    "ieee37": (
        Case("base"), Case("regulator at tap 0", taps={"reg1": 0}),
        Case("703-730 out, fed from 725", lines_out=("703-730",), ties=(Tie("725", "731", "723", 600.0),)),
    ),
    "ieee123": (Case("base"),),
}  # fmt: skip
BUSES_OF_CIRCUIT = 20


def study(name: str, every: int = 1) -> tuple[Surroundings, list[Connection], tuple[Case, ...]]:
    """Surroundings, connections and cases of a study: a shipped feeder by name, or an OpenDSS script.

    Args:
        every: of how many hours one is taken.
    """
    year = pd.read_csv(YEAR)[::every]
    load, sun = (year[key].to_numpy(dtype=float) for key in ("load_scale", "pv_per_unit"))
    if name in PV:
        feeder = read_feeder(name, Path("."))
        found = [Injection(t, -kw * sun, 0.0 * sun) for bus, kw in PV[name]
                 for t in connection_at(feeder, bus).terminals]  # fmt: skip
        around = Surroundings(feeder, _limits(feeder), load, tuple(found))
        buses = [b.name for b in feeder.buses if len(b.phases) == 3 and b.name != feeder.source_bus]
        return around, [connection_at(feeder, bus) for bus in buses], CONTINGENCIES[name]
    circuit = read_dss(name)
    # its taps stand as they are at full load: from three quarters of it upwards
    around = surroundings_at(circuit, NetworkLimits(VoltageLimits(0.92, 1.08)), 0.75 + 0.3 * load)
    primary = [b.name for b in circuit.buses if len(b.phases) == 3 and b.name != circuit.source_bus]
    picked = primary[:: max(len(primary) // BUSES_OF_CIRCUIT, 1)][:BUSES_OF_CIRCUIT]
    return around, [connection_at(circuit, bus) for bus in picked], (Case("base"),)


def _limits(feeder: Feeder) -> NetworkLimits:
    """Voltages from 0.95 to 1.05 pu, and a random rating of every branch by its flow at peak load."""
    circuit = AcCircuit(feeder)
    circuit.solve(1.0)
    flows = ac_flows(circuit)
    most: dict[str, float] = {}
    for (branch, _), kva in zip(flows.labels, np.hypot(flows.p_kw, flows.q_kvar).tolist(), strict=True):
        most[branch] = max(most.get(branch, 250.0), kva)
    random = np.random.default_rng(37)
    return NetworkLimits(VoltageLimits(0.95, 1.05), {b: kva * random.uniform(1.2, 4.0) for b, kva in most.items()})


def measure(name: str, jobs: int, draws: int, seed: int, every: int = 1) -> dict[str, Any]:
    """One study in this process: time, memory, differences from bisection, and what bisection takes."""
    around, connections, cases = study(name, every)
    began, busy = time.perf_counter(), _processor_s()
    limits = hourly_limits(around, connections, cases, largest_kw=LARGEST_KW, jobs=jobs)
    seconds, busy = time.perf_counter() - began, _processor_s() - busy
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    memory += jobs * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss if jobs > 1 else 0
    compared = _compare(around, limits, cases, draws, seed)
    brute_s = compared.pop("bisection s") * limits.p_kw.size
    return {
        "study": Path(name).stem, "buses": len(connections), "cases": len(cases), "hours": around.steps,
        "s": seconds, "processor s": busy, "GB at most": memory / 1024**2, "AC searches": limits.counts["searches"],
        "bus-hours": limits.p_kw.size, **compared, "brute force h (extrapolated)": brute_s / 3600,
        "times quicker": brute_s / busy,
    }  # fmt: skip


def _processor_s() -> float:
    """Processor time of this process and of those that it has waited for."""
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, (resource.RUSAGE_SELF,
               resource.RUSAGE_CHILDREN)))  # fmt: skip


def _compare(
    around: Surroundings, limits: HourlyLimits, cases: Sequence[Case], draws: int, seed: int
) -> dict[str, Any]:
    """Differences from bisection in OpenDSS at random bus-hours, and seconds of one bisection."""
    random = np.random.default_rng(seed)
    stands = [standing(around, case) for case in cases]
    known: dict[tuple[int, int], Bisection] = {}
    shares, kws, percents, kinds, seconds = [], [], [0.0], [], 0.0
    for _ in range(draws):
        k, c, t = (int(random.integers(n)) for n in limits.p_kw.shape)
        feeder = int(stands[k].of_step[t])
        if (k, feeder) not in known:
            ties = dict(stands[k].switched.tie_kva)
            rated = NetworkLimits(around.limits.voltage, {**around.limits.phase_kva, **ties})
            known[k, feeder] = Bisection(stands[k].feeders[feeder], rated)
            known[k, feeder].largest_kw(around, t, limits.connections[c], 1.0)  # the circuit is built before the clock
        began = time.process_time()
        kw = known[k, feeder].largest_kw(around, t, limits.connections[c], LARGEST_KW)
        seconds += time.process_time() - began
        found = float(limits.p_kw[k, c, t])
        if np.isnan(kw) or np.isnan(found):
            assert np.isnan(kw) and np.isnan(found)
            continue
        apart = abs(found - kw)
        shares.append(apart / float(allowed_kw(np.array(kw))))
        kws.append(apart)
        if kw >= 1000:
            percents.append(100 * apart / kw)
        number = int(limits.binding[k, c, t])
        kinds.append("none" if number < 0 else limits.elements[number].kind)
    counts = pd.Series(kinds).value_counts()
    return {
        "compared": len(kws), "binding": ", ".join(f"{kind} {n}" for kind, n in counts.items()),
        "worst kW": max(kws), "worst % where above 1 MW": max(percents),
        "worst of 0.5 % or 5 kW": max(shares), "bisection s": seconds / draws,
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dss", nargs="*", default=[], help="OpenDSS scripts beside the shipped feeders")
    parser.add_argument("--only", nargs="*", help="studies, by feeder; all by default")
    parser.add_argument("--draws", type=int, default=200, help="bus-hours of each study that are compared")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        print(json.dumps(measure(options.one, options.jobs, options.draws, options.seed)))
        return
    names = [name for name in (*PV, *options.dss) if not options.only or Path(name).stem in options.only]
    for name in names:
        command = [sys.executable, "-m", "cosim.experiments.benchmarks.hosting.year", "--one", name]
        command += [f"--{key}={getattr(options, key)}" for key in ("jobs", "draws", "seed")]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ})
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        rows = [{"what": k, "value": round(v, 4) if isinstance(v, float) else v} for k, v in found.items()]
        print_table(found["study"], rows)


if __name__ == "__main__":
    main()
