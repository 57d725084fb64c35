"""Controls of an OpenDSS circuit that is a feeder itself: OpenDSS moves its devices as in the script's own circuit, and
the equations are those of the circuit there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosim.errors import RunFailure
from cosim.grid.feeder.circuit import CircuitFeeder
from cosim.grid.feeder.phases import Terminal
from cosim.grid.feeder.positions import Positions, at_positions, positions_of
from cosim.grid.linear import ac_tangent
from cosim.grid.opendss.circuit import AcCircuit
from cosim.grid.opendss.context import new_context
from cosim.grid.opendss.controlled import ControlledCircuit
from cosim.grid.opendss.whole.reader import read_dss
from tests.grid.dss_circuits import END, MOVING_RING
from tests.grid.opendss.test_controls import CIRCUITS, NOT_CONTROLS, REFERENCE, day

KILO, HOUR_S = 1000.0, 3600
WITHOUT_TABLES = ("another bus", "a capacitor as element", "the winding of the source", "other taps", "no regulator",
                  "reverse settings")  # fmt: skip
"""Controls that no table says, and that a circuit of its own has as they are."""
OFTEN = ("voltage", "in steps", "one phase, off at first", "three units together", "a regulator and a capacitor",
         "units on their own, one at a bus far away")  # fmt: skip
MOVED = {"a ring": MOVING_RING} | CIRCUITS | {f"tables cannot: {x}": NOT_CONTROLS[x][0] for x in WITHOUT_TABLES}


def feeder_of(text: str, folder: Path) -> CircuitFeeder:
    file = folder / "master.dss"
    file.write_text(text)
    return read_dss(file)


def acting(file: Path) -> Any:
    """A circuit as its script leaves it, solved, with its own controls in force."""
    dss = new_context()
    dss.Text.Command(f'redirect "{file}"')
    solve = [] if dss.Solution.Iterations() else ["set maxiterations=100", "set maxcontroliter=100", "solve"]
    settings = ("mode=snapshot", "controlmode=static", "tolerance=1e-9", "maxiterations=200", "maxcontroliter=200")
    for command in (*solve, *(f"set {setting}" for setting in settings)):
        dss.Text.Command(command)
    return dss


def solved_at(dss: Any, hour: int, scale: float, load_mult: float) -> dict[str, complex]:
    """Voltages by node, V, where OpenDSS's own controls have acted."""
    dss.Solution.Hour(hour)
    dss.Solution.LoadMult(scale * load_mult)
    dss.Solution.Solve()
    numbers = np.asarray(dss.Circuit.AllBusVolts(), dtype=float).view(complex)
    return dict(zip((name.lower() for name in dss.Circuit.AllNodeNames()), numbers, strict=True))


def standing(dss: Any, feeder: CircuitFeeder) -> Positions:
    """Where OpenDSS has the devices, by RegControl and the steps in service."""
    taps, steps = {}, {}
    for control in feeder.controls:
        kind, _, name = control.partition(".")
        if kind == "regcontrol":
            dss.RegControls.Name(name)
            taps[f"transformer.{dss.RegControls.Transformer().lower()}"] = int(dss.RegControls.TapNumber())
        else:
            dss.CapControls.Name(name)
            capacitor = dss.CapControls.Capacitor().lower()
            dss.Capacitors.Name(capacitor)
            dss.Circuit.SetActiveElement(f"capacitor.{capacitor}")
            steps[f"capacitor.{capacitor}"] = 0 if dss.CktElement.IsOpen(1, 0) else sum(dss.Capacitors.States())
    at = positions_of(feeder)
    return Positions(
        tuple((name, unit, taps[name]) for name, unit, _ in at.taps), tuple((name, steps[name]) for name, _ in at.steps)
    )


def check_day(file: Path, scales: list[float], apart_h: int = 1) -> set[Positions]:
    """Positions and voltages of some hours, so far apart, against those of OpenDSS; the positions."""
    feeder = read_dss(file)
    ours, still, theirs = ControlledCircuit(feeder), AcCircuit(feeder), acting(file)
    load_mult = theirs.Solution.LoadMult()
    seen = set()
    for hour, scale in zip(range(0, apart_h * len(scales), apart_h), scales, strict=True):
        found = ours.settle(scale, (), HOUR_S * hour)
        volts = solved_at(theirs, hour, scale, load_mult)
        assert found == standing(theirs, feeder), hour
        seen.add(found)
        still.move_to(at_positions(feeder, found))
        still.solve(scale)
        at = np.array([[volts.get(name, np.nan) for name in names] for names in feeder.wired.names])
        apart = np.abs(still.node_phasors - at / KILO / feeder.wired.row_kv[:, None])
        assert np.nanmax(apart) <= 1e-7, hour
    return seen


@pytest.mark.parametrize(
    "what", [pytest.param(x, marks=[pytest.mark.slow] if x in CIRCUITS and x not in OFTEN else []) for x in MOVED]
)
def test_devices_move_as_in_the_script_s_own_circuit(what: str, tmp_path: Path) -> None:
    (tmp_path / "master.dss").write_text(MOVED[what])
    seen = check_day(tmp_path / "master.dss", day()[::6] + [0.4, 1.1, 0.3], 6)
    assert what.startswith("tables cannot") or len(seen) > 1


