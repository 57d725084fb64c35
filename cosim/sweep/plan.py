"""The plan of a sweep: every run with its checked scenario and its key, before anything runs."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cosim.errors import InputError
from cosim.scenario.loading import apply_changes, check_scenario, find_scenario, scenario_data
from cosim.scenario.own_code import code_named_by, imported
from cosim.scenario.schema import Scenario
from cosim.sweep.design import Point, points_of
from cosim.sweep.digest import InputDigests, run_key, surroundings_digest
from cosim.sweep.experiment import Experiment, load_experiment

_STEP_S = {"uncoordinated": 0.2, "decentralized": 0.3, "welfare": 0.2, "centralized": 0.9, "envelope": 1.0}
_START_S = 0.6
"""A rough guess of what a run takes per market step by mode, and before its first one, until runs have been timed."""


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One run of a sweep.

    Attributes:
        index: its place in the plan.
        key: hash of its content; two runs of the same content share one.
        replicate: which of the spawned seeds, from 0; None where the scenario's own seed counts.
        factors: value of each factor by its name.
        code: import paths of a user's own agents, rules and resources that the scenario names.
        scenario: the effective scenario, as data.
    """

    index: int
    key: str
    mode: str
    seed: int
    replicate: int | None
    factors: Mapping[str, Any]
    scenario: Mapping[str, Any]
    code: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """All runs of an experiment.

    Attributes:
        file: the experiment's file. scenario_path: the file of its scenario.
    """

    experiment: Experiment
    file: Path | None
    scenario_path: Path
    runs: tuple[PlannedRun, ...]

    @property
    def keys(self) -> list[str]:
        """Keys of the runs, each once, in order."""
        return list(dict.fromkeys(run.key for run in self.runs))


def make_plan(
    experiment: str | Path | Experiment, changes: Mapping[str, Any] | None = None, *, importing: bool = True
) -> Plan:
    """Everything that an experiment asks for, checked.

    Args:
        experiment: shipped name, path, or an experiment that has been read.
        changes: keys of the scenario, dotted, for all runs; they go before those of the experiment's ``set``.
        importing: whether the measurement, analysis, agents and rules that the experiment and its scenario name are
            imported, to see that they are there; otherwise none of their code is run.

    Raises:
        InputError: whatever in the experiment, or in the scenario of one of its points, cannot be used.
    """
    if isinstance(experiment, Experiment):
        loaded, file = experiment, None
        if changes:
            loaded = Experiment.model_validate({**loaded.model_dump(), "set": {**loaded.set, **changes}})
    else:
        loaded, file = load_experiment(experiment, changes)
    path = find_scenario(loaded.scenario, beside=file, key="scenario")
    for name in ("measure", "analysis"):
        if importing and getattr(loaded, name) is not None:
            imported(getattr(loaded, name), name, file, beside=file or path)
    return Plan(loaded, file, path, tuple(_runs(loaded, file, path, importing)))


def _runs(experiment: Experiment, file: Path | None, path: Path, importing: bool) -> Iterator[PlannedRun]:
    data, digests = pickle.dumps(scenario_data(path)), InputDigests(path)
    surroundings: dict[tuple[str, ...], str] = {}
    own = scenario_data(path).get("mode", "decentralized")
    index = 0
    for point in points_of(experiment, file):
        for mode in experiment.modes or (own,):
            for replicate in range(experiment.replicates or 1):
                seed = None if experiment.replicates is None else _seed(experiment, point, replicate)
                with _naming_point(point, file):
                    scenario = _scenario(data, point, mode, seed, path)
                    dump = scenario.model_dump(mode="json")  # tuples become lists
                    inputs = digests.of(dump)
                modules = tuple(sorted(set(code_named_by(scenario).values())))
                if modules not in surroundings:
                    for module in modules if importing else ():
                        imported(module, "scenario", path, beside=path)
                    surroundings[modules] = surroundings_digest(
                        modules, experiment.measure, experiment.keep.tables, path.parent, (file or path).parent
                    )
                key = run_key(dump, inputs, surroundings[modules])
                number = None if experiment.replicates is None else replicate
                yield PlannedRun(index, key, scenario.mode, scenario.seed, number, point.factors, dump, modules)
                index += 1


def _scenario(data: bytes, point: Point, mode: str, seed: int | None, path: Path) -> Scenario:
    """The checked scenario of one run, from pickled data: a quick way to a copy of its own."""
    changed = pickle.loads(data)
    apply_changes(changed, point.changes, path)
    changed["mode"] = mode
    if seed is not None:
        changed["seed"] = seed
    return check_scenario(changed, path)


@contextmanager
def _naming_point(point: Point, file: Path | None) -> Iterator[None]:
    """Name the point, and the experiment's file, in errors about a scenario that cannot be used."""
    try:
        yield
    except InputError as error:
        at = ", ".join(f"{name} = {shown(value)}" for name, value in point.factors.items())
        where = f" (at {at})" if at else ""
        raise error.changed(message=f"{error.message}{where}", file=file or error.file) from None


def _seed(experiment: Experiment, point: Point, replicate: int) -> int:
    """Seed of a replicate, spawned from the experiment's: it stays when points or replicates are added."""
    spawn: tuple[int, ...] = (replicate,)
    if experiment.seeds == "independent":
        text = json.dumps(dict(point.factors), sort_keys=True, default=str)
        spawn = (replicate, int(hashlib.sha256(text.encode()).hexdigest()[:8], 16))
    return int(np.random.SeedSequence(experiment.seed, spawn_key=spawn).generate_state(1)[0])


def named_code(plan: Plan) -> list[str]:
    """Import paths of what a sweep runs besides cosim: measurement, analysis, agents and rules of a user's own."""
    own = [path for path in (plan.experiment.measure, plan.experiment.analysis) if path is not None]
    return list(dict.fromkeys([*own, *(module for run in plan.runs for module in run.code)]))


def shown(value: Any) -> Any:
    """A factor's value as one cell of a table: text for lists and mappings."""
    return json.dumps(value, sort_keys=True) if isinstance(value, list | tuple | dict) else value


def guessed_s(run: PlannedRun) -> float:
    """A rough guess of how long a run takes, from its steps and mode (seconds)."""
    return _START_S + _STEP_S.get(run.mode, 0.3) * int(run.scenario["clock"]["steps"])


def estimate_s(
    due: Sequence[PlannedRun], done: Sequence[PlannedRun], timed: Mapping[str, float], workers: int
) -> tuple[float, bool]:
    """How long runs will take with so many workers (seconds), and whether that rests on timed runs.

    Args:
        due: runs to be done. done: runs that are done, with their times by key in ``timed``.
    """
    rough = sum(guessed_s(run) for run in due)
    known = [run for run in done if run.key in timed]
    shared = max(1, min(workers, len(due)))
    if not known:
        return rough / shared, not due
    return rough * sum(timed[r.key] for r in known) / sum(guessed_s(r) for r in known) / shared, True
