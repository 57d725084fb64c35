"""The AC tangent against OpenDSS: exact where it is taken, its slopes those of finite differences."""

from __future__ import annotations

import numpy as np
import opendssdirect
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.errors import RunFailure
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.phases import Terminal, terminal_map
from cosim.grid.feeder.tables import read_feeder
from cosim.grid.linear import ac_tangent, lindist3flow
from cosim.grid.linear.network import LinearNetwork, Real
from cosim.grid.opendss.circuit import AcCircuit, AcSolution
from cosim.grid.opendss.commands import circuit_commands

Injections = list[tuple[Terminal, float, float]]
DELTA, WYE = ("ab", "bc", "ca"), ("a", "b", "c")
DEVICES: dict[str, Injections] = {
    "ieee13": [
        (Terminal("671", "wye", WYE), 400.0, 130.0),
        (Terminal("675", "delta", ("bc",)), 150.0, -60.0),
        (Terminal("646", "wye", ("b",)), -120.0, 30.0),
    ],
    "ieee37": [
        (Terminal("738", "delta", DELTA), 300.0, 98.6),
        (Terminal("722", "delta", ("bc",)), 200.0, -60.0),
        (Terminal("736", "delta", ("ca",)), -250.0, 30.0),
    ],
    "ieee123": [
        (Terminal("76", "wye", WYE), 400.0, 130.0),
        (Terminal("48", "wye", ("b",)), 80.0, -60.0),
        (Terminal("35", "delta", ("ab",)), -120.0, 30.0),
        (Terminal("610", "delta", ("ab",)), 20.0, 5.0),
    ],
}


def scaled(injections: Injections, factor: float) -> Injections:
    return [(terminal, factor * p, factor * q) for terminal, p, q in injections]


def demand(network: LinearNetwork, injections: Injections) -> tuple[Real, Real]:
    p, q = np.zeros((2, len(network.nodes)))
    for terminal, kw, kvar in injections:
        t = terminal_map(terminal, network.nodes)
        p += (t.pp * kw + t.pq * kvar) / 1000
        q += (t.qp * kw + t.qq * kvar) / 1000
    return p, q


def largest_error(network: LinearNetwork, y: Real, ac: AcSolution) -> float:
    values = np.sqrt(network.voltages.at(y))
    return max(abs(v - ac.voltages[k]) for k, v in zip(network.voltages.labels, values, strict=True))


@pytest.fixture(params=list(DEVICES), scope="module")
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def circuit(name: str) -> AcCircuit:
    return AcCircuit(read_feeder(name))


def test_it_is_exact_at_the_operating_point(name: str, circuit: AcCircuit) -> None:
    network = ac_tangent.build(circuit, 0.9, DEVICES[name])
    y = network.solve(*demand(network, DEVICES[name]))
    ac = circuit.solve(0.9, DEVICES[name])
    assert largest_error(network, y, ac) <= 1e-8
    assert network.import_p.at(y)[0] * 1000 == pytest.approx(ac.p_source_kw, abs=1e-5)
    assert network.import_q.at(y)[0] * 1000 == pytest.approx(ac.q_source_kvar, abs=1e-5)
    parts = network.unbalance.at(y).reshape(-1, 2)
    expected = [ac.unbalance[bus].vuf_pct for bus, _ in network.unbalance.labels[::2]]
    assert np.hypot(*parts.T) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("factor", [0.8, 1.2])
def test_a_fifth_more_or_less_stays_within_a_thousandth(name: str, circuit: AcCircuit, factor: float) -> None:
    network = ac_tangent.build(circuit, 1.0, DEVICES[name])
    moved = scaled(DEVICES[name], factor)
    assert largest_error(network, network.solve(*demand(network, moved)), circuit.solve(1.0, moved)) <= 1e-3


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("power", [(1.0, 0.0), (0.0, 1.0)])
def test_slopes_are_those_of_opendss(
    name: str, circuit: AcCircuit, place: int, power: tuple[float, float]
) -> None:
    devices = DEVICES[name]
    network = ac_tangent.build(circuit, 1.0, devices)
    terminal = devices[place][0]
    h = 10.0
    more, less = (circuit.solve(1.0, [*devices, (terminal, s * h * power[0], s * h * power[1])]) for s in (1, -1))
    p, q = demand(network, [(terminal, 1000 * power[0], 1000 * power[1])])
    by_voltage = network.response(network.voltages, p[:, None], q[:, None])[:, 0]
    expected = np.array([more.voltages[k] ** 2 - less.voltages[k] ** 2 for k in network.voltages.labels])
    expected /= 2 * h / 1000
    assert by_voltage == pytest.approx(expected, abs=2e-4 * np.abs(expected).max())
    by_import = network.response(network.import_p, p[:, None], q[:, None])[0, 0]
    assert by_import == pytest.approx((more.p_source_kw - less.p_source_kw) / (2 * h), abs=1e-4)


