"""The operator's clearing of one market step, stated once.

    minimise   h * ( price P_sub + slope/2 P_sub^2 + reactive price Q_sub
                     + cost of resources
                     + unbalance price * sum_b |VUF_b|^2 + voltage penalty * s_v + VUF penalty * s_u
                     + PVUR penalty * s_r + price cap * s_f )
    subject to the linear power flow, voltage limits softened by s_v, limits of VUF and PVUR softened by s_u and s_r,
    branch ratings softened by s_f, and what resources can do. The data centers' demand enters as a parameter.

Power is in MW and Mvar, squared voltage in per unit, money in USD per step (``h`` hours), so that a dual divided
by ``h`` is a price in USD/MWh. What resources decide and what it costs they state themselves
(:mod:`cosim.agents.dso.resources`), over the whole window; the import and broken limits are stated here; the rows that
the network enters come from :mod:`cosim.agents.dso.network_rows`. With the network's states as variables they make
the explicit clearing (:meth:`ClearingModel.at`), with the states solved for the reduced one
(:meth:`ClearingModel.reduced`), in which only what is dispatched remains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cosim.agents.dso import network_rows
from cosim.agents.dso.network_rows import NetworkRows, OutputChoice
from cosim.agents.dso.own_problem import OwnStep, OwnWindow, order_of, own_window
from cosim.agents.dso.resources.resource import Resource
from cosim.agents.dso.resources.statement import MARKET, Port, Statement
from cosim.grid.feeder.limits import VoltageLimits
from cosim.grid.feeder.phases import Terminal, terminal_map
from cosim.grid.linear.network import LinearNetwork, affine_together, alike, solve_together
from cosim.optimization.qp.parametric import ParametricQP

Real = NDArray[np.float64]
Index = NDArray[np.intp]
Columns: TypeAlias = "sp.csc_array[np.float64]"


@dataclass(frozen=True, slots=True)
class Limits:
    """What the operator keeps, and what breaking it costs.

    Attributes:
        v_min_pu, v_max_pu: voltage limits, line-to-line on three-wire buses; bus_voltage_pu: (lowest, highest) of buses
            that have others.
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
    bus_voltage_pu: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def voltage(self) -> VoltageLimits:
        """Limits of the voltage at each bus."""
        return VoltageLimits(self.v_min_pu, self.v_max_pu, self.bus_voltage_pu)

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
class ReducedStep:
    """A step's clearing with the network solved for: what is dispatched, as dense rows.

    Attributes:
        own: cost and rows of the resources alone.
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
        margins: of the network's inequalities, by step of the horizon where they are tightened; may change.
    """

    def __init__(
        self,
        network: LinearNetwork,
        terminals: tuple[Terminal, ...],
        resources: Sequence[Resource],
        limits: Limits,
        hours: float,
        slope_usd_per_mwh_per_mw: float = 0.0,
        reactive_price_usd_per_mvarh: float = 0.0,
        margins: Mapping[int, Real] | None = None,
    ) -> None:
        self.margins: Mapping[int, Real] = {} if margins is None else margins
        self.limits, self.resources, self.terminals, self.nodes = limits, tuple(resources), terminals, network.nodes
        counted = limits.unbalance_price_usd_per_pct2h > 0 or limits.unbalance_limit_pct is not None
        buses = limits.unbalance_buses if counted else ()
        self.outputs = network_rows.choose_outputs(network, limits.branch_rating_mva, buses)
        self.voltage_range = limits.voltage.at(bus for bus, _ in network.voltages.labels)
        self.hours, self._slope, self._reactive_price = hours, slope_usd_per_mwh_per_mw, reactive_price_usd_per_mvarh
        first = self._statement(0, np.zeros(1))
        self._order, self._ports = order_of(first), first.ports
        self._decisions: dict[str, dict[str, int]] = {}
        for variable, place in zip(first.variables, self._order.place.tolist(), strict=True):
            self._decisions.setdefault(variable.owner, {})[variable.local] = place
        self.variables = self._order.names
        self.place = {name: i for i, name in enumerate(self.variables)}
        count = range(len(terminals))
        self.parameters = (*(f"p[{k}]" for k in count), *(f"q[{k}]" for k in count))
        self.equalities, self.inequalities = self._network_rows(network)
        self.injections = self._injections()
        self._right: tuple[tuple[Columns, Columns], Real] | None = None

    def at(self, network: LinearNetwork, step: OwnStep) -> ParametricQP:
        """The explicit QP of one step: every state of the network is a variable, every flow equation a row."""
        own, outputs, inputs = step, self.outputs.of(network), self.injections
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
                sp.block_array(
                    [
                        [-(flow[:, :mine] @ pick), network.matrix],
                        [eq.own, eq.outputs @ outputs.rows],
                        [sp.csr_array(own.equalities), sp.csr_array((len(own.eq_rhs), ny))],
                    ]
                )
            ),
            eq_rhs=np.concatenate([network.constant, eq.rhs - eq.outputs @ outputs.constant, own.eq_rhs]),
            eq_theta=sp.csr_array(sp.vstack([flow[:, mine:], sp.csr_array((len(eq.rhs) + len(own.eq_rhs), k))])),
            ineq_matrix=sp.csr_array(
                sp.vstack(
                    [
                        sp.hstack([sp.csr_array(own.rows), sp.csr_array((len(own.rhs), ny))]),
                        sp.hstack([ineq.own, ineq.outputs @ outputs.rows]),
                    ]
                )
            ),
            ineq_rhs=np.concatenate([own.rhs, own.tightened(ineq.rhs) - ineq.outputs @ outputs.constant]),
            ineq_theta=sp.csr_array((len(own.rhs) + len(ineq.rhs), k)),
            constant=own.constant,
            constant_theta=np.zeros(k),
            variables=(*self.variables, *(f"state[{i}]" for i in range(ny))),
            parameters=self.parameters,
            eq_rows=(*(f"flow_equation[{i}]" for i in range(ny)), *eq.names, *own.eq_names),
            ineq_rows=(*own.row_names, *ineq.names),
            theta_lower=np.full(k, -np.inf),
            theta_upper=np.full(k, np.inf),
        )

    def reduced(self, networks: Sequence[LinearNetwork], own: Sequence[OwnStep]) -> list[ReducedStep]:
        """The same for some steps with their states solved for: a column for each input, all steps together."""
        found: dict[int, ReducedStep] = {}
        for places in alike(networks):
            base, slopes = self._affine([networks[i] for i in places])
            both = [self._reduced(rows, base, slopes) for rows in (self.equalities, self.inequalities)]
            for k, i in enumerate(places):
                equalities, (matrix, rhs, slope) = ((m[k], right[k], by_theta[k]) for m, right, by_theta in both)
                found[i] = ReducedStep(own[i], equalities, (matrix, own[i].tightened(rhs), slope))
        return [found[i] for i in range(len(networks))]

    def outputs_of(self, networks: Sequence[LinearNetwork]) -> list[tuple[Real, Real]]:
        """Of each network the chosen outputs (outputs,) without inputs, and their slopes (outputs, inputs)."""
        found: dict[int, tuple[Real, Real]] = {}
        for places in alike(networks):
            found |= dict(zip(places, zip(*self._affine([networks[i] for i in places]), strict=True), strict=True))
        return [found[i] for i in range(len(networks))]

    def outputs_at(self, networks: Sequence[LinearNetwork], p_mw: Real, q_mvar: Real) -> Real:
        """(networks, outputs) the chosen outputs at demand (networks, nodes), MW and Mvar."""
        states = solve_together(networks, p_mw, q_mvar)
        return np.array([self.outputs.of(n).at(y) for n, y in zip(networks, states, strict=True)])

    def _affine(self, some: Sequence[LinearNetwork]) -> tuple[Real, Real]:
        """The same of networks that belong together, with a leading axis."""
        return affine_together(some, self.outputs.shared, self.outputs.own, self._injected(some[0]))

    def _reduced(self, rows: NetworkRows, base: Real, slopes: Real) -> tuple[Real, Real, Real]:
        """Matrix, right-hand side and slope by terminals of rows, each with a leading axis of steps, from the outputs'
        values (steps, outputs) without inputs and their slopes (steps, outputs, inputs)."""
        steps, outputs, inputs = slopes.shape
        mine = len(self.injections.own)
        flat = rows.outputs @ slopes.transpose(1, 0, 2).reshape(outputs, -1)
        by_input = _clean(flat.reshape(-1, steps, inputs).transpose(1, 0, 2))
        matrix = np.tile(rows.own.toarray(), (steps, 1, 1))
        matrix[:, :, self.injections.own] += by_input[:, :, :mine]
        return matrix, rows.rhs - (rows.outputs @ base.T).T, -by_input[:, :, mine:]

    def own(self, first: int, price_usd_per_mwh: Real) -> OwnWindow:
        """Cost and rows of what the operator decides in a window, without the network.

        Args:
            first: step of the horizon; price_usd_per_mwh: (steps,) of energy at the source.
        """
        found = own_window(self._statement(first, price_usd_per_mwh), self._order)
        if not self.margins:
            return found
        steps = (replace(step, margins=self.margins.get(t)) for t, step in enumerate(found.steps, first))
        return replace(found, steps=tuple(steps))

    def _statement(self, first: int, price: Real) -> Statement:
        window = Statement(len(price), self.hours, first)
        for resource in self.resources:
            window.owner = resource.name
            resource.state(window)
        window.owner = ""
        state_market(window, self.outputs, self.limits, price, self._slope, self._reactive_price)
        return window

    @property
    def resource_variables(self) -> int:
        """How many variables of a step are of resources: the first ones."""
        return self._order.resources

    @cached_property
    def ports(self) -> tuple[Port, ...]:
        """Through which terminals resources inject, and the places of the variables that do."""
        at = self._order.place

        def placed(number: int | None) -> int | None:
            return None if number is None else int(at[number])

        return tuple(replace(port, p=placed(port.p), q=placed(port.q)) for port in self._ports)

    def decisions_of(self, resource: Resource, x: Real) -> dict[str, float]:
        """The variables of a resource, by the names it gave them, from the own variables of a step."""
        return {local: float(x[place]) for local, place in self.owned_by(resource.name).items()}

    def owned_by(self, owner: str) -> Mapping[str, int]:
        """Places of the variables of a resource, or of the market (no name), by the names it gave them."""
        return self._decisions.get(owner, {})

    def powers(self, decided: Real) -> list[tuple[float, float]]:
        """(MW, Mvar) generated through each port, from the resources' variables of a step."""
        return [
            (0.0 if port.p is None else float(decided[port.p]), 0.0 if port.q is None else float(decided[port.q]))
            for port in self.ports
        ]

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

    def _network_rows(self, network: LinearNetwork) -> tuple[NetworkRows, NetworkRows]:
        choice, place, limits = self.outputs, self.place, self.limits
        equalities = [network_rows.import_equation("p", place["p_sub"])]
        if "q_sub" in place:
            equalities.append(network_rows.import_equation("q", place["q_sub"]))
        if limits.unbalance_price_usd_per_pct2h > 0:
            parts = np.array([place[f"vuf_part[{i}]"] for i in choice.unbalance])
            equalities.append(network_rows.unbalance_equations(choice, parts))
        low, high, flow = (place[f"{name}_slack"] for name in ("v_low", "v_high", "flow"))
        inequalities = network_rows.voltage_limits(choice, low, high, *self.voltage_range)
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
        """Inputs: what resources inject through their ports (generation lowers demand), then the terminals."""
        inputs: list[tuple[Terminal, str, float]] = []
        own: list[int] = []
        for port in self.ports:
            for kind, place in (("p", port.p), ("q", port.q)):
                if place is not None:
                    inputs.append((port.terminal, kind, -1.0))
                    own.append(place)
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


