"""The operator's clearing of one market step, stated once.

    minimise   h * ( price P_sub + slope/2 P_sub^2 + reactive price Q_sub
                     + sum_g (b_g P_g + a_g P_g^2) + sum_u c_u Q_u^2
                     + unbalance price * sum_b |VUF_b|^2 + voltage penalty * s_v + VUF penalty * s_u
                     + PVUR penalty * s_r + price cap * s_f )
    subject to the linear power flow, voltage limits softened by s_v, limits of VUF and PVUR softened by s_u and s_r,
    branch ratings softened by s_f, and the capability of each unit. The data centers' demand enters as a parameter.

Power is in MW and Mvar, squared voltage in per unit, money in USD per step (``h`` hours), so that a dual divided
by ``h`` is a price in USD/MWh. What the operator decides and what it costs is a Pyomo block, compiled once; the rows
that the network enters come from :mod:`cosim.agents.dso.network_rows`. With the network's states as variables they make
the explicit clearing (:meth:`ClearingModel.at`), with the states solved for the reduced one
(:meth:`ClearingModel.reduced`), in which only what is dispatched remains.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import pyomo.environ as pyo
import scipy.sparse as sp
from numpy.typing import NDArray

from cosim.agents.dso import network_rows
from cosim.agents.dso.network_rows import NetworkRows, OutputChoice
from cosim.agents.dso.resources import Resources, inverter_polygon
from cosim.grid.feeder.phases import Terminal, terminal_map
from cosim.grid.linear.network import LinearNetwork
from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.qp.pyomo_compile import CompiledBlock, compile_block

Real = NDArray[np.float64]
Index = NDArray[np.intp]
Columns: TypeAlias = "sp.csc_array[np.float64]"


@dataclass(frozen=True, slots=True)
class Limits:
    """What the operator keeps, and what breaking it costs.

    Attributes:
        v_min_pu, v_max_pu: voltage limits, line-to-line on three-wire buses.
        price_cap_usd_per_mwh: price above which a limit is broken rather than kept.
        voltage_penalty_usd_per_pu2h: price of the worst violation of a squared voltage in a step.
        branch_rating_mva: three-phase rating of some branches, by name.
        unbalance_price_usd_per_pct2h: price of |VUF|^2 (percent squared) at each of ``unbalance_buses``.
        unbalance_limit_pct, pvur_limit_pct: limits of VUF and of PVUR there, or none.
    """

    v_min_pu: float
    v_max_pu: float
    price_cap_usd_per_mwh: float
    voltage_penalty_usd_per_pu2h: float
    branch_rating_mva: dict[str, float]
    unbalance_price_usd_per_pct2h: float
    unbalance_buses: tuple[str, ...]
    unbalance_limit_pct: float | None = None
    pvur_limit_pct: float | None = None

    @property
    def unbalance_penalty_usd_per_pct_h(self) -> float:
        """Price of the worst violation of the limit of VUF in a step.

        With W the squares of the line-to-line voltages, V2/V1 moves by no more than the largest of them, per unit of
        |V1|^2 (see ``phases.unbalance_phasor``), so a percent of VUF costs a hundredth of a squared voltage.
        """
        return self.voltage_penalty_usd_per_pu2h / 100

    @property
    def pvur_penalty_usd_per_pct_h(self) -> float:
        """Price of the worst violation of the limit of PVUR in a step: a percent of a voltage is two of its square."""
        return 2 * self.voltage_penalty_usd_per_pu2h / 100


@dataclass(frozen=True, slots=True)
class StepData:
    """What changes from step to step besides the network: prices and what each generator can give (MW)."""

    price_usd_per_mwh: float
    available_mw: Real


@dataclass(frozen=True, slots=True)
class Injections:
    """How units and data centers load the nodes: (nodes, m) node demand caused by one unit of each of m inputs.

    Attributes:
        p, q: the inputs are the own variables ``own`` (their columns), then P and then Q of each terminal.
    """

    p: Columns
    q: Columns
    own: Index

    def at(self, x: Real, theta: Real) -> tuple[Real, Real]:
        """Node demand (MW, Mvar) at own variables x and terminal demand theta (P, then Q of each)."""
        inputs = np.concatenate([x[self.own], theta])
        return np.asarray(self.p @ inputs), np.asarray(self.q @ inputs)


@dataclass(frozen=True, slots=True)
class OwnStep:
    """What the operator decides in a step and what it costs, without the network.

    Attributes:
        qp: the problem; its parameters are none.
        rows: its inequalities, dense.
        low, high: (n,) bounds that every feasible x keeps.
    """

    qp: ParametricQP
    rows: Real
    low: Real
    high: Real


@dataclass(frozen=True, slots=True)
class ReducedStep:
    """A step's clearing with the network solved for: what is dispatched, as dense rows.

    Attributes:
        own: cost and rows of the units alone.
        equalities: E x = e + B theta; inequalities: G x <= g + W theta, the network's rows only. Each as
            (matrix, rhs, by theta).
    """

    own: OwnStep
    equalities: tuple[Real, Real, Real]
    inequalities: tuple[Real, Real, Real]


class ClearingModel:
    """The clearing of one step, compiled once and instantiated for each step's network and prices.

    Parameters of the QP are ``p[k]`` and ``q[k]``, the demand (MW, Mvar) of data-center terminal ``k``.

    Args:
        network: any network of the feeder; all others have its structure.
        terminals: of the data centers.
        resources, limits: what is dispatched and what is kept.
        hours: length of a step.
        slope_usd_per_mwh_per_mw, reactive_price_usd_per_mvarh: of the import.
    """

    def __init__(
        self,
        network: LinearNetwork,
        terminals: tuple[Terminal, ...],
        resources: Resources,
        limits: Limits,
        hours: float,
        slope_usd_per_mwh_per_mw: float = 0.0,
        reactive_price_usd_per_mvarh: float = 0.0,
    ) -> None:
        self.limits, self.resources, self.terminals, self.nodes = limits, resources, terminals, network.nodes
        counted = limits.unbalance_price_usd_per_pct2h > 0 or limits.unbalance_limit_pct is not None
        buses = limits.unbalance_buses if counted else ()
        self.outputs = network_rows.choose_outputs(network, limits.branch_rating_mva, buses)
        m = self.block = pyo.ConcreteModel()
        m.hours = hours
        m.price = pyo.Param(mutable=True, initialize=0.0)
        m.slope, m.reactive_price = slope_usd_per_mwh_per_mw, reactive_price_usd_per_mvarh
        add_units(m, resources)
        add_import(m)
        add_slacks(m)
        add_unbalance_parts(m, self.outputs, limits)
        add_cost(m, resources, limits)
        self.compiled: CompiledBlock = compile_block(m, variables=m.component_data_objects(pyo.Var))
        self.variables = self.compiled.variable_names
        self.place = {name: i for i, name in enumerate(self.variables)}
        count = range(len(terminals))
        self.parameters = (*(f"p[{k}]" for k in count), *(f"q[{k}]" for k in count))
        self.equalities, self.inequalities = self._network_rows(network)
        self.injections = self._injections()
        self._own_rows: Real | None = None
        self._right: tuple[tuple[Columns, Columns], Real] | None = None

    def at(self, network: LinearNetwork, data: StepData) -> ParametricQP:
        """The explicit QP of one step: every state of the network is a variable, every flow equation a row."""
        own, outputs, inputs = self.own(data).qp, self.outputs.of(network), self.injections
        ny, n, mine = len(network.states), len(self.variables), len(inputs.own)
        flow = sp.csr_array(network.demand_p @ inputs.p + network.demand_q @ inputs.q)
        pick = sp.csr_array((np.ones(mine), (np.arange(mine), inputs.own)), shape=(mine, n))
        eq, ineq = self.equalities, self.inequalities
        k = len(self.parameters)
        return ParametricQP(
            hessian=sp.csr_array(sp.block_diag([own.hessian, sp.csr_array((ny, ny))])),
            cost=np.concatenate([own.cost, np.zeros(ny)]),
            cost_theta=sp.csr_array((n + ny, k)),
            eq_matrix=sp.csr_array(
                sp.block_array([[-(flow[:, :mine] @ pick), network.matrix], [eq.own, eq.outputs @ outputs.rows]])
            ),
            eq_rhs=np.concatenate([network.constant, eq.rhs - eq.outputs @ outputs.constant]),
            eq_theta=sp.csr_array(sp.vstack([flow[:, mine:], sp.csr_array((len(eq.rhs), k))])),
            ineq_matrix=sp.csr_array(
                sp.vstack(
                    [
                        sp.hstack([own.ineq_matrix, sp.csr_array((len(own.ineq_rows), ny))]),
                        sp.hstack([ineq.own, ineq.outputs @ outputs.rows]),
                    ]
                )
            ),
            ineq_rhs=np.concatenate([own.ineq_rhs, ineq.rhs - ineq.outputs @ outputs.constant]),
            ineq_theta=sp.csr_array((len(own.ineq_rows) + len(ineq.rhs), k)),
            constant=own.constant,
            constant_theta=np.zeros(k),
            variables=(*self.variables, *(f"state[{i}]" for i in range(ny))),
            parameters=self.parameters,
            eq_rows=(*(f"flow_equation[{i}]" for i in range(ny)), *eq.names),
            ineq_rows=(*own.ineq_rows, *ineq.names),
            theta_lower=np.full(k, -np.inf),
            theta_upper=np.full(k, np.inf),
        )

    def reduced(self, network: LinearNetwork, own: OwnStep) -> ReducedStep:
        """The same step with its states solved for: one solve of the network with a column for each input."""
        inputs = self.injections
        base, slopes = network.affine_in(self.outputs.of(network), self._injected(network))
        mine = len(inputs.own)
        blocks = []
        for rows in (self.equalities, self.inequalities):
            matrix, by_input = rows.own.toarray(), _clean(np.asarray(rows.outputs @ slopes))
            matrix[:, inputs.own] += by_input[:, :mine]
            blocks.append((matrix, rows.rhs - rows.outputs @ base, -by_input[:, mine:]))
        return ReducedStep(own, blocks[0], blocks[1])

    def own(self, data: StepData) -> OwnStep:
        """Cost and rows of what the operator decides, without the network."""
        m = self.block
        m.price.set_value(data.price_usd_per_mwh)
        for g, available in enumerate(data.available_mw):
            m.available[g].set_value(float(available))
        qp = self.compiled.instance()
        if self._own_rows is None:
            self._own_rows = qp.ineq_matrix.toarray()  # bounds and inverters: no number in them ever changes
        low, high = self._bounds
        high = high.copy()
        high[[self.place[f"gen_p[{g}]"] for g in range(len(data.available_mw))]] = data.available_mw
        return OwnStep(qp, self._own_rows, low, high)

    def _injected(self, network: LinearNetwork) -> Real:
        """(states, inputs) right-hand sides of the network's equations for a unit of each input."""
        source = (network.demand_p, network.demand_q)
        if self._right is None or any(a is not b for a, b in zip(self._right[0], source, strict=True)):
            right = network.demand_p @ self.injections.p + network.demand_q @ self.injections.q
            self._right = (source, right.toarray(order="F"))  # networks of one feeder share their incidence
        return self._right[1]

    @cached_property
    def kept(self) -> frozenset[str]:
        """Variables that the reduced clearing keeps: all but the network's states."""
        return frozenset(self.variables)

    @cached_property
    def _bounds(self) -> tuple[Real, Real]:
        """Bounds of the own variables; reactive power lies within the inverter's rating."""
        low, high = np.full(len(self.variables), -np.inf), np.full(len(self.variables), np.inf)
        for i, v in enumerate(self.compiled.variables):
            low[i] = -np.inf if v.lower is None else pyo.value(v.lower)
            high[i] = np.inf if v.upper is None else pyo.value(v.upper)
        for g, unit in enumerate(self.resources.generators):
            i = self.place[f"gen_q[{g}]"]
            low[i], high[i] = -unit.s_mva, unit.s_mva
        return low, high

    def _network_rows(self, network: LinearNetwork) -> tuple[NetworkRows, NetworkRows]:
        choice, place, limits = self.outputs, self.place, self.limits
        equalities = [network_rows.import_equation("p", place["p_sub"])]
        if "q_sub" in place:
            equalities.append(network_rows.import_equation("q", place["q_sub"]))
        if limits.unbalance_price_usd_per_pct2h > 0:
            parts = np.array([place[f"vuf_part[{i}]"] for i in choice.unbalance])
            equalities.append(network_rows.unbalance_equations(choice, parts))
        low, high, flow = (place[f"{name}_slack"] for name in ("v_low", "v_high", "flow"))
        inequalities = network_rows.voltage_limits(choice, low, high, limits.v_min_pu, limits.v_max_pu)
        rating = np.array([limits.branch_rating_mva[network.flows_p.labels[i][0]] for i in choice.flows])
        inequalities += network_rows.branch_limits(choice, flow, rating) if len(rating) else []
        if limits.unbalance_limit_pct is not None:
            slack = place["vuf_slack"]
            inequalities += network_rows.unbalance_limits(choice, slack, limits.unbalance_limit_pct)
        if limits.pvur_limit_pct is not None:
            labels, slack = network.voltages.labels, place["pvur_slack"]
            inequalities += network_rows.phase_rate_limits(labels, limits.unbalance_buses, slack, limits.pvur_limit_pct)
        sizes = len(self.variables), choice.count
        return network_rows.gather(equalities, *sizes), network_rows.gather(inequalities, *sizes)

    def _injections(self) -> Injections:
        """Inputs: P and Q of each generator, Q of each leg of an SVG (generation lowers demand), then the terminals."""
        inputs: list[tuple[Terminal, str, float]] = []
        own: list[int] = []
        for g, unit in enumerate(self.resources.generators):
            inputs += [(unit.terminal, "p", -1.0), (unit.terminal, "q", -1.0)]
            own += [self.place[f"gen_p[{g}]"], self.place[f"gen_q[{g}]"]]
        for s, svg in enumerate(self.resources.svgs):
            for leg, terminal in enumerate(svg.terminals):
                inputs.append((terminal, "q", -1.0))
                own.append(self.place[f"svg_q[{s},{leg}]"])
        inputs += [(terminal, kind, 1.0) for kind in "pq" for terminal in self.terminals]
        p, q = [], []
        for terminal, kind, sign in inputs:
            t = terminal_map(terminal, self.nodes)
            p.append(sp.csc_array(sign * (t.pp if kind == "p" else t.pq)[:, None]))
            q.append(sp.csc_array(sign * (t.qp if kind == "p" else t.qq)[:, None]))
        none = sp.csc_array((len(self.nodes), 0))
        return Injections(
            sp.csc_array(sp.hstack([none, *p])), sp.csc_array(sp.hstack([none, *q])), np.array(own, dtype=np.intp)
        )