def test_it_has_the_nodes_and_outputs_of_lindist3flow(name: str, circuit: AcCircuit) -> None:
    ac, linear = ac_tangent.build(circuit), lindist3flow.build(circuit.feeder)
    assert ac.nodes[: len(linear.nodes)] == linear.nodes
    assert set(ac.nodes[len(linear.nodes) :]) == {(b.name, leg) for b in circuit.feeder.buses for leg in b.legs}
    for output in ("voltages", "flows_p", "flows_q", "unbalance", "import_p", "import_q"):
        assert getattr(ac, output).labels == getattr(linear, output).labels


def test_the_flows_are_those_that_opendss_reports(name: str, circuit: AcCircuit) -> None:
    feeder = circuit.feeder
    dss = opendssdirect.dss.NewContext()
    for command in circuit_commands(feeder):
        dss.Text.Command(command)
    dss.Solution.Solve()
    network = ac_tangent.build(circuit)
    y = network.solve(*demand(network, []))
    p, q = (
        dict(zip(out.labels, 1000 * out.at(y), strict=True)) for out in (network.flows_p, network.flows_q)
    )
    lines = {line.name: line for line in feeder.lines if feeder.bus_by_name[line.from_bus].grounded}
    for line in lines.values():
        dss.Circuit.SetActiveElement(f"line.{line.name}")
        powers = np.array(dss.CktElement.Powers()).reshape(2, -1, 2)[0]
        for phase, (kw, kvar) in zip(line.phases, powers, strict=True):
            assert p[line.name, phase] == pytest.approx(kw, abs=0.02)
            assert q[line.name, phase] == pytest.approx(kvar, abs=0.02)


def test_the_flows_are_near_those_of_lindist3flow_at_its_fixed_point(name: str, circuit: AcCircuit) -> None:
    tangent, linear = ac_tangent.build(circuit), lindist3flow.fixed_point(circuit.feeder)
    for output in ("flows_p", "flows_q"):
        ours, theirs = (getattr(n, output).at(n.solve(*demand(n, []))) for n in (tangent, linear))
        # what charges the near half of a line enters it here, and leaves at its bus there: 0.24 kvar at most
        assert ours == pytest.approx(theirs, abs=3e-4)


def test_flows_move_with_demand(name: str, circuit: AcCircuit) -> None:
    network = ac_tangent.build(circuit, 1.0, DEVICES[name])
    moved = scaled(DEVICES[name], 1.05)
    there = ac_tangent.build(circuit, 1.0, moved)
    y = demand(network, moved)
    for output in ("flows_p", "flows_q"):
        assert getattr(network, output).at(network.solve(*y)) == pytest.approx(
            getattr(there, output).at(there.solve(*y)), abs=2e-4
        )


def test_the_pattern_does_not_depend_on_the_point(name: str, circuit: AcCircuit) -> None:
    first = ac_tangent.build(circuit)
    other = ac_tangent.build(circuit, 0.4, DEVICES[name])
    assert np.array_equal(first.matrix.indices, other.matrix.indices)
    assert np.array_equal(first.matrix.indptr, other.matrix.indptr)
    assert np.array_equal(first.unbalance.rows.indices, other.unbalance.rows.indices)
    for output in ("voltages", "flows_p", "flows_q", "import_p", "import_q"):
        assert np.array_equal(getattr(first, output).rows.toarray(), getattr(other, output).rows.toarray())
        assert np.array_equal(getattr(first, output).constant, getattr(other, output).constant)


@settings(max_examples=15)
@given(st.floats(0.3, 1.2), st.floats(-300, 300), st.floats(-150, 150), st.sampled_from(["611", "652", "634", "680"]))
def test_it_is_exact_wherever_it_is_taken(scale: float, kw: float, kvar: float, bus: str) -> None:
    feeder = read_feeder("ieee13")
    devices = [(Terminal(bus, "wye", (feeder.bus_by_name[bus].phases[-1],)), kw, kvar)]
    circuit = AcCircuit(feeder)
    ac = circuit.solve(scale, devices)
    if ac.converged:
        network = ac_tangent.build(circuit, scale, devices)
        assert largest_error(network, network.solve(*demand(network, devices)), ac) <= 1e-8


def test_fixed_generation_is_part_of_the_base_case(four_wire: Feeder) -> None:
    from dataclasses import replace

    from cosim.grid.feeder.feeder import Generator

    unit = Generator("g", "2", "wye", "a", "pv", 90.0, -20.0)
    network = ac_tangent.build(AcCircuit(replace(four_wire, generators=(unit,))))
    none = np.zeros(len(network.nodes))
    same = AcCircuit(four_wire).solve(1.0, [(Terminal("2", "wye", ("a",)), -90.0, 20.0)])
    assert largest_error(network, network.solve(none, none), same) <= 1e-8


def test_a_point_without_solution_is_a_failure(ieee37: Feeder) -> None:
    with pytest.raises(RunFailure, match="no AC solution"):
        ac_tangent.build(AcCircuit(ieee37), 8.0)
