"""Long tables as arrays: each row in the cell of its step and name, found once and used for all columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Cells:
    """Where rows of a table stand in an array (steps, names); rows of other steps or names are left out.

    Attributes:
        shape: of the array. rows: which rows of the table stand in it. place: where each of them does.
    """

    shape: tuple[int, int]
    rows: NDArray[np.intp]
    place: NDArray[np.intp]

    @classmethod
    def of(
        cls, steps: pd.Index, names: pd.Index, frame: pd.DataFrame, name: str, wanted: NDArray[np.bool_] | None = None
    ) -> Cells:
        """The cells of the rows of a frame, by its column ``step`` and that of names.

        Args:
            wanted: which rows are looked at; by default all of them.
        """
        row, column = numbers_in(steps, frame["step"]), numbers_in(names, frame[name])
        known = (row >= 0) & (column >= 0) & (True if wanted is None else wanted)
        rows = np.flatnonzero(known)
        return cls((len(steps), len(names)), rows, row[rows] * len(names) + column[rows])

    def mean(self, values: pd.Series) -> NDArray[np.float64]:
        """Mean of a column over the rows of each cell; missing where there are none."""
        count = np.bincount(self.place, minlength=self._size).reshape(self.shape)
        mean: NDArray[np.float64] = np.where(count > 0, self.total(values) / np.maximum(count, 1), np.nan)
        return mean

    def total(self, values: pd.Series) -> NDArray[np.float64]:
        """Sum of a column over the rows of each cell; 0 where there are none."""
        total: NDArray[np.float64] = np.bincount(self.place, self._taken(values), minlength=self._size).astype(float)
        return total.reshape(self.shape)

    def extreme(self, values: pd.Series, pick: np.ufunc) -> NDArray[np.float64]:
        """``numpy.fmin`` or ``numpy.fmax`` of a column over the rows of each cell; missing where there are none."""
        result = np.full(self._size, np.nan)
        pick.at(result, self.place, self._taken(values))
        return result.reshape(self.shape)

    @property
    def _size(self) -> int:
        return self.shape[0] * self.shape[1]

    def _taken(self, values: pd.Series) -> NDArray[np.float64]:
        return values.to_numpy(dtype=float)[self.rows]


def numbers_in(index: pd.Index, names: pd.Series) -> NDArray[np.intp]:
    """Where names stand in an index; -1 where they do not."""
    codes, known = pd.factorize(names)
    return np.append(index.get_indexer(pd.Index(known)), -1)[codes]
