"""Study: static var generators against loading and a price on unbalance; the analysis of ``svg_loading.yaml``.

cosim sweep svg_loading --out results/svg_loading
"""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from cosim.constants import LEGS
from cosim.experiments.studies.common import markdown_table, missing_note, whole_grid
from cosim.grid.feeder.phases import vuf_from_line
from cosim.results.figures.style import COLOURS, new_figure, style
from cosim.sweep.findings import Findings
from cosim.sweep.reading import Sweep

KEYS = ["svg", "loading_kw", "price"]
NAMES = {"none": "none", "balanced": "balanced", "per_leg": "per leg"}
_FORMS = {
    "loading_kw": "g", "price": "g", "vuf_mean_pct": ".3f", "vuf_max_pct": ".3f", "v_min_pu": ".4f",
    "resources_usd": ",.2f", "resources_above_free_usd": "+.2f",
}  # fmt: skip


def findings(found: Sweep) -> Findings:
    """Tables, figures and conclusion of the sweep."""
    table = comparison(found)
    with style():
        figures = {
            "unbalance": _lines(table, "vuf_mean_pct", "mean VUF at the data centers (%)", "Unbalance"),
            "cost": _lines(
                table, "resources_above_free_usd", "above unpriced (USD)", "What it costs in resources"
            ),
            "voltage": _lines(table, "v_min_pu", "lowest voltage at the data centers (pu)", "Voltage"),
        }
    captions = {
        "unbalance": "Voltage unbalance factor at the data centers, from AC power flow, mean over steps and buses.",
        "cost": "Energy, generation and reactive power without the charge, above the same case unpriced.",
        "voltage": "Lowest line-to-line voltage at the data centers' buses, from AC power flow.",
    }
    return Findings({"comparison": table}, figures, conclusion(table) + missing_note(found), captions)


def comparison(found: Sweep) -> pd.DataFrame:
    """One row per case: unbalance and voltage at the data centers (AC), operator's cost with and without the charge."""
    runs = whole_grid(found)
    buses = list(found.experiment.set["network.unbalance.buses"])
    unbalance, voltages = found.unbalance, found.voltages
    at = unbalance[unbalance["bus"].isin(buses)].groupby("index")["vuf_pct"]
    legs = voltages[voltages["bus"].isin(buses) & voltages["phase"].isin(LEGS)]
    wide = legs.pivot_table(index=["index", "step", "bus"], columns="phase", values="v_pu")[list(LEGS)]
    squares = pd.Series(vuf_from_line(wide), index=wide.index) ** 2
    hours = found.scenario(runs["run"].iloc[0])["clock"]["step_s"] / 3600
    table = runs.set_index("index")[[*KEYS, "dso_cost_usd", "social_cost_usd"]]
    table["vuf_mean_pct"], table["vuf_max_pct"] = at.mean(), at.max()
    table["v_min_pu"] = legs.groupby("index")["v_ac_pu"].min()
    table["charge_usd"] = table["price"] * hours * squares.groupby("index").sum()
    table["resources_usd"] = table["dso_cost_usd"] - table["charge_usd"]
    free = table[table["price"] == 0].set_index(["svg", "loading_kw"])["resources_usd"]
    cases = pd.MultiIndex.from_frame(table[["svg", "loading_kw"]])
    table["resources_above_free_usd"] = table["resources_usd"] - free.reindex(cases).to_numpy()
    return table.reset_index(drop=True)


def _lines(table: pd.DataFrame, column: str, label: str, title: str) -> Figure:
    """One panel per loading: a measure against the price of unbalance, a line per way of dispatch."""
    loadings = sorted(table["loading_kw"].unique())
    figure = new_figure(3.2, title, 3.0 * len(loadings) + 0.6)
    axes = figure.subplots(1, len(loadings), sharey=True, squeeze=False)[0]
    shown = table.assign(svg=table["svg"].map(NAMES))
    palette = list(COLOURS[: shown["svg"].nunique()])
    for ax, loading in zip(axes, loadings, strict=True):
        sns.lineplot(shown[shown["loading_kw"] == loading], x="price", y=column, hue="svg", style="svg", markers=True,
                     dashes=False, palette=palette, ax=ax, legend=ax is axes[0])  # fmt: skip
        ax.set(title=f"{loading:g} kW a site", xlabel="price (USD/h per (% VUF)²)", ylabel=label)
    sns.move_legend(axes[0], "best", title=None)
    return figure


def conclusion(table: pd.DataFrame) -> str:
    """What the table says, in words; every number is taken from it."""
    text = ["# Static var generators, loading and the price of unbalance\n"]
    shown = table[["svg", *_FORMS]].assign(svg=table["svg"].map(NAMES))
    text.append(markdown_table(shown.sort_values(["loading_kw", "price"], kind="stable"), _FORMS))
    top = table["price"].max()
    for svg, part in table.groupby("svg", sort=False):
        free, priced = (part[part["price"] == p].set_index("loading_kw") for p in (0, top))
        change = 100 * (priced["vuf_mean_pct"] / free["vuf_mean_pct"] - 1)
        cost = priced["resources_above_free_usd"]
        text.append(
            f"- **{NAMES[str(svg)]}**: a price of {top:g} USD/h per (% VUF)² changes mean VUF by {change.min():+.0f} "
            f"to {change.max():+.0f} % and costs {cost.min():.2f} to {cost.max():.2f} USD in resources."
        )
    unpriced = table[table["price"] == 0].pivot(index="loading_kw", columns="svg", values="vuf_mean_pct")
    if {"none", "balanced", "per_leg"} <= set(unpriced.columns):
        ratios = {svg: 100 * (unpriced[svg] / unpriced["none"] - 1) for svg in ("balanced", "per_leg")}
        text.append(
            "- **Unpriced**, generators change mean VUF by "
            + " and ".join(f"{r.min():+.0f} to {r.max():+.0f} % ({NAMES[svg]})" for svg, r in ratios.items())
            + ": unbalance has to be worth something to be mended."
        )
    low = table.groupby("loading_kw")["v_min_pu"].min()
    text.append(
        "- **Lowest voltage** over all cases: " + ", ".join(f"{v:.4f} pu at {k:g} kW" for k, v in low.items()) + "."
    )
    return "\n".join(text) + "\n"
