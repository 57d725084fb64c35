"""Figures of the study of coordination; they draw its tables, whose columns are described there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cosim.results.figures.style import (
    COLOURS,
    DASHES,
    GREY,
    LIMIT_COLOUR,
    MODE_COLOURS,
    hold,
    log_axis,
    new_figure,
    time_axis,
)
from cosim.scenario.modes import MODES

COSTS = {
    "social_cost_usd": "social cost",
    "dso_cost_usd": "operator's cost",
    "dca_cost_usd": "data centers' cost",
}
RULE_COLOURS = {"admm": MODE_COLOURS["decentralized"], "averaged": COLOURS[3], "best_response": COLOURS[5]}
_MANY_ROUNDS = 50
"""Longer negotiations are drawn on a logarithmic axis."""
_LEAST_GAP = 1e-9
"""Smaller welfare gaps are below what the solvers resolve; figures show them here."""


def _tint(case: str) -> str:
    rule = case.partition(", ")[2]
    return RULE_COLOURS[rule] if rule in RULE_COLOURS else MODE_COLOURS.get(case, GREY)


def _rows(ax: Axes, names: Sequence[str], shown: bool) -> None:
    """One line per case, the first on top, names only where they are ``shown``."""
    ax.set_yticks(range(len(names)), [n.replace(", ", ",\n") for n in names] if shown else [""] * len(names))
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.grid(visible=False, axis="y")


def _beside(ax: Axes, y: float, text: str) -> None:
    """A value at the right edge of a line, outside the axes, where it can cross nothing."""
    ax.text(1.02, y, text, transform=ax.get_yaxis_transform(), va="center", ha="left", fontsize=8)


def cost_figure(table: pd.DataFrame) -> Figure:
    """Each case's costs above or below those of the welfare optimum, on a scale that shows both cents and thousands."""
    good = table[(table["status"] == "ok") & (table["case"] != "welfare")]
    scenarios = list(dict.fromkeys(good["scenario"]))
    height = 0.9 + sum(0.42 * (good["scenario"] == s).sum() + 0.75 for s in scenarios)
    figure = new_figure(height, "Cost against the welfare optimum, whole horizon (USD)", width_in=11.0)
    axes = figure.subplots(len(scenarios), len(COSTS), squeeze=False)
    reach = good[[f"{key}_above_welfare" for key in COSTS]].abs().max().max() * 2
    for line, scenario in zip(axes, scenarios, strict=True):
        part = good[good["scenario"] == scenario]
        base = table[(table["scenario"] == scenario) & (table["case"] == "welfare")].iloc[0]
        for k, (ax, (key, label)) in enumerate(zip(line, COSTS.items(), strict=True)):
            values = part[f"{key}_above_welfare"].to_numpy(dtype=float)
            ax.barh(range(len(part)), values, color=[_tint(c) for c in part["case"]], height=0.62)
            ax.set_xscale("symlog", linthresh=1.0, linscale=0.6)
            ax.set_xlim(-reach, reach)
            ax.set_xticks([-1e4, -1e2, 0, 1e2, 1e4], ["−10⁴", "−100", "0", "100", "10⁴"])
            ax.axvline(0.0, color="black", linewidth=0.8)
            _rows(ax, list(part["case"]), shown=k == 0)
            for y, value in enumerate(values):
                _beside(ax, y, _signed(value, float(base[key])))
            ax.set_title(f"{label}, optimum {base[key]:,.0f}", fontsize=9.5)
        line[0].set_ylabel(scenario, fontweight="bold")
    scale = "USD above (+) or below (−) the welfare optimum; linear within 1 USD, logarithmic beyond"
    figure.supxlabel(scale, fontsize=9)
    return figure


def _signed(value: float, base: float) -> str:
    if abs(value) < 5e-3:
        return "±0"
    money = f"{value:+,.0f}" if abs(value) >= 10 else f"{value:+.2f}"
    share = 100 * value / base
    percent = f"{share:+,.0f}" if abs(share) >= 10 else f"{share:+.2f}"
    return f"{money}\n({percent} %)".replace("-", "−")


