"""The market calendar."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosim.errors import InputError
from cosim.scenario.calendar import Market, MarketCalendar, RealTime

START = datetime(2024, 7, 15, 6, 30)


def calendar(
    market: Market = "day_ahead",
    steps: int = 24,
    window_steps: int = 24,
    step_s: int = 3600,
    gate_s: int = 1800,
    round_s: int = 5,
) -> MarketCalendar:
    return MarketCalendar(START, step_s, steps, window_steps, market, gate_s, round_s)


calendars = st.builds(
    calendar,
    market=st.sampled_from(["day_ahead", "rolling"]),
    steps=st.integers(1, 100),
    window_steps=st.integers(1, 120),
    step_s=st.integers(60, 7200),
    gate_s=st.integers(10, 60),
    round_s=st.integers(1, 10),
)


@given(calendars)
def test_commitments_cover_every_step_once_and_in_order(market: MarketCalendar) -> None:
    committed = [step for window in market.windows() for step in window.committed]
    assert committed == list(range(market.steps))


@given(calendars)
def test_windows_are_negotiated_one_at_a_time_and_close_at_delivery(market: MarketCalendar) -> None:
    now = 0
    for window in market.windows():
        assert now <= window.opens_s < window.closes_s == market.step_start_s(window.first)
        assert window.closes_s - window.opens_s == market.gate_s
        assert window.max_rounds * market.round_s <= market.gate_s < (window.max_rounds + 1) * market.round_s
        now = window.closes_s


@given(
    steps=st.integers(1, 60), day=st.integers(1, 30), ahead=st.none() | st.integers(1, 40), gate_s=st.integers(20, 900),
    share=st.floats(0.0, 1.0),
)  # fmt: skip
def test_each_step_of_two_settlements_has_a_day_then_a_window_of_its_own_one_open_at_a_time(
    steps: int, day: int, ahead: int | None, gate_s: int, share: float
) -> None:
    second = RealTime(5 + int(share * (gate_s - 10)), ahead)
    market = MarketCalendar(START, 900, steps, day, "two_settlement", gate_s, 5, real_time=second)
    now, seen, held = 0, [], range(0)
    for window in market.windows():
        assert now <= window.opens_s < window.closes_s and window.max_rounds >= 1
        now = window.closes_s
        if window.stage == "day_ahead":
            held = range(window.first, window.last_exclusive)
            assert not window.committed and window.opens_s == market.step_start_s(window.first) - gate_s
        else:
            assert window.closes_s == market.step_start_s(window.first) and window.first in held
            assert window.last_exclusive == min(window.first + (ahead or steps), held.stop)
            seen += window.committed
    assert seen == list(range(steps))


@given(calendars)
def test_look_ahead_is_whole_until_the_horizon_cuts_it(market: MarketCalendar) -> None:
    for window in market.windows():
        assert window.steps == min(market.window_steps, market.steps - window.first)


def test_the_first_window_opens_at_time_zero() -> None:
    assert next(calendar().windows()).opens_s == 0
    assert calendar().step_start_s(0) == 1800


def test_day_ahead_commits_the_whole_window_and_the_last_is_shorter() -> None:
    windows = list(calendar(steps=60, window_steps=24).windows())
    assert [(w.first, w.commit_until) for w in windows] == [(0, 24), (24, 48), (48, 60)]


def test_rolling_commits_one_step_of_each_window() -> None:
    windows = list(calendar("rolling", steps=4, window_steps=3).windows())
    assert [(w.first, w.commit_until, w.last_exclusive) for w in windows] == [
        (0, 1, 3), (1, 2, 4), (2, 3, 4), (3, 4, 4)
    ]  # fmt: skip


def test_time_stamps_are_wall_clock_times_at_which_steps_begin() -> None:
    stamps = calendar(steps=3).timestamps()
    assert stamps == (START, datetime(2024, 7, 15, 7, 30), datetime(2024, 7, 15, 8, 30))
    assert calendar().start_of_day_s == 6 * 3600 + 30 * 60


def test_lengths_in_hours_and_seconds_agree() -> None:
    quarter = calendar(steps=8, step_s=900)
    assert quarter.step_hours == 0.25
    assert quarter.end_s == 1800 + 2 * 3600


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"gate_s": 3601, "market": "rolling"}, "clock.gate_s"),
        ({"gate_s": 24 * 3600 + 1}, "clock.gate_s"),
        ({"round_s": 1801}, "clock.round_s"),
        ({"steps": 0}, "clock.steps"),
        ({"step_s": 0.5}, "clock.step_s"),
        ({"window_steps": True}, "clock.window_steps"),
        ({"market": "hourly"}, "clock.market"),
    ],
)
def test_a_calendar_that_cannot_be_kept_is_refused(change: dict[str, object], key: str) -> None:
    with pytest.raises(InputError) as error:
        calendar(**change)  # type: ignore[arg-type]
    assert error.value.key == key
