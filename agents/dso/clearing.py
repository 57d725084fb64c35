"""The operator's clearing of one market step, stated once as a Pyomo block.

    minimise   h * ( price P_sub + slope/2 P_sub^2 + reactive price Q_sub
                     + sum_g (b_g P_g + a_g P_g^2) + sum_u c_u Q_u^2
                     + unbalance price * sum_b |VUF_b|^2 + voltage penalty * s_v + price cap * s_f )
    subject to the linear power flow, voltage limits softened by s_v, branch ratings softened by s_f, and the
    capability of each unit. The demand of the data centers enters as a parameter.

Power is in MW and Mvar, squared voltage in per unit, money in USD per step (``h`` hours), so that a dual divided
by ``h`` is a price in USD/MWh. What changes from step to step is a mutable parameter: the block is compiled once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyomo.environ as pyo
from numpy.typing import NDArray

from cosim.agents.dso.resources import Resources, inverter_polygon
from cosim.grid.linear import Affine, LinearNetwork
from cosim.grid.phases import Terminal, terminal_map
from cosim.optimization.compile import CompiledBlock, compile_block
from cosim.optimization.parametric import ParametricQP

FLOW_POLYGON_SIDES = 12


@dataclass(frozen=True, slots=True)
class Limits:
    """What the operator keeps, and what breaking it costs.

    Attributes:
        v_min_pu, v_max_pu: voltage limits, line-to-line on three-wire buses.
        price_cap_usd_per_mwh: price above which a limit is broken rather than kept.
        voltage_penalty_usd_per_pu2h: price of the worst violation of a squared voltage in a step.
        branch_rating_mva: three-phase rating of some branches, by name.
        unbalance_price_usd_per_pct2h: price of |VUF|^2 (percent squared) at each of ``unbalance_buses``.
    """

    v_min_pu: float
    v_max_pu: float
    price_cap_usd_per_mwh: float
    voltage_penalty_usd_per_pu2h: float
    branch_rating_mva: dict[str, float]
    unbalance_price_usd_per_pct2h: float
    unbalance_buses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StepData:
    """What changes from step to step besides the network: prices and what each generator can give (MW)."""

    price_usd_per_mwh: float
    available_mw: NDArray[np.float64]


def voltage_penalty(network: LinearNetwork, price_cap_usd_per_mwh: float) -> float:
    """Penalty (USD/h per pu^2) at which a broken voltage limit adds the price cap to the price of the worst node.

    The worst violation of a step is penalised once, so the duals of all voltage limits of one kind add up to at
    most this penalty, and the voltage part of a price is at most ``penalty * max |d v^2 / d p|``. The response is
    taken from the unloaded feeder; under load it is a few percent stronger, and the part can pass the cap by that.
    """
    identity = np.eye(len(network.nodes))
    response = network.response(network.voltages, identity, np.zeros_like(identity))
    return float(price_cap_usd_per_mwh / np.abs(response).max())


class ClearingModel:
    """The clearing of one step, compiled once and instantiated for each step's network and prices.

    Parameters of the QP are ``p[k]`` and ``q[k]``, the demand (MW, Mvar) of data-center terminal ``k``.
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
        m = self.block = pyo.ConcreteModel()
        m.hours = hours
        m.price = pyo.Param(mutable=True, initialize=0.0)
        m.slope, m.reactive_price = slope_usd_per_mwh_per_mw, reactive_price_usd_per_mvarh
        add_demand(m, len(terminals))
        add_units(m, resources)
        add_network(m, network, terminals, resources)
        add_voltage_limits(m, network, limits)
        add_branch_limits(m, network, limits)
        add_unbalance(m, network, limits)
        add_cost(m, resources, limits)
        parameters = [*m.p.values(), *m.q.values()]
        self.compiled: CompiledBlock = compile_block(m, parameters=parameters)

    def at(self, network: LinearNetwork, data: StepData) -> ParametricQP:
        """The QP of one step: the same statement with this step's numbers."""
        m = self.block
        m.price.set_value(data.price_usd_per_mwh)
        for g, available in enumerate(data.available_mw):
            m.available[g].set_value(float(available))
        for name, values in network_coefficients(network).items():
            # Unchecked: these are thousands of numbers of our own making, and checking them takes most of the time.
            getattr(m, name).store_values(dict(enumerate(values.tolist())), check=False)
        return self.compiled.instance()

    def is_limit(self, row: str) -> bool:
        """Whether a row is a limit of the network, of which many can never be the first to bind."""
        return row.startswith(("v_low[", "v_high[", "branch_limit["))

    def known_bounds(self) -> dict[str, tuple[float, float]]:
        """Bounds that rows of more than one variable imply: reactive power within the inverter's rating."""
        return {f"gen_q[{g}]": (-u.s_mva, u.s_mva) for g, u in enumerate(self.resources.generators)}

    @cached_property
    def kept(self) -> frozenset[str]:
        """Variables that must stay explicit because their cost is quadratic or their price hourly."""
        m = self.block
        defined = {v.name for family in (m.state, m.p, m.q) for v in family.values()}
        if m.reactive_price == 0:
            defined.add(m.q_sub.name)
        return frozenset(v.name for v in m.component_data_objects(pyo.Var) if v.name not in defined)


    @cached_property
    def kept_rows(self) -> frozenset[str]:
        """Equations of the kept variables that depend on the network's states: prices are made from their duals."""
        m = self.block
        rows = [m.import_p_equation, *m.unbalance_equation.values()]
        if m.reactive_price != 0:
            rows.append(m.import_q_equation)
        return frozenset(row.name for row in rows)


