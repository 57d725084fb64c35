"""Result tables: their columns as data, the check against them, and Parquet files that repeat byte by byte.

A table is long form: one row per key, sorted by key. Powers are in kW and kvar, money in USD, prices in
USD/MWh and USD/Mvarh, voltages per unit, unbalance in percent. Demand and generation are both positive, each
in its own table. A phase is ``a``, ``b``, ``c`` (to neutral or centroid), ``ab``, ``bc``, ``ca`` (a leg, or a
line-to-line voltage) or ``abc`` (shared equally by three phases).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Literal, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cosim.errors import InputError

SCHEMA_VERSION = 1
PHASES = ("a", "b", "c")
LEGS = ("ab", "bc", "ca")
PARTS = ("energy", "loss", "voltage", "congestion", "unbalance")

Kind = Literal["int", "float", "text", "bool", "time"]
_DTYPES: dict[Kind, str] = {
    "int": "int64", "float": "float64", "text": "str", "bool": "bool", "time": "datetime64[us]",
}  # fmt: skip
_ARROW: dict[Kind, pa.DataType] = {
    "int": pa.int64(), "float": pa.float64(), "text": pa.string(), "bool": pa.bool_(),
    "time": pa.timestamp("us"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its kind, unit, and what it may hold.

    Attributes:
        nullable: whether a value may be missing (NaN).
        optional: whether the whole column may be left out; it is then filled with missing values.
        allowed: the only values that a text column may hold, if that is limited.
    """

    name: str
    kind: Kind
    unit: str = ""
    nullable: bool = False
    optional: bool = False
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Schema:
    """One table: its columns in order, and the columns that it is sorted by.

    Attributes:
        unique: whether the key names a row; the log of messages may hold the same message twice.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    unique: bool = True


def _key(*names: str) -> tuple[Column, ...]:
    return tuple(Column(n, "int" if n in ("step", "round") else "text") for n in names)


def _floats(unit: str, *names: str, nullable: bool = False, optional: bool = False) -> tuple[Column, ...]:
    return tuple(Column(n, "float", unit, nullable or optional, optional) for n in names)


def _phase(*allowed: str) -> Column:
    return Column("phase", "text", allowed=allowed)


_ANY_PHASE = (*PHASES, *LEGS, "abc")

SCHEMAS: dict[str, Schema] = {
    s.name: s
    for s in (
        Schema(
            "steps",
            "Market steps: price and power at the substation, costs, rounds of negotiation",
            (
                *_key("step"),
                Column("time", "time", "local time"),
                *_key("mode", "market"),
                *_floats("USD/MWh", "price_sub_usd_per_mwh"),
                *_floats("kW", "p_sub_kw"),
                *_floats("kvar", "q_sub_kvar"),
                *_floats("USD", "dso_cost_usd", "dca_payment_usd", "dca_own_cost_usd", "social_cost_usd"),
                Column("rounds", "int"),
                Column("converged", "bool"),
                *_floats("kWh", "slack_kwh"),
                *_floats("kW", "p_sub_ac_kw", "losses_ac_kw", optional=True),
            ),
            ("step",),
        ),
        Schema(
            "prices",
            "Locational prices (DLMP) and their parts, per bus and phase or delta leg",
            (
                *_key("step", "bus"),
                _phase(*PHASES, *LEGS),
                *_floats("USD/MWh", "dlmp_p"),
                *_floats("USD/Mvarh", "dlmp_q"),
                *_floats("USD/MWh", *PARTS),
                *_floats("USD/Mvarh", *(f"q_{part}" for part in PARTS), optional=True),
            ),
            ("step", "bus", "phase"),
        ),
        Schema(
            "demand",
            "Power drawn by each data center",
            (
                *_key("step", "datacenter"),
                _phase(*_ANY_PHASE),
                *_floats("kW", "p_kw"),
                *_floats("kvar", "q_kvar"),
                *_floats("1", "utilisation"),
            ),
            ("step", "datacenter", "phase"),
        ),
        Schema(
            "dispatch",
            "Output of generators and static var generators, and the import at the substation",
            (
                *_key("step", "unit", "kind"),
                _phase(*_ANY_PHASE),
                *_floats("kW", "p_kw"),
                *_floats("kvar", "q_kvar"),
            ),
            ("step", "unit", "phase"),
        ),
        Schema(
            "voltages",
            "Voltages of the linear network and of AC power flow",
            (
                *_key("step", "bus"),
                _phase(*PHASES, *LEGS),
                *_floats("pu", "v_pu"),
                *_floats("pu", "v_ac_pu", nullable=True),
            ),
            ("step", "bus", "phase"),
        ),
        Schema(
            "unbalance",
            "Voltage unbalance: VUF (IEC), LVUR (NEMA, line to line), PVUR (IEEE, phase)",
            (*_key("step", "bus"), *_floats("%", "vuf_pct", "lvur_pct", "pvur_pct", nullable=True)),
            ("step", "bus"),
        ),
        Schema(
            "work",
            "Computing work: arrived and waiting by where it arrived, served by where it ran",
            (
                *_key("step", "datacenter", "class"),
                *_floats("MWh", "arrived_mwh", "served_mwh", "deferred_mwh", "late_mwh"),
            ),
            ("step", "datacenter", "class"),
        ),
        Schema(
            "rounds",
            "Rounds of the negotiation, per window (named by its first step)",
            (
                *_key("step", "round"),
                *_floats("s", "time"),
                *_floats("USD/MWh", "price_residual"),
                *_floats("kW", "power_residual_kw"),
                *_floats("USD", "dca_cost_usd", "dso_cost_usd"),
            ),
            ("step", "round"),
        ),
        Schema(
            "messages",
            "Every message, lost ones without an arrival",
            (
                *_floats("s", "sent"),
                *_floats("s", "received", nullable=True),
                *_key("sender", "receiver", "kind", "step", "round"),
            ),
            ("sent", "sender", "receiver", "kind", "step", "round", "received"),
            unique=False,
        ),
        Schema(
            "buses",
            "Buses of the feeder: coordinates and nominal line-to-line voltage",
            (
                *_key("bus"),
                *_floats("", "x", "y", nullable=True),
                *_floats("kV", "kv"),
                Column("role", "text", allowed=("bus", "source")),
            ),
            ("bus",),
        ),
        Schema(
            "branches", "Lines, transformers and regulators", _key("name", "from_bus", "to_bus"), ("name",)
        ),
        Schema(
            "units",
            "Where data centers, generators and static var generators are connected",
            (*_key("unit", "kind", "bus"), _phase(*_ANY_PHASE)),
            ("unit", "phase"),
        ),
    )
}


def check(name: str, frame: pd.DataFrame, file: str | Path | None = None) -> pd.DataFrame:
    """Bring a frame into the form of a table: columns in order, right types, sorted by key.

    Args:
        name: name of the table, a key of ``SCHEMAS``.
        frame: any frame with at least the required columns; it is not changed.
        file: where the frame came from, for the message.

    Raises:
        InputError: a column is missing or unknown, a value is missing, infinite or of the wrong kind, or two
            rows have the same key.
    """
    schema = SCHEMAS[name]
    known = [c.name for c in schema.columns]
    for column in frame.columns:
        if column not in known:
            raise InputError(f"table {name!r} has an unknown column", file=file, key=f"{name}.{column}",
                             allowed=", ".join(known))  # fmt: skip
    result = pd.DataFrame({c.name: _checked(schema, c, frame, file) for c in schema.columns})
    result = result.sort_values(list(schema.key), kind="stable", ignore_index=True)
    if schema.unique:
        twice = result.duplicated(list(schema.key))
        if twice.any():
            row = result.loc[twice, list(schema.key)].iloc[0].to_dict()
            raise InputError(f"table {name!r} has two rows with the same key", file=file,
                             key=f"{name}.{'+'.join(schema.key)}", value=row)  # fmt: skip
    return result


def _checked(schema: Schema, column: Column, frame: pd.DataFrame, file: str | Path | None) -> pd.Series:
    """One column of the right type."""
    key = f"{schema.name}.{column.name}"
    dtype = _DTYPES[column.kind]
    if column.name not in frame.columns:
        if not column.optional:
            raise InputError(f"table {schema.name!r} lacks a column", file=file, key=key)
        return pd.Series(np.full(len(frame), np.nan), dtype=dtype)
    series = frame[column.name].reset_index(drop=True)
    if series.empty:
        return pd.Series([], dtype=dtype)
    if series.isna().any() and not column.nullable:
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
    if column.kind == "float" and column.nullable:
        series = series.astype(object).where(series.notna(), np.nan)
    for value in series if series.dtype == object or column.kind == "text" else series.iloc[:1]:
        as_number = column.kind in ("int", "float") and isinstance(value, bool | np.bool_)
        if as_number or not isinstance(value, kinds[column.kind]):
            raise InputError(f"not a value of kind {column.kind}", file=file, key=key, value=value,
                             allowed=column.unit or column.kind)  # fmt: skip
    if column.kind == "time" and any(value.tzinfo is not None for value in series):
        raise InputError("not a local time: it has a time zone", file=file, key=key, value=series.iloc[0])
    return series.astype(_DTYPES[column.kind])  # type: ignore[call-overload,no-any-return]


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
        for name, frame in self.items():
            write_table(name, frame, folder / f"{name}.parquet")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the tables of a folder.

        Raises:
            InputError: a file is missing, unreadable or does not fit its schema.
        """
        return cls(**{n: read_table(n, folder / f"{n}.parquet") for n in cls.names()})


