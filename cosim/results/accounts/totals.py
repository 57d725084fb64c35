"""Accounts over a whole run, and who gains and who loses between runs, from the table ``accounts``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
