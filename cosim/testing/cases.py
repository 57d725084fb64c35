"""The short runs in which an own class is tried out, and how its methods are watched in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosim.errors import InputError, RunFailure
from cosim.results.tables import Tables
from cosim.scenario.loading import load_scenario
from cosim.scenario.own_code import imported
from cosim.scenario.preparation import prepare
from cosim.simulation.simulation import Simulation
from cosim.testing.report import Report

Array = NDArray[np.float64]
SHORT: Mapping[str, Any] = {
    "clock.start": "2024-07-15T15:00:00", "clock.steps": 3, "clock.window_steps": 2, "clock.gate_s": 120,
    "decentralized.max_rounds": 4, "mode": "decentralized",
}  # fmt: skip
"""A window of two steps and one of one step, with a few rounds each."""
CREATED, RAISED, DETERMINISTIC = "created", "raised", "deterministic"
COMMON = {
    CREATED: "the class is found, has the methods that it needs, and can be made from the scenario",
    RAISED: "none of its methods raises an error",
    DETERMINISTIC: "two runs with the same seed leave the same tables, value for value",
}


def import_path(named: str | type[Any], folder: str | Path | None) -> str:
    """The import path of a class, which is imported from beside a file of a folder if one is named.

    Raises:
        InputError: it cannot be imported.
    """
    path = named if isinstance(named, str) else f"{named.__module__}:{named.__qualname__}"
    imported(path, "class", beside=None if folder is None else Path(folder) / "scenario.yaml")
    return path


class Trial:
    """Runs of one scenario, in which what goes wrong becomes a finding.

    Args:
        scenario: shipped name or path. changes: dotted keys, among them what names the class.
    """

    def __init__(self, report: Report, scenario: str | Path, changes: Mapping[str, Any]) -> None:
        self.report = report
        self._scenario, self._path = load_scenario(scenario, {**SHORT, **changes})

    def simulation(self) -> Simulation | None:
        """A simulation that is set up; None if the class cannot be made."""
        try:
            return Simulation(prepare(self._scenario, self._path))
        except InputError as error:
            self.report.add(CREATED, str(error))
        except Exception as error:
            self.report.add(RAISED, f"{type(error).__name__} while it is set up: {error}")
        return None

    def run(self, watch: Callable[[Simulation], None] | None = None) -> Tables | None:
        """The tables of a run from start to end; None if it did not get there.

        Args:
            watch: sets up what is watched in it.
        """
        simulation = self.simulation()
        if simulation is None:
            return None
        try:
            if watch is not None:
                watch(simulation)
            return simulation.run().tables()
        except (InputError, RunFailure, Exception) as error:
            if RAISED not in self.report.broken:
                self.report.add(RAISED, f"the run stopped with {type(error).__name__}: {error}")
        return None

    def run_twice(self, watch: Callable[[Simulation], None]) -> Tables | None:
        """The tables of a run that is watched, compared with those of a second one."""
        first = self.run(watch)
        if first is None:
            return None
        second = self.run(watch)
        if second is not None:
            other = [name for (name, a), (_, b) in zip(first.items(), second.items(), strict=True) if not a.equals(b)]
            told = f"two runs with the same seed differ in {', '.join(other)}; random numbers come from model.rng alone"
            self.report.demand(not other, DETERMINISTIC, told)
        return first


@contextmanager
def raising(report: Report, what: str) -> Iterator[None]:
    """Say which method raised an error."""
    try:
        yield
    except Exception as error:
        report.add(RAISED, f"{what} raised {type(error).__name__}: {error}")
        raise


def is_table(values: object, steps: int, count: int) -> bool:
    """Whether values are finite numbers, (steps, count)."""
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        return False
    return array.shape == (steps, count) and bool(np.isfinite(array).all())


def shape_of(values: object) -> str:
    """What values are, in words."""
    shape = getattr(values, "shape", None)
    if shape is None:
        return f"a {type(values).__name__}"
    finite = np.asarray(values).dtype.kind in "iuf" and bool(np.isfinite(np.asarray(values, dtype=float)).all())
    return f"{shape}" if finite else f"{shape} with values that are not finite numbers"
