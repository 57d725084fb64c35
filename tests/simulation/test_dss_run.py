"""A scenario on an OpenDSS circuit itself, from the file to the results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from cosim.errors import InputError, RunFailure
from cosim.simulation.runner import Comparison, compare, run, validate
from tests.grid.dss_circuits import MOVING_RING, RADIAL, RING

MODES = ("uncoordinated", "decentralized", "welfare", "centralized")
SITES: dict[str, Any] = {
    "ring": [("n3", 900.0), ("q2", 120.0)],
    "split": [("m", 200.0), ("m", 150.0)],
}


def scenario(folder: Path, name: str, text: str, **network: Any) -> Path:
    """Two data centers and a PV plant on a circuit, for a few hours around noon."""
    (folder / "circuit").mkdir()
    (folder / "circuit" / "master.dss").write_text(text)
    sites = SITES[name]
    data = {
        "schema_version": 1, "name": name, "seed": 1, "mode": "decentralized",
        "clock": {"start": "2024-07-15T10:00:00", "steps": 2, "window_steps": 2, "gate_s": 3600, "round_s": 5},
        "network": {"dss": "circuit/master.dss", "ac_rounds": 5, "v_max_pu": 1.06, "load_scale": {"constant": 0.9},
                    **network},
        "market": {"price_usd_per_mwh": {"values": [40.0, 60.0]}},
        "resources": [{"kind": "pv", "name": "pv", "bus": sites[0][0], "p_max_kw": 300.0, "s_kva": 330.0,
                       "profile": {"constant": 0.8}}],
        "datacenters": [{"name": f"dc{k}", "bus": bus, "it_peak_kw": kw, "it_idle_kw": 0.3 * kw, "pue": 1.3,
                         "power_factor": 0.95} for k, (bus, kw) in enumerate(sites)],
        "workload": {"utilisation": {"constant": 0.6},
                     "classes": [{"name": "fixed", "share": 0.5},
                                 {"name": "free", "share": 0.5, "movable": True, "max_delay_steps": 1,
                                  "delay_cost_usd_per_mwh_h": 0.5, "migration_cost_usd_per_mwh": 2.0}]},
        "decentralized": {"rule": "admm", "max_rounds": 200, "tolerance": 1e-6, "penalty_usd_per_mw2h": 50.0},
    }  # fmt: skip
    file = folder / "scenario.yaml"
    file.write_text(yaml.safe_dump(data))
    return file


@pytest.mark.parametrize(("name", "text"), [("ring", RING), ("split", RADIAL["centre-tapped secondaries"])])
def test_what_is_agreed_holds_in_opendss(name: str, text: str, tmp_path: Path) -> None:
    result = run(scenario(tmp_path, name, text))
    v = result.voltages
    assert abs(v["v_pu"] - v["v_ac_pu"]).max() <= 5e-4
    outside = ~v["v_ac_pu"].between(0.95 - 1e-6, 1.06 + 1e-6)
    assert not outside.any()
    imported = result.steps
    assert abs(imported["p_sub_kw"] - imported["p_sub_ac_kw"]).max() <= 0.05


def test_a_rating_of_a_branch_in_a_loop_binds_and_holds(tmp_path: Path) -> None:
    """The flow over the tie falls to what it may carry, and no further."""
    free = run(scenario(tmp_path, "ring", RING), mode="welfare")
    assert free.steps["slack_kwh"].max() <= 1e-6
    (tmp_path / "rated").mkdir()
    file = scenario(tmp_path / "rated", "ring", RING, branch_rating_kva={"transformer.dy2": 60.0})
    rated = run(file, mode="welfare")
    prices = rated.prices[rated.prices["bus"] == "q2"]["dlmp_p"]
    assert prices.max() > free.prices[free.prices["bus"] == "q2"]["dlmp_p"].max() + 1.0


def test_validation_names_what_is_not_there(tmp_path: Path) -> None:
    file = scenario(tmp_path, "ring", RING)
    assert any("11 buses" in text for _, text in validate(file).lines)
    with pytest.raises(InputError, match="no such branch") as caught:
        validate(file, {"network.branch_rating_kva": {"line.nowhere": 5.0}})
    assert "line.tie" in str(caught.value)
    with pytest.raises(InputError, match="lindist3flow"):
        validate(file, {"network.model": "lindist3flow"})
    with pytest.raises(InputError, match="no such bus"):
        validate(file, {"datacenters.0.bus": "dead"})


def test_controls_that_move_nothing_are_not_asked_to(tmp_path: Path) -> None:
    file = scenario(tmp_path, "split", RADIAL["centre-tapped secondaries"], controls="between_steps")
    with pytest.raises(InputError, match="no controls that could move anything") as caught:
        validate(file)
    assert caught.value.key == "network.controls"


def test_a_circuit_without_a_solution_is_no_feeder_of_tables(tmp_path: Path) -> None:
    """LinDist3Flow, which stands in for the tangent elsewhere, has nothing to say of a loop."""
    with pytest.raises(RunFailure, match="no AC solution"):
        run(scenario(tmp_path, "ring", RING), overrides={"datacenters.0.it_peak_kw": 60000.0}, mode="uncoordinated")


def test_the_notes_and_the_report_say_what_was_assumed(tmp_path: Path) -> None:
    result = run(scenario(tmp_path, "ring", RING, controls="fixed"), out=tmp_path / "out", mode="uncoordinated",
                 figures=False)
    assert (tmp_path / "out" / "report.html").is_file()
    assert any("regcontrol.r" in note for note in result.notes)
    assert not len(result.taps)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """All modes where the circuit's own controls move a regulator and a capacitor."""
    file = scenario(tmp_path_factory.mktemp("moving"), "ring", MOVING_RING, load_scale={"values": [1.5, 0.2]})
    return compare(file, modes=MODES, overrides={"network.v_max_pu": 1.08, "market.price_usd_per_mwh.values": [80, 40]})


