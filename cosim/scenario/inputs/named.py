"""The files that a scenario names: its feeders, circuits and series, and where each of them lies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cosim.errors import InputError
from cosim.files import is_file
from cosim.grid.feeder.tables import COLUMNS, feeder_folder
from cosim.scenario.series.reading import find_table

Kind = Literal["feeder", "dss", "series"]


@dataclass(frozen=True, slots=True)
class NamedInput:
    """A feeder of tables, an OpenDSS circuit or a table of values, as a scenario names it, and the key that does."""

    kind: Kind
    name: str
    key: str


@dataclass(frozen=True, slots=True)
class InputFiles:
    """The files behind a name.

    Attributes:
        root: the folder in which they lie, at whatever depth.
        files: first the one that is named, if a file is.
        shipped: whether they come with cosim.
    """

    root: Path
    files: tuple[Path, ...]
    shipped: bool = False


def named_inputs(scenario: Mapping[str, Any]) -> Iterator[NamedInput]:
    """What the data of a scenario name, each name once, under the first key that does."""
    several = [(f"feeders.{name}.", part) for name, part in scenario.get("feeders", {}).items()]
    found: list[NamedInput] = []
    for place, part in several or [("", scenario)]:
        door: Kind = "dss" if part["network"].get("dss") is not None else "feeder"
        found.append(NamedInput(door, str(part["network"][door]), f"{place}network.{door}"))
    found += [NamedInput("series", file, key) for key, file in _series_files(scenario)]
    yield from {(n.kind, n.name): n for n in reversed(found)}.values()


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


def files_of(named: NamedInput, path: Path) -> InputFiles:
    """The files behind a name in the scenario file ``path``.

    Raises:
        InputError: there are none.
    """
    folder = path.parent
    if named.kind == "series":
        table, _ = find_table(named.name, folder, named.key)
        return InputFiles(table.parent, (table,), shipped=table != folder / named.name)
    if named.kind == "feeder":
        place = feeder_folder(named.name, folder)
        tables = (place / f"{table}.csv" for table in COLUMNS)
        return InputFiles(place, tuple(t for t in tables if is_file(t)), shipped=place != folder / named.name)
    from cosim.grid.opendss.importer.script import read_script

    script, inside = circuit_script(named, path)
    return InputFiles(inside or script.parent, tuple(dict.fromkeys(read_script(script, inside).files)))


def circuit_script(named: NamedInput, path: Path) -> tuple[Path, Path | None]:
    """An OpenDSS script, and the scenario's folder if it lies inside that: then all its files do.

    Raises:
        InputError: no such file.
    """
    folder = path.parent.resolve()
    script = (folder / named.name).resolve()
    if not is_file(script):
        raise InputError("no such file", file=path, key=named.key, value=named.name, allowed="an OpenDSS script")
    return script, folder if script.is_relative_to(folder) else None