def state_market(
    window: Statement, outputs: OutputChoice, limits: Limits, price: Real, slope: float, reactive_price: float
) -> None:
    """Import at the source, broken limits and unbalance: variables of the market and their cost.

    Args:
        price: (steps,) USD/MWh at the source; slope, reactive_price: see :class:`ClearingModel`.
    """
    h = window.hours
    p_sub = window.variable("p_sub", rank=MARKET)
    window.cost(h * price * p_sub)
    window.square_cost(p_sub, h * (0.5 * slope))
    if reactive_price != 0:
        window.cost(h * reactive_price * window.variable("q_sub", rank=MARKET))
    # worst violation of the step: squared voltage each way (pu^2), branch rating (MVA)
    for name, usd in (
        ("v_low_slack", limits.voltage_penalty_usd_per_pu2h),
        ("v_high_slack", limits.voltage_penalty_usd_per_pu2h),
        ("flow_slack", limits.price_cap_usd_per_mwh),
    ):
        window.cost(h * usd * window.variable(name, 0.0, rank=MARKET))
    if limits.unbalance_price_usd_per_pct2h > 0:  # real and imaginary part of the voltage unbalance factor (%)
        for i in outputs.unbalance.tolist():
            part = window.variable(f"vuf_part[{i}]", rank=MARKET)
            window.square_cost(part, h * limits.unbalance_price_usd_per_pct2h)
    if limits.unbalance_limit_pct is not None:
        window.cost(h * limits.unbalance_penalty_usd_per_pct_h * window.variable("vuf_slack", 0.0, rank=MARKET))
    if limits.pvur_limit_pct is not None:
        window.cost(h * limits.pvur_penalty_usd_per_pct_h * window.variable("pvur_slack", 0.0, rank=MARKET))


_NOISE = 1e-14


def _clean(values: Real) -> Real:
    """Set to zero what is rounding noise against the largest number of its row."""
    largest = np.max(np.abs(values), axis=-1, keepdims=True, initial=0.0)
    return np.asarray(np.where(np.abs(values) < _NOISE * largest, 0.0, values))
