"""Flows through branches against OpenDSS's own powers and currents of its elements."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cosim.grid.feeder.circuit import CircuitFeeder
from cosim.grid.feeder.feeder import PLACE, Bus, Feeder, Transformer, phase_rating_kva
from cosim.grid.feeder.flows import flow_ends
from cosim.grid.feeder.tables import read_feeder
from cosim.grid.linear import ac_tangent, lindist3flow
from cosim.grid.linear.branch_flows import LinearFlows, ac_flows
from cosim.grid.linear.network import LinearNetwork
from cosim.grid.opendss.admittance import _elements
from cosim.grid.opendss.circuit import AcCircuit
from cosim.grid.opendss.whole.reader import read_dss
from tests.grid.dss_circuits import RADIAL, RING

Complex = NDArray[np.complex128]
FEEDERS = ("ieee13", "ieee37", "ieee123")
AT_PEAK = 1.25
"""A branch that nobody rates is taken to be rated this much above what it carries."""


@cache
def solved(name: str) -> AcCircuit:
    circuit = AcCircuit(read_feeder(name))
    circuit.solve(1.0)
    return circuit


def of_elements(circuit: AcCircuit) -> tuple[Complex, Complex, Complex]:
    """Power (kVA), current (A) and voltage (V) of every flow, from OpenDSS's elements at its upper bus."""
    dss, feeder = circuit._dss, circuit.feeder
    ends = flow_ends(feeder)
    branches = {b.name: b for b in feeder.branches}
    found = np.zeros((3, len(ends.labels)), dtype=complex)
    for k, ((name, phase), bus) in enumerate(zip(ends.labels, ends.buses, strict=True)):
        for element in [name] if isinstance(feeder, CircuitFeeder) else _elements(branches[name]):
            dss.Circuit.SetActiveElement(element)
            here, of = dss.CktElement, dss.CktElement.NumConductors()
            each = [np.asarray(x(), dtype=float).view(complex) for x in (here.Powers, here.Currents, here.Voltages)]
            at = [b.lower().split(".")[0] for b in here.BusNames()]
            for i, node in enumerate(here.NodeOrder()):
                if at[i // of] == bus.name.lower() and node == PLACE[phase] + 1:
                    found[:2, k] += [each[0][i], each[1][i]]
                    found[2, k] = each[2][i]
    return found[0], found[1], found[2]


@pytest.mark.parametrize("name", ["ieee13", "ieee123"])
def test_ac_flows_with_a_neutral_are_those_of_opendss(name: str) -> None:
    power, current, _ = of_elements(solved(name))
    flows = ac_flows(solved(name))
    assert np.allclose(flows.p_kw, power.real, rtol=0, atol=1e-4)
    assert np.allclose(flows.q_kvar, power.imag, rtol=0, atol=1e-4)
    assert np.allclose(flows.current_a, np.abs(current), rtol=0, atol=1e-4)


def test_ac_flows_without_a_neutral_are_those_of_opendss_in_the_centroid_frame() -> None:
    power, current, volts = of_elements(solved("ieee37"))
    flows = ac_flows(solved("ieee37"))
    framed: dict[str, list[complex]] = {}
    for (branch, _), v in zip(flows.labels, volts, strict=True):
        framed.setdefault(branch, []).append(v)
    centroid = np.array([np.mean(framed[branch]) for branch, _ in flows.labels])
    expected = (volts - centroid) * np.conj(current) / 1000
    # what charges the lines against the ground carries no power in this frame
    assert np.allclose(flows.p_kw + 1j * flows.q_kvar, expected, rtol=0, atol=0.1)
    assert np.allclose(flows.current_a, np.abs(current), rtol=0, atol=0.03)
    by_branch = {branch: 0.0 for branch, _ in flows.labels}
    for (branch, _), p, s in zip(flows.labels, flows.p_kw, power, strict=True):
        by_branch[branch] += p - s.real
    assert max(map(abs, by_branch.values())) < 1e-2


@pytest.mark.parametrize("case", ["ring", "centre-tapped secondaries"])
def test_ac_flows_of_a_circuit_itself_are_those_of_its_elements(case: str, tmp_path: Path) -> None:
    """Loops and centre taps; with a neutral of its own, and where the ground is the neutral."""
    (tmp_path / "m.dss").write_text(RING if case == "ring" else RADIAL[case])
    circuit = AcCircuit(read_dss(tmp_path / "m.dss"))
    circuit.solve(0.8)
    _, current, _ = of_elements(circuit)
    flows = ac_flows(circuit)
    three_wire = np.array([not bus.grounded for bus in flow_ends(circuit.feeder).buses])
    assert not three_wire.all()
    assert np.allclose(flows.current_a[~three_wire], np.abs(current)[~three_wire], rtol=1e-6, atol=1e-3)


def networks(name: str) -> list[LinearNetwork]:
    """Both linear models of a feeder at its base load."""
    feeder, none = read_feeder(name), np.zeros((1, len(lindist3flow.nodes_of(read_feeder(name)))))
    (table,) = lindist3flow.fixed_points(feeder, np.ones(1), none, none, [None], 1e-9)
    return [table, ac_tangent.build(solved(name))]


@pytest.mark.parametrize("name", FEEDERS)
def test_loading_in_linear_networks_is_that_of_opendss(name: str) -> None:
    """Within 0.5 % of the rating, by apparent power and by current, of every branch and phase."""
    _, current, _ = of_elements(solved(name))
    ac = ac_flows(solved(name))
    ends = flow_ends(solved(name).feeder)
    kva = AT_PEAK * np.hypot(ac.p_kw, ac.q_kvar)
    largest: dict[str, float] = {}
    for (branch, _), x in zip(ac.labels, kva.tolist(), strict=True):
        largest[branch] = max(x, largest.get(branch, 0.0))
    rating = np.array([max(largest[branch], 1.0) for branch, _ in ac.labels])
    amps = rating / [bus.kv_neutral for bus in ends.buses]
    for network in networks(name):
        none = np.zeros(len(network.nodes))
        flows = LinearFlows(ends, network).at(network, network.solve(none, none))
        assert np.abs(flows.loading_pct(rating) - ac.loading_pct(rating)).max() <= 0.5
        assert (100 * np.abs(flows.current_a - np.abs(current)) / amps).max() <= 0.5


@pytest.mark.parametrize("name", FEEDERS)
def test_power_into_a_bus_leaves_it(name: str) -> None:
    """Less what OpenDSS says is lost on the way, what enters goes on into branches, loads and shunts."""
    circuit = solved(name)
    feeder, flows, dss = circuit.feeder, ac_flows(circuit), circuit._dss
    branches = {b.name: b for b in feeder.branches}
    balance = {bus.name.lower(): 0.0 for bus in feeder.buses}
    sent = {branch: 0.0 for branch, _ in flows.labels}
    upper: dict[str, Bus] = {}
    for (branch, _), bus, p in zip(flows.labels, flow_ends(feeder).buses, flows.p_kw, strict=True):
        sent[branch] += p
        upper[branch] = bus
    for branch, p in sent.items():
        b, lost = branches[branch], 0.0
        for element in _elements(b):
            dss.Circuit.SetActiveElement(element)
            lost += dss.CktElement.Losses()[0] / 1000
        other = b.to_bus if upper[branch].name == b.from_bus else b.from_bus
        balance[upper[branch].name.lower()] -= p
        balance[other.lower()] += p - lost
    for load in feeder.loads:
        dss.Circuit.SetActiveElement(f"load.{load.name}")
        balance[load.bus.lower()] -= sum(dss.CktElement.Powers()[::2])
    for c in feeder.capacitors:
        dss.Circuit.SetActiveElement(f"capacitor.{c.name}")
        balance[c.bus.lower()] -= sum(dss.CktElement.Powers()[::2])
    del balance[feeder.source_bus.lower()]
    assert max(map(abs, balance.values())) < 2e-2


def test_linear_flows_differ_where_their_demand_does() -> None:
    """A megawatt more at a node raises the current of the branches on its way and of no other."""
    feeder: Feeder = read_feeder("ieee123")
    network = lindist3flow.build(feeder, losses=False)
    flows = LinearFlows(flow_ends(feeder), network)
    base, more = np.zeros(len(network.nodes)), np.zeros(len(network.nodes))
    more[network.nodes.index(("114", "a"))] = 0.1
    before, after = (flows.at(network, network.solve(p, base)) for p in (base, more))
    parent = {}
    for (branch, _), bus in zip(flows.ends.labels, flows.ends.buses, strict=True):
        b = next(x for x in feeder.branches if x.name == branch)
        parent[b.to_bus if bus.name == b.from_bus else b.from_bus] = (branch, bus.name)
    way, here = set(), "114"
    while here in parent:
        branch, here = parent[here]
        way.add(branch)
    risen = {label for label, d in zip(before.labels, after.p_kw - before.p_kw, strict=True) if d > 90}
    assert risen == {(branch, "a") for branch in way}


def test_a_centre_tapped_unit_carries_its_rating_through_one_phase() -> None:
    unit = Transformer("t", "m", "s", 25.0, 7.2, "wye", 0.12, "split", 1.2, 2.0, phases_high="a", phases_low="12")
    assert phase_rating_kva(unit, Bus("s", 0.24, "12", grounded=True)) == 25.0
