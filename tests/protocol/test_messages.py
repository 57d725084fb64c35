"""Messages between agents."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cosim.errors import InputError
from cosim.protocol.messages import Award, Bid, LimitPosting, Message, PricePosting, current

HEAD: dict[str, Any] = {"sender": "dso", "receiver": "dca", "step": 0, "round": 1}
ONES = np.ones((2, 3))
VALID: dict[type[Message], dict[str, Any]] = {
    PricePosting: {"price_p_usd_per_mwh": ONES, "price_q_usd_per_mvarh": ONES, "target_p_mw": ONES},
    LimitPosting: {"p_max_mw": ONES},
    Bid: {"p_mw": ONES, "q_mvar": ONES, "regret_usd": 0.0, "cost_usd": 1.0},
    Award: {"p_mw": ONES, "q_mvar": ONES, "price_p_usd_per_mwh": ONES, "price_q_usd_per_mvarh": ONES},
}
ARRAYS = [(kind, key) for kind, fields in VALID.items() for key, value in fields.items() if value is ONES]
SCALARS = [(Bid, "regret_usd"), (Bid, "cost_usd"), (PricePosting, "penalty_usd_per_mw2h")]


def make(kind: type[Message], **change: Any) -> Message:
    return kind(**(HEAD | VALID[kind] | change))


@pytest.mark.parametrize("kind", VALID)
def test_fields_cannot_be_set_anew_or_added(kind: type[Message]) -> None:
    message = make(kind)
    with pytest.raises(dataclasses.FrozenInstanceError):
        message.step = 3  # type: ignore[misc]
    assert not hasattr(message, "__dict__")


@pytest.mark.parametrize(("kind", "key"), ARRAYS)
def test_arrays_are_read_only_copies(kind: type[Message], key: str) -> None:
    mine = np.ones((2, 3))
    array = getattr(make(kind, **{key: mine}), key)
    mine[0, 0] = 7.0
    assert array[0, 0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 2.0


@pytest.mark.parametrize(("kind", "key"), ARRAYS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_by_name(kind: type[Message], key: str, bad: float) -> None:
    array = ONES.copy()
    array[1, 2] = bad
    with pytest.raises(InputError, match="step 1, terminal 2") as error:
        make(kind, **{key: array})
    assert error.value.key == f"{kind.kind}.{key}"


@pytest.mark.parametrize(("kind", "key"), ARRAYS)
@given(shape=hnp.array_shapes(max_dims=3, max_side=4))
def test_only_tables_of_one_shape_are_taken(kind: type[Message], key: str, shape: tuple[int, ...]) -> None:
    alone = kind is LimitPosting and len(shape) == 2  # there is no other table whose shape it could differ from
    if shape == ONES.shape or alone:
        assert getattr(make(kind, **{key: np.zeros(shape)}), key).shape == shape
    else:
        with pytest.raises(InputError):
            make(kind, **{key: np.zeros(shape)})


@pytest.mark.parametrize(("kind", "key"), ARRAYS)
@pytest.mark.parametrize("bad", ["high", np.empty((0, 3)), [[1.0, 2.0], [3.0]], 1j * ONES])
def test_what_is_not_a_table_of_numbers_is_refused(kind: type[Message], key: str, bad: object) -> None:
    with pytest.raises(InputError):
        make(kind, **{key: bad})


@pytest.mark.parametrize(("kind", "key"), SCALARS)
@given(bad=st.sampled_from([np.nan, np.inf, -np.inf]))
def test_single_numbers_are_finite(kind: type[Message], key: str, bad: float) -> None:
    with pytest.raises(InputError):
        make(kind, **{key: bad})


@pytest.mark.parametrize("change", [{"sender": ""}, {"receiver": ""}, {"step": -1}, {"round": -1}])
def test_a_message_says_who_speaks_to_whom_and_when(change: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        make(Bid, **change)


def test_a_penalty_needs_a_target_and_is_not_negative() -> None:
    assert make(PricePosting, penalty_usd_per_mw2h=30.0)
    assert make(PricePosting, target_p_mw=None)
    with pytest.raises(InputError):
        make(PricePosting, target_p_mw=None, penalty_usd_per_mw2h=30.0)
    with pytest.raises(InputError):
        make(PricePosting, penalty_usd_per_mw2h=-1.0)


def test_a_penalty_may_differ_from_step_to_step() -> None:
    steps = len(ONES)
    found = make(PricePosting, penalty_usd_per_mw2h=np.arange(steps)[:, None])
    assert isinstance(found, PricePosting)
    assert np.array_equal(found.penalty_usd_per_mw2h, np.arange(steps)[:, None])
    one = make(PricePosting, penalty_usd_per_mw2h=30.0)
    assert isinstance(one, PricePosting)
    assert np.array_equal(one.penalty_usd_per_mw2h, np.full((steps, 1), 30.0))
    for wrong in (np.ones(steps), np.ones((steps + 1, 1)), -np.ones((steps, 1))):
        with pytest.raises(InputError):
            make(PricePosting, penalty_usd_per_mw2h=wrong)


def test_a_penalty_may_be_a_matrix_for_each_step() -> None:
    steps, n = ONES.shape
    matrices = np.tile(2 * np.eye(n) + 1.0, (steps, 1, 1))
    found = make(PricePosting, penalty_usd_per_mw2h=matrices.reshape(steps, -1))
    assert isinstance(found, PricePosting) and np.array_equal(found.penalty(), matrices)
    with pytest.raises(InputError, match="never negative"):
        make(PricePosting, penalty_usd_per_mw2h=(matrices - 4.0).reshape(steps, -1))


def test_kinds_have_their_own_names() -> None:
    assert [kind.kind for kind in VALID] == ["price_posting", "limit_posting", "bid", "award"]


@given(turns=st.lists(st.tuples(st.sampled_from(list(VALID)), st.integers(0, 3), st.integers(0, 3))))
def test_what_belongs_to_another_window_or_an_earlier_round_is_stale(
    turns: list[tuple[type[Message], int, int]],
) -> None:
    messages = [make(kind, step=step, round=number) for kind, step, number in turns]
    found = current(messages, Bid, step=2, round=1)
    wanted = [(kind, step, number) for kind, step, number in turns if kind is Bid and step == 2 and number in (1, 2, 3)]
    assert [(type(m), m.step, m.round) for m in found] == sorted(wanted, key=lambda turn: turn[2])


def test_a_limit_below_zero_is_refused() -> None:
    with pytest.raises(InputError, match="never negative"):
        make(LimitPosting, p_max_mw=-ONES)
