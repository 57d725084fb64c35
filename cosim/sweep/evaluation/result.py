"""What an evaluation leaves: tables, a record, and the folder that holds them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from cosim.results.record import is_study, read_study_record, write_study_record
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
        write_study_record(self, folder, FORMAT, SCHEMA_VERSION)

    @classmethod
    def read(cls, folder: Path) -> EvaluationRecord:
        """The record of a folder.

        Raises:
            InputError: it cannot be read, is none of an evaluation, or of another version.
        """
        return read_study_record(cls, folder, FORMAT, SCHEMA_VERSION, "an evaluation", ("notes",))


def is_evaluation(folder: Path) -> bool:
    """Whether a folder holds an evaluation."""
    return is_study(folder, FORMAT)


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
