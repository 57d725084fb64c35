"""Feeder tables: what is shipped, round trip, and every way to get them wrong."""

from __future__ import annotations

import csv
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cosim.errors import InputError
from cosim.grid.feeder.check import check_feeder
from cosim.grid.feeder.feeder import Bus, Capacitor, Feeder, Line, LineCode, Load, Regulator, Transformer
from cosim.grid.feeder.tables import read_feeder, shipped_feeders, write_feeder

Change = Callable[[Feeder], Feeder]


def test_ieee37_has_what_the_test_feeder_has(ieee37: Feeder) -> None:
    assert len(ieee37.lines) == 35
    assert len(ieee37.line_codes) == 4
    assert ieee37.load_kw == 2457.0
    assert ieee37.load_kvar == 1201.0
    assert {load.model for load in ieee37.loads} == {"PQ", "I", "Z"}
    assert ieee37.regulators[0].taps == {"ab": 7, "cb": 4}
    assert ieee37.regulators[0].ratio("ab") == pytest.approx(1.04375)


def test_ieee37_agrees_with_the_reference_tables(ieee37: Feeder, reference: Path) -> None:
    def rows(name: str) -> list[dict[str, str]]:
        with (reference / "ieee37" / name).open(newline="") as stream:
            return list(csv.DictReader(stream))

    loads = {(x.bus, x.phases, x.model, x.p_kw, x.q_kvar) for x in ieee37.loads}
    expected = {(r["bus"], r["phases"], r["model"], float(r["kw"]), float(r["kvar"])) for r in rows("loads.csv")}
    assert loads == expected
    lines = {(x.from_bus.removesuffix("r"), x.to_bus, x.length_ft, x.code) for x in ieee37.lines}
    sections = [r for r in rows("lines.csv") if r["config"] != "XFM-1"]
    assert lines == {(r["from"], r["to"], float(r["length_ft"]), r["config"]) for r in sections}
    codes = {r["config"]: r for r in rows("line_codes.csv")}
    for code in ieee37.line_codes:
        row = codes[code.name]
        for i in range(3):
            for k in range(3):
                pair = "abc"[min(i, k)] + "abc"[max(i, k)]
                assert code.r_ohm_per_mile[i][k] == float(row[f"r_{pair}_ohm_per_mile"])
                assert code.x_ohm_per_mile[i][k] == float(row[f"x_{pair}_ohm_per_mile"])
                assert code.b_us_per_mile[i][k] == float(row[f"b_{pair}_uS_per_mile"])


def test_every_row_of_a_shipped_feeder_names_its_source(ieee37: Feeder) -> None:
    tables = (
        ieee37.buses,
        ieee37.lines,
        ieee37.line_codes,
        ieee37.transformers,
        ieee37.regulators,
        ieee37.loads,
    )
    assert all(row.source for table in tables for row in table)
    assert all(source for _, source in ieee37.notes.values())
    assert "ieee37" in shipped_feeders()


def test_an_unknown_feeder_is_named_with_its_nearest_match() -> None:
    with pytest.raises(InputError, match="did you mean 'ieee37'"):
        read_feeder("ieee73")


number = st.floats(0.001, 1e6, allow_nan=False)
ohm, feet = st.floats(0.001, 1e4), st.floats(0.1, 1e4)
signed = st.floats(-1e6, 1e6, allow_nan=False)
note = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=12)


