"""The folder ``inputs`` of a run: copies of what it was made from, a scenario that names them, and ``inputs.json``.

    inputs/scenario.yaml     the scenario, its files named from this folder
    inputs/...               the files, under the names that the scenario gives them, and code of a user's own
    inputs/elsewhere/...     files that the scenario names outside of its folder
    inputs/inputs.json       every file with its size and SHA-256; versions, machine, git commit

What comes with cosim is named with its hash and not copied, and so is a file that is larger than ``COPIED_BYTES``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any

from cosim.errors import InputError
from cosim.files import file_digest
from cosim.scenario.inputs.code import code_digest
from cosim.scenario.inputs.named import NamedInput, files_of
from cosim.scenario.inputs.surroundings import machine, packages

INPUTS_FOLDER, MANIFEST_FILE = "inputs", "inputs.json"
SCENARIO_COPY, EXPERIMENT_COPY = "scenario.yaml", "experiment.yaml"
FORMAT, VERSION = "cosim-inputs", 1
COPIED_BYTES = 16_000_000
"""Largest file that is copied; a larger one is named with its hash."""


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file of an input: its path below ``inputs``, size in bytes, SHA-256, and whether it was copied."""

    path: str
    size: int
    sha256: str
    copied: bool


@dataclass(frozen=True, slots=True)
class KeptInput:
    """An input of a run.

    Attributes:
        kind: ``feeder``, ``dss``, ``series``, ``code`` or ``document`` (the scenario, the experiment).
        name: as the scenario in this folder has it.
        shipped: whether it comes with cosim, or is installed.
    """

    kind: str
    name: str
    files: tuple[KeptFile, ...]
    shipped: bool = False


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of ``inputs.json``.

    Attributes:
        code_sha256: hash of cosim's own sources that results follow from.
        versions: of packages. machine: system and Python.
        git: commit of the scenario's folder and which inputs are not as in it; None where there is no repository.
        problems: what could not be kept, in sentences.
    """

    inputs: tuple[KeptInput, ...] = ()
    code_sha256: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    machine: dict[str, str] = field(default_factory=dict)
    git: dict[str, Any] | None = None
    problems: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        """Write ``inputs.json``."""
        text = json.dumps({"format": FORMAT, "version": VERSION, **asdict(self)}, indent=1, ensure_ascii=True)
        (folder / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")


def reason(error: Exception) -> str:
    """What an error says, in short."""
    return error.message if isinstance(error, InputError) else getattr(error, "strerror", None) or str(error)


def read_manifest(folder: Path) -> Manifest:
    """What ``folder/inputs/inputs.json`` says.

    Raises:
        InputError: there is none, or it is none.
    """
    path = folder / INPUTS_FOLDER / MANIFEST_FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict) or (data.pop("format", None), data.pop("version", None)) != (FORMAT, VERSION):
            raise ValueError("of another kind or version")
        inputs = tuple(
            KeptInput(**{**one, "files": tuple(KeptFile(**file) for file in one["files"])}) for one in data["inputs"]
        )
        found = Manifest(**{**data, "inputs": inputs, "problems": tuple(data["problems"])})
        _check_types(found)
        return found
    except FileNotFoundError:
        raise InputError("the folder has no inputs, so it cannot be run again", file=path,
                         allowed="a folder of results that has kept its inputs") from None  # fmt: skip
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(f"not a list of inputs ({reason(error)})", file=path) from None


def _check_types(found: Manifest) -> None:
    """See that a manifest from a file holds what it must.

    Raises:
        ValueError: it does not.
    """
    texts = [text for one in found.inputs for text in (one.kind, one.name)]
    texts += [text for one in found.inputs for file in one.files for text in (file.path, file.sha256)]
    mappings = [getattr(found, f.name) for f in fields(found) if f.name in ("versions", "machine")]
    if not all(isinstance(t, str) for t in texts) or not all(isinstance(m, dict) for m in mappings):
        raise ValueError("a text or a mapping is something else")
    if not (found.git is None or isinstance(found.git, dict)):
        raise ValueError("git is something else")


def check_inputs(folder: Path, found: Manifest) -> list[str]:
    """See that the files of a manifest are there as they were, before anything is run from them.

    Returns:
        What comes with cosim and is not as it was, in sentences.

    Raises:
        InputError: a file that is missing, changed, or not inside of the folder.
    """
    root = (folder / INPUTS_FOLDER).resolve()
    other = []
    for one in found.inputs:
        if one.shipped:
            other += _changed_shipped(one, root / SCENARIO_COPY)
            continue
        for file in one.files:
            place = root / file.path
            if PurePosixPath(file.path).is_absolute() or not place.resolve().is_relative_to(root):
                raise InputError("an input lies outside of the folder", file=root / MANIFEST_FILE, key=one.kind,
                                 value=file.path, allowed="a path inside of it")  # fmt: skip
            if not place.is_file():
                raise InputError(
                    "an input is missing" + ("" if file.copied else ", which was too large to be copied"), file=place,
                    key=f"{one.kind} {one.name}", allowed=f"the file of {file.size:,} bytes with SHA-256 {file.sha256}",
                )  # fmt: skip
            now = file_digest(place)
            if now != file.sha256:
                raise InputError("an input is not what it was", file=place, key=f"{one.kind} {one.name}",
                                 value=f"a file with SHA-256 {now}",
                                 allowed=f"the file with SHA-256 {file.sha256}; or cosim run {SCENARIO_COPY}, which "
                                 "compares with nothing")  # fmt: skip
    return other


def _changed_shipped(one: KeptInput, path: Path) -> list[str]:
    """Whether what comes with cosim, or is installed, is another thing now."""
    if one.kind not in ("feeder", "series"):
        return []
    try:
        now = files_of(NamedInput(one.kind, one.name, one.kind), path)  # type: ignore[arg-type]
        same = now.shipped and sorted(file_digest(f) for f in now.files) == sorted(f.sha256 for f in one.files)
    except (OSError, InputError):
        same = False
    return [] if same else [f"{one.kind} {one.name}, which comes with cosim, is another one"]


def check_named(named: Iterable[NamedInput], found: Manifest, path: Path) -> None:
    """See that a scenario names nothing but the inputs that were kept.

    Raises:
        InputError: it does.
    """
    known = {(one.kind, one.name) for one in found.inputs}
    for one in named:
        if (one.kind, one.name) not in known:
            allowed = ", ".join(sorted(name for kind, name in known if kind == one.kind))
            raise InputError("the scenario names a file that is not among the inputs", file=path, key=one.key,
                             value=one.name, allowed=allowed)  # fmt: skip


def different(before: Manifest) -> list[str]:
    """What is different now from when the inputs were kept, in sentences: code of cosim, versions, machine."""
    told = []
    if before.code_sha256 != code_digest():
        told.append("the code of cosim is another one")
    for then, now in ((before.versions, packages()), (before.machine, machine())):
        for name in sorted({*then, *now}):
            if then.get(name) != now.get(name):
                told.append(f"{name}: {then.get(name, 'none')} then, {now.get(name, 'none')} now")
    return told
