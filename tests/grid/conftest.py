"""Feeders to test with."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from cosim.grid.feeder.feeder import (
    Bus,
    Capacitor,
    Feeder,
    Line,
    LineCode,
    Load,
    Matrix,
    Regulator,
    Transformer,
)
from cosim.grid.feeder.tables import read_feeder

LEGS = ("ab", "bc", "ca")
PUBLISHED_NAMES = {"RG7": "799r", "XF7": "775"}
"""Names of the published solution for the low sides of the regulator and of the transformer."""


@pytest.fixture(scope="session")
def ieee37() -> Feeder:
    return read_feeder("ieee37")


@pytest.fixture(scope="session")
def published(reference: Path) -> list[tuple[tuple[str, str], float]]:
    """The 117 published line-to-line voltages of IEEE 37, per unit, by (bus, leg)."""
    with (reference / "ieee37" / "published_voltages_ll.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [((PUBLISHED_NAMES.get(r["bus"], r["bus"]), leg), float(r[f"v{leg}_pu"])) for r in rows for leg in LEGS]


def symmetric(own: float, mutual: float, places: str = "abc") -> Matrix:
    """3x3 matrix with the same own and mutual terms in some places."""
    a, b, c = (x in places for x in "abc")
    ab, bc, ca = mutual * (a and b), mutual * (b and c), mutual * (c and a)
    return ((own * a, ab, ca), (ab, own * b, bc), (ca, bc, own * c))


@pytest.fixture(scope="session")
def four_wire() -> Feeder:
    """A small grounded feeder: regulator, one- and two-phase laterals, wye and delta ZIP loads, capacitors."""
    codes = tuple(
        LineCode(name, symmetric(0.35, 0.15, name), symmetric(1.0, 0.4, name), symmetric(5.0, -1.0, name))
        for name in ("abc", "bc", "a")
    )
    buses = tuple(
        Bus(name, 4.16, phases, True)
        for name, phases in (("s", "abc"), ("r", "abc"), ("1", "abc"), ("2", "abc"), ("3", "bc"), ("4", "a"))
    )
    lines = (
        Line("r-1", "r", "1", "abc", 2000.0, "abc"),
        Line("2-1", "2", "1", "abc", 1500.0, "abc"),
        Line("1-3", "1", "3", "bc", 800.0, "bc"),
        Line("2-4", "2", "4", "a", 500.0, "a"),
    )
    loads = (
        Load("1a", "1", "wye", "a", "PQ", 160.0, 80.0),
        Load("1b", "1", "wye", "b", "I", 120.0, 60.0),
        Load("2ca", "2", "delta", "ca", "PQ", 150.0, 70.0),
        Load("2c", "2", "wye", "c", "Z", 180.0, 90.0),
        Load("3bc", "3", "delta", "bc", "I", 60.0, 30.0),
        Load("4a", "4", "wye", "a", "Z", 50.0, 20.0),
    )
    regulator = Regulator("reg", "s", "r", "wye", {"a": 5, "b": 2, "c": 4})
    capacitors = (Capacitor("cap", "2", "wye", "b", 50.0), Capacitor("cap2", "2", "delta", "ab", 30.0))
    return Feeder("four-wire", "s", 4.16, 1.02, buses, lines, codes, (), (regulator,), capacitors, loads)


@pytest.fixture(scope="session")
def delta_wye() -> Feeder:
    """A three-wire source feeding a four-wire section through a delta-wye transformer."""
    code = LineCode("abc", symmetric(0.35, 0.15), symmetric(1.0, 0.4), symmetric(0.0, 0.0))
    buses = (Bus("s", 12.47), Bus("h", 12.47), Bus("l", 4.16, "abc", True), Bus("e", 4.16, "abc", True))
    lines = (Line("s-h", "s", "h", "abc", 3000.0, "abc"), Line("l-e", "l", "e", "abc", 1000.0, "abc"))
    transformer = Transformer("t", "h", "l", 2000.0, 12.47, "delta", 4.16, "wye", 1.0, 6.0)
    loads = (
        Load("ea", "e", "wye", "a", "PQ", 300.0, 120.0),
        Load("eb", "e", "wye", "b", "PQ", 200.0, 100.0),
        Load("ec", "e", "wye", "c", "PQ", 250.0, 60.0),
    )
    return Feeder("delta-wye", "s", 12.47, 1.0, buses, lines, (code,), (transformer,), (), (), loads)
