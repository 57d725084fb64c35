"""Rows of the result tables that the operator knows: prices, dispatch, voltages, unbalance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cosim.agents.dso.clearing import ClearingModel, Limits
from cosim.agents.dso.limit_rows import LimitRows
from cosim.agents.dso.prices import NodePrices
from cosim.agents.dso.resources.resource import Resource
from cosim.agents.dso.resources.statement import Port
from cosim.agents.dso.window import StepResult
from cosim.constants import KILO
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.flows import BranchFlows, flow_ends
from cosim.grid.feeder.phases import Terminal, terminal_map
from cosim.grid.linear.branch_flows import LinearFlows
from cosim.grid.linear.network import LinearNetwork, Node
from cosim.grid.opendss.circuit import AcSolution
from cosim.results.columns import Columns
from cosim.scenario.network_limits import limits_of_network, ratings_mva
from cosim.scenario.schema import Scenario

Real = NDArray[np.float64]


class StepRows:
    """Writes what the tables say of a committed step.

    Args:
        scenario, feeder: of the operator. steps: of the horizon.
    """

    def __init__(self, scenario: Scenario, feeder: Feeder, steps: int) -> None:
        self._scenario, self._feeder, self._steps = scenario, feeder, steps
        self._prices: dict[tuple[Node, ...], PriceRows] = {}
        self._flows: dict[tuple[Node, ...], FlowRows] = {}
        self._voltages: dict[tuple[Node, ...], VoltageRows] = {}
        self._limits: dict[int, LimitRows] = {}
        self._kept = limits_of_network(scenario.network, feeder)
        self._expected: list[StepResult] = []
        self._linear: list[tuple[Columns, Real, BranchFlows]] = []

    def expect(self, results: Sequence[StepResult]) -> None:
        """Be told of the steps that will be written: what the linear network says of them is worked out together."""
        self._expected, self._linear = list(results), []

    def rows(self, model: ClearingModel, t: int, result: StepResult, ac: AcSolution) -> dict[str, Columns]:
        """Prices, dispatch, voltages, unbalance, flows and limits.

        Args:
            model: the clearing, whose variables and rows are those of the result.
        """
        nodes, network = result.prices.nodes, result.network
        if nodes not in self._prices:  # they differ between the two models of the network
            self._prices[nodes] = PriceRows(self._feeder, nodes)
            self._flows[nodes] = FlowRows(self._scenario, self._feeder, network, self._steps)
            self._voltages[nodes] = VoltageRows(network)
        if id(model) not in self._limits:
            self._limits[id(model)] = LimitRows(self._kept, model, network, model.hours)
        prices, squares, flows = self._of_linear(result)
        return {
            "prices": {"step": t, **prices},
            "dispatch": dispatch_rows(model.resources, model.ports, t, result),
            "voltages": self._voltages[nodes].of(t, squares, ac),
            "unbalance": unbalance_rows(t, ac),
            "flows": self._flows[nodes].of(t, flows, ac),
            "limits": self._limits[id(model)].of(t, result, squares, flows),
        }

    def _of_linear(self, result: StepResult) -> tuple[Columns, Real, BranchFlows]:
        """Prices, squared voltages (not below 0) and flows of a step."""
        if not any(x is result for x in self._expected):
            self.expect([result])
        if not self._linear:
            some, nodes = self._expected, result.prices.nodes
            prices = self._prices[nodes].of([x.prices for x in some])
            squares, flows = self._flows[nodes].linear.together([x.network for x in some], [x.states for x in some])
            self._linear = list(zip(prices, [np.maximum(u, 0.0) for u in squares], flows, strict=True))
        return next(found for x, found in zip(self._expected, self._linear, strict=True) if x is result)


class PriceRows:
    """Writes the price of every bus-phase and of every delta leg of a bus, in that order.

    Which nodes a leg's price comes from, and with what share, is found once.

    Args:
        feeder: the feeder.
        nodes: of the prices to be written.
    """

    def __init__(self, feeder: Feeder, nodes: tuple[tuple[str, str], ...]) -> None:
        buses = {b.name: b for b in feeder.buses}
        by_bus: dict[str, list[int]] = {}
        for n, (bus, _) in enumerate(nodes):
            by_bus.setdefault(bus, []).append(n)
        # a network with nodes for legs has them among the nodes: they come with those of all others
        self._phases = np.array([n for n, (_, phase) in enumerate(nodes) if len(phase) == 1], dtype=np.intp)
        labels = [nodes[n] for n in self._phases]
        entries: dict[str, list[float]] = {"row": [], "column": [], "pp": [], "pq": [], "qp": [], "qq": []}
        for bus, here in by_bus.items():
            for leg in buses[bus].legs:
                share = terminal_map(Terminal(bus, "delta", (leg,)), [nodes[n] for n in here])
                entries["row"] += [len(labels) - len(self._phases)] * len(here)
                entries["column"] += here
                for name in ("pp", "pq", "qp", "qq"):
                    entries[name] += getattr(share, name).tolist()
                labels.append((bus, leg))
        shape = (len(labels) - len(self._phases), len(nodes))
        place = np.array([entries["row"], entries["column"]], dtype=np.intp)
        self._buses, self._legs = (list(x) for x in zip(*labels, strict=True))
        self._shares = {k: sp.csr_array((entries[k], place), shape=shape) for k in ("pp", "pq", "qp", "qq")}

    def of(self, some: Sequence[NodePrices]) -> list[Columns]:
        """DLMP and its parts at every bus-phase, and at every delta leg of a bus, in some steps."""
        parts, share = some[0].parts, self._shares
        p, q = (
            np.array([[x[k] for k in parts] for x in of]).transpose(2, 0, 1)
            for of in ([prices.active for prices in some], [prices.reactive for prices in some])
        )
        flat_p, flat_q = (x.reshape(len(x), -1) for x in (p, q))
        legs_p = (share["pp"] @ flat_p + share["qp"] @ flat_q).reshape(-1, *p.shape[1:])
        legs_q = (share["pq"] @ flat_p + share["qq"] @ flat_q).reshape(-1, *p.shape[1:])
        active, reactive = (
            np.ascontiguousarray(np.concatenate([x[self._phases], legs]).transpose(1, 0, 2))
            for x, legs in ((p, legs_p), (q, legs_q))
        )  # (steps, labels, parts)
        return [
            {
                "bus": self._buses,
                "phase": self._legs,
                "dlmp_p": a.sum(axis=1),
                "dlmp_q": r.sum(axis=1),
                **dict(zip(parts, a.T, strict=True)),
                **dict(zip((f"q_{k}" for k in parts), r.T, strict=True)),
            }
            for a, r in zip(active, reactive, strict=True)
        ]


class FlowRows:
    """Writes what enters the branches, in the linear network and in AC power flow.

    Args:
        scenario, feeder: whose ratings flows are compared with, whether they are limits or not.
        network: any of the feeder's networks.
        steps: of the horizon.
    """

    def __init__(self, scenario: Scenario, feeder: Feeder, network: LinearNetwork, steps: int) -> None:
        ends = flow_ends(feeder)
        self.linear = LinearFlows(ends, network)
        self._branches = [branch for branch, _ in ends.labels]
        self._phases = [phase for _, phase in ends.labels]
        self._buses = [bus.name for bus in ends.buses]
        mva = ratings_mva(scenario.network, feeder, kept=False)
        self._phase_kva = np.array([KILO * mva.get(name, np.nan) / 3 for name in self._branches])
        self._kept = scenario.results.flows_of(len(ends.labels) * steps)
        self._least_pct = scenario.results.loaded_pct

    def of(self, t: int, linear: BranchFlows, ac: AcSolution) -> Columns:
        """Power, current and loading of each branch and phase; of the AC solution where it has flows."""
        if self._kept == "none":
            return {}
        columns: dict[str, Any] = {"branch": self._branches, "phase": self._phases, "bus": self._buses}
        for flows, mark in ((linear, ""), (ac.flows, "_ac")):
            absent = np.full(len(self._branches), np.nan)
            columns |= {
                f"p{mark}_kw": absent if flows is None else flows.p_kw,
                f"q{mark}_kvar": absent if flows is None else flows.q_kvar,
                f"current{mark}_a": absent if flows is None else flows.current_a,
                f"loading{mark}_pct": absent if flows is None else flows.loading_pct(self._phase_kva),
            }
        if self._kept == "loaded":
            loading = np.fmax(columns["loading_pct"], columns["loading_ac_pct"])
            some = np.flatnonzero(loading >= self._least_pct)
            columns = {k: v[some] if isinstance(v, np.ndarray) else [v[i] for i in some] for k, v in columns.items()}
        return {"step": t, **columns} if len(columns["branch"]) else {}


def dispatch_rows(resources: Sequence[Resource], ports: Sequence[Port], t: int, result: StepResult) -> Columns:
    """What each unit gave (generation positive), and the import at the source.

    Args:
        ports: of the clearing, with the places of their variables.
    """
    powers: dict[str, list[tuple[Terminal, float, float]]] = {r.name: [] for r in resources}
    for port in ports:
        p, q = (0.0 if place is None else float(result.x[place]) for place in (port.p, port.q))
        powers[port.owner].append((port.terminal, p, q))
    rows = [row for r in resources for row in r.rows(powers[r.name])]
    rows.append(("substation", "import", "abc", result.values["p_sub"], result.values["q_sub"]))
    unit, kind, phase, p_mw, q_mvar = zip(*rows, strict=True)
    in_kw = {"p_kw": KILO * np.array(p_mw), "q_kvar": KILO * np.array(q_mvar)}
    return {"step": t, "unit": unit, "kind": kind, "phase": phase, **in_kw}


class VoltageRows:
    """Writes each limited voltage in per unit, from the linear network and from the AC solution.

    Args:
        network: any of the feeder's networks; all others have the same voltages.
    """

    def __init__(self, network: LinearNetwork) -> None:
        self._labels = network.voltages.labels
        self._buses, self._phases = (list(x) for x in zip(*self._labels, strict=True))

    def of(self, t: int, squares: Real, ac: AcSolution) -> Columns:
        """Voltages of a step, those of the linear network from their squares."""
        v_ac = map(ac.voltages.__getitem__, self._labels)
        return {
            "step": t,
            "bus": self._buses,
            "phase": self._phases,
            "v_pu": np.sqrt(squares),
            "v_ac_pu": np.fromiter(v_ac, dtype=float, count=len(self._labels)),
        }


def unbalance_rows(t: int, ac: AcSolution) -> Columns:
    """Voltage unbalance at each three-phase bus, from the AC solution."""
    found = sorted(ac.unbalance.items())
    rates = {key: np.array([getattr(u, key) for _, u in found]) for key in ("vuf_pct", "lvur_pct", "pvur_pct")}
    return {"step": t, "bus": [bus for bus, _ in found], **rates}


def slack_kwh(limits: Limits, hours: float, values: Mapping[str, float]) -> float:
    """What was paid for broken limits in a step, as energy at the price cap (kWh)."""
    broken = limits.voltage_penalty_usd_per_pu2h * (values["v_low_slack"] + values["v_high_slack"])
    broken += limits.price_cap_usd_per_mwh * values["flow_slack"]
    if limits.unbalance_limit_pct is not None:
        broken += limits.unbalance_penalty_usd_per_pct_h * values["vuf_slack"]
    if limits.pvur_limit_pct is not None:
        broken += limits.pvur_penalty_usd_per_pct_h * values["pvur_slack"]
    return float(np.maximum(broken, 0.0) * hours / limits.price_cap_usd_per_mwh * KILO)


def one_direction_notes(operator: str, first: int, closed_steps: Sequence[int]) -> tuple[str, ...]:
    """A note on the steps of a window, counted from its first one, in which batteries are held to one direction."""
    if not closed_steps:
        return ()
    steps = ", ".join(str(first + t) for t in closed_steps)
    return (
        f"window at step {first}: {operator}'s batteries would charge and discharge at once in steps "
        f"{steps}, where energy is worth less than nothing; each kept to one direction, and prices are "
        "those of the clearing with these directions",
    )
