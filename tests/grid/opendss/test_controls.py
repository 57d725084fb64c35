"""Controls: OpenDSS on our tables moves devices as it does in the original circuit, and what cannot be a control."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import opendssdirect
import pytest

from cosim.errors import RunFailure
from cosim.grid.feeder.controls import RegulatorControl
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.positions import Positions, at_positions, positions_of
from cosim.grid.feeder.tables import read_feeder, write_feeder
from cosim.grid.opendss.circuit import AcCircuit
from cosim.grid.opendss.controlled import ControlledCircuit
from cosim.grid.opendss.importer.importer import Import, import_feeder, write_import
from tests.grid.dss_circuits import CODE, END, WYE

ROOT = Path(__file__).resolve().parents[3]
REFERENCE = {
    "ieee13": "ieee13/IEEE13Nodeckt.dss",
    "ieee37": "ieee37/ieee37_published.dss",
    "ieee123": "ieee123/solve_ieee123.dss",
    "ieee8500": "ieee8500/Master-unbal.dss",
}
HOUR_S = 3600


def day() -> list[float]:
    """Load scale over a summer weekday and a spring of the load in the middle of the next night."""
    with (ROOT / "data" / "profiles" / "load_residential_commercial.csv").open(newline="") as stream:
        return [float(row["scale"]) for row in csv.DictReader(stream)] + [0.4, 1.1]


def original(file: Path) -> Any:
    """A circuit as its script leaves it, solved, with its own controls in force; loads keep their model as ours do."""
    dss = opendssdirect.dss.NewContext()
    dss.Basic.AllowChangeDir(False)
    dss.Text.Command(f'redirect "{file}"')
    if dss.Solution.Iterations() == 0:
        dss.Solution.MaxIterations(100)
        dss.Solution.MaxControlIterations(100)
        dss.Solution.Solve()
    for command in (
        "batchedit load..* vminpu=0.8 vmaxpu=1.2 status=variable", "set controlmode=static", "set tolerance=1e-9",
        "set maxiterations=200", "set maxcontroliter=200",
    ):  # fmt: skip
        dss.Text.Command(command)
    return dss


def moves_of(dss: Any, scales: list[float]) -> Iterator[dict[str, int]]:
    """Tap of every regulator control and steps of every capacitor control of the original, hour by hour."""
    for hour, scale in enumerate(scales):
        dss.Solution.Hour(hour)
        dss.Solution.LoadMult(scale)
        dss.Solution.Solve()
        found = {}
        for name in dss.RegControls.AllNames():
            dss.RegControls.Name(name)
            found[name] = int(dss.RegControls.TapNumber())
        for name in dss.CapControls.AllNames():
            dss.CapControls.Name(name)
            dss.Capacitors.Name(dss.CapControls.Capacitor())
            found[name] = sum(dss.Capacitors.States())
        yield {name: position for name, position in found.items() if name != "NONE"}


def by_control(feeder: Feeder, positions: Positions) -> dict[str, int]:
    taps = {(r, unit): tap for r, unit, tap in positions.taps}
    steps = dict(positions.steps)
    found = {c.name: {taps[c.regulator, unit] for unit in c.members} for c in feeder.regulator_controls}
    found |= {c.name: {steps[name] for name in c.members} for c in feeder.capacitor_controls}
    assert all(len(p) == 1 for p in found.values())
    return {name: p.pop() for name, p in found.items()}


def compared(feeder: Feeder, file: Path, scales: list[float]) -> tuple[list[dict[str, int]], list[dict[str, int]]]:
    """Positions by control, hour by hour: ours, and the original's."""
    ours = ControlledCircuit(feeder)
    mine = [by_control(feeder, ours.settle(scale, (), HOUR_S * hour)) for hour, scale in enumerate(scales)]
    return mine, list(moves_of(original(file), scales))


@pytest.mark.parametrize("name", ["ieee13", "ieee37", "ieee123", pytest.param("ieee8500", marks=pytest.mark.slow)])
def test_devices_move_over_a_day_as_in_the_original(name: str, reference: Path) -> None:
    file = reference / "feeders" / REFERENCE[name]
    feeder = import_feeder(file).feeder
    ours, theirs = compared(feeder, file, day())
    assert ours == theirs
    assert set(ours[0]) and len({tuple(p.values()) for p in ours}) > 1


