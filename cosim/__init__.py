"""Agent-based co-simulation of data centers and the distribution grid.

    result = cosim.run("ieee37", mode="decentralized", seed=1)
    result.prices          # a pandas frame; so are steps, demand, dispatch, voltages, work, rounds, messages
    result.kpis            # key figures by name

    found = cosim.run_sweep("tariffs", out="results/tariffs")
    found.runs             # one row per run: factors, key figures, status

    cosim.read("results/first")                               # a run, comparison or sweep, from its folder
    cosim.rerun("results/first", "results/again").identical   # run again from its own inputs, and compared
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cosim.exports import exported, watch_imports

if TYPE_CHECKING:
    from cosim.errors import InputError, RunFailure
    from cosim.simulation.rerun import Rerun
    from cosim.simulation.runner import Comparison, RunResult, Validation, compare, run, validate
    from cosim.sweep.reading import Sweep, read_sweep
    from cosim.sweep.rerun import read, rerun
    from cosim.sweep.run import run_sweep

__all__ = [
    "Comparison", "InputError", "Rerun", "RunFailure", "RunResult", "Sweep", "Validation", "compare", "read",
    "read_sweep", "rerun", "run", "run_sweep", "validate",
]  # fmt: skip

# Loaded only when asked for, so that importing cosim is quick.
__getattr__ = exported(
    __name__,
    {
        **dict.fromkeys(("InputError", "RunFailure"), "cosim.errors"),
        **dict.fromkeys(
            ("Comparison", "RunResult", "Validation", "compare", "run", "validate"), "cosim.simulation.runner"
        ),
        **dict.fromkeys(("Sweep", "read_sweep"), "cosim.sweep.reading"),
        **dict.fromkeys(("read", "rerun"), "cosim.sweep.rerun"),
        "Rerun": "cosim.simulation.rerun",
        "run_sweep": "cosim.sweep.run",
    },
)
watch_imports()


def __dir__() -> list[str]:
    return sorted(__all__)
