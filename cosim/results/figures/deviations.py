"""The figure of two settlements: what is held from day ahead, what is drawn, and both prices."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from cosim.results.figures.style import COLOURS, GREY, hold, new_figure, style, time_axis


def deviations_over_time(deviations: pd.DataFrame, steps: pd.DataFrame) -> Figure:
    """Positions and draw of all data centers, and real-time less day-ahead price, weighted by what is held."""
    with style():
        sums = deviations.groupby("step")[["position_kw", "drawn_kw"]].sum()
        apart = deviations["real_time_usd_per_mwh"] - deviations["day_ahead_usd_per_mwh"]
        weight = deviations["position_kw"].where(sums["position_kw"].loc[deviations["step"]].to_numpy() > 0, 1.0)
        by = deviations["step"]
        spread = (apart * weight).groupby(by).sum() / weight.groupby(by).sum()
        times = pd.DatetimeIndex(steps.set_index("step")["time"].reindex(sums.index))
        figure = new_figure(5.2, "Day ahead and real time")
        power, price = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        x, held = hold(times, sums["position_kw"])
        _, drawn = hold(times, sums["drawn_kw"])
        power.fill_between(x, held, drawn, step="post", color=COLOURS[4], alpha=0.5, linewidth=0, label="deviation")
        power.step(x, held, where="post", color=GREY, linestyle="--", label="held from day ahead")
        power.step(x, drawn, where="post", color=COLOURS[0], label="drawn")
        power.set_ylabel("kW")
        power.legend(loc="best")
        price.axhline(0.0, color=GREY, linewidth=0.8)
        price.step(*hold(times, spread), where="post", color=COLOURS[1])
        price.set_ylabel("real-time less\nday-ahead price\n(USD/MWh)")
        time_axis(price, times)
        return figure
