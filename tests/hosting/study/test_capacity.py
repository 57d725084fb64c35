"""Capacities from hourly limits, against linear programs and against the definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linprog

from cosim.errors import InputError
from cosim.hosting.study.capacity import Battery, Shift, curtailment, firm_kw, largest_kw, not_served_kw

Array = NDArray[np.float64]
STEPS = 9
BUDGETS = (("hours", 0.0), ("hours", 0.15), ("energy", 0.01), ("energy", 0.1))
few = settings(max_examples=25)


def series(low: float, high: float) -> st.SearchStrategy[list[float]]:
    return st.lists(st.floats(low, high), min_size=STEPS, max_size=STEPS)


def least_by_battery(wanted: Array, limit: Array, step_h: float, battery: Battery) -> float:
    """Least energy (kWh) not served, over every use of a battery."""
    n = len(wanted)
    missing, taken, given_, stored = (np.arange(n) + k * n for k in range(4))
    cost = np.zeros(4 * n)
    cost[missing] = step_h
    balance, right = np.zeros((2 * n, 4 * n)), np.concatenate([limit - wanted, np.zeros(n)])
    equal = np.zeros((n, 4 * n))
    for t in range(n):
        balance[t, [missing[t], taken[t], given_[t]]] = [-1, 1, -1]  # wanted - missing + taken - given <= limit
        equal[t, [stored[t], taken[t], given_[t]]] = [1, -battery.efficiency * step_h, step_h]
        if t:
            equal[t, stored[t - 1]] = -1
    begin = np.zeros(n)
    begin[0] = 1000 * battery.mwh
    most = [(0, w) for w in wanted] + [(0, 1000 * battery.mw)] * (2 * n) + [(0, 1000 * battery.mwh)] * n
    return float(linprog(cost, balance[:n], right[:n], equal, begin, most).fun)


def least_by_waiting(wanted: Array, limit: Array, most_kw: float, step_h: float, shift: Shift) -> float:
    """Least power (kW, summed over steps) given up, over every order of the work."""
    n, waits = len(wanted), int(shift.hours / step_h + 1e-9)
    jobs = [(t, t, (1 - shift.share) * w) for t, w in enumerate(wanted)]
    jobs += [(t, t + waits, shift.share * w) for t, w in enumerate(wanted)]
    done = [(j, t) for j, (first, last, _) in enumerate(jobs) for t in range(first, min(last, n - 1) + 1)]
    rows = np.zeros((len(jobs) + n, len(done)))
    for column, (j, t) in enumerate(done):
        rows[j, column] = rows[len(jobs) + t, column] = 1
    right = np.concatenate([[work for _, _, work in jobs], np.minimum(limit, most_kw)])
    due = np.array([jobs[j][1] < n for j, _ in done], dtype=float)  # what is due after the end counts as served
    served = -float(linprog(-due, rows, right).fun)
    return sum(work for _, last, work in jobs if last < n) - served


@few
@given(series(0, 500), series(0, 1), st.floats(10, 800), st.floats(0.01, 2), st.floats(0.02, 0.5), st.floats(0.5, 1),
       st.sampled_from([0.25, 1.0]))  # fmt: skip
def test_no_use_of_a_battery_leaves_less_energy_not_served(
    limit: list[float], profile: list[float], capacity: float, mwh: float, mw: float, efficiency: float, step_h: float
) -> None:
    battery = Battery(mwh, mw, efficiency)
    limits, shape = np.array(limit), np.array(profile)
    found = sum(not_served_kw(np.array([capacity]), limits[:, None], shape, step_h, battery))[0] * step_h
    assert found == pytest.approx(least_by_battery(capacity * shape, limits, step_h, battery), abs=1e-6)


@few
@given(series(0, 500), series(0, 1), st.floats(10, 800), st.floats(0.05, 1), st.sampled_from([1, 2, 5, 20]),
       st.floats(1, 2), st.sampled_from([0.5, 1.0]))  # fmt: skip
def test_no_order_of_work_that_may_wait_gives_up_less(
    limit: list[float], profile: list[float], capacity: float, share: float, hours: float, peak: float, step_h: float
) -> None:
    shift = Shift(share, hours, peak)
    limits, shape = np.array(limit), np.array(profile)
    found = sum(not_served_kw(np.array([capacity]), limits[:, None], shape, step_h, shift))[0]
    most_kw = peak * capacity * shape.max()
    assert found == pytest.approx(least_by_waiting(capacity * shape, limits, most_kw, step_h, shift), abs=1e-5)


@few
@given(series(1, 500), series(0.1, 1), st.sampled_from([None, Battery(0.3, 0.1), Shift(0.4, 3)]))
def test_a_capacity_keeps_its_budget_and_a_larger_one_does_not(
    limit: list[float], profile: list[float], means: Battery | Shift | None
) -> None:
    limits, shape, most = np.array(limit)[:, None], np.array(profile), 900.0
    found = largest_kw(limits, shape, 1.0, BUDGETS, most, means)[0]
    for (per, share), capacity in zip(BUDGETS, found, strict=True):
        at = 0 if per == "hours" else 1
        assert curtailment(np.array([[capacity]]), limits, shape, 1.0, means)[at][0, 0] <= share + 1e-9
        if capacity < most - 0.2:
            assert curtailment(np.array([[capacity + 0.11]]), limits, shape, 1.0, means)[at][0, 0] > share


@few
@given(series(1, 500), series(0.1, 1), st.sampled_from([Battery(0.3, 0.1), Shift(0.4, 3), Shift(1, 100, 2)]))
def test_means_and_budgets_make_no_capacity_smaller_but_waiting_that_of_hours(
    limit: list[float], profile: list[float], means: Battery | Shift
) -> None:
    limits, shape = np.array(limit)[:, None], np.array(profile)
    bare, helped = (largest_kw(limits, shape, 1.0, BUDGETS, 900.0, m)[0] for m in (None, means))
    sure = [0, 1, 2, 3] if isinstance(means, Battery) else [0, 2, 3]  # waiting may spread a loss over more hours
    assert (helped[sure] >= bare[sure] - 0.11).all()
    assert bare[0] <= bare[1] and bare[2] <= bare[3]


def test_the_firm_capacity_is_the_least_limit_and_a_budget_of_hours_drops_the_least_ones() -> None:
    limits = np.array([5.0, 40, 30, 20, 100, 60, 70, 80, 90, 10])[:, None]
    flat = np.ones(10)
    assert firm_kw(limits, flat, 1000.0) == [5.0]
    found = largest_kw(limits, flat, 1.0, (("hours", 0.0), ("hours", 0.1), ("hours", 0.29), ("hours", 0.3)), 1000.0)
    assert found[0] == pytest.approx([5, 10, 20, 30], abs=0.1)


def test_the_energy_of_a_budget_is_reckoned_from_what_the_site_wants() -> None:
    limits = np.array([50.0, 100, 100, 100])[:, None]
    found = largest_kw(limits, np.ones(4), 1.0, (("energy", 0.125),), 1000.0)  # 4 C / 8 = C - 50
    assert found[0, 0] == pytest.approx(100, abs=0.1)


def test_a_capacity_that_nothing_limits_is_the_most_that_was_asked_for() -> None:
    assert largest_kw(np.full((3, 1), 50.0), np.ones(3), 1.0, (("hours", 0.0),), 50.0) == [[50.0]]


def test_sites_do_not_touch_each_other() -> None:
    rng = np.random.default_rng(3)
    limits, profile = rng.uniform(0, 100, (48, 300)), rng.uniform(0.2, 1, 48)
    together = largest_kw(limits, profile, 1.0, BUDGETS, 120.0, Battery(0.1, 0.05))
    alone = largest_kw(limits[:, 217:218], profile, 1.0, BUDGETS, 120.0, Battery(0.1, 0.05))
    assert (together[217] == alone[0]).all()


@pytest.mark.parametrize("wrong", [lambda: Battery(0, 1), lambda: Battery(1, 1, 1.2), lambda: Shift(1.5, 3),
                                   lambda: Shift(0.5, 0), lambda: Shift(0.5, 3, 0.5)])  # fmt: skip
def test_means_that_cannot_be_are_refused(wrong: object) -> None:
    with pytest.raises(InputError):
        wrong()  # type: ignore[operator]


def test_limits_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="limits of draws"):
        largest_kw(np.array([[np.nan]]), np.ones(1), 1.0, (("hours", 0.0),), 10.0)


@few
@given(series(0, 500), series(0, 1), st.lists(st.floats(1, 900), min_size=1, max_size=4))
def test_sums_over_sorted_steps_are_those_of_the_law_step_by_step(
    limit: list[float], profile: list[float], sizes: list[float]
) -> None:
    limits, shape, capacities = np.array(limit)[:, None], np.array(profile), np.array([sizes])
    hours, energy = curtailment(capacities, limits, shape, 1.0)
    missing = np.stack(list(not_served_kw(capacities, limits[..., None], shape, 1.0)))
    assert (hours * STEPS == pytest.approx((missing > 1e-9).sum(axis=0), abs=1e-9)) or (missing < 1e-6).any()
    assert energy * capacities * shape.sum() == pytest.approx(missing.sum(axis=0), abs=1e-6)
