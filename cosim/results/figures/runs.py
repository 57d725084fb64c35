"""Figures of one run: each function takes frames, returns a Figure and changes nothing global."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from cosim.constants import PHASES, PRICE_PARTS
from cosim.results.figures.deviations import deviations_over_time
from cosim.results.figures.envelopes import limits_over_time
from cosim.results.figures.maps import bus_prices, feeder_map, price_heatmap, price_heatmap_by_phase
from cosim.results.figures.margins import Margins
from cosim.results.figures.style import (
    COLOURS,
    GREY,
    LIMIT_COLOUR,
    PART_COLOURS,
    colours,
    hold,
    log_axis,
    most,
    new_figure,
    style,
    thinned,
    time_axis,
)
from cosim.results.price_notes import parts_in
from cosim.results.record import VoltageLimits
from cosim.results.tables import Layout, Tables

_MAX_PANELS = 6
_MOST_STACKED = 500
"""Steps of stacked areas, which cannot be told apart if there are more."""


def run_figures(tables: Tables, layout: Layout, limits: VoltageLimits) -> dict[str, Figure]:
    """All figures of a run with one feeder by file name; those without data are left out."""
    return {**feeder_figures(tables, layout, limits), **market_figures(tables)}


def market_figures(tables: Tables) -> dict[str, Figure]:
    """Figures on what no single feeder has: work, and the negotiation."""
    steps, work, rounds = tables.steps, tables.work, tables.rounds
    figures = {} if work.empty else {"work": work_over_time(work, steps)}
    if not (deviations := tables.deviations).empty:
        figures["deviations"] = deviations_over_time(deviations, steps)
    return figures if rounds.empty else {**figures, "convergence": convergence(rounds)}


def feeder_figures(tables: Tables, layout: Layout, limits: VoltageLimits) -> dict[str, Figure]:
    """Figures on a feeder by file name; those without data are left out. Each large table is asked for once."""
    sites = datacenter_buses(layout)
    steps = tables.steps
    figures = _price_figures(
        tables.only("prices", "step", "bus", "phase", "dlmp_p", *parts_in(tables)),
        _of_sites(tables.demand, sites),
        steps,
        layout,
    )
    voltages = tables.voltages
    if not voltages.empty:
        figures["map_voltage"] = voltage_map(layout, voltages)
        figures["voltages"] = voltage_profile(voltages, steps, limits)
    del voltages
    wanted: dict[str, tuple[pd.DataFrame, Callable[[pd.DataFrame], Figure]]] = {
        "dispatch": (tables.dispatch, lambda dispatch: dispatch_over_time(dispatch, steps)),
        "taps": (moved_devices(tables.taps), lambda taps: taps_over_time(taps, steps)),
        "envelopes": (tables.envelopes, lambda limits: limits_over_time(limits, steps)),
    }
    figures |= {name: draw(frame) for name, (frame, draw) in wanted.items() if not frame.empty}
    unbalance = tables.unbalance
    if not unbalance.empty:
        figures["unbalance"] = unbalance_over_time(unbalance, steps, list(dict.fromkeys(sites["bus"])))
    return figures


def _of_sites(demand: pd.DataFrame, sites: pd.DataFrame) -> pd.DataFrame:
    """Demand of the data centers of a layout; all of it where the layout has none."""
    return demand if sites.empty else demand[demand["datacenter"].isin(set(sites["unit"]))]


def _price_figures(
    prices: pd.DataFrame, demand: pd.DataFrame, steps: pd.DataFrame, layout: Layout
) -> dict[str, Figure]:
    if prices.empty:
        return {}
    figures = {
        "map_price": price_map(layout, prices),
        "price_heatmap": price_heatmap(prices, steps, layout),
        "price_heatmap_phase": price_heatmap_by_phase(prices, steps, layout),
    }
    if not datacenter_buses(layout).empty:
        figures["price_parts"] = price_parts(prices, steps, layout)
    if not demand.empty:
        figures["power_and_price"] = power_and_price(demand, prices, steps, layout)
    return figures


def datacenter_buses(layout: Layout) -> pd.DataFrame:
    """Data centers with their bus and phases: columns unit, bus, phase."""
    found = layout.units[layout.units["kind"] == "datacenter"]
    return found[["unit", "bus", "phase"]].reset_index(drop=True)


def site_prices(prices: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Price and its parts at each data center by step, mean over the phases that it is connected to."""
    sites = datacenter_buses(layout)
    parts = [sites[sites["phase"] != "abc"]]
    parts += [sites[sites["phase"] == "abc"].assign(phase=phase) for phase in PHASES]
    spread = pd.concat(parts)
    joined = spread.merge(prices, on=["bus", "phase"])
    columns = ["dlmp_p", *(part for part in PRICE_PARTS if part in prices)]
    return joined.groupby(["unit", "step"], sort=True)[columns].mean().reset_index()


