"""A window of market steps as the operator sees it: linearised networks, their clearings, one QP for all steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cosim.agents.dso.clearing import ClearingModel, Limits, StepData
from cosim.agents.dso.prices import NodePrices, node_prices
from cosim.grid.linear import LinearNetwork
from cosim.optimization.dominance import drop_dominated
from cosim.optimization.dual_face import DualFace
from cosim.optimization.parametric import ParametricQP, stack
from cosim.optimization.qp_solvers import QPSolver
from cosim.optimization.reduction import Reduction, reduce
from cosim.optimization.screening import screen
from cosim.optimization.solution import QPSolution
from cosim.optimization.transform import map_parameters, rename, with_rows

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class StepValues:
    """Variables of a cleared step by name, the states of its network, and its cost."""

    values: dict[str, float]
    states: Array
    cost_usd: float


@dataclass(frozen=True, slots=True)
class StepResult:
    """One cleared step in full: every variable by name, its cost, prices at all nodes, the network's states."""

    values: dict[str, float]
    cost_usd: float
    prices: NodePrices
    states: Array
    network: LinearNetwork


class WindowClearing:
    """The clearings of a window, reduced to what is dispatched and stacked into one parametric QP.

    The parameter of step t and terminal k is its active power (MW); reactive power follows by ``ratio``.

    Args:
        model: the compiled clearing of one step.
        networks: the linearised network of each step.
        data: prices and availabilities of each step.
        ratio: (terminals,) Mvar per MW.
        p_max_mw: (terminals,) most that a terminal draws.
        labels: (steps, terminals) parameter names.
        ramps: (generator index, MW per step, previous output or None) for generators with ramp limits.
    """

    def __init__(
        self,
        model: ClearingModel,
        networks: Sequence[LinearNetwork],
        data: Sequence[StepData],
        ratio: Array,
        p_max_mw: Array,
        labels: Sequence[Sequence[str]],
        ramps: Sequence[tuple[int, float, float | None]] = (),
    ) -> None:
        self.networks, self.labels, self._ratio = tuple(networks), labels, ratio
        self._terminals = len(ratio)
        self._reductions: list[Reduction] = []
        self._explicit: list[ParametricQP] = []
        steps = []
        for t, (network, step) in enumerate(zip(networks, data, strict=True)):
            explicit = model.at(network, step)
            self._explicit.append(explicit)
            reduction = reduce(explicit, model.kept, model.kept_rows)
            self._reductions.append(reduction)
            boxed = _within_ratings(reduction.qp, ratio, p_max_mw)
            steps.append(_numbered(drop_dominated(screen(boxed).qp, model.is_limit, model.known_bounds()).qp, t))
        self._steps = None if ramps else steps
        self._full = _with_ramps(stack(steps), ramps, len(steps))
        self.follower = _on_active_power(self._full, ratio, p_max_mw, labels)
        self._solver = QPSolver(self.follower)
        self._variable_start = np.cumsum([0, *(len(r.qp.variables) for r in self._reductions)])
        self._theta_columns = np.arange(len(labels) * len(ratio)).reshape(len(labels), len(ratio))

    @cached_property
    def _free(self) -> ParametricQP:
        """The follower with its parameters as variables: demand that the operator may choose."""
        return self.follower.free(self.follower.parameters)

    @cached_property
    def _free_solver(self) -> QPSolver:
        return QPSolver(self._free)

    @cached_property
    def _free_columns(self) -> NDArray[np.intp]:
        where = {name: i for i, name in enumerate(self._free.variables)}
        return np.array([[where[name] for name in row] for row in self.labels], dtype=np.intp)

    def theta(self, p_mw: Array) -> Array:
        """Parameter vector of a demand (steps, terminals)."""
        vector = np.empty(self._theta_columns.size)
        vector[self._theta_columns] = p_mw
        return vector

    def solve(self, p_mw: Array) -> QPSolution:
        """Clear the window at a demand."""
        return self._solver.solve(self.theta(p_mw)).require()

    def step_costs(self, p_mw: Array, solution: QPSolution) -> Array | None:
        """(steps,) cost of each step of a solved window (USD); None where ramps tie the steps together."""
        if self._steps is None:
            return None
        parts = np.split(solution.x, self._variable_start[1:-1])
        thetas = np.concatenate([p_mw, p_mw * self._ratio], axis=1)
        return np.array([qp.objective(x, th) for qp, x, th in zip(self._steps, parts, thetas, strict=True)])

    def sensitivity(self, solution: QPSolution) -> Array:
        """(steps, terminals) derivative of the window's cost (USD) with respect to each MW drawn."""
        return np.asarray(self.follower.sensitivity(solution))[self._theta_columns]

    def terminal_prices(self, solution: QPSolution) -> tuple[Array, Array]:
        """(steps, terminals) derivatives of the window's cost (USD) with respect to P (MW) and to Q (Mvar)."""
        slope = dict(zip(self._full.parameters, self._full.price(solution.nu, solution.sigma), strict=True))
        steps, terminals = self._theta_columns.shape
        p, q = (
            np.array([[slope[f"{kind}[{k}]@{t}"] for k in range(terminals)] for t in range(steps)]) for kind in "pq"
        )
        return p, q

    def nearest_dual(self, solution: QPSolution, p_mw: Array, support: Array) -> QPSolution:
        """The same primal optimum with the duals whose prices lie nearest to ``support`` (USD/MW a step)."""
        target = np.empty(self._theta_columns.size)
        target[self._theta_columns] = support
        point = DualFace(self.follower, solution, self.theta(p_mw)).nearest(target)
        return replace(solution, nu=point.nu, sigma=point.sigma)

    def choose(
        self, linear: Array, near: Array | None = None, penalty: float = 0.0
    ) -> tuple[Array, float, QPSolution]:
        """Demand in its box that minimises cost + linear'p + penalty/2 |p - near|^2.

        Returns:
            The demand (steps, terminals), the window's cost there (USD, without the added terms), and the solution
            with the duals of the follower's own rows.
        """
        extra, diagonal = np.zeros(len(self._free.variables)), np.zeros(len(self._free.variables))
        extra[self._free_columns] = linear
        if near is not None:
            extra[self._free_columns] -= penalty * near
            diagonal[self._free_columns] = penalty
        solution = self._free_solver.solve(np.zeros(0), extra_linear=extra, extra_diagonal=diagonal).require()
        p = solution.x[self._free_columns]
        own_rows = replace(solution, sigma=solution.sigma[: len(self._full.ineq_rows)])
        return p, self._free.objective(solution.x), own_rows

    def values(self, t: int, p_mw: Array, solution: QPSolution) -> StepValues:
        """Every variable of one step of a solved window, its network's states and its cost."""
        start = self._variable_start[t]
        reduction, explicit = self._reductions[t], self._explicit[t]
        theta = np.concatenate([p_mw[t], p_mw[t] * self._ratio])
        reduced = solution.x[start : start + len(reduction.qp.variables)]
        x = reduction.recover_x(reduced, theta)
        named = dict(zip(explicit.variables, x.tolist(), strict=True))
        states = np.array([named[f"state[{i}]"] for i in range(len(self.networks[t].states))])
        return StepValues(named, states, explicit.objective(x, theta))

    def broken_pu(self, t: int, found: StepValues, limits: Limits) -> float:
        """By how much a cleared step's worst voltage is beyond its limit in the linear model (at the price cap)."""
        volts = np.sqrt(np.maximum(self.networks[t].voltages.at(found.states), 0.0))
        return max(0.0, float(limits.v_min_pu - volts.min()), float(volts.max() - limits.v_max_pu))

    def step(self, t: int, p_mw: Array, solution: QPSolution, hours: float) -> StepResult:
        """Everything about one step of a solved window, prices at all nodes included."""
        suffix = f"@{t}"
        duals: dict[str, float] = {}
        for names, dual in ((self.follower.eq_rows, solution.nu), (self.follower.ineq_rows, solution.sigma)):
            of_step = ((n, v) for n, v in zip(names, dual.tolist(), strict=True) if n.endswith(suffix))
            duals |= {n.removesuffix(suffix): v for n, v in of_step}
        found, network = self.values(t, p_mw, solution), self.networks[t]
        return StepResult(found.values, found.cost_usd, node_prices(network, duals, hours), found.states, network)