def add_units(m: pyo.ConcreteModel, resources: Resources) -> None:
    """Generators within their inverter polygons and static var generators within their ratings."""
    generators = resources.generators
    m.unit = pyo.RangeSet(0, len(generators) - 1)
    m.available = pyo.Param(m.unit, mutable=True, initialize=lambda _, g: generators[g].p_max_mw)
    m.gen_p = pyo.Var(m.unit, bounds=lambda m, g: (generators[g].p_min_mw, m.available[g]))
    m.gen_q = pyo.Var(m.unit)
    planes = {
        (g, k): plane for g, u in enumerate(generators) for k, plane in enumerate(inverter_polygon(u.s_mva, u.p_max_mw))
    }
    m.side = pyo.Set(initialize=list(planes), dimen=2)

    def inverter(m: pyo.ConcreteModel, g: int, k: int) -> object:
        a, b, c = planes[g, k]
        return a * m.gen_p[g] + b * m.gen_q[g] <= c

    m.inverter = pyo.Constraint(m.side, rule=inverter)
    legs = [(s, leg) for s, svg in enumerate(resources.svgs) for leg in range(len(svg.terminals))]
    m.leg = pyo.Set(initialize=legs, dimen=2)
    m.svg_q = pyo.Var(
        m.leg, bounds=lambda _, s, leg: (-resources.svgs[s].q_max_mvar, resources.svgs[s].q_max_mvar)
    )


