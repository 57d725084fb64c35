"""Contingencies and switching states of a feeder, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Tie:
    """A line that is closed in a case: between two buses, of a construction (``code``) that the feeder has.

    Attributes:
        phases: that it joins. length_ft: in feet. amps: what each conductor may carry; None if nobody says.
    """

    from_bus: str
    to_bus: str
    code: str
    length_ft: float
    phases: str = "abc"
    amps: float | None = None


@dataclass(frozen=True)
class Case:
    """A state of the network; without any change it is the base case.

    Attributes:
        taps: tap of regulators that stand still in this case, by ``REGULATOR`` (all its units) or ``REGULATOR.UNIT``.
        held: regulators that stand still where the feeder has them.
        capacitors_off: capacitors out of service.
        lines_out: lines out of service; what they alone feed has no supply.
        ties: lines closed instead.
    """

    name: str
    taps: Mapping[str, int] = field(default_factory=dict, hash=False)
    held: tuple[str, ...] = ()
    capacitors_off: tuple[str, ...] = ()
    lines_out: tuple[str, ...] = ()
    ties: tuple[Tie, ...] = ()
