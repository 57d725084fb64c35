"""What a run says of loads outside the range of voltages in which OpenDSS keeps their model."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import cosim
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.load_ranges import LoadRanges
from cosim.grid.feeder.tables import read_feeder
from cosim.grid.opendss.circuit import AcCircuit
from cosim.simulation.runner import RunResult


def run(**changes: Any) -> RunResult:
    overrides = {
        "network.feeder": "ieee13", "network.source_pu": None, "network.v_min_pu": 0.9, "network.v_max_pu": 1.1,
        "generators": [], "remove": ["datacenters"], "clock.steps": 2,
        "datacenters": [{"name": "dc", "bus": "650", "it_peak_kw": 300, "it_idle_kw": 90, "pue": 1.2}],
        "network.load_scale": {"values": [0.3, 1.4]}, **{k.replace("__", "."): v for k, v in changes.items()},
    }  # fmt: skip
    return cosim.run("ieee37", mode="uncoordinated", overrides=overrides)


def said(result: RunResult) -> list[str]:
    return [note for note in result.notes if "OpenDSS keeps their model" in note]


def test_a_run_says_how_far_loads_left_their_range() -> None:
    result = run()
    (note,) = said(result)
    found = re.search(r"by up to ([\d.]+) pu \(load (\S+) at bus (\S+), step (\d): ([\d.]+) pu\)", note)
    assert found is not None
    name, step = found[2], int(found[4])
    distance, v = float(found[1]), float(found[5])
    load = next(x for x in read_feeder("ieee13").loads if x.name == name)
    assert load.bus == found[3] and load.v_min_pu is not None and load.v_max_pu is not None
    assert distance == pytest.approx(max(load.v_min_pu - v, v - load.v_max_pu), abs=1e-4)
    if load.connection == "wye":
        rows = result.voltages
        rows = rows[(rows["bus"] == load.bus) & (rows["phase"] == load.phases) & (rows["step"] == step)]
        assert v == pytest.approx(float(rows["v_ac_pu"].iloc[0]), abs=1e-4)


def test_a_run_says_nothing_where_loads_stay_in_their_range() -> None:
    assert not said(run(network__load_scale={"constant": 0.45}, clock__steps=1))


def test_loads_without_a_range_say_nothing(ieee37: Feeder) -> None:
    ranges, circuit = LoadRanges(ieee37), AcCircuit(ieee37)
    circuit.solve(1.5)
    ranges.see(0, circuit.node_phasors)
    assert ranges.note() is None


@pytest.mark.parametrize("shift", [-0.06, 0.06])
def test_the_farthest_step_is_named(shift: float) -> None:
    feeder = read_feeder("ieee13")
    only = replace(feeder, loads=tuple(x for x in feeder.loads if x.connection == "wye" and x.model != "Z"))
    ranges = LoadRanges(only)
    angles = np.exp(-2j * np.pi * np.arange(3) / 3)
    for step, part in enumerate((0.0, 0.9, 1.0, 0.95)):
        ranges.see(step, (1 + shift * part) * np.tile(angles, (len(feeder.buses), 1)))
    assert ranges.steps == [1, 2, 3]
    distance, _, v, step = ranges.worst
    assert (step, v) == (2, pytest.approx(1 + shift))
    beyond = [max((x.v_min_pu or 0) - v, v - (x.v_max_pu or 0)) for x in only.loads]
    assert distance == pytest.approx(max(beyond))
    assert ranges.loads == {x.name for x in only.loads}
