"""Any folder of results read back, or run again from its inputs: of a run, a comparison or a sweep."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cosim.errors import InputError
from cosim.hosting.study.result import Hosting, is_hosting, read_hosting
from cosim.results.folders import COMPARISON_FILE
from cosim.results.record import RECORD_FILE
from cosim.scenario.inputs.manifest import EXPERIMENT_COPY, INPUTS_FOLDER, SCENARIO_COPY, check_named
from cosim.scenario.inputs.named import named_inputs
from cosim.scenario.loading import files_read
from cosim.simulation.rerun import Rerun, checked_inputs, rerun_comparison, rerun_run
from cosim.simulation.result import Comparison, RunResult, stored_comparison, stored_run
from cosim.sweep.plan import make_plan
from cosim.sweep.reading import Sweep, read_sweep
from cosim.sweep.run import run_sweep
from cosim.sweep.storage.store import PLAN_FILE, Store

Progress = Callable[[int, int, str], None]


def read(folder: str | Path) -> RunResult | Comparison | Sweep | Hosting:
    """What a folder holds, as it was returned when it was made: of :func:`cosim.run`, ``compare``, ``run_sweep`` or
    ``hosting_study``.

    Tables are read when they are asked for.

    Raises:
        InputError: the folder holds none of them, or a run that failed.
    """
    place = Path(folder)
    kind = _kind(place)
    if kind == "sweep":
        return read_sweep(place)
    if kind == "run" and is_hosting(place):
        return read_hosting(place)
    return stored_comparison(place) if kind == "comparison" else stored_run(place)


def rerun(
    folder: str | Path,
    out: str | Path,
    force: bool = False,
    progress: Progress | None = None,
    figures: bool = True,
    workers: int | None = None,
) -> Rerun:
    """Run again what a folder was made from, from its own inputs, and compare the tables byte for byte.

    Modules among the inputs are imported, which runs their code.

    Args:
        folder: of a run, a comparison or a sweep.
        out: where the new results go. force: replace a folder of earlier results (not of a sweep).
        progress: called with (done, in all, what is being done). figures: draw them.
        workers: runs of a sweep at a time.

    Raises:
        InputError: the folder cannot be run again: it has no inputs, or one is missing, changed or outside of it.
        RunFailure: it failed, and did not then.
    """
    place = Path(folder)
    kind = _kind(place)
    if kind == "sweep":
        return _rerun_sweep(place, out, progress, figures, workers)
    again = rerun_comparison if kind == "comparison" else rerun_run
    return again(place, out, force, progress, figures)


def _kind(folder: Path) -> str:
    """What a folder holds.

    Raises:
        InputError: nothing of cosim.
    """
    for kind, file in (("sweep", PLAN_FILE), ("comparison", COMPARISON_FILE), ("run", RECORD_FILE)):
        if (folder / file).is_file():
            return kind
    raise InputError("no results in this folder", file=folder,
                     allowed=f"a folder with {RECORD_FILE}, {COMPARISON_FILE} or {PLAN_FILE}")  # fmt: skip


def _rerun_sweep(
    folder: Path, out: str | Path, progress: Progress | None, figures: bool, workers: int | None
) -> Rerun:
    before = read_sweep(folder)
    manifest, changes = checked_inputs(folder)
    inputs = folder.resolve() / INPUTS_FOLDER
    plan = make_plan(inputs / EXPERIMENT_COPY)
    if plan.scenario_path != inputs / SCENARIO_COPY or len(files_read(plan.scenario_path)) > 1:
        raise InputError("the experiment among the inputs has another scenario", file=inputs / EXPERIMENT_COPY,
                         key="scenario", value=plan.experiment.scenario, allowed=SCENARIO_COPY)  # fmt: skip
    for planned in plan.runs:
        check_named(named_inputs(planned.scenario), manifest, plan.scenario_path)

    def tell(done: int, failed: int, total: int, text: str) -> None:
        if progress is not None:
            progress(done, total, text)

    after = run_sweep(plan, out, workers=workers, progress=tell, figures=figures)
    compared, differing = _runs_compared(before, after)
    return Rerun(after, compared, differing, changes)


def _runs_compared(before: Sweep, after: Sweep) -> tuple[tuple[str, ...], dict[str, str]]:
    """The runs of two sweeps, one by one: status, key figures and tables."""
    if len(before.runs) != len(after.runs):
        return ("runs",), {"runs": f"{len(before.runs)} then, {len(after.runs)} now"}
    stores = Store(before.root), Store(after.root)
    compared, differing = [], {}
    for index, then, now in zip(before.runs["index"], before.runs["run"], after.runs["run"], strict=True):
        notes = stores[0].note(then), stores[1].note(now)
        name = f"run {index}"
        if notes[0] is None:
            continue  # it was not complete then
        compared.append(f"{name}/figures")
        told = [None if n is None else (n.status, n.error, n.kpis) for n in notes]
        if told[0] != told[1]:
            differing[f"{name}/figures"] = "another status, error or key figure"
        for table in notes[0].tables:
            compared.append(f"{name}/{table}")
            files = [None if n is None else n.files.get(f"{table}.parquet") for n in notes]
            if files[0] != files[1]:
                differing[f"{name}/{table}"] = "other bytes"
    return tuple(compared), differing
