"""Where rows of inequalities go in the two-sided form: as brute force over all pairs of rows says."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.qp.two_sided import BOUND, NOTHING, ROW, place_rows

ENTRIES = st.sampled_from([-3.0, -1.0, 0.0, 0.0, 1.0, 2.0])
ROW_OF_THREE = st.lists(ENTRIES, min_size=3, max_size=3)
ROWS = st.lists(st.tuples(ROW_OF_THREE, st.sampled_from([-2.0, -1.0, 0.5, 1.0])), max_size=9)


@settings(max_examples=100, deadline=None)
@given(rows=ROWS)
def test_proportional_rows_become_the_two_sides_of_one_row(rows: list[tuple[list[float], float]]) -> None:
    """Each row of several variables is a multiple of the row that it is a side of, each side has one row, and a row of
    its own is made only where no row before it leaves that side free."""
    matrix = np.array([factor * np.array(row) for row, factor in rows]).reshape(-1, 3)
    qp = ParametricQP.build(cost=np.zeros(3), ineq_matrix=matrix, ineq_rhs=np.zeros(len(matrix)))
    put = place_rows(qp)
    taken: dict[tuple[int, bool], int] = {}
    first: list[int] = []
    for i, row in enumerate(matrix):
        entries = np.flatnonzero(row)
        if len(entries) == 0:
            assert put.kind[i] == NOTHING
        elif len(entries) == 1 and put.kind[i] == BOUND:
            assert (put.place[i], put.scale[i]) == (entries[0], row[entries[0]])
        else:
            assert put.kind[i] == ROW
            alike = [k for k, j in enumerate(first) if np.linalg.matrix_rank(np.stack([row, matrix[j]])) == 1]
            sides = [(k, bool(row @ matrix[first[k]] > 0)) for k in alike]
            free = [side for side in sides if side not in taken]
            if not free:
                first.append(i)
                free = [(len(first) - 1, True)]
            taken[free[0]] = i
            assert put.place[i] == free[0][0]
            np.testing.assert_allclose(put.scale[i] * matrix[first[free[0][0]]], row, rtol=1e-15)
    assert put.first_rows.tolist() == first
