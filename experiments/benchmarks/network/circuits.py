"""Days on OpenDSS circuits as they are: linear network against AC power flow, limits, and time against tables.

    python -m cosim.experiments.benchmarks.network.circuits path/to/Master.dss ... [--tie 151 300] [--tables]

A day of 24 hours in mode ``decentralized`` with two data centers and a photovoltaic plant of a twentieth of the load
each (``--share``), at buses of three phases, the circuit's own controls moving between steps and ``ac_rounds: 5``.
Limits are 0.95 to 1.05 pu, or where the circuit itself leaves that, whatever it has then (at peak load, rounded
outwards to 0.01).
``--tie`` closes a loop by a switch between two buses. ``--tables`` runs the same day on the tables that ``feeder
import`` makes of the script as well, each in a process of its own, one after the other, and prints the ratio of
processor times.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from cosim.grid.feeder.circuit import CircuitFeeder
from cosim.grid.feeder.tables import write_feeder
from cosim.grid.opendss.circuit import AcCircuit
from cosim.grid.opendss.importer.importer import import_feeder
from cosim.grid.opendss.whole.reader import read_dss
from cosim.simulation.runner import run

SHARE, LOW_KV, HIGH_KV = 0.05, 1.0, 40.0
USUAL_PU = (0.95, 1.05)
LOAD = {"file": "profiles/load_residential_commercial", "column": "scale"}


def places(feeder: CircuitFeeder) -> list[str]:
    """Three buses of three phases and medium voltage, a quarter, half and three quarters through the circuit."""
    fit = [b.name for b in feeder.buses if len(b.phases) == 3 and LOW_KV < b.kv_base < HIGH_KV
           and b.name != feeder.source_bus]  # fmt: skip
    return [fit[len(fit) * k // 4] for k in (1, 2, 3)]


def limits(feeder: CircuitFeeder, load: float) -> tuple[float, float]:
    """Limits that the circuit itself keeps at peak load."""
    found = AcCircuit(feeder).solve(load).voltages.values()
    return min(USUAL_PU[0], math.floor(100 * min(found)) / 100), max(USUAL_PU[1], math.ceil(100 * max(found)) / 100)


def scenario(feeder: CircuitFeeder, network: dict[str, str], asked: argparse.Namespace) -> dict[str, Any]:
    """The day."""
    first, second, third = places(feeder)
    kw, steps, load = asked.share * feeder.load_kw, asked.steps, asked.load
    low, high = limits(feeder, load)
    return {
        "schema_version": 1, "name": "day", "mode": "decentralized",
        "clock": {"start": "2024-07-15T00:00:00", "steps": steps, "window_steps": steps},
        "network": {**network, "ac_rounds": 5, "v_min_pu": low, "v_max_pu": high,
                    "load_scale": {**LOAD, "scale": load}},
        "market": {"price_usd_per_mwh": {"file": "prices/caiso_np15_july_2024_mean_day",
                                         "column": "price_usd_per_mwh"}},
        "generators": [{"name": "pv", "bus": second, "kind": "pv", "p_max_kw": kw, "s_kva": 1.1 * kw,
                        "profile": {"file": "profiles/pv_clear_sky", "column": "per_unit"}}],
        "datacenters": [{"name": f"dc{k}", "bus": bus, "it_peak_kw": kw, "it_idle_kw": 0.3 * kw, "pue": 1.2,
                         "power_factor": 0.95} for k, bus in enumerate((first, third))],
        "workload": {"utilisation": {"file": "workloads/google_cluster_mean_day", "column": "utilisation"},
                     "classes": [{"name": "bound", "share": 0.5},
                                 {"name": "free", "share": 0.5, "movable": True, "max_delay_steps": 8,
                                  "delay_cost_usd_per_mwh_h": 0.5, "migration_cost_usd_per_mwh": 4}]},
    }  # fmt: skip


def _measured(file: Path) -> dict[str, Any]:
    """A day from the file to the results: processor seconds, and how it compares with AC power flow."""
    start = time.process_time()
    result = run(file)
    seconds = time.process_time() - start
    v, broken = result.voltages, result.limits.query("source == 'ac' and status == 'broken'")
    return {
        "cpu s": seconds, "apart pu": float((v["v_pu"] - v["v_ac_pu"]).abs().max()),
        "broken": len(broken), "added": int((broken["in_base_case"] != "yes").sum()),
        "moves": int(result.taps["moves"].sum()) if len(result.taps) else 0,
    }  # fmt: skip


def measured(file: Path) -> dict[str, Any]:
    """The same in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measured, file).result()


def tied(script: Path, tie: Sequence[str], folder: Path) -> Path:
    """A copy of a circuit with a switch between two buses."""
    place = folder / "circuit"
    shutil.copytree(script.parent, place)
    closing = f"new line.closed_tie bus1={tie[0]} bus2={tie[1]} switch=yes"
    (place / "tied.dss").write_text(f"redirect {script.name}\n{closing}\nsolve\n", encoding="utf-8")
    return place / "tied.dss"


def line_of(script: Path, asked: argparse.Namespace) -> str:
    """Measure one script."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if asked.tie:
            script = tied(script, asked.tie, folder)
        feeder = read_dss(script)
        networks = {"dss": {"dss": str(script)}}
        if asked.tables:
            write_feeder(import_feeder(script).feeder, folder / "tables")
            networks["tables"] = {"feeder": "tables", "model": "ac-linear"}
        files = {form: folder / f"{form}.yaml" for form in networks}
        for form, network in networks.items():
            day = scenario(feeder, network, asked)
            files[form].write_text(yaml.safe_dump(day), encoding="utf-8")
        rounds = [{form: measured(file) for form, file in files.items()} for _ in range(asked.repeats)]
    found = rounds[0]["dss"]
    seconds = {form: statistics.median(r[form]["cpu s"] for r in rounds) for form in files}
    text = (
        f"{script.stem:20} {len(feeder.buses):5d} buses; linear against AC {found['apart pu']:.1e} pu; limits broken "
        f"in AC {found['broken']}, added {found['added']}; {found['moves']} steps of devices; "
        f"{seconds['dss']:.1f} s of processor time"
    )
    if asked.tables:
        text += (
            f", by tables {seconds['tables']:.1f} s (dss / tables {seconds['dss'] / seconds['tables']:.2f}), "
            f"linear against AC {rounds[0]['tables']['apart pu']:.1e} pu"
        )
    return text


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scripts", nargs="+", type=Path)
    parser.add_argument("--tie", nargs=2, metavar="BUS")
    parser.add_argument("--tables", action="store_true")
    parser.add_argument("--load", type=float, default=1.0, help="factor on the load of the day")
    parser.add_argument("--share", type=float, default=SHARE, help="size of each site, as a share of the load")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=1)
    asked = parser.parse_args(arguments)
    for script in asked.scripts:
        print(line_of(script.resolve(), asked), flush=True)


if __name__ == "__main__":
    main()
