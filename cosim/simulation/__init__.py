"""One run: the Mesa model under the SimPy clock, and the functions that start it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cosim.simulation.runner import Comparison, RunResult, Validation, compare, run, validate

__all__ = ["Comparison", "RunResult", "Validation", "compare", "run", "validate"]


def __getattr__(name: str) -> Any:
    """Load what starts a run only when it is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.runner"), name)
