"""Regulators and capacitors that move between steps: alike in every mode, as OpenDSS moves them, constant in a step."""

from __future__ import annotations

import math
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import opendssdirect
import pandas as pd
import pytest

import cosim
from cosim.agents.dso.devices import MovingDevices, forecast_of
from cosim.errors import InputError, RunFailure
from cosim.grid.feeder.feeder import TAP_STEP
from cosim.grid.feeder.phases import Terminal
from cosim.grid.feeder.tables import read_feeder
from cosim.grid.opendss.controlled import ControlledCircuit
from cosim.protocol.roles import TerminalLoad
from cosim.scenario.loading import load_scenario
from cosim.scenario.preparation import prepare
from cosim.simulation.runner import Comparison, RunResult
from cosim.simulation.simulation import Simulation

ROOT = Path(__file__).resolve().parents[2]
MODES = ("uncoordinated", "decentralized", "welfare", "centralized")
ALIKE = ("prices", "dispatch", "voltages", "demand", "work")
MORNING: dict[str, Any] = {"clock.start": "2024-07-15T05:00:00", "clock.steps": 8}
"""Load rises, so that devices move in most steps."""


def scenario(feeder: str, bus: str, **changes: Any) -> dict[str, Any]:
    """ieee37's day with one data center on another feeder, whose devices move."""
    return {
        "network.controls": "between_steps",
        "network.feeder": feeder,
        "network.source_pu": None,
        "network.v_max_pu": 1.07,
        "generators": [],
        "remove": ["datacenters"],
        "datacenters": [{"name": "dc", "bus": bus, "it_peak_kw": 300, "it_idle_kw": 90, "pue": 1.2}],
        "workload.site_weight": {},
        **{key.replace("__", "."): value for key, value in changes.items()},
    }


@cache
def compared() -> Comparison:
    return cosim.compare("ieee37", modes=MODES, overrides={**scenario("ieee123", "76"), **MORNING})


def run(mode: str = "uncoordinated", feeder: str = "ieee13", bus: str = "671", **changes: Any) -> RunResult:
    return cosim.run("ieee37", mode=mode, overrides=scenario(feeder, bus, **changes))


def moved(result: RunResult) -> int:
    return int(result.taps["moves"].sum())


@pytest.mark.parametrize("mode", MODES[1:])
def test_all_modes_share_the_same_positions(mode: str) -> None:
    runs = compared().runs
    assert moved(runs[mode]) > 10
    pd.testing.assert_frame_equal(runs[mode].taps, runs["uncoordinated"].taps)


@pytest.mark.parametrize("mode", MODES)
def test_each_step_is_cleared_and_checked_at_its_positions(mode: str) -> None:
    """A tap is 0.00625 per unit; at positions of another step the linear and the AC voltages would be so far apart."""
    result = compared().runs[mode]
    assert result.kpis["ac_error_max_pu"] is not None
    assert result.kpis["ac_error_max_pu"] < TAP_STEP / 50


@pytest.mark.parametrize("changes", [{"network__model": "ac-linear"}, {"network__ac_rounds": 2}])
def test_other_ways_to_linearise_take_the_positions_too(changes: dict[str, Any]) -> None:
    result = run("welfare", clock__steps=6, **changes)
    assert moved(result) > 0
    assert result.kpis["ac_error_max_pu"] is not None
    assert result.kpis["ac_error_max_pu"] < TAP_STEP / 50


