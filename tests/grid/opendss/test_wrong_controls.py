"""What is no control of a regulator or capacitor, and tables of controls that cannot be read."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cosim.errors import InputError
from cosim.grid.feeder.check import check_feeder
from cosim.grid.feeder.controls import CapacitorControl, RegulatorControl
from cosim.grid.feeder.feeder import Capacitor, Feeder
from cosim.grid.feeder.tables import read_feeder

ROOT = Path(__file__).resolve().parents[3]

REG = RegulatorControl("x", "reg1", "ab", 122.0, 2.0, 40.0, 350.0, 0.0, 0.0, 15.0)
CAP = CapacitorControl("y", "k", "kvar", "701-702", "from", "abc", 300.0, -300.0, 15.0)

BAD: dict[str, tuple[Callable[[Feeder], Feeder], str, str, str]] = {
    "no band": (lambda f: reg(f, band_v=0.0), "not positive", "regulator_controls.x.band_v", "above 0"),
    "a band below a tap": (lambda f: reg(f, band_v=0.1), "narrower", "regulator_controls.x.band_v", "V or more"),
    "no regulator": (lambda f: reg(f, regulator="r9"), "unknown regulator", "regulator_controls.x.regulator", "reg1"),
    "no unit": (lambda f: reg(f, units="ca"), "not units", "regulator_controls.x.units", "ab, cb"),
    "units of a delta together": (lambda f: reg(f, units="ab+cb"), "not units", "regulator_controls.x.units", "ab, cb"),
    "a delay in the past": (lambda f: reg(f, delay_s=-1.0), "negative", "regulator_controls.x.delay_s", "0 or more"),
    "no range": (lambda f: reg(f, tap_min=5, tap_max=5), "no range", "regulator_controls.x.tap_min", "-16 to 16"),
    "a tap out of range": (lambda f: reg(f, tap_max=6), "control's range", "regulator_controls.x.tap_max", "a range"),
    "another phase": (lambda f: reg(f, phase="c"), "unknown phase", "regulator_controls.x.phase", "ab"),
    "a bus without neutral": (lambda f: reg(f, bus="701"), "no bus to measure", "regulator_controls.x.bus", "neutral"),
    "two controls of a unit": (
        lambda f: replace(reg(f), regulator_controls=(REG, replace(REG, name="z"))), "a control already",
        "regulator_controls.z.units", "one control",
    ),
    "no element": (lambda f: cap(f, element="9-9"), "unknown element", "capacitor_controls.y.element", "a line"),
    "no kind": (lambda f: cap(f, kind="weather"), "unknown kind", "capacitor_controls.y.kind", "voltage"),
    "no capacitor": (lambda f: cap(f, capacitors="j"), "unknown capacitor", "capacitor_controls.y.capacitors", "k"),
    "no terminal": (lambda f: cap(f, terminal="2"), "unknown terminal", "capacitor_controls.y.terminal", "from, to"),
    "one of coupled phases": (lambda f: cap(f, phases="a"), "be measured", "capacitor_controls.y.phases", "abc"),
    "settings upside down": (
        lambda f: cap(f, on_setting=-300.0, off_setting=300.0), "switch nothing", "capacitor_controls.y.on_setting",
        "on above off",
    ),
    "an hour that no day has": (
        lambda f: cap(f, kind="time", on_setting=7.0, off_setting=30.0), "switch nothing",
        "capacitor_controls.y.on_setting", "0 to below 24",
    ),
    "one override": (lambda f: cap(f, v_min_v=110.0), "one of two", "capacitor_controls.y.v_min_v", "both limits"),
    "a phase that is not measured": (
        lambda f: cap(f, pt_phase="d"), "unknown phase", "capacitor_controls.y.pt_phase", "avg",
    ),
    "capacitors of two buses": (
        lambda f: replace(
            cap(f, capacitors="k+j"), capacitors=(*cap(f).capacitors, Capacitor("j", "702", "delta", "bc", 100.0))
        ), "cannot switch together", "capacitor_controls.y.capacitors", "one bus",
    ),
    "more steps than there are": (
        lambda f: replace(f, capacitors=(Capacitor("k", "701", "delta", "ab", 100.0, "", 2, 3),)), "more steps",
        "capacitors.k.steps_on", "0 to 2",
    ),
    "a reactor": (
        lambda f: replace(cap(f), capacitors=(Capacitor("k", "701", "delta", "ab", -100.0),)), "a reactor",
        "capacitors.k.kvar", "above 0",
    ),
}  # fmt: skip


def reg(feeder: Feeder, **changes: Any) -> Feeder:
    return replace(feeder, regulator_controls=(replace(REG, **changes),))


def cap(feeder: Feeder, **changes: Any) -> Feeder:
    control = replace(CAP, **({"element": feeder.lines[0].name} | changes))
    return replace(feeder, capacitors=(Capacitor("k", "701", "delta", "ab", 100.0),), capacitor_controls=(control,))


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_control_is_refused(what: str, ieee37: Feeder) -> None:
    change, message, key, allowed = BAD[what]
    with pytest.raises(InputError, match=message) as caught:
        check_feeder(change(ieee37))
    assert caught.value.key == key
    assert allowed in str(caught.value.allowed)


def test_units_that_move_together_stand_alike() -> None:
    feeder = read_feeder("ieee123")
    first = next(r for r in feeder.regulators if r.name == "reg1a")
    apart = tuple(replace(r, taps={**r.taps, "b": 5}) if r is first else r for r in feeder.regulators)
    with pytest.raises(InputError, match="differ in tap"):
        check_feeder(replace(feeder, regulators=apart))


@pytest.mark.parametrize(
    ("old", "new", "message", "key"),
    [
        (",2.0,40.0", ",wide,40.0", "not a number", "regulator_controls.creg1a.band_v"),
        ("delay_s,source", "delay_s,max_tap_change,source", "fields and columns", "regulator_controls.row 2"),
        ("band_v", "band", "wrong columns", "regulator_controls.band"),
        ("creg1a,reg1,ab,122.0,2.0", "creg1a,reg1,ab,122.0,-2.0", "not positive", "regulator_controls.creg1a.band_v"),
    ],
)
def test_a_bad_table_is_named(tmp_path: Path, old: str, new: str, message: str, key: str) -> None:
    folder = tmp_path / "feeder"
    shutil.copytree(ROOT / "data" / "feeders" / "ieee37", folder)
    file = folder / "regulator_controls.csv"
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=message) as caught:
        read_feeder(folder)
    assert caught.value.file == file
    assert caught.value.key == key
