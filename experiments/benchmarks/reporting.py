"""What the report, its pictures and the interactive page of a run cost, against what no way of making them can save.

    python -m cosim.experiments.benchmarks.reporting [FOLDER ...]

Of each folder of a run; by default ``ieee37``, and ``ieee37_year`` for one and for four weeks, which are run first.
Both sides are fresh processes in processor time, in turns. The floor imports the drawing library, reads the tables and
encodes the same pictures from their pixels.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

import cosim
from cosim.experiments.benchmarks.framework import fresh_process_s
from cosim.experiments.studies.common import print_table
from cosim.results.folders import FIGURES_FOLDER
from cosim.results.pages.runs import write_report_and_page

RUNS = {
    "ieee37": ("ieee37", 24), "ieee37_year, 7 days": ("ieee37_year", 168), "ieee37_year, 28 days": ("ieee37_year", 672),
}  # fmt: skip
"""Scenario and steps by name."""
_MAKE = """
import sys, pathlib
from cosim.results.pages.runs import write_report_and_page
write_report_and_page(pathlib.Path(sys.argv[1]))
"""
_FLOOR = """
import sys, pathlib, numpy
import matplotlib.figure, matplotlib.backends.backend_agg
import pyarrow.parquet
from cosim.results.figures.style import encoded
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.parquet")):
    pyarrow.parquet.read_table(path, use_threads=False).to_pandas(split_blocks=True, self_destruct=True)
for path in sorted(pathlib.Path(sys.argv[2]).glob("*.npy")):
    encoded(numpy.load(path))
"""


def measure(name: str, folder: Path, repeats: int) -> dict[str, object]:
    """Median processor time of report and page of a run's folder, and its ratio to the floor."""
    write_report_and_page(folder)
    pictures = sorted((folder / FIGURES_FOLDER).glob("*.png"))
    with tempfile.TemporaryDirectory() as pixels:
        for path in pictures:
            np.save(Path(pixels) / f"{path.stem}.npy", np.asarray(Image.open(path).convert("RGBA")))
        made, floor = [], []
        for _ in range(repeats):  # in turns, so that a machine that slows down slows both
            made.append(fresh_process_s(["-c", _MAKE, str(folder.resolve())], 1))
            floor.append(fresh_process_s(["-c", _FLOOR, str(folder.resolve()), pixels], 1))
    return {
        "report and page of": name, "pictures": len(pictures), "median s": round(statistics.median(made), 2),
        "floor s": round(statistics.median(floor), 2),
        "ratio": f"{statistics.median(made) / statistics.median(floor):.3g}",
    }  # fmt: skip


def _main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(arguments)
    rows = [measure(str(folder), folder, options.repeats) for folder in options.folders]
    if not rows:
        with tempfile.TemporaryDirectory() as place:
            for name, (scenario, steps) in RUNS.items():
                folder = Path(place) / name
                cosim.run(scenario, overrides={"clock.steps": steps}, out=folder, figures=False)
                rows.append(measure(name, folder, options.repeats))
    print_table("Report, pictures and page (floor: import, read, encode)", rows)


if __name__ == "__main__":
    _main()