def test_a_day_moves_as_opendss_moves_the_original_with_the_data_center(reference: Path) -> None:
    """The original circuit with the data center's forecast as a load, its own controls in force, hour by hour."""
    prepared = prepare(*load_scenario("ieee37", {**scenario("ieee123", "76"), **MORNING}))
    dss = opendssdirect.dss.NewContext()
    dss.Basic.AllowChangeDir(False)
    dss.Text.Command(f'redirect "{reference / "feeders" / "ieee123" / "solve_ieee123.dss"}"')
    for command in (
        "new load.dc bus1=76 phases=3 kv=4.16 kw=1 kvar=0 model=1 status=fixed",
        "batchedit load..* vminpu=0.8 vmaxpu=1.2",
        "set controlmode=static",
        "set tolerance=1e-9",
        "set maxiterations=200",
        "set maxcontroliter=200",
    ):
        dss.Text.Command(command)
    expected = []
    for t in range(8):
        kw = 1.2 * (90 + 210 * float(prepared.utilisation[t]))
        dss.Text.Command(f"load.dc.kw={kw} kvar={kw * math.tan(math.acos(0.95))}")
        dss.Solution.Hour(t)
        dss.Solution.LoadMult(float(prepared.load_scale[t]))
        dss.Solution.Solve()
        for name in dss.RegControls.AllNames():
            dss.RegControls.Name(name)
            dss.Transformers.Name(dss.RegControls.Transformer())
            buses = dss.CktElement.BusNames()
            phases = ["abc"[int(n) - 1] for n in buses[0].split(".")[1:] if n != "0"] or list("abc")
            expected += [(t, buses[1].split(".")[0], x, int(dss.RegControls.TapNumber())) for x in phases]
    to_bus = {r.name: r.to_bus for r in prepared.feeder.regulators}
    taps = compared().runs["uncoordinated"].taps
    found = zip(taps["step"], taps["device"].map(to_bus), taps["phase"], taps["position"], strict=True)
    assert sorted(found) == sorted(expected)


def test_moves_are_counted_from_the_step_before() -> None:
    taps = compared().runs["welfare"].taps.set_index(["device", "phase", "step"])["position"].unstack()
    feeder = read_feeder("ieee123")
    first = pd.Series({(r.name, x): tap for r in feeder.regulators for x, tap in r.taps.items()})
    before = taps.shift(axis="columns")
    before[0] = first
    counted = compared().runs["welfare"].taps.set_index(["device", "phase", "step"])["moves"].unstack()
    assert ((taps - before).abs() == counted).all(axis=None)


def test_what_is_agreed_on_moves_nothing() -> None:
    """Shorter windows, a rolling market and its negotiation, another price: the same positions."""
    hours = {"clock__start": MORNING["clock.start"], "clock__steps": 6}
    whole = run(**hours).taps
    halves = run("decentralized", clock__window_steps=3, **hours).taps
    pd.testing.assert_frame_equal(whole, halves)
    rolling = run("decentralized", **{**hours, "clock__steps": 3}, clock__market="rolling", clock__window_steps=3).taps
    pd.testing.assert_frame_equal(whole[whole["step"] < 3], rolling)
    dear = run("welfare", market__slope_usd_per_mwh_per_mw=20.0, network__losses=False, **hours).taps
    pd.testing.assert_frame_equal(whole, dear)


@pytest.mark.parametrize("hours", [4, pytest.param(24, marks=pytest.mark.slow)])
def test_a_second_window_begins_where_the_first_ended(hours: int) -> None:
    start: dict[str, Any] = {"clock__start": MORNING["clock.start"], "clock__window_steps": hours}
    two = run(clock__steps=2 * hours, **start)
    pd.testing.assert_frame_equal(two.taps[two.taps["step"] < hours], run(clock__steps=hours, **start).taps)
    assert two.kpis["ac_error_max_pu"] is not None
    assert two.kpis["ac_error_max_pu"] < TAP_STEP / 50


def changed_feeder(tmp_path: Path, name: str, change: Any) -> str:
    folder = tmp_path / "feeder"
    shutil.copytree(ROOT / "data" / "feeders" / name, folder)
    change(folder)
    return str(folder)


def same(one: RunResult, other: RunResult) -> None:
    for table in ALIKE:
        pd.testing.assert_frame_equal(getattr(one, table), getattr(other, table), check_exact=True)


def test_fixed_is_as_if_there_were_no_controls(tmp_path: Path) -> None:
    bare = changed_feeder(tmp_path, "ieee123", lambda f: (f / "regulator_controls.csv").unlink())
    result = run("welfare", "ieee123", "76", network__controls="fixed", clock__steps=4)
    same(result, run("welfare", bare, "76", network__controls="fixed", clock__steps=4))
    assert result.taps.empty


def test_devices_move_where_a_feeder_has_controls_and_nothing_is_said() -> None:
    silent = run("welfare", network__controls=None, clock__steps=3)
    same(silent, run("welfare", clock__steps=3))
    assert moved(silent) > 0
    assert any("network.controls: fixed holds them" in note for note in silent.notes)


