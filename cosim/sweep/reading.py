"""A sweep as pandas frames: the table of its runs, and the long tables of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, TypeAdapter, ValidationError

from cosim.errors import InputError
from cosim.results.kpis import MEASURES
from cosim.sweep.experiment import Experiment, check_experiment
from cosim.sweep.plan import shown
from cosim.sweep.storage.manifest import Damage, FileEntry, check_content, content_of
from cosim.sweep.storage.note import RunNote, table_file
from cosim.sweep.storage.store import LOG_FILE, PLAN_FILE, Store, Survey

TIMES = ("wall_s", "solver_s")
RUN_COLUMNS = ("index", "run", "mode", "replicate", "seed")
OUTCOME_COLUMNS = ("status", "error")
_PENDING = "pending"


@dataclass(frozen=True, slots=True)
class _PlanRow:
    """A run in ``plan.json``."""

    index: int
    run: Annotated[str, Field(pattern=r"^r[0-9a-f]{15}$")]
    mode: str
    seed: int
    replicate: int | None
    factors: dict[str, Any]


class Sweep:
    """A sweep that has been read, complete or not.

    Args:
        root: its folder. experiment: what was asked for. planned: its runs, as ``plan.json`` has them.
        survey: what the folder has of them.
        repairs: what was found damaged and has been done again, in sentences.

    Attributes:
        runs: one row per planned run, in order: ``run`` (its key), ``mode``, ``replicate``, ``seed``, factors,
            ``status`` (``ok``, ``failed``, ``pending``), ``error``, key figures with their units in their names.
            A run whose files are not what was written is pending, and its error says what is wrong.
        times: one row per complete run, by key: seconds, attempts, when it started.
        factors: names of the factors.
    """

    def __init__(
        self,
        root: Path,
        experiment: Experiment,
        planned: Sequence[_PlanRow],
        survey: Survey,
        repairs: tuple[str, ...] = (),
    ) -> None:
        self.root, self.experiment = root, experiment
        self.factors = list(experiment.factors)
        self.repairs = repairs
        self._notes = dict(survey.notes)
        self.runs = _runs_table(planned, survey, self.factors)
        self.times = _times_table(self._notes)

    @property
    def kpis(self) -> list[str]:
        """Names of the key figures among the columns of ``runs``."""
        return _kpi_names(self._notes)

    @property
    def complete(self) -> bool:
        """Whether every run is done, well or not."""
        return bool((self.runs["status"] != _PENDING).all())

    @property
    def ok(self) -> pd.DataFrame:
        """The rows of ``runs`` that ended well."""
        return self.runs[self.runs["status"] == "ok"]

    def table(self, name: str) -> pd.DataFrame:
        """A long table of all runs that ended well; ``run``, mode, replicate and factors stand before its columns.

        Raises:
            InputError: no run has kept such a table.
        """
        kept = sorted({t for note in self._notes.values() for t in note.tables})
        if name not in kept:
            raise InputError("no such table was kept", key="keep.tables", value=name, allowed=", ".join(kept) or "none")
        store = Store(self.root)
        keys = [k for k in dict.fromkeys(self.ok["run"]) if name in self._notes[k].tables]
        file = table_file(name)
        parts = [_parquet(store.folder(key) / file, self._notes[key].files[file]) for key in keys]
        try:
            long = pa.concat_tables(parts, promote_options="permissive").to_pandas()
        except pa.ArrowException as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f"the runs do not agree on the columns of this table ({reason})",
                file=store.runs, key="table", value=name, allowed="the same type in a column of all runs",
            ) from None  # fmt: skip
        long["run"] = np.repeat(np.array(keys, dtype=object), [part.num_rows for part in parts])
        labels = ["index", "run", "mode", "replicate", *self.factors]
        head = self.ok[[c for c in labels if c not in set(long.columns) - {"run"}]]
        joined = head.merge(long, on="run", how="inner", sort=False)
        return joined.sort_values("index", kind="stable", ignore_index=True)

    def __getattr__(self, name: str) -> pd.DataFrame:
        if name.startswith("_") or "_notes" not in self.__dict__:
            raise AttributeError(name)
        if not any(name in note.tables for note in self._notes.values()):
            raise AttributeError(f"no table {name!r} was kept")
        return self.table(name)

    def __dir__(self) -> list[str]:
        """With the names of the tables that were kept."""
        return sorted({*object.__dir__(self), *(t for note in self._notes.values() for t in note.tables)})

    def scenario(self, run: str) -> dict[str, Any]:
        """The effective scenario of a complete run."""
        return dict(self._notes[run].scenario)

    def notes(self, run: str) -> tuple[str, ...]:
        """What a complete run noted: limits broken, fall-backs."""
        return self._notes[run].notes

    def log(self, run: str) -> str:
        """The log of a complete run.

        Raises:
            InputError: there is none.
        """
        path = Store(self.root).folder(run) / LOG_FILE
        try:
            return path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            raise InputError("no log of such a run", key="run", value=run, file=path) from None


def _parquet(path: Path, entry: FileEntry) -> pa.Table:
    """One file; many small ones are read faster one by one than as a dataset."""
    try:
        content = content_of(path)
        check_content(path.name, content, entry)
        return pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
    except (OSError, pa.ArrowException, Damage) as error:
        raise InputError(
            f"a table of a run cannot be read ({str(error).splitlines()[0]})",
            file=path, allowed="a folder as it was written; cosim sweep ... --resume does such runs again",
        ) from None  # fmt: skip


def read_sweep(folder: str | Path, survey: Survey | None = None, repairs: tuple[str, ...] = ()) -> Sweep:
    """Read a sweep's folder, complete or not.

    Args:
        survey: what it has of its runs, if that is known already.
        repairs: what has been done again because it was damaged.

    Raises:
        InputError: there is no sweep in it, its plan is damaged, or it is of another version.
    """
    store = Store(folder)
    path = store.root / PLAN_FILE
    if not path.exists():
        raise InputError("no sweep in this folder: it has no plan", file=path)
    try:
        data = store.plan()
        planned = TypeAdapter(list[_PlanRow]).validate_python(data.get("runs"))
        given = TypeAdapter(dict[str, Any]).validate_python(data.get("experiment"))
    except (Damage, ValidationError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise InputError(
            f"the plan cannot be used ({reason})",
            file=path, allowed="a plan as it was written; cosim sweep ... --resume writes it again",
        ) from None  # fmt: skip
    experiment = check_experiment(given, path)
    if any(set(run.factors) != set(experiment.factors) for run in planned):
        raise InputError("a run of the plan has other factors than the experiment", file=path, key="runs")
    keys = dict.fromkeys(run.run for run in planned)
    return Sweep(store.root, experiment, planned, store.survey(keys) if survey is None else survey, repairs)


def _runs_table(planned: Sequence[_PlanRow], survey: Survey, factors: Sequence[str]) -> pd.DataFrame:
    names = _kpi_names(survey.notes)
    rows = []
    for run in planned:
        note = survey.notes.get(run.run)
        row: dict[str, Any] = {k: getattr(run, k) for k in RUN_COLUMNS}
        row |= {name: shown(run.factors[name]) for name in factors}
        row["status"] = _PENDING if note is None else note.status
        row["error"] = None if note is None or note.error is None else ": ".join(note.error)
        if run.run in survey.damaged:
            row["error"] = f"damaged: {survey.damaged[run.run]}"
        row |= {name: None if note is None else note.kpis.get(name) for name in names}
        rows.append(row)
    columns = [*RUN_COLUMNS, *factors, *OUTCOME_COLUMNS, *names]
    table = pd.DataFrame(rows, columns=columns)
    table["replicate"] = table["replicate"].astype("Int64")
    for name in names:
        if not any(isinstance(v, str) for v in table[name]):
            table[name] = table[name].astype("float64")
    return table


def _kpi_names(notes: Mapping[str, RunNote]) -> list[str]:
    """Names of all key figures: the framework's in their order, then others by the order of the alphabet."""
    found = {name for note in notes.values() for name in note.kpis}
    known = [name for name in MEASURES if name in found]
    return known + sorted(found - set(known))


def _times_table(notes: Mapping[str, RunNote]) -> pd.DataFrame:
    rows = [
        {"run": key, "attempts": note.attempts, **{t: note.timing.get(t) for t in TIMES},
         "started": note.timing.get("started"), "process": note.timing.get("process")}
        for key, note in notes.items()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["run", "attempts", *TIMES, "started", "process"])