@st.composite
def feeders(draw: st.DrawFn) -> Feeder:
    """A random chain of grounded buses behind a wye regulator and a transformer."""
    own, mutual = draw(ohm), draw(signed)
    matrix = ((own, mutual, 0.0), (mutual, own, 0.0), (0.0, 0.0, own))
    count = draw(st.integers(3, 6))
    buses = tuple(Bus(f"b{k}", 4.16, "abc", True, draw(signed), draw(signed), draw(note)) for k in range(count))
    lines = tuple(
        Line(f"l{k}", f"b{k}", f"b{k + 1}", "abc", draw(feet), "code", draw(note)) for k in range(2, count - 1)
    )
    taps = {x: draw(st.integers(-16, 16)) for x in "abc"}
    return Feeder(
        name=draw(st.text("abc-_1", min_size=1, max_size=100)),
        source_bus="b0",
        source_kv=4.16,
        source_pu=draw(st.floats(0.9, 1.1)),
        buses=buses,
        lines=lines,
        line_codes=(LineCode("code", matrix, matrix, matrix, draw(note)),),
        transformers=(
            Transformer("t", "b1", "b2", draw(number), 4.16, "wye", 4.16, "wye", draw(number), draw(number)),
        ),
        regulators=(Regulator("r", "b0", "b1", "wye", taps, draw(note)),),
        capacitors=(Capacitor("c", "b2", "wye", "b", draw(number), draw(note)),),
        loads=tuple(
            Load(
                f"d{k}",
                "b2",
                "delta",
                "ca",
                draw(st.sampled_from(["PQ", "I", "Z"])),
                draw(signed),
                draw(signed),
            )
            for k in range(draw(st.integers(0, 3)))
        ),
        notes=draw(st.dictionaries(st.text("xyz", min_size=1, max_size=5), st.tuples(note, note), max_size=3)),
    )


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(feeders())
def test_a_feeder_survives_its_tables(tmp_path: Path, feeder: Feeder) -> None:
    write_feeder(feeder, tmp_path)
    assert read_feeder(tmp_path) == feeder


def test_the_shipped_feeder_survives_its_tables(ieee37: Feeder, tmp_path: Path) -> None:
    write_feeder(ieee37, tmp_path)
    assert read_feeder(tmp_path) == ieee37


def row_changed(table: str, index: int, **values: Any) -> Change:
    """The feeder with other values in one row of a table."""

    def change(feeder: Feeder) -> Feeder:
        rows = list(getattr(feeder, table))
        rows[index] = replace(rows[index], **values)
        changes: dict[str, Any] = {table: tuple(rows)}
        return replace(feeder, **changes)

    return change


def row_added(table: str, row: object) -> Change:
    def change(feeder: Feeder) -> Feeder:
        changes: dict[str, Any] = {table: (*getattr(feeder, table), row)}
        return replace(feeder, **changes)

    return change


