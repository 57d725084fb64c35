"""A window of market steps as the operator sees it: linearised networks, their clearings, one QP for all steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cosim.agents.dso.assembly import assemble, with_joined
from cosim.agents.dso.clearing import ClearingModel, ReducedStep
from cosim.agents.dso.own_problem import Joined, OwnStep, OwnWindow
from cosim.agents.dso.prices import NodePrices, prices_of_steps
from cosim.grid.linear.network import LinearNetwork, solve_together
from cosim.optimization.bilevel.model.settlement import Settlement, settled_at
from cosim.optimization.qp.exclusive import closed, overlapping
from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.qp.solution import QPSolution
from cosim.optimization.qp.transform import map_parameters
from cosim.optimization.solvers.dual_face import DualFace
from cosim.optimization.solvers.proximal import ProximalSolver
from cosim.optimization.solvers.qp_solver import FINE, QPSolver

Array = NDArray[np.float64]
_STIFF = 1e2
"""Proximal weight, by the highest price (USD/MW), at which the duals for a supporting price are looked for."""
_RESOLVED_MW = 1e-5
"""How far dispatch may lie from the optimum found for a supporting price to count as a price of it (10 W)."""


@dataclass(frozen=True, slots=True)
class StepValues:
    """What the operator decides in a cleared step by name and by place, the states of its network, and its cost."""

    values: dict[str, float]
    x: Array
    states: Array
    cost_usd: float


@dataclass(frozen=True, slots=True)
class JoinedRow:
    """A row that joins steps in a cleared window: name, places of its variables, value, limit and dual (USD)."""

    name: str
    places: tuple[int, ...]
    value: float
    limit: float
    dual: float


@dataclass(frozen=True, slots=True)
class VariableCosts:
    """What the variables of a step cost (USD).

    Attributes:
        usd: (own variables,) cost of each; marginal_usd: each valued at the slope of its cost.
        constants_usd: what the step costs its resources whatever is decided, by resource.
    """

    usd: Array
    marginal_usd: Array
    constants_usd: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class StepResult:
    """One cleared step in full: every variable by name and by place, its cost, prices at all nodes, states.

    Attributes:
        duals: of the network's inequalities; own: what the operator alone decides, and own_duals: of its rows (USD).
        joined: rows that join this step to those before it, with a dual.
    """

    values: dict[str, float]
    x: Array
    cost_usd: float
    prices: NodePrices
    states: Array
    network: LinearNetwork
    duals: Array
    own: OwnStep
    own_duals: Array
    costs: VariableCosts
    joined: tuple[JoinedRow, ...] = ()


class WindowClearing:
    """The clearings of a window, reduced to what is dispatched and stacked into one parametric QP.

    The parameter of step t and terminal k is its active power (MW); reactive power follows by ``ratio``. There may be
    several clearings of each step, one for each scenario of what may happen, with costs times its probability: they
    share the parameters of the step, so that the QP is of the expected cost. Its blocks are then all steps of the
    first scenario, then all of the next one.

    Args:
        model: the compiled clearing of one step.
        networks: the linearised network of each block.
        reduced: the clearing of each block on its network (:meth:`ClearingModel.reduced`).
        ratio: (terminals,) Mvar per MW.
        p_low_mw, p_high_mw: (steps, terminals) least and most that a terminal draws: rows that cannot bind in between
            are left out.
        labels: (steps, terminals) parameter names.
        joined: rows that join the blocks, if these are all steps of the window.
    """

    def __init__(
        self,
        model: ClearingModel,
        networks: Sequence[LinearNetwork],
        reduced: Sequence[ReducedStep],
        ratio: Array,
        p_low_mw: Array,
        p_high_mw: Array,
        labels: Sequence[Sequence[str]],
        joined: OwnWindow | None = None,
    ) -> None:
        self.model, self.networks, self.labels, self._ratio = model, tuple(networks), labels, ratio
        self.scenarios = len(self.networks) // len(labels) if len(labels) else 1
        low, high = self._of_blocks(p_low_mw), self._of_blocks(p_high_mw)
        assembled = assemble(model, reduced, ratio, low, high)
        self._own_rows, self._network_rows = assembled.own_rows, assembled.network_rows
        self._tied = joined is not None and joined.tied
        self._joined: Joined | None = None if joined is None else joined.inequalities
        self._full = assembled.qp if joined is None else with_joined(assembled.qp, joined)
        self.follower = _on_active_power(self._full, ratio, p_low_mw, p_high_mw, labels)
        self._owns, self._window = [step.own for step in reduced], joined
        self._constants = np.array([step.own.constant for step in reduced])
        self._last: tuple[Array, QPSolution] | None = None
        self._closed: set[str] = set()
        network_equalities = len(model.equalities.names)
        self._eq_start = np.cumsum([0, *(network_equalities + len(step.own.eq_rhs) for step in reduced)])
        kept = zip(self._own_rows, self._network_rows, strict=True)
        self._row_start = np.cumsum([0, *(len(own) + len(rows) for own, rows in kept)])
        self._theta_columns = np.arange(len(labels) * len(ratio)).reshape(len(labels), len(ratio))

    @cached_property
    def _solver(self) -> QPSolver:
        return QPSolver(closed(self.follower, self._closed), tolerance=FINE)

    def _close_overlaps(self, x: Array) -> bool:
        """Hold the smaller flow of each battery that charges and discharges at once at zero from now on; whether there
        was one.

        It happens where energy has a price so negative that turning it into heat pays. The window's clearings then come
        from one convex problem again, which its prices belong to.
        """
        pairs = self.follower.exclusive
        both = overlapping(pairs, dict(zip(self._full.variables, x.tolist(), strict=False))) if pairs else []
        if both:
            self._closed |= {smaller for smaller, _ in both}
            self._last = None
            for name in ("_solver", "_free", "_free_solver"):
                self.__dict__.pop(name, None)
        return bool(both)

    @property
    def closed_steps(self) -> list[int]:
        """Steps of the window in which a battery is held to one direction."""
        n, steps = len(self.model.variables), len(self.labels)
        return sorted({i // n % steps for i, name in enumerate(self._full.variables) if name in self._closed})

    @property
    def tied(self) -> bool:
        """Whether rows join the steps."""
        return self._tied

    def margins(self, t: int) -> Array | None:
        """(rows,) by how much the network's inequalities are tightened in a step."""
        return self._owns[t].margins

    @cached_property
    def without_margins(self) -> WindowClearing:
        """The same clearing with every limit of the network where it is."""
        owns = [replace(own, margins=None) for own in self._owns]
        limits = self.follower.theta_lower, self.follower.theta_upper
        low, high = (limit.reshape(self._theta_columns.shape) for limit in limits)
        reduced = self.model.reduced(self.networks, owns)
        return WindowClearing(self.model, self.networks, reduced, self._ratio, low, high, self.labels, self._window)

    @cached_property
    def _free(self) -> ParametricQP:
        """The follower with its parameters as variables: demand that the operator may choose."""
        return closed(self.follower, self._closed).free(self.follower.parameters)

    @cached_property
    def _free_solver(self) -> ProximalSolver:
        return ProximalSolver(QPSolver(self._free, tolerance=FINE), self._free_columns)

    @cached_property
    def _free_columns(self) -> NDArray[np.intp]:
        where = {name: i for i, name in enumerate(self._free.variables)}
        return np.array([[where[name] for name in row] for row in self.labels], dtype=np.intp)

    def _of_blocks(self, p_mw: Array) -> Array:
        """(blocks, terminals) of (steps, terminals): the same in each scenario."""
        return p_mw if self.scenarios == 1 else np.tile(p_mw, (self.scenarios, 1))

    def theta(self, p_mw: Array) -> Array:
        """Parameter vector of a demand (steps, terminals)."""
        return np.broadcast_to(p_mw, self._theta_columns.shape).astype(float).ravel()

    def solve(self, p_mw: Array) -> QPSolution:
        """Clear the window at a demand; asked again for the same one, what was found before."""
        if self._last is None or not np.array_equal(self._last[0], p_mw):
            solution = self._solver.solve(self.theta(p_mw)).require()
            while self._close_overlaps(solution.x):
                solution = self._solver.solve(self.theta(p_mw)).require()
            self._last = p_mw.copy(), solution
        return self._last[1]

    def step_costs(self, solution: QPSolution) -> Array | None:
        """(steps,) cost of each step of a solved window (USD); None where rows join the steps."""
        return None if self._tied else self.costs(solution)

    def costs(self, solution: QPSolution) -> Array:
        """(steps,) what each step adds to the window's cost: only own variables have a cost."""
        return np.asarray(self.block_costs(solution).reshape(self.scenarios, -1).sum(axis=0))

    def block_costs(self, solution: QPSolution) -> Array:
        """(blocks,) what each block adds to the window's cost."""
        return np.asarray(self._by_variable(solution)[0].sum(axis=1) + self._constants)

    def _by_variable(self, solution: QPSolution) -> tuple[Array, Array]:
        """(blocks, own variables) cost of each variable, and its value at the slope of its cost."""
        qp = self._full
        x = solution.x[: len(qp.variables)]
        curved, shape = qp.hessian @ x, (len(self.networks), -1)
        return (x * (0.5 * curved + qp.cost)).reshape(shape), (x * (curved + qp.cost)).reshape(shape)

    def own(self, t: int, solution: QPSolution) -> Array:
        """What the operator decides in a block, (own variables,)."""
        return np.asarray(self.decided(solution)[t])

    def sensitivity(self, solution: QPSolution) -> Array:
        """(steps, terminals) derivative of the window's cost (USD) with respect to each MW drawn."""
        return np.asarray(self.follower.sensitivity(solution))[self._theta_columns]

    def terminal_prices(self, solution: QPSolution) -> tuple[Array, Array]:
        """(steps, terminals) derivatives of the window's cost (USD) with respect to P (MW) and to Q (Mvar)."""
        p, q = (slope.sum(axis=0) for slope in self.scenario_slopes(solution))
        return p, q

    def scenario_slopes(self, solution: QPSolution) -> tuple[Array, Array]:
        """(scenarios, steps, terminals) what each scenario adds to :meth:`terminal_prices`."""
        steps, terminals = self._theta_columns.shape
        slope = np.asarray(self._full.price(solution.nu, solution.sigma))
        apart = slope.reshape(self.scenarios, steps, 2, terminals)
        return apart[:, :, 0], apart[:, :, 1]

    def nearest_dual(
        self, solution: QPSolution, p_mw: Array, support: Array, settlement: Settlement | None = None
    ) -> QPSolution:
        """The same optimum with the duals whose prices, or charges, are nearest to ``support`` (USD/MW a step).

        Over scenarios a proximal step at the support takes their place: it stays where it is, with duals that make this
        very price, if there are any.
        """
        if self.scenarios > 1 and settlement is None:
            _, _, found = self.choose(-support, p_mw, _STIFF * max(1.0, float(np.abs(support).max())))
            return replace(solution, nu=found.nu, sigma=found.sigma)
        target = self.theta(support)
        held = settled_at(closed(self.follower, self._closed), self.theta(p_mw), settlement)
        point = DualFace(held, solution, np.zeros(target.size), reach=_RESOLVED_MW).nearest(target)
        return replace(solution, nu=point.nu, sigma=point.sigma)

    @cached_property
    def active_settlement(self) -> Settlement:
        """What active power alone is charged: the price of P where P and Q are parameters apart."""
        limits = self.follower.theta_lower, self.follower.theta_upper
        alone = _on_active_power(self._full, 0.0 * self._ratio, *limits, self.labels)
        return Settlement.of(alone)

    def choose(
        self, linear: Array, near: Array | None = None, penalty: float | Array = 0.0
    ) -> tuple[Array, float, QPSolution]:
        """Demand in its box that minimises cost + linear'p + 1/2 (p - near)' penalty (p - near).

        Args:
            linear, near: (steps, terminals). penalty: one number, (steps, 1), or (steps, terminals, terminals).

        Returns:
            The demand (steps, terminals), the window's cost there (USD, without the added terms), and the solution
            with the duals of the follower's own rows.
        """
        solution = self._free_solver.solve(linear, near, penalty)
        while self._close_overlaps(solution.x):
            solution = self._free_solver.solve(linear, near, penalty)
        p = solution.x[self._free_columns]
        own_rows = replace(solution, sigma=solution.sigma[: len(self._full.ineq_rows)])
        return p, self._free.objective(solution.x), own_rows

    def decided(self, solution: QPSolution) -> Array:
        """(blocks, own variables) what the operator decides."""
        n = len(self.model.variables)
        return np.asarray(solution.x[: n * len(self.networks)]).reshape(-1, n)

    def states(self, p_mw: Array, decided: Array) -> list[Array]:
        """(states,) of the network of each block, where resources do what is decided (blocks, variables)."""
        return solve_together(self.networks, *self.demand(self._of_blocks(p_mw), decided))

    def demand(self, p_mw: Array, decided: Array) -> tuple[Array, Array]:
        """(steps, nodes) MW and Mvar at what is drawn and what resources do.

        Args:
            decided: (steps, k) the own variables, at least those of resources.
        """
        injections = self.model.injections
        inputs = np.concatenate([decided[:, injections.own], p_mw, p_mw * self._ratio], axis=1)
        p, q = (np.asarray((m @ inputs.T).T) for m in (injections.p, injections.q))
        return p, q

    def values(self, t: int, p_mw: Array, solution: QPSolution) -> StepValues:
        """Every variable of one block of a solved window, its network's states and its cost."""
        return self._values([t], p_mw, solution)[0]

    def _values(self, blocks: Sequence[int], p_mw: Array, solution: QPSolution) -> list[StepValues]:
        some, decided = list(blocks), self.decided(solution)[list(blocks)]
        p, q = self.demand(self._of_blocks(p_mw)[some], decided)
        found = []
        for k, (t, cost) in enumerate(zip(some, self.block_costs(solution)[some].tolist(), strict=True)):
            network, states = self.networks[t], self.networks[t].solve(p[k], q[k])
            named = dict(zip(self.model.variables, decided[k].tolist(), strict=True))
            if "q_sub" not in named:
                named["q_sub"] = float(network.import_q.at(states)[0])
            found.append(StepValues(named, decided[k], states, cost))
        return found

    def step(self, t: int, p_mw: Array, solution: QPSolution, hours: float) -> StepResult:
        """Everything about one block of a solved window; see :meth:`results`."""
        return self.results([t], p_mw, solution, hours)[0]

    def results(self, steps: Sequence[int], p_mw: Array, solution: QPSolution, hours: float) -> list[StepResult]:
        """Everything about some blocks of a solved window, prices at all nodes included."""
        networks, duals = [self.networks[t] for t in steps], [self.duals(t, solution) for t in steps]
        prices = prices_of_steps(self.model, networks, duals, hours)
        costs, values = self._by_variable(solution)
        found = []
        for k, (t, at) in enumerate(zip(steps, self._values(steps, p_mw, solution), strict=True)):
            own = np.zeros(len(self._owns[t].rhs))
            own[self._own_rows[t]] = solution.sigma[self._row_start[t] : self._row_start[t] + len(self._own_rows[t])]
            found.append(StepResult(
                at.values, at.x, at.cost_usd, prices[k], at.states, networks[k], duals[k][1], self._owns[t], own,
                VariableCosts(costs[t], values[t], self._owns[t].constants), self._joined_rows(t, solution),
            ))  # fmt: skip
        return found

    def node_prices(self, t: int, solution: QPSolution, hours: float) -> list[NodePrices]:
        """Prices at all nodes in a step, whose sum is the expected one: a summand for each linearisation of the step.

        Scenarios that share one share its adjoint, as their duals add up.
        """
        found: dict[int, tuple[LinearNetwork, Array, Array]] = {}
        for block in range(t, len(self.networks), len(self.labels)):
            network, duals = self.networks[block], self.duals(block, solution)
            known = found.get(id(network))
            equal, unequal = duals if known is None else (known[1] + duals[0], known[2] + duals[1])
            found[id(network)] = network, equal, unequal
        summed = [(equal, unequal) for _, equal, unequal in found.values()]
        return prices_of_steps(self.model, [network for network, *_ in found.values()], summed, hours)

    def _joined_rows(self, t: int, solution: QPSolution) -> tuple[JoinedRow, ...]:
        """The inequalities with a dual that join a step to those before it; they stand behind those of the steps."""
        if self._joined is None:
            return ()
        rows, first, n = self._joined, int(self._row_start[-1]), len(self.model.variables)
        found = []
        for j in np.flatnonzero((rows.last == t) & (solution.sigma[first : first + len(rows.names)] > 0)).tolist():
            row = rows.matrix[[j]]
            value = float((row @ solution.x[: row.shape[1]])[0])
            places = tuple(sorted({int(c) % n for c in row.indices}))
            dual = float(solution.sigma[first + j])
            found.append(JoinedRow(rows.local[j], places, value, float(rows.rhs[j]), dual))
        return tuple(found)

    def duals(self, t: int, solution: QPSolution) -> tuple[Array, Array]:
        """Duals of the network's equalities and inequalities in a step, zero for rows that cannot bind."""
        model = self.model
        inequalities = np.zeros(len(model.inequalities.names))
        start = self._eq_start[t]
        first = self._row_start[t] + len(self._own_rows[t])
        inequalities[self._network_rows[t]] = solution.sigma[first : self._row_start[t + 1]]
        return np.asarray(solution.nu[start : start + len(model.equalities.names)]), inequalities


def _on_active_power(
    qp: ParametricQP, ratio: Array, p_low_mw: Array, p_high_mw: Array, labels: Sequence[Sequence[str]]
) -> ParametricQP:
    """Let Q follow P at each terminal: the parameters p and q of each step become p alone, in order of step, which all
    blocks of the step share."""
    n, names = len(ratio), [name for row in labels for name in row]
    blocks = len(qp.parameters) // (2 * n) if n else 0  # each has P, then Q of each terminal
    rows, values = np.arange(len(qp.parameters)), np.tile(np.concatenate([np.ones(n), ratio]), blocks)
    steps = np.arange(blocks) % len(labels)
    columns = (np.tile(np.arange(n), 2) + n * steps[:, None]).ravel()
    mapping = sp.csr_array((values, (rows, columns)), shape=(len(rows), len(names)))
    return map_parameters(qp, mapping, tuple(names), p_low_mw.ravel(), p_high_mw.ravel())
