"""What can be told of runs that are under way, or were killed: read from the hidden folders that they write to."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosim.files import open_ordinary
from cosim.results.durable import PART, is_held
from cosim.results.underway.writing import FORMAT, UNDERWAY_FILE

_PART = re.compile(rf"\.(?P<name>.+)\.[0-9a-f]{{12}}{re.escape(PART)}", re.S)
_MOST_BYTES = 4_000_000
Line = Mapping[str, float | int | str]


@dataclass(frozen=True, slots=True)
class Following:
    """How far something is.

    Attributes:
        place: folder that it will have. part: that it has now.
        alive: whether its process is alive; None where that cannot be told.
        head: what it is: ``kind``, ``name`` of the scenario, ``started``, ``mode`` of a run, ``modes`` of a comparison.
        lines: how far it was, the present last; of a run :class:`cosim.results.underway.writing.Underway` writes them.
    """

    place: Path
    part: Path
    alive: bool | None
    head: Mapping[str, Any]
    lines: tuple[Line, ...]

    @property
    def kind(self) -> str:
        """``run``, ``comparison`` or another kind of study."""
        return str(self.head.get("kind", "run"))

    def now(self, name: str) -> float | None:
        """A number of the present line."""
        found = self.lines[-1].get(name) if self.lines else None
        return float(found) if isinstance(found, int | float) else None

    @property
    def doing(self) -> str:
        """What is being done."""
        return str(self.lines[-1].get("doing", "")) if self.lines else "starting"


def underway_in(folder: Path) -> list[Following]:
    """All that is under way, or was killed, whose results would lie in a folder; by name, the living first.

    Raises:
        OSError: the folder cannot be read.
    """
    found = []
    for entry in os.scandir(folder):
        name = _PART.fullmatch(entry.name)
        if name is not None and entry.is_dir(follow_symlinks=False):
            read = _read(folder / name["name"], Path(entry.path))
            if read is not None:
                found.append(read)
    return sorted(found, key=lambda f: (f.place.name, not f.alive, f.head.get("started", ""), f.part.name))


def underway_at(place: Path) -> Following | None:
    """What is under way, or was killed, and would have this folder; None if nothing is."""
    with suppress(OSError):
        return next((f for f in underway_in(place.parent) if f.place.name == place.name), None)
    return None


def _read(place: Path, part: Path) -> Following | None:
    try:
        lines = told_in(part)
    except OSError:
        return None
    if not lines or lines[0].get("format") != FORMAT:
        return None
    return Following(place, part, is_held(part), lines[0], tuple(lines[1:]))


def told_in(part: Path) -> list[dict[str, Any]]:
    """What a run tells in the folder that it writes to: what it is, then how far; a half written line is left out.

    Raises:
        OSError: there is no such file, it is no ordinary one, or it cannot be read.
    """
    with open_ordinary(part / UNDERWAY_FILE) as stream:
        text = stream.read(_MOST_BYTES)
    found = []
    for line in text.splitlines():
        with suppress(ValueError, RecursionError):
            data = json.loads(line)
            if isinstance(data, dict):
                found.append(data)
    return found
