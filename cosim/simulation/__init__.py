"""One run: the Mesa model under the SimPy clock, and the functions that start it."""

import warnings
from typing import TYPE_CHECKING

with warnings.catch_warnings():  # on a bar of progress that is not drawn: mesa imports what warns of it in notebooks
    warnings.filterwarnings("ignore", message="IProgress not found")
    import mesa  # noqa: F401  # first of the libraries: it searches the files of all modules that are loaded before it

from cosim.exports import exported

if TYPE_CHECKING:
    from cosim.simulation.runner import Comparison, RunResult, Validation, compare, run, validate

__all__ = ["Comparison", "RunResult", "Validation", "compare", "run", "validate"]

__getattr__ = exported(__name__, dict.fromkeys(__all__, "cosim.simulation.runner"))
