"""The study of modes: what it writes, and facts that hold in its tables."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from cosim import InputError
from cosim.experiments.studies import coordination
from cosim.experiments.studies.common import CONCLUSION_FILE, Findings, write_findings


def _costs(found: Findings) -> pd.DataFrame:
    return found.tables["comparison"].set_index("case")


def test_every_case_is_in_the_table(modes: Findings) -> None:
    expected = ["uncoordinated", "decentralized", "welfare", "centralized", "decentralized, best_response"]
    assert list(_costs(modes).index) == expected


def test_no_case_is_cheaper_for_society_than_the_welfare_optimum(modes: Findings) -> None:
    social = _costs(modes)["social_cost_usd"]
    assert social.min() >= social["welfare"] * (1 - 1e-7)


def test_coordination_is_worth_something_in_these_hours(modes: Findings) -> None:
    social = _costs(modes)["social_cost_usd"]
    assert social["uncoordinated"] > social["welfare"] * 1.001


def test_the_leader_pays_no_more_than_in_the_negotiation(modes: Findings) -> None:
    gain = modes.tables["strategic_gain"].iloc[0]
    assert gain["gain_optimistic_usd"] >= -1e-3 * gain["negotiated_usd"]


def test_gains_are_ordered_pessimistic_optimistic_limit(modes: Findings) -> None:
    gain = modes.tables["strategic_gain"].iloc[0]
    slack = 1e-6 * gain["negotiated_usd"]
    assert gain["gain_pessimistic_usd"] <= gain["gain_optimistic_usd"] + slack
    assert gain["gain_optimistic_usd"] <= gain["gain_limit_usd"] + slack


def test_what_the_data_centers_gain_others_lose(modes: Findings) -> None:
    """Social cost is the data centers' cost plus the operator's less what it is paid."""
    gain, costs = modes.tables["strategic_gain"].iloc[0], _costs(modes)["dca_cost_usd"]
    moved = costs["decentralized"] - costs["centralized"]
    assert gain["operator_loss_usd"] - gain["social_loss_usd"] == pytest.approx(moved, abs=1e-6)


def test_prices_at_every_data_center_mode_and_step(modes: Findings) -> None:
    prices = modes.tables["prices"]
    assert len(prices) == 4 * 3 * 2
    assert set(prices["bus"]) == {"718", "736", "740"}


def test_conclusion_takes_its_numbers_from_the_table(modes: Findings) -> None:
    assert f"{float(_costs(modes)['social_cost_usd']['welfare']):,.2f}" in modes.conclusion


def test_a_case_without_agreement_has_no_regrets(modes: Findings) -> None:
    table = modes.tables["comparison"]
    apart = table[table["converged_share"] < 1]
    assert apart["dca_regret_usd"].isna().all()


def test_study_leaves_tables_figures_and_conclusion(modes: Findings, tmp_path: Path) -> None:
    folder = write_findings(modes, tmp_path / "out")
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert names == {
        CONCLUSION_FILE, "comparison.csv", "strategic_gain.csv", "prices.csv", "convergence.csv",
        "figures/cost_by_mode.png", "figures/welfare_gap.png", "figures/strategic_gain.png",
        "figures/prices_ieee37_stress.png", "figures/convergence_ieee37_stress.png",
    }  # fmt: skip


def test_a_folder_is_replaced_only_by_force(modes: Findings, tmp_path: Path) -> None:
    small = Findings(modes.tables, {}, modes.conclusion)
    write_findings(small, tmp_path / "out")
    with pytest.raises(InputError, match="exists"):
        write_findings(small, tmp_path / "out")
    write_findings(small, tmp_path / "out", force=True)


def test_unknown_scenario_is_refused() -> None:
    with pytest.raises(InputError, match="ieee37_stress"):
        coordination.study(["ieee37_stres"])


def test_payments_of_windows_add_up() -> None:
    window = {"payment_optimistic": 1.0, "payment_pessimistic": 2.0, "passed": True}
    both = {"window 0": window, "window 1": {**window, "passed": False}}
    assert coordination.certified_payments(window) == (1.0, 2.0, True)
    assert coordination.certified_payments(both) == (2.0, 4.0, False)
    assert coordination.certified_payments({}) == (0.0, 0.0, False)