def price_map(layout: Layout, prices: pd.DataFrame) -> Figure:
    """Mean active price over all steps and phases, by bus."""
    mean = bus_prices(prices).mean(axis="columns")
    return feeder_map(layout, mean, "mean price (USD/MWh)", "Mean locational price by bus")


def voltage_map(layout: Layout, voltages: pd.DataFrame) -> Figure:
    """Lowest voltage over all steps and phases, by bus: AC where there is one, else linear."""
    column = "v_ac_pu" if voltages["v_ac_pu"].notna().any() else "v_pu"
    kind = "AC" if column == "v_ac_pu" else "linear"
    lowest = voltages.groupby("bus")[column].min()
    return feeder_map(layout, lowest, f"lowest voltage, {kind} (pu)", "Lowest voltage by bus", cmap="plasma")


def _panels(figure: Figure, count: int, columns: int = 3, sharey: bool = True) -> list[Axes]:
    rows = -(-count // columns)
    grid = np.atleast_1d(figure.subplots(rows, min(count, columns), sharex=True, sharey=sharey)).ravel()
    for ax in grid[count:]:
        ax.set_visible(False)
    return list(grid[:count])


def _times(steps: pd.DataFrame, index: pd.Index) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(steps.set_index("step")["time"].reindex(index))


def price_parts(prices: pd.DataFrame, steps: pd.DataFrame, layout: Layout) -> Figure:
    """Parts of the price at data centers over time, stacked: all of them above, without energy below.

    Of many data centers the four with the highest mean price are shown.
    """
    with style():
        at_sites = site_prices(prices, layout)
        names = most(sorted(set(at_sites["unit"])), at_sites.groupby("unit")["dlmp_p"].mean(), count=4)
        parts = [p for p in PRICE_PARTS[1:] if p in at_sites and at_sites[p].abs().max() > 1e-9]
        figure = new_figure(5.4, "Price at the data centers and its parts (USD/MWh)", margins=Margins())
        axes = figure.subplots(2, len(names), sharex=True, sharey="row", squeeze=False)
        for (above, below), name in zip(axes.T, names, strict=True):
            data = at_sites[at_sites["unit"] == name].set_index("step")
            shown, times, means = thinned(data[["energy", *parts]], _times(steps, data.index), _MOST_STACKED)
            _stack(above, shown, ["energy", *parts], times)
            _stack(below, shown, parts, times)
            above.set_title(name)
            time_axis(below, times, ticks=5, note=means)
        axes[0, 0].set_ylabel("USD/MWh")
        axes[1, 0].set_ylabel("without energy, USD/MWh")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(parts) + 2)
        return figure


def _stack(ax: Axes, data: pd.DataFrame, parts: Sequence[str], times: pd.DatetimeIndex) -> None:
    """Stacked steps, positive and negative parts apart, with their sum as a line."""
    up, down = np.zeros(len(data) + 1), np.zeros(len(data) + 1)
    for part in parts:
        x, values = hold(times, data[part])
        high, low = np.maximum(values, 0.0), np.minimum(values, 0.0)
        ax.fill_between(x, up, up + high, step="post", color=PART_COLOURS[part], label=part, linewidth=0)
        ax.fill_between(x, down, down + low, step="post", color=PART_COLOURS[part], linewidth=0)
        up, down = up + high, down + low
    x, total = hold(times, data[list(parts)].sum(axis="columns"))
    ax.step(x, total, where="post", color="black", linewidth=1.2, label="total")
    ax.axhline(0.0, color="black", linewidth=0.6)


