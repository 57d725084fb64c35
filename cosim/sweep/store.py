"""The store of a sweep: one folder per run, which appears under its name only when it is complete.

    OUT/plan.json              the experiment and its runs, with their keys
    OUT/runs/run=KEY/          run.json, log.txt, and one Parquet file per table that is kept
    OUT/runs.csv, times.csv    one row per run: what follows from the seed, and what belongs to the machine
    OUT/sweep.log              what happened when

A partition scheme that pandas, pyarrow and DuckDB know: ``read_parquet('OUT/runs/*/steps.parquet')``.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cosim.errors import InputError, RunFailure
from cosim.sweep.digest import STORE_VERSION
from cosim.sweep.plan import Plan

FORMAT = "cosim-sweep"
PLAN_FILE, NOTE_FILE, LOG_FILE = "plan.json", "run.json", "log.txt"
RUNS_FOLDER = "runs"
_LOCK_FILE, _SWEEP_LOG = ".lock", "sweep.log"
_PREFIX, _PART = "run=", ".part"
_OWN = {RUNS_FOLDER, _LOCK_FILE, _SWEEP_LOG}
"""What may stand in a folder in which a sweep came to an end before it had a plan."""
Status = Literal["ok", "failed"]


class StoreFailure(RunFailure):
    """The store cannot be written any more (a full disk, for example); what is complete in it stays."""


@dataclass(frozen=True, slots=True)
class RunNote:
    """What ``run.json`` says of a run.

    Attributes:
        kpis: key figures by name; None where one does not apply. Times are not among them.
        timing: wall time, time in solvers (seconds), when it started, and in which process.
        error: kind and message, if it failed.
        attempts: how often it was begun; more than once if a worker died of it.
        tables: names of the tables that were kept.
        scenario: the effective scenario.
    """

    key: str
    status: Status
    kpis: Mapping[str, float | int | str | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    timing: Mapping[str, Any] = field(default_factory=dict)
    error: tuple[str, str] | None = None
    attempts: int = 1
    scenario: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """JSON text."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        return json.dumps({"format": FORMAT, "store_version": STORE_VERSION, **own}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> RunNote:
        """Note from JSON text; ValueError, KeyError or TypeError if it is none."""
        data = json.loads(text)
        if data.pop("format") != FORMAT or data.pop("store_version") != STORE_VERSION:
            raise ValueError("not the note of a run, or one of another version")
        error = data.pop("error")
        return cls(**{**data, "notes": tuple(data["notes"]), "tables": tuple(data["tables"])},
                   error=None if error is None else (error[0], error[1]))  # fmt: skip


