"""The extensive form of a stochastic day-ahead clearing, written down in Pyomo and solved by HiGHS.

All scenarios in one program, every state of the network a variable: nothing of the operator's own formulation is used,
neither its reduction to what is dispatched nor its solver. Taken from the operator are the data: the linear networks,
the probabilities, prices and sun of each scenario, and the feeder's limits. Of the aggregators their schedules' sets
and costs are taken as the arrays that they state.

    min  sum_w pi_w sum_t h (price P_sub + cost of generators + penalty of broken limits) + aggregators' own cost
    over the position p (all scenarios), and in each scenario and step dispatch, states and broken limits

HiGHS' method for quadratic costs ends with limits broken by 3e-5 on this program, so the square of a generator's output
is the highest of its tangents (Kelley's cutting planes): each solution adds those at its outputs, until they are met.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyomo.environ as pyo
from numpy.typing import NDArray
from pyomo.contrib.solver.solvers.highs import Highs
from pyomo.core.expr.numeric_expr import LinearExpression

from cosim.agents.dso.resources.generator import Generator
from cosim.agents.dso.resources.inverter import inverter_polygon
from cosim.constants import KILO
from cosim.grid.feeder.phases import terminal_map
from cosim.grid.linear.network import LinearNetwork
from cosim.optimization.qp.parametric import ParametricQP

Array = NDArray[np.float64]


FIRST_TANGENTS, MOST_ROUNDS = 17, 40
EXACT = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
MET_MW = 3e-6
"""How far outputs may lie from the next tangent."""


@dataclass(frozen=True)
class ScenarioData:
    """A scenario as anybody could write it down.

    Attributes:
        weight: its probability. price: (steps,) at the source. available_mw: of each generator's terminal (steps,).
        networks: of each step.
    """

    weight: float
    price: Array
    available_mw: dict[str, Array]
    networks: Sequence[LinearNetwork]


@dataclass(frozen=True)
class Extensive:
    """What the solution says: cost (USD), position (steps, terminals), prices (USD/MWh, reactive included)."""

    cost_usd: float
    p_mw: Array
    price: Array


def scenarios_of(simulation: Any) -> list[ScenarioData]:
    """The data of an opened window's scenarios."""
    operator = simulation.market.operators[0]
    window = next(iter(simulation.prepared.calendar.windows()))
    steps = range(window.first, window.last_exclusive)
    networks = operator.clearing.networks
    out = []
    for w, weight in enumerate(simulation.information.supposing(window)):
        available = {u.name: u.available_mw(steps).copy() for u in operator.resources if isinstance(u, Generator)}
        mine = networks[w * len(steps) : (w + 1) * len(steps)]
        out.append(ScenarioData(weight, operator.price[steps.start : steps.stop].copy(), available, mine))
    return out


def build(
    operator: Any, data: Sequence[ScenarioData], agents: Sequence[ParametricQP], names: Sequence[Sequence[str]],
    fixed_p_mw: Array | None = None,
) -> pyo.ConcreteModel:  # fmt: skip
    """The program. Where a position is given the demand is held there, else the aggregators choose it."""
    m = pyo.ConcreteModel()
    hours, limits, ratio = operator.hours, operator.limits, operator.reactive_ratio
    steps, terminals = range(len(names)), range(len(operator.terminals))
    m.p = pyo.Var(steps, terminals)
    m.drawn = pyo.Var(steps, terminals)
    m.cost = pyo.Expression(expr=0.0)
    m.rows = pyo.ConstraintList()
    m.position = pyo.Constraint(steps, terminals, rule=lambda m, t, k: m.p[t, k] == m.drawn[t, k])
    total: list[Any] = []
    if fixed_p_mw is not None:
        for t in steps:
            for k in terminals:
                m.drawn[t, k].fix(float(fixed_p_mw[t, k]))
    else:
        total += _aggregators(m, agents, names)
    m.dispatch = pyo.Block(range(len(data)), steps)
    for w, scenario in enumerate(data):
        for t in steps:
            total.append(scenario.weight * hours * _step(m, m.dispatch[w, t], operator, scenario, t, limits, ratio))
    m.objective = pyo.Objective(expr=sum(total))
    m.dual = pyo.Suffix(direction=pyo.Suffix.IMPORT)
    return m


def _rows(matrix: Any) -> Iterator[tuple[list[int], list[float]]]:
    """Columns and values of each row."""
    found = matrix.tocsr()
    index, values, start = found.indices.tolist(), found.data.tolist(), found.indptr.tolist()
    for first, last in zip(start, start[1:], strict=False):
        yield index[first:last], values[first:last]


def _linear(coefficients: Sequence[float], variables: Sequence[Any], constant: float = 0.0) -> LinearExpression:
    return LinearExpression(constant=constant, linear_coefs=list(coefficients), linear_vars=list(variables))


def _aggregators(m: Any, agents: Sequence[ParametricQP], names: Sequence[Sequence[str]]) -> list[Any]:
    """Variables, rows and costs of the aggregators' schedules, from their arrays."""
    places = {name: (t, k) for t, row in enumerate(names) for k, name in enumerate(row)}
    total = []
    for i, qp in enumerate(agents):
        own = pyo.Var(range(len(qp.variables)))
        m.add_component(f"schedule_{i}", own)
        x = [m.drawn[places[name]] if name in places else own[j] for j, name in enumerate(qp.variables)]
        for matrix, rhs, equal in ((qp.eq_matrix, qp.eq_rhs, True), (qp.ineq_matrix, qp.ineq_rhs, False)):
            for (index, values), side in zip(_rows(matrix), rhs.tolist(), strict=True):
                if index and math.isfinite(side):
                    body = _linear(values, [x[j] for j in index])
                    m.rows.add(body == side if equal else body <= side)
        curved = qp.hessian.tocoo()
        pairs = zip(*curved.coords, curved.data, strict=True)
        total.append(sum((0.5 * float(v) * x[a] * x[b] for a, b, v in pairs), start=0.0))
        total.append(_linear(qp.cost.tolist(), x, qp.constant))
    return total


