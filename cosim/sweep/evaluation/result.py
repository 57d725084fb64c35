"""What an evaluation leaves: tables, a record, and the folder that holds them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import pandas as pd

from cosim.errors import InputError
from cosim.results.record import RECORD_FILE, record_text
from cosim.results.tables import read_table, write_table
from cosim.sweep.evaluation.schemas import SCHEMAS

FORMAT = "cosim-evaluation"
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class EvaluationRecord:
    """The content of ``record.json`` of an evaluation.

    Attributes:
        name: of the scenario. run: identity of the run. settings: what was asked for.
        level: share of cases in which limits may break; None where the scenario does not say it. joint: how it is
            meant.
        kpis: key figures by name. notes: what to know, in sentences.
    """

    name: str
    run: str
    settings: dict[str, Any]
    level: float | None
    joint: str
    kpis: dict[str, float | None]
    versions: dict[str, str] = field(default_factory=dict)
    started: str = ""
    wall_times_s: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        """Write ``record.json`` into a folder."""
        data = {"format": FORMAT, "schema_version": SCHEMA_VERSION, **asdict(self)}
        text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)
        (folder / RECORD_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> EvaluationRecord:
        """The record of a folder.

        Raises:
            InputError: it cannot be read, is none of an evaluation, or of another version.
        """
        path = folder / RECORD_FILE
        data = _data(folder)
        if data.pop("format", None) != FORMAT or data.pop("schema_version", None) != SCHEMA_VERSION:
            raise InputError("not the record of an evaluation of this version", file=path, key="format",
                             allowed=f"{FORMAT}, schema_version {SCHEMA_VERSION}")  # fmt: skip
        try:
            return cls(**{**data, "notes": tuple(data["notes"])})
        except (TypeError, KeyError) as error:
            raise InputError(f"the record is incomplete ({error})", file=path,
                             allowed=", ".join(f.name for f in fields(cls))) from None  # fmt: skip


def _data(folder: Path) -> dict[str, Any]:
    try:
        data = json.loads(record_text(folder, "results"))
    except ValueError as error:
        raise InputError(f"the record cannot be read ({error})", file=folder / RECORD_FILE) from None
    return data if isinstance(data, dict) else {}


def is_evaluation(folder: Path) -> bool:
    """Whether a folder holds an evaluation."""
    try:
        return _data(folder).get("format") == FORMAT
    except InputError:
        return False


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A run out of sample: tables as in :mod:`cosim.sweep.evaluation.schemas`, and a record."""

    violations: pd.DataFrame
    steps: pd.DataFrame
    samples: pd.DataFrame
    record: EvaluationRecord

    @property
    def kpis(self) -> dict[str, float | None]:
        """Key figures by name."""
        return self.record.kpis

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know of the results."""
        return self.record.notes

    def write(self, folder: Path) -> None:
        """Write tables and record into a folder."""
        for name, schema in SCHEMAS.items():
            write_table(schema, getattr(self, name), folder / f"{name}.parquet")
        self.record.write(folder)


def read_evaluation(folder: Path) -> Evaluation:
    """An evaluation read back.

    Raises:
        InputError: there is none in the folder.
    """
    record = EvaluationRecord.read(folder)
    tables = {name: read_table(schema, folder / f"{name}.parquet") for name, schema in SCHEMAS.items()}
    return Evaluation(**tables, record=record)


def verdict(record: EvaluationRecord) -> str:
    """Whether the level is kept, in words: broken at most as often, beyond what so many samples tell, or not."""
    if record.level is None:
        return "no level"
    of = "worst" if record.joint == "individual" else "any"
    frequency, low = record.kpis[f"{of}_frequency"], record.kpis[f"{of}_low"]
    assert frequency is not None and low is not None
    if frequency <= record.level:
        return "at most the level"
    return "above the level, within the interval" if low <= record.level else "above the level"
