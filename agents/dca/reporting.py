"""Rows of the result tables that an aggregator knows: demand and work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cosim.agents.dca.datacenter import DataCenter
from cosim.agents.dca.workload import Ledger
from cosim.interfaces import Row

KILO = 1000.0
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class WorkResult:
    """Work of one step, (classes, sites) MWh, each site's utilisation, power drawn (terminals, MW), own cost (USD)."""

    arrived: Array
    served_at: Array
    waiting: Array
    late: Array
    utilisation: Array
    power_mw: Array
    own_cost_usd: float


def demand_rows(sites: Sequence[DataCenter], t: int, result: WorkResult) -> list[Row]:
    """Power that each data center draws, per terminal, and its utilisation."""
    rows: list[Row] = []
    n = 0
    for i, site in enumerate(sites):
        for terminal in site.terminals:
            p_kw = KILO * float(result.power_mw[n])
            rows.append(
                {
                    "step": t,
                    "datacenter": site.name,
                    "phase": terminal.phases[0] if len(terminal.phases) == 1 else "abc",
                    "p_kw": p_kw,
                    "q_kvar": p_kw * site.reactive_ratio,
                    "utilisation": float(result.utilisation[i]),
                }
            )
            n += 1
    return rows


def work_rows(ledger: Ledger, sites: Sequence[DataCenter], t: int, result: WorkResult) -> list[Row]:
    """Work per class: what arrived at a site, what was served there, what waits there and what of it is late."""
    return [
        {
            "step": t,
            "datacenter": site.name,
            "class": spec.name,
            "arrived_mwh": float(result.arrived[k, i]),
            "served_mwh": float(result.served_at[k, i]),
            "deferred_mwh": float(result.waiting[k, i]),
            "late_mwh": float(result.late[k, i]),
        }
        for k, spec in enumerate(ledger.classes)
        for i, site in enumerate(sites)
    ]
