"""Study: two settlements against one; the analysis of ``settlements.yaml``.

    cosim sweep settlements --out results/settlements

What is agreed on day ahead is the same in all three markets of a seed, and so is what happens. A market that is settled
at delivery charges the price of delivery for all that is drawn; with two settlements what was agreed on keeps its
price. The surprise of a run is what data centers pay at the end less what they had agreed to pay day ahead.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from cosim.experiments.studies.common import markdown_table, missing_note, whole_grid
from cosim.results.figures.style import new_figure, style
from cosim.sweep.findings import Findings
from cosim.sweep.reading import Sweep

KEYS = ["market", "size"]
DAY, ROLLING, TWO = "day ahead alone", "rolling alone", "two settlements"
_FORMS = {
    "size": "g", "social_usd": ",.2f", "paid_usd": ",.2f", "agreed_usd": ",.2f", "surprise_usd": ",.2f",
    "most_surprise_usd": ",.2f", "deviation_mwh": ".3f", "deviation_cost_usd": ",.2f",
}  # fmt: skip


def findings(found: Sweep) -> Findings:
    """Tables, figure and conclusion of the sweep."""
    runs = per_run(found)
    table = comparison(runs)
    with style():
        figures = {"surprise": _lines(table)}
    captions = {"surprise": "Root mean square over the seeds of what is paid less what was agreed on day ahead."}
    return Findings({"comparison": table, "by_seed": runs}, figures, conclusion(table) + missing_note(found), captions)


def per_run(found: Sweep) -> pd.DataFrame:
    """One row per run: costs, payments, what was agreed on day ahead, and what deviations cost beyond its prices."""
    runs = whole_grid(found).set_index("index")
    table = runs[[*KEYS, "replicate"]].copy()
    for name, kpi in (("social_usd", "social_cost_usd"), ("paid_usd", "dca_payment_usd"),
                      ("deviation_mwh", "deviation_mwh")):  # fmt: skip
        table[name] = runs[kpi]
    beside = found.table("deviations")
    cost = beside["deviation_payment_usd"] - beside["deviation_day_ahead_usd"]
    table["deviation_cost_usd"] = cost.groupby(beside["index"]).sum()
    two = table["market"] == TWO
    agreed = runs.loc[two, "day_ahead_payment_usd"].rename("agreed_usd")
    of = pd.concat([table.loc[two, ["size", "replicate"]], agreed], axis=1)
    table = table.merge(of, on=["size", "replicate"], how="left")
    return table.assign(surprise_usd=table["paid_usd"] - table["agreed_usd"])


def comparison(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per market and size of errors: means over the seeds, and the surprise's root mean square and largest."""
    return runs.groupby(KEYS, sort=False, as_index=False).agg(
        social_usd=("social_usd", "mean"), paid_usd=("paid_usd", "mean"), agreed_usd=("agreed_usd", "mean"),
        surprise_usd=("surprise_usd", lambda x: float(np.sqrt((x**2).mean()))),
        most_surprise_usd=("surprise_usd", lambda x: float(x.abs().max())),
        deviation_mwh=("deviation_mwh", "mean"), deviation_cost_usd=("deviation_cost_usd", "mean"),
    )  # fmt: skip


def _lines(table: pd.DataFrame) -> Figure:
    """Surprise against the size of errors, a line for each market."""
    figure = new_figure(3.6, "How far the bill is from what was agreed on day ahead")
    ax = figure.subplots()
    sns.lineplot(table, x="size", y="surprise_usd", hue="market", marker="o", ax=ax)
    ax.set(xlabel="size of all errors (1 is usual)", ylabel="surprise (USD)")
    ax.set_ylim(bottom=0.0)
    return figure


def conclusion(table: pd.DataFrame) -> str:
    """What the table says, in words; every number is taken from it."""
    text = ["# Two settlements against one\n", markdown_table(table[["market", *_FORMS]], _FORMS)]
    sizes = table["size"].unique()
    by = {market: mine.set_index("size") for market, mine in table.groupby("market", sort=False)}
    two = by.get(TWO)
    if two is not None:
        for market in (m for m in (DAY, ROLLING) if m in by):
            less = 1 - two["surprise_usd"] / by[market]["surprise_usd"]
            saved = by[market]["social_usd"] - two["social_usd"]
            text.append(
                f"- Against **{market}**, two settlements change the surprise of the bill by {-100 * less.min():+.0f} "
                f"to {-100 * less.max():+.0f} %, and social cost by {-saved.max():+.2f} to {-saved.min():+.2f} USD "
                f"({', '.join(f'{-saved[s]:+.2f} at {s:g}' for s in sizes)})."
            )
        first, last = two.iloc[0], two.iloc[-1]
        text.append(
            f"- Data centers draw {first['deviation_mwh']:.2f} to {last['deviation_mwh']:.2f} MWh beside positions, "
            f"in the mean of the seeds at {sizes[0]:g} and {sizes[-1]:g} times the usual errors. That costs them "
            f"{first['deviation_cost_usd']:+,.2f} and {last['deviation_cost_usd']:+,.2f} USD above day-ahead prices."
        )
    return "\n".join(text) + "\n"
