"""Studies that are sweeps: their plans can be made, and facts hold in their tables."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.experiments.studies import hosting
from cosim.experiments.studies.uncertainty import chance
from cosim.grid.feeder.limits import VoltageLimits
from cosim.scenario.loading import check_scenario
from cosim.scenario.own_code import imported
from cosim.sweep.experiment import shipped_experiments
from cosim.sweep.plan import make_plan
from cosim.sweep.reading import Sweep

from .conftest import small


@pytest.mark.parametrize("name", shipped_experiments())
def test_the_plan_of_a_shipped_experiment_can_be_made(name: str) -> None:
    plan = make_plan(name)
    assert len(plan.keys) == len(plan.runs) <= 200, "each run is another one, and a study takes minutes"
    assert plan.experiment.name == name and plan.experiment.description
    assert plan.experiment.analysis is not None and callable(imported(plan.experiment.analysis, "analysis"))


def table(found: Sweep) -> pd.DataFrame:
    assert (found.runs["status"] == "ok").all(), found.runs["error"].dropna().tolist()
    words = (found.root / "conclusion.md").read_text()
    assert words.startswith("# ") and "nan" not in re.findall(r"\w+", words)
    page = (found.root / "report.html").read_text()
    assert page.count("data:image/png;base64,") == len(list(found.root.glob("figures/*.png"))) > 0
    assert not re.search(r"""(src|href)=["']https?://""", page)
    return pd.read_csv(found.root / "comparison.csv", dtype={"bus": str})


def test_a_tariff_charges_what_it_says_and_only_negotiated_prices_reach_the_optimum(tmp_path: Path) -> None:
    changes = {"clock.start": "2024-07-15T18:00:00", "clock.steps": 1}
    found = table(small("tariffs", tmp_path, changes, loading_kw=[600])).set_index("tariff")
    assert found["paid_usd_per_mwh"]["flat"] == pytest.approx(48.0)
    assert found["price_of_anarchy"]["dlmp"] == pytest.approx(1.0, abs=1e-5)
    assert found["price_of_anarchy"].min() >= 1 - 1e-6
    assert found["dca_gain_usd"]["dlmp"] == found["operator_gain_usd"]["dlmp"] == 0


@pytest.mark.slow
def test_what_forecasts_are_worth_is_measured_against_one_foresight(tmp_path: Path) -> None:
    found = table(small("forecasts", tmp_path, {"clock.steps": 2, "clock.window_steps": 2}, size=[0.5, 2]))
    assert found.groupby("market")["perfect_usd"].nunique().eq(1).all()  # what happens is the same at every size
    assert (found["late_mwh"] < 1e-6).all()


@pytest.mark.slow
def test_with_two_settlements_the_bill_differs_from_what_was_agreed_on_by_what_deviations_cost(tmp_path: Path) -> None:
    found = small("settlements", tmp_path, {"clock.steps": 2, "clock.window_steps": 2}, size=[1])
    by = table(found).set_index("market")
    runs = found.runs[found.runs["market"] == "two settlements"]
    surprise = np.sqrt((runs["deviation_payment_usd"] ** 2).mean())
    assert by["surprise_usd"]["two settlements"] == pytest.approx(surprise, rel=1e-9) and surprise > 0.01
    assert by["agreed_usd"].nunique() == 1


@pytest.mark.slow
def test_a_price_on_unbalance_is_paid_for_in_resources(tmp_path: Path) -> None:
    found = table(small("svg_loading", tmp_path, {"clock.steps": 1}, loading_kw=[600], price=[0, 3]))
    priced = found[found["price"] == 3].set_index("svg")
    free = found[found["price"] == 0].set_index("svg")
    assert (priced["resources_above_free_usd"] >= -1e-3).all() and (free["charge_usd"] == 0).all()
    assert (priced["vuf_mean_pct"] < free["vuf_mean_pct"]).all()
    assert priced["vuf_mean_pct"].idxmin() == "per_leg"


