"""The notebooks of the documents: they run, are kept without outputs, and the gallery shows their pictures."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import cosim

nbformat = pytest.importorskip("nbformat")

DOCS = Path(__file__).resolve().parents[1] / "docs"
FOLDER = DOCS / "notebooks"
PICTURES = DOCS / "figures" / "gallery"
NAMES = sorted(path.stem for path in FOLDER.glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_from_top_to_end_and_warns_of_nothing(name: str, tmp_path: Path) -> None:
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    asked = [name, "--executed", str(tmp_path), "--pictures", str(tmp_path)]
    done = subprocess.run([sys.executable, FOLDER / "execute.py", *asked], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    cells = nbformat.read(tmp_path / f"{name}.ipynb", as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    assert [o.text for o in outputs if o.output_type == "stream" and o.name == "stderr"] == []
    assert {p.name for p in tmp_path.glob("*.png")} == {p.name for p in PICTURES.glob(f"{name}-*.png")}


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_kept_without_outputs(name: str) -> None:
    node = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    nbformat.validate(node)
    code = [cell for cell in node.cells if cell.cell_type == "code"]
    assert [cell["id"] for cell in code if cell.outputs or cell.execution_count is not None] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_links_only_to_what_is_there(name: str) -> None:
    node = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    text = "\n".join(cell.source for cell in node.cells if cell.cell_type == "markdown")
    targets = re.findall(r"\]\((?!https?:)([^)#\s]+)", text)
    assert [target for target in targets if not (FOLDER / target).exists()] == []


def test_the_gallery_shows_every_notebook_and_every_picture() -> None:
    page = (DOCS / "gallery.md").read_text(encoding="utf-8")
    tagged = {
        f"{name}-{cell['id']}.png"
        for name in NAMES for cell in nbformat.read(FOLDER / f"{name}.ipynb", as_version=4).cells
        if "gallery" in cell.metadata.get("tags", ())
    }  # fmt: skip
    assert len(NAMES) == 5
    assert tagged == {path.name for path in PICTURES.iterdir()}
    assert tagged == set(re.findall(r"\(figures/gallery/([\w-]+\.png)\)", page))
    assert set(NAMES) == set(re.findall(r"\(notebooks/([\w-]+)\.ipynb\)", page))


@pytest.mark.parametrize("case", sorted(path.parent.name for path in FOLDER.glob("*/scenario.yaml")))
def test_a_scenario_beside_a_notebook_runs(case: str, tmp_path: Path) -> None:
    shutil.copytree(FOLDER / case, tmp_path / case, ignore=shutil.ignore_patterns("__pycache__"))
    overrides = {"clock.steps": 2, "clock.window_steps": 2, "decentralized.max_rounds": 2}
    assert len(cosim.run(tmp_path / case / "scenario.yaml", overrides=overrides).steps) == 2