def add_demand(m: pyo.ConcreteModel, count: int) -> None:
    """Demand of the data-center terminals (MW, Mvar): parameters of the clearing."""
    m.terminal = pyo.RangeSet(0, count - 1)
    m.p = pyo.Var(m.terminal)
    m.q = pyo.Var(m.terminal)


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


def network_coefficients(network: LinearNetwork) -> dict[str, NDArray[np.float64]]:
    """Numbers of a network that change with its operating point, by the name of their parameter in the block."""
    outputs = {f"{k}_rows": o.rows.data for k, o in _outputs(network).items()}
    constants = {f"{k}_constant": o.constant for k, o in _outputs(network).items()}
    return {"matrix": network.matrix.data, "constant": network.constant, **outputs, **constants}


def _outputs(network: LinearNetwork) -> dict[str, Affine]:
    return {"import_p": network.import_p, "import_q": network.import_q, "unbalance": network.unbalance}


def add_network(
    m: pyo.ConcreteModel, network: LinearNetwork, terminals: tuple[Terminal, ...], resources: Resources
) -> None:
    """The linear power flow ``matrix y = constant + demand_p p + demand_q q`` and the import at the source."""
    for name, values in network_coefficients(network).items():
        initial = dict(enumerate(map(float, values)))
        setattr(m, name, pyo.Param(range(len(values)), mutable=True, initialize=initial))
    m.state = pyo.Var(range(len(network.states)))
    node_p: list[list[Any]] = [[] for _ in network.nodes]
    node_q: list[list[Any]] = [[] for _ in network.nodes]

    def draw(terminal: Terminal, p: Any, q: Any, sign: float) -> None:
        t = terminal_map(terminal, network.nodes)
        for to, by_p, by_q in ((node_p, t.pp, t.pq), (node_q, t.qp, t.qq)):
            for n in np.flatnonzero((by_p != 0) | (by_q != 0)):
                to[n].append(sign * (float(by_p[n]) * p + float(by_q[n]) * q))

    for k, terminal in enumerate(terminals):
        draw(terminal, m.p[k], m.q[k], 1.0)
    for g, unit in enumerate(resources.generators):
        draw(unit.terminal, m.gen_p[g], m.gen_q[g], -1.0)
    for s, leg in m.leg:
        draw(resources.svgs[s].terminals[leg], 0.0, m.svg_q[s, leg], -1.0)

    rows = network.matrix
    position = rows.copy()
    position.data = np.arange(rows.nnz, dtype=float)
    by_row = position.tocsr()
    demand_p, demand_q = network.demand_p.tocsr(), network.demand_q.tocsr()

    def balance(m: pyo.ConcreteModel, i: int) -> object:
        span = slice(by_row.indptr[i], by_row.indptr[i + 1])
        left = sum(
            m.matrix[int(k)] * m.state[int(j)]
            for k, j in zip(by_row.data[span], by_row.indices[span], strict=True)
        )
        right = m.constant[i]
        for incidence, node in ((demand_p, node_p), (demand_q, node_q)):
            for k in range(incidence.indptr[i], incidence.indptr[i + 1]):
                right += float(incidence.data[k]) * sum(node[incidence.indices[k]])
        return left == right

    m.flow_equation = pyo.Constraint(range(len(network.states)), rule=balance)
    m.p_sub, m.q_sub = pyo.Var(), pyo.Var()
    m.import_p_equation = pyo.Constraint(expr=m.p_sub == _affine(m, "import_p", network.import_p, 0))
    m.import_q_equation = pyo.Constraint(expr=m.q_sub == _affine(m, "import_q", network.import_q, 0))


