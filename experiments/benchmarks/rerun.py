"""Whether runs are the same again from their folders alone, in another environment.

    python -m cosim.experiments.benchmarks.rerun --python /path/to/another/environment/bin/python

Twenty runs are made in a folder that is then moved away: the shipped scenarios in several modes, series and feeder
tables of one's own, agents, a resource, OpenDSS circuits, a comparison and a sweep. Copies of their folders are then
run again by ``cosim rerun``, each in a process of its own, in another working directory, by the Python that is named.
What counts is its exit code: 0 where every table is the same byte for byte.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

import cosim
from cosim.grid.feeder.tables import feeder_folder

AGENTS = '''"""An agent, a rule and a resource of one's own, with a module that they import."""
from dataclasses import replace

from pydantic import BaseModel

import own_numbers
from cosim.agents.dca import DataCenterAggregator
from cosim.agents.dso.resources import Resource, ResourceSpec, Symbol


class Cautious(DataCenterAggregator):
    def respond(self, posting):
        return super().respond(replace(posting, price_p_usd_per_mwh=own_numbers.FACTOR * posting.price_p_usd_per_mwh))


class BoilerSpec(ResourceSpec):
    p_max_kw: float
    value_usd_per_mwh: float


class Boiler(Resource):
    Spec = BoilerSpec
    kind = "boiler"
    symbol = Symbol("boiler", "h")

    def __init__(self, spec, site):
        super().__init__(spec, site)
        self.spec = spec

    def state(self, window):
        p = window.active("p", -self.spec.p_max_kw / 1000, 0.0)
        window.inject(self.terminals[0], p, None)
        window.cost(window.hours * self.spec.value_usd_per_mwh * p)
