"""Scenarios of what may happen have the law of the error model, know nothing of the future, and are kept by weight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cosim.errors import InputError
from cosim.scenario.forecasts.evolution import error_std
from cosim.scenario.forecasts.information import Information
from cosim.scenario.forecasts.sampling import forward_selection, standard_normals
from cosim.scenario.loading import load_scenario
from cosim.scenario.preparation import Prepared, prepare
from cosim.simulation.simulation import Simulation

FORECASTS = """
forecasts:
  series:
    - {name: price, of: market.price_usd_per_mwh, kind: error, std_1h: 0.05, std_24h: 0.15, truth: sampled}
    - {name: load, of: network.load_scale, kind: error, std_1h: 0.02, std_24h: 0.05, truth: sampled}
    - {name: sun, of: "generators.*.profile", kind: error, std_1h: 0.10, std_24h: 0.25}
  correlations:
    - {between: [price, load], value: 0.6}
"""


def prepared(folder: Path, **changes: Any) -> Prepared:
    path = folder / "uncertain.yaml"
    path.write_text("base: ieee37\nname: uncertain\n" + FORECASTS, encoding="utf-8")
    found = {"market.stochastic.scenarios": 20, **{k.replace("__", "."): v for k, v in changes.items()}}
    return prepare(*load_scenario(path, found))


def shown(found: Prepared, window: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights (scenarios,), prices and load scale (scenarios, steps) of a window."""
    information = Information(found)
    told = information.told().only
    opened = [*found.calendar.windows()][window]
    information.open(opened)
    assert told.supposing is not None
    steps = slice(opened.first, opened.last_exclusive)
    seen = [
        (weight, told.price_usd_per_mwh[steps].copy(), told.load_scale[steps].copy())
        for weight in told.supposing(opened)
    ]
    weights, price, load = zip(*seen, strict=True)
    return np.array(weights), np.array(price), np.array(load)


@pytest.mark.parametrize("sampling", ["sobol", "monte_carlo"])
def test_scenarios_have_the_standard_deviation_and_correlation_that_are_stated(tmp_path: Path, sampling: str) -> None:
    found = prepared(tmp_path, market__stochastic__scenarios=1000, market__stochastic__reduction="none",
                     market__stochastic__sampling=sampling)  # fmt: skip
    _, price, load = shown(found)
    leads = np.arange(24) + found.calendar.gate_s / 3600
    plain = found.read.plain  # type: ignore[attr-defined]
    size = plain(found.scenario.market.price_usd_per_mwh, "market.price_usd_per_mwh", "price")
    relative = price.std(axis=0) / size / error_std(leads, 0.05, 0.15, 168.0)
    assert relative == pytest.approx(np.ones(24), abs=0.03 if sampling == "sobol" else 0.08)
    together = np.corrcoef(price[:, 12], load[:, 12])[0, 1]
    assert together == pytest.approx(0.6, abs=0.03 if sampling == "sobol" else 0.08)


def test_the_mean_of_scenarios_is_what_is_forecast(tmp_path: Path) -> None:
    found = prepared(tmp_path, market__stochastic__scenarios=1000, market__stochastic__reduction="none")
    information = Information(found)
    told = information.told().only
    window = next(iter(found.calendar.windows()))
    information.open(window)
    forecast = told.price_usd_per_mwh.copy()
    _, price, _ = shown(found)
    assert price.mean(axis=0) == pytest.approx(forecast, rel=2e-3)


def test_what_is_forecast_is_shown_again_afterwards(tmp_path: Path) -> None:
    found = prepared(tmp_path)
    information = Information(found)
    told = information.told().only
    window = next(iter(found.calendar.windows()))
    information.open(window)
    before = told.price_usd_per_mwh.copy()
    assert told.supposing is not None
    seen = [told.price_usd_per_mwh.copy() for _ in told.supposing(window)]
    assert np.array_equal(told.price_usd_per_mwh, before)
    assert not any(np.array_equal(one, before) for one in seen)


