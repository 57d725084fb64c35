"""Figures of a sweep that has no analysis of its own: key figures against its first factors."""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from cosim.results.figures.style import COLOURS, MODE_COLOURS, colours, new_figure, style
from cosim.results.kpis import MEASURES
from cosim.sweep.reading import Sweep

_SHOWN = ("social_cost_usd", "dca_cost_usd", "ac_v_min_pu", "vuf_max_pct")
_FEW = 6


def overview_figures(found: Sweep) -> dict[str, tuple[Figure, str]]:
    """For each factor a figure of key figures against it, coloured by mode: (figure, caption) by name."""
    runs = found.ok
    numbers = [name for name in _numbers(found) if runs[name].notna().any()]
    measures = [m for m in _SHOWN if m in numbers] or numbers[:4]
    result = {}
    for factor in found.factors if measures else []:
        if runs[factor].nunique() > 1:
            label = found.experiment.factors[factor].label or factor
            result[f"by_{factor}".replace(".", "_")] = (
                _against(runs, factor, label, measures),
                f"Key figures against {label}: means over all else, bands and bars from least to greatest.",
            )
    return result


def _numbers(found: Sweep) -> list[str]:
    return [name for name in found.kpis if pd.api.types.is_numeric_dtype(found.runs[name])]


def _against(runs: pd.DataFrame, factor: str, label: str, measures: list[str]) -> Figure:
    with style():
        rows = -(-len(measures) // 2)
        figure = new_figure(2.7 * rows + 0.6, f"Against {label}")
        axes = figure.subplots(rows, 2, squeeze=False).flatten()
        modes = list(dict.fromkeys(runs["mode"]))
        palette = colours(modes, MODE_COLOURS) if len(modes) > 1 else {modes[0]: COLOURS[0]}
        line = pd.api.types.is_numeric_dtype(runs[factor]) and runs[factor].nunique() > 2
        for i, (ax, measure) in enumerate(zip(axes, measures, strict=False)):
            common = {"data": runs, "x": factor, "y": measure, "hue": "mode", "palette": palette, "ax": ax,
                      "errorbar": ("pi", 100), "legend": i == 0 and len(modes) > 1}  # fmt: skip
            if line:
                marker = "o" if runs[factor].nunique() <= 4 * _FEW else None
                sns.lineplot(**common, marker=marker, markersize=4)
            else:
                sns.pointplot(**common, dodge=len(modes) > 1, linestyle="none", err_kws={"linewidth": 1.2})
            known = MEASURES.get(measure)
            if not line:
                ax.tick_params(axis="x", rotation=20)
            ax.set(xlabel=label, ylabel=measure if known is None else f"{measure.rsplit('_', 1)[0]} ({known.unit})")
        for ax in axes[len(measures) :]:
            ax.set_visible(False)
        return figure
