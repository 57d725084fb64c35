"""A sweep as pandas frames: the table of its runs, and the long tables of all of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cosim.errors import InputError
from cosim.results.kpis import MEASURES
from cosim.sweep.digest import STORE_VERSION
from cosim.sweep.experiment import Experiment
from cosim.sweep.plan import shown
from cosim.sweep.store import FORMAT, LOG_FILE, PLAN_FILE, RunNote, Store

TIMES = ("wall_s", "solver_s")
_PENDING = "pending"


class Sweep:
    """A sweep that has been read, complete or not.

    Args:
        root: its folder. experiment: what was asked for. planned: its runs, as ``plan.json`` has them.
        notes: what complete runs say of themselves, by key.

    Attributes:
        runs: one row per planned run, in order: ``run`` (its key), ``mode``, ``replicate``, ``seed``, factors,
            ``status`` (``ok``, ``failed``, ``pending``), ``error``, key figures with their units in their names.
        times: one row per complete run, by key: seconds, attempts, when it started.
        factors: names of the factors.
    """

    def __init__(
        self, root: Path, experiment: Experiment, planned: Sequence[Mapping[str, Any]], notes: Mapping[str, RunNote]
    ) -> None:
        self.root, self.experiment = root, experiment
        self.factors = list(experiment.factors)
        self._notes = dict(notes)
        self.runs = _runs_table(planned, self._notes, self.factors)
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
        parts = [_parquet(store.folder(key) / f"{name}.parquet") for key in keys]
        long = pa.concat_tables(parts, promote_options="default").to_pandas()
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


def _parquet(path: Path) -> pa.Table:
    """One file; many small ones are read faster one by one than as a dataset."""
    try:
        return pq.ParquetFile(path, pre_buffer=False).read(use_threads=False)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"a table of a run cannot be read ({str(error).splitlines()[0]})", file=path) from None


def read_sweep(folder: str | Path, notes: Mapping[str, RunNote] | None = None) -> Sweep:
    """Read a sweep's folder, complete or not.

    Args:
        notes: what its runs say of themselves, if that has been read.

    Raises:
        InputError: there is no sweep in it, or it is of another version.
    """
    store = Store(folder)
    path = store.root / PLAN_FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("no sweep in this folder: it has no plan", file=path) from None
    except (OSError, ValueError) as error:
        raise InputError(f"the plan cannot be read ({error})", file=path) from None
    if not isinstance(data, dict) or data.get("format") != FORMAT or data.get("store_version") != STORE_VERSION:
        raise InputError("not the plan of a sweep, or one of another version", file=path, key="format", allowed=FORMAT)
    keys = dict.fromkeys(run["run"] for run in data["runs"])
    known = {key: note for key in keys if (note := store.note(key)) is not None} if notes is None else notes
    return Sweep(store.root, Experiment.model_validate(data["experiment"]), data["runs"], known)


def _runs_table(
    planned: Sequence[Mapping[str, Any]], notes: Mapping[str, RunNote], factors: Sequence[str]
) -> pd.DataFrame:
    names = _kpi_names(notes)
    rows = []
    for run in planned:
        note = notes.get(run["run"])
        row: dict[str, Any] = {k: run[k] for k in ("index", "run", "mode", "replicate", "seed")}
        row |= {name: shown(run["factors"][name]) for name in factors}
        row["status"] = _PENDING if note is None else note.status
        row["error"] = None if note is None or note.error is None else ": ".join(note.error)
        row |= {name: None if note is None else note.kpis.get(name) for name in names}
        rows.append(row)
    columns = ["index", "run", "mode", "replicate", "seed", *factors, "status", "error", *names]
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
