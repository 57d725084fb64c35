"""Study: what it costs to keep limits more surely; measurement and analysis of ``chance.yaml``.

    cosim sweep chance --out results/chance

Each run is the welfare optimum with limits kept at one level, solved out of sample by OpenDSS: how often limits break,
against what the operator and the data centers pay.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from cosim.experiments.studies.common import markdown_table, missing_note, whole_grid
from cosim.results.figures.style import LIMIT_COLOUR, new_figure, style
from cosim.scenario.preparation import prepare
from cosim.scenario.schema import Scenario
from cosim.simulation.runner import simulate
from cosim.sweep.evaluation.decided import decided_of
from cosim.sweep.evaluation.evaluate import evaluated
from cosim.sweep.findings import Findings
from cosim.sweep.outcome import Outcome
from cosim.sweep.reading import Sweep

SAMPLES = 500
ERRORS = {"load_std": 0.05, "sun_std": 0.2}
BASE = {"mode": "welfare", "network.model": "ac-linear", "network.ac_rounds": 5}
_COLUMNS = {"joint": "", "probability": "g", "social_cost_usd": ",.2f", "extra_pct": ".2f", "dca_payment_usd": ",.2f",
            "worst_pct": ".1f", "any_pct": ".1f", "slack_mwh": ".4f"}  # fmt: skip
_FORMS = {k: form for k, form in _COLUMNS.items() if form}


def out_of_sample(scenario: Scenario, path: Path) -> Outcome:
    """A run, and how often its limits break on fresh draws."""
    prepared = prepare(scenario, path)
    made = simulate(scenario, path)
    found = evaluated(decided_of(made, prepared), SAMPLES, scenario.seed)
    kept = ("social_cost_usd", "dso_cost_usd", "dca_payment_usd", "slack_mwh")
    return Outcome({**{k: made.kpis[k] for k in kept}, **found.kpis}, {"out_of_sample": found.steps}, found.notes)


def findings(found: Sweep) -> Findings:
    """Tables, figure and conclusion of the sweep."""
    table = comparison(found)
    with style():
        figures = {"cost_and_violations": _lines(table)}
    captions = {
        "cost_and_violations": "Share of the samples in which limits break in their worst step, against the social "
        "cost above that without margins; points are probabilities."
    }
    return Findings({"comparison": table}, figures, conclusion(table) + missing_note(found), captions)


def comparison(found: Sweep) -> pd.DataFrame:
    """One row per way of keeping limits and level: cost, and frequencies in percent with their intervals."""
    runs = whole_grid(found)
    table = runs[["joint", "probability", "social_cost_usd", "dca_payment_usd", "slack_mwh"]].copy()
    bare = runs[(runs["joint"] == "individual") & (runs["probability"] == 0.5)]  # whose margins are nothing
    base = float(bare["social_cost_usd"].iloc[0]) if len(bare) else float("nan")
    table["extra_pct"] = 100 * (table["social_cost_usd"] - base) / base
    for of in ("worst", "any"):
        table[f"{of}_pct"] = 100 * runs[f"{of}_frequency"]
        table[f"{of}_low_pct"], table[f"{of}_high_pct"] = 100 * runs[f"{of}_low"], 100 * runs[f"{of}_high"]
    table["level_pct"] = 100 * (1 - table["probability"])
    return table.reset_index(drop=True)


def _lines(table: pd.DataFrame) -> Figure:
    """Frequency of what each way promises against the extra cost."""
    told = table.assign(promised=table["any_pct"].where(table["joint"] != "individual", table["worst_pct"]))
    figure = new_figure(3.6, "What it costs to break limits less often")
    ax = figure.subplots()
    sns.lineplot(told, x="extra_pct", y="promised", hue="joint", marker="o", errorbar=None, ax=ax)
    for level in sorted(set(table["level_pct"]) - {50.0}):
        ax.axhline(level, color=LIMIT_COLOUR, linewidth=0.6, linestyle=":")
    ax.set(xlabel="social cost above that without margins (%)", ylabel="samples with broken limits (%)")
    ax.set_yscale("symlog", linthresh=1)
    return figure


def conclusion(table: pd.DataFrame) -> str:
    """What the table says, in words; every number is taken from it."""
    text = ["# What it costs to keep limits more surely\n", markdown_table(table[list(_COLUMNS)], _FORMS)]
    for joint, mine in table.groupby("joint", sort=False):
        ordered = mine.sort_values("probability")
        bare, last = ordered.iloc[0], ordered.iloc[-1]
        of, what = ("worst", "the worst limit breaks") if joint == "individual" else ("any", "any limit breaks")
        kept = ordered[ordered[f"{of}_low_pct"] <= ordered["level_pct"]]
        text.append(
            f"- **{joint}**: at {bare['probability']:g} {what} in {bare[f'{of}_pct']:.1f} % of the samples of the "
            f"worst step, at {last['probability']:g} in {last[f'{of}_pct']:.1f} %, for {last['extra_pct']:.2f} % more "
            "social cost than without margins; the level is kept, or within the interval, at "
            f"{len(kept)} of {len(ordered)} probabilities."
        )
    return "\n".join(text) + "\n"
