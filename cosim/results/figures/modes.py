"""Figures across runs: modes of coordination, or any other named cases, side by side on the same hours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cosim.results.accounts.totals import by_party
from cosim.results.figures.style import (
    DASHES,
    LIMIT_COLOUR,
    MODE_COLOURS,
    colours,
    hold,
    new_figure,
    style,
    time_axis,
)
from cosim.results.record import VoltageLimits
from cosim.results.tables import Tables

_COSTS = {
    "social_cost_usd": "social cost", "dso_cost_usd": "operator's cost",
    "dca_cost_usd": "data centers' cost", "dca_payment_usd": "data centers' payment",
}  # fmt: skip


def comparison_figures(
    table: pd.DataFrame, runs: Mapping[str, Tables], limits: VoltageLimits, by: str = "mode"
) -> dict[str, Figure]:
    """All figures of a comparison by file name.

    Args:
        table: key figures, one row per case, its name in the index.
        runs: tables of the cases that finished, by name.
        by: what tells the cases apart, for the titles.
    """
    figures = {"cost_by_mode": cost_by_mode(table.loc[[n for n in table.index if n in runs]], by)}
    if any(not t.voltages.empty for t in runs.values()):
        figures["voltage_by_mode"] = voltage_by_mode(runs, limits, by)
    figures["power_by_mode"] = power_by_mode(runs, by)
    if any(not t.unbalance.empty for t in runs.values()):
        figures["unbalance_by_mode"] = unbalance_by_mode(runs, by)
    return figures


def cost_by_mode(table: pd.DataFrame, by: str = "mode", reference: str = "welfare") -> Figure:
    """Costs of each case: as they are, and as difference to a reference case (else to the first)."""
    with style():
        names = [str(n) for n in table.index]
        reference = reference if reference in names else names[0]
        figure = new_figure(5.6, f"Cost by {by}, whole horizon (USD)")
        above, below = figure.subplots(2, 1, sharex=True)
        costs = table[list(_COSTS)].astype(float)
        _bars(above, costs, names, "USD")
        _bars(below, costs - costs.loc[reference], names, f"USD above {reference}")
        below.axhline(0.0, color="black", linewidth=0.8)
        for bars in below.containers:
            below.bar_label(bars, fmt=_short, fontsize=8, padding=2)
        below.margins(y=0.15)
        figure.legend(*above.get_legend_handles_labels(), loc="outside lower center", ncols=len(names))
        return figure


def _short(value: float) -> str:
    if abs(value) < 5e-3:
        return "0"
    return f"{value:+.0f}" if abs(value) >= 10 else f"{value:+.1f}" if abs(value) >= 1 else f"{value:+.2f}"


def _bars(ax: Axes, costs: pd.DataFrame, names: Sequence[str], label: str) -> None:
    tint = colours(names, MODE_COLOURS)
    width = 0.8 / len(names)
    for i, name in enumerate(names):
        at = np.arange(len(_COSTS)) + (i - (len(names) - 1) / 2) * width
        ax.bar(at, costs.loc[name], width=width * 0.92, color=tint[name], label=name)
    ax.set_xticks(np.arange(len(_COSTS)), list(_COSTS.values()))
    ax.grid(visible=False, axis="x")
    ax.set_ylabel(label)


def _lines(ax: Axes, series: Mapping[str, pd.Series], runs: Mapping[str, Tables]) -> None:
    """One held line per case: name -> values by step."""
    tint = colours(list(series), MODE_COLOURS)
    for i, (name, values) in enumerate(series.items()):
        times = pd.DatetimeIndex(runs[name].steps.set_index("step")["time"].reindex(values.index))
        ax.step(
            *hold(times, values),
            where="post",
            color=tint[name],
            linestyle=DASHES[i % len(DASHES)],
            label=name,
        )
        time_axis(ax, times)


def gain_by_party(table: pd.DataFrame, most: int = 12) -> Figure:
    """What each party gains in each mode against the baseline, the largest gains and losses first.

    Args:
        table: of :func:`cosim.results.accounts.totals.gains`. most: parties that are shown; the others are added up.
    """
    wide, baseline = by_party(table), str(table["baseline"].iloc[0])
    wide = wide.drop(columns=baseline, errors="ignore")
    if len(wide) > most:
        wide = pd.concat([wide.iloc[:most], wide.iloc[most:].sum().to_frame(f"others ({len(wide) - most})").T])
    names, tint = [str(mode) for mode in wide.columns], colours([str(m) for m in wide.columns], MODE_COLOURS)
    with style():
        height = 1.5 + len(wide) * (0.16 + 0.16 * max(len(names), 1))
        figure = new_figure(height, f"Gain of each party against {baseline}, whole horizon (USD)")
        ax = figure.add_subplot()
        thick = 0.8 / max(len(names), 1)
        for i, name in enumerate(names):
            at = np.arange(len(wide)) + (i - (len(names) - 1) / 2) * thick
            bars = ax.barh(at, wide[name], height=thick * 0.92, color=tint[name], label=name)
            ax.bar_label(bars, fmt=_short, fontsize=8, padding=2)
        ax.axvline(0.0, color="black", linewidth=0.8)
        ax.set_yticks(np.arange(len(wide)), [str(party) for party in wide.index])
        ax.invert_yaxis()
        ax.grid(visible=False, axis="y")
        ax.margins(x=0.1, y=0.02)
        ax.set_xlabel("USD")
        figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=max(len(names), 1))
        return figure


def voltage_by_mode(runs: Mapping[str, Tables], limits: VoltageLimits, by: str = "mode") -> Figure:
    """Lowest and highest voltage over all buses per step, one line per case: AC where known, else linear."""
    with style():
        figure = new_figure(5.2, f"Lowest and highest voltage by {by} (pu)")
        axes = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
        known = all(t.voltages["v_ac_pu"].notna().any() for t in runs.values())
        column = "v_ac_pu" if known else "v_pu"
        kind = "AC power flow" if known else "linear"
        bands = {n: t.voltages.groupby("step")[column] for n, t in runs.items() if not t.voltages.empty}
        _lines(axes[0], {n: b.max() for n, b in bands.items()}, runs)
        _lines(axes[1], {n: b.min() for n, b in bands.items()}, runs)
        axes[0].axhline(limits.v_max_pu, color=LIMIT_COLOUR, linewidth=1.3, linestyle=":")
        axes[1].axhline(limits.v_min_pu, color=LIMIT_COLOUR, linewidth=1.3, linestyle=":", label="limit")
        axes[0].set(ylabel="pu", title=f"highest, {kind}", xlabel="")
        axes[1].set(ylabel="pu", title=f"lowest, {kind}")
        figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=len(bands) + 1)
        return figure


def power_by_mode(runs: Mapping[str, Tables], by: str = "mode") -> Figure:
    """Power of all data centers together by case, under the price at the substation."""
    with style():
        figure = new_figure(4.8, f"Power of all data centers by {by}")
        above, ax = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
        steps = next(iter(runs.values())).steps
        x, price = hold(steps["time"], steps["price_sub_usd_per_mwh"])
        above.step(x, price, where="post", color="black")
        above.set(ylabel="USD/MWh", title="price at the substation")
        _lines(ax, {n: t.demand.groupby("step")["p_kw"].sum() for n, t in runs.items()}, runs)
        ax.set(ylabel="kW", title="power")
        figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=len(runs))
        return figure


def unbalance_by_mode(runs: Mapping[str, Tables], by: str = "mode") -> Figure:
    """Largest voltage unbalance factor over all buses per step, by case."""
    with style():
        figure = new_figure(3.5, f"Largest voltage unbalance factor over all buses by {by} (VUF, %)")
        ax = figure.add_subplot()
        known = {n: t.unbalance for n, t in runs.items() if not t.unbalance.empty}
        _lines(ax, {n: u.groupby("step")["vuf_pct"].max() for n, u in known.items()}, runs)
        ax.set_ylabel("VUF (%)")
        ax.set_ylim(bottom=0)
        figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=len(known))
        return figure
