"""The figure of hourly limits: what each site may draw, would draw, and draws."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cosim.results.figures.style import COLOURS, GREY, LIMIT_COLOUR, hold, most, new_figure, style, time_axis

_PANELS = 6


def limits_over_time(envelopes: pd.DataFrame, steps: pd.DataFrame) -> Figure:
    """Limit, firm part, draw and what would be drawn if work ran on arrival, site by site; of many sites the six that
    are limited most."""
    with style():
        beyond = (envelopes["wanted_kw"] - envelopes["limit_kw"]).clip(lower=0.0)
        sites = sorted(set(envelopes["datacenter"]))
        shown = most(sites, beyond.groupby(envelopes["datacenter"]).sum(), count=_PANELS)
        columns = min(len(shown), 3)
        rows = -(-len(shown) // columns)
        figure = new_figure(1.3 + 2.6 * rows, "Hourly limits and what is drawn within them (kW)")
        grid = np.atleast_1d(figure.subplots(rows, columns, sharex=True, sharey=True)).ravel()
        for ax in grid[len(shown) :]:
            ax.set_visible(False)
        for ax, site in zip(grid, shown, strict=False):
            data = envelopes[envelopes["datacenter"] == site].set_index("step")
            times = pd.DatetimeIndex(steps.set_index("step")["time"].reindex(data.index))
            x, drawn = hold(times, data["drawn_kw"])
            ax.fill_between(x, 0.0, drawn, step="post", color=COLOURS[4], linewidth=0, label="drawn")
            for name, label, colour, dash in (
                ("wanted_kw", "if work ran on arrival", GREY, ":"), ("firm_kw", "firm part", COLOURS[2], "--"),
                ("limit_kw", "limit", LIMIT_COLOUR, "-"),
            ):  # fmt: skip
                ax.step(*hold(times, data[name]), where="post", color=colour, linestyle=dash, label=label)
            ax.set_title(site)
            time_axis(ax, times, ticks=4)
        grid[0].set_ylim(bottom=0.0)
        for ax in grid[::columns]:
            ax.set_ylabel("kW")
        figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
        return figure