def power_and_price(
    demand: pd.DataFrame, prices: pd.DataFrame, steps: pd.DataFrame, layout: Layout
) -> Figure:
    """Power of each data center, the price it sees, and one against the other."""
    with style():
        power = demand.groupby(["datacenter", "step"])["p_kw"].sum()
        energy = power.groupby(level="datacenter").sum()
        names = most(sorted(energy.index), energy)
        price = site_prices(prices, layout).set_index(["unit", "step"])["dlmp_p"]
        figure = new_figure(4.9, "Data centers: power drawn and price paid", margins=Margins())
        grid = figure.add_gridspec(2, 2, width_ratios=(1.7, 1.0))
        over_price = figure.add_subplot(grid[0, 0])
        over_power = figure.add_subplot(grid[1, 0], sharex=over_price)
        against = figure.add_subplot(grid[:, 1])
        for (name, colour), marker in zip(colours(names).items(), "osD^vP", strict=False):
            p, c = power.loc[name], price.loc[name]
            times = _times(steps, p.index)
            over_price.step(*hold(times, c.reindex(p.index)), where="post", color=colour, label=name)
            over_power.step(*hold(times, p), where="post", color=colour)
            against.scatter(c.reindex(p.index), p, color=colour, marker=marker, s=26, alpha=0.8, linewidths=0)
        over_price.set_ylabel("price (USD/MWh)")
        over_price.tick_params(labelbottom=False)
        over_power.set_ylabel("power (kW)")
        over_power.set_ylim(bottom=0)
        time_axis(over_power, _times(steps, power.index.get_level_values("step").unique()))
        against.set(xlabel="price (USD/MWh)", ylabel="power (kW)", title="by step")
        against.set_ylim(bottom=0)
        figure.legend(*over_price.get_legend_handles_labels(), loc="outside lower center", ncols=len(names))
        return figure


def work_over_time(work: pd.DataFrame, steps: pd.DataFrame) -> Figure:
    """Computing work at each data center: arrived, served and waiting (MWh per step, MWh)."""
    with style():
        columns = ["arrived_mwh", "served_mwh", "deferred_mwh"]
        sums = work.groupby(["datacenter", "step"])[columns].sum()
        totals = sums["served_mwh"].groupby(level="datacenter").sum()
        names = most(sorted(totals.index), totals)
        height, title = 1.5 + 2.2 * -(-len(names) // 3), "Computing work: arrived, served, waiting (MWh)"
        figure = new_figure(height, title, margins=Margins())
        axes = _panels(figure, len(names))
        looks = {"arrived_mwh": ("arrived", GREY, "--"), "served_mwh": ("served", COLOURS[0], "-"),
                 "deferred_mwh": ("waiting at the end of the step", COLOURS[1], "-")}  # fmt: skip
        for ax, name in zip(axes, names, strict=True):
            data = sums.loc[name]
            times = _times(steps, data.index)
            for column, (label, colour, dash) in looks.items():
                ax.step(*hold(times, data[column]), where="post", color=colour, linestyle=dash, label=label)
            ax.set_title(name)
            time_axis(ax, times, ticks=5)
        axes[0].set_ylabel("MWh")
        axes[0].set_ylim(bottom=0)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
        return figure


def voltage_profile(voltages: pd.DataFrame, steps: pd.DataFrame, limits: VoltageLimits) -> Figure:
    """Lowest and highest voltage over all buses and phases per step, linear and AC, with the limits."""
    with style():
        figure = new_figure(3.9, "Voltages over all buses: lowest to highest (pu)", margins=Margins())
        ax = figure.add_subplot()
        for column, label, colour, dash in (
            ("v_pu", "linear", COLOURS[0], "-"), ("v_ac_pu", "AC power flow", COLOURS[1], "--"),
        ):  # fmt: skip
            known = voltages.dropna(subset=[column])
            if known.empty:
                continue
            band = known.groupby("step")[column].agg(["min", "max"])
            times = _times(steps, band.index)
            x, low = hold(times, band["min"])
            _, high = hold(times, band["max"])
            if column == "v_pu":
                ax.fill_between(x, low, high, step="post", color=colour, alpha=0.15, linewidth=0)
            ax.step(x, low, where="post", color=colour, linestyle=dash, label=label)
            ax.step(x, high, where="post", color=colour, linestyle=dash)
        _limit_lines(ax, limits)
        ax.set_ylabel("voltage (pu)")
        time_axis(ax, _times(steps, pd.Index(voltages["step"].unique())))
        figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3)
        return figure


