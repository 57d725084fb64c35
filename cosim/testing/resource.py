"""An own resource of the operator against the contract of resources: what it states over a window."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cosim.constants import KILO
from cosim.simulation.simulation import Simulation
from cosim.testing.cases import COMMON, Trial, import_path, raising
from cosim.testing.report import Report

CHECKS = {
    **COMMON,
    "state": "stating a window twice says the same: only delivered changes what the next window starts from",
    "names": "variables and their order are the same in every window, whatever its length",
    "bounds": "what it injects has finite bounds",
    "units": "power is in MW and Mvar: it is not many times the load of the feeder",
    "injects": "it injects power at a terminal",
    "rows": "its rows of the dispatch table bear its name, in MW and Mvar",
}
_NAME = "checked"
_LARGE = 5.0


def check_resource(
    kind: str | type[Any],
    keys: Mapping[str, Any],
    *,
    parameters: Mapping[str, Any] | None = None,
    scenario: str | Path = "ieee37",
    folder: str | Path | None = None,
) -> Report:
    """Try a resource's class out in short runs, and say what of the contract it breaks.

    Args:
        kind: ``package.module:Class``, or the class.
        keys: its section of the scenario besides name and kind: ``bus`` and the keys of its own.
        parameters: what the section says in ``parameters``.
        scenario: in which it is dispatched for a few hours. folder: in which its module is looked for first.

    Raises:
        InputError: the class cannot be imported, or the scenario cannot be used.
    """
    path = import_path(kind, folder)
    report = Report(path, CHECKS)
    section = {"name": _NAME, **keys, "kind": path}
    if parameters:
        section["parameters"] = dict(parameters)
    trial = Trial(report, scenario, {"mode": "uncoordinated", "resources": [section]})
    trial.run_twice(lambda simulation: _watch(report, simulation))
    return report


def _watch(report: Report, simulation: Simulation) -> None:
    """Watch the resource of the first operator that has it."""
    for seat in simulation.market.operator.seats:
        for resource in getattr(seat.operator, "resources", ()):
            if resource.name == _NAME:
                feeder = seat.operator.feeder if hasattr(seat.operator, "feeder") else simulation.prepared.feeder
                load_mw = sum(load.p_kw for load in feeder.loads) / KILO
                _Watched(report, resource, load_mw)


@dataclass(slots=True)
class _Watched:
    """A resource whose methods are watched during a run."""

    report: Report
    resource: Any
    load_mw: float
    names: list[str] | None = field(default=None)

    def __post_init__(self) -> None:
        for name in ("state", "delivered", "rows"):
            setattr(self.resource, name, partial(getattr(self, f"_{name}"), getattr(self.resource, name)))

    def _state(self, own: Any, window: Any) -> None:
        trial = copy.deepcopy(window)
        with raising(self.report, "state"):
            own(trial)
        begin, ports = len(window.variables), len(window.ports)
        with raising(self.report, "state"):
            own(window)
        same = _said(trial) == _said(window)
        self.report.demand(same, "state", "state called twice for one window says two things")
        stated = window.variables[begin:]
        names = [variable.name for variable in stated]
        if self.names is None:
            self.names = names
        told = f"a window of {window.steps} steps has the variables {names}, another one {self.names}"
        self.report.demand(names == self.names, "names", told)
        self.report.demand(len(window.ports) > ports, "injects", "state injects nothing at any terminal", broken=False)
        for port in window.ports[ports:]:
            for number in (port.p, port.q):
                if number is not None:
                    self._check_range(window.variables[number])

    def _check_range(self, variable: Any) -> None:
        least, most = float(np.min(variable.least)), float(np.max(variable.most))
        told = f"{variable.name} is between {least:.4g} and {most:.4g}"
        if self.report.demand(np.isfinite(least) and np.isfinite(most), "bounds", told, broken=False):
            large = max(abs(least), abs(most)) <= _LARGE * self.load_mw
            self.report.demand(large, "units", f"{told} MW, the feeder's load is {self.load_mw:.4g} MW: is this in kW?")

    def _delivered(self, own: Any, t: int, values: Mapping[str, float]) -> None:
        with raising(self.report, "delivered"):
            own(t, values)

    def _rows(self, own: Any, powers: Any) -> Any:
        with raising(self.report, "rows"):
            rows = own(powers)
        sound = all(
            len(row) == 5 and row[0] == self.resource.name and all(np.isfinite(v) for v in row[3:]) for row in rows
        )
        self.report.demand(sound, "rows", f"rows returned {rows!r:.120}, expected (its name, kind, phase, MW, Mvar)")
        return rows


def _said(window: Any) -> Any:
    """What a statement says, as plain values that can be compared."""
    said = (window.variables, window.rows, window.linear, window.square, window.ports, window.exclusive)
    return _plain(said)


def _plain(value: Any) -> Any:
    """A value with arrays and what has attributes as lists."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    names = getattr(type(value), "__slots__", ())
    return [_plain(getattr(value, name)) for name in names] if names else value
