"""What a run leaves of itself: its status, its key figures, and what its files must be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from cosim.sweep.digest import STORE_VERSION
from cosim.sweep.storage.manifest import Damage, FileEntry, sealed, unsealed

FORMAT = "cosim-sweep"
NOTE_FILE = "run.json"
Status = Literal["ok", "failed"]


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
        files: size and hash of each file of the run besides ``run.json``.
    """

    key: str
    status: Status
    kpis: Mapping[str, bool | int | float | str | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    timing: Mapping[str, Any] = field(default_factory=dict)
    error: tuple[str, str] | None = None
    attempts: int = 1
    scenario: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, FileEntry] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """JSON text that carries its own hash."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        files = {name: asdict(entry) for name, entry in self.files.items()}
        return sealed({"format": FORMAT, "store_version": STORE_VERSION, **own, "files": files})

    @classmethod
    def from_json(cls, text: bytes) -> RunNote:
        """Note from JSON text.

        Raises:
            Damage: it is none, or not as it was written.
        """
        try:
            note = _notes_from().validate_python(unsealed(NOTE_FILE, text, FORMAT, STORE_VERSION))
        except ValidationError as error:
            raise Damage(f"{NOTE_FILE} is not the note of a run ({error.errors()[0]['msg']})") from None
        missing = sorted({table_file(name) for name in note.tables} - set(note.files))
        if missing:
            raise Damage(f"{NOTE_FILE} does not say what {missing[0]} must be")
        return note


@cache
def _notes_from() -> TypeAdapter[RunNote]:
    return TypeAdapter(RunNote)


def table_file(name: str) -> str:
    """Name of the file of a table."""
    return f"{name}.parquet"


def entries_from(name: str, data: Any) -> dict[str, FileEntry]:
    """File entries from what a JSON file of the sweep says.

    Args:
        name: of the file, for the message.

    Raises:
        Damage: they are none.
    """
    try:
        return TypeAdapter(dict[str, FileEntry]).validate_python(data)
    except ValidationError as error:
        raise Damage(f"{name} is not as it was written ({error.errors()[0]['msg']})") from None
