"""What a measurement leaves, and the check that it can be kept: what cannot be is a failure of its run alone."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pyarrow as pa

_FILE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_\-]{0,99}")
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a measurement leaves: key figures by name, tables by name, and notes.

    A measurement of a user's own is a function of (scenario, path of its file) that returns one.
    """

    kpis: Mapping[str, float | int | str | None]
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Kept:
    """An outcome in the form in which it is kept: plain numbers and texts, tables of Arrow."""

    kpis: Mapping[str, float | int | str | None]
    tables: Mapping[str, pa.Table]
    notes: tuple[str, ...]


def kept(outcome: object, taken: Collection[str]) -> Kept:
    """Check what a measurement has returned.

    Args:
        taken: names that a key figure cannot have, since the table of the runs has such columns.

    Raises:
        ValueError: it is no outcome, or something in it cannot be kept; the message names it.
    """
    if not isinstance(outcome, Outcome):
        raise ValueError(f"the measurement returned {_kind(outcome)}, not a cosim.sweep.worker.Outcome")
    for name, found in (("kpis", outcome.kpis), ("tables", outcome.tables)):
        if not isinstance(found, Mapping):
            raise ValueError(f"{name} of the outcome is {_kind(found)}, not a mapping from names")
    if not isinstance(outcome.notes, list | tuple):
        raise ValueError(f"notes of the outcome is {_kind(outcome.notes)}, not a tuple of texts")
    kpis = {_name(name, taken): _figure(name, value) for name, value in outcome.kpis.items()}
    tables = {_file_name(name): _arrow(name, frame) for name, frame in outcome.tables.items()}
    return Kept(kpis, tables, tuple(_text("a note", note) for note in outcome.notes))


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _text(what: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{what} is {_kind(value)}, not a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} has characters that are no text ({value[:40]!a})") from None
    return value


def _name(name: object, taken: Collection[str]) -> str:
    text = _text("the name of a key figure", name)
    if not text.strip() or len(text) > _LONGEST_NAME:
        raise ValueError(f"a key figure has an empty name, or one of more than {_LONGEST_NAME} characters")
    if text in taken:
        raise ValueError(f"a key figure is named {text!r}, as another column of the table of the runs is")
    return text


def _file_name(name: object) -> str:
    if not isinstance(name, str) or not _FILE_NAME.fullmatch(name):
        raise ValueError(f"a table is named {str(name)[:40]!a}; it takes letters, digits, - and _")
    return name


def _figure(name: str, value: Any) -> float | int | str | None:
    """A key figure as JSON knows it: scalars of numpy become Python's, what is not finite becomes None."""
    if getattr(value, "shape", None) == ():
        value = value.item()
    if isinstance(value, str):
        return _text(f"key figure {name!r}", value)
    if value is None or isinstance(value, bool):
        return value
    if not isinstance(value, int | float):
        raise ValueError(f"key figure {name!r} is {_kind(value)}, not a number or a text")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"key figure {name!r} is too large a number") from None
    return (value if isinstance(value, int) else number) if math.isfinite(number) else None


def _arrow(name: str, frame: object) -> pa.Table:
    """A table of a run as Arrow knows it."""
    if not isinstance(frame, pd.DataFrame):
        raise ValueError(f"table {name!r} is {_kind(frame)}, not a pandas frame")
    columns = [str(column) for column in frame.columns]
    if len(set(columns)) < len(columns):
        raise ValueError(f"table {name!r} has two columns of the same name")
    if "run" in columns:
        raise ValueError(f"table {name!r} has a column 'run', which is the key of the run")
    arrays = {}
    for place, column in enumerate(columns):
        try:
            arrays[_text(f"a column of table {name!r}", column)] = pa.array(frame.iloc[:, place], from_pandas=True)
        except (pa.ArrowException, OverflowError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"column {column!r} of table {name!r} cannot be kept: {reason}") from None
    return pa.table(arrays)