def gap_figure(table: pd.DataFrame) -> Figure:
    """Social cost above the welfare optimum, relative, of every case on a logarithmic axis."""
    good = table[(table["status"] == "ok") & (table["case"] != "welfare")]
    scenarios = list(dict.fromkeys(good["scenario"]))
    heights = [(good["scenario"] == s).sum() for s in scenarios]
    figure = new_figure(1.4 + 0.36 * sum(heights) + 0.35 * len(scenarios), "Welfare gap: social cost lost, relative")
    axes = figure.subplots(len(scenarios), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for ax, scenario in zip(axes, scenarios, strict=True):
        part = good[good["scenario"] == scenario]
        for y, (case, gap) in enumerate(zip(part["case"], part["welfare_gap"], strict=True)):
            if pd.isna(gap):
                continue
            ax.plot([_LEAST_GAP, max(gap, _LEAST_GAP)], [y, y], color=_tint(case), linewidth=2.2, alpha=0.5)
            ax.plot(max(gap, _LEAST_GAP), y, "o", color=_tint(case), markersize=7, clip_on=False)
            _beside(ax, y, f"{gap:.2g}" if gap > _LEAST_GAP else f"below {_LEAST_GAP:.0e}")
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.set_xlim(_LEAST_GAP, 2.0)
        _rows(ax, list(part["case"]), shown=True)
        ax.set_title(scenario)
    axes[-1].set_xlabel("(social cost − optimum) / optimum")
    return figure


def gain_figure(table: pd.DataFrame) -> Figure:
    """Strategic gain with its optimistic-pessimistic interval and proven limit; beside it, who pays for it."""
    figure = new_figure(1.9 + 0.75 * len(table), "Strategic gain: leading instead of taking prices", width_in=9.5)
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    at = np.arange(len(table))
    left.barh(at, table["gain_optimistic_pct"], height=0.5, color=MODE_COLOURS["centralized"], alpha=0.85)
    for y, row in zip(at, table.itertuples(), strict=True):
        span = [row.gain_pessimistic_pct, row.gain_optimistic_pct]
        left.plot(span, [y, y], "|-", color="black", markersize=11, markeredgewidth=1.6,
                  label="pessimistic to optimistic price" if y == 0 else None)  # fmt: skip
        left.plot(row.gain_limit_pct, y, "D", color="white", markeredgecolor=LIMIT_COLOUR, markersize=6,
                  label="most that the proven bound allows" if y == 0 else None)  # fmt: skip
    left.set_title("share of the data centers' negotiated cost (%)", fontsize=9.5)
    left.axvline(0.0, color="black", linewidth=0.8)
    low, high = left.get_xlim()
    left.set_xlim(min(low, -0.05 * high), high)
    _rows(left, list(table["scenario"]), shown=True)
    parts = {"data centers gain": ("gain_optimistic_usd", 1.0, MODE_COLOURS["centralized"]),
             "the operator (cost less payment) loses": ("operator_loss_usd", -1.0, MODE_COLOURS["decentralized"]),
             "society loses": ("social_loss_usd", -1.0, GREY)}  # fmt: skip
    for k, (label, (key, sign, colour)) in enumerate(parts.items()):
        bars = right.barh(at + (k - 1) * 0.26, sign * table[key], height=0.24, color=colour, label=label)
        right.bar_label(bars, fmt=_tenths, fontsize=8, padding=3)
    right.axvline(0.0, color="black", linewidth=0.8)
    right.margins(x=0.2)
    _rows(right, list(table["scenario"]), shown=False)
    right.set_title("who gains and who pays (USD)", fontsize=9.5)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _tenths(value: float) -> str:
    return "0" if abs(value) < 0.05 else f"{value:+.1f}".replace("-", "−")


def price_figure(prices: pd.DataFrame, scenario: str) -> Figure:
    """Active DLMP at each data center over the day, one line per mode; what leaves the frame is said in words."""
    mine = prices[prices["scenario"] == scenario]
    sites = list(dict.fromkeys(zip(mine["datacenter"], mine["bus"], strict=True)))
    figure = new_figure(0.9 + 1.9 * len(sites), f"DLMP at the data centers, active power: {scenario}")
    axes = figure.subplots(len(sites), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    calm = mine.loc[mine["mode"] != "uncoordinated", "dlmp_p"]
    inside = calm if len(calm) else mine["dlmp_p"]
    span = max(float(inside.max() - inside.min()), 1.0)
    low, high = float(inside.min()) - 0.08 * span, float(inside.max()) + 0.12 * span
    for ax, (site, bus) in zip(axes, sites, strict=True):
        here = mine[mine["datacenter"] == site]
        for i, mode in enumerate(m for m in MODES if m in set(here["mode"])):
            line = here[here["mode"] == mode]
            times = pd.DatetimeIndex(line["time"])
            x, y = hold(times, line["dlmp_p"])
            ax.step(x, y, where="post", color=MODE_COLOURS[mode], linestyle=DASHES[i % len(DASHES)], label=mode)
            time_axis(ax, times)
            if line["dlmp_p"].max() > high:
                ax.text(0.01, 0.94, f"{mode}: up to {line['dlmp_p'].max():,.0f} USD/MWh", transform=ax.transAxes,
                        va="top", fontsize=8.5, color=MODE_COLOURS[mode])  # fmt: skip
        ax.set_ylim(low, high)
        ax.set(title=f"{site} at bus {bus}", ylabel="USD/MWh")
        if ax is not axes[-1]:
            ax.set_xlabel("")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(MODES))
    return figure


def convergence_figure(rounds: pd.DataFrame, scenario: str) -> Figure:
    """How far prices still move and what the bids cost the operator, round by round, one line per update rule."""
    mine = rounds[(rounds["scenario"] == scenario) & (rounds["window"] == 0)]
    figure = new_figure(5.4, f"Convergence of the negotiation by update rule: {scenario}")
    above, below = figure.subplots(2, 1, sharex=True)
    for rule in dict.fromkeys(mine["rule"]):
        line = mine[mine["rule"] == rule]
        end = f"{len(line)} round{'s' if len(line) != 1 else ''}"
        for ax, column in ((above, "price_residual"), (below, "dso_cost_above_welfare_usd")):
            seen = line[line["round"] > 1] if ax is above else line
            ax.plot(seen["round"], seen[column].abs().clip(lower=1e-9), color=RULE_COLOURS.get(rule, GREY),
                    label=f"{rule} ({end})", marker="o", markersize=2.5, linewidth=1.2)  # fmt: skip
    for ax in (above, below):
        log_axis(ax)
    if mine["round"].max() > _MANY_ROUNDS:
        below.set_xscale("log")
    else:
        below.xaxis.set_major_locator(MaxNLocator(integer=True))
    above.set(title="largest change of a price since the last round", ylabel="USD/MWh")
    below.set(title="|operator's cost of the bids − its cost in the welfare optimum|", ylabel="USD", xlabel="round")
    below.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    figure.legend(*above.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
