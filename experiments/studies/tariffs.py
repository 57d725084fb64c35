"""Study: what tariffs do, who pays and who gains; the analysis of ``tariffs.yaml``.

cosim sweep tariffs --out results/tariffs
"""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from cosim.experiments.studies.common import markdown_table, missing_note, whole_grid
from cosim.results.figures.style import COLOURS, new_figure, style
from cosim.sweep.findings import Findings
from cosim.sweep.reading import Sweep

ORDER = ("flat", "time_of_use", "lmp_pass_through", "dlmp")
NAMES = {"flat": "flat", "time_of_use": "time of use", "lmp_pass_through": "pass-through", "dlmp": "DLMP, negotiated"}
_FORMS = {
    "social_cost_usd": ",.2f", "price_of_anarchy": ".4f", "paid_usd_per_mwh": ".2f", "dca_cost_usd": ",.2f",
    "dca_gain_usd": "+,.2f", "operator_gain_usd": "+,.2f", "slack_mwh": ".3f", "violations_ac": ".0f",
}  # fmt: skip


def findings(found: Sweep) -> Findings:
    """Tables, figures and conclusion of the sweep."""
    table, hours = comparison(whole_grid(found)), by_hour(found)
    with style():
        figures = {"anarchy": _anarchy_figure(table), "who_gains": _gain_figure(table), "demand": _demand_figure(hours)}
    captions = {
        "anarchy": "Social cost over the welfare optimum of the same hours.",
        "who_gains": "Against negotiated prices: what the data centers save and what the operator earns.",
        "demand": "When the data centers draw power at the largest loading.",
    }
    text = conclusion(table) + "\n" + missing_note(found)
    return Findings({"comparison": table, "demand_by_hour": hours}, figures, text, captions)