@pytest.mark.slow
def test_no_mode_is_better_for_society_than_the_optimum(tmp_path: Path) -> None:
    changes = {"clock.steps": 2, "centralized.time_limit_s": 10}
    found = table(small("coordination_gap", tmp_path, changes, loading_kw=[300, 600], flexible=[0.4]))
    assert len(found) == 2
    gaps = found[["uncoordinated_pct", "decentralized_pct", "centralized_pct"]]
    assert gaps.min().min() >= -1e-4 and (gaps["uncoordinated_pct"] >= gaps["decentralized_pct"] - 1e-4).all()


@pytest.mark.slow
def test_solvers_agree_on_a_small_problem(tmp_path: Path) -> None:
    found = table(small("solvers", tmp_path, None, hours=[1]))
    assert len(found) == 4 and found["above_best_pct"].max() <= 0.2


@pytest.mark.slow
def test_svgs_and_coordination_do_not_shrink_what_a_bus_can_host(tmp_path: Path) -> None:
    found = table(small("hosting", tmp_path, None, bus=["736"])).set_index("case")["ac_kw"]
    assert found["work on arrival"] <= found["coordinated"] + hosting.RESOLUTION_KW
    assert found["work on arrival"] <= found["work on arrival, SVG"] + hosting.RESOLUTION_KW


@settings(max_examples=60)
@given(limit=st.floats(0, 4000), power=st.floats(0.3, 4), known=st.lists(st.integers(1, 60), max_size=4))
def test_the_search_finds_the_largest_size_that_holds(limit: float, power: float, known: list[int]) -> None:
    """Oracle: a margin that falls steadily and is zero at the limit; straight, steep or flat near it."""

    def margin(size_kw: float) -> float:
        return float((limit / 1000) ** power - (size_kw / 1000) ** power)

    asked: list[float] = []

    def counted(size_kw: float) -> float:
        asked.append(size_kw)
        return margin(size_kw)

    step = hosting.RESOLUTION_KW
    found = hosting._capacity(counted, {step * k: margin(step * k) for k in known})
    expected = min(limit, hosting.LARGEST_KW) if limit >= step else 0.0
    assert expected - step <= found <= expected + 1e-9
    assert len(asked) <= 16


def test_a_run_of_the_study_of_hosting_is_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """With voltages that fall on a line: the linear limit at 1,010 kW, that of AC power flow at 830 kW."""

    class Line:
        def __init__(self, size_kw: float) -> None:
            at = {"v_pu": 1010.0, "v_ac_pu": 830.0}
            low = {w: 0.95 - 1e-4 + (kw - size_kw) * 1e-4 for w, kw in at.items()}
            voltages = pd.DataFrame({"bus": ["x", "y"], **{w: [v, 1.0] for w, v in low.items()}})
            self.record = SimpleNamespace(limits=VoltageLimits(0.95, 1.05))
            self.tables = SimpleNamespace(voltages=voltages)

    monkeypatch.setattr(hosting, "simulate", lambda scenario, path: Line(scenario.datacenters[0].it_peak_kw))
    run = make_plan("hosting").runs[0]
    found = hosting.largest(check_scenario(run.scenario), Path("x.yaml"))
    assert found.kpis["linear_kw"] == 1000.0 and found.kpis["ac_kw"] == 800.0


@pytest.mark.slow
def test_what_sureness_costs_is_measured_with_how_often_limits_break(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chance, "SAMPLES", 60)
    noon = {"clock.start": "2024-07-15T12:00:00", "clock.steps": 1, "clock.window_steps": 1}
    found = table(small("chance", tmp_path, noon, joint=["individual"], probability=[0.5, 0.95]))
    bare, sure = found.iloc[0], found.iloc[1]
    assert bare["worst_pct"] > 25 > sure["worst_low_pct"] and sure["extra_pct"] > 0 == bare["extra_pct"]
