"""Code of a user's own that a scenario or an experiment names by import path, ``package.module:name``.

A module is looked for beside the file that names it, then wherever Python finds modules. Importing it runs its code, so
nothing here is called for a file that is merely checked.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel

from cosim.errors import InputError
from cosim.files import is_file
from cosim.scenario.feeders import parts_of
from cosim.scenario.loading import validated
from cosim.scenario.schema import Scenario

OWN_CODE = "cosim."
"""How import paths begin that come with the package; others name code of a user's own."""
_ALLOWED = "package.module:name, of a module beside the file or one that Python finds"
_beside: dict[str, Path] = {}
"""Modules that were found beside a file, and its folder."""


def code_named_by(scenario: Scenario) -> dict[str, str]:
    """Import paths of a user's own code in a scenario, by their dotted keys; nothing is imported."""
    named = {f"aggregators.{a.name}.agent": a.agent for a in scenario.aggregators}
    named["decentralized.rule"] = scenario.decentralized.rule
    named["envelope.rule"] = scenario.envelope.rule
    named["market.real_time.rule"] = scenario.market.real_time.rule or ""
    forecasts = scenario.forecasts
    named |= {"forecasts.default.kind": forecasts.default.kind}
    named |= {f"forecasts.series.{e.name}.kind": e.kind for e in forecasts.series}
    for part in parts_of(scenario):
        named[part.key("operator.agent")] = part.scenario.operator.agent
        named |= {part.key(f"resources.{r.name}.kind"): r.kind for r in part.scenario.resources}
    return {key: path for key, path in named.items() if ":" in path and not path.startswith(OWN_CODE)}


def import_own_code(scenario: Scenario, path: Path) -> None:
    """Import what a scenario names, from beside its file first; from then on it is found by its name alone.

    Raises:
        InputError: a module that cannot be imported, or has no such name.
    """
    for key, named in code_named_by(scenario).items():
        imported(named, key, beside=path)


def imported(import_path: str, key: str, file: str | Path | None = None, beside: Path | None = None) -> Any:
    """What stands at ``package.module:name``.

    Args:
        file: the file to name in messages. beside: a file in whose folder modules are looked for first.

    Raises:
        InputError: it cannot be imported, or is neither a function nor a class.
    """
    module, _, name = import_path.partition(":")
    try:
        found = getattr(_module(module, None if beside is None else beside.resolve().parent), name)
    except InputError as error:
        raise error.changed(file=file, key=key, value=import_path) from None
    except (Exception, SystemExit) as error:  # whatever a module does when it is imported
        raise InputError(f"it cannot be imported ({type(error).__name__}: {error})", file=file, key=key,
                         value=import_path, allowed=_ALLOWED) from None  # fmt: skip
    if not callable(found):
        raise InputError("not a function or a class", file=file, key=key, value=import_path, allowed=_ALLOWED)
    return found


def agent_class(import_path: str, key: str, methods: Sequence[str] = ()) -> type[Any]:
    """The class behind ``package.module:Class``.

    Args:
        methods: what the class must be able to do.

    Raises:
        InputError: it cannot be imported, is no class, or lacks a method.
    """
    found = imported(import_path, key)
    if not isinstance(found, type):
        raise InputError("not a class", key=key, value=import_path, allowed="package.module:Class")
    if missing := [name for name in methods if not callable(getattr(found, name, None))]:
        raise InputError(f"the class lacks {', '.join(missing)}", key=key, value=import_path,
                         allowed=f"a class with the methods {', '.join(methods)}")  # fmt: skip
    return found


def parameters_of(found: type[Any], given: Mapping[str, Any], key: str) -> BaseModel | None:
    """What a scenario says to a class of a user's own, checked by the class's pydantic model ``Parameters``.

    Returns:
        None if the class has no such model.

    Raises:
        InputError: parameters that the model refuses, or any where there is no model.
    """
    model = getattr(found, "Parameters", None)
    if model is None:
        if given:
            raise InputError(f"{found.__name__} takes no parameters", key=key, value=", ".join(map(str, given)),
                             allowed="a class with a pydantic model named Parameters")  # fmt: skip
        return None
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise InputError(f"the Parameters of {found.__name__} are no pydantic model", key=key)
    return validated(model, given, key)


def told(found: type[Any], given: Mapping[str, Any], key: str) -> dict[str, BaseModel]:
    """What a class is made with besides: ``parameters``, where it has a model of them; see :func:`parameters_of`."""
    parameters = parameters_of(found, given, key)
    return {} if parameters is None else {"parameters": parameters}


def source_beside(module: str, folder: Path) -> Path | None:
    """The file of a module beside a scenario, without importing anything; None if there is none."""
    parts = module.split(".")
    for place in (folder.joinpath(*parts[:-1], f"{parts[-1]}.py"), folder.joinpath(*parts, "__init__.py")):
        if is_file(place):
            return place
    return None


def _module(name: str, folder: Path | None) -> ModuleType:
    """A module, from the folder if it is there."""
    if folder is None or source_beside(name, folder) is None:
        return importlib.import_module(name)
    _forget_others(folder)
    top = name.partition(".")[0]
    loaded = sys.modules.get(top)
    if loaded is not None and not _lying_in(folder, {top: loaded}):
        raise InputError(f"a module {top} is loaded already, which is not the one beside the file",
                         allowed="another name for the module beside the file")  # fmt: skip
    with _searched_first(folder):
        found = importlib.import_module(name)
    _beside.update(dict.fromkeys(_lying_in(folder, {k: m for k, m in sys.modules.items() if k not in _beside}), folder))
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # for what a function imports when it is called
    return found


def _forget_others(folder: Path) -> None:
    """Forget modules beside other files that have a namesake here: each file gets its own."""
    for name, other in list(_beside.items()):
        if other != folder and source_beside(name, folder) is not None:
            sys.modules.pop(name, None)
            del _beside[name]


def _lying_in(folder: Path, modules: Mapping[str, ModuleType]) -> list[str]:
    """Names of the modules whose files lie in a folder or below it; each of their folders is looked up once."""
    files = {name: getattr(module, "__file__", None) for name, module in modules.items()}
    places = {name: os.path.dirname(file) for name, file in files.items() if isinstance(file, str)}
    real = {place: Path(place).resolve() for place in set(places.values())}
    inside = {place for place, there in real.items() if there.is_relative_to(folder)}
    return [name for name, place in places.items() if place in inside]


@contextmanager
def _searched_first(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()  # a module may have been written since Python looked
    try:
        yield
    finally:
        sys.path.remove(str(folder))
