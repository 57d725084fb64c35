"""Result tables: the check against their schemas, and Parquet files that repeat byte by byte.

A table is long form: one row per key, sorted by key. Powers are in kW and kvar, money in USD, prices in
USD/MWh and USD/Mvarh, voltages per unit, unbalance in percent. Demand and generation are both positive, each
in its own table. A phase is ``a``, ``b``, ``c`` (to neutral or centroid), ``ab``, ``bc``, ``ca`` (a leg, or a
line-to-line voltage), ``1``, ``2`` and ``12`` (halves of a centre-tapped winding, and between them) or ``abc``
(shared equally by three phases).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cosim.errors import InputError
from cosim.results.schemas import ARROW, DTYPES, SCHEMA_VERSION, SCHEMAS, Column, Kind, Schema

ROW_GROUP = 1 << 16
"""Rows of a part of a file: few enough to write a long run as it goes, enough to pack and read well."""
_FORMAT: dict[str, Any] = {
    "compression": "zstd", "compression_level": 3, "version": "2.6", "data_page_version": "1.0",
    "use_dictionary": True, "write_statistics": True,
}  # fmt: skip
_LARGEST = 1 << 62


def schema_of(name: str | Schema) -> Schema:
    """The schema of a table of a run by its name; one of another table is taken as it is."""
    return name if isinstance(name, Schema) else SCHEMAS[name]


def check(
    name: str | Schema, frame: pd.DataFrame, file: str | Path | None = None, columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """Bring a frame into the form of a table: columns in order, right types, sorted by key.

    Args:
        name: name of the table, a key of ``SCHEMAS``, or a schema of its own.
        frame: any frame with at least the required columns; it is not changed.
        file: where the frame came from, for the message.
        columns: only these; without the whole key the rows stay in their order.

    Raises:
        InputError: a column is missing or unknown, a value is missing, infinite or of the wrong kind, or two
            rows have the same key.
    """
    schema = schema_of(name)
    name = schema.name
    known = [c.name for c in schema.columns]
    unsaid = {c.name for c in schema.columns if c.unsaid and c.name not in frame.columns}
    for column in frame.columns:
        if column not in known:
            raise InputError(f"table {name!r} has an unknown column", file=file, key=f"{name}.{column}",
                             allowed=", ".join(known))  # fmt: skip
    wanted = [c for c in schema.columns if (columns is None or c.name in columns) and c.name not in unsaid]
    plain = frame.reset_index(drop=True)
    result = pd.DataFrame({c.name: _checked(schema, c, plain, file) for c in wanted}, plain.index, copy=False)
    key = [name for name in schema.key if columns is not None or name not in unsaid]
    if len(result) < 2 or not set(key) <= set(result):
        return result
    if _grows(result, key):
        return result
    rank = _rank(result, key)
    if np.any(rank[1:] < rank[:-1]):
        order = np.argsort(rank, kind="stable")
        result, rank = result.take(order).reset_index(drop=True), rank[order]
    twice = np.flatnonzero(rank[1:] == rank[:-1])
    if schema.unique and len(twice):
        row = result.loc[twice[0] + 1, key].to_dict()
        raise InputError(f"table {name!r} has two rows with the same key", file=file,
                         key=f"{name}.{'+'.join(key)}", value=row)  # fmt: skip
    return result


def _grows(frame: pd.DataFrame, key: Sequence[str]) -> bool:
    """Whether the key of each row is above that of the one before, as of a table that was written sorted.

    Far faster than ranking rows; where a value is missing, the answer is no.
    """
    above = np.zeros(max(0, len(frame) - 1), dtype=bool)
    for name in reversed(key):
        values = frame[name].array
        more, same = (np.asarray(values[1:] > values[:-1]), np.asarray(values[1:] == values[:-1]))
        above = more | (same & above)
    return bool(above.all())


def _rank(frame: pd.DataFrame, key: Sequence[str]) -> np.ndarray:
    """(rows,) a number for each row that is ordered as its key is, a missing value last: far faster than sorting."""
    rank, size = np.zeros(len(frame), dtype=np.int64), 1
    for column in key:
        codes, values = pd.factorize(frame[column], sort=True)
        if size > _LARGEST // (len(values) + 1):
            known, rank = np.unique(rank, return_inverse=True)
            size = len(known)
        rank = rank * (len(values) + 1) + np.where(codes < 0, len(values), codes)
        size *= len(values) + 1
    return rank


def _checked(schema: Schema, column: Column, frame: pd.DataFrame, file: str | Path | None) -> pd.Series:
    """One column of the right type."""
    key = f"{schema.name}.{column.name}"
    dtype = DTYPES[column.kind]
    if column.name not in frame.columns:
        if not column.optional:
            raise InputError(f"table {schema.name!r} lacks a column", file=file, key=key)
        return pd.Series(np.full(len(frame), np.nan), frame.index, dtype=dtype)
    series = frame[column.name]
    if series.empty:
        return series if series.dtype == dtype else pd.Series([], frame.index, dtype=dtype)
    if not column.nullable and series.isna().any():
        raise InputError(f"table {schema.name!r} has a missing value", file=file, key=key)
    values = _converted(series, column, key, file)
    if column.kind == "float" and np.isinf(values.to_numpy(dtype=float)).any():
        raise InputError(f"table {schema.name!r} has an infinite value", file=file, key=key)
    if column.allowed and not values.isin(column.allowed).all():
        wrong = values[~values.isin(column.allowed)].iloc[0]
        raise InputError(f"table {schema.name!r} has a value that is not allowed", file=file, key=key,
                         value=wrong, allowed=", ".join(column.allowed))  # fmt: skip
    return values


def _converted(series: pd.Series, column: Column, key: str, file: str | Path | None) -> pd.Series:
    """Values as the column's type, refused where that would change them."""
    kinds: dict[Kind, tuple[type, ...]] = {
        "int": (int, np.integer), "float": (int, float, np.number), "text": (str,), "bool": (bool, np.bool_),
        "time": (datetime,),
    }  # fmt: skip
    if series.dtype == DTYPES[column.kind]:
        return series
    if column.kind == "float" and column.nullable and series.dtype.kind not in "iuf":
        series = series.astype(object).where(series.notna(), np.nan)
    given = series.dropna() if column.kind == "text" else series  # what is missing where it may be is of any type
    if column.kind == "text":
        alike = pd.api.types.infer_dtype(given, skipna=False) == "string"
    else:
        alike = series.dtype != object
    for value in given.iloc[:1] if alike else given:
        as_number = column.kind in ("int", "float") and isinstance(value, bool | np.bool_)
        if as_number or not isinstance(value, kinds[column.kind]):
            raise InputError(f"not a value of kind {column.kind}", file=file, key=key, value=value,
                             allowed=column.unit or column.kind)  # fmt: skip
    if column.kind == "time" and any(value.tzinfo is not None for value in series):
        raise InputError("not a local time: it has a time zone", file=file, key=key, value=series.iloc[0])
    return series.astype(DTYPES[column.kind])  # type: ignore[call-overload,no-any-return]


