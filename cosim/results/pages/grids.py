"""A feeder on a page: where its buses are, and values by step that a reader may colour them by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cosim.constants import PHASES, PRICE_PARTS
from cosim.results.layout import coordinates, feeder_order
from cosim.results.pages.charts import voltages
from cosim.results.pages.packing import pack
from cosim.results.price_notes import parts_in
from cosim.results.record import VoltageLimits
from cosim.results.tables import Layout, Tables

MOST_VALUES = 3_000_000
"""Numbers that the map of a feeder may take; of a longer run it shows steps at equal distances."""
DIGITS = {"price": 3, "voltage": 5, "loading": 2, "power": 2}
"""Decimal places that a page keeps."""


@dataclass(frozen=True, slots=True)
class Values:
    """A table as an array: ``values[step, name]``, missing where the table has no row."""

    steps: pd.Index
    names: pd.Index

    def mean(self, frame: pd.DataFrame, name: str, value: str) -> NDArray[np.float64]:
        """Mean of the rows of each step and name."""
        total, count = self.total(frame, name, value), self.total(frame.assign(one=1.0), name, "one")
        mean: NDArray[np.float64] = np.where(count > 0, total / np.maximum(count, 1.0), np.nan)
        return mean

    def total(self, frame: pd.DataFrame, name: str, value: str) -> NDArray[np.float64]:
        """Sum of the rows of each step and name; 0 where there are none."""
        place, found = self._places(frame, name, value)
        total: NDArray[np.float64] = np.bincount(place, found, minlength=self._size).astype(float)
        return total.reshape(len(self.steps), len(self.names))

    def extreme(self, frame: pd.DataFrame, name: str, value: str, pick: np.ufunc) -> NDArray[np.float64]:
        """``numpy.fmin`` or ``numpy.fmax`` of the rows of each step and name."""
        result = np.full(self._size, np.nan)
        place, found = self._places(frame, name, value)
        pick.at(result, place, found)
        return result.reshape(len(self.steps), len(self.names))

    @property
    def _size(self) -> int:
        return len(self.steps) * len(self.names)

    def _places(self, frame: pd.DataFrame, name: str, value: str) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        row, column = _numbers(self.steps, frame["step"]), _numbers(self.names, frame[name])
        known = (row >= 0) & (column >= 0)
        return row[known] * len(self.names) + column[known], frame[value].to_numpy(dtype=float)[known]


def _numbers(index: pd.Index, names: pd.Series) -> NDArray[np.intp]:
    """Where names stand in an index; -1 where they do not."""
    return index.get_indexer(pd.Index(names))


def steps_shown(steps: pd.DataFrame, nodes: int) -> pd.DataFrame:
    """The market steps that a map shows: all of them, or of a long run on a large feeder every so many."""
    every = -(-len(steps) * nodes * (len(PRICE_PARTS) + 3) // MOST_VALUES)
    return steps.iloc[:: max(1, every)]


def map_of(
    layout: Layout, runs: Mapping[str, tuple[Tables, VoltageLimits]], steps: pd.Index, detailed: bool
) -> dict[str, Any]:
    """A feeder for ``page.js``: places, branches, layers of colour by run, units with their power.

    Args:
        layout: of this feeder. runs: tables of this feeder and its voltage limits by the name of the run.
        steps: that are shown.
        detailed: with parts of prices and voltages phase by phase, for what is told of a bus.
    """
    found = places(layout)
    buses, branches = pd.Index(found["buses"]), pd.Index(found["names"])
    layers: dict[str, dict[str, Any]] = {}
    for name, (tables, _) in runs.items():
        for key, label, on, digits, values in _layers(tables, steps, buses, branches):
            if np.isfinite(values).any():
                layer = layers.setdefault(key, {"key": key, "label": label, "on": on, "runs": {}})
                layer["runs"][name] = pack(values, digits)
    units = _units(layout, buses)
    names = pd.Index([unit["name"] for unit in units])
    powers = {name: pack(_powers(tables, steps, names), DIGITS["power"]) for name, (tables, _) in runs.items()}
    first, limits = next(iter(runs.values()))
    low, high = limits.at(pd.Series(buses)) if limits.buses else (limits.v_min_pu, limits.v_max_pu)
    detail = _detail(first, steps, buses) if detailed else {}
    return {
        **found, "layers": list(layers.values()), "units": units, "powers": powers, **detail,
        "limits": [np.broadcast_to(np.asarray(v, dtype=float), len(buses)).tolist() for v in (low, high)]
        if limits.buses else [limits.v_min_pu, limits.v_max_pu],
    }  # fmt: skip


def places(layout: Layout) -> dict[str, Any]:
    """Buses outwards from the source, with coordinates, and branches as pairs of numbers of buses."""
    buses = pd.Index(feeder_order(layout))
    at = coordinates(layout).reindex(buses)
    span = float(np.ptp(at.to_numpy(), axis=0).max()) or 1.0
    spot = ((at - at.min()) / span * 1000).round(2)
    ends = [_numbers(buses, layout.branches[end]) for end in ("from_bus", "to_bus")]
    source = _numbers(buses, layout.buses.loc[layout.buses["role"] == "source", "bus"])
    return {
        "buses": buses.tolist(), "x": spot["x"].tolist(), "y": spot["y"].tolist(), "source": source.tolist(),
        "names": layout.branches["name"].tolist(), "ends": np.stack(ends, axis=1).reshape(-1).tolist(),
        "tree": not layout.buses[["x", "y"]].notna().all().all(),
    }  # fmt: skip


def _layers(
    tables: Tables, steps: pd.Index, buses: pd.Index, branches: pd.Index
) -> list[tuple[str, str, str, int, NDArray[np.float64]]]:
    """(key, label, what it colours, digits, values) of everything that the map can show of a run."""
    at, of = Values(steps, buses), Values(steps, branches)
    prices = _of_phases(tables.only("prices", "step", "bus", "phase", "dlmp_p", "energy"))
    local = prices.assign(local=prices["dlmp_p"] - prices["energy"])
    volts = voltages(tables, "step", "bus", "phase")
    layers = [
        ("price", "active price, mean over phases (USD/MWh)", "bus", DIGITS["price"], at.mean(prices, "bus", "dlmp_p")),
        ("local", "price less energy at the substation (USD/MWh)", "bus", DIGITS["price"],
         at.mean(local, "bus", "local")),
        ("v_min", "lowest voltage over phases (pu)", "bus", DIGITS["voltage"],
         at.extreme(volts, "bus", "v", np.fmin)),
        ("v_max", "highest voltage over phases (pu)", "bus", DIGITS["voltage"],
         at.extreme(volts, "bus", "v", np.fmax)),
    ]  # fmt: skip
    flows = tables.only("flows", "step", "branch", "loading_pct", "loading_ac_pct", "p_kw", "p_ac_kw")
    flows = flows.assign(loading=flows["loading_ac_pct"].fillna(flows["loading_pct"]),
                         p=flows["p_ac_kw"].fillna(flows["p_kw"]))  # fmt: skip
    power = of.total(flows, "branch", "p") if len(flows) else np.full((len(steps), len(branches)), np.nan)
    return [
        *layers,
        ("loading", "loading of branches, most over phases (%)", "branch", DIGITS["loading"],
         of.extreme(flows, "branch", "loading", np.fmax)),
        ("flow", "active power through branches (kW)", "branch", DIGITS["power"], power),
    ]  # fmt: skip


def _of_phases(prices: pd.DataFrame) -> pd.DataFrame:
    """Rows of phases to neutral; of a bus that has none (split-phase, delta) all rows."""
    phase = prices["phase"].isin(PHASES)
    without = ~prices["bus"].isin(prices.loc[phase, "bus"].unique())
    return prices[phase | without]


def _units(layout: Layout, buses: pd.Index) -> list[dict[str, Any]]:
    """Units once each, with the number of their bus."""
    rows = layout.units.drop_duplicates("unit")
    label = rows["label"].fillna(rows["kind"]).where(rows["kind"] != "datacenter", "data center")
    numbers = _numbers(buses, rows["bus"])
    return [
        {"name": name, "label": text, "bus": int(bus), "site": kind == "datacenter"}
        for name, text, bus, kind in zip(rows["unit"], label, numbers, rows["kind"], strict=True)
    ]


def _powers(tables: Tables, steps: pd.Index, units: pd.Index) -> NDArray[np.float64]:
    """(steps, units) power in kW: what sites draw, what resources put out."""
    at = Values(steps, units)
    drawn = at.total(tables.only("demand", "step", "datacenter", "p_kw"), "datacenter", "p_kw")
    return drawn + at.total(tables.only("dispatch", "step", "unit", "p_kw"), "unit", "p_kw")


def _detail(tables: Tables, steps: pd.Index, buses: pd.Index) -> dict[str, Any]:
    """Parts of the price by bus, and voltages by bus and phase."""
    names = parts_in(tables)
    prices = _of_phases(tables.only("prices", "step", "bus", "phase", *names))
    at = Values(steps, buses)
    parts = {part: at.mean(prices, "bus", part) for part in names}
    volts = voltages(tables, "step", "bus", "phase")
    nodes = volts[["bus", "phase"]].drop_duplicates()
    keys = nodes["bus"] + "\0" + nodes["phase"]
    order = np.argsort(_numbers(buses, nodes["bus"]), kind="stable")
    by_node = Values(steps, pd.Index(keys.iloc[order]))
    known = by_node.mean(volts.assign(node=volts["bus"] + "\0" + volts["phase"]), "node", "v")
    return {
        "parts": {part: pack(v, DIGITS["price"]) for part, v in parts.items() if np.nanmax(np.abs(v), initial=0.0) > 0},
        "nodes": _numbers(buses, nodes["bus"].iloc[order]).tolist(), "phases": nodes["phase"].iloc[order].tolist(),
        "voltages": pack(known, DIGITS["voltage"]),
    }  # fmt: skip