@pytest.mark.parametrize(
    "name", ["ieee13", *(pytest.param(x, marks=pytest.mark.slow) for x in ("ieee37", "ieee123", "ieee8500"))]
)
def test_devices_move_over_a_day_as_in_published_circuits(name: str, reference: Path) -> None:
    assert len(check_day(reference / "feeders" / REFERENCE[name], day())) > 1


def elsewhere(feeder: CircuitFeeder) -> CircuitFeeder:
    """Every device a few positions from where the script leaves it."""
    at = positions_of(feeder)
    moved = at_positions(
        feeder, Positions(tuple((r, u, n - 5) for r, u, n in at.taps), tuple((c, 3 - n) for c, n in at.steps))
    )
    assert isinstance(moved, CircuitFeeder)
    return moved


def test_the_equations_elsewhere_are_those_of_the_circuit_built_there(tmp_path: Path) -> None:
    moved = elsewhere(feeder_of(MOVING_RING, tmp_path))
    (regulator, capacitor), (at, on) = moved.movable, moved.positions
    there = (
        f"set controlmode=off\ntransformer.sub.wdg=2 tap={1 + 0.00625 * at}\ncapacitor.cap.states=[1 1 0]\nsolve\n"
    )
    built = feeder_of(MOVING_RING + there, tmp_path)
    assert (regulator.unit, capacitor.unit, on) == ("abc", "abc", 2)
    assert moved.wiring.flows == built.wiring.flows
    for name in ("admittance", "entering"):
        ours, theirs = (getattr(feeder.wiring, name).toarray() for feeder in (moved, built))
        assert np.abs(ours - theirs).max() <= 1e-9 * np.abs(theirs).max()
        assert np.abs(ours - getattr(moved.wired, name).toarray()).max() > 1e-3 * np.abs(theirs).max()


def test_the_tangent_elsewhere_has_the_slopes_of_opendss(tmp_path: Path) -> None:
    circuit = AcCircuit(feeder_of(MOVING_RING, tmp_path))
    circuit.move_to(elsewhere(circuit.feeder))  # type: ignore[arg-type]
    network, base = ac_tangent.build(circuit), circuit.solve()
    none = np.zeros(len(network.nodes))
    at = np.sqrt(network.voltages.at(network.solve(none, none)))
    assert at == pytest.approx([base.voltages[k] for k in network.voltages.labels], abs=1e-8)
    for bus, phase in (("n1", "a"), ("q2", "b"), ("s3", "ab")):
        terminal, kw = Terminal(bus, "delta" if len(phase) == 2 else "wye", (phase,)), 2.0
        p = none.copy()
        p[network.nodes.index((bus, phase))] = kw / KILO
        more, less = (circuit.solve(1.0, [(terminal, s * kw, 0.0)]) for s in (1, -1))
        finite = np.array([(more.voltages[x] ** 2 - less.voltages[x] ** 2) / 2 for x in network.voltages.labels])
        slopes = network.voltages.at(network.solve(p, none)) - network.voltages.at(network.solve(none, none))
        assert slopes == pytest.approx(finite, abs=1e-4 * np.abs(finite).max() + 1e-9), terminal


def test_a_circuit_moved_and_moved_back_is_the_circuit_of_the_script(tmp_path: Path) -> None:
    feeder = feeder_of(MOVING_RING, tmp_path)
    back = at_positions(elsewhere(feeder), positions_of(feeder))
    assert isinstance(back, CircuitFeeder)
    assert back == feeder and back.wiring is feeder.wired


def test_a_held_circuit_has_nothing_that_moves(tmp_path: Path) -> None:
    held = feeder_of(MOVING_RING, tmp_path).held()
    assert not held.controlled and held.wiring is held.wired
    assert held.idle_controls == ("regcontrol.r", "capcontrol.k")
    with_relay = "new relay.x monitoredobj=line.a phasetrip=1e6 type=current\n"
    feeder = feeder_of(MOVING_RING.replace("set voltagebases", with_relay + "set voltagebases"), tmp_path)
    assert feeder.idle_controls == ("relay.x",) and feeder.controls == ("regcontrol.r", "capcontrol.k")


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("states=[1 0 0]", "states=[0 1 0]"),  # which step goes next nobody says
        ("new capcontrol.k capacitor=cap", "new capacitor.beside bus1=n1 bus2=n2 kvar=9000 kv=12.47\nnew capcontrol.k "
         "capacitor=beside"),
    ],
)  # fmt: skip
def test_what_cannot_move_stays_and_is_told(was: str, now: str, tmp_path: Path) -> None:
    feeder = feeder_of(MOVING_RING.replace(was, now).replace(END, "set controlmode=off\n" + END), tmp_path)
    assert feeder.controls == ("regcontrol.r",)
    assert any("capcontrol.k" in text for text in feeder.notes_of_reading)


def test_a_tap_between_two_positions_is_no_position(tmp_path: Path) -> None:
    circuit = ControlledCircuit(feeder_of(MOVING_RING, tmp_path))
    circuit._command("regcontrol.r.enabled=no")
    circuit._command("transformer.sub.wdg=2 tap=1.0123")
    with pytest.raises(RunFailure, match=r"transformer\.sub"):
        circuit.settle()
