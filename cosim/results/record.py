"""The record of a run: what was run, with what, how it ended. Wall times stand here and in no table."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from cosim.constants import HOUR_S
from cosim.errors import InputError
from cosim.grid.feeder.limits import VoltageLimits as VoltageLimits
from cosim.installed import installed

T = TypeVar("T")
FORMAT = "cosim-run"
SCHEMA_VERSION = 1
RECORD_FILE = "record.json"
_PACKAGES = (
    "cosim-grid", "numpy", "pandas", "pyarrow", "mesa", "simpy", "pyomo", "OpenDSSDirect.py",
    "piqp", "daqp", "highspy", "pyscipopt", "gurobipy",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kpi:
    """A key figure: value (None where it does not apply) and unit."""

    value: float | int | None
    unit: str


@dataclass(frozen=True, slots=True)
class ErrorNote:
    """Why a run failed: kind of error and its message."""

    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Record:
    """The content of ``record.json``.

    Attributes:
        run_id: the same for the same scenario, mode, seed and version of cosim; see :func:`run_id`.
        solver: the solvers that did the work, in words.
        step_s: length of a market step in seconds.
        limits: voltage limits that violations were counted against, in a run with one feeder.
        feeder_limits: the same by feeder, in a run with several.
        wall_times_s: seconds by stage.
        started: UTC time at which the run began, ISO 8601.
        notes: plain sentences on what a reader should know: slack used, limits violated, fall-backs.
        certificate: proof of a centralized solution, as the solver layer states it.
    """

    run_id: str
    scenario: str
    mode: str
    market: str
    seed: int
    status: Literal["ok", "failed"] = "ok"
    step_s: int = 3600
    limits: VoltageLimits | None = None
    solver: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    started: str = ""
    wall_times_s: dict[str, float] = field(default_factory=dict)
    kpis: dict[str, Kpi] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    certificate: dict[str, Any] | None = None
    error: ErrorNote | None = None
    feeder_limits: dict[str, VoltageLimits] = field(default_factory=dict)

    @property
    def voltage_limits(self) -> VoltageLimits | dict[str, VoltageLimits]:
        """Of the only feeder, or by feeder; those of a record that says nothing are 0.95 and 1.05 pu."""
        return self.feeder_limits or self.limits or VoltageLimits(0.95, 1.05)

    def to_json(self) -> str:
        """JSON text; numbers that are not finite become null."""
        data = {"format": FORMAT, "schema_version": SCHEMA_VERSION, **asdict(self)}
        if not self.feeder_limits:
            del data["feeder_limits"]
        for own in (data["limits"], *data.get("feeder_limits", {}).values()):
            if own is not None and not own["buses"]:
                del own["buses"]
        return json.dumps(_plain(data), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, file: Path | None = None) -> Record:
        """Record from JSON text.

        Raises:
            InputError: not a record, or one of another schema version.
        """
        try:
            data = json.loads(text)
        except ValueError as error:
            raise InputError(f"not readable as JSON ({error})", file=file) from None
        if not isinstance(data, dict) or data.pop("format", None) != FORMAT:
            raise InputError("not the record of a run", file=file, key="format", allowed=FORMAT)
        version = data.pop("schema_version", None)
        if version != SCHEMA_VERSION:
            raise InputError("a record of another schema version", file=file, key="schema_version",
                             value=version, allowed=str(SCHEMA_VERSION))  # fmt: skip
        try:
            return cls._from_data(data)
        except (TypeError, KeyError, AttributeError) as error:
            raise InputError(f"the record is incomplete ({error})", file=file,
                             allowed=", ".join(f.name for f in fields(cls))) from None  # fmt: skip

    @classmethod
    def _from_data(cls, data: dict[str, Any]) -> Record:
        data["kpis"] = {name: Kpi(k["value"], k["unit"]) for name, k in data["kpis"].items()}
        data["notes"] = tuple(data["notes"])
        data["limits"] = None if data["limits"] is None else _limits(data["limits"])
        data["feeder_limits"] = {name: _limits(own) for name, own in data.get("feeder_limits", {}).items()}
        data["error"] = None if data["error"] is None else ErrorNote(**data["error"])
        return cls(**data)

    @property
    def step_hours(self) -> float:
        """Length of a market step, h."""
        return self.step_s / HOUR_S

    def write(self, folder: Path) -> None:
        """Write ``record.json`` into a folder."""
        (folder / RECORD_FILE).write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Record:
        """Record of a run folder; see :meth:`from_json` for errors, and a missing file is one too."""
        return cls.from_json(record_text(folder, "run"), folder / RECORD_FILE)


def record_text(folder: Path, what: str) -> str:
    """The text of the record in a folder.

    Args:
        what: the folder should hold, for the message.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    path = folder / RECORD_FILE
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"no {what} in this folder: it has no record", file=path) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the record cannot be read ({error})", file=path) from None


