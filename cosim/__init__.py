"""Agent-based co-simulation of data centers and the distribution grid.

    result = cosim.run("ieee37", mode="decentralized", seed=1)
    result.prices          # a pandas frame; so are steps, demand, dispatch, voltages, work, rounds, messages
    result.kpis            # key figures by name

    found = cosim.run_sweep("tariffs", out="results/tariffs")
    found.runs             # one row per run: factors, key figures, status
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cosim.errors import InputError, RunFailure
    from cosim.simulation.runner import Comparison, RunResult, Validation, compare, run, validate
    from cosim.sweep.reading import Sweep, read_sweep
    from cosim.sweep.run import run_sweep

__all__ = [
    "Comparison", "InputError", "RunFailure", "RunResult", "Sweep", "Validation", "compare", "read_sweep", "run",
    "run_sweep", "validate",
]  # fmt: skip

_HOMES = {
    "InputError": "cosim.errors", "RunFailure": "cosim.errors", "Sweep": "cosim.sweep.reading",
    "read_sweep": "cosim.sweep.reading", "run_sweep": "cosim.sweep.run",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load what is asked for only when it is asked for, so that importing cosim is quick."""
    if name not in __all__:
        raise AttributeError(f"module 'cosim' has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "cosim.simulation.runner")), name)


def __dir__() -> list[str]:
    return sorted(__all__)
