"""LinDist3Flow against the published solution, against AC power flow and against direct phasors."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from cosim.errors import RunFailure
from cosim.grid.feeder.arrays import products, square_map
from cosim.grid.feeder.banks import bank_of
from cosim.grid.feeder.feeder import Bus, Feeder, Regulator
from cosim.grid.feeder.phases import LINE_TO_CENTROID, Terminal, centroid, line_to_line, terminal_map
from cosim.grid.linear import lindist3flow
from cosim.grid.linear.lindist3flow import OperatingPoint
from cosim.grid.linear.network import LinearNetwork, Real
from cosim.grid.opendss.circuit import AcCircuit, AcSolution

PUBLISHED_KW, PUBLISHED_KVAR = 2521.827, 1249.435
Published = list[tuple[tuple[str, str], float]]
INJECTIONS = [
    (Terminal("738", "delta", ("ab", "bc", "ca")), 300.0, 98.6),
    (Terminal("722", "delta", ("bc",)), 200.0, -60.0),
    (Terminal("736", "delta", ("ca",)), -250.0, 30.0),
]


def voltages(network: LinearNetwork, y: Real) -> dict[tuple[str, str], float]:
    values = np.sqrt(network.voltages.at(y))
    return {label: float(v) for label, v in zip(network.voltages.labels, values, strict=True)}


def no_demand(network: LinearNetwork) -> Real:
    return np.zeros(len(network.nodes))


def node_demand(network: LinearNetwork, injections: list[tuple[Terminal, float, float]]) -> tuple[Real, Real]:
    p, q = no_demand(network), no_demand(network)
    for terminal, kw, kvar in injections:
        t = terminal_map(terminal, network.nodes)
        p += (t.pp * kw + t.pq * kvar) / 1000
        q += (t.qp * kw + t.qq * kvar) / 1000
    return p, q


def solved(network: LinearNetwork) -> Real:
    return network.solve(no_demand(network), no_demand(network))


def largest_error(network: LinearNetwork, y: Real, other: AcSolution) -> float:
    found = voltages(network, y)
    assert found.keys() == other.voltages.keys()
    return max(abs(found[key] - other.voltages[key]) for key in found)


def test_without_losses_the_published_voltages_are_met(ieee37: Feeder, published: Published) -> None:
    network = lindist3flow.build(ieee37, losses=False)
    found = voltages(network, solved(network))
    assert len(published) == 117
    assert max(abs(found[key] - value) for key, value in published) <= 0.0009


def test_with_losses_the_published_voltages_are_met_to_their_digits(ieee37: Feeder, published: Published) -> None:
    network = lindist3flow.fixed_point(ieee37)
    found = voltages(network, solved(network))
    assert max(abs(found[key] - value) for key, value in published) <= 1e-4


def test_with_losses_the_published_import_is_met(ieee37: Feeder) -> None:
    network = lindist3flow.fixed_point(ieee37)
    y = solved(network)
    assert network.import_p.at(y)[0] * 1000 == pytest.approx(PUBLISHED_KW, abs=0.1)
    assert network.import_q.at(y)[0] * 1000 == pytest.approx(PUBLISHED_KVAR, abs=0.1)


def test_without_losses_the_import_is_the_load(ieee37: Feeder) -> None:
    loads = tuple(replace(load, model="PQ") for load in ieee37.loads)
    network = lindist3flow.build(replace(ieee37, loads=loads), losses=False)
    assert network.import_p.at(solved(network))[0] * 1000 == pytest.approx(2457.0, abs=1e-6)


@pytest.mark.parametrize("scale", [0.3, 0.9, 1.3])
def test_ac_power_flow_agrees_at_other_loads(ieee37: Feeder, scale: float) -> None:
    network = lindist3flow.fixed_point(ieee37, scale)
    ac = AcCircuit(ieee37).solve(scale)
    y = solved(network)
    # OpenDSS gives each regulator unit a reactance of 1e-5 per unit
    assert largest_error(network, y, ac) <= 2e-5
    assert network.import_p.at(y)[0] * 1000 == pytest.approx(ac.p_source_kw, abs=0.1)


@pytest.mark.parametrize("scale", [0.3, 0.9, 1.3])
def test_ac_power_flow_agrees_with_devices_added(ieee37: Feeder, scale: float) -> None:
    p, q = node_demand(lindist3flow.build(ieee37), INJECTIONS)
    network = lindist3flow.fixed_point(ieee37, scale, p, q)
    ac = AcCircuit(ieee37).solve(scale, INJECTIONS)
    y = network.solve(p, q)
    # the map of devices to phases is that of nominal phasors; everything else is exact
    assert largest_error(network, y, ac) <= 3e-4
    assert network.import_p.at(y)[0] * 1000 == pytest.approx(ac.p_source_kw, rel=1e-4)


def test_the_error_with_devices_is_that_of_the_nominal_map(ieee37: Feeder) -> None:
    ac = AcCircuit(ieee37).solve(1.0, INJECTIONS)
    nodes = lindist3flow.build(ieee37).nodes
    p, q = np.zeros(len(nodes)), np.zeros(len(nodes))
    for terminal, kw, kvar in INJECTIONS:
        t = terminal_map(terminal, nodes, ac.phasors[terminal.bus])
        p += (t.pp * kw + t.pq * kvar) / 1000
        q += (t.qp * kw + t.qq * kvar) / 1000
    network = lindist3flow.fixed_point(ieee37, 1.0, p, q)
    assert largest_error(network, network.solve(p, q), ac) <= 2e-5


def test_unbalance_agrees_with_ac_power_flow(ieee37: Feeder) -> None:
    network = lindist3flow.fixed_point(ieee37)
    ac = AcCircuit(ieee37).solve()
    parts = network.unbalance.at(solved(network)).reshape(-1, 2)
    buses = [label[0] for label in network.unbalance.labels[::2]]
    for bus, (re, im) in zip(buses, parts, strict=True):
        assert np.hypot(re, im) == pytest.approx(ac.unbalance[bus].vuf_pct, abs=1e-3)


def test_unbalance_rows_are_a_tangent(ieee37: Feeder) -> None:
    network = lindist3flow.fixed_point(ieee37)
    p, q = node_demand(network, [(Terminal("738", "delta", ("ab",)), 10.0, 5.0)])
    moved = network.solve(p, q)
    here = lindist3flow.build(ieee37, point=OperatingPoint(moved))
    assert network.unbalance.at(moved) == pytest.approx(here.unbalance.at(moved), abs=1e-3)


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0])
def test_a_four_wire_feeder_agrees_with_ac_power_flow(four_wire: Feeder, scale: float) -> None:
    network = lindist3flow.fixed_point(four_wire, scale)
    ac = AcCircuit(four_wire).solve(scale)
    y = solved(network)
    assert largest_error(network, y, ac) <= 5e-5
    assert network.import_p.at(y)[0] * 1000 == pytest.approx(ac.p_source_kw, abs=0.05)
    assert network.import_q.at(y)[0] * 1000 == pytest.approx(ac.q_source_kvar, abs=0.5)


@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_a_delta_wye_transformer_agrees_with_ac_power_flow(delta_wye: Feeder, scale: float) -> None:
    network = lindist3flow.fixed_point(delta_wye, scale)
    ac = AcCircuit(delta_wye).solve(scale)
    y = solved(network)
    assert largest_error(network, y, ac) <= 5e-5
    assert network.import_p.at(y)[0] * 1000 == pytest.approx(ac.p_source_kw, abs=0.05)


def test_the_pattern_does_not_depend_on_the_point_or_the_load(ieee37: Feeder) -> None:
    first = lindist3flow.build(ieee37)
    loaded = OperatingPoint(solved(lindist3flow.fixed_point(ieee37)))
    for other in (
        lindist3flow.build(ieee37, 0.0, loaded),
        lindist3flow.build(ieee37, 1.5, loaded, losses=False),
    ):
        assert np.array_equal(first.matrix.indices, other.matrix.indices)
        assert np.array_equal(first.matrix.indptr, other.matrix.indptr)
        assert np.array_equal(first.unbalance.rows.indices, other.unbalance.rows.indices)


def test_the_fixed_point_reproduces_itself(ieee37: Feeder) -> None:
    y = solved(lindist3flow.fixed_point(ieee37))
    again = lindist3flow.build(ieee37, point=OperatingPoint(y))
    assert solved(again) == pytest.approx(y, abs=1e-9)


def test_a_fixed_point_may_start_from_another(ieee37: Feeder) -> None:
    start = OperatingPoint(solved(lindist3flow.fixed_point(ieee37, 0.8)))
    from_start = solved(lindist3flow.fixed_point(ieee37, start=start))
    assert from_start == pytest.approx(solved(lindist3flow.fixed_point(ieee37)), abs=1e-8)


def test_a_load_that_cannot_be_served_is_a_failure(ieee37: Feeder) -> None:
    loads = tuple(replace(load, model="PQ") for load in ieee37.loads)
    with pytest.raises(RunFailure):
        lindist3flow.fixed_point(replace(ieee37, loads=loads), 20.0)


def test_response_is_the_change_of_the_output(ieee37: Feeder) -> None:
    network = lindist3flow.fixed_point(ieee37)
    rng = np.random.default_rng(0)
    p, q = rng.standard_normal((2, len(network.nodes))) / 100
    base = solved(network)
    for output in (network.import_p, network.voltages, network.flows_q, network.unbalance):
        change = output.at(network.solve(p, q)) - output.at(base)
        assert network.response(output, p[:, None], q[:, None])[:, 0] == pytest.approx(change, abs=1e-10)


def test_adjoint_is_the_transpose_of_response(ieee37: Feeder) -> None:
    network = lindist3flow.fixed_point(ieee37)
    rng = np.random.default_rng(0)
    columns_p, columns_q = rng.standard_normal((2, len(network.nodes), 4))
    duals = rng.standard_normal((len(network.voltages.labels), 3))
    by_p, by_q = network.adjoint(np.asarray(network.voltages.rows.T @ duals))
    forward = duals.T @ network.response(network.voltages, columns_p, columns_q)
    assert by_p.T @ columns_p + by_q.T @ columns_q == pytest.approx(forward, abs=1e-9)


def test_marginal_import_is_one_plus_marginal_losses(ieee37: Feeder) -> None:
    """The slope of the linear network is the slope of AC power flow."""
    network = lindist3flow.fixed_point(ieee37)
    t = terminal_map(Terminal("738", "delta", ("ab", "bc", "ca")), network.nodes)
    slope = network.response(network.import_p, t.pp[:, None], t.qp[:, None])[0, 0]
    circuit = AcCircuit(ieee37)
    device = Terminal("738", "delta", ("ab", "bc", "ca"))
    more, less = (circuit.solve(1.0, [(device, kw, 0.0)]).p_source_kw for kw in (10.0, -10.0))
    assert slope == pytest.approx((more - less) / 20, abs=1e-3)
    assert slope > 1.02


def test_a_network_can_be_sent_to_another_process(ieee37: Feeder) -> None:
    network = lindist3flow.fixed_point(ieee37)
    y = solved(network)
    copy = pickle.loads(pickle.dumps(network))
    assert solved(copy) == pytest.approx(y, abs=0)


BUSES = (Bus("i", 4.8), Bus("j", 4.8))


def test_an_open_delta_regulator_is_linear_in_squares() -> None:
    regulator = Regulator("r", "i", "j", "open-delta", {"ab": 7, "cb": 4})
    a1, a2 = regulator.ratio("ab"), regulator.ratio("cb")
    v = np.array([1.01, 0.97 * np.exp(-2.05j), 1.02 * np.exp(2.12j)])
    ab, cb = a1 * (v[0] - v[1]), a2 * (v[2] - v[1])
    after = np.array([ab, -cb, cb - ab])
    squares = np.abs(after) ** 2 / 3
    product = products(v[None], np.array([False]))[0]
    u = square_map(bank_of(regulator, *BUSES).coupling, product) @ np.abs(centroid(v)) ** 2
    assert u == pytest.approx(LINE_TO_CENTROID @ squares, abs=1e-12)
    w_ab, w_bc, w_ca = np.abs(line_to_line(v)) ** 2
    mixed = a1**2 * w_ab + a2**2 * w_bc - a1 * a2 * (w_ab + w_bc - w_ca)
    assert squares * 3 == pytest.approx([a1**2 * w_ab, a2**2 * w_bc, mixed])


@pytest.mark.parametrize("units", [("ab", "cb"), ("bc", "ac"), ("ca", "ba")])
def test_an_open_delta_regulator_keeps_power_per_phase_as_its_windings_do(units: tuple[str, str]) -> None:
    regulator = Regulator("r", "i", "j", "open-delta", {units[0]: -5, units[1]: 12})
    coupling = bank_of(regulator, *BUSES).coupling
    rng = np.random.default_rng(3)
    v = centroid(np.exp(-2j * np.pi / 3 * np.arange(3)) * (1 + 0.02 * rng.standard_normal(3)))
    current_after = centroid(rng.standard_normal(3) + 1j * rng.standard_normal(3))
    # each winding: ampere turns balance, the shared phase carries the rest
    current = np.zeros(3, dtype=complex)
    for unit in units:
        current["abc".index(unit[0])] = regulator.ratio(unit) * current_after["abc".index(unit[0])]
    current["abc".index(units[0][1])] = -current.sum()
    after = coupling @ v
    assert coupling.T @ current_after == pytest.approx(centroid(current), abs=1e-12)
    assert (after * np.conj(current_after)).sum() == pytest.approx((v * np.conj(current)).sum())
    for unit in units:
        k, m = "abc".index(unit[0]), "abc".index(unit[1])
        assert after[k] - after[m] == pytest.approx(regulator.ratio(unit) * (v[k] - v[m]))


def test_naming_a_delta_load_wye_would_be_seen(ieee37: Feeder, published: Published) -> None:
    """The delta map matters: a leg's power split evenly misses by more than 0.002 pu."""
    legs = [(load.bus, load.phases, load.p_kw, load.q_kvar) for load in ieee37.loads]
    network = lindist3flow.build(replace(ieee37, loads=()), losses=False)
    p, q = no_demand(network), no_demand(network)
    where = {node: n for n, node in enumerate(network.nodes)}
    for bus, leg, kw, kvar in legs:
        for phase in leg:
            p[where[bus, phase]] += kw / 2000
            q[where[bus, phase]] += kvar / 2000
    found = voltages(network, network.solve(p, q))
    assert max(abs(found[key] - value) for key, value in published) > 0.002
