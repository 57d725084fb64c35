"""A case of DistOPF, from its own tables, stated in this package's terms: a LinearNetwork and a ParametricQP.

The peer's network is LinDist in its simplest form, so it is not our LinDist3Flow of the same feeder: no losses, all
phases 120 degrees apart, every load on its own phase to a neutral, delta and two-phase loads split beforehand,
regulators without coupling between phases, capacitors proportional to squared voltage. What is kept from it literally
is the data, each of these laws, the octagon of the inverters, batteries, and hard voltage limits. What is ours is the
form: the states are solved for once, limits that no output of the units and no load in its range can reach are dropped,
and prices at all nodes come from one adjoint solve. Powers are in units of the peer's base (1 MVA: MW and Mvar), prices
in its money per MWh.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyomo.environ as pyo
import scipy.sparse as sp
from numpy.typing import NDArray

from cosim.grid.linear.network import Affine, LinearNetwork, Node
from cosim.optimization.qp.dominated_rows import can_bind, implied
from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.qp.pyomo_compile import compile_block
from cosim.optimization.solvers.qp_solver import QPSolver

Real = NDArray[np.float64]
Table = Mapping[str, Sequence[Any]]
PHASES = "abc"
OCTAGON = math.sqrt(2) - 1
LOAD_RANGE = (0.2, 2.0)
"""Load multipliers for which limits that cannot bind are dropped."""


def rows_of(table: Table) -> list[dict[str, Any]]:
    """A table of columns as a list of rows."""
    return [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]


@dataclass
class _Entries:
    """Entries of the network's equations as they are collected."""

    row: list[int]
    column: list[int]
    value: list[float]

    def add(self, row: int, column: int, value: float) -> None:
        self.row.append(row)
        self.column.append(column)
        self.value.append(value)


def network_of(tables: Mapping[str, Table]) -> tuple[LinearNetwork, Real]:
    """The peer's LinDist as a LinearNetwork at full load, and the (ny,) part of its constant that the load makes."""
    buses, branches = rows_of(tables["bus_data"]), rows_of(tables["branch_data"])
    nodes = [(str(b["id"]), x) for b in buses for x in b["phases"]]
    flows = [(k, x) for k, b in enumerate(branches) for x in b["phases"]]
    place = {node: k for k, node in enumerate(nodes)}
    flow_at = {flow: k for k, flow in enumerate(flows)}
    nf, nv = len(flows), len(nodes)
    u = {node: 2 * nf + k for node, k in place.items()}
    entries, constant = _Entries([], [], []), np.zeros(2 * nf + nv)
    into = {str(b["tb"]): k for k, b in enumerate(branches)}
    _add_balances(entries, branches, flow_at, into, nf)
    _add_drops(entries, branches, rows_of(tables["reg_data"]), flow_at, u, nf)
    for bus in buses:
        if bus["bus_type"] == "SWING":
            for x in bus["phases"]:
                entries.add(u[str(bus["id"]), x], u[str(bus["id"]), x], 1.0)
                constant[u[str(bus["id"]), x]] = bus[f"v_{x}"] ** 2
    for cap in rows_of(tables["cap_data"]):
        for x in cap["phases"]:
            row = nf + flow_at[into[str(cap["id"])], x]
            entries.add(row, u[str(cap["id"]), x], cap[f"q_{x}"])
    load = _loads(entries, buses, into, flow_at, u, nf)
    size = len(constant)
    matrix = sp.csc_array(sp.coo_array((entries.value, (entries.row, entries.column)), shape=(size, size)))
    fed = [(place[node], flow_at[into[node[0]], node[1]]) for node in nodes if node[0] in into]
    swing = {str(b["id"]) for b in buses if b["bus_type"] == "SWING"}
    imported = np.array([k for k, (branch, _) in enumerate(flows) if str(branches[branch]["fb"]) in swing])
    labels: tuple[Node, ...] = tuple(nodes)
    names = tuple((str(branches[k]["tb"]), x) for k, x in flows)
    every = np.arange(nf)
    return LinearNetwork(
        states=tuple(f"y{k}" for k in range(size)),
        nodes=labels,
        matrix=matrix,
        constant=constant + load,
        demand_p=sp.csc_array((np.ones(len(fed)), ([f for _, f in fed], [n for n, _ in fed])), shape=(size, nv)),
        demand_q=sp.csc_array((np.ones(len(fed)), ([nf + f for _, f in fed], [n for n, _ in fed])), shape=(size, nv)),
        import_p=_picked(size, imported[None, :], (("source", "p"),)),
        import_q=_picked(size, nf + imported[None, :], (("source", "q"),)),
        voltages=_picked(size, 2 * nf + np.arange(nv)[:, None], labels),
        flows_p=_picked(size, every[:, None], names),
        flows_q=_picked(size, nf + every[:, None], names),
        unbalance=_picked(size, np.zeros((0, 1), dtype=int), ()),
    ), load