def _within_ratings(qp: ParametricQP, ratio: Array, p_max_mw: Array) -> ParametricQP:
    """The box of the parameters p[k], q[k]: from nothing to the most that a terminal draws."""
    n = len(ratio)
    upper = {f"p[{k}]": p_max_mw[k] for k in range(n)} | {f"q[{k}]": p_max_mw[k] * ratio[k] for k in range(n)}
    return qp.with_theta_box(dict.fromkeys(upper, 0.0), upper)


def _on_active_power(
    qp: ParametricQP, ratio: Array, p_max_mw: Array, labels: Sequence[Sequence[str]]
) -> ParametricQP:
    """Let Q follow P at each terminal: the parameters p and q of each step become p alone, in order of step."""
    n, names = len(ratio), [name for row in labels for name in row]
    order = {name: i for i, name in enumerate(qp.parameters)}
    rows, values = [], []
    for t in range(len(labels)):
        rows += [order[f"p[{k}]@{t}"] for k in range(n)] + [order[f"q[{k}]@{t}"] for k in range(n)]
        values += [1.0] * n + list(ratio)
    columns = np.concatenate([np.tile(np.arange(n), 2) + n * t for t in range(len(labels))])
    mapping = sp.csr_array((values, (rows, columns)), shape=(len(order), len(names)))
    upper = np.tile(p_max_mw, len(labels))
    return map_parameters(qp, mapping, tuple(names), np.zeros(len(names)), upper)


def _numbered(qp: ParametricQP, t: int) -> ParametricQP:
    """Names made unique across the window."""

    def numbered(name: str) -> str:
        return f"{name}@{t}"

    return rename(qp, numbered, numbered, numbered)


def _with_ramps(
    qp: ParametricQP, ramps: Sequence[tuple[int, float, float | None]], steps: int
) -> ParametricQP:
    """Ramp limits |P_g[t] - P_g[t-1]| <= r between the steps of the window and from the one before it."""
    column = {name: i for i, name in enumerate(qp.variables)}
    rows, rhs, names = [], [], []
    for g, limit, before in ramps:
        for t in range(steps):
            if t == 0 and before is None:
                continue
            row = np.zeros(len(qp.variables))
            row[column[f"gen_p[{g}]@{t}"]] = 1.0
            if t > 0:
                row[column[f"gen_p[{g}]@{t - 1}"]] = -1.0
            start = (before or 0.0) if t == 0 else 0.0
            rows += [row, -row]
            rhs += [limit + start, limit - start]
            names += [f"ramp_up[{g}]@{t}", f"ramp_down[{g}]@{t}"]
    if not rows:
        return qp
    return with_rows(qp, sp.csr_array(np.array(rows)), np.array(rhs), tuple(names))
