"""The wheel: what it contains, and that it works away from the repository."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("cosim", "agents", "data", "scenarios", "experiments")
FILES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the sources, so that nothing left over from other builds gets in."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, copy / name)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(out), str(copy))
    (built,) = out.glob("*.whl")
    return built


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_wheel_has_every_source_and_data_file_inside_one_package(wheel: Path) -> None:
    names = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    expected = set()
    for source in SOURCES:
        prefix = "" if source == "cosim" else "cosim/"
        for path in (ROOT / source).rglob("*"):
            kinds = (".py", ".csv", ".yaml", ".json", ".j2", ".js", ".typed")
            if path.suffix in kinds and "__pycache__" not in path.parts:
                expected.add(prefix + path.relative_to(ROOT).as_posix())
    assert names == expected


def test_the_wheel_has_feeders_scenarios_series_and_the_mark_of_types(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "cosim/py.typed" in names
    assert "cosim/scenarios/ieee37.yaml" in names
    for folder in ("feeders/ieee37", "prices", "profiles", "workloads"):
        assert any(n.startswith(f"cosim/data/{folder}/") and n.endswith(".csv") for n in names), folder


def test_every_package_of_the_tree_is_listed_for_installation() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    found = set()
    for source in SOURCES:
        prefix = "" if source == "cosim" else "cosim."
        for path in (ROOT / source).rglob("__init__.py"):
            found.add(prefix + ".".join(path.parent.relative_to(ROOT).parts))
    assert set(config["options"]["packages"].split()) == found


def test_the_installed_wheel_runs_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    pip("install", "--no-deps", "--no-compile", "--target", str(site), str(wheel))
    program = (
        "import sys, cosim; from cosim.cli.main import app;"
        f"assert cosim.__file__.startswith({str(site)!r}), cosim.__file__;"
        "sys.argv = ['cosim', *'run ieee37 --mode uncoordinated --steps 2 --no-figures --out out'.split()]; app()"
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (empty / "out" / "record.json").is_file()


def test_every_requirement_has_a_lower_bound_that_can_be_installed_and_tested() -> None:
    program = [sys.executable, str(ROOT / "tests" / "lowest_versions.py")]
    told = subprocess.run(program, capture_output=True, text=True, check=True).stdout.split()
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    lists = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    bounds = [line for text in lists for line in text.split() if not line.startswith("cosim-grid")]
    assert told == [line.partition("[")[0] + "==" + line.partition(">=")[2] if "[" in line else line.replace(">=", "==")
                    for line in bounds]  # fmt: skip