def add_import(m: pyo.ConcreteModel) -> None:
    """Import at the source: MW, and Mvar where reactive energy has a price."""
    m.p_sub = pyo.Var()
    if m.reactive_price != 0:
        m.q_sub = pyo.Var()


def add_slacks(m: pyo.ConcreteModel) -> None:
    """Worst violation of the step: squared voltage each way (pu^2), branch rating (MVA)."""
    m.v_low_slack = pyo.Var(bounds=(0, None))
    m.v_high_slack = pyo.Var(bounds=(0, None))
    m.flow_slack = pyo.Var(bounds=(0, None))


def add_unbalance_parts(m: pyo.ConcreteModel, outputs: OutputChoice, limits: Limits) -> None:
    """Real and imaginary part of the voltage unbalance factor where it is priced, worst violation where limited (%)."""
    priced = limits.unbalance_price_usd_per_pct2h > 0
    m.unbalance_row = pyo.Set(initialize=outputs.unbalance.tolist() if priced else [])
    m.vuf_part = pyo.Var(m.unbalance_row)
    if limits.unbalance_limit_pct is not None:
        m.vuf_slack = pyo.Var(bounds=(0, None))
    if limits.pvur_limit_pct is not None:
        m.pvur_slack = pyo.Var(bounds=(0, None))