'''
CIRCUIT = """clear
new circuit.small bus1=source basekv=12.47 pu=1.02 mvasc3=200 mvasc1=210
redirect lines.dss
new load.l1 bus1=b phases=3 kv=12.47 kw=900 kvar=300
new load.l2 bus1=c phases=3 kv=12.47 kw=600 kvar=200
set voltagebases=[12.47]
calcvoltagebases
solve
"""
LINES = """new line.one bus1=source bus2=b length=2 units=km r1=0.2 x1=0.4 r0=0.5 x0=1.2
new line.two bus1=b bus2=c length=1 units=km r1=0.2 x1=0.4 r0=0.5 x0=1.2
new line.loop bus1=source bus2=c length=3 units=km r1=0.2 x1=0.4 r0=0.5 x0=1.2
"""
HOURS: Mapping[str, object] = {"clock": {"start": "2024-07-15T16:00:00", "steps": 3, "window_steps": 3}}


@dataclass(frozen=True, slots=True)
class Case:
    """A run to be made: its name, and what its scenario says besides its base."""

    name: str
    base: str
    says: Mapping[str, object]
    modes: tuple[str, ...] = ("decentralized",)


def cases() -> Iterator[Case]:
    """Eighteen runs; a comparison and a sweep are made besides."""
    price = {"price_usd_per_mwh": {"file": "../series/prices.csv", "column": "usd_per_mwh"}}
    own = {"aggregators": [{"name": "dca", "agent": "own_parts:Cautious"}],
           "decentralized": {"rule": "best_response", "max_rounds": 3}}  # fmt: skip
    boiler = {"resources": [{"name": "b1", "kind": "own_parts:Boiler", "bus": "718", "p_max_kw": 60,
                             "value_usd_per_mwh": 55}]}  # fmt: skip
    for name in ("ieee37", "ieee37_svg", "ieee37_stress", "ieee37_stress_svg", "two_feeders"):
        yield Case(name, name, {})
    yield Case("ieee37_year", "ieee37_year", {"clock": {"steps": 3, "window_steps": 3}})
    for mode in ("uncoordinated", "welfare", "centralized"):
        yield Case(f"ieee37_{mode}", "ieee37", {"mode": mode})
    yield Case("two_feeders_welfare", "two_feeders", {"mode": "welfare"})
    yield Case("series", "ieee37", {"market": price})
    yield Case("tables", "ieee37", {"network": {"feeder": "own_feeder"}})
    yield Case("tables_and_series", "ieee37", {"network": {"feeder": "own_feeder"}, "market": price})
    yield Case("agent", "ieee37", own)
    yield Case("resource", "ieee37", boiler)
    yield Case("channel", "ieee37", {"channel": {"latency": {"kind": "lognormal", "median_s": 1.0}, "loss": 0.05}})
    for mode in ("decentralized", "welfare"):
        yield Case(f"circuit_{mode}", "ieee37", {"mode": mode, **circuit()})


def circuit() -> dict[str, object]:
    """A scenario's keys on the OpenDSS circuit, which has a loop."""
    sites = [{"name": f"dc{718 + 10 * i}", "bus": bus} for i, bus in enumerate(("b", "c"))]
    return {
        "remove": ["generators", "datacenters", "network.feeder"],
        "network": {"dss": "circuit/Master.dss", "model": "ac-linear"},
        "datacenters": [{**site, "it_peak_kw": 300, "it_idle_kw": 60, "pue": 1.3} for site in sites],
    }


def write_case(case: Case, folder: Path) -> Path:
    """The scenario file of a case, beside everything that any of them names."""
    path = folder / f"{case.name}.yaml"
    path.write_text(yaml.safe_dump({"base": case.base, "name": case.name, **HOURS, **case.says}, sort_keys=False))
    return path


def make_originals(place: Path) -> Path:
    """A folder with tables, modules and a circuit of one's own."""
    folder = place / "case"
    (place / "series").mkdir(parents=True)
    (folder / "circuit").mkdir(parents=True)
    rows = "".join(f"{hour},{30 + 3 * hour}\n" for hour in range(24))
    (place / "series" / "prices.csv").write_text(f"hour,usd_per_mwh\n{rows}")
    (folder / "own_parts.py").write_text(AGENTS)
    (folder / "own_numbers.py").write_text("FACTOR = 1.5\n")
    (folder / "circuit" / "Master.dss").write_text(CIRCUIT)
    (folder / "circuit" / "lines.dss").write_text(LINES)
    shutil.copytree(feeder_folder("ieee37"), folder / "own_feeder")
    return folder


def main() -> None:
    """Make the runs, move what they were made from away, run them again, and count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="Python of the environment that runs them again")
    parser.add_argument("--only", default="", help="names of cases, separated by commas")
    args = parser.parse_args()
    chosen = set(filter(None, args.only.split(",")))
    with tempfile.TemporaryDirectory() as text:
        place = Path(text)
        folder = make_originals(place / "originals")
        kept = place / "kept"
        made = []
        for case in cases():
            if not chosen or case.name in chosen:
                cosim.run(write_case(case, folder), out=kept / case.name, figures=False)
                made.append(case.name)
        if not chosen or "comparison" in chosen:
            case = Case("comparison", "ieee37", {"network": {"feeder": "own_feeder"}})
            modes = ["uncoordinated", "decentralized"]
            cosim.compare(write_case(case, folder), modes, out=kept / case.name, figures=False)
            made.append(case.name)
        if not chosen or "sweep" in chosen:
            write_case(Case("swept", "ieee37", {}), folder)
            experiment = {"name": "sweep", "scenario": "swept.yaml", "modes": ["uncoordinated", "welfare"],
                          "factors": {"network.v_min_pu": [0.94, 0.95]}}  # fmt: skip
            (folder / "sweep.yaml").write_text(yaml.safe_dump(experiment))
            cosim.run_sweep(folder / "sweep.yaml", kept / "sweep", engine="serial", figures=False)
            made.append("sweep")
        shutil.move(place / "originals", place / "gone")
        same = 0
        elsewhere = place / "elsewhere"
        shutil.copytree(kept, elsewhere / "copies")
        shutil.rmtree(kept)
        for name in made:
            command = [args.python, "-m", "cosim", "rerun", f"copies/{name}", "--out", f"again/{name}", "--no-figures"]
            done = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=False)
            same += done.returncode == 0
            told = next((line for line in done.stdout.splitlines() if line.startswith("The same")), done.stderr.strip())
            print(f"{name:<24}{told}", flush=True)
        print(f"identical: {same} of {len(made)}")


if __name__ == "__main__":
    main()
