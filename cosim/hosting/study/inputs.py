"""What a hosting study starts from: a scenario, or a feeder with series of load and sun."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosim.constants import HOUR_S
from cosim.errors import InputError, did_you_mean
from cosim.files import file_digest, is_file, is_folder
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.tables import feeder_folder, read_feeder, shipped_feeders
from cosim.hosting.surroundings import Surroundings, surroundings_at, surroundings_of
from cosim.scenario.loading import files_read, load_scenario, shipped_scenarios, validated
from cosim.scenario.network_limits import limits_of_network
from cosim.scenario.preparation import ReadsSeries, SeriesReader, calendar_of_clock, naming_file, prepare
from cosim.scenario.schema import ClockSpec, NetworkSpec
from cosim.scenario.series.reading import find_table
from cosim.scenario.series.spec import SeriesSpec

Array = NDArray[np.float64]
SeriesLike = SeriesSpec | Mapping[str, Any] | str | float
_YEAR_START = "2023-01-01T00:00:00"


@dataclass(frozen=True, slots=True)
class Clock:
    """Steps of a study; what is None is as the scenario has it, or a single hour of a feeder."""

    start: str | None = None
    steps: int | None = None
    step_s: int | None = None
    year: bool = False

    def changes(self, before: ClockSpec) -> dict[str, Any]:
        """Keys of a clock that are set, for 365 days from 1 January where a year is meant."""
        step_s = self.step_s or before.step_s
        start = self.start
        if self.year and start is None:
            start = f"{before.start[:4]}-01-01T00:00:00"
        steps = self.steps if self.steps is not None else 365 * 24 * HOUR_S // step_s if self.year else None
        found = {"start": start, "step_s": self.step_s, "steps": steps}
        return {key: value for key, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class StudyInputs:
    """What is drawn on a feeder already, on which steps, and where that was read.

    Attributes:
        name: of the study. around: the base case. times: (steps,) local times at which steps begin.
        read: reads further series on the same steps.
        digests: SHA-256 of the files that were read, by name. notes: what was assumed, in sentences.
    """

    name: str
    around: Surroundings
    times: tuple[datetime, ...]
    read: ReadsSeries
    digests: Mapping[str, str]
    notes: tuple[str, ...]


def series_spec(given: SeriesLike, key: str) -> SeriesSpec:
    """A series as a scenario has it, from a number, ``FILE:COLUMN``, or a mapping with its keys.

    Raises:
        InputError: none of these.
    """
    if isinstance(given, SeriesSpec):
        return given
    if isinstance(given, Mapping):
        return validated(SeriesSpec, given, key)
    if isinstance(given, str):
        file, _, column = given.rpartition(":")
        if not file or not column:
            raise InputError("a series names its file and the column in it", key=key, value=given,
                             allowed="FILE:COLUMN, or a number")  # fmt: skip
        return SeriesSpec(file=file, column=column)
    return validated(SeriesSpec, {"constant": given}, key)


def read_inputs(
    source: str | Path,
    clock: Clock,
    *,
    load: SeriesLike | None = None,
    sun: SeriesLike | None = None,
    v_min_pu: float | None = None,
    v_max_pu: float | None = None,
    ratings: bool | None = None,
    overrides: Mapping[str, Any] | None = None,
    as_tables: bool = False,
) -> StudyInputs:
    """Read a scenario, or a feeder.

    Args:
        source: a scenario (shipped by name, or a YAML file), a feeder (shipped by name, or a folder of tables), or an
            OpenDSS script; a shipped name that is both means the scenario.
        load: factor on the feeder's loads, and sun: output of photovoltaic plants as a share of their rating; each
            takes the place of those of a scenario.
        v_min_pu, v_max_pu, ratings: limits; those of the scenario, or 0.95 to 1.05 pu with the feeder's own ratings.
        overrides: changes of a scenario, by dotted key.
        as_tables: import a script as tables, so that devices can be switched.

    Raises:
        InputError: nothing of this name, or what is read cannot be used.
    """
    if _is_scenario(source):
        return _of_scenario(source, clock, load, sun, _limits(v_min_pu, v_max_pu, ratings), overrides or {})
    if overrides:
        raise InputError("changes of keys are for scenarios", key="--set", value=", ".join(overrides),
                         allowed="a scenario, or --load, --sun, --v-min, --v-max for a feeder")  # fmt: skip
    return _of_feeder(source, clock, load, sun, _limits(v_min_pu, v_max_pu, ratings), as_tables)


def _limits(v_min_pu: float | None, v_max_pu: float | None, ratings: bool | None) -> dict[str, Any]:
    found = {"v_min_pu": v_min_pu, "v_max_pu": v_max_pu, "feeder_ratings": ratings}
    return {key: value for key, value in found.items() if value is not None}


def _is_scenario(source: str | Path) -> bool:
    """Whether a source is a scenario, and not a feeder.

    Raises:
        InputError: it is neither.
    """
    text, path = str(source), Path(source)
    if text.lower().endswith((".yaml", ".yml")):
        return True
    if text.lower().endswith(".dss") or is_folder(path):
        return False
    if text in shipped_scenarios():
        return True
    if text in shipped_feeders() or is_file(path):
        return False
    names = sorted({*shipped_scenarios(), *shipped_feeders()})
    raise InputError(
        f"no such scenario or feeder{did_you_mean(text, names)}", key="FEEDER_OR_SCENARIO", value=text,
        allowed=f"a YAML file, a folder of tables, an OpenDSS script, or one of {', '.join(names)}",
    )  # fmt: skip


def _of_feeder(
    source: str | Path,
    clock: Clock,
    load: SeriesLike | None,
    sun: SeriesLike | None,
    limits: Mapping[str, Any],
    as_tables: bool,
) -> StudyInputs:
    notes: list[str] = []
    feeder, files = _feeder(Path(source), as_tables, notes)
    load_spec = series_spec(1.0 if load is None else load, "--load")
    if load is None:
        notes.append("no series of load was given: the feeder's loads are as its tables have them in every step")
    network = validated(NetworkSpec, {"feeder": feeder.name, "load_scale": load_spec, "feeder_ratings": True, **limits},
                        "limits")  # fmt: skip
    spec = validated(ClockSpec, {"start": _YEAR_START, "steps": 1}
                     | clock.changes(ClockSpec(start=_YEAR_START, steps=1)), "clock")  # fmt: skip
    calendar = calendar_of_clock(spec)
    read = SeriesReader(calendar, Path.cwd() / "hosting", notes)
    scale = read(load_spec, "--load", 0.0, np.inf, "share")
    around = surroundings_at(
        feeder, limits_of_network(network, feeder), scale, _in_the_sun(feeder, read, sun), step_s=spec.step_s,
        start=calendar.start,
    )  # fmt: skip
    specs = [s for s in (load_spec, None if sun is None else series_spec(sun, "--sun")) if s is not None]
    return StudyInputs(
        feeder.name, around, calendar.timestamps(), read, _digests(files, specs, Path.cwd()), tuple(notes)
    )


def _feeder(path: Path, as_tables: bool, notes: list[str]) -> tuple[Feeder, list[Path]]:
    """A feeder and the files that it was read from."""
    if not str(path).lower().endswith(".dss"):
        return read_feeder(path), sorted(feeder_folder(path).glob("*.csv"))
    if not as_tables:
        from cosim.grid.opendss.whole.reader import read_dss

        found = read_dss(path).held()
        notes.append("regulators and capacitors of the circuit stay where its script leaves them")
        return found, [path]
    from cosim.grid.opendss.importer.importer import import_feeder, require_alike

    imported = import_feeder(path)
    apart, bus = require_alike(imported)
    notes.append(f"the circuit was imported as tables, so that its devices can be switched: voltages are at most "
                 f"{apart:.2g} pu from the original, at bus {bus}")  # fmt: skip
    return imported.feeder, [path]


def _in_the_sun(feeder: Feeder, read: ReadsSeries, sun: SeriesLike | None) -> Array | None:
    """(steps,) what photovoltaic plants give as a share of their rating; without a series they stay as they are."""
    if sun is None:
        return None
    if all(g.kind != "pv" for g in feeder.generators):
        raise InputError(f"feeder {feeder.name} has no photovoltaic plant that the sun could shine on", key="--sun",
                         value=str(sun), allowed="a feeder with generators of kind pv, or no --sun")  # fmt: skip
    return read(series_spec(sun, "--sun"), "--sun", 0.0, 1.0, "share")


def _of_scenario(
    source: str | Path,
    clock: Clock,
    load: SeriesLike | None,
    sun: SeriesLike | None,
    limits: Mapping[str, Any],
    overrides: Mapping[str, Any],
) -> StudyInputs:
    before, _ = load_scenario(source, overrides)
    changes: dict[str, Any] = {f"clock.{key}": value for key, value in clock.changes(before.clock).items()}
    changes |= {f"network.{key}": value for key, value in limits.items()}
    if load is not None:
        changes["network.load_scale"] = series_spec(load, "--load").model_dump()
    changes = {**overrides, **changes}
    if sun is not None:
        for g in before.generators:
            if g.kind == "pv":
                changes[f"generators.{g.name}.profile"] = series_spec(sun, "--sun").model_dump()
    scenario, path = load_scenario(source, changes)
    prepared = prepare(scenario, path)
    only = prepared.only
    with naming_file(path):
        around = surroundings_of(only)
    notes = [*prepared.notes, *around.notes]
    specs = [scenario.network.load_scale, *(g.profile for g in scenario.generators if g.profile is not None)]
    files = [Path(file) for file in files_read(path)]
    if scenario.network.feeder is not None:
        files += sorted(feeder_folder(scenario.network.feeder, path.parent).glob("*.csv"))
    return StudyInputs(scenario.name, around, prepared.calendar.timestamps(), only.read,
                       _digests(files, specs, path.parent), tuple(notes))  # fmt: skip


def _digests(files: Sequence[Path], specs: Sequence[SeriesSpec], beside: Path) -> dict[str, str]:
    """SHA-256 by name of the file, of tables and series."""
    found = {file.name: file_digest(file) for file in files}
    for spec in specs:
        if spec.file is not None:
            path, name = find_table(spec.file, beside, "series")
            found[Path(name).name] = file_digest(path)
    return dict(sorted(found.items()))
