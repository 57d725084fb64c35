"""Who bears deviations: positions of day ahead, what is drawn beside them, and what both cost, over a whole run."""

from __future__ import annotations

import pandas as pd

from cosim.constants import KILO
from cosim.results.accounts.sheets import Sheet

OF = ("aggregator", "datacenter")


def deviation_totals(deviations: pd.DataFrame, hours: float) -> pd.DataFrame:
    """The table ``deviations`` added up over steps and terminals, site by site.

    Args:
        hours: length of a step.

    Returns:
        Rows by aggregator and data center: energy that was held, drawn, bought and sold in real time (MWh), payments of
        both settlements (USD), and ``deviation_cost_usd``: what deviations cost more than at day-ahead prices, reactive
        power included where it is paid for.
    """
    energy = hours / KILO
    beside = deviations["deviation_kw"]
    frame = deviations.assign(
        held_mwh=energy * deviations["position_kw"],
        drawn_mwh=energy * deviations["drawn_kw"],
        bought_mwh=energy * beside.clip(lower=0.0),
        sold_mwh=energy * (-beside).clip(lower=0.0),
        deviation_cost_usd=deviations["deviation_payment_usd"] - deviations["deviation_day_ahead_usd"],
    )
    columns = ["held_mwh", "drawn_mwh", "bought_mwh", "sold_mwh", "day_ahead_payment_usd", "deviation_payment_usd",
               "deviation_cost_usd"]  # fmt: skip
    return frame.groupby(list(OF), sort=True)[columns].sum().reset_index()


def deviation_sheet(deviations: pd.DataFrame, hours: float) -> Sheet | None:
    """Who deviates by how much, and what it costs; None where there is one settlement."""
    if deviations.empty:
        return None
    found = deviation_totals(deviations, hours)
    shown = [c for c in found.columns if c not in OF]
    parties = [(str(row["aggregator"]), str(row["datacenter"]), row) for row in found.to_dict("records")]
    rows = [(owner, site, tuple(f"{row[name] + 0.0:,.2f}" for name in shown)) for owner, site, row in parties]
    rows.append(("all", "", tuple(f"{found[name].sum() + 0.0:,.2f}" for name in shown)))
    return Sheet(
        "Who bears deviations",
        "Positions are paid at day-ahead prices; what is drawn beyond them is bought, and what is left of them sold, "
        "at prices of delivery. The last column is what deviations cost more than they would have at day-ahead prices.",
        ("held, MWh", "drawn, MWh", "bought, MWh", "sold, MWh", "day ahead, USD", "deviations, USD",
         "above day ahead, USD"),
        tuple(rows),
    )  # fmt: skip