class Store:
    """A sweep's folder.

    Args:
        root: the folder; nothing is created before :meth:`open`.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(os.path.abspath(root))
        self.runs = self.root / RUNS_FOLDER

    @property
    def exists(self) -> bool:
        """Whether there is a sweep in the folder."""
        return (self.root / PLAN_FILE).is_file()

    def folder(self, key: str) -> Path:
        """Where a complete run lies."""
        return self.runs / f"{_PREFIX}{key}"

    def part(self, key: str, attempt: int) -> Path:
        """Where a run is written while it is not complete; its existence says that the attempt was begun."""
        return self.runs / f".{_PREFIX}{key}.{attempt}{_PART}"

    def refuse_or_resume(self, *, resume: bool, only_failed: bool = False) -> None:
        """Refuse a folder that holds something else, or a sweep that is not to be continued.

        Args:
            only_failed: there must be a sweep.

        Raises:
            InputError: what stands in the way.
        """
        if self.exists and (resume or only_failed):
            return
        if only_failed:
            raise InputError("no sweep in the folder whose failed runs could be done again", key="--out",
                             value=str(self.root))  # fmt: skip
        if not self.root.exists() and not self.root.is_symlink():
            return
        if self.exists:
            raise InputError("the folder holds a sweep already", key="--out", value=str(self.root),
                             allowed="--resume to complete it, or a new folder")  # fmt: skip
        if not self.root.is_dir():
            raise InputError("the output folder exists and is not a folder", key="--out", value=str(self.root))
        if any(p.name not in _OWN for p in self.root.iterdir()):
            raise InputError("the output folder exists and holds no sweep", key="--out", value=str(self.root),
                             allowed="a new or empty folder")  # fmt: skip

    def open(self) -> None:
        """Create the folder if need be, and see that it can be written.

        Raises:
            InputError: it cannot.
        """
        probe = self.root / f".probe.{secrets.token_hex(4)}"
        try:
            self.runs.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"writable")
            probe.unlink()
        except OSError as error:
            raise InputError(f"the output folder cannot be written ({error.strerror})", key="--out",
                             value=str(self.root)) from None  # fmt: skip

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other sweeps out of the folder for the length of a block; a killed one leaves no lock behind.

        Raises:
            InputError: another sweep is at work in it.
        """
        with (self.root / _LOCK_FILE).open("wb") as stream:
            try:
                import fcntl

                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except ImportError:  # pragma: no cover - a system without such locks
                pass
            except OSError:
                raise InputError("another sweep is at work in this folder", key="--out",
                                 value=str(self.root)) from None  # fmt: skip
            yield

    def clear_parts(self) -> None:
        """Remove what interrupted runs left."""
        for left in self.runs.glob(f".{_PREFIX}*"):
            shutil.rmtree(left, ignore_errors=True)

    def discard(self, part: Path) -> None:
        """Remove what an attempt left."""
        shutil.rmtree(part, ignore_errors=True)

    def note(self, key: str) -> RunNote | None:
        """What a complete run says of itself; None if it is not complete, or cannot be read."""
        try:
            return RunNote.from_json((self.folder(key) / NOTE_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def publish(self, part: Path, note: RunNote) -> None:
        """Complete a run: write its note and put its folder in place.

        Raises:
            OSError: the store cannot be written; the part is then left to its caller.
        """
        (part / NOTE_FILE).write_text(note.to_json(), encoding="utf-8")
        place = self.folder(note.key)
        if place.exists():
            earlier = self.runs / f".{_PREFIX}{note.key}.{secrets.token_hex(4)}.old"
            os.rename(place, earlier)
            shutil.rmtree(earlier, ignore_errors=True)
        os.rename(part, place)

    def write_plan(self, plan: Plan) -> bool:
        """Write ``plan.json``; returns whether it says something else than before.

        Raises:
            StoreFailure: the store cannot be written.
        """
        data = {
            "format": FORMAT,
            "store_version": STORE_VERSION,
            "file": None if plan.file is None else str(plan.file),
            "experiment": plan.experiment.model_dump(mode="json"),
            "runs": [
                {"index": r.index, "run": r.key, "mode": r.mode, "seed": r.seed, "replicate": r.replicate,
                 "factors": dict(r.factors)}
                for r in plan.runs
            ],
        }  # fmt: skip
        text = json.dumps(data)
        same = self.exists and (self.root / PLAN_FILE).read_text(encoding="utf-8") == text
        if not same:
            self.write_text(PLAN_FILE, text)
        return not same

    def write_text(self, name: str, text: str) -> Path:
        """Write a file of the sweep at once or not at all.

        Raises:
            StoreFailure: the store cannot be written.
        """
        place = self.root / name
        part = self.root / f".{name}.{secrets.token_hex(4)}{_PART}"
        try:
            part.write_text(text, encoding="utf-8")
            os.replace(part, place)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise StoreFailure(f"{name} cannot be written in {self.root} ({error.strerror})") from None
        return place

    def log(self, text: str) -> None:
        """Add a line to ``sweep.log``; a log that cannot be written is no reason to stop."""
        try:
            with (self.root / _SWEEP_LOG).open("a", encoding="utf-8") as stream:
                stream.write(f"{pd.Timestamp.now('UTC').isoformat(timespec='milliseconds')} {text}\n")
        except OSError:
            pass


def write_frame(frame: pd.DataFrame, path: Path) -> None:
    """A table of a run as Parquet: same rows, same bytes."""
    columns = {str(name): pa.array(column, from_pandas=True) for name, column in frame.items()}
    pq.write_table(pa.table(columns), path, compression="zstd", version="2.6", write_statistics=False)
