"""An OpenDSS circuit as a feeder of its own: its solution is OpenDSS's, its slopes those of finite differences."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from cosim.errors import InputError
from cosim.grid.feeder.circuit import CircuitFeeder
from cosim.grid.feeder.phases import Terminal
from cosim.grid.linear import ac_tangent
from cosim.grid.linear.response import strongest_response
from cosim.grid.opendss.circuit import AcCircuit
from cosim.grid.opendss.context import new_context
from cosim.grid.opendss.whole.reader import read_dss
from cosim.scenario.schema import NetworkSpec
from tests.grid.dss_circuits import END, MESHED, RADIAL, REFUSED, RING, WYE, WYE_LOADS

LOOPED = {what: text for what, (text, _, _) in REFUSED.items()} | MESHED
EVERYTHING = RADIAL | LOOPED
KILO = 1000.0
LOAD_SCALE = {"constant": 1.0}


def feeder_of(text: str, folder: Path) -> CircuitFeeder:
    file = folder / "master.dss"
    file.write_text(text)
    return read_dss(file)


def solved_by_opendss(text: str) -> Any:
    """The script as OpenDSS itself takes it, line by line, solved closely."""
    dss = new_context()
    for line in text.splitlines():
        dss.Text.Command(line)
    for line in ("set controlmode=off", "set maxiterations=200", "set tolerance=1e-11", "solve"):
        dss.Text.Command(line)
    return dss


def volts_of(dss: Any) -> dict[str, complex]:
    numbers = np.asarray(dss.Circuit.AllBusVolts(), dtype=float).view(complex)
    return dict(zip((name.lower() for name in dss.Circuit.AllNodeNames()), numbers, strict=True))


@pytest.mark.parametrize("what", EVERYTHING)
def test_its_solution_is_that_of_opendss(what: str, tmp_path: Path) -> None:
    feeder = feeder_of(EVERYTHING[what], tmp_path)
    circuit, volts = AcCircuit(feeder), volts_of(solved_by_opendss(EVERYTHING[what]))
    assert circuit.solve().settled
    w = feeder.wiring
    for row, names in enumerate(w.names):
        for place, name in enumerate(names):
            if name:
                own = circuit.node_phasors[row, place]
                assert abs(own - volts[name] / KILO / w.row_kv[row]) <= 1e-8, name


def terminals(feeder: CircuitFeeder) -> list[tuple[int, Terminal]]:
    """Places where a device may hang, with the number of their demand."""
    network = ac_tangent.build(AcCircuit(feeder))
    found = []
    for k, (bus, x) in enumerate(network.nodes):
        if len(x) == 2 or feeder.bus_by_name[bus].grounded:
            found.append((k, Terminal(bus, "delta" if len(x) == 2 else "wye", (x,))))
    return found


@pytest.mark.parametrize("what", EVERYTHING)
def test_its_tangent_has_the_slopes_of_opendss(what: str, tmp_path: Path) -> None:
    feeder = feeder_of(EVERYTHING[what], tmp_path)
    circuit = AcCircuit(feeder)
    network = ac_tangent.build(circuit)
    none = np.zeros(len(network.nodes))
    y, base = network.solve(none, none), circuit.solve()
    at = np.sqrt(network.voltages.at(y))
    assert at == pytest.approx([base.voltages[k] for k in network.voltages.labels], abs=1e-8)
    assert KILO * network.import_p.at(y)[0] == pytest.approx(base.p_source_kw, abs=1e-5)
    for k, terminal in terminals(feeder)[:: max(1, len(none) // 12)]:
        kw = 2.0 * feeder.bus_by_name[terminal.bus].kv_base ** 2 / 12.47**2 + 0.005
        p, q = none.copy(), none.copy()
        p[k], q[k] = kw / KILO, 0.3 * kw / KILO
        moved = network.solve(p, q)
        more, less = (circuit.solve(1.0, [(terminal, s * kw, 0.3 * s * kw)]) for s in (1, -1))
        finite = np.array([(more.voltages[x] ** 2 - less.voltages[x] ** 2) / 2 for x in network.voltages.labels])
        slopes = network.voltages.at(moved) - network.voltages.at(y)
        assert slopes == pytest.approx(finite, abs=1e-4 * np.abs(finite).max() + 1e-9), terminal
        imported = KILO * (network.import_p.at(moved) - network.import_p.at(y))[0]
        assert imported == pytest.approx((more.p_source_kw - less.p_source_kw) / 2, abs=1e-3 * kw)


@pytest.mark.parametrize("what", MESHED)
def test_flows_are_those_of_opendss(what: str, tmp_path: Path) -> None:
    """Summed over phases, where the frame of a bus does not matter."""
    feeder = feeder_of(MESHED[what], tmp_path)
    network = ac_tangent.build(AcCircuit(feeder))
    y = network.solve(*np.zeros((2, len(network.nodes))))
    flows = dict.fromkeys((name for name, _ in network.flows_p.labels), 0j)
    for (name, _), p, q in zip(network.flows_p.labels, network.flows_p.at(y), network.flows_q.at(y), strict=True):
        flows[name] += complex(p, q) * KILO
    dss = solved_by_opendss(MESHED[what])
    upper = {e.name: e.from_bus for e in feeder.elements}
    for name, flow in flows.items():
        dss.Circuit.SetActiveElement(name)
        power = np.asarray(dss.CktElement.Powers(), dtype=float).view(complex)
        nodes = ["", *(node.lower().split(".")[0] for node in dss.Circuit.YNodeOrder())]
        into = sum(x for x, k in zip(power, dss.CktElement.NodeRef(), strict=True) if nodes[k] == upper[name])
        assert flow == pytest.approx(into, abs=0.02), name


def test_buses_are_named_as_they_are(tmp_path: Path) -> None:
    feeder = feeder_of(RING, tmp_path)
    kinds = {b.name: (b.phases, b.grounded, feeder.neutral_node(b)) for b in feeder.buses}
    assert kinds["s3"] == ("abc", False, 0)  # behind a delta winding
    assert kinds["q2"] == ("abc", True, 4)  # with a neutral conductor
    assert kinds["l4"] == ("b", True, 0)
    assert kinds["n2"] == ("abc", True, 0)
    assert "dead" not in kinds  # behind an open line
    assert {b.name: b.kv_base for b in feeder.buses}["q"] == pytest.approx(0.48)


def test_halves_of_a_centre_tapped_winding_are_split_phase(tmp_path: Path) -> None:
    feeder = feeder_of(RADIAL["centre-tapped secondaries"], tmp_path)
    bus = feeder.bus_by_name["e"]
    assert (bus.phases, bus.split, bus.legs) == ("12", True, ("12",))
    assert bus.kv_base == pytest.approx(0.24, rel=0.01)


def test_a_device_on_a_phase_returns_through_the_neutral_conductor(tmp_path: Path) -> None:
    circuit = AcCircuit(feeder_of(RING, tmp_path))
    before = circuit.solve()
    k = circuit.feeder.bus_by_name
    row = list(k).index("q2")
    neutral = circuit.feeder.wiring.neutral[row]  # type: ignore[attr-defined]
    was = circuit.node_phasors[row, neutral]
    circuit.solve(1.0, [(Terminal("q2", "wye", ("a",)), 30.0, 0.0)])
    assert abs(circuit.node_phasors[row, neutral] - was) > 1e-3
    circuit.solve(1.0, [(Terminal("q2", "delta", ("ab",)), 30.0, 0.0)])
    assert abs(circuit.node_phasors[row, neutral] - was) < 1e-3
    assert before.converged


def test_loads_follow_the_scale_as_in_opendss(tmp_path: Path) -> None:
    """Fixed loads, the fixed reactive power of models 6 and 7, and generation stay."""
    text = RING.replace("kw=900 kvar=300 model=1", "kw=900 kvar=300 model=1 status=fixed")
    feeder = feeder_of(text, tmp_path)
    network = ac_tangent.build(AcCircuit(feeder), 0.4)
    dss = solved_by_opendss(text)
    dss.Text.Command("set loadmult=0.4")
    dss.Solution.Solve()
    y = network.solve(*np.zeros((2, len(network.nodes))))
    assert KILO * network.import_p.at(y)[0] == pytest.approx(-dss.Circuit.TotalPower()[0], abs=1e-4)
    # and the tangent's own equations hold the loads of that scale: a second point near it is met to second order
    near = AcCircuit(feeder).solve(0.4, [(Terminal("n3", "wye", ("a",)), 2.0, 0.0)])
    p = np.zeros(len(network.nodes))
    p[network.nodes.index(("n3", "a"))] = 2.0 / KILO
    moved = np.sqrt(network.voltages.at(network.solve(p, 0 * p)))
    assert moved == pytest.approx([near.voltages[x] for x in network.voltages.labels], abs=2e-8)


def test_what_the_script_s_load_multiplier_says_is_kept(tmp_path: Path) -> None:
    text = RING.replace("set voltagebases", "set loadmult=0.7\nset voltagebases")
    feeder = feeder_of(text, tmp_path)
    assert AcCircuit(feeder).solve(0.5).p_source_kw == pytest.approx(
        AcCircuit(feeder_of(RING, tmp_path)).solve(0.35).p_source_kw, rel=2e-3
    )


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        (WYE + "new vsource.second bus1=e basekv=12.47\nnew line.x bus1=s bus2=e length=1\n" + END, "vsource",
         "source, second"),
        (WYE + "new line.x bus1=s bus2=e length=1\nnew isource.i bus1=e amps=5\n" + END, "isource.i", "class isource"),
        (WYE + "new line.x bus1=s bus2=e length=1\n" + WYE_LOADS
         + "new generator.g bus1=e kv=12.47 kw=50 model=3\n" + END, "generator.g.model", "generator.g"),
        (WYE + "new line.x bus1=s bus2=e length=1\n" + WYE_LOADS + "solve\n", "bus.s.kvbase", "no base voltage"),
        (WYE + "new line.x bus1=s bus2=e length=1\n" + WYE_LOADS + "set voltagebases=[4.16]\ncalcvoltagebases\nsolve\n",
         "bus.s.kvbase", "far from its base voltage"),
        (WYE + "new line.x bus1=s bus2=e length=1\n" + WYE_LOADS + END + "doscmd touch out.csv\n", "line", "doscmd"),
    ],
)  # fmt: skip
def test_what_cannot_be_carried_is_refused_by_name(text: str, key: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        feeder_of(text, tmp_path)
    assert key in str(caught.value.key) and re.search(message, str(caught.value))
    assert [p.name for p in tmp_path.iterdir()] == ["master.dss"]


def test_redirects_are_found_beside_the_script_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "parts" / "loads").mkdir(parents=True)
    (tmp_path / "parts" / "lines.dss").write_text("new line.x bus1=s bus2=e length=1\nredirect loads/all.dss\n")
    (tmp_path / "parts" / "loads" / "all.dss").write_text(WYE_LOADS)
    feeder = feeder_of(WYE + "redirect parts/lines.dss\n" + END, tmp_path)
    assert len(feeder.loads) == 3


def test_what_draws_nothing_is_told(tmp_path: Path) -> None:
    feeder = feeder_of(LOOPED["an island"], tmp_path)
    assert any("load.a, load.b, load.c" in text for text in feeder.remarks)
    ring = feeder_of(RING, tmp_path)
    assert ring.controls == ("regcontrol.r",) and not any("regcontrol.r" in text for text in ring.notes_of_reading)
    assert any("regcontrol.r" in text for text in ring.held().notes_of_reading)


def test_the_search_for_the_strongest_response_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    feeder = feeder_of(RING, tmp_path)
    whole = strongest_response(feeder)
    monkeypatch.setattr("cosim.grid.linear.response.ALL_NODES", 0)
    monkeypatch.setattr("cosim.grid.linear.response.CANDIDATES", 6)
    assert strongest_response(feeder) == pytest.approx(whole, rel=1e-9)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"dss": "m.dss", "feeder": "ieee37"}, "exactly one"),
        ({}, "exactly one"),
        ({"dss": "m.dss", "model": "lindist3flow"}, "lindist3flow needs a feeder of tables"),
        ({"dss": "m.dss", "taps": {"r.a": 1}}, "taps needs"),
    ],
)
def test_a_network_has_one_door(network: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        NetworkSpec.model_validate({"load_scale": LOAD_SCALE, **network})


def test_a_circuit_has_the_model_that_need_not_be_written() -> None:
    assert NetworkSpec.model_validate({"load_scale": LOAD_SCALE, "dss": "m.dss"}).model == "ac-linear"
