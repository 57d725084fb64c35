"""The same optimal power flow by DistOPF and by this package, side by side in one run.

    python -m cosim.experiments.benchmarks.network.peer --peer-python /path/to/its/venv/bin/python

The case is DistOPF's ``ieee123_30der`` with its data: 30 three-phase inverters whose P and Q are both decided, two
batteries, four capacitors, four regulators, voltage limits; the cost of import and of the units' energy is minimised;
HiGHS on both sides. Each variant has a load and prices of its own. The peer builds its model for each step, as it has
to; ours is compiled once and takes new numbers. Prices at all nodes are included on both sides. How the case is stated
in our terms: :mod:`cosim.experiments.benchmarks.network.peer_case`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cosim.experiments.benchmarks.network.peer_case import PeerCase
from cosim.experiments.studies.common import median_s, print_table

SCRIPT = Path(__file__).with_name("peer_distopf.py")
CASE = "ieee123_30der"
VARIANTS = ((1.0, 1.0, 0.5), (0.8, 0.4, 0.5), (1.2, 0.9, 0.6), (1.4, 1.0, 1.5), (1.9, 1.0, 0.5))
"""Load multiplier, price of import, of the units' energy; in the last one voltage limits bind and prices differ."""
MARK = "RESULT"


def ask_peer(python: str, repeats: int) -> dict[str, Any] | str:
    """What the peer found, or why it could not be asked."""
    variants = [":".join(map(str, v)) for v in VARIANTS]
    try:
        done = subprocess.run(
            [python, str(SCRIPT), CASE, str(repeats), *variants], capture_output=True, text=True, check=False
        )
    except OSError as error:
        return f"{python} cannot be run: {error}"
    if done.returncode != 0:
        return f"{python} has no working distopf: {done.stderr.strip().splitlines()[-1:]}"
    found: dict[str, Any] = json.loads(done.stdout[done.stdout.index(MARK) + len(MARK) :])
    return found


def compare(peer: dict[str, Any], repeats: int) -> list[dict[str, object]]:
    """One row for each variant: objectives, largest difference of voltages and prices, and times."""
    start = time.perf_counter()
    case = PeerCase(peer["tables"])
    case.solve(*VARIANTS[0])
    compiled = time.perf_counter() - start
    # no step like the one before it: another variant each time, and another load
    steps = (
        (load * (1 - 0.1 * math.sin(k) ** 2), *prices) for k, (load, *prices) in enumerate(itertools.cycle(VARIANTS))
    )
    seconds = median_s(lambda: case.solve(*next(steps)), repeats)
    place = {node: k for k, node in enumerate(case.network.nodes)}
    rows: list[dict[str, object]] = []
    for variant, theirs in zip(VARIANTS, peer["variants"], strict=True):
        objective, squares, p, q = case.solve(*variant)
        volts = max(abs(squares[place[str(i), x]] - v) for i, x, v in theirs["v2"])
        prices = max(
            abs(mine[place[str(i), x]] - dual)
            for mine, kind in ((p, "p"), (q, "q")) for i, x, dual in theirs["duals"][kind]
        )  # fmt: skip
        spent = theirs["seconds"]
        whole = sum(spent.values())
        rows.append(
            {
                "load, prices": "{:g}, {:g} and {:g}".format(*variant), "objective": theirs["objective"],
                "relative difference": abs(objective - theirs["objective"]) / max(1e-12, abs(theirs["objective"])),
                "v² apart": float(volts), "prices apart": float(prices),
                "price range": f"{p.min():.4f} to {p.max():.4f}", "peer s": round(whole, 4),
                "peer without build s": round(whole - spent["build"], 4), "ours s": round(seconds, 6),
                "times faster": round(whole / seconds, 1),
                "without build": round((whole - spent["build"]) / seconds, 1),
                "compiled s": round(compiled, 3), "rows kept": len(case.kept),
            }
        )  # fmt: skip
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the comparison, or say why there is none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", default=os.environ.get("COSIM_PEER_PYTHON", sys.executable))
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(arguments)
    peer = ask_peer(options.peer_python, options.repeats)
    if isinstance(peer, str):
        print(f"Skipped: {peer}. Install DistOPF in a virtual environment and name its interpreter with --peer-python.")
        return
    rows = compare(peer, 10 * options.repeats)
    for row in rows:
        print_table(str(row["load, prices"]), [{"what": k, "value": v} for k, v in row.items()])
    worst = float(np.max([float(str(row["relative difference"])) for row in rows]))
    ratios = [float(str(row["times faster"])) for row in rows]
    print(f"objectives apart by at most {worst:.1e}; {min(ratios):.0f} to {max(ratios):.0f} times faster")


if __name__ == "__main__":
    main()
