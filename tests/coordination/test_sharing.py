"""Rules of sharing against linear programs that are stated and solved elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from cosim.coordination.sharing import CheckedRule, Equal, LastInFirstOut, MaxSum, Proportional, find_sharing
from cosim.errors import InputError
from cosim.protocol.envelopes import Array, Sharing
from cosim.scenario.loading import load_scenario

CLOSE = 1e-7


@st.composite
def sharings(draw: st.DrawFn) -> Sharing:
    """Random rows with room, of which some are full and some load single sites only."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sites, rows = draw(st.integers(1, 5)), draw(st.integers(0, 6))
    loading = rng.uniform(0.1, 1.0, (rows, sites)) * (rng.random((rows, sites)) < 0.7)
    flexible = rng.uniform(0.2, 2.0, sites)
    most = np.where(rng.random(sites) < 0.2, 0.0, flexible)
    room = rng.uniform(0.0, 1.5, rows) * (rng.random(rows) < 0.9)
    names = tuple(f"s{k}" for k in range(sites))
    return Sharing(loading, room, most, flexible, rng.integers(1, 4, sites), names)


def largest(sharing: Sharing, weights: Array, low: Array | None = None, high: Array | None = None) -> Array:
    """A point of largest weighted sum, between bounds, by scipy."""
    low = np.zeros(len(weights)) if low is None else low
    high = sharing.most_mw if high is None else high
    bounds = list(zip(low, np.maximum(low, high), strict=True))
    rows = {"A_ub": sharing.loading, "b_ub": sharing.room} if len(sharing.room) else {}
    found = linprog(-weights, bounds=bounds, **rows)
    assert found.status == 0, found.message
    return np.asarray(found.x)


def max_min(sharing: Sharing, weights: Array, members: Array, floor: Array) -> Array:
    """Lexicographic max-min shares by one linear program after another: the largest common pace, then whoever cannot
    get more at that pace of the others is fixed, and so on."""
    count, fixed = len(weights), ~members | (sharing.most_mw <= floor) | (weights == 0)
    value, pace = floor.copy(), 0.0
    while not fixed.all():
        rise = np.where(fixed, 0.0, weights)
        base = np.where(fixed, value, floor)
        rows = [*(sharing.loading @ rise)[:, None], *rise[~fixed][:, None]]
        rhs = [*(sharing.room - sharing.loading @ base), *(sharing.most_mw - floor)[~fixed]]
        pace = float(linprog([-1.0], A_ub=np.array(rows), b_ub=np.maximum(rhs, 0.0), bounds=[(0, None)]).x[0])
        level = base + rise * pace
        for k in range(count):
            if not fixed[k]:
                alone = np.zeros(count)
                alone[k] = 1.0
                if largest(sharing, alone, np.minimum(level * (1 - 1e-12), sharing.most_mw))[k] <= level[k] + CLOSE:
                    fixed[k], value[k] = True, level[k]
    return value


@given(sharings())
@settings(max_examples=20)
def test_max_sum_is_the_largest_sum(sharing: Sharing) -> None:
    best = largest(sharing, np.ones(len(sharing.most_mw))).sum()
    assert CheckedRule(MaxSum(), "max_sum").share(sharing).sum() == pytest.approx(best, abs=CLOSE)


@given(sharings())
@settings(max_examples=20)
def test_equal_is_max_min(sharing: Sharing) -> None:
    count = len(sharing.most_mw)
    expected = max_min(sharing, np.ones(count), np.ones(count, dtype=bool), np.zeros(count))
    assert CheckedRule(Equal(), "equal").share(sharing) == pytest.approx(expected, abs=1e-5)


@given(sharings())
@settings(max_examples=20)
def test_proportional_is_max_min_in_shares_of_the_flexible_part(sharing: Sharing) -> None:
    count = len(sharing.most_mw)
    expected = max_min(sharing, sharing.flexible_mw, np.ones(count, dtype=bool), np.zeros(count))
    assert CheckedRule(Proportional(), "proportional").share(sharing) == pytest.approx(expected, abs=1e-5)


@given(sharings())
@settings(max_examples=20)
def test_last_in_first_out_serves_one_place_of_the_queue_after_the_other(sharing: Sharing) -> None:
    expected = np.zeros(len(sharing.most_mw))
    for place in sorted(set(sharing.priority.tolist())):
        members = sharing.priority == place
        expected = max_min(sharing, np.ones(len(expected)), members, expected)
    assert CheckedRule(LastInFirstOut(), "lifo").share(sharing) == pytest.approx(expected, abs=1e-5)


@given(sharings())
@settings(max_examples=30)
def test_every_rule_keeps_the_rows_and_leaves_nobody_who_could_have_more(sharing: Sharing) -> None:
    for rule in (MaxSum(), Equal(), Proportional(), LastInFirstOut()):
        more = CheckedRule(rule, rule.name).share(sharing)
        left = sharing.room - sharing.loading @ more
        assert left.min(initial=0.0) >= -CLOSE
        for k in np.flatnonzero(more < sharing.most_mw - CLOSE):
            assert (left[sharing.loading[:, k] > 0] <= CLOSE).any(), rule.name


def test_a_rule_that_gives_more_than_there_is_is_refused() -> None:
    class Generous:
        name = "generous"

        def share(self, sharing: Sharing) -> Array:
            return sharing.most_mw

    tight = Sharing(np.ones((1, 2)), np.ones(1), np.ones(2), np.ones(2), np.ones(2, dtype=np.intp), ("a", "b"))
    with pytest.raises(InputError, match="more than a site may have"):
        CheckedRule(Generous(), "generous").share(tight)


def test_an_unknown_rule_is_refused_by_name() -> None:
    scenario, _ = load_scenario("ieee37_flexible", {"envelope.rule": "fair"})
    with pytest.raises(InputError, match="last_in_first_out"):
        find_sharing(scenario)
