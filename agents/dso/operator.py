"""The distribution system operator: clears the feeder and says what power costs where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import mesa
import numpy as np

from cosim.agents.dso import reporting
from cosim.agents.dso.clearing import ClearingModel, Limits, StepData, voltage_penalty
from cosim.agents.dso.linearisation import Linearisation
from cosim.agents.dso.resources import Resources, resources_of
from cosim.agents.dso.window import StepResult, WindowClearing
from cosim.clock import Window
from cosim.errors import InputError
from cosim.grid import lindist3flow
from cosim.grid.feeder import Feeder
from cosim.grid.lindist3flow import OperatingPoint
from cosim.grid.linear import LinearNetwork
from cosim.grid.opendss import AcSolution
from cosim.grid.phases import Terminal
from cosim.interfaces import Array, Clearing, Delivered, Prices, Row, TerminalLoad
from cosim.optimization.parametric import ParametricQP
from cosim.optimization.solution import QPSolution
from cosim.preparation import Prepared
from cosim.scenario import Scenario

LINEARISATION_ROUNDS = 5
SETTLED_MW = 5e-4
HELD_PU = 5e-5
"""How far an AC voltage may be beyond its limit (more than the linear model says) before a window is redone."""
KILO = 1000.0


@dataclass(frozen=True, slots=True)
class _Point:
    """Where a step is linearised: dispatch (units and SVG legs, 2) in MW and Mvar, states, and how often it was met."""

    dispatch: Array
    states: OperatingPoint | None
    visits: int

    def moved_to(self, dispatch: Array, states: Array) -> _Point:
        """The point after another clearing: dispatch averaged over all visits."""
        visits = self.visits + 1
        return _Point(self.dispatch + (dispatch - self.dispatch) / visits, OperatingPoint(states), visits)


class DistributionSystemOperator(mesa.Agent):  # type: ignore[misc]
    """Agent of the operator; see :class:`cosim.coordination.base.OperatorAgent` for what it does.

    Args:
        model: the Mesa model.
        prepared: the scenario with its feeder and series.
        loads: the data-center terminals.
    """

    def __init__(self, model: mesa.Model, prepared: Prepared, loads: Sequence[TerminalLoad]) -> None:
        super().__init__(model)
        scenario, feeder = prepared.scenario, prepared.feeder
        self.name = scenario.operator.name
        self.scenario, self.feeder = scenario, feeder
        self.terminals = tuple(load.terminal for load in loads)
        self.p_max_mw = np.array([load.p_max_mw for load in loads])
        self.reactive_ratio = np.array([load.reactive_ratio for load in loads])
        self.hours = prepared.calendar.step_hours
        self.load_scale, self.price, self._profiles = (
            prepared.load_scale, prepared.price_usd_per_mwh, prepared.profiles,
        )  # fmt: skip
        self.resources: Resources = resources_of(feeder, scenario.generators, scenario.svgs)
        self.limits = _limits(scenario, feeder)
        market = scenario.market
        self.linearisation = Linearisation(feeder, scenario.network)
        self.clearing_model = ClearingModel(
            self.linearisation.first(float(self.load_scale[0])),
            self.terminals,
            self.resources,
            self.limits,
            self.hours,
            market.slope_usd_per_mwh_per_mw,
            market.reactive_price_usd_per_mvarh,
        )
        self._window: WindowClearing | None = None
        self._first = 0
        self._points: dict[int, _Point] = {}
        self._refined = 0
        self._settled: tuple[Array, QPSolution] | None = None
        self._last_output: Array | None = None

    # -- the window -------------------------------------------------------------------------------------------

    def open_window(self, window: Window, declared_p_mw: Array) -> None:
        """Linearise each step around the declared demand and the dispatch that it leads to.

        Clearing and linearising take turns, the dispatch averaged over the rounds (a linear loss makes reactive
        dispatch jump, averages settle), until it moves by less than ``SETTLED_MW`` or the rounds are used up. Then the
        linearisation stays, so that all modes of a window share one statement of the physics. Steps that an earlier
        window has looked at start from where that one ended.
        """
        self._first, self._refined = window.first, 0
        self._length = window.steps
        steps = range(window.first, window.last_exclusive)
        data = [self.step_data(t) for t in steps]
        names = [[f"p[{k}@{t}]" for k in range(len(self.terminals))] for t in steps]
        count = len(self.resources.generators) + sum(len(svg.terminals) for svg in self.resources.svgs)
        points = [self._points.get(t, _Point(np.zeros((count, 2)), None, 0)) for t in steps]
        for k in range(1, LINEARISATION_ROUNDS + 1):
            networks = [self._linearise(t, declared_p_mw[i], points[i]) for i, t in enumerate(steps)]
            self._window = self._clearing(networks, data, names)
            if not self.scenario.network.losses or k == LINEARISATION_ROUNDS:
                break
            solution = self._window.solve(declared_p_mw)
            results = [self._window.values(i, declared_p_mw, solution) for i in range(len(data))]
            moved = [p.moved_to(self._dispatch(r.values), r.states) for p, r in zip(points, results, strict=True)]
            steady = zip(moved, points, strict=True)
            move = max(float(np.abs(a.dispatch - b.dispatch).max(initial=0.0)) for a, b in steady)
            points = moved
            if move < SETTLED_MW:
                break
        self._points = dict(zip(steps, points, strict=True))

    def refine(self, p_mw: Array) -> bool:
        """Linearise each step anew at this demand and its dispatch if a limit holds there in the linear model only."""
        if self._refined >= self.scenario.network.ac_rounds:
            return False
        window, solution = self.clearing, self.clearing.solve(p_mw)
        steps = range(self._first, self._first + self._length)
        found = [window.values(i, p_mw, solution) for i in range(self._length)]
        points = [_Point(self._dispatch(v.values), OperatingPoint(v.states), 0) for v in found]
        beyond = [
            self.linearisation.worst_violation_pu(
                float(self.load_scale[t]), self._injections(p_mw[i], points[i].dispatch)
            ) - window.broken_pu(i, found[i], self.limits)
            for i, t in enumerate(steps)
        ]  # fmt: skip
        if max(beyond) <= HELD_PU:
            return False
        self._refined += 1
        networks = [self._linearise(t, p_mw[i], points[i]) for i, t in enumerate(steps)]
        names = [[f"p[{k}@{t}]" for k in range(len(self.terminals))] for t in steps]
        self._window = self._clearing(networks, [self.step_data(t) for t in steps], names)
        self._points |= dict(zip(steps, points, strict=True))
        return True

    def _clearing(
        self, networks: Sequence[LinearNetwork], data: Sequence[StepData], names: list[list[str]]
    ) -> WindowClearing:
        before = self._last_output
        ramps = [
            (g, unit.ramp_mw_per_step, None if before is None else float(before[g]))
            for g, unit in enumerate(self.resources.generators)
            if unit.ramp_mw_per_step is not None
        ]
        return WindowClearing(
            self.clearing_model, networks, data, self.reactive_ratio, self.p_max_mw, names, ramps
        )

    def step_data(self, t: int) -> StepData:
        available = [
            u.p_max_mw * self._profiles[u.name.split(".")[0]][t] if u.kind == "pv" else u.p_max_mw
            for u in self.resources.generators
        ]
        return StepData(float(self.price[t]), np.array(available))

    def _linearise(self, t: int, p_mw: Array, point: _Point) -> LinearNetwork:
        injections = self._injections(p_mw, point.dispatch)
        return self.linearisation.at(float(self.load_scale[t]), injections, point.states)

    def _dispatch(self, values: Mapping[str, float]) -> Array:
        """(units and SVG legs, 2) generation in MW and Mvar of a cleared step."""
        units = [(values[f"gen_p[{g}]"], values[f"gen_q[{g}]"]) for g in range(len(self.resources.generators))]
        svgs = enumerate(self.resources.svgs)
        legs = [(0.0, values[f"svg_q[{s},{leg}]"]) for s, svg in svgs for leg in range(len(svg.terminals))]
        return np.array(units + legs).reshape(-1, 2)

    def _injections(self, p_mw: Array, dispatch: Array) -> list[tuple[Terminal, float, float]]:
        """Demand (MW, Mvar) of everything controllable in a step: data centers, generators and SVGs."""
        units = [u.terminal for u in self.resources.generators]
        units += [t for svg in self.resources.svgs for t in svg.terminals]
        demand = zip(self.terminals, p_mw, p_mw * self.reactive_ratio, strict=True)
        generation = zip(units, -dispatch[:, 0], -dispatch[:, 1], strict=True)
        return [(t, float(p), float(q)) for t, p, q in (*demand, *generation)]

    @property
    def clearing(self) -> WindowClearing:
        """The open window's clearing problem."""
        if self._window is None:
            raise RuntimeError("the operator was asked before a window was opened")
        return self._window

    # -- what coordination asks -------------------------------------------------------------------------------

    def clear(self, p_mw: Array) -> Clearing:
        """Least-cost clearing at a demand (steps, terminals)."""
        solution = self.clearing.solve(p_mw)
        costs = self.clearing.step_costs(p_mw, solution)
        return Clearing(p_mw, solution.objective, self._prices(solution), costs)

    def opening_price(self, steps: int) -> Array:
        """Price of energy at the source in each step of the open window, the same at every terminal."""
        price = self.price[self._first : self._first + steps]
        return np.repeat(price[:, None], len(self.terminals), axis=1)

    def clear_near(self, p_mw: Array, price: Array, penalty: float) -> Clearing:
        """min cost - price'p + penalty/2 |p - p_mw|^2 over the demand the feeder may be asked to serve."""
        h = self.hours
        chosen, cost, solution = self.clearing.choose(-h * price, p_mw, h * penalty)
        # What the operator would be paid at the margin of what it chose; its duals price reactive power apart.
        effective = price + penalty * (p_mw - chosen)
        reactive = self._prices(solution).q_usd_per_mvarh
        return Clearing(chosen, cost, Prices(effective - reactive * self.reactive_ratio, reactive))

    def regret_usd(self, p_mw: Array, price: Array) -> float:
        """cost(p) - price'p - min over p of the same, in USD; never negative."""
        h = self.hours
        chosen, cost, _ = self.clearing.choose(-h * price)
        here = self.clearing.solve(p_mw).objective - float((h * price * p_mw).sum())
        return max(0.0, here - (cost - float((h * price * chosen).sum())))

    def follower(self) -> ParametricQP:
        """The open window's clearing, demand as parameters."""
        return self.clearing.follower

    def parameter_names(self) -> list[list[str]]:
        """Names of the parameters, (steps, terminals)."""
        return [list(row) for row in self.clearing.labels]

    def settle(self, p_mw: Array, support: Array | None) -> Clearing:
        """Clear at the final demand; among the optimal duals take those nearest to the supporting price."""
        window = self.clearing
        solution = window.solve(p_mw)
        if support is not None:
            solution = window.nearest_dual(solution, p_mw, self.hours * support)
        self._settled = (p_mw, solution)
        return Clearing(p_mw, solution.objective, self._prices(solution))

    def result(self, t: int) -> StepResult:
        """Everything about step ``t`` (of the horizon) of the settled window."""
        if self._settled is None:
            raise RuntimeError("the operator was asked for a result before a window was settled")
        p_mw, solution = self._settled
        return self.clearing.step(t - self._first, p_mw, solution, self.hours)

    def commit(self, t: int) -> Delivered:
        """Take step ``t`` of the settled window as delivered."""
        result = self._committed = self.result(t)
        values, p_mw = result.values, self._settled[0][t - self._first]  # type: ignore[index]
        self._last_output = np.array([values[f"gen_p[{g}]"] for g in range(len(self.resources.generators))])
        return Delivered(
            injections=tuple(self._injections(p_mw, self._dispatch(values))),
            p_sub_kw=KILO * values["p_sub"],
            q_sub_kvar=KILO * values["q_sub"],
            cost_usd=result.cost_usd,
            slack_kwh=reporting.slack_kwh(self.limits, self.hours, values),
        )

    def rows(self, t: int, ac: AcSolution) -> dict[str, list[Row]]:
        """Prices, dispatch, voltages and unbalance of the step committed last."""
        result = self._committed
        return {
            "prices": reporting.price_rows(self.feeder, t, result.prices),
            "dispatch": reporting.dispatch_rows(self.resources, t, result.values),
            "voltages": reporting.voltage_rows(t, result, ac),
            "unbalance": reporting.unbalance_rows(t, ac),
        }

    # -- prices -----------------------------------------------------------------------------------------------

    def _prices(self, solution: QPSolution) -> Prices:
        p, q = self.clearing.terminal_prices(solution)
        return Prices(p / self.hours, q / self.hours)


