"""A feeder on a page: where its buses are, and values by step that a reader may colour them by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cosim.constants import PHASES, PRICE_PARTS
from cosim.results.figures.cells import Cells, numbers_in
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
    ends = [numbers_in(buses, layout.branches[end]) for end in ("from_bus", "to_bus")]
    source = numbers_in(buses, layout.buses.loc[layout.buses["role"] == "source", "bus"])
    return {
        "buses": buses.tolist(), "x": spot["x"].tolist(), "y": spot["y"].tolist(), "source": source.tolist(),
        "names": layout.branches["name"].tolist(), "ends": np.stack(ends, axis=1).reshape(-1).tolist(),
        "tree": not layout.buses[["x", "y"]].notna().all().all(),
    }  # fmt: skip


def _layers(
    tables: Tables, steps: pd.Index, buses: pd.Index, branches: pd.Index
) -> list[tuple[str, str, str, int, NDArray[np.float64]]]:
    """(key, label, what it colours, digits, values) of everything that the map can show of a run."""
    prices = tables.only("prices", "step", "bus", "phase", "dlmp_p", "energy")
    at = Cells.of(steps, buses, prices, "bus", _of_phases(prices))
    layers = [
        ("price", "active price, mean over phases (USD/MWh)", "bus", DIGITS["price"], at.mean(prices["dlmp_p"])),
        ("local", "price less energy at the substation (USD/MWh)", "bus", DIGITS["price"],
         at.mean(prices["dlmp_p"] - prices["energy"])),
    ]  # fmt: skip
    volts = voltages(tables, "step", "bus", "phase")
    at = Cells.of(steps, buses, volts, "bus")
    layers += [
        ("v_min", "lowest voltage over phases (pu)", "bus", DIGITS["voltage"], at.extreme(volts["v"], np.fmin)),
        ("v_max", "highest voltage over phases (pu)", "bus", DIGITS["voltage"], at.extreme(volts["v"], np.fmax)),
    ]  # fmt: skip
    flows = tables.only("flows", "step", "branch", "loading_pct", "loading_ac_pct", "p_kw", "p_ac_kw")
    of = Cells.of(steps, branches, flows, "branch")
    loading, p_kw = (flows[ac].fillna(flows[linear])
                     for ac, linear in (("loading_ac_pct", "loading_pct"), ("p_ac_kw", "p_kw")))  # fmt: skip
    power = of.total(p_kw) if len(flows) else np.full((len(steps), len(branches)), np.nan)
    return [
        *layers,
        ("loading", "loading of branches, most over phases (%)", "branch", DIGITS["loading"],
         of.extreme(loading, np.fmax)),
        ("flow", "active power through branches (kW)", "branch", DIGITS["power"], power),
    ]  # fmt: skip


def _of_phases(prices: pd.DataFrame) -> NDArray[np.bool_]:
    """Which rows are of phases to neutral; of a bus that has none (split-phase, delta) all rows are taken."""
    phase = prices["phase"].isin(PHASES)
    wanted: NDArray[np.bool_] = (phase | ~prices["bus"].isin(prices.loc[phase, "bus"].unique())).to_numpy(dtype=bool)
    return wanted


def _units(layout: Layout, buses: pd.Index) -> list[dict[str, Any]]:
    """Units once each, with the number of their bus."""
    rows = layout.units.drop_duplicates("unit")
    label = rows["label"].fillna(rows["kind"]).where(rows["kind"] != "datacenter", "data center")
    numbers = numbers_in(buses, rows["bus"])
    return [
        {"name": name, "label": text, "bus": int(bus), "site": kind == "datacenter"}
        for name, text, bus, kind in zip(rows["unit"], label, numbers, rows["kind"], strict=True)
    ]


def _powers(tables: Tables, steps: pd.Index, units: pd.Index) -> NDArray[np.float64]:
    """(steps, units) power in kW: what sites draw, what resources put out."""
    drawn = tables.only("demand", "step", "datacenter", "p_kw")
    put_out = tables.only("dispatch", "step", "unit", "p_kw")
    found = [Cells.of(steps, units, frame, name).total(frame["p_kw"])
             for frame, name in ((drawn, "datacenter"), (put_out, "unit"))]  # fmt: skip
    return found[0] + found[1]


def _detail(tables: Tables, steps: pd.Index, buses: pd.Index) -> dict[str, Any]:
    """Parts of the price by bus, and voltages by bus and phase."""
    names = parts_in(tables)
    prices = tables.only("prices", "step", "bus", "phase", *names)
    at = Cells.of(steps, buses, prices, "bus", _of_phases(prices))
    parts = {part: at.mean(prices[part]) for part in names}
    volts = voltages(tables, "step", "bus", "phase")
    codes, phases = pd.factorize(volts["phase"])
    node, nodes = pd.factorize(numbers_in(buses, volts["bus"]) * len(phases) + codes)
    order = np.argsort(nodes // len(phases), kind="stable")
    volts = volts.assign(node=np.argsort(order)[node])
    known = Cells.of(steps, pd.RangeIndex(len(nodes)), volts, "node").mean(volts["v"])
    return {
        "parts": {part: pack(v, DIGITS["price"]) for part, v in parts.items() if np.nanmax(np.abs(v), initial=0.0) > 0},
        "nodes": (nodes[order] // len(phases)).tolist(), "phases": phases[nodes[order] % len(phases)].tolist(),
        "voltages": pack(known, DIGITS["voltage"]),
    }  # fmt: skip