def add_cost(m: pyo.ConcreteModel, resources: Resources, limits: Limits) -> None:
    """Cost of the step in USD: import, generation, reactive wear, unbalance, and broken limits."""
    energy = m.price * m.p_sub + 0.5 * m.slope * m.p_sub**2
    if m.reactive_price != 0:
        energy += m.reactive_price * m.q_sub
    generation = sum(
        u.cost_usd_per_mwh * m.gen_p[g]
        + u.cost_usd_per_mw2h * m.gen_p[g] ** 2
        + u.reactive_cost_usd_per_mvar2h * m.gen_q[g] ** 2
        for g, u in enumerate(resources.generators)
    )
    reactive = sum(resources.svgs[s].reactive_cost_usd_per_mvar2h * m.svg_q[s, leg] ** 2 for s, leg in m.leg)
    unbalance = limits.unbalance_price_usd_per_pct2h * sum(m.vuf_part[i] ** 2 for i in m.unbalance_row)
    broken = limits.voltage_penalty_usd_per_pu2h * (m.v_low_slack + m.v_high_slack)
    broken += limits.price_cap_usd_per_mwh * m.flow_slack
    if limits.unbalance_limit_pct is not None:
        broken += limits.unbalance_penalty_usd_per_pct_h * m.vuf_slack
    if limits.pvur_limit_pct is not None:
        broken += limits.pvur_penalty_usd_per_pct_h * m.pvur_slack
    m.cost = pyo.Objective(expr=m.hours * (energy + generation + reactive + unbalance + broken))


_NOISE = 1e-14


def _clean(values: Real) -> Real:
    """Set to zero what is rounding noise against the largest number of its row."""
    largest = np.max(np.abs(values), axis=1, keepdims=True, initial=0.0)
    return np.asarray(np.where(np.abs(values) < _NOISE * largest, 0.0, values))
