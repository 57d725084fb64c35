"""The study of limits and prices: what it leaves for an hour."""

from __future__ import annotations

import pytest

from cosim.experiments.studies.common import Findings
from cosim.experiments.studies.flexible import CASES, NAMES, RULES, study

pytestmark = pytest.mark.slow
EVENING = {"clock.start": "2024-07-15T18:00:00", "clock.steps": 1, "clock.window_steps": 1, "network.ac_rounds": 1,
           "decentralized.max_rounds": 40}


@pytest.fixture(scope="module")
def found() -> Findings:
    return study(EVENING)


def test_nobody_costs_society_less_than_the_planner(found: Findings) -> None:
    table = found.tables["comparison"]
    assert list(table["case"]) == list(CASES) and table["above_welfare_pct"].min() > -0.01


def test_what_all_pay_and_bear_is_the_social_cost(found: Findings) -> None:
    table = found.tables["comparison"]
    shared = table[["paid_usd", "own_usd", "operator_usd", "others_usd"]].sum(axis=1)
    assert shared.to_numpy() == pytest.approx(table["social_cost_usd"].to_numpy())


def test_limits_keep_what_work_on_arrival_breaks(found: Findings) -> None:
    broken = found.tables["comparison"].set_index("case")["broken"]
    assert broken["uncoordinated"] > 0 and broken[[f"envelope_{rule}" for rule in RULES]].max() == 0


def test_the_conclusion_names_who_is_limited_most_by_each_rule(found: Findings) -> None:
    assert all(f"{NAMES[f'envelope_{rule}']}: dc" in found.conclusion for rule in RULES)
