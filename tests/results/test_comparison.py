"""Modes side by side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from cosim.errors import InputError
from cosim.results.comparison import comparison_table, findings, read_comparison, write_comparison
from cosim.results.record import Kpi, Record
from cosim.results.tables import Layout, Tables

from .conftest import make_record, save_run


def with_kpis(record: Record, mode: str, **values: float) -> Record:
    kpis = {**record.kpis, **{k: Kpi(v, "USD") for k, v in values.items()}}
    return replace(record, mode=mode, kpis=kpis)


def test_the_table_has_a_row_per_mode_in_the_order_given_and_a_column_per_key_figure(record: Record) -> None:
    table = comparison_table({m: with_kpis(record, m) for m in ("welfare", "decentralized")})
    assert list(table.index) == ["welfare", "decentralized"]
    assert list(table.columns) == ["status", *record.kpis]
    assert table.loc["welfare", "dca_payment_usd"] == 60.0


def test_a_failed_mode_has_a_row_without_key_figures(record: Record) -> None:
    failed = replace(record, status="failed", kpis={})
    table = comparison_table({"welfare": record, "centralized": failed})
    assert table.loc["centralized", "status"] == "failed"
    assert table.loc["centralized"].drop("status").isna().all()


def test_a_comparison_comes_back_from_its_folder(tmp_path: Path, tables: Tables, layout: Layout) -> None:
    records = {m: make_record(tables, m) for m in ("welfare", "decentralized")}
    for mode in records:
        save_run(tmp_path / mode, tables, layout, mode)
    table = write_comparison(records, tmp_path)
    assert read_comparison(tmp_path) == records
    written = pd.read_csv(tmp_path / "comparison.csv", index_col="mode")
    pd.testing.assert_frame_equal(written, table, check_dtype=False, check_index_type=False)


def test_a_folder_without_a_comparison_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no comparison"):
        read_comparison(tmp_path)
    (tmp_path / "comparison.csv").write_text("colour\nred\n")
    with pytest.raises(InputError, match="not the table of a comparison"):
        read_comparison(tmp_path)


def test_efficiency_and_market_power_are_told_apart(record: Record) -> None:
    found = dict(
        findings(
            {
                "uncoordinated": with_kpis(record, "uncoordinated", social_cost_usd=110.0),
                "decentralized": with_kpis(
                    record, "decentralized", social_cost_usd=100.0, dca_cost_usd=50.0,
                    dca_regret_usd=0.25, dso_regret_usd=0.5,
                ),
                "welfare": with_kpis(record, "welfare", social_cost_usd=100.0),
                "centralized": with_kpis(
                    record, "centralized", social_cost_usd=105.0, dca_cost_usd=45.0, mip_gap=1e-6
                ),
            }
        )
    )  # fmt: skip
    assert found["Lost without coordination"].startswith("social cost is 10 USD (10.000 %)")
    assert "equals the welfare optimum" in found["Welfare gap of the negotiation"]
    assert found["Price of anarchy (leader and follower)"].endswith("ratio 1.050000")
    assert found["Strategic gain of the data centers"].startswith("5 USD (10.000 %)")
    assert "only known" not in found["Strategic gain of the data centers"]
    assert found["Equilibrium gap of the negotiation"].startswith("0.75 USD")


def test_a_strategic_gain_within_the_solution_gap_says_so(record: Record) -> None:
    records = {
        "decentralized": with_kpis(record, "decentralized", dca_cost_usd=50.0),
        "centralized": with_kpis(record, "centralized", dca_cost_usd=50.02, mip_gap=1e-3),
    }
    assert "only known to within 0.05 USD" in dict(findings(records))["Strategic gain of the data centers"]


def test_nothing_is_said_about_modes_that_were_not_run_or_failed(record: Record) -> None:
    assert findings({"welfare": record}) == []
    assert findings({"welfare": record, "centralized": replace(record, status="failed", kpis={})}) == []


def test_of_a_mode_with_several_settings_each_is_told_by_its_name(record: Record) -> None:
    records = {
        "best": with_kpis(record, "welfare", social_cost_usd=100.0, energy_mwh=1.0),
        "decentralized": with_kpis(record, "decentralized", social_cost_usd=101.0, energy_mwh=1.0),
        "flat": with_kpis(record, "decentralized", social_cost_usd=104.0, energy_mwh=1.0),
    }
    told = dict(findings(records))
    assert "1 USD" in told["Welfare gap of the negotiation"]
    assert "4 USD" in told["Above the welfare optimum: flat"]


def test_a_feeder_without_data_centers_is_no_lack_of_coordination(record: Record) -> None:
    records = {
        "welfare": with_kpis(record, "welfare", social_cost_usd=100.0, energy_mwh=1.0),
        "without_data_centers": with_kpis(record, "uncoordinated", social_cost_usd=40.0, energy_mwh=0.0),
    }
    assert findings(records) == []