def _add_balances(
    e: _Entries, branches: list[dict[str, Any]], flow_at: dict[tuple[int, str], int], into: dict[str, int], nf: int
) -> None:
    """What a branch brings, the branches behind it take on (demand is on the right-hand side)."""
    for (k, x), row in flow_at.items():
        for shift in (0, nf):
            e.add(shift + row, shift + row, 1.0)
        above = into.get(str(branches[k]["fb"]))
        if above is not None and (above, x) in flow_at:
            for shift in (0, nf):
                e.add(shift + flow_at[above, x], shift + row, -1.0)


def _add_drops(
    e: _Entries,
    branches: list[dict[str, Any]],
    regulators: list[dict[str, Any]],
    flow_at: dict[tuple[int, str], int],
    u: dict[Node, int],
    nf: int,
) -> None:
    """u_j = ratio^2 u_i - 2 Re(gamma conj(z) S), gamma turning 120 degrees between phases; regulators: no mutual z."""
    ratio = {(r["fb"], r["tb"], x): r[f"ratio_{x}"] for r in regulators for x in r["phases"]}
    for (k, x), own in flow_at.items():
        b = branches[k]
        row = u[str(b["tb"]), x]
        e.add(row, row, 1.0)
        e.add(row, u[str(b["fb"]), x], -(ratio.get((b["fb"], b["tb"], x), 1.0) ** 2))
        for turn in (0, 1, -1):
            y = PHASES[(PHASES.index(x) + turn) % 3]
            if (k, y) not in flow_at or (turn and (b["fb"], b["tb"], x) in ratio):
                continue
            pair = "".join(sorted(x + y))
            r, reactance = b[f"r_{pair}"], b[f"x_{pair}"]
            shift = flow_at[k, y] - own
            e.add(row, own + shift, 2 * r if turn == 0 else -r + turn * math.sqrt(3) * reactance)
            e.add(row, nf + own + shift, 2 * reactance if turn == 0 else -reactance - turn * math.sqrt(3) * r)


def _loads(
    e: _Entries,
    buses: list[dict[str, Any]],
    into: dict[str, int],
    flow_at: dict[tuple[int, str], int],
    u: dict[Node, int],
    nf: int,
) -> Real:
    """(ny,) load on the right-hand side; a load that follows voltage would move the matrix too, and none does here."""
    load = np.zeros(2 * nf + len(u))
    for bus in buses:
        if bus["cvr_p"] or bus["cvr_q"]:
            raise ValueError("this case has voltage-dependent load, which a load multiplier cannot scale")
        for x in bus["phases"]:
            if str(bus["id"]) in into:
                row = flow_at[into[str(bus["id"])], x]
                load[row] += bus[f"pl_{x}"]
                load[nf + row] += bus[f"ql_{x}"]
    return load


def _picked(size: int, columns: NDArray[np.int_], labels: tuple[Node, ...]) -> Affine:
    """Outputs that are sums of states."""
    row = np.broadcast_to(np.arange(len(columns))[:, None], columns.shape).ravel()
    entries = (np.ones(columns.size), (row, columns.ravel()))
    return Affine(sp.csr_array(entries, shape=(len(columns), size)), np.zeros(len(columns)), labels)


