"""Rows of the result tables that the operator knows: prices, dispatch, voltages, unbalance."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from cosim.agents.dso.clearing import Limits
from cosim.agents.dso.prices import PARTS, NodePrices
from cosim.agents.dso.resources import Resources
from cosim.agents.dso.window import StepResult
from cosim.grid.feeder import Feeder
from cosim.grid.opendss import AcSolution
from cosim.grid.phases import Terminal
from cosim.interfaces import Row

KILO = 1000.0


def price_rows(feeder: Feeder, t: int, prices: NodePrices) -> list[Row]:
    """DLMP and its parts at every bus-phase, and at every delta leg of a bus."""
    rows: list[Row] = []
    buses = {b.name: b for b in feeder.buses}
    for n, (bus, phase) in enumerate(prices.nodes):
        if len(phase) > 1:
            continue  # a network with nodes for legs: they come below, with those of all others
        active = {k: float(prices.active[k][n]) for k in PARTS}
        reactive = {k: float(prices.reactive[k][n]) for k in PARTS}
        rows.append(_price_row(t, bus, phase, active, reactive))
    for name in dict.fromkeys(bus for bus, _ in prices.nodes):
        for leg in buses[name].legs:
            rows.append(_price_row(t, name, leg, *prices.at_terminal(Terminal(name, "delta", (leg,)))))
    return rows


def _price_row(
    t: int, bus: str, phase: str, active: Mapping[str, float], reactive: Mapping[str, float]
) -> Row:
    row: Row = {"step": t, "bus": bus, "phase": phase}
    row |= {"dlmp_p": sum(active.values()), "dlmp_q": sum(reactive.values())}
    row |= {k: active[k] for k in PARTS}
    return row | {f"q_{k}": reactive[k] for k in PARTS}


def dispatch_rows(resources: Resources, t: int, values: Mapping[str, float]) -> list[Row]:
    """What each unit gave (generation positive), and the import at the source."""
    rows = [
        _dispatch_row(t, u.name, u.kind, _phase(u.terminal), values[f"gen_p[{g}]"], values[f"gen_q[{g}]"])
        for g, u in enumerate(resources.generators)
    ]
    for s, svg in enumerate(resources.svgs):
        rows += [
            _dispatch_row(t, svg.name, "svg", _phase(terminal), 0.0, values[f"svg_q[{s},{leg}]"])
            for leg, terminal in enumerate(svg.terminals)
        ]
    rows.append(_dispatch_row(t, "substation", "import", "abc", values["p_sub"], values["q_sub"]))
    return rows


def _dispatch_row(t: int, unit: str, kind: str, phase: str, p_mw: float, q_mvar: float) -> Row:
    return {
        "step": t,
        "unit": unit,
        "kind": kind,
        "phase": phase,
        "p_kw": KILO * p_mw,
        "q_kvar": KILO * q_mvar,
    }


def _phase(terminal: Terminal) -> str:
    return terminal.phases[0] if len(terminal.phases) == 1 else "abc"


def voltage_rows(t: int, result: StepResult, ac: AcSolution | None) -> list[Row]:
    """Each limited voltage in per unit, from the linear network and from the AC solution."""
    output = result.network.voltages
    squared = output.rows @ result.states + output.constant
    return [
        {
            "step": t, "bus": bus, "phase": phase, "v_pu": math.sqrt(max(float(w), 0.0)),
            "v_ac_pu": math.nan if ac is None else ac.voltages[bus, phase],
        }
        for (bus, phase), w in zip(output.labels, squared, strict=True)
    ]  # fmt: skip


def unbalance_rows(t: int, ac: AcSolution | None) -> list[Row]:
    """Voltage unbalance at each three-phase bus, from the AC solution."""
    if ac is None:
        return []
    return [
        {"step": t, "bus": bus, "vuf_pct": u.vuf_pct, "lvur_pct": u.lvur_pct, "pvur_pct": u.pvur_pct}
        for bus, u in sorted(ac.unbalance.items())
    ]


def slack_kwh(limits: Limits, hours: float, values: Mapping[str, float]) -> float:
    """What was paid for broken limits in a step, as energy at the price cap (kWh)."""
    broken = limits.voltage_penalty_usd_per_pu2h * (values["v_low_slack"] + values["v_high_slack"])
    broken += limits.price_cap_usd_per_mwh * values["flow_slack"]
    if limits.unbalance_limit_pct is not None:
        broken += limits.unbalance_penalty_usd_per_pct_h * values["vuf_slack"]
    return float(np.maximum(broken, 0.0) * hours / limits.price_cap_usd_per_mwh * KILO)
