"""How well feeders are represented, and how fast: one line for each OpenDSS script or feeder.

    python -m cosim.experiments.benchmarks.network.feeders ieee13 ieee37 ieee123 path/to/Master.dss

``import``: time of the import (scripts only), and the largest voltage difference of our circuit from the original.
``linear``: largest voltage error of LinDist3Flow against AC without losses and at its fixed point. ``tangent``: of
the AC tangent where it is taken, and with all devices (on ten buses, together a fifth of the load) 20 % up or down.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.phases import Terminal, terminal_map
from cosim.grid.feeder.tables import read_feeder
from cosim.grid.linear import ac_tangent, lindist3flow
from cosim.grid.linear.network import LinearNetwork, Real
from cosim.grid.opendss.circuit import AcCircuit, AcSolution
from cosim.grid.opendss.importer.importer import import_feeder, largest_difference
from cosim.scenario.equipment import reactive_ratio

HIGH_KV = 50.0
"""A bus above this is part of the transmission side."""
Result = TypeVar("Result")
Injections = list[tuple[Terminal, float, float]]
COUNT, SHARE, POWER_FACTOR = 10, 0.2, 0.95


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """The result and its seconds."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def error(network: LinearNetwork, y: Real, ac: AcSolution) -> float:
    """Largest error of the network's voltages, per unit."""
    values = np.sqrt(network.voltages.at(y))
    return max(abs(float(v) - ac.voltages[k]) for k, v in zip(network.voltages.labels, values, strict=True))


def devices(feeder: Feeder) -> Injections:
    """A device on each of ten buses, on one phase or leg in turn; small on low-voltage buses."""
    buses = [b for b in feeder.buses if b.kv_base < HIGH_KV and b.name != feeder.source_bus]
    buses = buses[:: max(1, len(buses) // COUNT)][:COUNT]
    kw = SHARE * feeder.load_kw / len(buses)
    kvar = kw * reactive_ratio(POWER_FACTOR)
    found: Injections = []
    for k, b in enumerate(buses):
        part = 1.0 if b.kv_base > 1 else min(1.0, (2.0 if b.split else 50.0) / kw)
        members = b.phases if b.grounded else b.legs
        terminal = Terminal(b.name, "wye" if b.grounded else "delta", (members[k % len(members)],))
        found.append((terminal, part * kw, part * kvar))
    return found


def demand(network: LinearNetwork, injections: Injections) -> tuple[Real, Real]:
    """Node demand of devices, MW and Mvar."""
    p, q = np.zeros((2, len(network.nodes)))
    for terminal, kw, kvar in injections:
        t = terminal_map(terminal, network.nodes)
        p += (t.pp * kw + t.pq * kvar) / 1000
        q += (t.qp * kw + t.qq * kvar) / 1000
    return p, q


def line_of(name: str) -> str:
    """Measure one script or feeder."""
    text = f"{name.rsplit('/', 1)[-1]:24}"
    if name.lower().endswith(".dss"):
        found, seconds = timed(lambda: import_feeder(name))
        feeder = found.feeder
        text += f" import {seconds:5.2f} s, {largest_difference(found)[0]:.1e} pu;"
    else:
        feeder = read_feeder(name)
    circuit = AcCircuit(feeder)
    ac = circuit.solve()
    flat = lindist3flow.build(feeder, losses=False)
    linear, seconds = timed(lambda: lindist3flow.fixed_point(feeder))
    text += f" {len(flat.nodes)} nodes; linear {error(flat, flat.solve(*demand(flat, [])), ac):.1e},"
    text += f" {error(linear, linear.solve(*demand(linear, [])), ac):.1e} pu in {seconds:.2f} s;"
    injections = devices(feeder)
    ac_tangent.build(circuit)  # the first one reads the admittance
    tangent, seconds = timed(lambda: ac_tangent.build(circuit, 1.0, injections))
    here, solving = timed(lambda: tangent.solve(*demand(tangent, injections)))
    text += f" tangent {error(tangent, here, circuit.solve(1.0, injections)):.1e},"
    errors = []
    for factor in (0.8, 1.2):
        moved = [(t, factor * p, factor * q) for t, p, q in injections]
        errors.append(error(tangent, tangent.solve(*demand(tangent, moved)), circuit.solve(1.0, moved)))
    return text + f" {max(errors):.1e} pu, built in {seconds:.3f} s, factored in {solving:.3f} s"


def main(arguments: Sequence[str]) -> None:
    """Print a line for each argument."""
    for name in arguments or ("ieee13", "ieee37", "ieee123"):
        print(line_of(name), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
