"""A data center's power: IT load, cooling, power factor, battery, and what its connection carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cosim.constants import KILO
from cosim.grid.feeder.connections import terminals_of
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.phases import Terminal
from cosim.protocol.roles import Agreement
from cosim.scenario.schema import AgreementSpec, BatterySpec, DataCenterSpec

Work = TypeVar("Work", float, NDArray[np.float64])


@dataclass(frozen=True, slots=True)
class DataCenter:
    """A data center in MW, MVA and MWh, with the terminals through which it draws.

    Attributes:
        idle_mw, dynamic_mw: IT power at rest, and what full utilisation adds.
        reactive_ratio: Mvar per MW.
        terminal_max_mw: most that one terminal carries at the power factor.
        agreement: of a connection that is not firm; None where all that it carries is firm.
        backup_mw: most that the generator behind the meter gives, 0 without one.
    """

    name: str
    terminals: tuple[Terminal, ...]
    idle_mw: float
    dynamic_mw: float
    pue: float
    max_utilisation: float
    reactive_ratio: float
    terminal_max_mw: float
    battery: BatterySpec | None
    agreement: AgreementSpec | None = None
    backup_mw: float = 0.0

    @property
    def connected_mw(self) -> float:
        """Most that the connection carries at the power factor."""
        return self.terminal_max_mw * len(self.terminals)

    @property
    def firm_mw(self) -> float:
        """What may always be drawn: by the agreement, at most what the connection carries."""
        return self.connected_mw if self.agreement is None else min(self.agreement.firm_kw / KILO, self.connected_mw)

    @property
    def flexible_mw(self) -> float:
        """What may be drawn beyond the firm part within the operator's limits."""
        rest = self.connected_mw - self.firm_mw
        if self.agreement is None or self.agreement.flexible_kw is None:
            return rest
        return min(self.agreement.flexible_kw / KILO, rest)

    @property
    def lost_usd_per_mwh(self) -> float | None:
        """Cost of work that is dropped; None where none may be."""
        return None if self.agreement is None else self.agreement.lost_usd_per_mwh

    def within(self, drawn_mw: float) -> float:
        """Most work (MW of dynamic IT power) that runs on this much from the grid, without battery and backup."""
        return max(0.0, min(self.work_capacity_mw, drawn_mw / self.pue - self.idle_mw))

    @property
    def work_capacity_mw(self) -> float:
        """Most work (MW of dynamic IT power) that the site runs at once."""
        return self.max_utilisation * self.dynamic_mw

    @property
    def connected_work_mw(self) -> float:
        """Most work (MW of dynamic IT power) that the site runs at once on what its connection carries."""
        return self.within(self.connected_mw)

    def power_mw(self, work_mw: Work) -> Work:
        """Facility power for IT work: P = PUE (idle + work), with work = dynamic power * utilisation.

        The affine server model of Fan, Weber and Barroso (2007), times the power usage effectiveness.
        """
        return self.pue * (self.idle_mw + work_mw)

    def draw_mw(self, arriving_mw: NDArray[np.float64]) -> NDArray[np.float64]:
        """Facility power (steps,) if work (steps,) ran as it arrives, within what site and connection can do."""
        running = np.minimum(arriving_mw, self.work_capacity_mw)
        return np.asarray(np.minimum(self.power_mw(running), self.terminal_max_mw * len(self.terminals)))


def agreed(site: DataCenter) -> Agreement:
    """What the operator is told of a site's agreement."""
    spec = site.agreement
    assert spec is not None
    notice_h = None if spec.notice == "day_ahead" else float(spec.notice)
    return Agreement(site.name, site.firm_mw, site.flexible_mw, spec.priority, notice_h)


def datacenter_of(feeder: Feeder, spec: DataCenterSpec, key: str) -> DataCenter:
    """A data center of a scenario on its feeder; the rating defaults to full IT load at the power factor.

    Raises:
        InputError: unknown bus or missing phase.
    """
    terminals = terminals_of(feeder, spec.bus, spec.connection, key)
    full_mw = spec.pue * spec.it_peak_kw / KILO
    battery_mw = 0.0 if spec.battery is None else spec.battery.power_kw / KILO
    agreement = spec.agreement
    backup = None if agreement is None else agreement.backup
    backup_kw = 0.0 if backup is None else backup.p_max_kw
    if backup is not None and backup.kva is not None:
        backup_kw = min(backup_kw, backup.kva * spec.power_factor)
    rating_mw = (
        full_mw + battery_mw if spec.rating_kva is None else spec.rating_kva / KILO * spec.power_factor
    )
    return DataCenter(
        name=spec.name,
        terminals=terminals,
        idle_mw=spec.it_idle_kw / KILO,
        dynamic_mw=(spec.it_peak_kw - spec.it_idle_kw) / KILO,
        pue=spec.pue,
        max_utilisation=spec.max_utilisation,
        reactive_ratio=spec.reactive_ratio,
        terminal_max_mw=rating_mw / len(terminals),
        battery=spec.battery,
        agreement=agreement,
        backup_mw=backup_kw / KILO,
    )
