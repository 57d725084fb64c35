"""Refuses work that the sites of an aggregator cannot do: beyond their capacity, or beyond the firm part of a
connection."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cosim.agents.dca.datacenter import DataCenter
from cosim.constants import KILO
from cosim.errors import InputError
from cosim.scenario.schema import WorkClassSpec

Array = NDArray[np.float64]
_LATE_TOLERANCE_MWH = 1e-6
_POWER_TOLERANCE_MW = 1e-9


def check_capacity(sites: Sequence[DataCenter], arrived_mwh: Array, late_mwh: Array, hours: float) -> None:
    """Refuse work that is late even with all flexibility used.

    Args:
        arrived_mwh: (classes, sites, steps). late_mwh: of the schedule that is late the least.

    Raises:
        InputError: naming how much work is too much.
    """
    if late_mwh.max() > _LATE_TOLERANCE_MWH:
        capacity = sum(s.work_capacity_mw for s in sites) * hours
        raise InputError(
            "the work does not fit the capacity of the data centers within its deadlines",
            key="workload.utilisation",
            value=f"{float(arrived_mwh.sum(axis=(0, 1)).max()):.3f} MWh arrive in the fullest step",
            allowed=f"at most {capacity:.3f} MWh a step for all sites together, "
            "less where work cannot move or wait",
        )


def inelastic(classes: Sequence[WorkClassSpec], sites: int) -> NDArray[np.bool_]:
    """(classes,) whose work can neither wait nor run at another site of the aggregator."""
    return np.array([c.max_delay_steps == 0 and not (c.movable and sites > 1) for c in classes])


def check_agreements(
    sites: Sequence[DataCenter], classes: Sequence[WorkClassSpec], arrivals_mwh: Array, hours: float
) -> None:
    """Refuse an agreement whose firm part, with the backup behind the meter, does not carry the work that no limit may
    touch.

    Args:
        arrivals_mwh: (classes, sites, steps of the horizon).

    Raises:
        InputError: naming site, step and power.
    """
    bound_mw = arrivals_mwh[inelastic(classes, len(sites))].sum(axis=0) / hours
    for site, work_mw in zip(sites, bound_mw, strict=True):
        if site.agreement is None:
            continue
        needed = np.asarray(site.power_mw(np.minimum(work_mw, site.work_capacity_mw))) - site.backup_mw
        t = int(needed.argmax())
        if needed[t] > site.firm_mw + _POWER_TOLERANCE_MW:
            besides = f", {KILO * site.backup_mw:.4g} kW of backup generation besides" if site.backup_mw else ""
            raise InputError(
                "the firm part of the connection does not carry the work that can neither wait nor move",
                key=f"datacenters.{site.name}.agreement.firm_kw",
                value=f"{KILO * site.firm_mw:.6g} kW",
                allowed=f"at least {KILO * needed[t]:.6g} kW, which {site.name} needs in step {t}{besides}",
            )
