"""The power flow of hosting studies on loads by exponents behind wye-delta transformers, against OpenDSS."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cosim.grid.feeder.phases import Terminal
from cosim.grid.linear.ac_tangent import tangent_pattern
from cosim.grid.opendss.circuit import AcCircuit
from cosim.hosting.limits import Connection
from cosim.hosting.power_flow import PowerFlow
from tests.simulation.test_ground_source import FEEDER


@pytest.mark.parametrize("connection", ["wye", "wye-ungrounded"])
def test_voltages_with_a_draw_are_those_of_opendss(connection: str) -> None:
    feeder = replace(
        FEEDER, transformers=tuple(replace(t, conn_high=connection) for t in FEEDER.transformers),
        loads=tuple(replace(x, model="EXP", exponent_p=0.7, exponent_q=2.6) for x in FEEDER.loads),
    )  # fmt: skip
    legs = ("ab", "bc", "ca")
    flow = PowerFlow(feeder, (), (Connection(("e",), (legs,), (1.0,)),))
    drawn = flow.drawn(np.array([1.1]), np.zeros((1, 0)))
    found = flow.solve(drawn, np.zeros(1, dtype=np.intp), np.array([0.3 + 0.1j]))
    circuit, pattern = AcCircuit(feeder), tangent_pattern(feeder)
    assert circuit.solve(1.1, [(Terminal("e", "delta", legs), 300.0, 100.0)]).converged and found.solved.all()
    expected = circuit.node_phasors[pattern.reading][pattern.node_bus, pattern.node_place]
    assert np.abs(found.v[0] - expected).max() <= 1e-6
