"""Rows of the result tables that an aggregator knows: demand and work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cosim.agents.dca.datacenter import DataCenter
from cosim.agents.dca.workload import Ledger
from cosim.constants import KILO
from cosim.results.columns import Columns

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class WorkResult:
    """Work of one step, (classes, sites) MWh, each site's utilisation, power drawn (terminals, MW), own cost (USD), and
    its parts by site; what backup generators give (sites, MW); cost of what a limit makes necessary, by number of the
    site and unit, which is no part of the sites' own."""

    arrived: Array
    served_at: Array
    waiting: Array
    late: Array
    utilisation: Array
    power_mw: Array
    own_cost_usd: float
    site_costs_usd: Array
    lost: Array
    backup_mw: Array
    limited_usd: Mapping[tuple[int, str], float]


def demand_rows(sites: Sequence[DataCenter], t: int, result: WorkResult) -> Columns:
    """Power that each data center draws from the grid, per terminal, its utilisation, and what its backup gives."""
    terminals = [(i, terminal) for i, site in enumerate(sites) for terminal in site.terminals]
    owner = [i for i, _ in terminals]
    p_kw = KILO * result.power_mw
    count = np.array([len(site.terminals) for site in sites])
    backed = any(site.backup_mw > 0 for site in sites)
    backup = {"backup_kw": (KILO * result.backup_mw / count)[owner]} if backed else {}
    return {
        "step": t,
        "datacenter": [sites[i].name for i in owner],
        "phase": [x.phases[0] if len(x.phases) == 1 else "abc" for _, x in terminals],
        "p_kw": p_kw,
        "q_kvar": p_kw * np.array([sites[i].reactive_ratio for i in owner]),
        "utilisation": result.utilisation[owner],
        **backup,
    }


def work_rows(ledger: Ledger, sites: Sequence[DataCenter], t: int, result: WorkResult) -> Columns:
    """Work per class: what arrived at a site, what was served there, what waits there, what of it is late, and
    what was dropped."""
    return {
        "step": t,
        "datacenter": [site.name for site in sites] * len(ledger.classes),
        "class": [spec.name for spec in ledger.classes for _ in sites],
        "arrived_mwh": result.arrived.ravel(),
        "served_mwh": result.served_at.ravel(),
        "deferred_mwh": result.waiting.ravel(),
        "late_mwh": result.late.ravel(),
        **({"lost_mwh": result.lost.ravel()} if any(s.lost_usd_per_mwh is not None for s in sites) else {}),
    }
