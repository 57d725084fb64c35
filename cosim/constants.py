"""What several rooms name or count by, stated once."""

from __future__ import annotations

KILO = 1000.0
"""kW in a MW, W in a kW, USD/MWh in a USD/kWh."""
HOUR_S = 3600
"""Seconds in an hour."""
PHASES = ("a", "b", "c")
LEGS = ("ab", "bc", "ca")
PRICE_PARTS = ("energy", "loss", "voltage", "congestion", "unbalance", "risk")
"""The parts of a price, which add up to it; the last where limits are kept with a probability."""