NAN_MATRIX = ((1.0, 0.0, math.nan), (0.0, 1.0, 0.0), (math.nan, 0.0, 1.0))
SKEW_MATRIX = ((1.0, 0.1, 0.0), (0.2, 1.0, 0.0), (0.0, 0.0, 1.0))
NEGATIVE_MATRIX = ((1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, 1.0))
WRONG: dict[str, tuple[Change, str, str]] = {
    "unknown bus of a line": (row_changed("lines", 0, to_bus="nowhere"), "unknown bus", "lines."),
    "unknown bus of a load": (row_changed("loads", 0, bus="nowhere"), "unknown bus", "loads.701-ab.bus"),
    "unknown source bus": (lambda f: replace(f, source_bus="nowhere"), "unknown bus", "feeder.source_bus"),
    "unknown phase": (row_changed("loads", 0, phases="ad"), "or missing phase", "loads.701-ab.phases"),
    "phase without its partner": (row_changed("loads", 0, phases="a"), "missing phase", "loads.701-ab"),
    "wye load on three wires": (
        row_changed("loads", 0, connection="wye", phases="a"), "three-wire", "loads.701-ab.connection",
    ),
    "unknown phases of a bus": (row_changed("buses", 5, phases="cb"), "unknown phases", "buses.704.phases"),
    "three-wire bus of two phases": (row_changed("buses", 5, phases="ab"), "all three phases", "buses.704"),
    "line without a phase": (row_changed("lines", 0, phases="ab"), "lacks a phase", "lines."),
    "line of a phase its bus lacks": (
        row_changed("buses", 5, phases="ab", grounded=True), "lacks a phase", "lines.",
    ),
    "line between two kinds of bus": (row_changed("buses", 5, grounded=True), "three-wire bus", "lines."),
    "line between two voltages": (row_changed("buses", 5, kv_base=2.4), "two voltage levels", "lines."),
    "islanded bus": (row_added("buses", Bus("far", 4.8)), "island", "buses.far.name"),
    "loop": (row_added("lines", Line("loop", "742", "712", "abc", 100.0, "724")), "loop", "lines."),
    "line to itself": (row_changed("lines", 0, to_bus="701", from_bus="701"), "one bus", "lines."),
    "negative length": (row_changed("lines", 0, length_ft=-1.0), "not positive", "length_ft"),
    "no length": (row_changed("lines", 0, length_ft=0.0), "not positive", "length_ft"),
    "negative rating": (row_changed("transformers", 0, kva=-500.0), "not positive", "transformers.XFM-1.kva"),
    "negative resistance": (row_changed("transformers", 0, r_percent=-1.0), "negative", "r_percent"),
    "load that is not a number": (row_changed("loads", 0, p_kw=math.nan), "finite", "loads.701-ab.p_kw"),
    "endless load": (row_changed("loads", 0, q_kvar=math.inf), "finite", "loads.701-ab.q_kvar"),
    "impedance that is not a number": (
        row_changed("line_codes", 0, r_ohm_per_mile=NAN_MATRIX), "finite", "line_codes.721.r_ohm_per_mile",
    ),
    "impedance that is not symmetric": (
        row_changed("line_codes", 0, x_ohm_per_mile=SKEW_MATRIX), "symmetric", "line_codes.721.x_ohm",
    ),
    "negative impedance": (
        row_changed("line_codes", 0, r_ohm_per_mile=NEGATIVE_MATRIX), "negative", "line_codes.721.r",
    ),
    "source without voltage": (lambda f: replace(f, source_pu=0.0), "out of range", "feeder.source_pu"),
    "bus named twice": (row_added("buses", Bus("701", 4.8)), "taken in buses", "buses.701.name"),
    "line named as a regulator": (row_changed("lines", 0, name="REG1"), "taken in lines", "regulators.reg1"),
    "name with a dot": (row_changed("loads", 0, name="a.b"), "not a name", "loads."),
    "unknown line code": (row_changed("lines", 0, code="999"), "unknown line code", "lines."),
    "unknown load model": (row_changed("loads", 0, model="ZIP"), "load model", "loads.701-ab.model"),
    "exponents of a load of constant power": (
        row_changed("loads", 0, exponent_p=1.0), "no exponents", "loads.701-ab.exponent_p",
    ),
    "a load by exponents without one": (
        row_changed("loads", 0, model="EXP", exponent_p=1.0), "no exponent", "loads.701-ab.exponent_q",
    ),
    "an exponent beyond sense": (
        row_changed("loads", 0, model="EXP", exponent_p=1.0, exponent_q=60.0), "out of range",
        "loads.701-ab.exponent_q",
    ),
    "unknown connection": (row_changed("loads", 0, connection="zigzag"), "connection", "loads.701-ab"),
    "unsupported transformer": (
        row_changed("transformers", 0, conn_high="wye-ungrounded", conn_low="wye"), "unsupported",
        "transformers.XFM-1.conn_high",
    ),
    "a grounded wye without a neutral": (
        row_changed("transformers", 0, conn_high="wye"), "does not fit a wye winding", "transformers.XFM-1.conn_high",
    ),
    "a floating neutral of two windings": (
        row_changed(
            "transformers", 0, conn_high="wye-ungrounded", phases_high="a+b", phases_low="ab+bc", kv_high=2.7713
        ),
        "three windings", "transformers.XFM-1.phases_high",
    ),
    "a core on neither side": (
        row_changed("transformers", 0, core_side="middle"), "unknown side", "transformers.XFM-1.core_side",
    ),
    "transformer of another voltage": (
        row_changed("transformers", 0, kv_low=4.8), "far from the voltage", "transformers.XFM-1.kv_low",
    ),
    "transformer the wrong way": (
        row_changed(
            "transformers", 0, from_bus="775", to_bus="709", kv_high=0.48, kv_low=4.8
        ), "side of the source", "transformers.XFM-1.from_bus",
    ),
    "delta winding on a grounded bus": (
        lambda f: row_changed("buses", -1, grounded=True)(f), "delta or ungrounded winding",
        "transformers.XFM-1.to_bus",
    ),
    "tap out of range": (row_changed("regulators", 0, taps={"ab": 17, "cb": 0}), "out of range", "tap"),
    "units without a shared phase": (row_changed("regulators", 0, taps={"ab": 1, "bc": 0}), "units", "reg1"),
    "regulator of another kind": (
        row_changed("regulators", 0, connection="wye"), "does not fit", "regulators.reg1.connection",
    ),
    "regulator of unknown kind": (
        row_changed("regulators", 0, connection="x"), "unknown connection", "regulators.reg1.connection",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_feeder_is_refused(ieee37: Feeder, what: str, tmp_path: Path) -> None:
    change, message, key = WRONG[what]
    with pytest.raises(InputError, match=message) as caught:
        check_feeder(change(ieee37), tmp_path)
    assert key in str(caught.value.key)
    assert caught.value.allowed
    assert Path(str(caught.value.file)).stem == str(caught.value.key).split(".")[0]


def test_a_line_needs_a_code_with_its_phases(four_wire: Feeder) -> None:
    wrong = row_changed("lines", 2, code="a")(four_wire)
    with pytest.raises(InputError, match="has no phase b"):
        check_feeder(wrong)


def test_every_phase_of_a_bus_is_fed(four_wire: Feeder) -> None:
    wrong = row_changed("buses", -1, phases="ab")(four_wire)
    with pytest.raises(InputError, match="nothing feeds"):
        check_feeder(wrong)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped tables, to spoil."""
    target = tmp_path / "mine"
    write_feeder(read_feeder("ieee37"), target)
    return target


def spoiled(file: Path, before: str, after: str) -> None:
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after, 1))


@pytest.mark.parametrize(
    ("table", "before", "after", "message", "key"),
    [
        ("loads", "140.0", "much", "not a number", "loads.701-ab.p_kw"),
        ("buses", "false", "no", "neither true nor false", "buses.799.grounded"),
        ("regulators", ",7,", ",7.5,", "not a whole number", "regulators.reg1.tap"),
        ("regulators", ",cb,", ",ab,", "the unit appears twice", "regulators.reg1.unit"),
        ("regulators", ",cb,", ",cb,1,", "differ in number", "regulators.row 3"),
        ("lines", "length_ft", "length_m", "wrong columns", "lines.length"),
        ("feeder", "source_kv", "source_bus", "twice", "source_bus"),
        ("feeder", "source_kv", "kv", "missing", "source_kv"),
        ("loads", "701,delta", "7O1,delta", "unknown bus", "loads.701-ab.bus"),
    ],
)
def test_a_spoiled_table_is_named(folder: Path, table: str, before: str, after: str, message: str, key: str) -> None:
    spoiled(folder / f"{table}.csv", before, after)
    with pytest.raises(InputError, match=message) as caught:
        read_feeder(folder)
    assert key in str(caught.value.key)
    assert caught.value.file == folder / f"{table}.csv"


def test_units_of_one_regulator_agree(folder: Path) -> None:
    file = folder / "regulators.csv"
    rows = file.read_text().splitlines()
    file.write_text("\n".join([*rows[:2], rows[2].replace("open-delta", "wye")]))
    with pytest.raises(InputError, match="units of one regulator differ"):
        read_feeder(folder)


def test_a_missing_table_is_named(folder: Path) -> None:
    (folder / "buses.csv").unlink()
    with pytest.raises(InputError, match="a table is missing"):
        read_feeder(folder)


def test_a_folder_without_optional_tables_is_read(folder: Path) -> None:
    before = read_feeder(folder)
    shutil.copytree(folder, folder.parent / "other")
    (folder / "loads.csv").unlink()
    assert read_feeder(folder) == replace(before, loads=())
