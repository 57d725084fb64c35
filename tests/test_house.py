"""The house: a room imports only from floors below it, and nothing goes round in a circle."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

from cosim.exports import MOVED

ROOT = Path(__file__).resolve().parents[1]
FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"constants", "errors", "exports", "installed"}),
    frozenset({"files"}),
    frozenset({"grid", "optimization", "yaml_reading"}),
    frozenset({"scenario", "results"}),
    frozenset({"protocol", "hosting"}),
    frozenset({"coordination", "agents"}),
    frozenset({"simulation"}),
    frozenset({"sweep", "testing"}),
    frozenset({"view"}),
    frozenset({"cli", "experiments"}),
)
"""Rooms from the ground up; `data` and `scenarios` hold no code."""
GRID = (frozenset({"feeder"}), frozenset({"opendss"}), frozenset({"linear"}))
OPTIMIZATION = (frozenset({"qp"}), frozenset({"solvers"}), frozenset({"bilevel"}))
BILEVEL = (
    frozenset({"settings"}), frozenset({"model"}), frozenset({"relaxation"}), frozenset({"primal", "mip"}),
    frozenset({"tree"}), frozenset({"solver"}),
)  # fmt: skip
LONGEST_FILE = 400
MOST_FILES = 16


def _sources(root: Path) -> dict[str, Path]:
    """Python files of the package by module name; the folders beside cosim/ are installed inside it."""
    found = {}
    for top in ("cosim", "agents", "data", "scenarios", "experiments"):
        for path in sorted((root / top).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            parts = parts if top == "cosim" else ("cosim", *parts)
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def _imports(path: Path, known: set[str]) -> Iterator[str]:
    """Modules of the package that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "cosim":
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in known else node.module for name in whole)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "cosim")


@cache
def arrows(root: Path) -> frozenset[tuple[str, str]]:
    """(module, module that it imports) of the whole package."""
    sources = _sources(root)
    return frozenset((name, target) for name, path in sources.items() for target in _imports(path, set(sources)))


def upward(found: frozenset[tuple[str, str]], folder: str, floors: tuple[frozenset[str], ...]) -> list[str]:
    """Imports between the rooms of a folder that do not go to a floor below, in words."""
    floor = {room: i for i, rooms in enumerate(floors) for room in rooms}
    depth = folder.count(".") + 1
    wrong = []
    for source, target in sorted(found):
        if not (source.startswith(f"{folder}.") and target.startswith(f"{folder}.")):
            continue
        here, there = source.split(".")[depth], target.split(".")[depth]
        if here != there and (here not in floor or there not in floor or floor[there] >= floor[here]):
            wrong.append(f"{source} imports {target}")
    return wrong


@pytest.mark.parametrize(
    ("folder", "floors"),
    [("cosim", FLOORS), ("cosim.grid", GRID), ("cosim.optimization", OPTIMIZATION),
     ("cosim.optimization.bilevel", BILEVEL)],
)  # fmt: skip
def test_rooms_import_only_from_floors_below(folder: str, floors: tuple[frozenset[str], ...]) -> None:
    ends = frozenset((a, b) for a, b in arrows(ROOT) if not a.endswith("__main__"))
    assert upward(ends, folder, floors) == []


def test_an_import_upward_is_found(tmp_path: Path) -> None:
    room = tmp_path / "cosim" / "grid"
    room.mkdir(parents=True)
    (room / "low.py").write_text("def f():\n    from cosim.coordination import base\n")
    (tmp_path / "cosim" / "coordination").mkdir()
    (tmp_path / "cosim" / "coordination" / "base.py").write_text("")
    assert upward(arrows(tmp_path), "cosim", FLOORS) == ["cosim.grid.low imports cosim.coordination.base"]


def test_modules_import_each_other_in_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    for source, target in arrows(ROOT):
        graph.setdefault(source, set()).add(target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"circle: {' -> '.join(error.args[1])}")


def test_cosim_names_no_agent() -> None:
    assert [a for a, b in arrows(ROOT) if b.startswith("cosim.agents") and a.split(".")[1] not in
            ("agents", "experiments")] == []  # fmt: skip


def test_optimization_knows_nothing_of_feeders_and_markets() -> None:
    inside = {b.split(".")[1] for a, b in arrows(ROOT) if a.startswith("cosim.optimization.")}
    assert inside <= {"optimization", "errors", "exports"}


@pytest.mark.parametrize(("old", "new"), sorted(MOVED.items()))
def test_a_module_that_moved_says_where_it_is(old: str, new: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=f"it is {re.escape(new)} now"):
        import_module(old)
    assert import_module(new).__name__ == new


@pytest.mark.parametrize(
    ("old", "name"),
    [("cosim.optimization.bilevel", "solve"), ("cosim.simulation", "run"), ("cosim.scenario", "Scenario"),
     ("cosim.grid.feeder", "Feeder"), ("cosim.grid.opendss", "AcCircuit"), ("cosim.coordination.rules", "Rule")],
)  # fmt: skip
def test_what_became_a_folder_still_offers_its_names(old: str, name: str) -> None:
    assert callable(getattr(import_module(old), name))


def test_files_stay_short() -> None:
    long = [str(p.relative_to(ROOT)) for p in _sources(ROOT).values() if len(p.read_text().splitlines()) > LONGEST_FILE]
    assert long == []


def test_folders_stay_short() -> None:
    folders = {p.parent for p in _sources(ROOT).values()}
    assert {str(f.relative_to(ROOT)): n for f in folders if (n := len(list(f.glob("*.py")))) > MOST_FILES} == {}
