"""The store of a sweep: one folder per run, which appears under its name only when it is complete.

    OUT/plan.json              the experiment and its runs, with their keys
    OUT/runs/run=KEY/          log.txt, one Parquet file per table that is kept, and run.json, which is written last
    OUT/runs.csv, times.csv    one row per run: what follows from the seed, and what belongs to the machine
    OUT/inputs/                what the runs are made from: see cosim.scenario.inputs.manifest
    OUT/outputs.json           sizes and hashes of what the analysis and the report have written
    OUT/sweep.log              what happened when

A partition scheme that pandas, pyarrow and DuckDB know: ``read_parquet('OUT/runs/*/steps.parquet')``.

A finished run is what its ``run.json`` says: it has the size and the hash of each file, and of its own text. All of
it is on the disk before the folder has its name, so neither a kill nor a power cut leaves half a run under it.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cosim.errors import InputError, RunFailure
from cosim.results.durable import PART, flush_folder, flush_tree, write_at_once
from cosim.results.folders import FIGURES_FOLDER, KEPT_FOLDER, REPORT_FILE
from cosim.results.underway.writing import UNDERWAY_FILE
from cosim.sweep.digest import STORE_VERSION
from cosim.sweep.plan import Plan
from cosim.sweep.storage.manifest import Damage, check_files, content_of, entries_of, sealed, unsealed
from cosim.sweep.storage.note import FORMAT, NOTE_FILE, RunNote, entries_from

PLAN_FILE, LOG_FILE = "plan.json", "log.txt"
OUTPUTS_FILE = "outputs.json"
RUNS_FOLDER = "runs"
LOCK_FILE, SWEEP_LOG = ".lock", "sweep.log"
RUN_PREFIX = "run="
"""How names of folders of runs begin, before the key."""
_OWN = {RUNS_FOLDER, KEPT_FOLDER, LOCK_FILE, SWEEP_LOG}
"""What may stand in a folder in which a sweep came to an end before it had a plan."""
_LOCK_ATTEMPTS, _LOCK_PAUSE_S = 5, 0.02
_LEFT = re.compile(rf"\..+\.[0-9a-f]{{12}}{re.escape(PART)}|\.probe\.[0-9a-f]{{8}}")
"""Names of files that were not finished."""


class StoreFailure(RunFailure):
    """The store cannot be written any more (a full disk, for example); what is complete in it stays."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What is in a store of the runs that are asked for.

    Attributes:
        notes: what each complete run says of itself, by key.
        damaged: what is wrong with each that is there and is not what it must be, by key.
        strange: files that no run has written, relative to the sweep's folder; they are left alone.
    """

    notes: Mapping[str, RunNote]
    damaged: Mapping[str, str]
    strange: tuple[str, ...]


class Store:
    """A sweep's folder.

    Args:
        root: the folder; nothing is created before :meth:`open`.
        session: part of the names of runs that are not complete, so that a worker of an earlier sweep that was killed
            and has not noticed yet does not write where this one does.
    """

    def __init__(self, root: str | Path, session: str = "") -> None:
        self.root = Path(os.path.abspath(root))
        self.runs = self.root / RUNS_FOLDER
        self.session = session or secrets.token_hex(4)

    @property
    def exists(self) -> bool:
        """Whether there is a sweep in the folder: a plan, or runs whose plan was lost."""
        return (self.root / PLAN_FILE).is_file() or any(self.runs.glob(f"{RUN_PREFIX}*"))

    def folder(self, key: str) -> Path:
        """Where a complete run lies."""
        return self.runs / f"{RUN_PREFIX}{key}"

    def part(self, key: str, attempt: int) -> Path:
        """Where a run is written while it is not complete; its existence says that the attempt was begun."""
        return self.runs / f".{RUN_PREFIX}{key}.{self.session}.{attempt}{PART}"

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
            probe.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"the output folder cannot be written ({error.strerror})", key="--out",
                             value=str(self.root)) from None  # fmt: skip

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other sweeps out of the folder for the length of a block; a killed one leaves no lock behind.

        Raises:
            InputError: another sweep is at work in it.
        """
        try:
            stream = (self.root / LOCK_FILE).open("wb")
        except OSError as error:
            raise InputError(f"the lock of the sweep cannot be opened ({error.strerror})", key="--out",
                             value=str(self.root)) from None  # fmt: skip
        with stream:
            if not _locked(stream):
                raise InputError("another sweep is at work in this folder", key="--out", value=str(self.root))
            yield

    def clear_parts(self) -> None:
        """Remove what interrupted sweeps left; only for the sweep that has the lock."""
        for left in self.runs.glob(f".{RUN_PREFIX}*"):
            _remove(left)
        for left in (*self.root.glob(".*"), *(self.root / FIGURES_FOLDER).glob(".*")):
            if _LEFT.fullmatch(left.name):
                _remove(left)

    def discard(self, folder: Path) -> None:
        """Remove a run, or what an attempt left; a run loses its name first, so that no half of it is ever seen."""
        if not folder.name.startswith("."):
            aside = self.runs / f".{folder.name}.{secrets.token_hex(4)}.old"
            with suppress(OSError):
                os.rename(folder, aside)
                folder = aside
        _remove(folder)

    def read(self, key: str, *, thorough: bool = False) -> RunNote | None:
        """What a complete run says of itself; None if there is none of this key.

        Args:
            thorough: whether the content of its files is compared with what was written, not their sizes alone.

        Raises:
            Damage: it is there, and is not what it says.
        """
        folder = self.folder(key)
        return _read(folder, key, thorough=thorough) if os.path.lexists(folder) else None

    def note(self, key: str) -> RunNote | None:
        """What a run says of itself; None if it is not complete, or damaged."""
        with suppress(Damage):
            return self.read(key)
        return None

    def survey(self, keys: Iterable[str], *, thorough: bool = False) -> Survey:
        """See what there is of runs; ``thorough`` as in :meth:`read`."""
        notes: dict[str, RunNote] = {}
        damaged: dict[str, str] = {}
        strange: list[str] = []
        for key in keys:
            try:
                note = self.read(key, thorough=thorough)
            except Damage as damage:
                damaged[key] = str(damage)
                continue
            if note is not None:
                notes[key] = note
                if thorough:
                    known = {NOTE_FILE, *note.files}
                    strange += [f"{RUNS_FOLDER}/{RUN_PREFIX}{key}/{name}" for name in os.listdir(self.folder(key))
                                if name not in known]  # fmt: skip
        if thorough and self.runs.is_dir():
            strange += [f"{RUNS_FOLDER}/{n}" for n in os.listdir(self.runs) if not n.startswith((RUN_PREFIX, "."))]
        return Survey(notes, damaged, tuple(sorted(strange)))

    def complete(self, part: Path, note: RunNote) -> None:
        """Write the note of a run, with the size and hash of its files: its last file.

        Raises:
            OSError: the store cannot be written.
        """
        (part / UNDERWAY_FILE).unlink(missing_ok=True)  # a worker that died may have left it
        files = entries_of(part, [p.name for p in part.iterdir() if p.name != NOTE_FILE])
        (part / NOTE_FILE).write_bytes(replace(note, files=files).to_json())

    def publish(self, part: Path, key: str) -> None:
        """Have a run that has its note on the disk, then put it in place.

        Raises:
            OSError: the store cannot be written; the part is then left to its caller.
        """
        flush_tree(part)
        if os.path.lexists(self.folder(key)):
            self.discard(self.folder(key))
        os.rename(part, self.folder(key))

    def adopt(self, key: str, attempt: int) -> RunNote | None:
        """Put in place what a worker that died had completed but not published; None if it had not.

        Raises:
            OSError: the store cannot be written.
        """
        part = self.part(key, attempt)
        try:
            note = _read(part, key, thorough=True)
        except Damage:
            return None
        self.publish(part, key)
        return note

    def flush(self) -> None:
        """Have the names of published runs on the disk.

        Raises:
            OSError: they cannot be written.
        """
        flush_folder(self.runs)

    def failure(self, reason: str) -> StoreFailure:
        """Why the store cannot be written, as an error."""
        if not self.runs.is_dir():
            return StoreFailure(f"the folder of the sweep is gone: {self.root} was moved or deleted under it")
        return StoreFailure(f"the store cannot be written any more: {reason}")

    def write_plan(self, plan: Plan) -> bool:
        """Write ``plan.json``; returns whether it says something else than before.

        Raises:
            StoreFailure: the store cannot be written.
        """
        text = sealed({
            "format": FORMAT,
            "store_version": STORE_VERSION,
            "file": None if plan.file is None else str(plan.file),
            "experiment": plan.experiment.model_dump(mode="json"),
            "runs": [
                {"index": r.index, "run": r.key, "mode": r.mode, "seed": r.seed, "replicate": r.replicate,
                 "factors": dict(r.factors)}
                for r in plan.runs
            ],
        })  # fmt: skip
        return self.write_changed(PLAN_FILE, text)

    def plan(self) -> dict[str, Any]:
        """What ``plan.json`` says.

        Raises:
            Damage: it is missing, or not as it was written.
        """
        return unsealed(PLAN_FILE, content_of(self.root / PLAN_FILE), FORMAT, STORE_VERSION)

    def write_outputs(self, names: Iterable[str]) -> None:
        """Write ``outputs.json``: what files of the analysis and the report are.

        Args:
            names: relative to the sweep's folder.

        Raises:
            StoreFailure: the store cannot be written.
        """
        try:
            files = {name: asdict(entry) for name, entry in entries_of(self.root, names).items()}
        except OSError as error:
            raise self.failure(error.strerror or str(error)) from None
        self.write_bytes(OUTPUTS_FILE, sealed({"format": FORMAT, "store_version": STORE_VERSION, "files": files}))

    def check_outputs(self) -> None:
        """See that what the analysis and the report have written is as it was written.

        Raises:
            Damage: it is not; nothing is wrong with a sweep that has no report yet.
        """
        if not os.path.lexists(self.root / OUTPUTS_FILE) and not os.path.lexists(self.root / REPORT_FILE):
            return
        listed = unsealed(OUTPUTS_FILE, content_of(self.root / OUTPUTS_FILE), FORMAT, STORE_VERSION)
        check_files(self.root, entries_from(OUTPUTS_FILE, listed.get("files")), thorough=True)

    def write_changed(self, name: str, content: bytes) -> bool:
        """Write a file of the sweep unless it says the same already; returns whether it did not.

        Raises:
            StoreFailure: the store cannot be written.
        """
        with suppress(Damage):
            if content_of(self.root / name) == content:
                return False
        self.write_bytes(name, content)
        return True

    def write_text(self, name: str, text: str) -> Path:
        """Write a text at once or not at all; see :meth:`write_bytes`."""
        return self.write_bytes(name, text.encode())

    def write_bytes(self, name: str, content: bytes) -> Path:
        """Write a file of the sweep at once or not at all.

        Raises:
            StoreFailure: the store cannot be written.
        """
        try:
            write_at_once(self.root / name, content)
        except OSError as error:
            raise StoreFailure(f"{name} cannot be written in {self.root} ({error.strerror})") from None
        return self.root / name

    def log(self, text: str) -> None:
        """Add a line to ``sweep.log``; a log that cannot be written is no reason to stop."""
        try:
            with (self.root / SWEEP_LOG).open("a", encoding="utf-8") as stream:
                stream.write(f"{pd.Timestamp.now('UTC').isoformat(timespec='milliseconds')} {text}\n")
        except OSError:
            pass


def _locked(stream: IO[bytes]) -> bool:
    """Take the lock of a sweep; who looks whether it is taken holds it for a moment, so that is waited for."""
    try:
        import fcntl
    except ImportError:  # pragma: no cover - a system without such locks
        return True
    for attempt in range(_LOCK_ATTEMPTS):
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if attempt < _LOCK_ATTEMPTS - 1:
                time.sleep(_LOCK_PAUSE_S)
        else:
            return True
    return False


def write_frame(table: pa.Table, path: Path) -> None:
    """A table of a run as Parquet: same rows, same bytes."""
    pq.write_table(table, path, compression="zstd", version="2.6", write_statistics=False)


def _read(folder: Path, key: str, *, thorough: bool) -> RunNote:
    """The note of a folder of a run that is whole; see :meth:`Store.read`."""
    if folder.is_symlink() or not folder.is_dir():
        raise Damage("not a folder")
    note = RunNote.from_json(content_of(folder / NOTE_FILE))
    if note.key != key:
        raise Damage(f"{NOTE_FILE} is that of run {note.key}")
    check_files(folder, note.files, thorough=thorough)
    return note


def _remove(path: Path) -> None:
    """Remove a file, a link or a folder, as far as that can be done."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
