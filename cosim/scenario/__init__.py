"""Scenario files: schema, loading, series, calendar, and what a run prepares from them."""

from typing import TYPE_CHECKING

from cosim.exports import exported

if TYPE_CHECKING:
    from cosim.scenario.schema import Scenario

__all__ = ["Scenario"]

__getattr__ = exported(__name__, dict.fromkeys(__all__, "cosim.scenario.schema"))
