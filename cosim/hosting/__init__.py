"""What the grid leaves for a connection hour by hour: the largest draw that keeps every limit in AC power flow."""

from __future__ import annotations

from cosim.hosting.cases import Case, Tie
from cosim.hosting.engine import hourly_limits
from cosim.hosting.limits import Connection, Element, HourlyLimits, connection_at
from cosim.hosting.surroundings import Injection, Surroundings, surroundings_at, surroundings_of
from cosim.hosting.switching import single_outages

__all__ = [
    "Case", "Connection", "Element", "HourlyLimits", "Injection", "Surroundings", "Tie", "connection_at",
    "hourly_limits", "single_outages", "surroundings_at", "surroundings_of",
]  # fmt: skip
