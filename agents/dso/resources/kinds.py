"""The resources of a scenario: each made by the class that its section names."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Iterable, Mapping
from typing import Any

from cosim.agents.dso.resources.resource import Resource, Site
from cosim.errors import InputError, did_you_mean
from cosim.scenario.equipment import ResourceSection
from cosim.scenario.own_code import agent_class, told
from cosim.scenario.preparation import PreparedFeeder, resource_sections

FOLDER = __name__.rpartition(".")[0]


def shipped_kinds() -> list[str]:
    """Kinds that come with the package: the modules of this folder that hold one."""
    modules = (m.name for m in pkgutil.iter_modules(importlib.import_module(FOLDER).__path__))
    return sorted(name for name in modules if _class_in(name) is not None)


def _class_in(module: str) -> type[Resource] | None:
    """The kind of resource that a module of this folder defines."""
    whole = f"{FOLDER}.{module}"
    members = inspect.getmembers(importlib.import_module(whole), inspect.isclass)
    found = (c for _, c in members if issubclass(c, Resource) and c.__module__ == whole and not inspect.isabstract(c))
    return next(found, None)


def kind_of(kind: str, key: str) -> type[Resource]:
    """The class of a kind, by the name of its module here or by import path.

    Raises:
        InputError: no such kind, or a class that is no resource.
    """
    if ":" in kind:
        found = agent_class(kind, key)
        if not issubclass(found, Resource) or inspect.isabstract(found):
            raise InputError("the class is no resource", key=key, value=kind,
                             allowed="a subclass of cosim.agents.dso.resources.Resource")  # fmt: skip
        return found
    known = importlib.util.find_spec(f"{FOLDER}.{kind}") if kind.isidentifier() else None
    shipped = None if known is None else _class_in(kind)
    if shipped is None:
        kinds = shipped_kinds()
        raise InputError(f"no kind of resource of this name{did_you_mean(kind, kinds)}", key=key, value=kind,
                         allowed=f"{', '.join(kinds)}, or package.module:Class")  # fmt: skip
    return shipped


def resource_of(section: ResourceSection, key: str, site: Site) -> Resource:
    """A resource from its section.

    Raises:
        InputError: unknown kind, or a section that its kind cannot use.
    """
    cls = kind_of(section.kind, f"{key}.kind")
    return cls(cls.parameters(section.own_keys(), key), site, **told(cls, section.parameters, f"{key}.parameters"))


def resources_of(prepared: PreparedFeeder) -> tuple[Resource, ...]:
    """Everything that the operator dispatches: generators, SVGs, and other resources, in the order of the scenario.

    Raises:
        InputError: unknown kind, bus or phase, or a section that its kind cannot use.
    """
    return tuple(
        resource_of(section, key, Site(prepared.feeder, prepared.calendar, key, prepared.series))
        for key, section in resource_sections(prepared.scenario)
    )


def symbols_of(resources: Iterable[Resource]) -> Mapping[str, dict[str, Any]]:
    """What a map needs of each resource, by its name: kind, words of the legend, marker and its size."""
    return {
        r.name: {"kind": r.kind, "label": r.symbol.label, "marker": r.symbol.marker, "size": r.symbol.size}
        for r in resources
    }