@dataclass(frozen=True, eq=False)
class Tables(_Frames):
    """What a run leaves, one frame per table; columns and units as in ``SCHEMAS``."""

    steps: pd.DataFrame
    prices: pd.DataFrame
    demand: pd.DataFrame
    dispatch: pd.DataFrame
    voltages: pd.DataFrame
    unbalance: pd.DataFrame
    work: pd.DataFrame
    rounds: pd.DataFrame
    messages: pd.DataFrame


@dataclass(frozen=True, eq=False)
class Layout(_Frames):
    """Where things are: buses with coordinates, branches, and the units connected to buses.

    A unit's kind is ``datacenter``, ``svg`` or the kind of a generator (``dispatchable``, ``pv``).
    """

    buses: pd.DataFrame
    branches: pd.DataFrame
    units: pd.DataFrame


def empty(name: str) -> pd.DataFrame:
    """A table without rows."""
    return pd.DataFrame({c.name: pd.Series([], dtype=_DTYPES[c.kind]) for c in SCHEMAS[name].columns})


def write_table(name: str, frame: pd.DataFrame, path: Path) -> None:
    """Write one table as Parquet: same rows, same bytes with one version of pyarrow. Fields bear units."""
    checked = check(name, frame)
    schema = SCHEMAS[name]
    arrow = pa.schema(
        [
            pa.field(c.name, _ARROW[c.kind], nullable=c.nullable, metadata={"unit": c.unit})
            for c in schema.columns
        ],
        metadata={"table": name, "schema_version": str(SCHEMA_VERSION)},
    )
    arrays = [pa.array(checked[c.name], type=_ARROW[c.kind], from_pandas=True) for c in schema.columns]
    pq.write_table(
        pa.Table.from_arrays(arrays, schema=arrow), path, compression="zstd", compression_level=3,
        version="2.6", data_page_version="1.0", row_group_size=1 << 20, use_dictionary=True,
        write_statistics=True,
    )  # fmt: skip


def read_table(name: str, path: Path) -> pd.DataFrame:
    """Read one table; see :func:`check` for errors, and a missing or unreadable file is an InputError too."""
    try:
        frame = pq.read_table(path, use_threads=False).to_pandas()
    except FileNotFoundError:
        raise InputError(f"the table {name!r} is missing", file=path) from None
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"not readable as Parquet ({str(error).splitlines()[0]})", file=path) from None
    return check(name, frame, path)
