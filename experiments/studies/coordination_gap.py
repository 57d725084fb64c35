"""Study: what coordination is worth against loading and flexibility; the analysis of ``coordination_gap.yaml``.

cosim sweep coordination_gap --out results/coordination_gap
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

KEYS = ["loading_kw", "flexible"]
_NO_SLACK = 1e-3
_FORMS = {
    "loading_kw": "g", "flexible": "g", "optimum_usd": ",.2f", "uncoordinated_pct": ".2f", "decentralized_pct": ".1e",
    "centralized_pct": ".3f", "gain_negotiated_pct": ".2f", "gain_planner_pct": ".2f", "leader_gap_pct": ".2f",
    "rounds": ".0f", "uncoordinated_slack_mwh": ".3f",
}  # fmt: skip


def findings(found: Sweep) -> Findings:
    """Tables, figures and conclusion of the sweep."""
    table = comparison(whole_grid(found))
    with style():
        figures = {
            "uncoordinated": _heat(table, "uncoordinated_pct", "Lost without coordination (% of the optimum)", ".2g"),
            "leading": _heat(table, "centralized_pct", "Lost if the data centers lead (% of the optimum)", ".2g"),
        }
    captions = {
        "uncoordinated": "Social cost of running work on arrival, above the welfare optimum of the same hours.",
        "leading": "Social cost if the data centers choose first and the operator follows, above the optimum.",
    }
    return Findings({"comparison": table}, figures, conclusion(table) + missing_note(found), captions)


def comparison(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per loading and flexible share: costs of all modes against the optimum."""
    values = ["social_cost_usd", "dca_cost_usd", "slack_mwh", "mip_gap"]
    wide = runs.pivot_table(index=KEYS, columns="mode", values=values,
                            dropna=False)  # fmt: skip
    best = wide["social_cost_usd"]["welfare"]
    table = pd.DataFrame({"optimum_usd": best})
    for mode in ("uncoordinated", "decentralized", "centralized"):
        table[f"{mode}_pct"] = 100 * (wide["social_cost_usd"][mode] / best - 1)
    cost = wide["dca_cost_usd"]
    for name, mode in (("negotiated", "decentralized"), ("planner", "welfare")):
        table[f"gain_{name}_pct"] = 100 * (1 - cost["centralized"] / cost[mode])
    table["leader_gap_pct"] = 100 * wide["mip_gap"]["centralized"]
    negotiated = runs[runs["mode"] == "decentralized"].set_index(KEYS)
    table["rounds"] = negotiated["rounds_median"]
    table["agreed"] = (negotiated["converged_share"] == 1).reindex(table.index, fill_value=False)
    table["negotiated_slack_mwh"] = wide["slack_mwh"]["decentralized"]
    table["uncoordinated_slack_mwh"] = wide["slack_mwh"]["uncoordinated"]
    return table.reset_index()


def _heat(table: pd.DataFrame, column: str, title: str, form: str) -> Figure:
    figure = new_figure(3.4, title, 6.0)
    ax = figure.subplots()
    grid = table.pivot(index="flexible", columns="loading_kw", values=column).round(3) + 0.0  # no negative zeros
    shown = np.log10(grid.clip(lower=0.01)) if column.endswith("_pct") else grid
    sns.heatmap(shown, ax=ax, annot=grid, fmt=form, cmap="viridis", cbar=False, linewidths=0.5)
    ax.set(xlabel="IT load per site (kW)", ylabel="flexible share of the work")
    ax.invert_yaxis()
    return figure


def conclusion(table: pd.DataFrame) -> str:
    """What the table says, in words; every number is taken from it."""
    text = ["# The worth of coordination\n", markdown_table(table[list(_FORMS)], _FORMS)]
    free = table[table["uncoordinated_slack_mwh"] <= _NO_SLACK]
    bound = table[table["uncoordinated_slack_mwh"] > _NO_SLACK]
    if len(free):
        text.append(
            f"- **Where no limit breaks**, running work on arrival costs {free['uncoordinated_pct'].min():.2g} to "
            f"{free['uncoordinated_pct'].max():.2g} % more than the optimum; more flexible work is more to gain."
        )
    if len(bound):
        text.append(
            f"- **Where it breaks limits** (from {bound['loading_kw'].min():g} kW a site) it costs "
            f"{bound['uncoordinated_pct'].min():.3g} to {bound['uncoordinated_pct'].max():.3g} % more, at the price "
            "cap."
        )
    agreed = table[table["agreed"]]
    text.append(
        f"- **The negotiation** agreed in {len(agreed)} of {table['decentralized_pct'].notna().sum()} cases, within "
        f"{agreed['rounds'].max():.0f} rounds and "
        f"{agreed['decentralized_pct'].max():.1e} % of the optimum."
    )
    sure = table[(table["negotiated_slack_mwh"] <= _NO_SLACK) & (table["leader_gap_pct"] <= 1)]
    if len(sure):
        text.append(
            "- **Leading instead of taking prices**, where no limit has to break and the leader's optimum is known to "
            f"1 %, costs society up to {sure['centralized_pct'].max():.2f} %. What it earns the data centers is "
            "against a price, and where a limit binds several prices support the same outcome: up to "
            f"{sure['gain_negotiated_pct'].max():.0f} % of their cost against the price that the negotiation found, up "
            f"to {sure['gain_planner_pct'].max():.0f} % against the planner's."
        )
    hard = table[table["leader_gap_pct"] > 1]
    if len(hard):
        text.append(
            f"- **The leader's problem is hard where limits cannot all be kept**: {len(hard)} cases are open by "
            f"{hard['leader_gap_pct'].min():.2g} to {hard['leader_gap_pct'].max():.2g} % when their time is over."
        )
    return "\n".join(text) + "\n"
