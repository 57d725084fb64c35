"""Accounts over a whole run, and who gains and who loses between runs, from the table ``accounts``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cosim.errors import InputError
from cosim.results.tables import Tables

ACCOUNTS_FILE = "accounts.csv"
BASELINE = "uncoordinated"
UNIT = ("party", "kind", "unit")
AMOUNTS = ("bought_kwh", "sold_kwh", "received_usd", "paid_usd", "reactive_usd", "own_cost_usd")


def net_usd(accounts: pd.DataFrame) -> pd.Series:
    """What each row leaves a party: payments received less paid, less its own cost (USD)."""
    return accounts["received_usd"] - accounts["paid_usd"] - accounts["own_cost_usd"]


def totals(accounts: pd.DataFrame, by: Sequence[str] = UNIT) -> pd.DataFrame:
    """Accounts added up, with ``net_usd`` as the last column.

    Args:
        accounts: the table of a run.
        by: what a row of the result is of: ``("party",)`` for parties; with ``"step"`` first, step by step.
    """
    keys = [*(c for c in ("feeder",) if c in accounts and "unit" in by), *by]
    summed = accounts.groupby(keys, sort=True)[list(AMOUNTS)].sum().reset_index()
    return summed.assign(net_usd=net_usd(summed))


def baseline_among(names: Sequence[str], modes: Mapping[str, str], asked: str | None = None) -> str:
    """Name of the run that others are measured against: the one asked for, else the first uncoordinated one, else the
    first.

    Args:
        names: of the runs. modes: of each of them.

    Raises:
        InputError: no run of the name that is asked for.
    """
    if asked is not None:
        if asked not in names:
            raise InputError("no mode of this name is compared", key="baseline", value=asked, allowed=", ".join(names))
        return asked
    return next((name for name in names if modes[name] == BASELINE), names[0])


def gains(runs: Mapping[str, Tables], baseline: str, by: Sequence[str] = UNIT) -> pd.DataFrame:
    """The accounts of several runs on the same hours, and what each party gains against one of them.

    Args:
        runs: tables by the name of the run. baseline: name of the run to measure against.
        by: see :func:`totals`.

    Returns:
        Rows of :func:`totals` below each other, with ``mode`` (the run's name) in front, and at the end ``gain_usd``,
        what the run leaves the party more than the baseline does, and ``baseline``, its name. A party without a row in
        one of both has nothing there. The gain is missing where the baseline has no accounts.
    """
    found = {name: totals(tables.accounts, by) for name, tables in runs.items()}
    keys = [c for c in ("feeder", *by) if any(c in frame for frame in found.values())]
    frames = []
    before = found[baseline].set_index(keys)["net_usd"] if baseline in found and len(found[baseline]) else None
    for name, frame in found.items():
        if frame.empty:
            continue
        after = frame.set_index(keys)
        if before is not None:
            after = after.reindex(after.index.union(before.index), fill_value=0.0)
            after["gain_usd"] = after["net_usd"] - before.reindex(after.index, fill_value=0.0)
        else:
            after["gain_usd"] = float("nan")
        frames.append(after.reset_index().assign(mode=name))
    columns = ["mode", *keys, *AMOUNTS, "net_usd", "gain_usd"]
    joined = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)
    return joined[columns].assign(baseline=baseline)


def by_party(table: pd.DataFrame, value: str = "gain_usd") -> pd.DataFrame:
    """What :func:`gains` says of each party: parties as rows, the greatest first, runs as columns in their order."""
    wide = table.pivot_table(index="party", columns="mode", values=value, aggfunc="sum", sort=False)
    return wide.loc[wide.abs().max(axis=1).sort_values(ascending=False, kind="stable").index]


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
        rows.append((str(row["party"]), f"{what}{where}", tuple(f"{row[name] + 0.0:,.2f}" for name in shown)))
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


def write_gains(table: pd.DataFrame, folder: Path) -> None:
    """Write ``accounts.csv``."""
    table.to_csv(folder / ACCOUNTS_FILE, index=False, lineterminator="\n")


def read_baseline(folder: Path) -> str | None:
    """Name of the run that a comparison was measured against; None if it has no accounts."""
    path = folder / ACCOUNTS_FILE
    if not path.is_file():
        return None
    try:
        names = pd.read_csv(path, usecols=["baseline"], dtype=str)["baseline"]
    except (OSError, ValueError) as error:
        raise InputError(f"not the accounts of a comparison ({error})", file=path) from None
    return None if names.empty else str(names.iloc[0])