def devices(tables: Mapping[str, Table]) -> tuple[ParametricQP, list[tuple[str, Node, str, float]]]:
    """The peer's units and batteries, compiled once, and what share of which variable is P or Q given at which node."""
    m = pyo.ConcreteModel()
    m.import_price, m.unit_price = pyo.Var(), pyo.Var()
    m.imported = pyo.Var()
    inputs: list[tuple[str, Node, str, float]] = []
    units = [(g, x) for g in rows_of(tables["gen_data"]) for x in g["phases"]]
    m.gen = pyo.RangeSet(0, len(units) - 1)
    m.p = pyo.Var(m.gen, bounds=lambda _, k: (0.0, min(units[k][0][f"p_{units[k][1]}"], _rated(units[k]))))
    m.q = pyo.Var(m.gen, bounds=lambda _, k: _reactive(units[k]))
    sides = [(OCTAGON, 1.0), (1.0, OCTAGON), (1.0, -OCTAGON), (OCTAGON, -1.0)]
    m.octagon = pyo.Constraint(
        m.gen, range(4), rule=lambda m, k, s: sides[s][0] * m.p[k] + sides[s][1] * m.q[k] <= _rated(units[k])
    )
    for k, (g, x) in enumerate(units):
        inputs += [(f"p[{k}]", (str(g["id"]), x), "p", 1.0), (f"q[{k}]", (str(g["id"]), x), "q", 1.0)]
    batteries = rows_of(tables["bat_data"])
    m.battery = pyo.RangeSet(0, len(batteries) - 1)
    m.charge = pyo.Var(m.battery, bounds=lambda _, k: (0.0, batteries[k]["s_max"] / len(batteries[k]["phases"])))
    m.discharge = pyo.Var(m.battery, bounds=lambda _, k: (0.0, batteries[k]["s_max"] / len(batteries[k]["phases"])))

    def energy(m: pyo.ConcreteModel, k: int) -> object:
        b = batteries[k]
        end = b["start_soc"] + b["charge_efficiency"] * m.charge[k] - m.discharge[k] / b["discharge_efficiency"]
        return pyo.inequality(b["min_soc"], end, b["max_soc"])

    m.energy = pyo.Constraint(m.battery, rule=energy)
    for k, b in enumerate(batteries):
        for x in b["phases"]:
            share, node = 1 / len(b["phases"]), (str(b["id"]), x)
            inputs += [(f"charge[{k}]", node, "p", -share), (f"discharge[{k}]", node, "p", share)]
    m.cost = pyo.Objective(expr=m.import_price * m.imported + sum(m.unit_price * m.p[k] for k in m.gen))
    own = [v for v in m.component_data_objects(pyo.Var) if v.name not in ("import_price", "unit_price")]
    return compile_block(m, variables=own, parameters=[m.import_price, m.unit_price]).instance(), inputs


def _rated(unit: tuple[dict[str, Any], str]) -> float:
    return float(unit[0][f"s_{unit[1]}_max"])


def _reactive(unit: tuple[dict[str, Any], str]) -> tuple[float, float]:
    g, x = unit
    return max(-_rated(unit), g[f"q_{x}_min"]), min(_rated(unit), g[f"q_{x}_max"])


