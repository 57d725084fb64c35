"""What of a run's results is written."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cosim.scenario.types import BriefSection, LeftOut

MOST_FLOW_ROWS = 1_000_000
"""Rows of the table of flows up to which ``auto`` writes all of them (about 60 MB)."""


class ResultsSpec(BriefSection):
    """How much is written of tables that grow with the feeder.

    ``flows``: of every branch and phase in each step (``all``), of those loaded by at least ``loaded_pct`` of their
    rating, in the linear network or in AC power flow (``loaded``), or of none; ``auto`` is all up to a million rows,
    and beyond that those that are loaded, which the run's notes then say. ``value_of_information``: whether the
    scenario is run once more with perfect forecasts, to say what knowing more would have been worth.
    """

    flows: Literal["auto", "all", "loaded", "none"] = "auto"
    loaded_pct: Annotated[float, Field(ge=0, le=1000)] = 80.0
    value_of_information: Annotated[bool, LeftOut] = False

    def flows_of(self, rows: int) -> Literal["all", "loaded", "none"]:
        """What is written of a table that would have so many rows."""
        if self.flows == "auto":
            return "all" if rows <= MOST_FLOW_ROWS else "loaded"
        return self.flows
