"""Study: what delay and loss of messages do to a negotiation; the analysis of ``latency.yaml``.

    cosim sweep latency --out results/latency

Every pair of a median delay (lognormal) and a loss, negotiated by each rule over the same hours: rounds that were
complete before the gate closed, whether both sides agreed, what was lost against the optimum, and that all work was
served.
"""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from cosim.experiments.studies.common import markdown_table, missing_note, whole_grid
from cosim.results.figures.style import new_figure, style
from cosim.sweep.findings import Findings
from cosim.sweep.reading import Sweep

KEYS = ["rule", "delay_s", "loss"]
_SMALLEST_GAP = 1e-8
_FORMS = {
    "delay_s": "g", "loss": ".2f", "agreed": ".2f", "rounds": ".0f", "ended_s": ".0f", "welfare_gap": ".1e",
    "never_received": ".0f",
}  # fmt: skip


def findings(found: Sweep) -> Findings:
    """Tables, figures and conclusion of the sweep."""
    runs = per_run(found)
    table = comparison(runs)
    with style():
        figures = {
            "rounds": _heat(table, "rounds", "Complete rounds before the gate closed, mean over seeds"),
            "welfare_gap": _heat(table, "welfare_gap", "Social cost above the optimum, relative, worst seed"),
        }
    captions = {name: "One panel per rule; a star where both sides agreed with every seed." for name in figures}
    return Findings({"comparison": table, "by_seed": runs}, figures, conclusion(table) + missing_note(found), captions)


def per_run(found: Sweep) -> pd.DataFrame:
    """One row per run: rounds, messages, when it ended, what was lost, and work that was not served or late."""
    runs = whole_grid(found).set_index("index")
    steps, rounds, messages, work = (found.table(n) for n in ("steps", "rounds", "messages", "work"))
    table = runs[[*KEYS, "replicate", "welfare_gap", "unserved_mwh"]].copy()
    table["agreed"] = steps.groupby("index")["converged"].all()
    table["rounds"] = rounds.groupby("index").size().reindex(table.index, fill_value=0)
    sent = messages.groupby("index")
    table["sent"] = sent.size()
    table["never_received"] = sent["received"].agg(lambda received: int(received.isna().sum()))
    table["ended_s"] = messages[messages["kind"] == "award"].groupby("index")["sent"].max()
    table["late_mwh"] = work.groupby("index")["late_mwh"].max()
    return table.reset_index(drop=True)


def comparison(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per rule, delay and loss over all seeds: share that agreed, means, and the worst gap."""
    return runs.groupby(KEYS, sort=False, as_index=False).agg(
        agreed=("agreed", "mean"), rounds=("rounds", "mean"), sent=("sent", "mean"),
        never_received=("never_received", "mean"), ended_s=("ended_s", "max"), welfare_gap=("welfare_gap", "max"),
        unserved_mwh=("unserved_mwh", "max"), late_mwh=("late_mwh", "max"),
    )  # fmt: skip


def _heat(table: pd.DataFrame, column: str, title: str) -> Figure:
    """One panel per rule: delay across, loss upwards; a star where both sides agreed."""
    rules = list(dict.fromkeys(table["rule"]))
    figure = new_figure(3.6, title, 4.6 * len(rules))
    axes = figure.subplots(1, len(rules), squeeze=False, sharey=True)[0]
    gap = column == "welfare_gap"
    values = table.assign(shown=table[column].clip(lower=_SMALLEST_GAP) if gap else table[column])
    norm = LogNorm(max(values["shown"].min(), _SMALLEST_GAP), max(values["shown"].max(), 1e-6)) if gap else None
    for ax, rule in zip(axes, rules, strict=True):
        mine = values[values["rule"] == rule]
        grid, agreed = (mine.pivot(index="loss", columns="delay_s", values=v) for v in ("shown", "agreed"))
        text = grid.map(lambda v: f"{v:.0e}" if gap else f"{v:.0f}") + agreed.map(lambda v: " *" if v == 1 else "")
        sns.heatmap(grid, ax=ax, annot=text, fmt="", cmap="viridis", norm=norm, cbar=False, linewidths=0.5)
        label = "share of messages lost" if ax is axes[0] else ""
        ax.set(title=rule, xlabel="median delay of a message (s)", ylabel=label)
        ax.invert_yaxis()
    figure.supxlabel("* both sides agreed with every seed", fontsize=9)
    return figure


def conclusion(table: pd.DataFrame) -> str:
    """What the table says, in words; every number is taken from it."""
    text = ["# Delay and loss\n", markdown_table(table[["rule", *_FORMS]], _FORMS)]
    for rule, mine in table.groupby("rule", sort=False):
        agreed = mine[mine["agreed"] == 1]
        text.append(f"- **{rule}** agreed with every seed in {len(agreed)} of {len(mine)} cases{_worst(agreed)}.")
    apart = table[table["agreed"] < 1]
    if len(apart):
        text.append(
            "- Where there was not always agreement the last complete bids stood, at worst "
            f"{100 * apart['welfare_gap'].min():.2g} to {100 * apart['welfare_gap'].max():.2g} % above the optimum."
        )
    text.append(
        f"- Work left unserved: at most {table['unserved_mwh'].max():.1e} MWh; late: {table['late_mwh'].max():.1e} MWh."
    )
    return "\n".join(text) + "\n"


def _worst(agreed: pd.DataFrame) -> str:
    if not len(agreed):
        return ""
    return (
        f", within {agreed['rounds'].max():.0f} rounds and {agreed['ended_s'].max():.0f} s, welfare gap at most "
        f"{agreed['welfare_gap'].max():.1e}"
    )
