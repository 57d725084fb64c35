"""The study of static var generators: what it writes, and facts that hold in its tables."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import cosim
from cosim.experiments.studies.common import CONCLUSION_FILE, Findings, write_findings
from cosim.experiments.studies.svg import DEFAULT_PRICE, SVG_MODES
from cosim.scenario.loading import load_scenario


def _cases(found: Findings) -> pd.DataFrame:
    return found.tables["comparison"].set_index(["svg", "priced"])


def _of(found: Findings, svg: str, priced: bool, column: str) -> float:
    return float(_cases(found)[column].to_dict()[svg, priced])


def test_every_case_is_in_the_table(compensators: Findings) -> None:
    assert set(_cases(compensators).index) == {(svg, priced) for svg in SVG_MODES for priced in (False, True)}


@pytest.mark.parametrize("svg", SVG_MODES)
def test_a_price_on_unbalance_lowers_it_in_the_linear_model(compensators: Findings, svg: str) -> None:
    steps = compensators.tables["steps"]
    square = (steps["vuf_linear_pct"] ** 2).groupby([steps["svg"], steps["priced"]]).sum()
    assert square[svg, True] < square[svg, False]


def test_an_svg_never_raises_social_cost(compensators: Findings) -> None:
    """Without unbalance priced; to 1e-6, because each case linearises around its own dispatch."""
    cost = _cases(compensators)["social_cost_usd"]
    assert cost["balanced", False] <= cost["none", False] * (1 + 1e-6)
    assert cost["per_leg", False] <= cost["balanced", False] * (1 + 1e-6)


def test_an_svg_never_raises_the_operators_cost(compensators: Findings) -> None:
    cost = _cases(compensators)["dso_cost_usd"]
    assert cost["balanced", False] <= cost["none", False] * (1 + 1e-6)
    assert cost["per_leg", False] <= cost["none", False] * (1 + 1e-6)


def test_per_leg_and_priced_balances_most(compensators: Findings) -> None:
    vuf = _cases(compensators)["vuf_mean_pct"]
    assert vuf.idxmin() == ("per_leg", True)


def test_linear_and_ac_unbalance_agree(compensators: Findings) -> None:
    steps = compensators.tables["steps"]
    assert (steps["vuf_linear_pct"] - steps["vuf_pct"]).abs().max() < 0.03


def test_no_svg_means_no_reactive_output(compensators: Findings) -> None:
    assert _of(compensators, "none", False, "svg_mean_abs_kvar") == 0
    assert _of(compensators, "none", True, "svg_mean_abs_kvar") == 0


def test_resource_cost_is_what_the_dispatch_costs(compensators: Findings) -> None:
    """Oracle: import and generation at the scenario's costs; the study takes the charge off the operator's cost."""
    stated = _of(compensators, "per_leg", True, "dso_resource_cost_usd")
    priced = {"price_usd_per_pct2h": DEFAULT_PRICE, "buses": ["718", "736", "740"]}
    changes = {"clock.steps": 2, "network.unbalance": priced}
    result, (scenario, _) = cosim.run("ieee37_svg", mode="welfare", overrides=changes), load_scenario("ieee37_svg")
    out = result.dispatch.assign(p=result.dispatch["p_kw"] / 1000, q=result.dispatch["q_kvar"] / 1000)
    cost = float((result.steps["price_sub_usd_per_mwh"] * result.steps["p_sub_kw"] / 1000).sum())
    for unit in scenario.generators:
        of = out[out["unit"] == unit.name]
        cost += float((unit.cost_usd_per_mwh * of["p"] + unit.cost_usd_per_mw2h * of["p"] ** 2).sum())
        cost += float((unit.reactive_cost_usd_per_mvar2h * of["q"] ** 2).sum())
    for device in scenario.svgs:
        legs = out[out["unit"] == device.name]
        cost += float((3 * device.reactive_cost_usd_per_mvar2h * legs["q"] ** 2).sum())
    assert stated == pytest.approx(cost, abs=2e-3)


def test_study_leaves_tables_figures_and_conclusion(compensators: Findings, tmp_path: Path) -> None:
    folder = write_findings(compensators, tmp_path / "out")
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert names == {
        CONCLUSION_FILE, "comparison.csv", "sites.csv", "steps.csv", "figures/unbalance.png", "figures/voltage.png",
        "figures/cost.png", "figures/agreement.png", "figures/day.png", "figures/measures_ieee37_svg.png",
    }  # fmt: skip


def test_conclusion_takes_its_numbers_from_the_table(compensators: Findings) -> None:
    assert f"{_of(compensators, 'per_leg', True, 'vuf_mean_pct'):.3f}" in compensators.conclusion
