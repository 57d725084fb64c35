"""Forecast errors have the statistics that are stated, and other forecasts are made of what is known alone."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import integrate, stats

from cosim.errors import InputError
from cosim.scenario.calendar import MarketCalendar
from cosim.scenario.forecasts.drawing import Draws
from cosim.scenario.forecasts.evolution import Errors, Evolution, Slots, clipped_mean, error_std
from cosim.scenario.forecasts.information import Information
from cosim.scenario.forecasts.models import Moment, Persistence, SeriesFacts
from cosim.scenario.forecasts.spec import ForecastsSpec
from cosim.scenario.loading import load_scenario
from cosim.scenario.preparation import prepare

DRAWS = 2000
STEPS = 28
SERIES = 40.0 + 10.0 * np.sin(np.arange(STEPS))
LAW = {"kind": "error", "std_1h": 0.05, "std_24h": 0.2, "reach_h": 36}


def calendar(market: str = "day_ahead", gate_s: int = 1800, step_s: int = 3600, steps: int = STEPS) -> MarketCalendar:
    window = steps if market == "day_ahead" else 4
    return MarketCalendar(datetime(2024, 7, 15), step_s, steps, window, market, gate_s, 60)  # type: ignore[arg-type]


def spec_of(*series: dict[str, Any], **more: Any) -> ForecastsSpec:
    return ForecastsSpec.model_validate({"series": list(series), **more})


@cache
def drawn_of(form: str, truth: str, moments: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    return drawn(spec_of({"name": "a", "of": "x", "form": form, "truth": truth, **LAW}), "x", [*moments])


def drawn(
    spec: ForecastsSpec, key: str, moments: list[int], lower: float = -np.inf, upper: float = np.inf
) -> tuple[np.ndarray, np.ndarray]:
    """(draws, moments, steps) forecasts made at some moments of all steps, and (draws, steps) what happens."""
    forecasts, truths = [], []
    for seed in range(DRAWS):
        found = Draws(spec, calendar(), seed).evolution(key, SERIES, lower, upper)
        assert found is not None
        forecasts.append([forecast(found, spec.of(key)[2], moment_s) for moment_s in moments])
        truths.append(found.truth)
    return np.array(forecasts), np.array(truths)


def forecast(found: Evolution, law: Any, moment_s: int) -> np.ndarray:
    leads = (np.arange(STEPS) * 3600 - moment_s) / 3600
    return found.forecast(moment_s, 0, found.errors.whole(), error_std(leads, law.std_1h, law.std_24h, law.reach_h))


def assert_mean_zero(values: np.ndarray) -> None:
    """The mean over the draws is zero within four standard errors."""
    off, error = np.abs(values.mean(axis=0)), values.std(axis=0, ddof=1) / np.sqrt(len(values))
    assert (off <= 4 * error + 1e-12).all()


@pytest.mark.parametrize(
    ("form", "truth"),
    [("multiplicative", "series"), ("additive", "sampled"),
     pytest.param("multiplicative", "sampled", marks=pytest.mark.slow)],
)
def test_errors_are_unbiased_and_have_the_stated_size_at_each_lead_time(form: str, truth: str) -> None:
    found, happens = drawn_of(form, truth, (-1800, 14400, 34200) if truth == "sampled" else (-1800,))
    errors = happens - found[:, 0]
    assert_mean_zero(errors)
    leads = np.arange(STEPS) + 0.5
    law = 0.05 * np.minimum(leads, 36) ** (np.log(4) / np.log(24))
    size = law * (SERIES if form == "multiplicative" else 1.0)
    assert np.allclose(errors.std(axis=0), size, rtol=4 / np.sqrt(2 * DRAWS))


def test_forecasts_are_consistent() -> None:
    """What a later forecast adds to an earlier one has mean zero and nothing to do with the earlier one."""
    found, happens = drawn_of("multiplicative", "sampled", (-1800, 14400, 34200))
    for earlier, later in ((found[:, 0], found[:, 1]), (found[:, 1], found[:, 2]), (found[:, 2], happens)):
        revision = later - earlier
        assert_mean_zero(revision)
        assert_mean_zero(revision * (earlier - SERIES))


def test_revisions_of_neighbouring_hours_go_together() -> None:
    found, happens = drawn_of("multiplicative", "series", (-1800,))
    errors = (happens - found[:, 0])[:, 10:14]
    law = Errors.of(Slots.of(calendar(), 36), np.zeros(0), 0.05, 0.2, 36).weights
    assert np.corrcoef(errors.T)[0, 1] == pytest.approx(_neighbours(law, 10), abs=4 / np.sqrt(DRAWS))
    assert np.corrcoef(errors.T)[0, 1] > 0.5


def _neighbours(weights: np.ndarray, t: int) -> float:
    """Correlation of the errors of steps t and t + 1 at the opening, of moving averages with these weights."""
    here, there = weights[-(2 * t + 1) :], weights[-(2 * t + 3) :]
    return float(here @ there[: len(here)] / np.sqrt((here @ here) * (there @ there)))


def test_errors_of_entries_are_correlated_as_asked() -> None:
    a, b, c = ({"name": n, "of": n, **LAW} for n in "abc")
    pairs = [{"between": ["a", "b"], "value": 0.7}, {"between": ["b", "c"], "value": -0.4}]
    spec = spec_of(a, b, c, correlations=pairs)
    at = {name: [] for name in "abc"}
    for seed in range(DRAWS):
        draws = Draws(spec, calendar(), seed)
        for name in at:
            found = draws.evolution(name, SERIES, -np.inf, np.inf)
            assert found is not None
            at[name].append(found.errors.whole()[12])
    found = np.corrcoef([at[n] for n in "abc"])
    for (i, j), asked in {(0, 1): 0.7, (1, 2): -0.4, (0, 2): 0.0}.items():
        assert abs(np.arctanh(found[i, j]) - np.arctanh(asked)) <= 4 / np.sqrt(DRAWS - 3)


def test_bounds_do_not_bias_forecasts_of_what_is_drawn() -> None:
    spec = spec_of({"name": "a", "of": "x", "truth": "sampled", "form": "additive", **LAW, "std_24h": 25})
    found, happens = drawn(spec, "x", [-1800, 6 * 3600], lower=35.0, upper=45.0)
    assert happens.min() == 35.0 and happens.max() == 45.0
    assert_mean_zero(happens - found[:, 0])
    assert_mean_zero(happens - found[:, 1])


def test_nothing_is_drawn_where_the_sun_does_not_shine() -> None:
    sun = np.array([0.0, 0.0, 0.3, 0.9, 0.0])
    spec = spec_of({"name": "a", "of": "x", "truth": "sampled", "form": "additive", **LAW})
    found = Draws(spec, calendar(steps=5), 3).evolution("x", sun, 0.0, 1.0)
    assert found is not None
    assert (found.truth[sun == 0] == 0).all() and (found.truth[sun > 0] != sun[sun > 0]).all()


@settings(max_examples=25)
@given(st.floats(-2, 3), st.floats(0.01, 2), st.floats(-1, 0.4), st.floats(0.5, 2))
def test_the_mean_within_bounds_is_that_of_quadrature(mean: float, std: float, lower: float, upper: float) -> None:
    def weighted(z: float) -> float:
        return float(np.clip(mean + std * z, lower, upper) * stats.norm.pdf(z))

    kinks = [z for z in ((lower - mean) / std, (upper - mean) / std) if -9 < z < 9]
    expected, _ = integrate.quad(weighted, -10, 10, points=kinks or None, limit=200)
    assert clipped_mean(np.array([mean]), np.array([std]), lower, upper)[0] == pytest.approx(expected, abs=1e-7)


@given(
    gate_s=st.integers(1, 7200), step_s=st.sampled_from([900, 3600]), first=st.integers(0, 20), t=st.integers(0, 9),
    at_step=st.booleans(),
)
def test_what_is_still_to_come_has_the_variance_of_the_lead_time(
    gate_s: int, step_s: int, first: int, t: int, at_step: bool
) -> None:
    """Exactly, whenever a window opens or a step is delivered."""
    slots = Slots(step_s, gate_s % step_s, 12, STEPS)
    reach_h = 12 * step_s / 3600
    errors = Errors.of(slots, np.zeros(slots.count), 0.1, 0.3, reach_h)
    now_s = first * step_s - (0 if at_step else gate_s)
    left = slots.a_step * (first + t + slots.reach) - slots.at(now_s)
    got = float((errors.weights[max(0, len(errors.weights) - left) :] ** 2).sum()) if left > 0 else 0.0
    lead_h = ((first + t) * step_s - now_s) / 3600
    assert got == pytest.approx(float(error_std(np.array([lead_h]), 0.1, 0.3, reach_h)[0] ** 2), abs=1e-12)


def test_a_further_entry_or_reach_changes_no_other_draw() -> None:
    entry = {"name": "a", "of": "x", **LAW}
    alone = Draws(spec_of(entry), calendar(), 5)
    more = Draws(spec_of(entry, {**entry, "name": "b", "of": "y", "reach_h": 90}), calendar(), 5)
    one, other = (d.evolution("x", SERIES, -np.inf, np.inf) for d in (alone, more))
    assert one is not None and other is not None
    assert np.array_equal(one.errors.whole(), other.errors.whole())


@given(over=st.integers(0, 60), first=st.integers(0, 70))
def test_persistence_is_the_same_hour_of_the_last_day_that_is_over(over: int, first: int) -> None:
    history, values = np.arange(-24.0, 0.0), np.arange(72.0)
    facts = SeriesFacts("x", calendar(steps=72), history, -np.inf, np.inf)
    over = min(over, first)
    found = Persistence(facts, "day").forecast(Moment(0, over, first), values[:over])
    for t, value in enumerate(found, first):
        expected = float(t)
        while expected >= over:
            expected -= 24
        assert value == expected
    assert set(Persistence(facts, "value").forecast(Moment(0, over, first), values[:over])) <= {over - 1.0}


@pytest.mark.parametrize(
    ("forecasts", "told"),
    [
        ({"default": {"kind": "perfekt"}}, "no such kind"),
        ({"default": {"kind": "error", "std_1h": 0.1}}, "std_24h"),
        ({"default": {"kind": "error", "std_1h": 0.2, "std_24h": 0.1}}, "grow"),
        ({"default": {"kind": "perfect", "std_1h": 0.1}}, "takes no std_1h"),
        ({"default": {"kind": "file", "file": "a.csv", "column": "x", "time": "for"}}, "vintages of one series"),
        ({"series": [{"name": "a", "of": "x", "kind": "file"}]}, "vintages need"),
        ({"series": [{"name": "a", "of": "x", **LAW}], "correlations": [{"between": ["a", "b"], "value": 0}]},
         "entries"),
    ],
)
def test_what_cannot_be_meant_is_refused(forecasts: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        ForecastsSpec.model_validate(forecasts)


def test_a_matrix_that_is_no_correlation_is_refused() -> None:
    entries = [{"name": n, "of": n, **LAW} for n in "abc"]
    pairs = [{"between": list(p), "value": v} for p, v in (("ab", 0.9), ("bc", 0.9), ("ac", -0.9))]
    with pytest.raises(ValidationError, match="positive semidefinite"):
        ForecastsSpec.model_validate({"series": entries, "correlations": pairs})


def information(tmp_path: Path, steps: int = 4, **forecasts: Any) -> Information:
    changes = {"clock.steps": steps, "clock.window_steps": 2, "clock.gate_s": 1800, "forecasts": forecasts}
    scenario, _ = load_scenario("ieee37", changes)
    return Information(prepare(scenario, tmp_path / "scenario.yaml"))


def test_a_window_sees_the_newest_vintage_that_is_issued_when_it_opens(tmp_path: Path) -> None:
    rows = [
        ("2024-07-14T12:00", [(h, 10 + h) for h in range(4)]),
        ("2024-07-15T00:00", [(h, 20 + h) for h in range(2, 4)]),
        ("2024-07-15T01:31", [(h, 30 + h) for h in range(2, 4)]),  # a minute after the second window has opened
    ]
    lines = [f"{made},2024-07-15T{h:02}:00,{value}" for made, some in rows for h, value in some]
    (tmp_path / "v.csv").write_text("\n".join(["issued,valid,usd_per_mwh", *lines]))
    entry = {"name": "p", "of": "market.price_usd_per_mwh", "kind": "file", "file": "v.csv", "column": "usd_per_mwh",
             "time": "valid"}  # fmt: skip
    found = information(tmp_path, series=[entry])
    price = found.told().only.price_usd_per_mwh
    windows = list(found._calendar.windows())
    found.open(windows[0])
    assert price.tolist() == [10, 11, 12, 13]
    found.open(windows[1])
    assert price[2:].tolist() == [22, 23]


def test_vintages_that_miss_a_step_of_a_window_are_refused(tmp_path: Path) -> None:
    lines = [f"2024-07-14T12:00,2024-07-15T{h:02}:00,{h}" for h in range(3)]
    (tmp_path / "v.csv").write_text("\n".join(["issued,valid,usd_per_mwh", *lines]))
    entry = {"name": "p", "of": "market.price_usd_per_mwh", "kind": "file", "file": "v.csv", "column": "usd_per_mwh",
             "time": "valid"}  # fmt: skip
    with pytest.raises(InputError, match="no vintage.*step 3"):
        information(tmp_path, series=[entry]).told()


def test_a_series_that_begins_with_the_scenario_has_no_day_before(tmp_path: Path) -> None:
    changes = {"clock.steps": 4, "market.price_usd_per_mwh": {"values": [1, 2, 3, 4]}}
    for first_day, expected in (("history", None), ("perfect", [1, 2, 3, 4])):
        default = {"kind": "persistence", "first_day": first_day}
        scenario, _ = load_scenario("ieee37", {**changes, "forecasts.default": default})
        made = Information(prepare(scenario, tmp_path / "s.yaml"))
        if expected is None:
            with pytest.raises(InputError, match="day before the scenario begins"):
                made.told()
        else:
            assert made.told().only.price_usd_per_mwh.tolist() == expected


def test_tariffs_are_known_beforehand_unless_an_entry_names_them() -> None:
    spec = spec_of(default={"kind": "persistence"})
    assert spec.of("market.tariff_usd_per_mwh")[2].kind == "perfect"
    assert spec.of("market.price_usd_per_mwh")[2].kind == "persistence"
    named = spec_of({"name": "t", "of": "market.tariff*", "kind": "persistence"})
    assert named.of("market.tariff_usd_per_mwh")[2].kind == "persistence"


@given(first=st.integers(0, STEPS), now_s=st.integers(-7200, 0), seed=st.integers(0, 9))
def test_revisions_made_and_to_come_are_all_of_them(first: int, now_s: int, seed: int) -> None:
    slots = Slots.of(calendar(), 12)
    moves = np.random.default_rng(seed).standard_normal(slots.count)
    errors = Errors.of(slots, moves, 0.1, 0.3, 12)
    whole, moment_s = errors.whole(), first * 3600 + now_s
    both = errors.revealed(moment_s, first) + errors.missing(moment_s, first, whole)
    assert np.allclose(both, whole[first:], atol=1e-12)
