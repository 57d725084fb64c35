"""How fast the linear network is, against an OpenDSS power flow of the same feeder in the same run.

    python -m cosim.experiments.benchmarks.network.ieee37 --feeder ieee37

Load scales differ from call to call, so that nothing is remembered.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator

import numpy as np

from cosim.experiments.studies.common import median_s, print_table
from cosim.grid.feeder.tables import read_feeder
from cosim.grid.linear import lindist3flow
from cosim.grid.opendss.circuit import AcCircuit


def measure(feeder_name: str = "ieee37", repeats: int = 50) -> list[dict[str, object]]:
    """Median wall times: one row per piece of work, with its ratio to one OpenDSS solve.

    Args:
        feeder_name: shipped name or folder of tables.
        repeats: calls of each.
    """
    feeder = read_feeder(feeder_name)
    circuit, scales = AcCircuit(feeder), _scales()
    network = lindist3flow.fixed_point(feeder)
    warm = lindist3flow.OperatingPoint(network.solve(*np.zeros((2, len(network.nodes)))))
    nothing = np.zeros(len(network.nodes))
    weights = np.asarray(network.import_p.rows.toarray()).T

    def fresh_prices() -> object:
        rebuilt = lindist3flow.build(feeder, next(scales), warm)
        return rebuilt.solve(nothing, nothing), rebuilt.adjoint(weights)

    work: dict[str, Callable[[], object]] = {
        "OpenDSS: solve (floor)": lambda: circuit.solve(next(scales), []),
        "OpenDSS: build circuit": lambda: AcCircuit(feeder),
        "linear: build": lambda: lindist3flow.build(feeder, next(scales), warm),
        "linear: fixed point, cold": lambda: lindist3flow.fixed_point(feeder, next(scales)),
        "linear: fixed point, warm": lambda: lindist3flow.fixed_point(feeder, next(scales), start=warm),
        "linear: solve, factors kept": lambda: network.solve(nothing, nothing),
        "linear: all prices by adjoint, factors kept": lambda: network.adjoint(weights),
        "linear: build, solve and all prices": fresh_prices,
    }
    times = {name: median_s(call, repeats) for name, call in work.items()}
    floor = times["OpenDSS: solve (floor)"]
    return [
        {"what": name, "median ms": round(1e3 * t, 3), "ratio to OpenDSS solve": round(t / floor, 3)}
        for name, t in times.items()
    ]


def _scales() -> Iterator[float]:
    """Load scales between 0.4 and 1.2 that do not repeat: multiples of the golden ratio, modulo 1."""
    return (0.4 + 0.8 * (k * 0.6180339887 % 1.0) for k in itertools.count(1))


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--feeder", default="ieee37")
    parser.add_argument("--repeats", type=int, default=50)
    options = parser.parse_args()
    feeder = read_feeder(options.feeder)
    title = f"{feeder.name}: {len(feeder.buses)} buses, {len(feeder.loads)} loads; medians of {options.repeats}"
    print_table(title, measure(options.feeder, options.repeats))


if __name__ == "__main__":
    _main()
