"""Long tables as arrays, against group-by of pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from cosim.results.figures.cells import Cells

ROWS = st.lists(st.tuples(st.integers(0, 4), st.sampled_from("abcd"), st.integers(-9, 9)), max_size=30)
STEPS, NAMES = pd.Index([3, 0, 1]), pd.Index(["d", "b", "a"])


@given(ROWS)
def test_sums_means_and_extremes_of_cells_are_those_of_groups(rows: list[tuple[int, str, int]]) -> None:
    frame = pd.DataFrame(rows, columns=["step", "name", "value"]).astype({"step": int, "name": "str", "value": float})
    cells = Cells.of(STEPS, NAMES, frame, "name", (frame["value"] != 0).to_numpy())
    groups = frame[frame["value"] != 0].groupby(["step", "name"])["value"]
    found = {
        "sum": cells.total(frame["value"]), "mean": cells.mean(frame["value"]),
        "min": cells.extreme(frame["value"], np.fmin), "max": cells.extreme(frame["value"], np.fmax),
    }  # fmt: skip
    for key, values in found.items():
        expected = groups.agg(key).unstack().reindex(index=STEPS, columns=NAMES).to_numpy(dtype=float)
        np.testing.assert_allclose(values, np.nan_to_num(expected) if key == "sum" else expected, rtol=1e-12)
