"""The laws of a battery, stated once: the operator's and the aggregator's batteries both keep them.

A law takes powers and energies of any algebra (numbers, arrays, Pyomo variables, expressions of a window) and gives
back the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Storage:
    """What a battery can do: power in MW, energy in MWh.

    Attributes:
        power_mw: most that is charged or discharged.
        lowest_mwh, full_mwh: limits of the charge.
        kept_mwh: charge at the end of a window at least.
        efficiency: of charging, and of discharging.
        wear_usd_per_mwh: cost of a MWh discharged.
    """

    power_mw: float
    lowest_mwh: float
    full_mwh: float
    kept_mwh: float
    efficiency: float
    wear_usd_per_mwh: float

    @property
    def lossy(self) -> bool:
        """Whether charging and discharging at once would turn energy into heat; without losses only their difference
        counts."""
        return self.efficiency < 1.0

    def charge_after(self, before: Any, charged: Any, discharged: Any, hours: float) -> Any:
        """State of charge (MWh): charge[t] = charge[t-1] + h (eta in - out / eta)."""
        return before + hours * (self.efficiency * charged - discharged / self.efficiency)

    @staticmethod
    def at_once(charged: Any, discharged: Any) -> Any:
        """in + out, at most the rated power: the convex hull of charging or discharging, never both."""
        return charged + discharged

    def wear_usd(self, discharged: Any, hours: float) -> Any:
        """Cost of wear (USD) of discharging for a step."""
        return self.wear_usd_per_mwh * hours * discharged