def _affine(m: pyo.ConcreteModel, name: str, output: Affine, row: int) -> Any:
    """One row of a network output as an expression of the states, with mutable coefficients."""
    coefficients, constants = getattr(m, f"{name}_rows"), getattr(m, f"{name}_constant")
    span = range(output.rows.indptr[row], output.rows.indptr[row + 1])
    return sum(coefficients[k] * m.state[int(output.rows.indices[k])] for k in span) + constants[row]


def _fixed_row(m: pyo.ConcreteModel, output: Affine, row: int) -> Any:
    span = range(output.rows.indptr[row], output.rows.indptr[row + 1])
    terms = (float(output.rows.data[k]) * m.state[int(output.rows.indices[k])] for k in span)
    return sum(terms) + float(output.constant[row])


def add_voltage_limits(m: pyo.ConcreteModel, network: LinearNetwork, limits: Limits) -> None:
    """Squared voltage between its limits, softened by the worst violation of the step (one slack each way)."""
    rows = range(len(network.voltages.labels))
    m.v_low_slack = pyo.Var(bounds=(0, None))
    m.v_high_slack = pyo.Var(bounds=(0, None))
    low, high = limits.v_min_pu**2, limits.v_max_pu**2
    m.v_low = pyo.Constraint(
        rows, rule=lambda m, i: -_fixed_row(m, network.voltages, i) - m.v_low_slack <= -low
    )
    m.v_high = pyo.Constraint(
        rows, rule=lambda m, i: _fixed_row(m, network.voltages, i) - m.v_high_slack <= high
    )


def add_branch_limits(m: pyo.ConcreteModel, network: LinearNetwork, limits: Limits) -> None:
    """Apparent power of each phase within a polygon inscribed in a third of the branch's rating, softened."""
    sides = FLOW_POLYGON_SIDES
    labels = [
        (i, label) for i, label in enumerate(network.flows_p.labels) if label[0] in limits.branch_rating_mva
    ]
    m.flow_slack = pyo.Var(bounds=(0, None))

    def rating(m: pyo.ConcreteModel, i: int, k: int) -> object:
        angle = math.pi * (2 * k + 1) / sides
        radius = limits.branch_rating_mva[network.flows_p.labels[i][0]] / 3 * math.cos(math.pi / sides)
        p, q = _fixed_row(m, network.flows_p, i), _fixed_row(m, network.flows_q, i)
        return math.cos(angle) * p + math.sin(angle) * q - m.flow_slack <= radius

    m.branch_side = pyo.Set(initialize=[(i, k) for i, _ in labels for k in range(sides)], dimen=2)
    m.branch_limit = pyo.Constraint(m.branch_side, rule=rating)


def add_unbalance(m: pyo.ConcreteModel, network: LinearNetwork, limits: Limits) -> None:
    """Real and imaginary part of the (linearised) voltage unbalance factor, in percent, where it is priced."""
    priced = limits.unbalance_buses if limits.unbalance_price_usd_per_pct2h > 0 else ()
    rows = [i for i, label in enumerate(network.unbalance.labels) if label[0] in priced]
    m.unbalance_row = pyo.Set(initialize=rows)
    m.vuf_part = pyo.Var(m.unbalance_row)
    m.unbalance_equation = pyo.Constraint(
        m.unbalance_row, rule=lambda m, i: m.vuf_part[i] == _affine(m, "unbalance", network.unbalance, i)
    )


def add_cost(m: pyo.ConcreteModel, resources: Resources, limits: Limits) -> None:
    """Cost of the step in USD: import, generation, reactive wear, unbalance, and broken limits."""
    energy = m.price * m.p_sub + 0.5 * m.slope * m.p_sub**2 + m.reactive_price * m.q_sub
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
    m.cost = pyo.Objective(expr=m.hours * (energy + generation + reactive + unbalance + broken))
