"""Hourly limits of connections that are not firm, worked out by the operator."""

from cosim.agents.dso.envelopes.book import EnvelopeBook

__all__ = ["EnvelopeBook"]
