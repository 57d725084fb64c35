"""Execute the notebooks of this folder, each in a kernel of its own and in a copy of the folder: nothing is left here.

    python docs/notebooks/execute.py                                  # all of them; an error in a cell ends it
    python docs/notebooks/execute.py planner first-run                # some
    python docs/notebooks/execute.py --pictures docs/figures/gallery  # write pictures of cells with the tag "gallery"
    python docs/notebooks/execute.py --executed out/notebooks         # keep them with their outputs
"""

from __future__ import annotations

import argparse
import base64
import io
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

HERE = Path(__file__).resolve().parent
LONGEST_CELL_S = 300
COLOURS = 128
"""Pictures of the gallery have a palette: a third of the size, and the same to the eye."""


def notebooks() -> list[Path]:
    """All notebooks, by name."""
    return sorted(HERE.glob("*.ipynb"))


def executed(notebook: Path) -> nbformat.NotebookNode:
    """The notebook with the outputs of its cells.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised an error.
    """
    with tempfile.TemporaryDirectory(prefix="notebooks-") as copy:
        folder = Path(copy) / HERE.name
        shutil.copytree(HERE, folder, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
        node = nbformat.read(folder / notebook.name, as_version=4)
        return NotebookClient(node, timeout=LONGEST_CELL_S, resources={"metadata": {"path": str(folder)}}).execute()


def pictures(node: nbformat.NotebookNode) -> Iterator[tuple[str, bytes]]:
    """Name of its cell and picture as PNG, of each cell with the tag ``gallery``."""
    for cell in node.cells:
        if "gallery" in cell.metadata.get("tags", ()):
            (picture,) = (o.data["image/png"] for o in cell.outputs if "image/png" in o.get("data", {}))
            whole = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
            small = io.BytesIO()
            whole.quantize(COLOURS, dither=Image.Dither.NONE).save(small, format="png", optimize=True)
            yield cell["id"], small.getvalue()


def main(asked: list[str]) -> None:
    """Execute those that are asked for."""
    parser = argparse.ArgumentParser(description="Execute the notebooks of the documents.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="without .ipynb; all by default")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="where pictures for the gallery go")
    parser.add_argument("--executed", type=Path, metavar="DIR", help="where notebooks with their outputs go")
    told = parser.parse_args(asked)
    known = {notebook.stem: notebook for notebook in notebooks()}
    if unknown := [name for name in told.names if name not in known]:
        parser.error(f"no such notebook: {', '.join(unknown)}; there are {', '.join(known)}")
    for name in told.names or known:
        node = executed(known[name])
        print(name, flush=True)
        if told.executed:
            told.executed.mkdir(parents=True, exist_ok=True)
            nbformat.write(node, told.executed / f"{name}.ipynb")
        if told.pictures:
            told.pictures.mkdir(parents=True, exist_ok=True)
            for cell, picture in pictures(node):
                (told.pictures / f"{name}-{cell}.png").write_bytes(picture)


if __name__ == "__main__":
    main(sys.argv[1:])