def test_the_shipped_scenario_holds_the_published_taps() -> None:
    overrides = scenario("ieee13", "671", clock__steps=3)
    del overrides["network.controls"]
    silent = cosim.run("ieee37", mode="welfare", overrides=overrides)
    same(silent, run("welfare", network__controls="fixed", clock__steps=3))
    assert not any("network.controls" in note for note in silent.notes)


def test_a_feeder_without_controls_needs_no_word_about_them(tmp_path: Path) -> None:
    bare = changed_feeder(tmp_path, "ieee13", lambda f: (f / "regulator_controls.csv").unlink())
    result = run("welfare", bare, network__controls=None, clock__steps=2)
    same(result, run("welfare", bare, network__controls="fixed", clock__steps=2))
    assert not any("network.controls" in note for note in result.notes)


def test_controls_that_move_nothing_change_nothing(tmp_path: Path) -> None:
    def widen(folder: Path) -> None:
        file = folder / "regulator_controls.csv"
        file.write_text(file.read_text().replace(",122.0,2.0,", ",122.0,60.0,"))

    still = run("welfare", changed_feeder(tmp_path, "ieee13", widen), clock__steps=4)
    assert len(still.taps) == 4 * 3 and moved(still) == 0
    same(still, run("welfare", network__controls="fixed", clock__steps=4))


def test_a_result_folder_has_the_table_only_where_devices_may_move(tmp_path: Path) -> None:
    for controls, there in (("fixed", False), ("between_steps", True)):
        out = tmp_path / controls
        overrides = scenario("ieee13", "671", network__controls=controls, clock__steps=2)
        cosim.run("ieee37", mode="uncoordinated", overrides=overrides, out=out, figures=False)
        assert (out / "taps.parquet").is_file() is there


def test_the_forecast_is_what_is_declared_before_anything_is_agreed_on() -> None:
    simulation = Simulation(prepare(*load_scenario("ieee37", {"network.controls": "between_steps"})))
    declared = simulation.market.declared(next(iter(simulation.prepared.calendar.windows())))
    loads = [load for a in simulation.market.aggregators for load in a.terminals()]  # type: ignore[attr-defined]
    assert np.column_stack([load.on_arrival_mw for load in loads]) == pytest.approx(declared, abs=1e-6)


def test_a_terminal_that_says_nothing_counts_for_nothing() -> None:
    terminal = Terminal("671", "wye", ("a",))
    loads = [TerminalLoad("x", terminal, 0.2, 0.3), TerminalLoad("y", terminal, 0.2, 0.5, np.array([0.1]))]
    forecast = forecast_of(loads, ())
    assert forecast(0) == [(terminal, pytest.approx(100.0), pytest.approx(50.0))]


def test_positions_that_were_forgotten_come_back_the_same() -> None:
    feeder = read_feeder("ieee13")
    scales = np.tile([0.4, 1.1], 2)
    devices = MovingDevices(feeder, scales, lambda t: [], 0, 3600)
    late = devices.feeder_at(3)
    assert devices.feeder_at(3) is late
    alone = ControlledCircuit(feeder)
    assert [devices.positions(t) for t in range(4)] == [
        alone.settle(float(k), (), 3600 * t) for t, k in enumerate(scales)
    ]


def test_a_step_without_a_solution_is_named() -> None:
    with pytest.raises(RunFailure, match="step 1: feeder ieee13: no AC solution"):
        run(network__load_scale={"values": [0.9, 4.0]}, clock__steps=2)


def test_a_feeder_without_controls_is_refused(tmp_path: Path) -> None:
    bare = changed_feeder(tmp_path, "ieee13", lambda f: (f / "regulator_controls.csv").unlink())
    with pytest.raises(InputError, match="no controls that could move") as caught:
        run(feeder=bare)
    assert caught.value.key == "network.controls"
    assert "fixed" in str(caught.value.allowed)


def test_taps_of_the_scenario_are_where_the_first_step_begins() -> None:
    start = run(clock__steps=1, network__taps={"reg1.a": -16, "reg1.b": -16, "reg1.c": -16}).taps
    assert (start["moves"] == start["position"] + 16).all()
    assert moved(run(clock__steps=1)) < start["moves"].sum()
