"""Agent-based co-simulation of data centers and the distribution grid.

    result = cosim.run("ieee37", mode="decentralized", seed=1)
    result.prices          # a pandas frame; so are steps, demand, dispatch, voltages, work, rounds, messages
    result.kpis            # key figures by name

    found = cosim.hosting_study("ieee37_year", buses=["740"], out="results/hosting")
    found.summary()        # what each bus can host: always, and if it may be limited

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
    from cosim.hosting.study.result import Hosting
    from cosim.hosting.study.study import hosting_study
    from cosim.simulation.rerun import Rerun
    from cosim.simulation.runner import Comparison, RunResult, Validation, compare, run, validate
    from cosim.sweep.evaluation.evaluate import evaluate
    from cosim.sweep.evaluation.result import Evaluation
    from cosim.sweep.reading import Sweep, read_sweep
    from cosim.sweep.rerun import read, rerun
    from cosim.sweep.run import run_sweep

__all__ = [
    "Comparison", "Evaluation", "Hosting", "InputError", "Rerun", "RunFailure", "RunResult", "Sweep", "Validation",
    "compare", "evaluate", "hosting_study", "read", "read_sweep", "rerun", "run", "run_sweep", "validate",
]  # fmt: skip

# Loaded only when asked for, so that importing cosim is quick.
__getattr__ = exported(
    __name__,
    {
        **dict.fromkeys(("InputError", "RunFailure"), "cosim.errors"),
        **dict.fromkeys(
            ("Comparison", "RunResult", "Validation", "compare", "run", "validate"), "cosim.simulation.runner"
        ),
        "Hosting": "cosim.hosting.study.result",
        "hosting_study": "cosim.hosting.study.study",
        "Evaluation": "cosim.sweep.evaluation.result",
        "evaluate": "cosim.sweep.evaluation.evaluate",
        **dict.fromkeys(("Sweep", "read_sweep"), "cosim.sweep.reading"),
        **dict.fromkeys(("read", "rerun"), "cosim.sweep.rerun"),
        "Rerun": "cosim.simulation.rerun",
        "run_sweep": "cosim.sweep.run",
    },
)
watch_imports()


def __dir__() -> list[str]:
    return sorted(__all__)