def test_the_circuit_s_own_controls_move_alike_in_every_mode(comparison: Comparison) -> None:
    taps = [comparison.runs[mode].taps for mode in MODES]
    assert set(taps[0].loc[taps[0]["moves"] > 0, "device"]) == {"transformer.sub", "capacitor.cap"}
    for other in taps[1:]:
        pd.testing.assert_frame_equal(other, taps[0])
    assert any("network.controls: fixed holds them" in note for note in comparison.runs["welfare"].notes)


@pytest.mark.parametrize("mode", MODES)
def test_each_step_of_a_moving_circuit_holds_in_opendss(mode: str, comparison: Comparison) -> None:
    result = comparison.runs[mode]
    assert abs(result.voltages["v_pu"] - result.voltages["v_ac_pu"]).max() <= 5e-4
    for name, column in (("steps", "p_sub"), ("flows", "p")):
        table = getattr(result, name)
        assert abs(table[f"{column}_kw"] - table[f"{column}_ac_kw"]).max() <= 1.0
    accounts = result.accounts
    paid = accounts["paid_usd"].abs().sum()
    assert abs(accounts["received_usd"].sum() - accounts["paid_usd"].sum()) <= 1e-9 * paid


def test_the_optimum_of_a_moving_circuit_is_the_cheapest(comparison: Comparison) -> None:
    costs = {mode: float(run.kpis["social_cost_usd"]) for mode, run in comparison.runs.items()}
    assert costs["welfare"] == pytest.approx(costs["decentralized"], rel=1e-5)
    assert costs["welfare"] == pytest.approx(costs["centralized"], rel=1e-5)
    assert costs["welfare"] < costs["uncoordinated"]


def two_circuits(folder: Path) -> Path:
    """The ring and a circuit with a centre-tapped secondary, a data center on each, whose work stays where it is."""
    one = yaml.safe_load(scenario(folder, "ring", MOVING_RING, v_max_pu=1.08).read_text())
    (folder / "circuit" / "split.dss").write_text(RADIAL["regulators of two phases"])
    network, market = one.pop("network"), one.pop("market")
    there = {**network, "dss": "circuit/split.dss"}
    one["feeders"] = {
        name: {"network": {k: v for k, v in at.items() if k != "ac_rounds"}, **market, "resources": resources}
        for name, at, resources in (("ring", network, one.pop("resources")), ("far", there, []))
    }
    sites = [{**site, "feeder": name, "bus": bus, "connection": connection} for site, name, bus, connection in
             zip(one["datacenters"], ("ring", "far"), ("n3", "m"), ("three_phase", "three_phase"), strict=True)]
    one |= {"datacenters": sites, "workload": {**one["workload"], "classes": [{"name": "bound", "share": 1.0}]}}
    file = folder / "two.yaml"
    file.write_text(yaml.safe_dump(one))
    return file


def test_two_circuits_side_by_side_are_each_as_alone(tmp_path: Path) -> None:
    """Where no work can move between them."""
    file = two_circuits(tmp_path)
    both, data = run(file, mode="uncoordinated"), yaml.safe_load(file.read_text())
    assert set(both.taps["feeder"]) == {"ring", "far"}
    assert abs(both.voltages["v_pu"] - both.voltages["v_ac_pu"]).max() <= 5e-4
    for name, sub in data.pop("feeders").items():
        site = [{k: v for k, v in s.items() if k != "feeder"} for s in data["datacenters"] if s["feeder"] == name]
        market = {"price_usd_per_mwh": sub.pop("price_usd_per_mwh")}
        (tmp_path / f"{name}.yaml").write_text(
            yaml.safe_dump({**data, **sub, "market": market, "datacenters": site})
        )
        alone = run(tmp_path / f"{name}.yaml", mode="uncoordinated")
        compared = {"voltages": ["v_pu", "v_ac_pu"], "flows": ["p_kw", "p_ac_kw"], "prices": ["dlmp_p"]}
        for table, columns in compared.items():
            mine = getattr(both, table).query("feeder == @name")
            assert mine[columns].to_numpy() == pytest.approx(getattr(alone, table)[columns].to_numpy(), abs=1e-5)


def test_what_the_operator_buys_and_does_not_sell_are_the_losses_of_the_circuit(tmp_path: Path) -> None:
    """OpenDSS counts losses by element, the accounts what each load and generator draws at its voltage."""
    result = run(scenario(tmp_path, "ring", RING), mode="uncoordinated")
    books, steps = result.accounts[result.accounts["kind"] == "operator"], result.steps
    lost = steps["losses_ac_kw"] + steps["p_sub_kw"] - steps["p_sub_ac_kw"]
    assert lost.min() > 1.0
    assert (books["bought_kwh"] - books["sold_kwh"]).to_numpy() == pytest.approx(lost.to_numpy(), abs=1e-3)
    assert "fixed generation" in set(result.accounts["party"])