def test_no_scenario_knows_what_happens_later(tmp_path: Path) -> None:
    """Other increments after the opening change what happens, and no scenario."""
    found = prepared(tmp_path)
    draws = found.read.draws  # type: ignore[attr-defined]
    before, steps = shown(found), found.calendar.steps
    for name in ("price", "load"):
        draws._moves[name][-steps:] += 1.0
    changed = prepared(tmp_path)
    again = changed.read.draws  # type: ignore[attr-defined]
    again._moves.update(draws._moves)
    assert all(np.array_equal(a, b) for a, b in zip(before, shown(changed), strict=True))
    key, spec = "market.price_usd_per_mwh", changed.scenario.market.price_usd_per_mwh
    truths = [r(spec, key, quantity="price") for r in (found.read, changed.read)]  # type: ignore[arg-type]
    assert np.array_equal(*truths) and not np.array_equal(truths[0], prepared(tmp_path).only.price_usd_per_mwh)


def test_work_is_no_part_of_scenarios(tmp_path: Path) -> None:
    found = prepared(tmp_path)
    added = {"name": "work", "of": "workload.utilisation", "kind": "error", "std_1h": 0.1, "std_24h": 0.2}
    series = [*found.scenario.model_dump(exclude_defaults=True)["forecasts"]["series"], added]
    with_work = prepared(tmp_path, forecasts__series=series)
    assert all(np.array_equal(a, b) for a, b in zip(shown(found), shown(with_work), strict=True))


def test_scenarios_where_nothing_errs_are_refused() -> None:
    for changes in ({}, {"forecasts": {"default": {"kind": "persistence"}}}):
        scenario = load_scenario("ieee37", {"market.stochastic.scenarios": 3, **changes})
        with pytest.raises(InputError, match="no series is forecast with an error"):
            Simulation(prepare(*scenario))


def test_fewer_drawn_than_kept_are_refused() -> None:
    with pytest.raises(InputError, match="sampled 3 is below scenarios 5"):
        load_scenario("ieee37", {"market.stochastic.scenarios": 5, "market.stochastic.sampled": 3})


POINTS = arrays(np.float64, st.tuples(st.integers(3, 7), st.integers(1, 3)), elements=st.integers(-9, 9).map(float))


def transport_cost(points: np.ndarray, kept: tuple[int, ...]) -> float:
    """Kantorovich distance to the best weights on the points kept: each goes to the nearest."""
    apart = np.linalg.norm(points[:, None] - points[None, list(kept)], axis=2)
    return float(apart.min(axis=1).mean())


@settings(max_examples=60, deadline=None)
@given(POINTS, st.integers(1, 3))
def test_forward_selection_takes_the_best_next_scenario(points: np.ndarray, count: int) -> None:
    chosen, weights = forward_selection(points, count)
    best: tuple[int, ...] = ()
    for _ in range(count):
        best += (min((j for j in range(len(points)) if j not in best),
                     key=lambda j: (round(transport_cost(points, (*best, j)), 9), j)),)  # fmt: skip
    assert transport_cost(points, tuple(chosen)) == pytest.approx(transport_cost(points, best), abs=1e-9)
    assert weights.sum() == pytest.approx(1.0) and (weights > 0).all()
    masses = np.zeros(count)
    apart = np.linalg.norm(points[:, None] - points[None, chosen], axis=2)
    for row in apart:
        masses[np.isclose(row, row.min())] += 1 / len(points)
    assert (weights <= masses + 1e-12).all()  # no weight comes from farther away than the nearest


def test_one_scenario_kept_of_many_is_their_medoid() -> None:
    points = np.random.default_rng(3).normal(size=(50, 4))
    (chosen,), weights = forward_selection(points, 1)
    assert chosen == np.linalg.norm(points[:, None] - points[None], axis=2).sum(axis=0).argmin()
    assert weights.tolist() == [1.0]


def test_more_scenarios_are_never_farther_from_what_is_drawn() -> None:
    points = standard_normals(64, 6, "sobol", (1, 2))
    costs = [transport_cost(points, tuple(forward_selection(points, k)[0])) for k in (1, 4, 16, 64)]
    assert costs == sorted(costs, reverse=True) and costs[-1] == 0.0
