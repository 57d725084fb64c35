"""Points of an experiment: lists, ranges, samples, and how they are combined."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from cosim.errors import InputError
from cosim.sweep.design import points_of
from cosim.sweep.experiment import check_experiment


def points(**changes: Any) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    made = check_experiment({"name": "x", "scenario": "ieee37", **changes})
    return [(dict(p.factors), dict(p.changes)) for p in points_of(made)]


def column(name: str, **changes: Any) -> np.ndarray:
    return np.array([factors[name] for factors, _ in points(**changes)])


def test_without_factors_there_is_one_point() -> None:
    assert points(set={"seed": 3}) == [({}, {"seed": 3})]


def test_full_takes_every_combination_in_order() -> None:
    found = points(factors={"a.b": [1, 2], "c": ["x", "y", "z"]})
    assert [tuple(f.values()) for f, _ in found] == [(i, s) for i in (1, 2) for s in "xyz"]
    assert found[1][1] == {"a.b": 1, "c": "y"}


def test_paired_takes_values_together() -> None:
    found = points(design="paired", factors={"a": [1, 2], "b": [3, 4]})
    assert [tuple(f.values()) for f, _ in found] == [(1, 3), (2, 4)]


def test_paired_factors_of_different_length_are_refused() -> None:
    with pytest.raises(InputError, match="equally many"):
        points(design="paired", factors={"a": [1, 2], "b": [3]})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"start": 0, "stop": 1, "count": 3}, [0, 0.5, 1]),
        ({"start": 0.1, "stop": 0.4, "step": 0.1}, [0.1, 0.2, 0.3, 0.4]),
        ({"start": 0, "stop": 1, "step": 0.4}, [0, 0.4, 0.8]),
        ({"start": 1, "stop": 100, "count": 3, "scale": "log"}, [1, 10, 100]),
    ],
)
def test_ranges_hold_both_ends(given: dict[str, Any], expected: list[float]) -> None:
    assert list(column("a", factors={"a": {"range": given}})) == expected


def test_a_factor_sets_several_keys_each_by_its_own_line() -> None:
    factor = {"keys": {"x": 1, "y": 0.3, "z": {"times": -1, "plus": 1}}, "values": [0.2]}
    assert points(factors={"f": factor})[0][1] == {"x": 0.2, "y": 0.06, "z": 0.8}


def test_levels_set_keys_of_their_own() -> None:
    found = points(factors={"f": {"levels": {"on": {"a": 1, "b": [2]}, "off": {"a": 0}}}})
    assert [f["f"] for f, _ in found] == ["on", "off"]
    assert found[0][1] == {"a": 1, "b": [2]} and found[1][1] == {"a": 0}


def sampled(method: str, count: int, **specs: Any) -> dict[str, Any]:
    return {"factors": {n: {"sample": s} for n, s in specs.items()}, "sampling": {"method": method, "count": count}}


def test_a_latin_hypercube_has_one_value_in_each_stratum_of_each_factor() -> None:
    given = sampled("latin_hypercube", 20, a={"low": 0, "high": 20}, b={"low": 100, "high": 120})
    assert sorted(np.floor(column("a", **given))) == list(range(20))
    assert sorted(np.floor(column("b", **given) - 100)) == list(range(20))


def test_a_sobol_sequence_is_balanced_in_both_halves_of_each_factor() -> None:
    given = sampled("sobol", 16, a={"low": 0, "high": 1}, b={"low": 0, "high": 1})
    corners = {(f["a"] > 0.5, f["b"] > 0.5) for f, _ in points(**given)}
    assert (column("a", **given) > 0.5).sum() == 8 and len(corners) == 4


def test_monte_carlo_follows_its_distribution() -> None:
    given = sampled("monte_carlo", 2000, a={"distribution": "norm", "parameters": {"loc": 5, "scale": 2}})
    assert stats.kstest(column("a", **given), stats.norm(5, 2).cdf).pvalue > 0.01


def test_a_distribution_is_cut_where_it_is_told_to_be() -> None:
    cut = {"distribution": "norm", "parameters": {"loc": 1, "scale": 0.2}, "within": [0.9, 1.3]}
    values = column("a", **sampled("monte_carlo", 2000, a=cut))
    law = stats.truncnorm(-0.5, 1.5, loc=1, scale=0.2)
    assert 0.9 <= values.min() and values.max() <= 1.3
    assert stats.kstest(values, law.cdf).pvalue > 0.01


def test_a_logarithmic_factor_is_even_in_its_logarithm() -> None:
    values = column("a", **sampled("latin_hypercube", 10, a={"low": 1, "high": 1024, "scale": "log"}))
    assert sorted(np.floor(np.log2(values))) == list(range(10))


def test_whole_numbers_stay_whole() -> None:
    found = points(
        factors={"a": {"sample": {"distribution": "poisson", "parameters": {"mu": 3}}, "integer": True}},
        sampling={"method": "monte_carlo", "count": 5},
    )
    assert all(isinstance(f["a"], int) for f, _ in found)


def test_samples_repeat_with_their_seed_and_differ_without() -> None:
    given = sampled("monte_carlo", 5, a={"low": 0, "high": 1})
    other = {**given, "sampling": {**given["sampling"], "seed": 2}}
    assert list(column("a", **given)) == list(column("a", **given)) != list(column("a", **other))


def test_samples_are_taken_at_every_point_of_the_grid() -> None:
    given = sampled("monte_carlo", 3, a={"low": 0, "high": 1})
    found = points(**{**given, "factors": {"g": [1, 2], **given["factors"]}})
    assert len(found) == 6 and [f["a"] for f, _ in found[:3]] == [f["a"] for f, _ in found[3:]]
