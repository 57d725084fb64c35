"""The key of a run: a hash of everything that its results follow from."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cosim.errors import InputError
from cosim.grid.feeder.tables import read_feeder
from cosim.results.record import versions
from cosim.scenario.own_code import source_beside
from cosim.scenario.series.reading import find_table

STORE_VERSION = 2
_PACKAGES = ("cosim", "cosim.agents", "cosim.coordination", "cosim.grid", "cosim.optimization", "cosim.results")
_WITHOUT_EFFECT = (
    "cosim/cli", "cosim/__init__", "cosim.results/figures", "cosim.results/maps", "cosim.results/feeder_maps",
    "cosim.results/report", "cosim.results/style", "cosim.results/comparison",
)  # fmt: skip
"""What only shows results: a change here is no reason to run anything again."""


def text_digest(*parts: str) -> str:
    """Hash of texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def run_key(scenario: Mapping[str, Any], inputs: Mapping[str, str], surroundings: str) -> str:
    """Key of a run: ``r`` and 15 hexadecimal digits.

    Args:
        scenario: the effective scenario with mode and seed; its description does not count.
        inputs: digest of each file that it names.
        surroundings: see :func:`surroundings_digest`.
    """
    counted = {k: v for k, v in scenario.items() if k != "description"}
    return "r" + text_digest(json.dumps([counted, dict(inputs)], sort_keys=True), surroundings)[:15]


def surroundings_digest(
    modules: Sequence[str], measure: str | None, tables: Sequence[str], *folders: Path
) -> str:
    """Hash of what is the same for all runs: code, versions of cosim, Python and solvers, and what is measured.

    Args:
        modules: import paths (``package.module:name``) of a user's own agents, rules and resources.
        folders: in which modules are looked for first.
    """
    parts = [str(STORE_VERSION), code_digest(), json.dumps(versions(), sort_keys=True), measure or "", *sorted(tables)]
    for name in sorted({m.partition(":")[0] for m in [*modules, measure or ""] if m}):
        parts.append(_module_digest(name, folders))
    return text_digest(*parts)


@cache
def code_digest() -> str:
    """Hash of the sources of cosim that results follow from."""
    parts = []
    for package in _PACKAGES:
        for root in sorted(_folders(package)):
            files = root.glob("*.py") if package == "cosim" else root.rglob("*.py")
            for file in sorted(files):
                name = f"{package}/{file.relative_to(root).with_suffix('').as_posix()}"
                if not name.startswith(_WITHOUT_EFFECT):
                    parts += [name, hashlib.sha256(file.read_bytes()).hexdigest()]
    return text_digest(*parts)


def _folders(package: str) -> list[Path]:
    found = find_spec(package)
    return [Path(p) for p in (found.submodule_search_locations or [])] if found is not None else []


def _module_digest(name: str, folders: Sequence[Path]) -> str:
    """Hash of a module's source; of nothing where there is none (what uses it will say so)."""
    beside = (source_beside(name, folder) for folder in folders)
    source = next((file for file in beside if file is not None), None) or _source(name)
    return "" if source is None else hashlib.sha256(source.read_bytes()).hexdigest()


def _source(name: str) -> Path | None:
    """File of a module; neither it nor the packages around it are imported, as ``find_spec`` would do."""
    places: Sequence[str] | None = None
    origin: str | None = None
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        inner = ".".join(parts[:depth])
        found = None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if find is not None and (found := find(inner, places)) is not None:
                break
        if found is None:
            return None
        origin = found.origin if found.has_location else None
        if origin is None:  # a package without a file of its own: what it is in is known, not what is in it
            inside = (os.path.join(place, parts[depth - 1]) for place in (sys.path if places is None else places))
            places = [place for place in inside if os.path.isdir(place)]
        else:
            places = list(found.submodule_search_locations or [])
    return Path(origin) if origin is not None and Path(origin).is_file() else None


class InputDigests:
    """Digests of the files that scenarios beside one another name; each file is read once.

    Args:
        path: the scenario's file, beside which names are looked for.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[tuple[str, str], str] = {}

    def of(self, scenario: Mapping[str, Any]) -> dict[str, str]:
        """Digest of the feeder and of each series by its name.

        Raises:
            InputError: a feeder or table that is not there.
        """
        several = [(f"feeders.{name}.", part) for name, part in scenario.get("feeders", {}).items()]
        found = {}
        for place, part in several or [("", scenario)]:
            network = part["network"]
            door = "dss" if network.get("dss") is not None else "feeder"
            feeder = str(network[door])
            found[f"{door} {feeder}"] = self._digest(door, feeder, f"{place}network.{door}")
        for key, file in _series_files(scenario):
            found[f"series {file}"] = self._digest("series", file, key)
        return found

    def _digest(self, kind: str, name: str, key: str) -> str:
        if (kind, name) not in self._known:
            kinds = {"feeder": self._feeder, "dss": self._circuit, "series": self._series}
            self._known[kind, name] = kinds[kind](name, key)
        return self._known[kind, name]

    def _series(self, name: str, key: str) -> str:
        table, _ = find_table(name, self._path.parent, key)
        return hashlib.sha256(table.read_bytes()).hexdigest()

    def _circuit(self, name: str, key: str) -> str:
        """Hash of an OpenDSS script and of all that it reads."""
        from cosim.grid.opendss.importer.script import read_script, script_digest

        folder = self._path.parent.resolve()
        script = (folder / name).resolve()
        if not script.is_file():
            raise InputError("no such file", file=self._path, key=key, value=name, allowed="an OpenDSS script")
        return script_digest(read_script(script, folder if script.is_relative_to(folder) else None))

    def _feeder(self, name: str, key: str) -> str:
        """Hash of a feeder as it is read, so that neither the place nor the order of its files counts."""
        try:
            return text_digest(repr(read_feeder(name, self._path.parent)))
        except InputError as error:
            if error.file is not None:
                raise
            raise error.changed(file=self._path, key=key, value=name) from None


def _series_files(scenario: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(dotted key, file) of each series in scenario data."""
    waiting: list[tuple[str, Any]] = [("", scenario)]
    while waiting:
        key, value = waiting.pop()
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for name, part in inner:
            if isinstance(part, dict | list) and part:
                below = f"{key}.{name}" if key else str(name)
                waiting.append((below, part))
                if isinstance(part, dict) and "column" in part and isinstance(part.get("file"), str):
                    yield below, part["file"]
