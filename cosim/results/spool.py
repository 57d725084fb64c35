"""Result tables part by part: kept in memory, or written to disk as they come so that a long run needs little room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cosim.errors import InputError
from cosim.results.columns import Columns
from cosim.results.schemas import SCHEMAS
from cosim.results.tables import (
    ROW_GROUP,
    Tables,
    arrow_table,
    check,
    empty,
    open_table,
    read_table,
    reading,
    write_table,
)

_PART = 1 << 15


class Shelf(Protocol):
    """Takes the rows of every table as they come, and gives back the tables.

    What does not fit a table is an InputError (see :func:`cosim.results.tables.check`), at once or at the end.
    """

    def add(self, name: str, rows: pd.DataFrame) -> None:
        """Take rows of a table."""

    def see(self, table: str, columns: Columns) -> None:
        """See rows when they are booked, before they are added; and what else a simulation tells by name."""

    def close(self) -> Tables:
        """The tables; nothing can be added any more."""


class Kept:
    """A shelf in memory."""

    def __init__(self) -> None:
        self._rows: dict[str, list[pd.DataFrame]] = {}

    def add(self, name: str, rows: pd.DataFrame) -> None:
        """See :class:`Shelf`."""
        self._rows.setdefault(name, []).append(rows)

    def see(self, table: str, columns: Columns) -> None:
        """See :class:`Shelf`."""

    def close(self) -> Tables:
        """See :class:`Shelf`."""
        return Tables.from_frames({name: pd.concat(rows, ignore_index=True) for name, rows in self._rows.items()})


class Spool:
    """A shelf on disk: files as :func:`cosim.results.tables.write_table` makes them, byte for byte.

    Rows may come in any order within a window; the first column of their table's key has to grow from one window to
    the next, so that what has been written stays in order.

    Args:
        folder: an existing folder, for one file per table.
        see: is told what is booked, at once.
    """

    def __init__(self, folder: Path, see: Callable[[str, Columns], None] | None = None) -> None:
        self._folder, self._see = folder, see
        self._piles = {name: _Pile(name, folder / f"{name}.parquet") for name in Tables.names()}

    def add(self, name: str, rows: pd.DataFrame) -> None:
        """See :class:`Shelf`."""
        if name not in self._piles:
            raise InputError("unknown table", key=name, allowed=", ".join(self._piles))
        self._piles[name].add(rows)

    def see(self, table: str, columns: Columns) -> None:
        """See :class:`Shelf`."""
        if self._see is not None:
            self._see(table, columns)

    def close(self) -> Tables:
        """See :class:`Shelf`."""
        for pile in self._piles.values():
            pile.close()
        return StoredTables(self._folder)


class _Pile:
    """One table on its way to its file: rows that nobody has looked at, rows in form, rows written."""

    def __init__(self, name: str, path: Path) -> None:
        self._name, self._path = name, path
        self._raw: list[pd.DataFrame] = []
        self._ready: list[pa.Table] = []
        self._file: pq.ParquetWriter | None = None
        self._last: float | None = None

    def add(self, rows: pd.DataFrame) -> None:
        if not rows.empty:
            self._raw.append(rows)
        if sum(map(len, self._raw)) >= _PART:
            self._form()
        if sum(part.num_rows for part in self._ready) >= ROW_GROUP:
            self._write(whole=True)

    def close(self) -> None:
        self._form()
        self._write(whole=False)
        if self._file is not None:
            self._file.close()
        elif not SCHEMAS[self._name].optional:
            write_table(self._name, empty(self._name), self._path)

    def _form(self) -> None:
        """Bring rows into the form of the table, if they come after the earlier ones."""
        if not self._raw:
            return
        rows = check(self._name, pd.concat(self._raw, ignore_index=True))
        self._raw = []
        column = SCHEMAS[self._name].key[0]
        first = rows[column].iloc[0]
        if self._last is not None and first <= self._last:
            raise InputError(f"table {self._name!r} goes back in time", key=f"{self._name}.{column}", value=first,
                             allowed=f"more than {self._last}")  # fmt: skip
        self._last = rows[column].iloc[-1]
        self._ready.append(arrow_table(self._name, rows))

    def _write(self, whole: bool) -> None:
        """Write what is ready, up to whole parts of the file if asked."""
        if not self._ready:
            return
        rows = pa.concat_tables(self._ready).combine_chunks()
        count = rows.num_rows - rows.num_rows % ROW_GROUP if whole else rows.num_rows
        self._ready = [rows.slice(count)] if count < rows.num_rows else []
        if self._file is None:
            self._file = open_table(rows.schema, self._path)
        self._file.write_table(rows.slice(0, count), row_group_size=ROW_GROUP)


class StoredTables(Tables):
    """The tables of a folder, each read when it is asked for.

    Args:
        folder: of a run.
        keep: whether a table that was read stays in memory.
    """

    _folder: Path
    _keep: bool
    _some: dict[str, pd.DataFrame]
    """Tables of which some columns were asked for so far, and these are kept."""

    def __init__(self, folder: Path, *, keep: bool = False) -> None:
        object.__setattr__(self, "_folder", folder)
        object.__setattr__(self, "_some", {})
        object.__setattr__(self, "_keep", keep)

    def __getattr__(self, name: str) -> pd.DataFrame:
        if name not in self.names():
            raise AttributeError(name)
        frame = read_table(name, self._folder / f"{name}.parquet")
        if self._keep:
            object.__setattr__(self, name, frame)
            self._some.pop(name, None)
        return frame

    def only(self, name: str, *columns: str) -> pd.DataFrame:
        """Some columns of a table, without reading the others."""
        if not self._keep:
            return read_table(name, self._folder / f"{name}.parquet", columns)[list(columns)]
        if name not in self.__dict__:
            known = self._some.get(name, pd.DataFrame())
            if not set(columns) <= set(known):
                wanted = [c.name for c in SCHEMAS[name].columns if c.name in {*columns, *known}]
                self._some[name] = read_table(name, self._folder / f"{name}.parquet", wanted)
            return self._some[name][list(columns)]
        return super().only(name, *columns)

    def has(self, name: str, column: str) -> bool:
        """Whether a table has a column that may be left unsaid, without reading it."""
        if name in self.__dict__:
            return super().has(name, column)
        path = self._folder / f"{name}.parquet"
        with reading(name, path):
            return column in pq.read_schema(path).names

    def lengths(self) -> dict[str, int]:
        """Number of rows of each table that has a file, without reading them."""
        found = {}
        for name in self.names():
            path = self._folder / f"{name}.parquet"
            if SCHEMAS[name].optional and not path.is_file():
                continue
            with reading(name, path):
                found[name] = pq.read_metadata(path).num_rows
        return found
