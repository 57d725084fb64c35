"""Results of several feeders: tables that name them, what each feeder has of its own, limits, figures, records."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from cosim.errors import InputError
from cosim.results.by_feeder import FeederTables, layout_part
from cosim.results.folders import RunFolder
from cosim.results.kpis import compute_kpis
from cosim.results.record import Record, VoltageLimits
from cosim.results.report import write_report
from cosim.results.spool import Spool, StoredTables
from cosim.results.tables import Layout, Tables

from .conftest import FACTS, LIMITS, SCENARIO_TEXT, Rows, make_layout, make_record, make_rows

NAMED = ("prices", "dispatch", "voltages", "unbalance", "taps", "flows", "limits", "accounts")
ALIKE = ("work", "rounds", "messages", "demand")
NO_LONGER_DRAWN = "map_price.north.png"
OWN = VoltageLimits(0.97, 1.05)
"""Limits of the east, which more of its voltages break."""


def several(rows: Rows) -> Rows:
    """The same results on two feeders with the same names of buses; the east has half the cost and import."""
    found = {name: rows[name] for name in ALIKE}
    for name in NAMED:
        found[name] = [{"feeder": feeder, **row} for feeder in ("west", "east") for row in rows[name]]
    own = ("p_sub_kw", "q_sub_kvar", "dso_cost_usd", "dca_payment_usd", "slack_kwh", "p_sub_ac_kw", "losses_ac_kw")
    found["steps"], found["feeders"] = [], []
    for row in rows["steps"]:
        found["steps"].append({**row, **{key: 1.5 * row[key] for key in own}})  # type: ignore[operator]
        for feeder, share in (("west", 1.0), ("east", 0.5)):
            part = {key: share * row[key] for key in own}  # type: ignore[operator]
            price = row["price_sub_usd_per_mwh"]
            found["feeders"].append({"step": row["step"], "feeder": feeder, "price_sub_usd_per_mwh": price, **part})
    return found


def both(layout: Layout) -> Layout:
    """Both feeders with a data center each."""
    away = {"west": "dc2", "east": "dc1"}
    frames = {}
    for name, frame in layout.items():
        parts = [frame.assign(feeder=feeder) for feeder in ("west", "east")]
        if name == "units":
            parts = [p[p["unit"] != away[feeder]] for feeder, p in zip(("west", "east"), parts, strict=True)]
        frames[name] = pd.concat(parts, ignore_index=True)
    return Layout.from_frames(frames)


@pytest.fixture(scope="module")
def twin() -> Tables:
    return Tables.from_rows(several(make_rows()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, twin: Tables) -> Path:
    """The folder of a run with two feeders, with its report; figures have their names, and nothing in them."""
    record = replace(make_record(twin), limits=None, feeder_limits={"west": LIMITS, "east": OWN})
    with RunFolder(tmp_path_factory.mktemp("twin") / "run", record, SCENARIO_TEXT) as place:
        twin.write(place.path)
        place.save(record, both(make_layout()))
    (place.out / "figures").mkdir()
    (place.out / "figures" / NO_LONGER_DRAWN).write_bytes(b"")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("cosim.results.figures.style.png", lambda _: b"")
        write_report(place.out)
    return place.out


@pytest.mark.parametrize("stored", [False, True])
def test_a_feeder_has_what_a_run_with_it_alone_leaves(twin: Tables, tables: Tables, folder: Path, stored: bool) -> None:
    west = FeederTables(StoredTables(folder) if stored else twin, "west")
    for name in (*NAMED, *ALIKE, "steps"):
        pd.testing.assert_frame_equal(getattr(west, name), getattr(tables, name))
    columns = ("step", "bus", "phase", "v_pu")
    pd.testing.assert_frame_equal(west.only("voltages", *columns), tables.only("voltages", *columns))


def test_steps_of_a_feeder_are_its_own(twin: Tables, tables: Tables) -> None:
    east = FeederTables(twin, "east").steps
    assert (east["p_sub_kw"] * 2).to_list() == tables.steps["p_sub_kw"].to_list()
    assert list(east.columns) == list(tables.steps.columns)


def test_the_same_bus_on_two_feeders_is_two_rows_and_twice_on_one_is_refused(rows: Rows) -> None:
    given = several(rows)
    given["prices"].append(given["prices"][0])
    with pytest.raises(InputError, match="two rows with the same key"):
        Tables.from_rows(given)


def test_limits_are_each_feeders_own(twin: Tables, tables: Tables) -> None:
    found = compute_kpis(twin, FACTS, {"west": LIMITS, "east": OWN})
    apart = [compute_kpis(tables, FACTS, limits) for limits in (LIMITS, OWN)]
    for name in ("violations_linear", "violations_ac"):
        one, other = (kpis[name].value for kpis in apart)
        assert one is not None and other is not None and one != other
        assert found[name].value == one + other


def test_files_written_as_a_run_goes_are_the_same(twin: Tables, folder: Path, tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for name, frame in twin.items():
        spool.add(name, frame)
    spool.close()
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes(), path.name


def test_every_feeder_is_drawn_and_named(folder: Path) -> None:
    names = {p.stem for p in (folder / "figures").iterdir()}
    alone = {"map_price", "map_voltage", "price_heatmap", "price_heatmap_phase", "price_parts", "power_and_price",
             "voltages", "unbalance", "taps", "dispatch"}  # fmt: skip
    assert names == {f"{n}.{feeder}" for n in alone for feeder in ("west", "east")} | {"work", "convergence"}
    text = (folder / "report.html").read_text()
    for feeder in ("west", "east"):
        assert len(re.findall(rf"Feeder {feeder}\.\s*</figcaption>", text)) == len(alone)


def test_figures_of_feeders_that_are_no_longer_drawn_are_removed(folder: Path) -> None:
    assert not (folder / "figures" / NO_LONGER_DRAWN).exists()


def test_the_layout_of_a_feeder_is_its_own(layout: Layout) -> None:
    east = layout_part(both(layout), "east")
    assert list(east.buses["bus"]) == list(layout.buses["bus"]) and set(east.units["unit"]) == {"dc2", "dg", "svg"}


def test_a_record_keeps_the_limits_of_each_feeder(tables: Tables, folder: Path) -> None:
    assert Record.read(folder).voltage_limits == {"west": LIMITS, "east": OWN}
    assert "feeder_limits" not in json.loads(make_record(tables).to_json())