def _step(m: Any, b: Any, operator: Any, scenario: ScenarioData, t: int, limits: Any, ratio: Array) -> Any:
    """A step of a scenario: generators, network, limits; its cost per hour."""
    network = scenario.networks[t]
    units = [u for u in operator.resources if isinstance(u, Generator)]
    b.g, b.r = (pyo.Var(range(len(units))) for _ in range(2))
    b.square = pyo.Var(("g", "r"), range(len(units)))
    b.tangents = pyo.ConstraintList()
    b.y = pyo.Var(range(len(network.states)))
    b.low, b.high = pyo.Var(bounds=(0, None)), pyo.Var(bounds=(0, None))
    b.rows = pyo.ConstraintList()
    nodes = len(network.nodes)
    demand: list[list[tuple[float, Any]]] = [[] for _ in range(2 * nodes)]

    def draws(terminal: Any, p: Any, q: Any, sign: float, q_per_p: float | None = None) -> None:
        at = terminal_map(terminal, network.nodes)
        for base, of_p, of_q in ((0, at.pp, at.pq), (nodes, at.qp, at.qq)):
            whole_p = of_p + (0.0 if q_per_p is None else q_per_p * of_q)
            for n in np.flatnonzero(whole_p).tolist():
                demand[base + n].append((sign * float(whole_p[n]), p))
            for n in np.flatnonzero(of_q).tolist() if q_per_p is None else ():
                demand[base + n].append((sign * float(of_q[n]), q))

    cost = 0.0
    for i, u in enumerate(units):
        b.g[i].setlb(u.p_min_mw)
        b.g[i].setub(float(scenario.available_mw[u.name][t]))
        for a, c, most in inverter_polygon(u.s_mva, u.p_max_mw):
            b.rows.add(a * b.g[i] + c * b.r[i] <= most)
        b.r[i].setlb(-u.s_mva)
        b.r[i].setub(u.s_mva)
        cost = cost + u.cost_usd_per_mwh * b.g[i] + u.cost_usd_per_mw2h / KILO * b.square["g", i]
        cost = cost + u.reactive_cost_usd_per_mvar2h / KILO * b.square["r", i]
        for at in np.linspace(-u.s_mva, u.s_mva, FIRST_TANGENTS).tolist():
            _tangent(b, "r", i, at)
            _tangent(b, "g", i, at)
        draws(u.terminals[0], b.g[i], b.r[i], -1.0)
    for k, terminal in enumerate(operator.terminals):
        draws(terminal, m.p[t, k], None, 1.0, float(ratio[k]))
    sides = zip(_rows(network.matrix), _rows(network.demand_p), _rows(network.demand_q), network.constant.tolist(),
                strict=True)  # fmt: skip
    for (index, values), of_p, of_q, constant in sides:
        coefficients, variables = [*values], [b.y[j] for j in index]
        for (at, shares), base in ((of_p, 0), (of_q, nodes)):
            for n, value in zip(at, shares, strict=True):
                for share, variable in demand[base + n]:
                    coefficients.append(-value * share)
                    variables.append(variable)
        b.rows.add(_linear(coefficients, variables) == constant)
    least, most = (side.tolist() for side in limits.voltage.at(bus for bus, _ in network.voltages.labels))
    volts = zip(_rows(network.voltages.rows), network.voltages.constant.tolist(), least, most, strict=True)
    for (index, values), constant, v_min, v_max in volts:
        body = _linear(values, [b.y[j] for j in index], constant)
        b.rows.add(body + b.low >= v_min**2)
        b.rows.add(body - b.high <= v_max**2)
    ((index, values),) = _rows(network.import_p.rows)
    imported = _linear(values, [b.y[j] for j in index], float(network.import_p.constant[0]))
    penalty = limits.voltage_penalty_usd_per_pu2h
    return float(scenario.price[t]) * imported + cost + penalty * (b.low + b.high)


def _tangent(b: Any, kind: str, i: int, at: float) -> None:
    """A tangent of the square of what a generator gives, active (g) or reactive (r)."""
    b.tangents.add(b.square[kind, i] >= KILO * (2 * at * b.component(kind)[i] - at * at))


def solved(m: pyo.ConcreteModel, hours: float) -> Extensive:
    """Solve by HiGHS."""
    solver = Highs()
    for _ in range(MOST_ROUNDS):
        found = solver.solve(m, threads=1, solver_options=EXACT)
        worst = 0.0
        for b in m.dispatch.values():
            for kind, i in b.square:
                at, below = pyo.value(b.component(kind)[i]), pyo.value(b.square[kind, i]) / KILO
                if at * at - below > MET_MW**2:
                    worst = max(worst, at * at - below)
                    _tangent(b, kind, i, at)
        if worst == 0.0:
            break
    else:
        raise RuntimeError(f"the tangents are not met after {MOST_ROUNDS} rounds: {worst:.3g} MW^2")
    steps, terminals = (sorted({index[i] for index in m.p}) for i in range(2))
    duals = found.solution_loader.get_duals()
    price = np.array([[duals[m.position[t, k]] for k in terminals] for t in steps]) / hours
    p_mw = np.array([[pyo.value(m.p[t, k]) for k in terminals] for t in steps])
    return Extensive(float(found.incumbent_objective), p_mw, price)
