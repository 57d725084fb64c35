"""Which domains of a block a point of it lies in."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cosim.optimization.bilevel.relaxation.relaxation import DUAL_ZERO, SLACK_ZERO
from cosim.optimization.bilevel.tree.columns import Column, excluded
from cosim.optimization.bilevel.tree.domain import BlockDomain

_PAIR = st.tuples(st.booleans(), st.booleans())


def _column(pairs: list[tuple[bool, bool]]) -> Column:
    dual_zero, slack_zero = np.array(pairs).T
    return Column(np.zeros(1), 0.0, excluded(dual_zero, slack_zero))


@given(st.lists(st.tuples(_PAIR, _PAIR, st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=6))
def test_a_point_lies_where_it_keeps_every_decision(cases: list[tuple]) -> None:
    one, other = _column([case[0] for case in cases]), _column([case[1] for case in cases])
    kept = []
    for place in (2, 3):
        held = np.array([case[place] for case in cases], dtype=np.int8)
        kept.append(all(
            (held[i] != DUAL_ZERO or dual) and (held[i] != SLACK_ZERO or slack)
            for i, (dual, slack) in enumerate(case[0] for case in cases)
        ))
        assert one.lies_in(BlockDomain(held)) == kept[-1]
    parts = [BlockDomain(np.array([case[place] for case in cases], dtype=np.int8)) for place in (2, 3)]
    assert one.lies_in_one(parts, np.array([part.held for part in parts])) == any(kept)
    pairs = [(mine, theirs) for case in cases for mine, theirs in zip(case[0], case[1], strict=True)]
    assert one.covers(other) == all(mine or not theirs for mine, theirs in pairs)
