"""How time and memory grow with the size of the feeder.

    python -m cosim.experiments.benchmarks.network.growth --dss path/to/Master.dss --out results/growth

IEEE 37 and IEEE 123, OpenDSS scripts of your own, and synthetic radial feeders up to 50,000 nodes, each in a process of
its own. Import: from an OpenDSS script to checked tables, solved original and comparison included. Linearise: one
operating point, AC power flow included. Solve for inputs: factors and sensitivities of all limited outputs to 10 data
centers and 20 generators. Clear and price: per step, prices of P and Q at every node. Times are those of one
processor, so that whatever else the machine does is left out of them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from cosim.experiments.benchmarks.clearing import Stopwatch, clear
from cosim.experiments.benchmarks.synthetic import synthetic_feeder
from cosim.experiments.studies.common import growth_exponent, leave_growth, print_table
from cosim.grid.feeder.tables import read_feeder
from cosim.grid.opendss.commands import circuit_commands
from cosim.grid.opendss.importer.importer import import_feeder
from cosim.results.figures.style import COLOURS, GREY, new_figure, style

SYNTHETIC = (1_000, 3_000, 10_000, 20_000, 50_000)
STEPS, ROUNDS = 4, 3
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
STAGES = {
    "import s": "import from OpenDSS", "linearise s": "linearise (AC power flow included)",
    "inputs s": "factors and sensitivities", "screen s": "drop rows that cannot bind",
    "clear s": "clear one step", "price s": "price all nodes, one step",
}  # fmt: skip


def measure(name: str) -> dict[str, Any]:
    """One feeder, in this process: seconds per step of every stage, and the most memory it took."""
    watch = Stopwatch(time.process_time)
    with tempfile.TemporaryDirectory() as folder:
        script = Path(name)
        if not name.lower().endswith(".dss"):
            feeder = synthetic_feeder(int(name)) if name.isdigit() else read_feeder(name)
            script = Path(folder) / "feeder.dss"
            script.write_text("\n".join([*circuit_commands(feeder), "solve"]), encoding="utf-8")
        watch.lap("written")
        feeder = import_feeder(script).feeder
        watch.lap("import")
    found: dict[str, Any] = clear(feeder, "ac-linear", STEPS, ROUNDS, watch)
    return {
        "feeder": name if not name.isdigit() else f"synthetic {name}", "nodes": found["nodes"],
        "import s": found["import"], "compile s": found["compile"],
        "linearise s": found["linearise"] / STEPS, "inputs s": found["solve for inputs"] / STEPS,
        "screen s": found["screen"] / STEPS, "clear s": found["clear ms"] / 1000,
        "price s": found["price ms"] / 1000, "rows a step": found["rows a step"],
        "memory MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }  # fmt: skip


def measure_apart(name: str) -> dict[str, Any]:
    """The same in a process of its own, so that memory is that of one feeder."""
    command = [sys.executable, "-m", "cosim.experiments.benchmarks.network.growth", "--one", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **ONE_THREAD})
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def figure(rows: Sequence[dict[str, Any]]) -> Figure:
    """Seconds of each stage, and memory, against nodes; both axes logarithmic, with a line of linear growth."""
    made = [r for r in rows if str(r["feeder"]).startswith("synthetic")]
    real = [r for r in rows if r not in made]
    sizes = [min(r["nodes"] for r in rows), max(r["nodes"] for r in rows)]
    with style():
        drawn = new_figure(5.0, "How time and memory grow with the feeder", 11.0)
        left, right = drawn.subplots(1, 2, width_ratios=(3, 2))
        curves = [(left, stage, label, COLOURS[k]) for k, (stage, label) in enumerate(STAGES.items())]
        for axes, stage, label, colour in [*curves, (right, "memory MB", "synthetic feeders", COLOURS[0])]:
            axes.plot([r["nodes"] for r in made], [r[stage] for r in made], "o-", color=colour, ms=4, label=label)
            axes.plot([r["nodes"] for r in real], [r[stage] for r in real], "x", color=colour, ms=7, mew=1.8)
        for axes, most in ((left, 0.3), (right, max(r["memory MB"] for r in rows))):
            line = [most * n / sizes[1] for n in sizes]
            axes.plot(sizes, line, "--", color=GREY, lw=1, label="linear growth (slope)")
            axes.set(xscale="log", yscale="log", xlabel="nodes (bus-phases)")
            axes.grid(True, which="major")
        left.legend(fontsize=8, loc="upper left")
        right.set_ylim(bottom=100.0)
        right.legend(fontsize=8, loc="upper left")
        left.set(ylabel="seconds of one processor", title="Time: lines synthetic, crosses test feeders")
        right.set(ylabel="MB", title="Most memory of the process")
    return drawn


def exponents(rows: Sequence[dict[str, Any]]) -> list[dict[str, object]]:
    """Exponent of growth of every stage between the smallest of the large synthetic feeders and the largest."""
    made = [r for r in rows if str(r["feeder"]).startswith("synthetic") and r["nodes"] >= 5_000]
    if len(made) < 2:
        return []
    first, last = made[0], made[-1]
    nodes, keys = (first["nodes"], last["nodes"]), [*STAGES, "memory MB"]
    return [{"what": k, "exponent": growth_exponent(nodes, (first[k], last[k]))} for k in keys]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dss", nargs="*", default=[], help="OpenDSS scripts beside the shipped feeders")
    parser.add_argument("--sizes", nargs="*", type=int, default=list(SYNTHETIC))
    parser.add_argument("--out", default="results/growth")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        print(json.dumps(measure(options.one)))
        return
    rows = []
    for name in ("ieee37", "ieee123", *options.dss, *map(str, options.sizes)):
        rows.append(measure_apart(name))
        print_table(Path(name).stem, [{k: round(v, 4) if isinstance(v, float) else v for k, v in rows[-1].items()}])
    print_table("growth from 5,000 nodes up: time or memory ~ nodes^exponent", exponents(rows))
    leave_growth(rows, figure(rows), options.out, "growth")


if __name__ == "__main__":
    main()
