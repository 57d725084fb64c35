"""The OpenDSS circuit built from our tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import opendssdirect
import pytest

from cosim.errors import InputError
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.phases import Terminal
from cosim.grid.opendss.circuit import AcCircuit

THREE = ("ab", "bc", "ca")
DEVICE = Terminal("738", "delta", THREE)


def test_it_meets_the_published_solution(ieee37: Feeder, published: list[tuple[tuple[str, str], float]]) -> None:
    found = AcCircuit(ieee37).solve()
    assert max(abs(found.voltages[key] - value) for key, value in published) <= 1e-4
    assert found.p_source_kw == pytest.approx(2521.827, abs=0.1)
    assert found.q_source_kvar == pytest.approx(1249.435, abs=0.1)
    assert found.losses_kw == pytest.approx(60.563, abs=0.01)


def test_it_is_the_circuit_of_the_reference(ieee37: Feeder, reference: Path) -> None:
    dss = opendssdirect.dss.NewContext()
    dss.Text.Command(f'redirect "{reference / "feeders" / "ieee37" / "ieee37_published.dss"}"')
    volts = np.asarray(dss.Circuit.AllBusVolts()).view(complex)
    nodes = {name: volts[k] for k, name in enumerate(dss.Circuit.AllNodeNames())}
    found = AcCircuit(ieee37).solve()
    for bus in ieee37.buses:
        v = [nodes[f"{bus.name}.{k}"] for k in (1, 2, 3)]
        for leg, (i, k) in zip(THREE, ((0, 1), (1, 2), (2, 0)), strict=True):
            expected = abs(v[i] - v[k]) / 1000 / bus.kv_base
            assert found.voltages[bus.name, leg] == pytest.approx(expected, abs=5e-5)


def test_two_circuits_do_not_disturb_each_other(ieee37: Feeder, four_wire: Feeder) -> None:
    first, second = AcCircuit(ieee37), AcCircuit(four_wire)
    alone = first.solve().voltages
    second.solve(0.5)
    third = AcCircuit(ieee37)
    third.solve(0.2)
    assert first.solve().voltages == pytest.approx(alone, abs=1e-9)


def test_load_scale_does_not_scale_devices(ieee37: Feeder) -> None:
    found = AcCircuit(ieee37).solve(0.0, [(DEVICE, 300.0, 90.0)])
    assert found.p_source_kw - found.losses_kw == pytest.approx(300.0, abs=0.05)


def test_a_device_not_named_again_is_off(ieee37: Feeder) -> None:
    circuit = AcCircuit(ieee37)
    before = circuit.solve()
    with_device = circuit.solve(1.0, [(DEVICE, 300.0, 90.0)])
    assert with_device.p_source_kw > before.p_source_kw + 300
    assert circuit.solve().p_source_kw == pytest.approx(before.p_source_kw, abs=1e-4)


def test_devices_at_one_terminal_add_up(ieee37: Feeder) -> None:
    circuit = AcCircuit(ieee37)
    once = circuit.solve(1.0, [(DEVICE, 300.0, 90.0)])
    twice = circuit.solve(1.0, [(DEVICE, 100.0, 60.0), (DEVICE, 200.0, 30.0)])
    assert twice.p_source_kw == pytest.approx(once.p_source_kw, abs=1e-4)


def test_generation_is_negative_demand(ieee37: Feeder) -> None:
    found = AcCircuit(ieee37).solve(0.0, [(DEVICE, -300.0, 0.0)])
    assert found.p_source_kw == pytest.approx(-300.0 + found.losses_kw, abs=0.05)
    assert found.voltages["738", "ab"] > found.voltages["701", "ab"]


def test_the_unbalance_of_a_balanced_source_is_nil(ieee37: Feeder) -> None:
    found = AcCircuit(ieee37).solve()
    assert found.unbalance["799"].vuf_pct == pytest.approx(0.0, abs=1e-3)
    assert 0.5 < found.unbalance["799r"].vuf_pct < 2


def test_power_balances_in_a_four_wire_feeder(four_wire: Feeder) -> None:
    found = AcCircuit(four_wire).solve(0.0, [(Terminal("3", "wye", ("b",)), 40.0, 10.0)])
    assert found.p_source_kw == pytest.approx(40.0 + found.losses_kw, abs=0.01)
    assert set(found.unbalance) == {"s", "r", "1", "2"}
    assert ("3", "a") not in found.voltages


@pytest.mark.parametrize(
    "terminal",
    [Terminal("nowhere", "delta", ("ab",)), Terminal("738", "wye", ("a",))],
)
def test_a_device_at_no_place_is_refused(ieee37: Feeder, terminal: Terminal) -> None:
    with pytest.raises(InputError, match="no such place"):
        AcCircuit(ieee37).solve(1.0, [(terminal, 1.0, 0.0)])


@pytest.mark.parametrize("kw", [2e4, 1e9])
def test_a_load_beyond_reach_is_no_solution(ieee37: Feeder, kw: float) -> None:
    circuit = AcCircuit(ieee37)
    assert not circuit.solve(1.0, [(DEVICE, kw, kw)]).converged
    assert circuit.solve().converged
