"""Sources that results follow from: those of cosim, and the modules of a user's own, found without running them."""

from __future__ import annotations

import ast
import hashlib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from cosim.files import file_digest
from cosim.scenario.own_code import OWN_CODE, source_beside

_PACKAGES = ("cosim", "cosim.agents", "cosim.coordination", "cosim.grid", "cosim.optimization", "cosim.results")
_WITHOUT_EFFECT = (
    "cosim/cli", "cosim/__init__", "cosim.results/figures", "cosim.results/maps", "cosim.results/feeder_maps",
    "cosim.results/report", "cosim.results/style", "cosim.results/comparison",
)  # fmt: skip
"""What only shows results: a change here is no reason to run anything again."""
MOST_SOURCES = 500
"""Most files of code of a user's own that are followed."""
_INSTALLED = ("site-packages", "dist-packages")


@dataclass(frozen=True, slots=True)
class OwnSource:
    """A file of code of a user's own.

    Attributes:
        name: its path from the folder in which Python finds it, as ``my_agents.py`` or ``my_package/agents.py``.
        installed: whether it belongs to a package that is installed, rather than to the scenario.
    """

    name: str
    file: Path
    installed: bool = False


def text_digest(*parts: str) -> str:
    """Hash of texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


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
                    parts += [name, file_digest(file)]
    return text_digest(*parts)


def _folders(package: str) -> list[Path]:
    found = find_spec(package)
    return [Path(p) for p in (found.submodule_search_locations or [])] if found is not None else []


def own_sources(import_paths: Iterable[str], *folders: Path) -> list[OwnSource]:
    """The files of the modules that are named, and of what these import from the same place.

    A package is taken whole, a module by itself. What stands in no file, and what cosim brings, is left out.

    Args:
        import_paths: ``package.module:name``. folders: in which modules are looked for first.
    """
    found: dict[str, OwnSource] = {}
    named = sorted({path.partition(":")[0] for path in import_paths if not path.startswith(OWN_CODE)})
    waiting = [(name, place) for name in named for place in [_place(name, folders)]]
    seen = set(waiting)
    while waiting and len(found) < MOST_SOURCES:
        name, place = waiting.pop(0)
        if place is None:
            source = module_file(name)
            if source is not None:
                found.setdefault(f"{name.replace('.', '/')}.py", OwnSource(name, source, installed=True))
            continue
        for file in _files(name, place):
            key = file.relative_to(place).as_posix()
            if key in found:
                continue
            found[key] = OwnSource(key, file)
            for other in _imported_by(file, place):
                if (other, place) not in seen and source_beside(other, place) is not None:
                    seen.add((other, place))
                    waiting.append((other, place))
    return list(found.values())


def _place(name: str, folders: Sequence[Path]) -> Path | None:
    """The folder in which Python finds a module of a user's own; None for one that is installed, or nowhere."""
    for folder in (*folders, *(Path(entry) for entry in sys.path)):
        if source_beside(name, folder) is not None:
            return folder if folder in folders or not any(part in _INSTALLED for part in folder.parts) else None
    return None


def _files(name: str, place: Path) -> list[Path]:
    """The files of a module: all of its package, if that is one."""
    top = place / name.partition(".")[0]
    if (top / "__init__.py").is_file():
        return sorted(top.rglob("*.py"))[:MOST_SOURCES]
    source = source_beside(name, place)
    return [] if source is None else [source]


def _imported_by(file: Path, place: Path) -> Iterator[str]:
    """Names that a file may import as modules, wherever in it; cosim's own are left out."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return
    package = file.relative_to(place).parent.parts
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [base, *(f"{base}.{alias.name}" if base else alias.name for alias in node.names)]
        yield from (name for name in names if name and not f"{name}.".startswith(OWN_CODE))


def module_file(name: str) -> Path | None:
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