def _limit_lines(ax: Axes, limits: VoltageLimits) -> None:
    for value, label in ((limits.v_min_pu, "limits"), (limits.v_max_pu, None)):
        ax.axhline(value, color=LIMIT_COLOUR, linewidth=1.3, linestyle=":", label=label)


def unbalance_over_time(unbalance: pd.DataFrame, steps: pd.DataFrame, buses: Sequence[str] = ()) -> Figure:
    """VUF, LVUR and PVUR over time at chosen buses, and the largest over all buses.

    Args:
        buses: which buses; by default, and where there are more than six, those with the largest VUF.
    """
    with style():
        worst = unbalance.groupby("bus")["vuf_pct"].max()
        chosen = most([b for b in buses if b in worst.index] or sorted(worst.index), worst)
        title = "Voltage unbalance at the data centers' buses and at the worst bus (%)"
        figure = new_figure(3.6, title, margins=Margins())
        axes = figure.subplots(1, 3, sharex=True, sharey=True)
        tint = colours(chosen)
        for ax, column, title in zip(
            axes, ("vuf_pct", "lvur_pct", "pvur_pct"),
            ("VUF (IEC): |V2|/|V1|", "LVUR (NEMA): line-line", "PVUR (IEEE): phase"), strict=True,
        ):  # fmt: skip
            table = unbalance.pivot(index="step", columns="bus", values=column)
            times = _times(steps, table.index)
            ax.step(*hold(times, table.max(axis="columns")), where="post", color=GREY, linestyle="--",
                    label="largest of all buses")  # fmt: skip
            for bus in chosen:
                ax.step(*hold(times, table[bus]), where="post", color=tint[bus], label=f"bus {bus}")
            ax.set_title(title, fontsize=10)
            ax.set_ylim(bottom=0)
            time_axis(ax, times, ticks=5)
        axes[0].set_ylabel("%")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
        return figure


def dispatch_over_time(dispatch: pd.DataFrame, steps: pd.DataFrame) -> Figure:
    """Active power of import and generators, stacked (beyond six together), and reactive power by kind."""
    with style():
        imports = set(dispatch.loc[dispatch["kind"] == "import", "unit"])
        active = dispatch.pivot_table(index="step", columns="unit", values="p_kw", aggfunc="sum")
        energy = active.abs().sum()
        units = [u for u in energy.index if energy[u] > 1e-6 and u not in imports]
        shown = most(units, energy)
        active["others"] = active[[u for u in units if u not in shown]].sum(axis="columns")
        stacked = [*sorted(imports), *shown, *(["others"] if len(shown) < len(units) else [])]
        margins = Margins()
        figure = new_figure(4.3, "Where power comes from", margins=margins)
        left, right = figure.subplots(1, 2)
        reactive = dispatch.pivot_table(index="step", columns="kind", values="q_kvar", aggfunc="sum")
        active, times, means = thinned(active, _times(steps, active.index), _MOST_STACKED)
        reactive, *_ = thinned(reactive, _times(steps, reactive.index), _MOST_STACKED)
        tint = colours(stacked, {**dict.fromkeys(imports, "#c4c9d1"), "others": "#4b5563"})
        base = np.zeros(len(active) + 1)
        for unit in stacked:
            x, values = hold(times, active[unit])
            left.fill_between(x, base, base + values, step="post", color=tint[unit], linewidth=0, label=unit)
            base = base + values
        kinds = colours(list(reactive.columns), {"import": GREY})
        for kind in reactive.columns:
            right.step(*hold(times, reactive[kind]), where="post", color=kinds[kind], label=kind)
        left.set_title("active power by unit (kW)")
        right.set_title("reactive power by kind (kvar)")
        for ax in (left, right):
            time_axis(ax, times, ticks=7, note=means)
            margins.legend_below(ax, columns=3)
        return figure


