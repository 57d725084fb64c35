"""Three-phase transformers of every connection: tables against the circuit that they were imported from, phase shift
included, and what the linear models make of them."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from cosim.errors import InputError
from cosim.grid.feeder.banks import is_ground_source
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.phases import Terminal
from cosim.grid.feeder.tables import read_feeder
from cosim.grid.linear import ac_tangent, lindist3flow
from cosim.grid.linear.network import LinearNetwork
from cosim.grid.opendss.circuit import AcCircuit
from cosim.grid.opendss.commands import circuit_commands
from cosim.grid.opendss.context import new_context
from cosim.grid.opendss.importer.importer import (
    Import,
    import_feeder,
    largest_difference,
    require_alike,
    write_import,
)
from tests.grid.alike import phasors_apart
from tests.grid.dss_circuits import END, LOW_LINE, TRUNK, WYE

CORE = "xhl=5.5 %rs=(0.5 0.6) %noloadloss=0.4 %imag=0.8"
AT_HIGH = "new load.u bus1=m.1 phases=1 kv=7.2 kw=400 kvar=100 vminpu=0.7 vmaxpu=1.3\n"
NODES = {"wye": "", "floating": ".1.2.3.4", "delta": ""}
KINDS = [kind for kind in product(NODES, NODES) if kind != ("floating", "wye")]
DIRECTIONS = [(4.16, True, ""), (24.9, False, "leadlag=lead")]
MORE = list(product((4.16, 12.47, 24.9), (False, True), ("", "leadlag=lead")))
"""Voltage away from the source, whether the first winding is there, and what is said of the phase shift."""


def low_loads(low: str, kv: float) -> str:
    places = ("e.1", "e.2") if low == "wye" else ("e.1.2", "e.2.3")
    how = f"phases=1 kv={kv / 3**0.5!r}" if low == "wye" else f"phases=1 conn=delta kv={kv}"
    a, b = (f"new load.{k} bus1={place} {how} vminpu=0.7 vmaxpu=1.3" for k, place in enumerate(places))
    return f"{a} kw=300 kvar=140\n{b} kw=150 kvar=40 model=2\n"


def script(high: str, low: str, kv: float = 4.16, turned: bool = False, shift: str = "", more: str = "") -> str:
    ends = [(f"m{NODES[high]}", high, 12.47), (f"l{NODES[low]}", low, kv)][:: -1 if turned else 1]
    buses, connections, voltages = zip(*ends, strict=True)
    conns = " ".join("delta" if c == "delta" else "wye" for c in connections)
    transformer = (
        f"new transformer.t phases=3 windings=2 buses=({' '.join(buses)}) conns=({conns}) "
        f"kvs=({voltages[0]} {voltages[1]}) kvas=(1500 1500) {CORE} {shift}\n"
    )
    end = END.replace("0.208", "24.9")
    return WYE + TRUNK + LOW_LINE + AT_HIGH + low_loads(low, kv) + transformer + more + end


def imported(tmp_path: Path, text: str) -> Import:
    file = tmp_path / "circuit.dss"
    file.write_text(text)
    return import_feeder(file)


def voltages(network: LinearNetwork) -> dict[tuple[str, str], float]:
    none = np.zeros(len(network.nodes))
    found = np.sqrt(network.voltages.at(network.solve(none, none)))
    return dict(zip(network.voltages.labels, found.tolist(), strict=True))


@pytest.mark.parametrize("directions", [DIRECTIONS, pytest.param(MORE, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("high", "low"), KINDS)
def test_phasors_of_every_connection_are_those_of_the_original(
    high: str, low: str, directions: list[tuple[float, bool, str]], tmp_path: Path
) -> None:
    for kv, turned, shift in directions:
        found = imported(tmp_path, script(high, low, kv, turned, shift))
        circuit = AcCircuit(found.feeder)
        ac = circuit.solve()
        assert ac.converged
        assert phasors_apart(found, circuit) <= 1e-6, (kv, turned, shift)
        assert not found.omissions
        if not is_ground_source(found.feeder.transformers[0]):
            assert voltages(lindist3flow.fixed_point(found.feeder)) == pytest.approx(ac.voltages, abs=1e-6)


@pytest.mark.parametrize(("high", "low"), KINDS)
def test_only_a_grounded_wye_before_a_delta_is_a_ground_source(high: str, low: str, tmp_path: Path) -> None:
    found = imported(tmp_path, script(high, low))
    assert is_ground_source(found.feeder.transformers[0]) == ((high, low) == ("wye", "delta"))
    write_import(found, tmp_path / "tables")
    assert read_feeder(tmp_path / "tables") == found.feeder


@pytest.fixture(scope="module", params=[("wye", "delta"), ("floating", "delta"), ("delta", "floating")])
def feeder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Feeder:
    return imported(tmp_path_factory.mktemp("circuit"), script(*request.param)).feeder


def test_the_ac_tangent_is_exact_and_its_slopes_are_those_of_opendss(feeder: Feeder) -> None:
    circuit = AcCircuit(feeder)
    network = ac_tangent.build(circuit)
    assert voltages(network) == pytest.approx(circuit.solve().voltages, abs=1e-9)
    for terminal in (Terminal("m", "wye", ("b",)), Terminal("e", "delta", ("ca",))):
        more, less = (circuit.solve(1.0, [(terminal, s * 10.0, 0.0)]) for s in (1, -1))
        moved = np.zeros((2, len(network.nodes), 1))
        moved[0, network.nodes.index((terminal.bus, terminal.phases[0])), 0] = 1.0
        found = network.response(network.voltages, *moved)[:, 0]
        differences = np.array([more.voltages[k] ** 2 - less.voltages[k] ** 2 for k in network.voltages.labels])
        assert found == pytest.approx(differences / 0.02, abs=2e-5 * np.abs(differences / 0.02).max())


def test_the_flow_into_the_transformer_is_what_opendss_measures(feeder: Feeder) -> None:
    dss = new_context()
    for command in circuit_commands(feeder):
        dss.Text.Command(command)
    dss.Solution.Solve()
    dss.Circuit.SetActiveElement("transformer.t")
    network = ac_tangent.build(AcCircuit(feeder))
    none = np.zeros(len(network.nodes))
    y = network.solve(none, none)
    power = np.array(dss.CktElement.Powers()[:6]).reshape(3, 2)
    for phase, (kw, kvar) in zip("abc", power, strict=True):
        label = network.flows_p.labels.index(("t", phase))
        assert 1000 * network.flows_p.at(y)[label] == pytest.approx(kw, abs=1e-3)
        assert 1000 * network.flows_q.at(y)[label] == pytest.approx(kvar, abs=1e-3)


def test_the_ground_current_is_that_of_the_closed_delta(tmp_path: Path) -> None:
    """I0 = V0 / z with the leakage impedance on the side of the grounded wye: V0 meets a short-circuited winding."""
    found = imported(tmp_path, script("wye", "delta").replace("%noloadloss=0.4 %imag=0.8", "ppm=0")).feeder
    dss = new_context()
    for command in circuit_commands(found):
        dss.Text.Command(command)
    dss.Solution.Solve()
    dss.Circuit.SetActiveElement("transformer.t")
    v, i = (np.array(x).view(complex) for x in (dss.CktElement.Voltages(), dss.CktElement.Currents()))
    z = complex(0.011, 0.055) * 12.47**2 / 1.5
    assert abs(v[:3].mean()) > 10
    assert i[:3].mean() == pytest.approx(v[:3].mean() / z, rel=1e-4)


def test_a_phase_shift_the_wrong_way_is_no_import(tmp_path: Path) -> None:
    found = imported(tmp_path, script("wye", "delta", shift="leadlag=lead"))
    (t,) = found.feeder.transformers
    lags = replace(t, phases_high="abc", phases_low="abc", kv_high=t.kv_high * 3**0.5)
    wrong = replace(found, feeder=replace(found.feeder, transformers=(lags,)))
    assert largest_difference(found)[0] <= 1e-6
    with pytest.raises(InputError, match="pu from the original"):
        require_alike(wrong)


def test_lindist3flow_refuses_a_ground_source_by_name(tmp_path: Path) -> None:
    found = imported(tmp_path, script("wye", "delta")).feeder
    for law in (lindist3flow.build, lindist3flow.fixed_point, lindist3flow.nodes_of):
        with pytest.raises(InputError, match="closed delta") as caught:
            law(found)  # type: ignore[operator]
        assert caught.value.key == "network.model"
        assert "transformer t" in str(caught.value.value)
        assert "ac-linear" in str(caught.value.allowed)
        assert "network.dss" in str(caught.value.allowed)


UNITS = "".join(
    f"new transformer.t{k} phases=1 bank=t windings=2 buses=(m.{k}.4 l.{k}.{k % 3 + 1}) conns=(wye delta) "
    "kvs=(7.2 4.16) kvas=(500 500) xhl=3\n"
    for k in (1, 2, 3)
)


def of_units(more: str = "") -> str:
    return WYE + TRUNK + LOW_LINE + AT_HIGH + low_loads("delta", 4.16) + UNITS + more + END


def test_three_single_phase_units_share_a_floating_neutral(tmp_path: Path) -> None:
    found = imported(tmp_path, of_units())
    (bank,) = found.feeder.transformers
    assert (bank.conn_high, bank.phases_high, bank.phases_low) == ("wye-ungrounded", "a+b+c", "ab+bc+ca")
    circuit = AcCircuit(found.feeder)
    ac = circuit.solve()
    assert phasors_apart(found, circuit) <= 1e-6
    assert voltages(lindist3flow.fixed_point(found.feeder)) == pytest.approx(ac.voltages, abs=1e-6)


def test_floating_neutrals_of_one_bus_stay_apart(tmp_path: Path) -> None:
    second = (
        "new transformer.s phases=3 windings=2 buses=(m.1.2.3.5 k) conns=(wye delta) kvs=(12.47 4.16) "
        f"kvas=(700 700) {CORE}\nnew load.k bus1=k.1.2 phases=1 conn=delta kv=4.16 kw=200 kvar=50\n"
    )
    found = imported(tmp_path, script("floating", "delta", more=second))
    circuit = AcCircuit(found.feeder)
    ac = circuit.solve()
    assert phasors_apart(found, circuit) <= 1e-6
    assert voltages(ac_tangent.build(circuit)) == pytest.approx(ac.voltages, abs=1e-9)


@pytest.mark.parametrize(
    "more",
    [
        "new reactor.n phases=1 bus1=m.4 bus2=m.0 r=5 x=0\n",
        "new load.n bus1=m.2.4 phases=1 kv=7.2 kw=1 kvar=0\n",
        "transformer.t.wdg=1 rneut=5\n",
    ],
)
def test_a_neutral_that_something_else_touches_does_not_float(more: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not solidly grounded"):
        imported(tmp_path, script("floating", "delta", more=more))


def test_a_grounded_wye_behind_a_floating_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="whose neutral floats"):
        imported(tmp_path, script("floating", "wye").replace("kw=300 kvar=140", "kw=1").replace("kw=150", "kw=1"))
