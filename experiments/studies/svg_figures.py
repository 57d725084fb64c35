"""Figures of the study of static var generators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cosim.results.figures.style import COLOURS, GREY, LIMIT_COLOUR, hold, new_figure, time_axis
from cosim.results.record import VoltageLimits

SVG_MODES = ("none", "balanced", "per_leg")
MEASURES = {"vuf_pct": "VUF (IEC)", "lvur_pct": "LVUR (NEMA)", "pvur_pct": "PVUR (IEEE)"}
PRICED = {False: "unbalance free", True: "unbalance priced"}

_TINT = {False: COLOURS[0], True: COLOURS[1]}
_SVG_TINT = dict(zip(SVG_MODES, (GREY, COLOURS[4], COLOURS[2]), strict=True))


def all_figures(
    sites: pd.DataFrame, steps: pd.DataFrame, table: pd.DataFrame, limits: Mapping[str, VoltageLimits]
) -> dict[str, Figure]:
    """Every figure of the study by name.

    Args:
        sites, steps, table: per data center, per step, per case.
        limits: voltage limits by scenario.
    """
    figures = {
        "unbalance": unbalance_figure(sites),
        "voltage": voltage_figure(sites, limits),
        "cost": cost_figure(table),
        "agreement": agreement_figure(steps),
        "day": day_figure(steps),
    }
    return figures | {f"measures_{s}": measures_figure(sites, s) for s in dict.fromkeys(sites["scenario"])}


def _grid(figure: Figure, scenarios: Sequence[str], sites: pd.DataFrame, **options: Any) -> list[tuple[Axes, str, str]]:
    """One panel per scenario (rows) and data center (columns), each with its scenario and bus."""
    buses = list(dict.fromkeys(zip(sites["datacenter"], sites["bus"], strict=True)))
    axes = figure.subplots(len(scenarios), len(buses), sharex=True, sharey=True, squeeze=False, **options)
    panels = []
    for line, scenario in zip(axes, scenarios, strict=True):
        for ax, (site, bus) in zip(line, buses, strict=True):
            ax.set_title(f"{scenario}\n{site}, bus {bus}", fontsize=9.5)
            ax.set_xticks(range(len(SVG_MODES)), [m.replace("_", " ") for m in SVG_MODES])
            ax.set_xlim(-0.55, len(SVG_MODES) - 0.45)
            ax.grid(visible=False, axis="x")
            panels.append((ax, scenario, bus))
    return panels


def _values(frame: pd.DataFrame, priced: bool, column: str) -> Any:
    """One value per SVG mode, in order."""
    return frame[frame["priced"] == priced].set_index("svg")[column].reindex(list(SVG_MODES)).to_numpy(dtype=float)


def _bars(ax: Axes, mine: pd.DataFrame, mean: str, greatest: str, linear: str | None) -> None:
    """Bars of the mean, a tick at the greatest, and a ring where the linear model has the mean."""
    at = np.arange(len(SVG_MODES))
    for priced in (False, True):
        x = at + (0.19 if priced else -0.19)
        ax.bar(x, _values(mine, priced, mean), width=0.36, color=_TINT[priced], label=f"{PRICED[priced]}, AC mean")
        ax.plot(x, _values(mine, priced, greatest), "_", color="black", markersize=10, markeredgewidth=1.5,
                label="AC maximum" if priced else None)  # fmt: skip
        if linear is not None:
            ax.plot(x, _values(mine, priced, linear), "o", markerfacecolor="none", markeredgecolor="black",
                    markersize=5, label="linear mean" if priced else None)  # fmt: skip


def unbalance_figure(sites: pd.DataFrame) -> Figure:
    """VUF at the data centers by SVG mode, unbalance free and priced; AC mean and maximum, linear mean."""
    scenarios = list(dict.fromkeys(sites["scenario"]))
    figure = new_figure(1.2 + 2.2 * len(scenarios), "Voltage unbalance factor at the data centers (VUF, %)", 9.0)
    for ax, scenario, bus in _grid(figure, scenarios, sites):
        mine = sites[(sites["scenario"] == scenario) & (sites["bus"] == bus)]
        _bars(ax, mine, "vuf_mean_pct", "vuf_max_pct", "vuf_linear_mean_pct")
    for ax in figure.axes:
        if ax.get_subplotspec().is_first_col():  # type: ignore[union-attr]
            ax.set_ylabel("VUF (%)")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def measures_figure(sites: pd.DataFrame, scenario: str) -> Figure:
    """The three unbalance measures side by side at each data center of one scenario."""
    mine = sites[sites["scenario"] == scenario]
    buses = list(dict.fromkeys(zip(mine["datacenter"], mine["bus"], strict=True)))
    figure = new_figure(6.6, f"Three measures of unbalance at the data centers (%): {scenario}", 9.0)
    axes = figure.subplots(len(MEASURES), len(buses), sharex=True, sharey=True, squeeze=False)
    for line, (name, label) in zip(axes, MEASURES.items(), strict=True):
        stem = name.removesuffix("_pct")
        for ax, (site, bus) in zip(line, buses, strict=True):
            _bars(ax, mine[mine["bus"] == bus], f"{stem}_mean_pct", f"{stem}_max_pct", None)
            ax.set_xticks(range(len(SVG_MODES)), [m.replace("_", " ") for m in SVG_MODES])
            ax.grid(visible=False, axis="x")
            if ax in axes[0]:
                ax.set_title(f"{site}, bus {bus}", fontsize=9.5)
        line[0].set_ylabel(f"{label} (%)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def voltage_figure(sites: pd.DataFrame, limits: Mapping[str, VoltageLimits]) -> Figure:
    """Range and mean of the AC line-to-line voltages at the data centers over the day, by SVG mode."""
    scenarios = list(dict.fromkeys(sites["scenario"]))
    title = "AC voltage at the data centers over the day (pu, line to line)"
    figure = new_figure(1.2 + 2.2 * len(scenarios), title, 9.0)
    for ax, scenario, bus in _grid(figure, scenarios, sites):
        mine = sites[(sites["scenario"] == scenario) & (sites["bus"] == bus)]
        for priced in (False, True):
            x = np.arange(len(SVG_MODES)) + (0.15 if priced else -0.15)
            low, mean, high = (_values(mine, priced, f"v_{k}_pu") for k in ("min", "mean", "max"))
            ax.vlines(x, low, high, color=_TINT[priced], linewidth=5, alpha=0.45)
            ax.plot(x, mean, "o", color=_TINT[priced], markersize=6, label=f"{PRICED[priced]}: range and mean")
        ax.axhline(limits[scenario].v_min_pu, color=LIMIT_COLOUR, linewidth=1.3, linestyle=":", label="lower limit")
    for ax in figure.axes:
        if ax.get_subplotspec().is_first_col():  # type: ignore[union-attr]
            ax.set_ylabel("pu")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def cost_figure(table: pd.DataFrame) -> Figure:
    """Operator's cost against the case without SVG and with unbalance free: resources, and the charge on unbalance."""
    scenarios = list(dict.fromkeys(table["scenario"]))
    figure = new_figure(1.3 + 2.2 * len(scenarios), "Operator's cost against no SVG with unbalance free (USD)", 9.0)
    axes = figure.subplots(len(scenarios), 1, squeeze=False)[:, 0]
    for ax, scenario in zip(axes, scenarios, strict=True):
        part = table[table["scenario"] == scenario].reset_index(drop=True)
        base = part[(part["svg"] == "none") & ~part["priced"]]["dso_resource_cost_usd"].iloc[0]
        resources, charge = part["dso_resource_cost_usd"] - base, part["unbalance_charge_usd"]
        at = np.arange(len(part))
        ax.barh(at - 0.18, resources, height=0.34, color=COLOURS[0], label="energy, generation, reactive wear, slack")
        ax.barh(at + 0.18, charge, height=0.34, color=COLOURS[5], label="charge on unbalance")
        for shift, values in ((-0.18, resources), (0.18, charge)):
            for y, v in enumerate(values):
                text = "0" if abs(v) < 5e-3 else f"{v:+.2f}".replace("-", "−")
                ax.annotate(text, (max(v, 0.0), y + shift), xytext=(4, 0), textcoords="offset points", va="center",
                            fontsize=8)  # fmt: skip
        names = [f"{r.svg.replace('_', ' ')}, {'priced' if r.priced else 'free'}" for r in part.itertuples()]
        ax.set_yticks(at, names)
        ax.invert_yaxis()
        ax.grid(visible=False, axis="y")
        ax.axvline(0.0, color="black", linewidth=0.8)
        ax.margins(x=0.12)
        ax.set_title(f"{scenario} (base {base:,.2f} USD)")
    axes[-1].set_xlabel("USD over the whole horizon")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def agreement_figure(steps: pd.DataFrame) -> Figure:
    """VUF of the linear model against AC power flow, every data center and step, one colour per SVG mode."""
    figure = new_figure(4.2, "VUF at the data centers: linear model against AC power flow (%)", 8.5)
    left, right = figure.subplots(1, 2)
    reach = 1.05 * float(steps[["vuf_pct", "vuf_linear_pct"]].max().max())
    left.plot([0, reach], [0, reach], color="black", linewidth=0.8, zorder=1)
    for svg in SVG_MODES:
        for priced, marker in ((False, "o"), (True, "^")):
            part = steps[(steps["svg"] == svg) & (steps["priced"] == priced)]
            look: dict[str, Any] = {"s": 16, "marker": marker, "alpha": 0.7, "linewidths": 0, "color": _SVG_TINT[svg]}
            label = f"{svg.replace('_', ' ')}, {PRICED[priced]}"
            left.scatter(part["vuf_pct"], part["vuf_linear_pct"], label=label, **look)
            right.scatter(part["vuf_pct"], part["vuf_linear_pct"] - part["vuf_pct"], **look)
    left.set(xlabel="VUF, AC (%)", ylabel="VUF, linear (%)", xlim=(0, reach), ylim=(0, reach))
    right.axhline(0.0, color="black", linewidth=0.8)
    right.set(xlabel="VUF, AC (%)", ylabel="linear − AC (percentage points)", xlim=(0, reach))
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def day_figure(steps: pd.DataFrame) -> Figure:
    """Greatest AC VUF at the data centers over the day, one line per case."""
    scenarios = list(dict.fromkeys(steps["scenario"]))
    figure = new_figure(1.1 + 2.3 * len(scenarios), "Greatest VUF at the data centers over the day (AC, %)", 8.5)
    axes = figure.subplots(len(scenarios), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for ax, scenario in zip(axes, scenarios, strict=True):
        for svg in SVG_MODES:
            for priced in (False, True):
                part = steps[(steps["scenario"] == scenario) & (steps["svg"] == svg) & (steps["priced"] == priced)]
                worst = part.groupby("time")["vuf_pct"].max()
                times = pd.DatetimeIndex(worst.index)
                ax.step(*hold(times, worst), where="post", color=_SVG_TINT[svg], linestyle="--" if priced else "-",
                        label=f"{svg.replace('_', ' ')}, {PRICED[priced]}")  # fmt: skip
                time_axis(ax, times)
        ax.set_ylim(bottom=0)
        ax.set(title=scenario, ylabel="VUF (%)")
        if ax is not axes[-1]:
            ax.set_xlabel("")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