def moved_devices(taps: pd.DataFrame) -> pd.DataFrame:
    """The rows of those devices that moved at all."""
    return taps[taps.groupby(["device", "phase"])["moves"].transform("sum") > 0]


def taps_over_time(taps: pd.DataFrame, steps: pd.DataFrame) -> Figure:
    """Taps of regulators and capacitor steps in service over time; of each kind the six that moved most.

    Phases of one device that moved alike share a line.
    """
    with style():
        alike = taps.groupby(["device", "phase"])["position"].transform(lambda p: " ".join(map(str, p)))
        together = taps.assign(alike=alike).groupby(["device", "alike", "step"])["phase"].transform(" ".join)
        named = taps.assign(name=taps["device"] + " " + together).drop_duplicates(["name", "step"])
        moves = named.groupby("name", sort=True)["moves"].sum()
        kinds = sorted(set(named["kind"]), reverse=True)
        margins = Margins()
        figure = new_figure(3.9, "Positions of regulators and capacitors, constant within a step", margins=margins)
        for ax, kind in zip(np.atleast_1d(figure.subplots(1, len(kinds))), kinds, strict=True):
            table = named[named["kind"] == kind].pivot(index="step", columns="name", values="position")
            times = _times(steps, table.index)
            shown = most(list(table.columns), moves)
            tint = colours(shown)
            for name in shown:
                ax.step(*hold(times, table[name]), where="post", color=tint[name], label=name)
            ax.set_title({"regulator": "tap (steps of 0.625 %)", "capacitor": "steps in service"}[kind])
            ax.yaxis.get_major_locator().set_params(integer=True)
            time_axis(ax, times, ticks=7)
            margins.legend_below(ax, columns=3)
        return figure


def convergence(rounds: pd.DataFrame) -> Figure:
    """Price and power residuals by round, one line per window; log scale."""
    with style():
        figure = new_figure(3.6, "Convergence of the negotiation", margins=Margins())
        axes = figure.subplots(1, 2)
        of = [name for name in ("step", "stage") if name in rounds]
        window = rounds.groupby(of, sort=False).ngroup().to_numpy()
        order, windows = np.argsort(window, kind="stable"), int(window.max()) + 1
        looks: dict[str, Any] = {"color": COLOURS[0], "alpha": max(0.25, 1.0 / windows**0.5)}
        for ax, column, title, label in zip(
            axes, ("price_residual", "power_residual_kw"),
            ("price: largest change between rounds", "power: largest disagreement"),
            ("USD/MWh", "kW"), strict=True,
        ):  # fmt: skip
            points = rounds[["round", column]].to_numpy(dtype=float)[order]
            shown = points[:, 1] > 0
            lines = np.split(points[shown], np.flatnonzero(np.diff(window[order][shown])) + 1)
            ax.add_collection(LineCollection(lines, capstyle="round", joinstyle="round", zorder=2, **looks))
            ax.plot(*points[shown].T, linestyle="none", marker="o", markersize=3, **looks)
            if (rounds[column] > 0).any():
                log_axis(ax)
            ax.set(title=title, xlabel="round", ylabel=label)
            ax.xaxis.get_major_locator().set_params(integer=True)
        if windows > 1:
            axes[0].annotate(f"{windows} windows, one line each", (0.98, 0.96), xycoords="axes fraction",
                             ha="right", va="top", fontsize=9, color=GREY)  # fmt: skip
        return figure
