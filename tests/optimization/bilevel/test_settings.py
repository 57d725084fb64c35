"""The settings of the leader's search: each is used and explained, and none changes what an answer means."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import pytest

import cosim.optimization.bilevel.settings as module
from cosim.errors import InputError
from cosim.experiments.benchmarks.leader.ablation import DEVICES, FULL, measure, table
from cosim.experiments.benchmarks.leader.instances import Shape, instance
from cosim.optimization.bilevel.settings import SearchSettings
from cosim.optimization.bilevel.solver import BilevelSolution, solve

NAMES = [field.name for field in fields(SearchSettings)]
PROBLEM = instance(Shape(2, 2, 3, step_h=8.0, slope=5.0), seed=9001)


@cache
def optimum() -> BilevelSolution:
    return solve(PROBLEM, gap=1e-5, time_limit_s=60)


@pytest.mark.parametrize("name", NAMES)
def test_a_setting_is_explained_and_read_by_the_search(name: str) -> None:
    assert re.search(rf'    {name}: [^\n]+\n    """[A-Z]', inspect.getsource(module))
    folder = Path(module.__file__).parent
    sources = [path.read_text(encoding="utf-8") for path in folder.rglob("*.py") if path.name != "settings.py"]
    assert any(re.search(rf"settings\.{name}\b", text) for text in sources)


@pytest.mark.parametrize("device", [name for name in DEVICES if name != FULL])
def test_without_one_device_the_answer_is_the_same_optimum(device: str) -> None:
    full, without = optimum(), solve(PROBLEM, gap=1e-5, time_limit_s=60, settings=DEVICES[device])
    assert full.status == without.status == "optimal"
    assert without.leader_cost == pytest.approx(full.leader_cost, rel=2e-5)
    assert without.bound <= full.leader_cost * (1 + 1e-7)


def test_a_search_without_regions_near_the_point_still_has_a_valid_bound() -> None:
    """Starved settings: no moves, one step, one program a pricing problem."""
    starved = replace(SearchSettings(), descent_steps=0, rounds=1, most_programs=1, single_moves=0)
    best, found = optimum(), solve(PROBLEM, gap=1e-5, time_limit_s=10, settings=starved)
    assert found.bound <= best.leader_cost * (1 + 1e-7) and found.leader_cost >= best.bound * (1 - 1e-7)


def test_the_table_counts_open_days_and_contradictions() -> None:
    one = measure(FULL, 0, (2, 2, 3), 1e-3, 30.0)
    assert one.cost is not None and one.gap is not None and one.gap <= 1e-3
    other = replace(one, device="conflicts of rows", cpu_s=2 * one.cpu_s, gap=0.5)
    wrong = replace(one, device="leaving out leaves", bound=one.cost * 1.01)
    rows = {row["without"]: row for row in table([one, other, wrong], 1e-3)}
    assert rows["conflicts of rows"]["open"] == 1 and rows["conflicts of rows"]["day by day"] == "+100 %"
    assert rows["leaving out leaves"]["contradictions"] == 1 and rows[FULL]["contradictions"] == 0


def test_mip_solvers_take_settings_too() -> None:
    problem = instance(Shape(1, 1, 2, step_h=12.0), seed=9000)
    found = solve(problem, solver="highs", formulation="kkt-mccormick", settings=SearchSettings(obbt_effort=0))
    assert found.bound <= solve(problem, gap=1e-6).leader_cost * (1 + 1e-7)
    with pytest.raises(InputError):
        solve(problem, solver="abacus", settings=SearchSettings())
