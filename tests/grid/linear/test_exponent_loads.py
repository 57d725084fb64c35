"""Loads that follow a power of voltage: the law of :attr:`Load.exponents`, its tangents by finite differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosim.grid.feeder.feeder import Feeder, Load
from cosim.grid.feeder.phases import Terminal
from cosim.grid.linear import ac_tangent, lindist3flow
from cosim.grid.linear.flow_laws import tangent_in_square
from cosim.grid.opendss.circuit import AcCircuit

EXPONENTS = st.floats(-2, 4)


def by_exponents(feeder: Feeder, by_p: float, by_q: float) -> Feeder:
    loads = [replace(load, model="EXP", exponent_p=by_p, exponent_q=by_q) for load in feeder.loads]
    return replace(feeder, loads=tuple(loads))


@given(EXPONENTS, st.floats(0.7, 1.4))
def test_the_tangent_in_the_square_is_value_and_slope_of_the_law(exponent: float, square: float) -> None:
    fixed, slope = tangent_in_square(np.array([exponent]), np.array([square]))
    h = 1e-5
    more, less = ((square + s * h) ** (exponent / 2) for s in (1, -1))
    assert fixed[0] + slope[0] * square == pytest.approx(square ** (exponent / 2), rel=1e-12)
    assert slope[0] == pytest.approx((more - less) / (2 * h), abs=1e-7)


@pytest.mark.parametrize(("model", "exponent"), [("PQ", 0.0), ("I", 1.0), ("Z", 2.0)])
def test_whole_exponents_are_the_plain_models(four_wire: Feeder, model: str, exponent: float) -> None:
    plain = replace(four_wire, loads=tuple(replace(load, model=model) for load in four_wire.loads))
    ours, theirs = (AcCircuit(f).solve().voltages for f in (by_exponents(four_wire, exponent, exponent), plain))
    assert list(ours.values()) == pytest.approx(list(theirs.values()), abs=1e-9)


@pytest.mark.parametrize("exponents", [(0.8, 3.2), (1.6, 1.6), (-0.5, 2.0)])
def test_both_linear_models_meet_opendss(four_wire: Feeder, exponents: tuple[float, float]) -> None:
    feeder = by_exponents(four_wire, *exponents)
    circuit = AcCircuit(feeder)
    ac = circuit.solve(1.1)
    # OpenDSS gives ideal regulators and the source a little impedance, which LinDist3Flow does not
    for network, apart in ((ac_tangent.build(circuit, 1.1), 1e-9), (lindist3flow.fixed_point(feeder, 1.1), 3e-6)):
        none = np.zeros(len(network.nodes))
        found = np.sqrt(network.voltages.at(network.solve(none, none)))
        assert found == pytest.approx([ac.voltages[k] for k in network.voltages.labels], abs=apart)


@pytest.mark.parametrize("exponents", [(0.8, 3.2), (-0.5, 2.0)])
@pytest.mark.parametrize("power", [1.0, 1j])
def test_slopes_of_the_ac_tangent_are_those_of_opendss(
    four_wire: Feeder, exponents: tuple[float, float], power: complex
) -> None:
    circuit = AcCircuit(by_exponents(four_wire, *exponents))
    network = ac_tangent.build(circuit, 1.5)
    terminal, h = Terminal("2", "wye", ("b",)), 10.0
    more, less = (circuit.solve(1.5, [(terminal, s * h * power.real, s * h * power.imag)]) for s in (1, -1))
    moved = np.zeros((2, len(network.nodes), 1))
    moved[:, network.nodes.index(("2", "b")), 0] = power.real, power.imag
    found = network.response(network.voltages, *moved)[:, 0]
    differences = np.array([more.voltages[k] ** 2 - less.voltages[k] ** 2 for k in network.voltages.labels])
    expected = differences / (2 * h / 1000)
    assert found == pytest.approx(expected, abs=1e-5 * np.abs(expected).max())


def test_p_and_q_of_one_load_follow_their_own_exponents() -> None:
    assert Load("x", "b", "wye", "a", "EXP", 1.0, 2.0, exponent_p=0.5, exponent_q=2.5).exponents == (0.5, 2.5)
    assert Load("x", "b", "wye", "a", "I", 1.0, 2.0).exponents == (1.0, 1.0)