class PeerCase:
    """The peer's optimal power flow, compiled; parameters: import price, unit price, load multiplier."""

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self.network, self._load = network_of(tables)
        own, inputs = devices(tables)
        place = {node: k for k, node in enumerate(self.network.nodes)}
        column = {name: k for k, name in enumerate(own.variables)}
        shape = (len(place), len(own.variables))
        self._p, self._q = (_incidence(inputs, kind, place, column, shape) for kind in "pq")
        network = replace(self.network, constant=self.network.constant - self._load)
        right = (network.demand_p @ self._p + network.demand_q @ self._q).toarray()
        right = np.column_stack([right, self._load])
        imported, by_import = network.affine_in(network.import_p, right)
        volts, by_volts = network.affine_in(network.voltages, right)
        buses = {str(b["id"]): b for b in rows_of(tables["bus_data"])}
        high = np.array([buses[bus]["v_max"] ** 2 for bus, _ in network.nodes])
        low = np.array([buses[bus]["v_min"] ** 2 for bus, _ in network.nodes])
        matrix = np.vstack([by_volts, -by_volts])
        rhs = np.concatenate([high - volts, volts - low])
        self.kept = _kept(own, matrix, rhs)
        n = len(own.variables)
        eq = -by_import[:, :n]
        eq[0, column["imported"]] += 1.0
        names = [f"{kind}[{k}]" for kind in ("high", "low") for k in range(len(high))]
        by_load = matrix[self.kept, n:]
        none = sp.csr_array((len(own.ineq_rows), 1))
        self.qp = replace(
            own,
            cost_theta=sp.csr_array(sp.hstack([own.cost_theta, sp.csr_array((n, 1))])),
            eq_matrix=sp.csr_array(eq),
            eq_rhs=imported,
            eq_theta=sp.csr_array(np.array([[0.0, 0.0, by_import[0, n]]])),
            eq_rows=("import",),
            ineq_matrix=sp.csr_array(sp.vstack([own.ineq_matrix, matrix[self.kept, :n]])),
            ineq_rhs=np.concatenate([own.ineq_rhs, rhs[self.kept]]),
            ineq_theta=sp.csr_array(
                sp.vstack([sp.hstack([own.ineq_theta, none]), np.hstack([np.zeros((len(by_load), 2)), -by_load])])
            ),
            ineq_rows=own.ineq_rows + tuple(names[k] for k in self.kept),
            constant_theta=np.zeros(3),
            parameters=(*own.parameters, "load"),
            theta_lower=np.array([-np.inf, -np.inf, LOAD_RANGE[0]]),
            theta_upper=np.array([np.inf, np.inf, LOAD_RANGE[1]]),
        )
        self._solver = QPSolver(self.qp, "highs", polish=False)
        self._own_rows = len(own.ineq_rows)

    def solve(self, load: float, import_price: float, unit_price: float) -> tuple[float, Real, Real, Real]:
        """Clear one step: objective, squared voltages, and prices of P and Q at all nodes."""
        network = self.network
        found = self._solver.solve(np.array([import_price, unit_price, load])).require()
        right = network.constant + (load - 1.0) * self._load
        states = network.states_at(
            right + network.demand_p @ (self._p @ found.x) + network.demand_q @ (self._q @ found.x)
        )
        duals = np.zeros(2 * len(network.nodes))
        duals[self.kept] = found.sigma[self._own_rows :]
        high, low = np.split(duals, 2)
        weights = network.import_p.rows.T @ -found.nu + network.voltages.rows.T @ (high - low)
        p, q = network.adjoint(weights[:, None])
        return found.objective, network.voltages.at(states), p[:, 0], q[:, 0]


def _incidence(
    inputs: Sequence[tuple[str, Node, str, float]], kind: str, place: Mapping[Node, int], column: Mapping[str, int],
    shape: tuple[int, int],
) -> sp.csc_array[np.float64]:  # fmt: skip
    """(nodes, own variables) node demand caused by each variable: generation and discharge lower it."""
    entries = [(place[node], column[name], -share) for name, node, k, share in inputs if k == kind]
    row, col, value = zip(*entries, strict=True)
    return sp.csc_array((value, (row, col)), shape=shape)


def _kept(own: ParametricQP, matrix: Real, rhs: Real) -> NDArray[np.int_]:
    """Voltage limits that can bind for some output of the units and some load, without those that others imply."""
    n = len(own.variables)
    low, high = np.full(n + 1, -np.inf), np.full(n + 1, np.inf)
    low[n], high[n] = LOAD_RANGE
    rows = own.ineq_matrix.tocsr()
    for i in np.flatnonzero(np.diff(rows.indptr) == 1):
        j, a = rows.indices[rows.indptr[i]], rows.data[rows.indptr[i]]
        if a > 0:
            high[j] = own.ineq_rhs[i] / a
        else:
            low[j] = own.ineq_rhs[i] / a
    left = np.flatnonzero(can_bind(matrix, rhs, low, high))
    gone, _ = implied(matrix[left], rhs[left], low, high)
    return left[~gone]