@dataclass(frozen=True, eq=False)
class _Frames:
    """Frames by table name; every one passes :func:`check`."""

    def __post_init__(self) -> None:
        for name, frame in self.items():
            object.__setattr__(self, name, check(name, frame))

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of the tables, in order."""
        return tuple(f.name for f in fields(cls))

    def items(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """(name, frame) of each table."""
        for name in self.names():
            yield name, getattr(self, name)

    def lengths(self) -> dict[str, int]:
        """Number of rows of each table that is written."""
        return {name: len(frame) for name, frame in self.items() if len(frame) or not SCHEMAS[name].optional}

    def only(self, name: str, *columns: str) -> pd.DataFrame:
        """Some columns of a table."""
        frame: pd.DataFrame = getattr(self, name)[list(columns)]
        return frame

    def has(self, name: str, column: str) -> bool:
        """Whether a table has a column that may be left unsaid."""
        return column in getattr(self, name)

    @classmethod
    def from_rows(cls, rows: Mapping[str, Sequence[Mapping[str, object]]]) -> Self:
        """Tables from lists of rows; a table without rows is empty but has its columns.

        Raises:
            InputError: an unknown table, or rows that do not fit (see :func:`check`).
        """
        return cls.from_frames({n: pd.DataFrame(list(table)) if table else pd.DataFrame() for n, table in rows.items()})

    @classmethod
    def from_frames(cls, frames: Mapping[str, pd.DataFrame]) -> Self:
        """Tables from frames; a table that is not given is empty but has its columns.

        Raises:
            InputError: an unknown table, or a frame that does not fit (see :func:`check`).
        """
        unknown = sorted(set(frames) - set(cls.names()))
        if unknown:
            raise InputError("unknown table", key=unknown[0], allowed=", ".join(cls.names()))
        return cls(**{n: frames[n] if n in frames and len(frames[n]) else empty(n) for n in cls.names()})

    def write(self, folder: Path) -> None:
        """Write each table to ``folder/NAME.parquet``."""
        for name in self.lengths():
            write_table(name, getattr(self, name), folder / f"{name}.parquet")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the tables of a folder.

        Raises:
            InputError: a file is missing, unreadable or does not fit its schema.
        """
        return cls(**{n: read_table(n, folder / f"{n}.parquet") for n in cls.names()})


