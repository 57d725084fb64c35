"""Charts of a page as data, which ``page.js`` draws."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cosim.results.tables import Tables

_DIGITS = 7
"""Significant digits of numbers in charts."""
SAME = 1e-3
"""Share of the range shown within which two curves are the same (as in ``page.js``): less than their width."""
_ROUNDING = 1e-6
"""The same as a share of the largest value, for values that hardly vary."""
_MOST_CURVES = 12
_MOST_WINDOWS = 400
_RESIDUALS = ("price_residual", "power_residual_kw")


@dataclass(frozen=True, slots=True)
class Trace:
    """One curve, or one set of bars: its name, places and values; ``text`` is told at each point."""

    name: str
    x: Sequence[object]
    y: NDArray[np.float64] | pd.Series
    text: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """What a chart shows when it is chosen; ``x`` and ``y`` title the axes where they differ from the chart's."""

    label: str
    traces: Sequence[Trace]
    y: str = ""
    x: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart: titles, and what there is to choose from.

    Attributes:
        choose: what the choice is of. log: whether the y axis is logarithmic.
        shape: of lines between points: ``linear``, or ``hv`` for values that hold over a step.
        bars, points: how values are drawn instead of as lines.
    """

    title: str
    caption: str
    y: str
    choices: Sequence[Choice]
    x: str = ""
    choose: str = "show"
    log: bool = False
    shape: str = "hv"
    bars: bool = False
    points: bool = False

    @property
    def picks(self) -> tuple[()]:
        """Choices of axes: none, see :class:`cosim.results.pages.explorer.Explorer`."""
        return ()

    def data(self) -> dict[str, Any]:
        """For ``page.js``."""
        return {
            "x": self.x, "y": self.y, "log": self.log, "shape": self.shape, "bars": self.bars, "points": self.points,
            "choices": [
                {"traces": [{"name": t.name, "x": list(t.x), "y": _rounded(t.y), **({"text": t.text} if t.text else {})}
                            for t in c.traces], "x": c.x, "y": c.y}
                for c in self.choices
            ],
        }  # fmt: skip


def _rounded(values: NDArray[np.float64] | pd.Series) -> list[float | None]:
    """Numbers with few digits; what is not finite is left out of a curve."""
    array = np.array(values, dtype=float)
    known = np.isfinite(array)
    some = known & (array != 0.0)
    places = np.clip(_DIGITS - 1 - np.floor(np.log10(np.abs(array[some]))), -300, 300)
    up, down = 10.0 ** np.maximum(places, 0.0), 10.0 ** np.maximum(-places, 0.0)
    array[some] = np.rint(array[some] * up / down) / up * down
    numbers: list[float | None] = array.tolist()
    return numbers if known.all() else [n if there else None for n, there in zip(numbers, known, strict=True)]


def curves(series: Mapping[str, NDArray[np.float64]], x: Sequence[object]) -> list[Trace]:
    """A curve for each series; series that coincide share one, which bears all their names."""
    return [Trace(" = ".join(names), x, series[names[0]]) for names in coinciding(series, tolerance_of(series))]


def tolerance_of(series: Mapping[str, NDArray[np.float64]]) -> float:
    """By how much values may differ and count as the same in a chart of these series."""
    shown = np.concatenate([np.ravel(v) for v in series.values()]) if series else np.array([])
    shown = shown[np.isfinite(shown)]
    return max(SAME * float(np.ptp(shown)), _ROUNDING * float(np.abs(shown).max())) if len(shown) else 0.0


def coinciding(series: Mapping[str, NDArray[np.float64]], tolerance: float) -> list[tuple[str, ...]]:
    """Names in groups whose values are the same to within a tolerance, in the order of their first name."""
    groups: list[list[str]] = []
    for name, values in series.items():
        alike = (
            group for group in groups
            if series[group[0]].shape == values.shape
            and np.allclose(series[group[0]], values, rtol=0.0, atol=tolerance, equal_nan=True)
        )  # fmt: skip
        group = next(alike, None)
        groups.append([name]) if group is None else group.append(name)
    return [tuple(group) for group in groups]


def duration(series: Mapping[str, NDArray[np.float64]]) -> list[Trace]:
    """Duration curves: values from the highest down, each held over its share of the time in percent."""
    ordered = {name: -np.sort(-values[np.isfinite(values)]) for name, values in series.items()}
    found = []
    for trace in curves({n: v for n, v in ordered.items() if len(v)}, ()):
        share = np.round(100 * np.arange(len(trace.y)) / len(trace.y), 4)
        found.append(Trace(trace.name, [*share.tolist(), 100.0], np.append(trace.y, trace.y[-1])))
    return found


def site_powers(tables: Tables) -> dict[str, NDArray[np.float64]]:
    """kW of each data center by step, those that draw most first; at most so many."""
    wide = tables.only("demand", "step", "datacenter", "p_kw").pivot_table(
        index="step", columns="datacenter", values="p_kw", aggfunc="sum"
    )
    order = wide.sum().sort_values(ascending=False, kind="stable").index[:_MOST_CURVES]
    return {str(name): wide[name].to_numpy(dtype=float) for name in order}


def voltages(tables: Tables, *columns: str) -> pd.DataFrame:
    """Columns of the voltages, and ``v`` (pu): of AC power flow, of the linear network where there is none."""
    frame = tables.only("voltages", *columns, "v_pu", "v_ac_pu")
    return frame.assign(v=frame["v_ac_pu"].fillna(frame["v_pu"]))


def extremes(tables: Tables) -> dict[str, NDArray[np.float64]]:
    """Lowest and highest voltage of the feeder in each step (pu), of AC power flow where there is one."""
    found = voltages(tables, "step").groupby("step")["v"].agg(["min", "max"])
    return {"lowest": found["min"].to_numpy(), "highest": found["max"].to_numpy()}


def negotiation(runs: Mapping[str, Tables]) -> list[Chart]:
    """Residuals and costs round by round, window by window; nothing where nobody has negotiated."""
    residuals, costs = [], []
    for run, tables in runs.items():
        steps = tables.only("steps", "step", "time").set_index("step")["time"]
        rounds = tables.rounds.sort_values("step", kind="stable", ignore_index=True)
        number = rounds["round"].to_numpy()
        price, power = (rounds[name].where(rounds[name] > 0).to_numpy() for name in _RESIDUALS)
        sites, operator = (rounds[name].to_numpy() for name in ("dca_cost_usd", "dso_cost_usd"))
        first = np.flatnonzero(~rounds["step"].duplicated().to_numpy())[: _MOST_WINDOWS + 1]
        for begin, end in itertools.pairwise([*first.tolist(), len(rounds)][: _MOST_WINDOWS + 1]):
            opened = steps.get(rounds["step"].iat[begin], pd.NaT)
            start = f"{run + ', ' if len(runs) > 1 else ''}window from {opened:%d %b %H:%M}"
            own, x = slice(begin, end), number[begin:end].tolist()
            residuals.append(Choice(start, [
                Trace("price, USD/MWh", x, price[own]), Trace("power, kW", x, power[own]),
            ]))  # fmt: skip
            costs.append(Choice(start, [Trace("data centers", x, sites[own]), Trace("operator", x, operator[own])]))
    if not residuals:
        return []
    return [
        Chart("How far from agreement", "Residuals of each round; zeros cannot be shown on a logarithmic scale.",
              "residual", residuals, "round", "window", log=True, shape="linear"),
        Chart("What it would cost to stop here", "Costs at the prices and powers of each round.", "USD", costs, "round",
              "window", shape="linear"),
    ]  # fmt: skip
