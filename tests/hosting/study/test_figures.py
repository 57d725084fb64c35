"""Figures of a hosting study: what they show of many connections."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cosim.hosting.study.figures import chosen, hour_by_day, spread


def capacity(sizes: dict[str, float]) -> pd.DataFrame:
    rows = [{"case": "base", "connection": name, "means": "none", "budget_of": "firm", "budget_pct": 0.0,
             "capacity_kw": kw} for name, kw in sizes.items()]  # fmt: skip
    return pd.DataFrame(rows)


def test_connections_are_chosen_from_the_lowest_to_the_highest_without_those_far_above_the_median() -> None:
    sizes = {f"b{i}": 100.0 + i for i in range(40)}
    found = chosen(capacity({**sizes, "source": 9000.0}))
    assert len(found) == 6 and found[0] == "b0" and found[-1] == "b39"


def test_few_names_are_all_kept() -> None:
    assert spread(["a", "b"], 6) == ["a", "b"]


@pytest.mark.parametrize(("step_s", "slots"), [(3600, 24), (900, 96)])
def test_a_heat_map_puts_each_step_at_its_hour_and_day(step_s: int, slots: int) -> None:
    times = pd.date_range("2023-03-01", periods=3 * slots, freq=f"{step_s}s")
    steps = pd.DataFrame({"step": range(3 * slots), "time": times})
    values = np.arange(3.0 * slots)
    figure = hour_by_day(pd.DataFrame({"b": values}, index=pd.RangeIndex(3 * slots)), steps, ["b"])
    assert figure is not None
    picture = np.asarray(figure.axes[0].collections[0].get_array())
    assert picture * 1000 == pytest.approx(values.reshape(3, slots).T)


def test_less_than_two_days_have_no_heat_map() -> None:
    steps = pd.DataFrame({"step": range(24), "time": pd.date_range("2023-03-01", periods=24, freq="h")})
    assert hour_by_day(pd.DataFrame({"b": np.ones(24)}), steps, ["b"]) is None
