"""The results of a run feeder by feeder: of each what a run with that feeder alone would leave."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from cosim.results.record import VoltageLimits
from cosim.results.schemas import SCHEMAS
from cosim.results.tables import Layout, Tables

Limits = VoltageLimits | Mapping[str, VoltageLimits]
"""Voltage limits of a run, by the names of its feeders if it has several."""


class FeederTables(Tables):
    """The rows of one feeder, without its name; each table is looked at when it is asked for.

    ``steps`` has this feeder's price, import, cost, payment and losses, and beside them what holds for all feeders
    together. Demand and work are those of all data centers.

    Args:
        tables: of a run with several feeders.
        feeder: its name.
    """

    _tables: Tables
    _feeder: str

    def __init__(self, tables: Tables, feeder: str) -> None:
        object.__setattr__(self, "_tables", tables)
        object.__setattr__(self, "_feeder", feeder)

    def __getattr__(self, name: str) -> pd.DataFrame:
        if name not in self.names():
            raise AttributeError(name)
        if name == "steps":
            return self._steps()
        return self._own(getattr(self._tables, name))

    def only(self, name: str, *columns: str) -> pd.DataFrame:
        """Some columns of a table."""
        if name == "steps" or not _names_feeders(name):
            frame: pd.DataFrame = getattr(self, name)[list(columns)]
            return frame
        return self._own(self._tables.only(name, "feeder", *columns))

    def has(self, name: str, column: str) -> bool:
        """Whether a table has a column that may be left unsaid."""
        return self._tables.has(name, column)

    def _own(self, frame: pd.DataFrame) -> pd.DataFrame:
        return _of_feeder(frame, self._feeder)

    def _steps(self) -> pd.DataFrame:
        steps, own = self._tables.steps, self._own(self._tables.feeders)
        kept = steps.drop(columns=[c for c in own.columns if c != "step"])
        return kept.merge(own, on="step", validate="one_to_one")[list(steps.columns)]


def tables_by_feeder(tables: Tables, limits: Limits) -> dict[str, tuple[Tables, VoltageLimits]]:
    """Tables and voltage limits by feeder; those of the only feeder under no name."""
    if isinstance(limits, VoltageLimits):
        return {"": (tables, limits)}
    return {name: (FeederTables(tables, name), own) for name, own in limits.items()}


def layout_part(layout: Layout, feeder: str) -> Layout:
    """The part of a layout on one feeder."""
    return Layout(**{name: _of_feeder(frame, feeder) for name, frame in layout.items()})


def _names_feeders(table: str) -> bool:
    return any(c.name == "feeder" for c in SCHEMAS[table].columns)


def _of_feeder(frame: pd.DataFrame, feeder: str) -> pd.DataFrame:
    """The rows of a feeder, without its name; a frame that names no feeders is left as it is."""
    if "feeder" not in frame.columns:
        return frame
    return frame[frame["feeder"] == feeder].drop(columns="feeder").reset_index(drop=True)
