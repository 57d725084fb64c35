"""Accounts and gains as tables for a reader."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from cosim.results.accounts.totals import by_party, totals


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table for a reader: a title, a text, columns, and rows of a name, what it is, and a text for each column."""

    title: str
    text: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, str, tuple[str, ...]], ...]


def account_sheet(accounts: pd.DataFrame) -> Sheet | None:
    """Energy and money of all units of a run; None without accounts."""
    if accounts.empty:
        return None
    found = totals(accounts)
    shown = ("bought_kwh", "sold_kwh", "received_usd", "paid_usd", "own_cost_usd", "net_usd")
    rows = []
    for row in found.to_dict("records"):
        where = f", {row['feeder']}" if "feeder" in row else ""
        what = row["kind"] if row["unit"] in (row["party"], row["kind"]) else f"{row['kind']} {row['unit']}"
        rows.append((str(row["party"]), f"{what}{where}", tuple(f"{round(row[name], 2) + 0.0:,.2f}" for name in shown)))
    every = found[list(shown)].sum()
    rows.append(("all", "", tuple(f"{round(every[name], 6) + 0.0:,.2f}" for name in shown)))
    return Sheet(
        "Who pays, who receives",
        "Every payment is to the operator or from it, so payments received and paid come to the same; what the "
        "operator receives more than it pays is its surplus. Net is received less paid less own cost.",
        ("bought, kWh", "sold, kWh", "received, USD", "paid, USD", "own cost, USD", "net, USD"),
        tuple(rows),
    )


def gain_sheet(table: pd.DataFrame) -> Sheet | None:
    """What each party gains in each mode; None where there is nothing to measure against.

    Args:
        table: see :func:`gains`.
    """
    if table["gain_usd"].isna().all():
        return None
    wide, baseline = by_party(table), str(table["baseline"].iloc[0])
    wide = wide.drop(columns=baseline, errors="ignore")
    rows = [(str(party), "", tuple(f"{usd:+,.2f}" for usd in row)) for party, row in wide.iterrows()]
    rows.append(("all", "less social cost", tuple(f"{usd:+,.2f}" for usd in wide.sum())))
    return Sheet(
        "Who gains, who loses",
        f"USD over the whole horizon against {baseline}: payments received less paid, less own cost. What all gain "
        "together is what the mode saves in social cost; the rest changes hands.",
        tuple(map(str, wide.columns)),
        tuple(rows),
    )
