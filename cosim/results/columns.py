"""Columns of result tables as they come, part by part, and the frame they make together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any

import numpy as np
import pandas as pd

from cosim.errors import InputError

Columns = Mapping[str, Any]
"""Rows of a table by column: arrays or lists of one length, or one value that holds in all rows; with single values
only, one row."""


def height(table: str, columns: Columns) -> int:
    """Number of rows.

    Raises:
        InputError: what is given are no columns, or their lengths differ.
    """
    if not isinstance(columns, Mapping):
        raise InputError("rows come column by column", key=table, value=type(columns).__name__,
                         allowed="a mapping from a column's name to its values")  # fmt: skip
    lengths = {len(values) for values in columns.values() if isinstance(values, _SEVERAL)} or {int(bool(columns))}
    if len(lengths) > 1:
        raise InputError("columns of different lengths", key=table, value=sorted(lengths), allowed="one length")
    return lengths.pop()


@dataclass(slots=True)
class Pile:
    """Parts of a table, one below the other.

    Args:
        table: its name.
    """

    table: str
    parts: list[Columns] = field(default_factory=list)
    heights: list[int] = field(default_factory=list)
    rows: int = 0

    def add(self, columns: Columns) -> None:
        """Take a part.

        Raises:
            InputError: see :func:`height`.
        """
        count = height(self.table, columns)
        if count:
            self.parts.append(columns)
            self.heights.append(count)
            self.rows += count

    def take(self) -> pd.DataFrame:
        """One frame of all parts, which are gone then; a column that a part lacks is missing there."""
        alike: list[slice] = []
        for i, part in enumerate(self.parts):
            if alike and part.keys() == self.parts[i - 1].keys():
                alike[-1] = slice(alike[-1].start, i + 1)
            else:
                alike.append(slice(i, i + 1))
        frames = [_frame(self.parts[span], self.heights[span]) for span in alike]
        self.parts, self.heights, self.rows = [], [], 0
        if len(frames) == 1:
            return frames[0]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _frame(parts: Sequence[Columns], heights: Sequence[int]) -> pd.DataFrame:
    """One frame of parts with the same columns."""
    return pd.DataFrame({key: _column([part[key] for part in parts], heights) for key in parts[0]})


def _column(values: Sequence[Any], heights: Sequence[int]) -> Any:
    first = values[0]
    if isinstance(first, np.ndarray):
        if all(isinstance(v, np.ndarray) for v in values):
            return np.concatenate(values)
    elif _many(first):
        # buses, phases, units: the same names step after step are made into a column once
        if all(type(v) is type(first) and v == first for v in values) and all(type(name) is str for name in first):
            return pd.Series(list(first)).array.take(np.tile(np.arange(len(first)), len(values)))
    elif type(first) in (int, float, bool) and all(type(v) is type(first) for v in values):
        return np.repeat(np.array(values), heights)
    return list(chain.from_iterable(_each(v, n) for v, n in zip(values, heights, strict=True)))


def _each(value: Any, count: int) -> Iterable[Any]:
    if isinstance(value, np.ndarray):
        return list(value.tolist())
    return value if _many(value) else repeat(value, count)


def _many(value: Any) -> bool:
    return isinstance(value, _SEVERAL)


_SEVERAL = (np.ndarray, list, tuple)