def comparison(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per loading and tariff: costs, what a MWh was charged, and gains against negotiated prices (USD)."""
    table = runs[["tariff", "loading_kw", "social_cost_usd", "dca_cost_usd", "dca_payment_usd", "dso_cost_usd",
                  "energy_mwh", "slack_mwh", "violations_ac"]].copy()  # fmt: skip
    table["price_of_anarchy"] = 1 + runs["welfare_gap"]
    table["paid_usd_per_mwh"] = table["dca_payment_usd"] / table["energy_mwh"]
    table["operator_net_usd"] = table["dso_cost_usd"] - table["dca_payment_usd"]
    base = table[table["tariff"] == "dlmp"].set_index("loading_kw")
    table["dca_gain_usd"] = table["loading_kw"].map(base["dca_cost_usd"]) - table["dca_cost_usd"]
    table["operator_gain_usd"] = table["loading_kw"].map(base["operator_net_usd"]) - table["operator_net_usd"]
    table["order"] = table["tariff"].map({name: i for i, name in enumerate(ORDER)})
    return table.sort_values(["loading_kw", "order"], ignore_index=True).drop(columns="order")


def by_hour(found: Sweep) -> pd.DataFrame:
    """Power of all data centers (kW) by tariff and time, at the largest loading."""
    demand = found.demand
    largest = demand[demand["loading_kw"] == demand["loading_kw"].max()]
    power = largest.groupby(["tariff", "step"], as_index=False)["p_kw"].sum()
    times = found.steps[["step", "time"]].drop_duplicates()
    return pd.merge(power, times, on="step")


def _anarchy_figure(table: pd.DataFrame) -> Figure:
    figure = new_figure(3.4, "What each tariff costs society")
    ax = figure.subplots()
    shown = table.assign(over=100 * (table["price_of_anarchy"] - 1).clip(lower=1e-5), tariff=table["tariff"].map(NAMES))
    sns.barplot(shown, x="loading_kw", y="over", hue="tariff", palette=list(COLOURS[: len(NAMES)]), ax=ax)
    ax.set(yscale="log", xlabel="IT load per site (kW)", ylabel="above the optimum (%)")
    sns.move_legend(ax, "upper left", title=None, ncols=2)
    return figure


def _gain_figure(table: pd.DataFrame) -> Figure:
    others = table[table["tariff"] != "dlmp"].assign(tariff=lambda t: t["tariff"].map(NAMES))
    figure = new_figure(3.4, "Who gains against negotiated prices (USD a day)")
    axes = figure.subplots(1, 2, sharey=True)
    for ax, (column, title) in zip(axes, _SIDES.items(), strict=True):
        sns.barplot(others, x="loading_kw", y=column, hue="tariff", palette=list(COLOURS[:3]), ax=ax,
                    legend=ax is axes[0])  # fmt: skip
        ax.axhline(0, color="black", linewidth=0.8)
        ax.set(title=title, xlabel="IT load per site (kW)", ylabel="gain (USD)")
    sns.move_legend(axes[0], "lower left", title=None)
    return figure


_SIDES = {"dca_gain_usd": "data centers", "operator_gain_usd": "operator, less what it is paid"}


def _demand_figure(hours: pd.DataFrame) -> Figure:
    figure = new_figure(3.2, "Demand of the data centers by tariff")
    ax = figure.subplots()
    shown = hours.assign(hour=pd.to_datetime(hours["time"]).dt.hour, tariff=hours["tariff"].map(NAMES))
    end = shown[shown["hour"] == shown["hour"].max()].assign(hour=lambda t: t["hour"] + 1)
    names = list(NAMES.values())
    sns.lineplot(pd.concat([shown, end]), x="hour", y="p_kw", hue="tariff", style="tariff", hue_order=names,
                 style_order=names, drawstyle="steps-post", ax=ax, palette=list(COLOURS[: len(names)]))  # fmt: skip
    ax.set(xlabel="hour of the day", ylabel="power (kW)")
    sns.move_legend(ax, "upper left", title=None, ncols=2)
    return figure


def conclusion(table: pd.DataFrame) -> str:
    """What the table says, in words; every number is taken from it."""
    shown = table[["loading_kw", "tariff", *_FORMS]].assign(tariff=table["tariff"].map(NAMES))
    text = ["# Tariffs\n", markdown_table(shown, {"loading_kw": "g", **_FORMS})]
    for loading, part in table.groupby("loading_kw"):
        at = part.set_index("tariff")
        over = {name: 100 * (at["price_of_anarchy"][name] - 1) for name in ORDER if name in at.index}
        broken = [NAMES[n] for n in over if at["slack_mwh"][n] > 1e-3]
        text.append(
            f"- **{loading:g} kW a site**: above the optimum by "
            + ", ".join(f"{v:.2g} % ({NAMES[n]})" for n, v in over.items() if n != "dlmp")
            + f"; negotiated prices reach it to {over['dlmp']:.1g} %."
            + (f" Limits are broken under {' and '.join(broken)}." if broken else "")
        )
    tariffs = table[table["tariff"] != "dlmp"]
    gains = tariffs.groupby("tariff", sort=False)["dca_gain_usd"].agg(["min", "max"])
    listed = "; ".join(f"{NAMES[str(n)]} {r['min']:+,.2f} to {r['max']:+,.2f} USD a day" for n, r in gains.iterrows())
    text.append(f"- **Who gains.** Against negotiated prices the data centers gain: {listed}.")
    if (gains["min"] > 0).all():
        text.append(
            "- Negotiated prices also charge reactive power and losses, and the data centers pay for the limits that "
            "they load: what a tariff saves them, and more, is the operator's loss."
        )
    worst = table.iloc[int(table["price_of_anarchy"].argmax())]
    text.append(
        f"- **The worst case** is {NAMES[worst['tariff']]} at {worst['loading_kw']:g} kW: a price of anarchy of "
        f"{worst['price_of_anarchy']:.3f}."
        + (" Prices that are the same at every site move work into the same cheap hours everywhere, whatever the "
           "feeder can carry there." if worst["tariff"] in ("time_of_use", "lmp_pass_through") else "")
    )  # fmt: skip
    return "\n".join(text) + "\n"