def _limits(scenario: Scenario, feeder: Feeder) -> Limits:
    network = scenario.network
    buses = {b.name for b in feeder.buses}
    for i, bus in enumerate(network.unbalance.buses):
        if bus not in buses:
            raise InputError(
                f"feeder {feeder.name} has no such bus", key=f"network.unbalance.buses.{i}", value=bus,
                allowed=", ".join(sorted(buses)),
            )  # fmt: skip
    flat = lindist3flow.build(feeder, losses=False)
    branches = sorted({label[0] for label in flat.flows_p.labels})
    for name in network.branch_rating_kva:
        if name not in branches:
            raise InputError(
                f"feeder {feeder.name} has no such branch", key=f"network.branch_rating_kva.{name}",
                value=name, allowed=", ".join(branches),
            )  # fmt: skip
    return Limits(
        v_min_pu=network.v_min_pu,
        v_max_pu=network.v_max_pu,
        price_cap_usd_per_mwh=network.price_cap_usd_per_mwh,
        voltage_penalty_usd_per_pu2h=voltage_penalty(flat, network.price_cap_usd_per_mwh),
        branch_rating_mva={k: v / 1000 for k, v in network.branch_rating_kva.items()},
        unbalance_price_usd_per_pct2h=network.unbalance.price_usd_per_pct2h,
        unbalance_buses=network.unbalance.buses,
    )
