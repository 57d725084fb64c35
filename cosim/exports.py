"""What is loaded when it is used, not before: names of a package, parts of libraries; and modules that have moved."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

DEFERRED = (
    "mesa.discrete_space", "mesa.experimental", "mesa.space",  # imported by mesa itself
    "scipy.integrate", "scipy.spatial", "scipy.stats",  # imported by Pyomo where SciPy is loaded
    "numpy.f2py",  # imported by SciPy
)  # fmt: skip
"""Parts of libraries that their owners import and a run hardly ever uses: a fifth of the time until a run can start."""

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
    "cosim.series": "cosim.scenario.series.reading",
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
        with _without_collections():
            return getattr(import_module(homes[name]), name)

    return find


@contextmanager
def _without_collections() -> Iterator[None]:
    """No search for garbage in this block: what imports create stays, and searching it takes a tenth of their time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


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


class DeferredModule(ModuleType):
    """A module that has been found and not yet executed; the first look for anything in it executes it.

    Its path is not set before that, so that importing a module inside it executes it as well. One thread executes it,
    others that miss something in it wait.
    """

    _executing = threading.RLock()

    def __getattr__(self, name: str) -> Any:
        with DeferredModule._executing:
            waiting = self.__dict__.pop(_WAITING, None)
            if waiting is not None:
                try:
                    _execute(self)
                except BaseException:
                    self.__dict__[_WAITING] = waiting
                    raise
                self.__class__ = ModuleType  # type: ignore[assignment]
            if self.__class__ is DeferredModule:  # it looks for something of its own while it is executed
                raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(self, name)


_WAITING = "__deferred__"


def _execute(module: ModuleType) -> None:
    spec = module.__spec__
    assert spec is not None and spec.loader is not None
    if spec.submodule_search_locations is not None:
        module.__path__ = spec.submodule_search_locations
    with _without_collections():
        spec.loader.exec_module(module)


class _DeferringLoader(Loader):
    """Leaves a module as found; its own loader executes it when it is used."""

    def __init__(self, own: Loader) -> None:
        self._own = own

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        assert spec is not None
        spec.loader = module.__loader__ = self._own
        module.__dict__.pop("__path__", None)
        module.__dict__[_WAITING] = True
        module.__class__ = DeferredModule


class DeferredModules:
    """The first finder to be asked: has :data:`DEFERRED` executed when they are used, not when they are imported."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where the module is, with a loader that defers it; None of any other module."""
        if name not in DEFERRED or target is not None:
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            spec.loader = _DeferringLoader(spec.loader)
        return spec


def watch_imports() -> None:
    """Have imports of moved modules say where these are now, and those of :data:`DEFERRED` wait until they are used."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.append(MovedModules())
        sys.meta_path.insert(0, DeferredModules())
