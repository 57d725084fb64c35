"""Names that a package offers from its modules, loaded when they are asked for; and modules that have moved."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MOVED = {
    "cosim.channel": "cosim.protocol.channel",
    "cosim.cli_exit": "cosim.cli.exit_codes",
    "cosim.cli_feeder": "cosim.cli.feeder",
    "cosim.cli_sweep": "cosim.cli.sweep",
    "cosim.clock": "cosim.scenario.calendar",
    "cosim.engine": "cosim.simulation.simulation",
    "cosim.interfaces": "cosim.protocol.roles",
    "cosim.loading": "cosim.scenario.loading",
    "cosim.messages": "cosim.protocol.messages",
    "cosim.preparation": "cosim.scenario.preparation",
    "cosim.scenario_channel": "cosim.scenario.channel",
    "cosim.scenario_types": "cosim.scenario.types",
    "cosim.series": "cosim.scenario.series",
    "cosim.grid.ac_linear": "cosim.grid.linear.ac_tangent",
    "cosim.grid.dss": "cosim.grid.opendss.importer",
    "cosim.grid.lindist3flow": "cosim.grid.linear.lindist3flow",
    "cosim.grid.phases": "cosim.grid.feeder.phases",
    "cosim.grid.tables": "cosim.grid.feeder.tables",
    "cosim.optimization.compile": "cosim.optimization.qp.pyomo_compile",
    "cosim.optimization.parametric": "cosim.optimization.qp.parametric",
    "cosim.optimization.qp_solvers": "cosim.optimization.solvers.qp_solver",
}
"""Modules of version 0.1 that others are likely to import, and where they are now."""


def exported(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's ``__getattr__`` that loads each of these names from its module when it is asked for.

    Args:
        package: name of the package.
        homes: module by name.
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(homes[name]), name)

    return find


class MovedModules:
    """The last finder to be asked: says where a module is that has moved."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Never finds anything.

        Raises:
            ModuleNotFoundError: naming the new place.
        """
        if name in MOVED:
            raise ModuleNotFoundError(f"No module named {name!r}: it is {MOVED[name]} now", name=name)
        return None


def watch_for_moved_modules() -> None:
    """Have imports of moved modules say where these are now."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.append(MovedModules())