@pytest.mark.parametrize("name", ["ieee13", "ieee37", "ieee123"])
def test_the_shipped_tables_move_as_the_original(name: str, reference: Path) -> None:
    ours, theirs = compared(read_feeder(name), reference / "feeders" / REFERENCE[name], day())
    assert ours == theirs


# -- small circuits, each with one kind of control -------------------------------------------------------------

TRUNK = CODE + "new line.trunk bus1=s bus2=m linecode=c length=5 units=mi\n"
LATERAL = (
    "new line.lateral bus1=m bus2=e linecode=c length=3 units=mi\n"
    "new load.a bus1=e.1 phases=1 kv=7.2 kw=900 kvar=450 model=1 vminpu=0.8 vmaxpu=1.2\n"
    "new load.b bus1=e.2 phases=1 kv=7.2 kw=500 kvar=200 model=2 vminpu=0.8 vmaxpu=1.2\n"
    "new load.c bus1=e.3 phases=1 kv=7.2 kw=700 kvar=350 model=5 vminpu=0.8 vmaxpu=1.2\n"
)
CAPACITOR = "new capacitor.k bus1=e phases=3 kvar=900 kv=12.47\n"
REGULATED = (
    CODE + "new transformer.r phases=3 windings=2 buses=(s q) conns=(wye wye) kvs=(12.47 12.47) kvas=(9000 9000) "
    "xhl=0.4 %loadloss=0.05\nnew line.trunk bus1=q bus2=m linecode=c length=5 units=mi\n"
)
SINGLE = (
    CODE + "new transformer.r1 phases=1 bank=r windings=2 buses=(s.1 q.1) kvs=(7.2 7.2) kvas=(3000 3000) xhl=0.4\n"
    "new transformer.r2 phases=1 bank=r windings=2 buses=(s.2 q.2) kvs=(7.2 7.2) kvas=(3000 3000) xhl=0.4\n"
    "new transformer.r3 phases=1 bank=r windings=2 buses=(s.3 q.3) kvs=(7.2 7.2) kvas=(3000 3000) xhl=0.4\n"
    "new line.trunk bus1=q bus2=m linecode=c length=5 units=mi\n"
)
SOURCE = WYE.replace("pu=1.02", "pu=1.0")


def _switched(kind: str, more: str, capacitor: str = CAPACITOR, element: str = "line.lateral") -> str:
    control = f"new capcontrol.x capacitor=k element={element} type={kind} {more}\n"
    return SOURCE + TRUNK + LATERAL + capacitor + control + END


def _regulated(more: str, controls: str = "") -> str:
    own = controls or f"new regcontrol.x transformer=r winding=2 vreg=122 band=2 ptratio=60 {more}\n"
    return SOURCE + REGULATED + LATERAL + own + END


