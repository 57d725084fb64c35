"""Running again what a folder of results was made from, and comparing the tables byte for byte."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cosim.errors import InputError, RunFailure
from cosim.results.accounts.totals import read_baseline
from cosim.results.comparison import read_comparison
from cosim.results.folders import COMPARISON_FILE
from cosim.results.record import Record
from cosim.results.tables import Layout, Tables, read_table
from cosim.scenario.inputs.manifest import (
    INPUTS_FOLDER,
    SCENARIO_COPY,
    Manifest,
    check_inputs,
    check_named,
    different,
    read_manifest,
)
from cosim.scenario.inputs.named import named_inputs
from cosim.scenario.loading import files_read, load_scenario
from cosim.scenario.preparation import prepare
from cosim.simulation.runner import compare_ready, run
from cosim.simulation.simulation import Simulation
from cosim.simulation.variants import variants_of

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, eq=False)
class Rerun:
    """A run, comparison or sweep that was done again.

    Attributes:
        result: what was run now (:class:`RunResult`, :class:`Comparison` or :class:`Sweep`); None if the run failed.
        compared: what was compared, by name: tables (``steps``, ``welfare/steps``, ``run 3/steps``), failures.
        differing: of those, what is not the same, each with a sentence on how.
        surroundings: what else is different from when it was run: versions of packages, machine, cosim's own code.
    """

    result: Any
    compared: tuple[str, ...]
    differing: Mapping[str, str]
    surroundings: tuple[str, ...]

    @property
    def identical(self) -> bool:
        """Whether everything that was compared is the same byte for byte."""
        return not self.differing


def rerun_run(
    folder: Path, out: str | Path, force: bool = False, progress: Progress | None = None, figures: bool = True
) -> Rerun:
    """Run again what a run's folder was made from; arguments as in :func:`cosim.simulation.runner.run`.

    Raises:
        InputError: the folder is no run's, or its inputs are not there as they were.
        RunFailure: it failed, and did not then.
    """
    before = Record.read(folder)
    path, changes = scenario_kept(folder)
    try:
        result = run(path, out=out, force=force, progress=progress, figures=figures)
    except RunFailure as error:
        if before.status == "ok":
            raise
        now = Record.read(Path(out))
        return Rerun(None, ("failure",), _failures("failure", _failure(before), _failure(now) or str(error)), changes)
    if before.status != "ok":
        return Rerun(result, ("failure",), _failures("failure", _failure(before), ""), changes)
    return Rerun(result, *_compared(folder, Path(out)), changes)


def rerun_comparison(
    folder: Path, out: str | Path, force: bool = False, progress: Progress | None = None, figures: bool = True
) -> Rerun:
    """Run again what a comparison's folder was made from; see :func:`rerun_run`."""
    records = read_comparison(folder)
    if not records:
        raise InputError("the comparison has no modes", file=folder)
    variants_of({mode: record.mode for mode, record in records.items()}, COMPARISON_FILE)  # names that stay in folders
    kept = {mode: scenario_kept(folder / mode) for mode in records}  # each mode may have settings of its own
    changes = tuple(dict.fromkeys(change for _, told in kept.values() for change in told))
    ready = {mode: Simulation(prepare(*load_scenario(path))) for mode, (path, _) in kept.items()}
    kinds = {mode: record.mode for mode, record in records.items()}
    result = compare_ready(ready, kinds, out, force, progress, figures, read_baseline(folder))
    compared: list[str] = []
    differing: dict[str, str] = {}
    for mode, record in records.items():
        if record.status == "ok" and mode in result.runs:
            names, wrong = _compared(folder / mode, Path(out) / mode, f"{mode}/")
            compared += names
        else:
            wrong = _failures(f"{mode}/failure", _failure(record), result.failures.get(mode, ""))
            compared.append(f"{mode}/failure")
        differing |= wrong
    return Rerun(result, tuple(compared), differing, changes)


def scenario_kept(folder: Path) -> tuple[Path, tuple[str, ...]]:
    """The scenario among the inputs of a folder, all of them checked, and what is different now.

    Raises:
        InputError: an input is missing, changed or outside of the folder.
    """
    manifest, changes = checked_inputs(folder)
    path = folder.resolve() / INPUTS_FOLDER / SCENARIO_COPY
    scenario, path = load_scenario(path)
    if len(files_read(path)) > 1:
        raise InputError("the scenario among the inputs has a base", file=path, key="base", allowed="no base")
    check_named(named_inputs(scenario.model_dump(mode="json")), manifest, path)
    return path, changes


def checked_inputs(folder: Path) -> tuple[Manifest, tuple[str, ...]]:
    """The inputs of a folder, seen to be as they were, and what is different now; see :func:`scenario_kept`."""
    manifest = read_manifest(folder)
    changed = check_inputs(folder, manifest)
    return manifest, (*changed, *different(manifest))


def _failure(record: Record) -> str:
    return "" if record.error is None else record.error.message


def _failures(name: str, then: str, now: str) -> dict[str, str]:
    """How two failures differ; an empty one is none."""
    if then == now:
        return {}
    return {name: f"then {then or 'it did not fail'}; now {now or 'it does not fail'}"}


def _compared(before: Path, after: Path, prefix: str = "") -> tuple[tuple[str, ...], dict[str, str]]:
    """The tables of two folders of runs: names, and how those differ that are not the same byte for byte."""
    names, differing = [], {}
    for name in (*Tables.names(), *Layout.names()):
        then, now = (_bytes(folder / f"{name}.parquet") for folder in (before, after))
        if then is None and now is None:
            continue
        names.append(f"{prefix}{name}")
        if then != now:
            differing[f"{prefix}{name}"] = _how(name, before, after)
    return tuple(names), differing


def _bytes(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None


def _how(name: str, before: Path, after: Path) -> str:
    """How two tables differ, in words."""
    try:
        then, now = (read_table(name, folder / f"{name}.parquet") for folder in (before, after))
    except InputError as error:
        return error.message
    if list(then) != list(now) or len(then) != len(now):
        return f"{len(then)} rows and {len(then.columns)} columns then, {len(now)} and {len(now.columns)} now"
    parts = []
    for column in then:
        one, other = then[column].to_numpy(), now[column].to_numpy()
        if one.dtype.kind == "f":
            apart = np.nan_to_num(np.abs(one - other), nan=0.0)
            if apart.size and (apart.max() > 0 or (np.isnan(one) != np.isnan(other)).any()):
                parts.append(f"{column} by up to {apart.max():.3g}")
        elif not then[column].equals(now[column]):
            parts.append(str(column))
    return ", ".join(parts) or "the same values in other bytes"


def surroundings_in_words(changes: Sequence[str], most: int = 20) -> list[str]:
    """What is different from when it was run, the first of it."""
    return [*changes[:most], *([f"... and {len(changes) - most} more"] if len(changes) > most else [])]
