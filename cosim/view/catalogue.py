"""What results lie below a folder: found whenever it is asked for, and read again only where something changed."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Container, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, Literal

from cosim.errors import InputError
from cosim.hosting.study.result import FORMAT as HOSTING
from cosim.hosting.study.result import HostingRecord
from cosim.results.comparison import read_comparison
from cosim.results.folders import COMPARISON_FILE
from cosim.results.kpis import shown
from cosim.results.record import RECORD_FILE, Record, is_study
from cosim.results.underway.reading import Following, underway_in
from cosim.sweep.evaluation.result import FORMAT as EVALUATION
from cosim.sweep.evaluation.result import EvaluationRecord
from cosim.sweep.storage.following import SweepState, Watch
from cosim.sweep.storage.store import PLAN_FILE, RUNS_FOLDER
from cosim.view.inside import Inside

Kind = Literal["run", "comparison", "sweep", "hosting", "evaluation"]
State = Literal["ok", "failed", "under way", "killed", "incomplete", "unreadable"]
_MOST_FOLDERS, _DEEPEST, _MOST_FOUND = 20_000, 8, 5_000
_MOST_RECORD_BYTES = 50_000_000
_FIGURES = ("social_cost_usd", "ac_v_min_pu", "violations_ac")


@dataclass(frozen=True, slots=True)
class Entry:
    """Something in the list.

    Attributes:
        address: of its folder, relative to the folder that is shown. kind, state: what it is and how it stands.
        name: of the scenario or experiment. about: mode, modes, or how much is done.
        when: UTC, ISO 8601; when it was started.
        figures: social cost, lowest voltage, limits broken, as (text, number); of a run.
        reason: why it failed, or cannot be read.
    """

    address: str
    kind: Kind
    state: State
    name: str = ""
    about: str = ""
    when: str = ""
    figures: tuple[tuple[str, float | None], ...] = ()
    reason: str = ""


@dataclass(slots=True)
class Catalogue:
    """Finds results below a folder.

    Attributes:
        cut: what was left out in the last search, in a sentence.
    """

    inside: Inside
    watch: Watch = field(default_factory=Watch)
    cut: str = ""
    _known: dict[tuple[Any, ...], Entry] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def entries(self) -> list[Entry]:
        """All results, what is under way first, then the latest."""
        with self._lock:
            return self._entries()

    def _entries(self) -> list[Entry]:
        self.cut = ""
        used: dict[tuple[Any, ...], Entry] = {}
        found = list(self._below(self.inside.root, used))
        self._known = used
        if len(found) > _MOST_FOUND:
            self.cut = f"The first {_MOST_FOUND:,} of {len(found):,} results are listed."
        found.sort(key=lambda e: e.address)
        found.sort(key=lambda e: e.when, reverse=True)
        found.sort(key=lambda e: e.state != "under way")
        return found[:_MOST_FOUND]

    def _below(self, top: Path, used: dict[tuple[Any, ...], Entry]) -> Iterator[Entry]:
        waiting, count = [(top, 0)], 0
        while waiting:
            folder, depth = waiting.pop()
            count += 1
            if count > _MOST_FOLDERS:
                self.cut = f"There are more than {_MOST_FOLDERS:,} folders; not all were looked into."
                return
            try:
                names = {e.name: e for e in os.scandir(folder) if _text(e.name)}
                hidden = underway_in(folder)
            except OSError:
                continue
            yield from (self._under_way(f) for f in hidden if f.alive or f.place.name not in names)
            holds = _holds(folder, names)
            if holds:
                yield self._entry(holds, folder, used)
            if holds in ("", "comparison") and depth < _DEEPEST:
                waiting += [(Path(e.path), depth + 1) for e in names.values()
                            if not e.name.startswith(".") and e.is_dir(follow_symlinks=False)]  # fmt: skip

    def _entry(self, holds: str, folder: Path, used: dict[tuple[Any, ...], Entry]) -> Entry:
        address = self.inside.address(folder)
        if holds == "sweep":
            return _of_sweep(address, self.watch.state(folder))
        mark = (address, *_mark(folder / (COMPARISON_FILE if holds == "comparison" else RECORD_FILE)))
        if mark not in self._known:
            kind = kind_of(folder) or "run"
            try:
                self._known[mark] = _READERS[kind](address, folder)
            except (InputError, OSError, ValueError) as error:
                reason = error.message if isinstance(error, InputError) else str(error)
                self._known[mark] = Entry(address, kind, "unreadable", reason=reason)
        used[mark] = self._known[mark]
        return used[mark]

    def _under_way(self, found: Following) -> Entry:
        kind: Kind = found.kind if found.kind in ("comparison", "hosting", "evaluation") else "run"  # type: ignore[assignment]
        done, total = found.now("done"), found.now("total")
        share = f"{100 * done / total:.0f} %, " if done is not None and total else ""
        which = found.head.get("mode") or ", ".join(map(str, found.head.get("modes") or ()))
        about = f"{which}: {share}{found.doing}" if which else f"{share}{found.doing}"
        return Entry(self.inside.address(found.place), kind, "killed" if found.alive is False else "under way",
                     str(found.head.get("name", "")), about, str(found.head.get("started", "")))  # fmt: skip


def utc(when: str) -> str:
    """A time of ISO 8601 for a reader: to the second."""
    return when[:19].replace("T", " ")


def kind_of(folder: Path) -> Kind | None:
    """What a folder holds; None if nothing of cosim.

    Raises:
        OSError: it is no folder, or cannot be read.
    """
    holds = _holds(folder, set(os.listdir(folder)))
    if holds == "sweep" or holds == "comparison":
        return "sweep" if holds == "sweep" else "comparison"
    if not holds:
        return None
    return "hosting" if is_study(folder, HOSTING) else "evaluation" if is_study(folder, EVALUATION) else "run"


def _holds(folder: Path, names: Container[str]) -> str:
    """``sweep``, ``comparison``, ``record`` or nothing, by the names of the files of a folder."""
    if PLAN_FILE in names and RUNS_FOLDER in names:
        return "sweep"
    if COMPARISON_FILE in names:
        return "comparison"
    return "record" if RECORD_FILE in names and _ordinary(folder / RECORD_FILE) else ""


def _ordinary(path: Path) -> bool:
    """Whether a path is a file, no link, of a size that a record may have."""
    with suppress(OSError):
        found = os.lstat(path)
        return stat.S_ISREG(found.st_mode) and found.st_size <= _MOST_RECORD_BYTES
    return False


def _mark(path: Path) -> tuple[int, ...]:
    """What changes when a file is written anew."""
    with suppress(OSError):
        found = os.stat(path)
        return found.st_mtime_ns, found.st_size, found.st_ino
    return ()


def _text(name: str) -> bool:
    """Whether a name is text in UTF-8, without control characters."""
    return name.isprintable()


def _of_run(address: str, folder: Path) -> Entry:
    record = Record.read(folder)
    values = {name: record.kpis[name].value for name in _FIGURES if name in record.kpis}
    figures = tuple((shown(n, values[n]) if n in values else "", values.get(n)) for n in _FIGURES)
    reason = "" if record.error is None else f"{record.error.kind}: {record.error.message}"
    return Entry(address, "run", record.status, record.scenario, record.mode, record.started, figures, reason)


def _of_comparison(address: str, folder: Path) -> Entry:
    if not _ordinary(folder / COMPARISON_FILE):
        raise InputError("the table of the comparison is no ordinary file")
    records = read_comparison(folder)
    first = next(iter(records.values()))
    failed = [f"{mode} failed" for mode, record in records.items() if record.status != "ok"]
    return Entry(address, "comparison", "failed" if failed else "ok", first.scenario, ", ".join(records),
                 first.started, reason=", ".join(failed))  # fmt: skip


def _of_hosting(address: str, folder: Path) -> Entry:
    record = HostingRecord.read(folder)
    return Entry(address, "hosting", "ok", record.name, "hosting capacity", record.started)


def _of_evaluation(address: str, folder: Path) -> Entry:
    record = EvaluationRecord.read(folder)
    return Entry(address, "evaluation", "ok", record.name, record.run, record.started)


def _of_sweep(address: str, state: SweepState) -> Entry:
    if state.problem:
        return Entry(address, "sweep", "unreadable", reason=state.problem)
    counted = f"{state.done} of {state.total} runs done" + (f", {state.failed} failed" if state.failed else "")
    over = "failed" if state.failed else "ok"
    how: State = "under way" if state.alive else "incomplete" if state.done < state.total else over  # type: ignore[assignment]
    return Entry(address, "sweep", how, state.name, counted, state.started)


_READERS: dict[str, Callable[[str, Path], Entry]] = {
    "run": _of_run, "comparison": _of_comparison, "hosting": _of_hosting, "evaluation": _of_evaluation,
}  # fmt: skip