CIRCUITS: dict[str, str] = {
    "voltage": _switched("voltage", "terminal=2 ptratio=60 onsetting=110 offsetting=115"),
    "voltage, the lowest of three": _switched(
        "voltage", "terminal=2 ptratio=60 onsetting=110 offsetting=115 ptphase=min"
    ),
    "current": _switched("current", "terminal=1 ctratio=10 onsetting=11 offsetting=8 ctphase=avg"),
    "current of the third phase": _switched("current", "terminal=1 ctratio=10 onsetting=8 offsetting=6 ctphase=3"),
    "kvar": _switched("kvar", "terminal=1 onsetting=600 offsetting=-400"),
    "kvar, seen from the other end of a line that is wired backwards": _switched(
        "kvar", "terminal=2 onsetting=600 offsetting=-400"
    ).replace("bus1=m bus2=e linecode", "bus1=e bus2=m linecode"),
    "kvar with voltage override": _switched(
        "kvar", "terminal=2 onsetting=2000 offsetting=-2000 ptratio=60 voltoverride=yes vmin=107 vmax=118"
    ),
    "power factor": _switched("pf", "terminal=1 onsetting=0.895 offsetting=-0.9"),
    "time": _switched("time", "terminal=1 onsetting=9 offsetting=19"),
    "in steps": _switched(
        "kvar", "terminal=1 onsetting=300 offsetting=-200", "new capacitor.k bus1=e phases=3 kv=12.47 numsteps=3 "
        "kvar=[300 300 300] states=[1 0 0]\n",
    ),
    "delta": _switched("kvar", "terminal=1 onsetting=600 offsetting=-400", CAPACITOR.replace("kv=", "conn=delta kv=")),
    "one phase, off at first": _switched(
        "kvar", "terminal=1 onsetting=700 offsetting=150",
        "new capacitor.k bus1=e.2 phases=1 kvar=250 kv=7.2 states=[0]\n",
    ),
    "three units together": _regulated("ptphase=3 ctprim=300 r=2 x=4"),
    "three units by the lowest voltage": _regulated("ptphase=min"),
    "three units, few taps": _regulated("ptphase=3 ctprim=300 r=4 x=12").replace("vreg=122", "vreg=118").replace(
        "%loadloss", "wdg=2 maxtap=1.025 mintap=0.975 numtaps=8 %loadloss"
    ),
    "units on their own, one at a bus far away": SOURCE + SINGLE + LATERAL
    + "new regcontrol.x1 transformer=r1 winding=2 vreg=121 band=2 ptratio=60 bus=e.1\n"
    + "new regcontrol.x2 transformer=r2 winding=2 vreg=122 band=3 ptratio=60 ctprim=300 r=1 x=3 maxtapchange=1\n"
    + "new regcontrol.x3 transformer=r3 winding=2 vreg=122 band=2 ptratio=60 delay=30 vlimit=122.5\n" + END,
    "a regulator and a capacitor": _regulated(
        "", "new regcontrol.x transformer=r winding=2 vreg=122 band=2 ptratio=60\n" + CAPACITOR
        + "new capcontrol.y capacitor=k element=line.lateral type=kvar onsetting=600 offsetting=-400 delay=60\n"
    ),
}  # fmt: skip


def imported(tmp_path: Path, text: str) -> tuple[Import, Path]:
    file = tmp_path / "circuit.dss"
    file.write_text(text)
    return import_feeder(file), file


@pytest.mark.parametrize("what", CIRCUITS)
def test_every_kind_of_control_moves_as_in_the_original(what: str, tmp_path: Path) -> None:
    found, file = imported(tmp_path, CIRCUITS[what])
    assert not found.omissions
    ours, theirs = compared(found.feeder, file, day())
    assert ours == theirs
    assert set(ours[0]) and len({tuple(p.values()) for p in ours}) > 1


@pytest.mark.parametrize("what", CIRCUITS)
def test_controls_survive_their_tables(what: str, tmp_path: Path) -> None:
    found, _ = imported(tmp_path, CIRCUITS[what])
    write_import(found, tmp_path / "tables")
    assert read_feeder(tmp_path / "tables") == found.feeder


@pytest.mark.parametrize("what", CIRCUITS)
def test_a_circuit_moved_is_the_circuit_built_there(what: str, tmp_path: Path) -> None:
    found, _ = imported(tmp_path, CIRCUITS[what])
    controlled, moved = ControlledCircuit(found.feeder), AcCircuit(found.feeder)
    for scale in (0.5, 1.1):
        there = at_positions(found.feeder, controlled.settle(scale))
        moved.move_to(there)
        at_rest = controlled.solve(scale).voltages
        assert moved.solve(scale).voltages == pytest.approx(at_rest, abs=1e-7)
        assert AcCircuit(there).solve(scale).voltages == pytest.approx(at_rest, abs=1e-7)