def write_study_record(record: Any, folder: Path, of: str, version: int) -> None:
    """Write the record of a study, a dataclass, as ``record.json`` into a folder.

    Args:
        of: the format that it says. version: of the format.
    """
    data = {"format": of, "schema_version": version, **asdict(record)}
    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / RECORD_FILE).write_text(text + "\n", encoding="utf-8")


def read_study_record(kind: type[T], folder: Path, of: str, version: int, what: str, lists: Sequence[str]) -> T:
    """The record of a study in a folder.

    Args:
        kind: its class. of, version: format that it must say. what: it is the record of, for messages.
        lists: fields that hold several values.

    Raises:
        InputError: it cannot be read, is of something else, or of another version.
    """
    path, data = folder / RECORD_FILE, _study_data(folder)
    if data.pop("format", None) != of or data.pop("schema_version", None) != version:
        raise InputError(f"not the record of {what} of this version", file=path, key="format",
                         allowed=f"{of}, schema_version {version}")  # fmt: skip
    try:
        return kind(**{**data, **{name: tuple(data[name]) for name in lists}})
    except (TypeError, KeyError) as error:
        names = ", ".join(f.name for f in fields(kind))  # type: ignore[arg-type]
        raise InputError(f"the record is incomplete ({error})", file=path, allowed=names) from None


def is_study(folder: Path, of: str) -> bool:
    """Whether a folder holds the results of a study of this format."""
    try:
        return _study_data(folder).get("format") == of
    except InputError:
        return False


def _study_data(folder: Path) -> dict[str, Any]:
    try:
        data = json.loads(record_text(folder, "results"))
    except ValueError as error:
        raise InputError(f"the record cannot be read ({error})", file=folder / RECORD_FILE) from None
    return data if isinstance(data, dict) else {}


def _limits(data: Mapping[str, Any]) -> VoltageLimits:
    buses = {bus: (float(low), float(high)) for bus, (low, high) in data.get("buses", {}).items()}
    return VoltageLimits(data["v_min_pu"], data["v_max_pu"], buses)


def _plain(value: Any) -> Any:
    """Value as JSON knows it: numpy scalars and arrays become Python's, NaN and infinities None."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(v) for v in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)


def run_id(scenario_text: str, mode: str, seed: int) -> str:
    """``MODE-SEED-HASH``: a hash of the scenario's text, mode, seed and cosim's version, so it repeats."""
    parts = "\0".join((scenario_text, mode, str(seed), versions()["cosim-grid"]))
    return f"{mode}-{seed}-{hashlib.sha256(parts.encode()).hexdigest()[:12]}"


def versions() -> dict[str, str]:
    """Versions of Python, cosim and what results rest on; what is not installed is left out."""
    found = {"python": platform.python_version(), **installed(_PACKAGES)}
    found.setdefault("cosim-grid", "unknown")
    return found


def utc_now() -> str:
    """Present time in UTC, ISO 8601, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")
