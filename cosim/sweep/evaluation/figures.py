"""Figures of an evaluation: how often limits break step by step, and what samples cost."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cosim.results.figures.margins import Margins
from cosim.results.figures.style import COLOURS, LIMIT_COLOUR, new_figure, style, time_axis


def evaluation_figures(steps: pd.DataFrame, samples: pd.DataFrame, level: float | None) -> dict[str, Figure]:
    """All figures by file name; those without data are left out."""
    figures = {"frequency": frequency(steps, level)}
    columns = [c for c in ("import_cost_usd", "payment_usd") if samples[c].nunique() > 1]
    return {**figures, "costs": costs(samples, columns)} if columns else figures


def frequency(steps: pd.DataFrame, level: float | None) -> Figure:
    """Frequency of the limit that breaks most, and of any, in each step with intervals, and the level."""
    with style():
        figure = new_figure(3.8, "How often limits break out of sample (%)", margins=Margins())
        ax = figure.add_subplot()
        times = pd.DatetimeIndex(steps["time"])
        width = times[1] - times[0] if len(times) > 1 else pd.Timedelta(hours=1)
        for shift, name, label, colour in ((0.35, "worst", "the limit that breaks most", COLOURS[0]),
                                           (0.65, "any", "any limit", COLOURS[1])):  # fmt: skip
            value, low, high = (100 * steps[c].to_numpy() for c in (name, f"{name}_low", f"{name}_high"))
            around = np.maximum(np.array([value - low, high - value]), 0.0)
            ax.errorbar(times + shift * width, value, yerr=around, fmt="o", markersize=3, color=colour, label=label,
                        elinewidth=1)  # fmt: skip
        if level is not None:
            ax.axhline(100 * level, color=LIMIT_COLOUR, linewidth=1, linestyle="--", label=f"level {100 * level:g} %")
        ax.set_ylabel("share of samples (%)")
        ax.set_ylim(bottom=0)
        time_axis(ax, times)
        handles, labels = ax.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
        return figure


def costs(samples: pd.DataFrame, columns: list[str]) -> Figure:
    """Distributions over the samples of what the import costs and the data centers pay."""
    words = {"import_cost_usd": "cost of the import (USD)", "payment_usd": "payment of the data centers (USD)"}
    with style():
        figure = new_figure(3.0, "Distribution of cost and payment", margins=Margins())
        axes = np.atleast_1d(figure.subplots(1, len(columns)))
        for ax, column in zip(axes, columns, strict=True):
            values = samples[column].dropna()
            ax.hist(values, bins=min(40, max(5, len(values) // 10)), color=COLOURS[0])
            ax.axvline(values.mean(), color="black", linewidth=1)
            ax.set_xlabel(words[column])
        axes[0].set_ylabel("samples")
        return figure
