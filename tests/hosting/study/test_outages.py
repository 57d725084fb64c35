"""Cases as a user writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosim.errors import InputError
from cosim.grid.feeder.tables import read_feeder
from cosim.hosting.cases import Case, Tie
from cosim.hosting.study.outages import cases_of, in_words

FEEDER = read_feeder("ieee123")
FILE = """\
outages:
  - regulator reg1a at tap 0
  - {name: weak, taps: {reg4a.a: 3}, capacitors_off: [c83-a, c83-b]}
lines_out: [l1, l2]
"""


def test_words_and_keys_say_the_same() -> None:
    words = "night: regulator reg1a at tap -2 + capacitor c83-a off + tie 151 to 300 of 1, 250 ft, 400 A + line l1 out"
    keys = {"name": "night", "taps": {"reg1a": -2}, "capacitors_off": ["c83-a"], "lines_out": ["l1"],
            "ties": [{"from_bus": 151, "to_bus": 300, "code": 1, "length_ft": 250, "amps": 400}]}  # fmt: skip
    (
        _,
        one,
    ) = cases_of(FEEDER, [words], [])
    _, other = cases_of(FEEDER, [keys], [])
    assert one == other
    assert one == Case("night", {"reg1a": -2}, (), ("c83-a",), ("l1",), (Tie("151", "300", "1", 250.0, amps=400.0),))
    assert cases_of(FEEDER, [in_words(one)], [])[1].ties == one.ties


def test_a_file_names_cases_and_lines_that_are_taken_out_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "cases.yaml").write_text(FILE)
    found = cases_of(FEEDER, [tmp_path / "cases.yaml"], [])
    assert [case.name for case in found] == ["base", "regulator reg1a at tap 0", "weak", "l1 out", "l2 out"]
    assert found[2].taps == {"reg4a.a": 3} and found[4].lines_out == ("l2",)


def test_a_bank_stands_for_the_capacitors_of_its_phases() -> None:
    assert cases_of(FEEDER, ["capacitor c83 off + capacitor c88a off"], [])[1].capacitors_off == (
        "c83-a", "c83-b", "c83-c", "c88a",
    )  # fmt: skip


def test_every_line_one_by_one() -> None:
    assert len(cases_of(FEEDER, [], ["all"])) == 1 + len(FEEDER.lines)


@pytest.mark.parametrize(
    ("outages", "lines", "told"),
    [(["capacitor off"], [], "not an outage"), (["regulator reg1a at tap 1.5"], [], "not an outage"),
     ([{"name": "x", "tap": {}}], [], "tap"), (["base: line l1 out"], [], "name of its own"),
     (["line l1 out", "line l1 out"], [], "name of its own"), ([], ["nowhere"], "no such name"),
     ([{"name": "all", "lines_out": ["l1"]}], [], "name of its own"), ([3], [], "not an outage")],
)  # fmt: skip
def test_what_means_nothing_is_refused(outages: list[object], lines: list[str], told: str) -> None:
    with pytest.raises(InputError, match=told):
        cases_of(FEEDER, outages, lines)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["outages: x\n", "cases: []\n", "outages: [1]\n"])
def test_a_file_that_means_nothing_is_refused_by_its_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "cases.yaml").write_text(text)
    with pytest.raises(InputError, match="cases.yaml"):
        cases_of(FEEDER, [str(tmp_path / "cases.yaml")], [])
