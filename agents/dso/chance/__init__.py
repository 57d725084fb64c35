"""Limits of the network that are kept with a probability: margins against errors of load and sun, and their price."""

from cosim.agents.dso.chance.limits import ChanceLimits, chance_limits

__all__ = ["ChanceLimits", "chance_limits"]