@dataclass(frozen=True, eq=False)
class Tables(_Frames):
    """What a run leaves, one frame per table; columns and units as in ``SCHEMAS``. ``taps``, ``feeders``, ``flows``,
    ``limits``, ``accounts``, ``envelopes`` and ``deviations`` may be left out."""

    steps: pd.DataFrame
    prices: pd.DataFrame
    demand: pd.DataFrame
    dispatch: pd.DataFrame
    voltages: pd.DataFrame
    unbalance: pd.DataFrame
    work: pd.DataFrame
    rounds: pd.DataFrame
    messages: pd.DataFrame
    taps: pd.DataFrame = field(default_factory=lambda: empty("taps"))
    feeders: pd.DataFrame = field(default_factory=lambda: empty("feeders"))
    flows: pd.DataFrame = field(default_factory=lambda: empty("flows"))
    limits: pd.DataFrame = field(default_factory=lambda: empty("limits"))
    accounts: pd.DataFrame = field(default_factory=lambda: empty("accounts"))
    envelopes: pd.DataFrame = field(default_factory=lambda: empty("envelopes"))
    deviations: pd.DataFrame = field(default_factory=lambda: empty("deviations"))


@dataclass(frozen=True, eq=False)
class Layout(_Frames):
    """Where things are: buses with coordinates, branches, and the units connected to buses.

    A unit's kind is ``datacenter`` or what its resource calls itself; ``label`` (words of the legend), ``marker`` and
    ``size`` say how a map draws it.
    """

    buses: pd.DataFrame
    branches: pd.DataFrame
    units: pd.DataFrame


def empty(name: str | Schema) -> pd.DataFrame:
    """A table without rows."""
    columns = [c for c in schema_of(name).columns if not c.unsaid]
    return pd.DataFrame({c.name: pd.Series([], dtype=DTYPES[c.kind]) for c in columns})


def arrow_table(name: str | Schema, frame: pd.DataFrame) -> pa.Table:
    """A checked frame for a file; fields bear units."""
    schema = schema_of(name)
    columns = [c for c in schema.columns if c.name in frame]
    arrays = [pa.array(frame[c.name], type=ARROW[c.kind], from_pandas=True) for c in columns]
    return pa.Table.from_arrays(arrays, schema=_arrow_schema(schema.name, columns))


def _arrow_schema(name: str, columns: Sequence[Column]) -> pa.Schema:
    """The columns of a table's file."""
    return pa.schema(
        [pa.field(c.name, ARROW[c.kind], nullable=c.nullable, metadata={"unit": c.unit}) for c in columns],
        metadata={"table": name, "schema_version": str(SCHEMA_VERSION)},
    )


def open_table(schema: pa.Schema, path: Path) -> pq.ParquetWriter:
    """A file that takes a table part by part; parts of ``ROW_GROUP`` rows and a last one make the same bytes as
    :func:`write_table`."""
    return pq.ParquetWriter(path, schema, **_FORMAT)


def write_table(name: str | Schema, frame: pd.DataFrame, path: Path) -> None:
    """Write one table as Parquet: same rows, same bytes with one version of pyarrow."""
    rows = arrow_table(name, check(name, frame))
    with open_table(rows.schema, path) as file:
        file.write_table(rows, row_group_size=ROW_GROUP)


def read_table(name: str | Schema, path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read one table, or some of its columns; see :func:`check` for errors, and a missing or unreadable file is one.

    Of a table that may be left out a missing file means that there are no rows.
    """
    if schema_of(name).optional and not path.is_file():
        return empty(name)
    with reading(schema_of(name).name, path):
        there = None if columns is None else [name for name in pq.read_schema(path).names if name in columns]
        found = pq.read_table(path, columns=there, use_threads=False)
        frame = found.to_pandas(split_blocks=True, self_destruct=True)
    return check(name, frame, path, columns)


@contextmanager
def reading(name: str, path: Path) -> Iterator[None]:
    """Turn what goes wrong in reading a table's file into the error of a user.

    Raises:
        InputError: the file is missing or unreadable.
    """
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"the table {name!r} is missing", file=path) from None
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"not readable as Parquet ({str(error).splitlines()[0]})", file=path) from None
