"""Study: formulations and solvers of the bilevel problem against its size; the analysis of ``solvers.yaml``.

    cosim sweep solvers --out results/solvers

Times belong to the machine, and to how many runs shared it; objectives and gaps do not.
"""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from cosim.experiments.studies.common import markdown_table, missing_note, whole_grid
from cosim.results.figures.style import COLOURS, new_figure, style
from cosim.sweep.findings import Findings
from cosim.sweep.reading import Sweep

_FORMS = {"hours": "g", "objective_usd": ",.2f", "above_best_pct": ".2g", "gap_pct": ".2g", "solver_s": ".2f"}
_SMALLEST_PCT = 1e-4


def findings(found: Sweep) -> Findings:
    """Tables, figures and conclusion of the sweep."""
    table = comparison(found)
    limit = float(found.experiment.set["centralized.time_limit_s"])
    with style():
        figures = {"time_and_gap": _figure(table, limit)}
    captions = {"time_and_gap": "Time in solvers and the proven gap that is left, by hours solved at once."}
    return Findings({"comparison": table}, figures, conclusion(table, limit) + missing_note(found), captions)


def comparison(found: Sweep) -> pd.DataFrame:
    """One row per method and size: the leader's cost, its distance to the best one found, gap and time."""
    runs = whole_grid(found).merge(found.times[["run", "solver_s"]], on="run")
    table = runs[["method", "hours", "dca_cost_usd", "mip_gap", "solver_s"]].copy()
    table = table.rename(columns={"dca_cost_usd": "objective_usd"})
    best = table.groupby("hours")["objective_usd"].transform("min")
    table["above_best_pct"] = 100 * (table["objective_usd"] / best - 1)
    table["gap_pct"] = 100 * table["mip_gap"]
    return table.drop(columns="mip_gap").sort_values(["hours", "solver_s"], ignore_index=True)


def _figure(table: pd.DataFrame, limit_s: float) -> Figure:
    figure = new_figure(3.6, "Formulations and solvers", 9.0)
    axes = figure.subplots(1, 2)
    shown = table.assign(gap_pct=table["gap_pct"].clip(lower=_SMALLEST_PCT))
    methods = list(dict.fromkeys(sorted(shown["method"])))
    for ax, column, label in zip(axes, ("solver_s", "gap_pct"), ("time in solvers (s)", "proven gap (%)"), strict=True):
        sns.lineplot(shown, x="hours", y=column, hue="method", style="method", hue_order=methods, style_order=methods,
                     markers=True, palette=list(COLOURS[: len(methods)]), ax=ax, legend=ax is axes[0])  # fmt: skip
        ax.set(yscale="log", xlabel="hours", ylabel=label, xticks=sorted(shown["hours"].unique()))
    axes[0].axhline(limit_s, color="black", linewidth=0.8, linestyle=":")
    sns.move_legend(axes[0], "best", title=None)
    return figure


def conclusion(table: pd.DataFrame, limit_s: float) -> str:
    """What the table says, in words; every number is taken from it."""
    text = ["# Formulations and solvers\n", f"At most {limit_s:g} s in the solver for each.\n"]
    text.append(markdown_table(table[["method", *_FORMS]], _FORMS))
    largest = table[table["hours"] == table["hours"].max()].set_index("method")
    for method, row in largest.sort_values("gap_pct").iterrows():
        text.append(
            f"- **{method}**, {row['hours']:g} hours: {row['gap_pct']:.2g} % open after {row['solver_s']:.2g} s, "
            f"{row['above_best_pct']:.2g} % above the best solution found."
        )
    closed = table[table["gap_pct"] <= 0.1 * (1 + 1e-9)].groupby("method")["hours"].max()
    text.append(
        "- Closed to 0.1 %: "
        + ("; ".join(f"{method} up to {hours:g} hours" for method, hours in closed.items()) or "none")
        + "."
    )
    text.append(
        "- The gap of McCormick is that of its own, discretised problem; what counts is how far above the best "
        "solution found it is."
    )
    return "\n".join(text) + "\n"
