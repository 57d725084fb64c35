"""Keeping what a run is made from: copies in the folder ``inputs`` beside its results."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from cosim.errors import InputError
from cosim.files import file_digest
from cosim.scenario.inputs.code import OwnSource, code_digest, own_sources
from cosim.scenario.inputs.manifest import (
    COPIED_BYTES,
    EXPERIMENT_COPY,
    INPUTS_FOLDER,
    MANIFEST_FILE,
    SCENARIO_COPY,
    KeptFile,
    KeptInput,
    Manifest,
    reason,
)
from cosim.scenario.inputs.named import InputFiles, NamedInput, files_of
from cosim.scenario.inputs.surroundings import commit_of, machine, packages

ALL_BYTES = 64_000_000
"""Most bytes that are copied into one folder."""
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_ELSEWHERE = "elsewhere"
_OWN = (MANIFEST_FILE, SCENARIO_COPY, EXPERIMENT_COPY, _ELSEWHERE)


def keep_inputs(
    folder: Path,
    path: Path,
    documents: Mapping[str, Any],
    named: Iterable[NamedInput],
    code: Iterable[str],
    besides: Sequence[Path] = (),
    code_beside: Sequence[Path] = (),
) -> Manifest:
    """Keep what a run, or the runs of a sweep, are made from; what cannot be is told in the manifest.

    Args:
        folder: in which a folder ``inputs`` is made.
        path: the scenario's file, beside which its names start.
        documents: what is written into ``inputs`` as YAML, by file name; names of files in it that lie outside of the
            scenario's folder become names of their copies.
        code: import paths of a user's own code; it is looked for beside the scenario, then beside ``code_beside``.
        besides: other files from which the run was made, as the scenario's bases.
    """
    keeper = _Keeper(folder / INPUTS_FOLDER, path)
    try:
        keeper.target.mkdir(exist_ok=True)
        for one in named:
            keeper.told(f"{one.kind} {one.name}", partial(keeper.keep, one))
        for source in own_sources(code, path.parent, *(p.parent for p in code_beside)):
            keeper.told(f"code {source.name}", partial(keeper.keep_source, source))
        for name, data in documents.items():
            keeper.write(name, data)
        found = Manifest(
            inputs=tuple(keeper.inputs),
            code_sha256=code_digest(),
            versions=packages(),
            machine=machine(),
            git=commit_of(path.parent, [path, *besides, *keeper.originals]),
            problems=tuple(keeper.problems),
        )
        found.write(keeper.target)
    except (OSError, ValueError, yaml.YAMLError) as error:
        return Manifest(problems=(f"the inputs are not kept ({reason(error)}), so this cannot be run again from here",))
    return found


class _Keeper:
    """Copies inputs one by one below a folder, each under a name of its own."""

    def __init__(self, target: Path, path: Path) -> None:
        self.target, self.path = target, path
        self.inputs: list[KeptInput] = []
        self.problems: list[str] = []
        self.originals: list[Path] = []
        self.renamed: dict[str, str] = {}
        self._written: dict[str, str] = {}
        self._room = ALL_BYTES

    def told(self, what: str, work: Callable[[], None]) -> None:
        """Do the work; what goes wrong becomes a problem."""
        try:
            work()
        except (OSError, InputError) as error:
            self.problems.append(f"{what} is not kept among the inputs ({reason(error)})")

    def keep(self, named: NamedInput) -> None:
        """Copy the files of an input, and note under which name."""
        found = files_of(named, self.path)
        if found.shipped:
            files = tuple(self._file(f, f.relative_to(found.root).as_posix(), copied=False) for f in found.files)
            self.inputs.append(KeptInput(named.kind, named.name, files, shipped=True))
            return
        self.originals += found.files
        name, places = self._places(named, found)
        if name != named.name:
            self.renamed[named.name] = name
        files = tuple(self._file(file, place) for file, place in zip(found.files, places, strict=True))
        self.inputs.append(KeptInput(named.kind, name, files))

    def keep_source(self, source: OwnSource) -> None:
        """Copy a file of code of a user's own; one that is installed is named only."""
        if source.installed:
            self.inputs.append(KeptInput("code", source.name, (self._file(source.file, source.name, False),), True))
            return
        self.originals.append(source.file)
        if source.name.partition("/")[0] in _OWN or self._taken(source.name, source.file):
            self.problems.append(f"code {source.name} is not kept among the inputs (another file has its name there)")
            return
        self.inputs.append(KeptInput("code", source.name, (self._file(source.file, source.name),)))

    def write(self, name: str, data: Any) -> None:
        """Write a document, its names of files as they are here."""
        named = _renamed(data, self.renamed)
        text = yaml.dump(named, Dumper=_DUMPER, sort_keys=False, allow_unicode=True, width=110)
        (self.target / name).write_text(text, encoding="utf-8")
        content = text.encode()
        kept = KeptFile(name, len(content), hashlib.sha256(content).hexdigest(), copied=True)
        self.inputs.append(KeptInput("document", name, (kept,)))

    def _places(self, named: NamedInput, found: InputFiles) -> tuple[str, list[str]]:
        """The name of an input in its new folder, and the path of each of its files there."""
        folder = self.path.parent.resolve()
        if named.kind == "dss":
            inside = found.root.resolve()
            rest = [file.relative_to(inside).as_posix() for file in found.files]
            prefix = "" if inside == folder else f"{self._free(inside.name)}/"
            return f"{prefix}{rest[0]}", [f"{prefix}{one}" for one in rest]
        pure = PurePosixPath(os.path.normpath(named.name).replace(os.sep, "/"))
        plain = not pure.is_absolute() and pure.parts[:1] != ("..",) and pure.parts[:1] not in {(n,) for n in _OWN}
        name = pure.as_posix() if plain and ":" not in named.name else self._free(pure.name or named.kind)
        if named.kind == "series":
            return name, [name]
        return name, [f"{name}/{file.relative_to(found.root).as_posix()}" for file in found.files]

    def _free(self, name: str) -> str:
        """A name below ``elsewhere`` that no other input has."""
        taken = {kept.name for kept in self.inputs} | {p.rpartition("/")[0] for p in self._written} | {*self._written}
        place, number = f"{_ELSEWHERE}/{name}", 2
        while place in taken:
            place, number = f"{_ELSEWHERE}/{number}/{name}", number + 1
        return place

    def _taken(self, place: str, file: Path) -> bool:
        """Whether another content has this place already."""
        return place in self._written and self._written[place] != file_digest(file)

    def _file(self, file: Path, place: str, copied: bool = True) -> KeptFile:
        size, digest = file.stat().st_size, file_digest(file)
        copied = copied and size <= COPIED_BYTES and (place in self._written or size <= self._room)
        if copied and place not in self._written:
            copy = self.target / place
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
            self._written[place], self._room = digest, self._room - size
        return KeptFile(place, size, digest, copied)


def _renamed(data: Any, names: Mapping[str, str]) -> Any:
    """Data with the names of files replaced that lie elsewhere now."""
    if isinstance(data, Mapping):
        return {key: _renamed(value, names) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_renamed(value, names) for value in data]
    return names.get(data, data) if isinstance(data, str) else data
