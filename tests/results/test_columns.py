"""Columns that come part by part are the rows they stand for."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosim.errors import InputError
from cosim.results.columns import Pile, height

ROWS = st.lists(
    st.tuples(
        st.integers(0, 99),
        st.lists(st.tuples(st.text("abc", min_size=1, max_size=3), st.floats(-9, 9)), max_size=4),
    ),
    min_size=1,
    max_size=5,
)


@given(ROWS, st.sampled_from((list, tuple, np.array)))
def test_parts_make_the_same_frame_as_their_rows(parts: list, kind: type) -> None:
    pile = Pile("demand")
    for step, rows in parts:
        pile.add({"step": step, "unit": [name for name, _ in rows], "p_kw": kind([value for _, value in rows])})
    rows = [{"step": step, "unit": name, "p_kw": value} for step, some in parts for name, value in some]
    assert pile.rows == len(rows)
    if rows:
        pd.testing.assert_frame_equal(pile.take(), pd.DataFrame(rows))


@given(
    st.lists(st.one_of(st.integers(-9, 2**40), st.floats(-9, 9), st.booleans(), st.text("ab")), min_size=1, max_size=4),
    st.lists(st.text("ab"), min_size=1, max_size=4),
    st.integers(1, 4),
)
def test_repeated_names_and_single_values_make_the_frame_of_their_rows(single: list, names: list, count: int) -> None:
    pile, rows = Pile("demand"), []
    for value in single:
        for _ in range(count):
            pile.add({"value": value, "unit": list(names), "kind": tuple(names)})
            rows += [{"value": value, "unit": name, "kind": name} for name in names]
    pd.testing.assert_frame_equal(pile.take(), pd.DataFrame(rows))


def test_single_values_are_one_row() -> None:
    pile = Pile("steps")
    pile.add({"step": 3, "mode": "centralized", "p_sub_kw": 1.5})
    assert pile.take().to_dict("records") == [{"step": 3, "mode": "centralized", "p_sub_kw": 1.5}]


def test_a_column_that_a_part_lacks_is_missing_in_its_rows() -> None:
    pile = Pile("work")
    pile.add({"step": 0, "late_mwh": [1.0, 2.0]})
    pile.add({"step": 1})
    assert pile.take()["late_mwh"].isna().tolist() == [False, False, True]


def test_what_was_taken_is_gone() -> None:
    pile = Pile("work")
    pile.add({"step": [0, 1]})
    pile.take()
    assert (pile.rows, len(pile.take())) == (0, 0)


@pytest.mark.parametrize("given_", [[{"step": 0}], None, 3])
def test_rows_instead_of_columns_are_refused(given_: object) -> None:
    with pytest.raises(InputError, match="column by column"):
        height("demand", given_)  # type: ignore[arg-type]


def test_columns_of_different_lengths_are_refused_with_their_table() -> None:
    with pytest.raises(InputError, match="demand"):
        height("demand", {"step": 0, "unit": ["a", "b"], "p_kw": [1.0]})


def test_no_columns_are_no_rows() -> None:
    assert height("taps", {}) == 0
