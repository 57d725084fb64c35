"""Loads near a voltage at which OpenDSS's law of them jumps, where a circuit may have two solutions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cosim.grid.feeder.phases import Terminal
from cosim.grid.opendss.circuit import AcCircuit
from cosim.grid.opendss.whole.law_jumps import LawJumps, jumps
from cosim.grid.opendss.whole.reader import read_dss
from tests.grid.dss_circuits import END, WYE

LOAD = "new load.x bus1=e phases=3 kv=12.47 kw=2400 kvar=1300 model={} cvrwatts=0.8 cvrvars=3 vminpu=0.85 vmaxpu=1.05\n"
LINE = "new line.x bus1=s bus2=e r1=4 x1=8 r0=6 x0=14 c1=0 c0=0 length=1\n"
DRAW = Terminal("e", "wye", ("a", "b", "c"))


def circuit_of(folder: Path, model: int) -> AcCircuit:
    (folder / "master.dss").write_text(WYE + LINE + LOAD.format(model) + END)
    return AcCircuit(read_dss(folder / "master.dss"))


def seen(circuit: AcCircuit, draws_kw: list[float]) -> tuple[list[float], LawJumps]:
    found, looking = [], LawJumps(circuit.feeder)
    for step, kw in enumerate(draws_kw):
        found.append(circuit.solve(1.0, [(DRAW, kw, 0.3 * kw)]).voltages["e", "a"])
        looking.see(step, circuit.node_phasors)
    return found, looking


def test_a_circuit_that_has_two_solutions_is_told_of_near_the_jump(tmp_path: Path) -> None:
    circuit, draws = circuit_of(tmp_path, 4), np.arange(0.0, 3000.0, 100.0).tolist()
    down, looking = seen(circuit, draws)
    up, _ = seen(circuit, draws[::-1])
    two = [k for k, (a, b) in enumerate(zip(down, up[::-1], strict=True)) if abs(a - b) > 5e-3]
    assert two
    note = looking.note()
    assert note is not None and "bus e" in note
    assert set(looking.steps) & set(two)
    far = [k for k, v in enumerate(down) if abs(v - 0.85) > 0.021 and abs(v - 1.05) > 0.021]
    assert far and not set(far) & set(looking.steps)


@pytest.mark.parametrize("model", [1, 2, 5])
def test_a_law_that_is_continuous_has_no_jump(model: int, tmp_path: Path) -> None:
    feeder = circuit_of(tmp_path, model).feeder
    assert np.isnan(jumps(feeder)).all()  # type: ignore[arg-type]
