"""Study: what delay and loss of messages do to a negotiation.

    python -m cosim.experiments.latency --out results/latency

Every pair of a median delay (lognormal) and a loss, negotiated by each rule over the same hours: rounds that were
complete and repeated before the gate closed, whether both sides agreed, what was lost against the optimum, and that
all work was served.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

import cosim
from cosim.experiments.common import (
    Findings,
    Progress,
    main,
    markdown_table,
    progress_bar,
    step_overrides,
    study_parser,
    write_findings,
)
from cosim.results.folders import refuse_existing
from cosim.results.style import new_figure, style

SCENARIO = "ieee37_stress"
RULES = ("admm", "bundle")
DELAYS_S = (0.05, 1.0, 5.0, 30.0, 120.0)
LOSSES = (0.0, 0.1, 0.2, 0.4)
SIGMA = 0.8
_SMALLEST_GAP = 1e-8


def study(
    scenario: str = SCENARIO,
    rules: Sequence[str] = RULES,
    delays_s: Sequence[float] = DELAYS_S,
    losses: Sequence[float] = LOSSES,
    overrides: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Findings:
    """Negotiate under every pair of delay and loss.

    Args:
        scenario: shipped name or path.
        rules: update rules.
        delays_s: medians of the delay of a message. losses: probabilities of losing one.
        overrides: further keys, dotted.
        progress: called with (runs done, runs in all, what is being run).

    Raises:
        InputError: a scenario or key that cannot be used. RunFailure: a run failed.
    """
    cases = [(rule, delay, loss) for rule in rules for delay in delays_s for loss in losses]
    rows = []
    for i, (rule, delay, loss) in enumerate(cases):
        if progress is not None:
            progress(i, len(cases), f"{rule}, {delay:g} s, {loss:.0%} lost")
        rows.append(_row(scenario, rule, delay, loss, dict(overrides or {})))
    table = pd.DataFrame(rows)
    with style():
        figures = {"rounds": _heat(table, "rounds", "Complete rounds before the gate closed"),
                   "welfare_gap": _heat(table, "welfare_gap", "Social cost above the optimum, relative")}  # fmt: skip
    return Findings({"comparison": table}, figures, conclusion(table, scenario))


def _row(scenario: str, rule: str, delay_s: float, loss: float, overrides: dict[str, Any]) -> dict[str, Any]:
    channel = {"latency": {"kind": "lognormal", "median_s": delay_s, "sigma": SIGMA}, "loss": loss}
    changes = {**overrides, "channel": channel, "decentralized.rule": rule}
    result = cosim.run(scenario, mode="decentralized", overrides=changes)
    messages, kpis = result.messages, result.kpis
    return {
        "rule": rule,
        "delay_s": delay_s,
        "loss": loss,
        "agreed": bool(result.steps["converged"].all()),
        "rounds": len(result.rounds),
        "sent": len(messages),
        "never_received": int(messages["received"].isna().sum()),
        "ended_s": float(messages.loc[messages["kind"] == "award", "sent"].max()),
        "welfare_gap": kpis["welfare_gap"],
        "unserved_mwh": kpis["unserved_mwh"],
        "late_mwh": float(result.work["late_mwh"].max()),
    }


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
        text = grid.map(lambda v: f"{v:.0e}" if gap else f"{v:.0f}") + agreed.map(lambda v: " *" if v else "")
        sns.heatmap(grid, ax=ax, annot=text, fmt="", cmap="viridis", norm=norm, cbar=False, linewidths=0.5)
        ax.set(
            title=rule, xlabel="median delay of a message (s)", ylabel="share of messages lost" if ax is axes[0] else ""
        )
        ax.invert_yaxis()
    figure.supxlabel("* both sides agreed", fontsize=9)
    return figure


def conclusion(table: pd.DataFrame, scenario: str) -> str:
    """What the table says, in words; every number is taken from it."""
    text = ["# Delay and loss\n", f"Scenario {scenario}; delays lognormal with sigma {SIGMA:g}.\n"]
    forms = {
        "delay_s": "g",
        "loss": ".2f",
        "ended_s": ".0f",
        "welfare_gap": ".1e",
        "unserved_mwh": ".1e",
        "late_mwh": ".1e",
    }
    text.append(markdown_table(table.assign(agreed=table["agreed"].map({True: "yes", False: "no"})), forms))
    for rule, mine in table.groupby("rule", sort=False):
        agreed = mine[mine["agreed"]]
        text.append(f"- {rule}: agreed in {len(agreed)} of {len(mine)} cases" + _worst(agreed) + ".")
    apart = table[~table["agreed"]]
    if len(apart):
        text.append(
            f"- Where there was no agreement the last complete bids stood, {100 * apart['welfare_gap'].min():.2g} to "
            f"{100 * apart['welfare_gap'].max():.2g} % above the optimum."
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


def _main() -> int:
    parser = study_parser("Delay and loss of messages in a negotiation.", "results/latency")
    parser.add_argument("scenario", nargs="?", default=SCENARIO, help="scenario by name or path")
    parser.add_argument("--rules", nargs="+", default=list(RULES))
    options = parser.parse_args()

    def work() -> Path:
        refuse_existing(options.out, force=options.force)
        with progress_bar("latency") as progress:
            found = study(options.scenario, options.rules, overrides=step_overrides(options.steps), progress=progress)
        return write_findings(found, options.out, force=options.force)

    return main(work)


if __name__ == "__main__":
    raise SystemExit(_main())
