"""Study: what better forecasts are worth; the analysis of ``forecasts.yaml``.

    cosim sweep forecasts --out results/forecasts

Every run is compared with one of the same hours in which everything was known beforehand: what social cost and the cost
of the data centers are above that is the value of information, in USD and relative to the cost with foresight.
"""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from cosim.experiments.studies.common import markdown_table, missing_note, whole_grid
from cosim.results.figures.style import new_figure, style
from cosim.sweep.findings import Findings
from cosim.sweep.reading import Sweep

KEYS = ["market", "size"]
_FORMS = {
    "size": "g", "perfect_usd": ",.2f", "worth_usd": ",.2f", "least_usd": ",.2f", "most_usd": ",.2f",
    "worth_pct": ".3f", "dca_worth_usd": ",.2f", "slack_mwh": ".4f", "late_mwh": ".1e",
}  # fmt: skip


def findings(found: Sweep) -> Findings:
    """Tables, figure and conclusion of the sweep."""
    runs = per_run(found)
    table = comparison(runs)
    with style():
        figures = {"worth": _lines(runs)}
    captions = {"worth": "Social cost above that with perfect forecasts; lines are means, dots seeds."}
    return Findings({"comparison": table, "by_seed": runs}, figures, conclusion(table) + missing_note(found), captions)


def per_run(found: Sweep) -> pd.DataFrame:
    """One row per run: cost with foresight, what it is worth, and work that was late."""
    runs = whole_grid(found).set_index("index")
    table = runs[[*KEYS, "replicate", "slack_mwh"]].copy()
    table["perfect_usd"] = runs["perfect_social_cost_usd"]
    table["worth_usd"] = runs["value_of_information_usd"]
    table["dca_worth_usd"] = runs["value_of_information_dca_usd"]
    table["late_mwh"] = found.table("work").groupby("index")["late_mwh"].max()
    return table.reset_index(drop=True)


def comparison(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per market and size of errors: mean worth over the seeds, least and most."""
    table = runs.groupby(KEYS, sort=False, as_index=False).agg(
        perfect_usd=("perfect_usd", "mean"), worth_usd=("worth_usd", "mean"), least_usd=("worth_usd", "min"),
        most_usd=("worth_usd", "max"), dca_worth_usd=("dca_worth_usd", "mean"), slack_mwh=("slack_mwh", "max"),
        late_mwh=("late_mwh", "max"),
    )  # fmt: skip
    table.insert(4, "worth_pct", 100 * table["worth_usd"] / table["perfect_usd"].abs())
    return table


def _lines(runs: pd.DataFrame) -> Figure:
    """Worth against the size of errors, a line for each market."""
    figure = new_figure(3.6, "What perfect forecasts are worth")
    ax = figure.subplots()
    sns.lineplot(runs, x="size", y="worth_usd", hue="market", errorbar=None, marker="o", ax=ax)
    sns.scatterplot(runs, x="size", y="worth_usd", hue="market", alpha=0.4, legend=False, ax=ax)
    ax.set(xlabel="size of all errors (1 is usual)", ylabel="social cost above foresight (USD)")
    return figure


def conclusion(table: pd.DataFrame) -> str:
    """What the table says, in words; every number is taken from it."""
    text = ["# What forecasts are worth\n", markdown_table(table[["market", *_FORMS]], _FORMS)]
    for market, mine in table.groupby("market", sort=False):
        small, large = mine.iloc[0], mine.iloc[-1]
        text.append(
            f"- **{market}**: perfect forecasts would have saved {small['worth_usd']:.2f} USD "
            f"({small['worth_pct']:.2f} % of the social cost) at {small['size']:g} times the usual errors and "
            f"{large['worth_usd']:.2f} USD ({large['worth_pct']:.2f} %) at {large['size']:g} times, in the mean of "
            f"the seeds; the data centers {small['dca_worth_usd']:.2f} and {large['dca_worth_usd']:.2f} USD."
        )
    wide = table.pivot(index="size", columns="market", values="worth_usd")
    if {"day ahead", "rolling"} <= set(wide):
        less = wide[wide["rolling"] < wide["day ahead"]]
        text.append(f"- Rolling on newer forecasts loses less than the day ahead at {len(less)} of {len(wide)} sizes.")
    text.append(f"- Work was late by at most {table['late_mwh'].max():.1e} MWh.")
    return "\n".join(text) + "\n"
