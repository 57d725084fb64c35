"""What a feeder is: tables, phases, connections, controls, and the checks that its tables must pass."""

from typing import TYPE_CHECKING

from cosim.exports import exported

if TYPE_CHECKING:
    from cosim.grid.feeder.feeder import Feeder

__all__ = ["Feeder"]

__getattr__ = exported(__name__, dict.fromkeys(__all__, "cosim.grid.feeder.feeder"))
