"""Modes with settings: how they are written, named and refused, and what a comparison of them leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import cosim
from cosim.cli.main import _modes
from cosim.errors import InputError
from cosim.results.comparison import read_comparison
from cosim.results.report import write_report
from cosim.simulation.variants import Variant, split_modes, variants_of, with_baseline

TARIFF = Variant("decentralized-rule-tariff", "decentralized", {"decentralized.rule": "tariff"})


def test_commas_within_brackets_separate_no_modes() -> None:
    text = "welfare, decentralized(rule=tariff,tolerance=1.0e-3), centralized(market.tariff_usd_per_mwh={constant: 3})"
    assert split_modes(text) == [
        "welfare", "decentralized(rule=tariff,tolerance=1.0e-3)",
        "centralized(market.tariff_usd_per_mwh={constant: 3})",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["welfare", "welfare"], [Variant("welfare", "welfare")]),
        (["decentralized(rule=tariff)"], [TARIFF]),
        (["decentralized(decentralized.rule=tariff)"], [TARIFF]),
        ({"flat": "decentralized(rule=tariff)"}, [Variant("flat", TARIFF.mode, TARIFF.changes)]),
        ({"flat": {"mode": "decentralized", "decentralized": {"rule": "tariff"}}},
         [Variant("flat", TARIFF.mode, TARIFF.changes)]),
        (["welfare(market.price_cap_usd_per_mwh=90)", "welfare(market.price_cap_usd_per_mwh= 90)"],
         [Variant(f"welfare-market.price_cap_usd_per_mwh-90{end}", "welfare", {"market.price_cap_usd_per_mwh": 90})
          for end in ("", "-2")]),
    ],
)  # fmt: skip
def test_a_variant_is_what_is_written(given: Any, meant: list[Variant]) -> None:
    assert list(variants_of(given)) == meant


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("welfare", "unknown mode"),
        ([], "unknown mode"),
        ({}, "unknown mode"),
        (["chaotic(rule=tariff)"], "unknown mode"),
        (["decentralized(rule=tariff"], "did you mean 'decentralized'"),
        (["decentralized(rule)"], "KEY=VALUE"),
        (["decentralized(=tariff)"], "KEY=VALUE"),
        (["decentralized(rule=[)"], "YAML"),
        (["decentralized(rule=tariff, rule=admm)"], "given twice"),
        (["decentralized(rul=tariff)"], "did you mean 'rule'"),
        (["welfare(rule=tariff)"], "not a setting"),
        (["welfare(market=3)"], "not a setting"),
        (["welfare(clock.steps=3)"], "not a setting"),
        (["welfare(mode=centralized)"], "not a setting"),
        ({"../up": "welfare"}, "not a name"),
        ({"figures": "welfare"}, "not a name"),
        ({".hidden": "welfare"}, "not a name"),
        ({"x" * 5000: "welfare"}, "not a name"),
        ({"a": "welfare", "A": "centralized"}, "case alone"),
        ({"a": 3}, "with the key mode"),
        ({"a": {"rule": "tariff"}}, "unknown mode"),
    ],
)
def test_what_is_no_variant_is_refused_in_one_short_error(given: Any, told: str) -> None:
    with pytest.raises(InputError, match=told) as refused:
        variants_of(given)
    assert len(str(refused.value)) < 2000


def test_a_file_of_named_modes_is_named_where_it_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "modes.yaml"
    path.write_text("flat: {mode: decentralised}\n")
    with pytest.raises(InputError, match="did you mean 'decentralized'") as refused:
        _modes(str(path))
    assert str(refused.value.file) == str(path) and refused.value.key == "modes.flat"


def test_a_setting_that_a_scenario_cannot_have_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such update rule"):
        cosim.compare("ieee37", ["welfare", "decentralized(rule=haggling)"], out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_baseline_that_is_not_compared_is_refused() -> None:
    with pytest.raises(InputError) as refused:
        cosim.compare("ieee37", ["welfare"], baseline="uncoordinated")
    assert refused.value.key == "baseline"


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> cosim.Comparison:
    """A tariff beside a price that was negotiated, measured against the tariff."""
    modes = {"flat": "decentralized(rule=tariff, market.tariff_usd_per_mwh={constant: 60})", "agreed": "decentralized"}
    out = tmp_path_factory.mktemp("compared") / "out"
    return cosim.compare("ieee37", modes, overrides={"clock.steps": 1}, out=out, baseline="flat", figures=False)


def test_each_variant_has_a_row_and_a_folder_of_its_name(compared: cosim.Comparison) -> None:
    assert compared.folder is not None and list(compared.table.index) == ["flat", "agreed"]
    records = read_comparison(compared.folder)
    assert {name: record.mode for name, record in records.items()} == dict.fromkeys(("flat", "agreed"), "decentralized")


def test_what_all_gain_together_is_what_is_saved_in_social_cost(compared: cosim.Comparison) -> None:
    gained = compared.gains(("step", "party")).groupby(["mode", "step"])["gain_usd"].sum()
    cost = {mode: run.steps.set_index("step")["social_cost_usd"] for mode, run in compared.runs.items()}
    saved = cost["flat"] - cost["agreed"]
    assert saved.abs().max() > 0
    assert (gained["agreed"] - saved).abs().max() <= 1e-9 * cost["flat"].abs().max()
    assert (gained["flat"] == 0).all()


def test_a_report_made_again_measures_against_the_same_mode(compared: cosim.Comparison) -> None:
    assert compared.folder is not None
    written = (compared.folder / "report.html").read_text()
    assert "Who gains, who loses" in written and "against flat" in written
    assert write_report(compared.folder, figures=False).read_text() == written
    assert set(pd.read_csv(compared.folder / "accounts.csv")["baseline"]) == {"flat"}


def test_without_data_centers_nobody_draws_for_them_and_that_is_a_baseline_only_if_asked_for() -> None:
    found = cosim.compare("ieee37", ["without_data_centers", "uncoordinated"], overrides={"clock.steps": 1})
    assert found.baseline == "uncoordinated"
    assert (found.runs["without_data_centers"].demand["p_kw"] == 0).all()
    gained = found.gains(("party",)).set_index(["mode", "party"])["gain_usd"]
    paid = found.runs["uncoordinated"].kpis["dca_payment_usd"]
    assert gained["without_data_centers", "dca"] == pytest.approx(paid)
    assert gained["without_data_centers", "dg734"] < 0


def test_the_feeder_without_data_centers_is_run_besides_where_it_is_the_baseline() -> None:
    asked = variants_of(["uncoordinated"])
    assert with_baseline(asked, "uncoordinated") == asked
    (_, added) = with_baseline(asked, "without_data_centers")
    assert added == Variant("without_data_centers", "uncoordinated", datacenters=False)
    assert with_baseline((*asked, added), "without_data_centers") == (*asked, added)
