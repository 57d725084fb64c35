"""A chart whose reader says what is drawn against what: one point for each row of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

NO_COLOUR = -1


@dataclass(frozen=True, slots=True)
class Column:
    """A column to draw: numbers or texts, None where there is none."""

    label: str
    values: Sequence[float | str | None]


@dataclass(frozen=True, slots=True)
class Explorer:
    """A cloud of points.

    Attributes:
        columns: what can be chosen. text: what is told of each point.
        y, x, colour: numbers of the columns that each of them can be, the first at first; a colour may be none.
    """

    title: str
    caption: str
    columns: Sequence[Column]
    text: Sequence[str]
    y: Sequence[int]
    x: Sequence[int]
    colour: Sequence[int]

    @property
    def picks(self) -> list[tuple[str, str, list[tuple[int, str]]]]:
        """(key, label, (number, label) of what there is to choose) of each choice."""
        none = [(NO_COLOUR, "none")]
        return [
            ("y", "figure", self._labels(self.y)),
            ("x", "against", self._labels(self.x)),
            ("colour", "colour", [*self._labels(self.colour), *none]),
        ]

    def _labels(self, numbers: Sequence[int]) -> list[tuple[int, str]]:
        return [(n, self.columns[n].label) for n in numbers]

    def data(self) -> dict[str, Any]:
        """For ``page.js``."""
        columns = [{"label": c.label, "values": list(c.values)} for c in self.columns]
        return {"columns": columns, "text": list(self.text)}
