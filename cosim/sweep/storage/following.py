"""How far a sweep is, from its folder alone, while it is at work or after it was killed; nothing is written."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cosim.files import open_ordinary
from cosim.results.durable import PART, is_held
from cosim.results.underway.reading import told_in
from cosim.sweep.storage.manifest import Damage
from cosim.sweep.storage.note import NOTE_FILE, RunNote
from cosim.sweep.storage.store import LOCK_FILE, PLAN_FILE, RUN_PREFIX, SWEEP_LOG, Store

_BEGUN = re.compile(rf"\.{RUN_PREFIX}(?P<key>r[0-9a-f]{{15}})\.[0-9a-f]+\.(?P<attempt>[0-9]+){re.escape(PART)}")
_DONE = re.compile(rf"{RUN_PREFIX}(?P<key>r[0-9a-f]{{15}})")
_LOG_BYTES, _LOG_LINES = 65_536, 30


@dataclass(frozen=True, slots=True)
class SweepState:
    """How far a sweep is.

    Attributes:
        name: of the experiment. started: UTC, ISO 8601, of the last lines of its log that are kept.
        total, done, failed: numbers of runs of the plan; failed ones are among those that are done.
        alive: whether it is at work; None where that cannot be told.
        planned: runs of the plan by key, as ``plan.json`` has them. reasons: why runs failed, by key.
        begun: which attempt each run is at that is being written, or was when the sweep was killed, and what it does.
        log: the last lines of its log.
        problem: why its plan cannot be read.
    """

    name: str = ""
    started: str = ""
    total: int = 0
    done: int = 0
    failed: int = 0
    alive: bool | None = False
    planned: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    begun: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    log: tuple[str, ...] = ()
    problem: str = ""


@dataclass(slots=True)
class Watch:
    """Looks at sweeps again and again; what is known of a finished run is read once."""

    _plans: dict[Path, tuple[int, str, dict[str, Any]]] = field(default_factory=dict)
    _runs: dict[Path, dict[str, tuple[int, str | None]]] = field(default_factory=dict)

    def state(self, root: Path) -> SweepState:
        """How far the sweep in a folder is."""
        try:
            name, planned = self._plan(root)
        except Damage as damage:
            return SweepState(problem=str(damage))
        except (OSError, TypeError, KeyError, ValueError):
            return SweepState(problem=f"{PLAN_FILE} is not the plan of a sweep")
        runs = Store(root).runs
        names = os.listdir(runs) if runs.is_dir() else []
        done = {key: why for key, why in self._ended(runs, names).items() if key in planned}
        reasons = {key: why for key, why in done.items() if why}
        parts = {m["key"]: m for m in map(_BEGUN.fullmatch, names) if m is not None}
        begun = {key: (int(m["attempt"]), _doing(runs / m.string)) for key, m in parts.items()
                 if key in planned and key not in done}  # fmt: skip
        log = _log(root / SWEEP_LOG)
        started = next((line.split(" ")[0] for line in reversed(log) if " plan: " in line), log[0][:24] if log else "")
        return SweepState(name, started, len(planned), len(done), len(reasons), is_held(root / LOCK_FILE), planned,
                          reasons, begun, tuple(log[-_LOG_LINES:]))  # fmt: skip

    def _plan(self, root: Path) -> tuple[str, dict[str, Any]]:
        """Name of the experiment, and its runs by key."""
        changed = os.lstat(root / PLAN_FILE).st_mtime_ns
        known = self._plans.get(root)
        if known is None or known[0] != changed:
            with open_ordinary(root / PLAN_FILE):
                data = Store(root).plan()
            planned = {str(run["run"]): dict(run) for run in data["runs"]}
            known = self._plans[root] = (changed, str(data["experiment"]["name"]), planned)
        return known[1], known[2]

    def _ended(self, runs: Path, names: list[str]) -> dict[str, str]:
        """Why runs failed, by key; an empty text for those that ended well."""
        known = self._runs.setdefault(runs, {})
        found: dict[str, str] = {}
        for name in names:
            match = _DONE.fullmatch(name)
            if match is None:
                continue
            key, note = match["key"], runs / name / NOTE_FILE
            with suppress(OSError, Damage):
                changed = os.lstat(note).st_mtime_ns
                if known.get(key, (None, None))[0] != changed:
                    known[key] = changed, _reason(note)
                why = known[key][1]
                if why is not None:
                    found[key] = why
        return found


def _doing(part: Path) -> str:
    """What a run is doing, as far as it tells."""
    try:
        now = told_in(part)[-1]
    except (OSError, IndexError):
        return ""
    done, total = now.get("done"), now.get("total")
    share = f"{100 * done / total:.0f} %, " if isinstance(done, int) and isinstance(total, int) and total else ""
    return f"{share}{now.get('doing', 'starting')}"


def _reason(path: Path) -> str | None:
    """Why a run failed; an empty text if it did not, None if its note cannot be read."""
    try:
        with open_ordinary(path) as stream:
            note = RunNote.from_json(stream.read())
    except (OSError, Damage):
        return None
    return ": ".join(note.error) if note.error is not None else "" if note.status == "ok" else "failed"


def _log(path: Path) -> list[str]:
    """The last lines of a log."""
    try:
        with open_ordinary(path) as stream:
            size = os.fstat(stream.fileno()).st_size
            stream.seek(max(0, size - _LOG_BYTES))
            lines = stream.read(_LOG_BYTES).decode(errors="replace").splitlines()
    except OSError:
        return []
    return lines[1:] if size > _LOG_BYTES else lines  # the first is cut off
