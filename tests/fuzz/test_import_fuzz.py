"""Random radial circuits of all transformer connections and load models: the tables against the original in OpenDSS.

Whatever is imported has the original's phasors, and both linear models meet the AC solution; the rest is refused by
name.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from cosim.errors import InputError
from cosim.grid.linear import ac_tangent, lindist3flow
from cosim.grid.opendss.circuit import AcCircuit
from cosim.grid.opendss.importer.importer import import_feeder
from tests.grid.alike import phasors_apart

LEVELS = (12.47, 4.16, 24.9)
MODELS = ("model=1", "model=2", "model=5", "model=3", "model=4 cvrwatts={:.2f} cvrvars={:.2f}", "model=8 zipv={zipv}")
LEGS = ("1.2", "2.3", "3.1")


def circuit(draw: random.Random) -> str:
    """A trunk, and up to three sections behind transformers, loads at each."""
    source = "r1=0.2 x1=0.9 r0=0.3 x0=1.4" if draw.random() < 0.7 else "r1=0 x1=1e-5 r0=0 x0=1e-5"
    lines = [
        "clear", "set defaultbasefrequency=60", f"new circuit.random basekv=12.47 bus1=s pu=1.02 {source}",
        "new linecode.c nphases=3 units=mi rmatrix=(0.35 | 0.15 0.34 | 0.16 0.155 0.345) "
        "xmatrix=(1.02 | 0.5 1.05 | 0.42 0.38 1.03) cmatrix=(9 | -2 9.5 | -1 -2 8.5)",
        "new line.trunk bus1=s bus2=b0 linecode=c length=0.5 units=mi",
    ]  # fmt: skip
    grounded, kv, bus = True, LEVELS[0], "b0"
    for k in range(draw.randint(1, 3)):
        lines += loads(draw, k, bus, kv, grounded)
        high = draw.choice(("wye", "floating", "delta") if grounded else ("floating", "delta"))
        low = draw.choice([x for x in ("wye", "floating", "delta") if (high, x) != ("floating", "wye")])
        after = draw.choice([x for x in LEVELS if x != kv])
        ends = [(bus, high, kv, 4 + k), (f"l{k}", low, after * draw.choice((1.0, 1.01)), 9)]
        ends = ends[:: draw.choice((1, -1))]
        buses = " ".join(f"{b}.1.2.3.{n}" if c == "floating" else b for b, c, _, n in ends)
        conns = " ".join("delta" if c == "delta" else "wye" for _, c, _, _ in ends)
        core = draw.choice(("", "%noloadloss=0.3 %imag=0.7"))
        lines.append(
            f"new transformer.t{k} phases=3 windings=2 buses=({buses}) conns=({conns}) "
            f"kvs=({ends[0][2]} {ends[1][2]}) kvas=(3000 3000) xhl={draw.uniform(2, 6):.2f} %rs=(0.4 0.5) {core} "
            f"{draw.choice(('', 'leadlag=lead'))} wdg={draw.choice((1, 2))} tap={draw.choice((1.0, 1.025))}"
        )
        bus, kv, grounded = f"b{k + 1}", after, low == "wye"
        lines.append(f"new line.x{k} bus1=l{k} bus2={bus} linecode=c length={draw.uniform(0.05, 0.2):.3f} units=mi")
    lines += loads(draw, 9, bus, kv, grounded)
    lines += [f"set voltagebases=[{', '.join(map(str, LEVELS))}]", "calcvoltagebases", "set maxiterations=100", "solve"]
    return "\n".join(lines) + "\n"


def loads(draw: random.Random, number: int, bus: str, kv: float, grounded: bool) -> list[str]:
    """Up to three loads at a bus; where there is no neutral, on legs."""
    found = []
    for k in range(draw.randint(1, 3)):
        zipv = "({:.2f} {:.2f} {:.2f} {:.2f} {:.2f} {:.2f} 0.5)".format(*(draw.random() / 2 for _ in range(6)))
        model = draw.choice(MODELS).replace("{zipv}", zipv).format(draw.uniform(0, 2), draw.uniform(0, 4))
        place = draw.choice((1, 2, 3)) if grounded and draw.random() < 0.6 else draw.choice(LEGS)
        wired = f"kv={kv / 3**0.5:.6f}" if isinstance(place, int) else f"kv={kv} conn=delta"
        span = draw.choice(("vminpu=0.7 vmaxpu=1.3", "vminpu=0.95 vmaxpu=1.05", "vminpu=0.99 vmaxpu=1.3"))
        kw, share = draw.uniform(20, 200), draw.uniform(0, 0.6)
        found.append(
            f"new load.d{number}{k} bus1={bus}.{place} phases=1 {wired} kw={kw:.1f} kvar={kw * share:.1f} "
            f"{span} {model}"
        )
    return found


def check(seed: int, folder: Path) -> str:
    """What became of one circuit."""
    file = folder / "circuit.dss"
    file.write_text(circuit(random.Random(seed)))
    try:
        found = import_feeder(file)
    except InputError as error:
        return f"refused: {error.message}"
    circuit_ = AcCircuit(found.feeder)
    ac = circuit_.solve()
    if not ac.converged:
        return "no solution"
    assert phasors_apart(found, circuit_) <= 1e-6, seed
    models = [ac_tangent.build(circuit_)]
    if lindist3flow.is_sayable(found.feeder):
        models.append(lindist3flow.fixed_point(found.feeder))
    for network in models:
        none = np.zeros(len(network.nodes))
        values = np.sqrt(network.voltages.at(network.solve(none, none)))
        worst = max(abs(v - ac.voltages[k]) for k, v in zip(network.voltages.labels, values, strict=True))
        assert worst <= 2e-6, (seed, worst)
    return "the same"


def test_a_few_random_circuits_are_the_original(tmp_path: Path) -> None:
    assert [check(seed, tmp_path) for seed in range(2)] == ["the same"] * 2


@pytest.mark.slow
def test_many_random_circuits_are_the_original(tmp_path: Path) -> None:
    found = [check(seed, tmp_path) for seed in range(300)]
    assert found.count("the same") >= 270, sorted(set(found))