NOT_CONTROLS: dict[str, tuple[str, str, str]] = {
    "a control that follows": (
        _switched("kvar", "onsetting=1 offsetting=0").replace("type=kvar", "type=follow controlsignal=f").replace(
            "new capcontrol", "new loadshape.f npts=1 interval=1 mult=[1]\nnew capcontrol"
        ), "capcontrol.x",
        "type Follow",
    ),
    "another bus": (
        _switched("voltage", "onsetting=110 offsetting=115 ptratio=60 vbus=m").replace(
            "new capcontrol", "set voltagebases=[12.47]\ncalcvoltagebases\nnew capcontrol"
        ), "capcontrol.x", "another bus",
    ),
    "a capacitor as element": (
        _switched("voltage", "onsetting=115 offsetting=125", element="capacitor.k"), "capcontrol.x", "Capacitor.k",
    ),
    "unequal steps": (
        _switched("kvar", "onsetting=300 offsetting=-200", "new capacitor.k bus1=e phases=3 kv=12.47 numsteps=2 "
                  "kvar=[300 600]\n"), "capcontrol.x", "equal steps",
    ),
    "out of service": (_switched("time", "onsetting=7 offsetting=19 enabled=no"), "capcontrol.x", "out of service"),
    "the winding of the source": (
        _regulated("").replace("winding=2 vreg", "winding=1 vreg"), "regcontrol.x", "side of the source",
    ),
    "a band below a tap": (_regulated("").replace("band=2", "band=0.1"), "regcontrol.x", "narrower than one tap"),
    "other taps": (
        _regulated("").replace("%loadloss", "wdg=2 maxtap=1.1 mintap=0.9 numtaps=30 %loadloss"), "regcontrol.x",
        "not steps",
    ),
    "no regulator": (
        _regulated("").replace("%loadloss", "%noloadloss=0.1 %loadloss"), "regcontrol.x", "no regulator of ours",
    ),
    "reverse settings": (_regulated("reversible=yes"), "regcontrol.x", "reverse settings"),
}  # fmt: skip


@pytest.mark.parametrize("what", NOT_CONTROLS)
def test_a_control_that_the_tables_cannot_say_is_listed(what: str, tmp_path: Path) -> None:
    text, element, reason = NOT_CONTROLS[what]
    text = text.replace(END, "set controlmode=off\n" + END)  # some of them would find no rest
    found, _ = imported(tmp_path, text)
    assert [o.element for o in found.omissions if reason in o.reason] == [element]
    left = {c.name for c in (*found.feeder.regulator_controls, *found.feeder.capacitor_controls)}
    assert left == ({"x"} if what == "reverse settings" else set())


def test_controls_that_find_no_rest_are_named() -> None:
    hunting = RegulatorControl("x", "reg1", "ab", 122.0, 0.76, 40.0, 350.0, 0.0, 40.0, 15.0)
    feeder = replace(read_feeder("ieee37"), regulator_controls=(hunting,))
    circuit = ControlledCircuit(feeder)
    circuit._command("set maxcontroliter=1")
    with pytest.raises(RunFailure, match="found no rest"):
        circuit.settle(0.3)


def test_devices_without_a_control_stay_where_they_are(ieee37: Feeder) -> None:
    one = replace(ieee37, regulator_controls=ieee37.regulator_controls[:1])
    moved = dict(((r, unit), tap) for r, unit, tap in ControlledCircuit(one).settle(0.3).taps)
    assert moved["reg1", "cb"] == 4 and moved["reg1", "ab"] != 7


def test_a_controlled_circuit_that_is_moved_acts_from_there() -> None:
    feeder = read_feeder("ieee123")
    circuit, start = ControlledCircuit(feeder), positions_of(feeder)
    after = circuit.settle(0.5)
    assert after != start
    circuit.move_to(at_positions(feeder, start))
    assert circuit.settle(0.5) == after


def test_positions_that_did_not_change_give_the_same_feeder(ieee37: Feeder) -> None:
    assert at_positions(ieee37, positions_of(ieee37)) is ieee37


def test_a_feeder_without_controls_writes_no_table_of_them(ieee37: Feeder, tmp_path: Path) -> None:
    write_feeder(replace(ieee37, regulator_controls=()), tmp_path)
    assert not list(tmp_path.glob("*_controls.csv"))


def test_ieee37_has_the_published_settings(ieee37: Feeder, reference: Path) -> None:
    """The compensator is published for voltages to neutral: those across ab lead it by 30 degrees, across cb lag."""
    with (reference / "ieee37" / "regulators.csv").open(newline="") as stream:
        published = {row["phases"]: row for row in csv.DictReader(stream)}
    assert set(published) == {c.units for c in ieee37.regulator_controls}
    for c in ieee37.regulator_controls:
        row = published[c.units]
        assert (c.vreg_v, c.band_v) == (float(row["voltage_level_v"]), float(row["bandwidth_v"]))
        assert (c.pt_ratio, c.ct_primary_a) == (float(row["pt_ratio"]), float(row["ct_primary_a"]))
        turn = complex(3**0.5 / 2, 0.5 if c.units == "ab" else -0.5)
        expected = complex(float(row["ldc_r_v"]), float(row["ldc_x_v"])) * turn
        assert complex(c.r_v, c.x_v) == pytest.approx(expected, abs=5e-4)
