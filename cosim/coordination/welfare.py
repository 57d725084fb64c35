"""The welfare optimum: one planner who knows both problems. The yardstick for every other mode."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from cosim.coordination.base import Market, Outcome, Process
from cosim.optimization.qp.arrays import relative_gap
from cosim.optimization.qp.exclusive import Trial, choose_sides, closed
from cosim.optimization.qp.parametric import ParametricQP, join
from cosim.optimization.qp.solution import QPSolution
from cosim.optimization.solvers.qp_solver import QPSolver
from cosim.protocol.roles import Array, Refined
from cosim.scenario.calendar import Window
from cosim.scenario.schema import Scenario

PROVEN = 1e-6
"""Relative gap up to which the directions of batteries count as the best ones."""


@dataclass(frozen=True, slots=True)
class WelfareOptimum:
    """Demand (steps, terminals), the price that supports it (USD/MWh, reactive included), and social cost (USD).

    Attributes:
        bound_usd: no plan costs less; below the social cost where the search for the directions of batteries ended
            before its end.
    """

    p_mw: Array
    price_usd_per_mwh: Array
    social_cost_usd: float
    bound_usd: float
    schedules: tuple[Array, ...]
    solver: str
    solver_s: float


def planner_problem(market: Market) -> ParametricQP:
    """Operator's and aggregators' problems in one: shared power variables, costs added."""
    return _joined(market, _own_problems(market))


def _own_problems(market: Market) -> list[ParametricQP]:
    """The aggregators' problems, their power variables named as the operator's parameters are."""
    names = market.operator.parameter_names()
    return [a.problem([row[a.columns] for row in names]) for a in market.aggregators]


def _joined(market: Market, own: Sequence[ParametricQP]) -> ParametricQP:
    follower = market.operator.follower()
    return join([follower.free(follower.parameters), *own])


def optimum(market: Market) -> WelfareOptimum:
    """Solve the open window for the least social cost.

    The supporting price is the derivative of the operator's cost: what the operator's rows and variables other than
    the demand itself pass on to it. Where batteries charge and discharge at once in the convex program, a tree over
    their directions follows.
    """
    started = time.perf_counter()
    own_problems = _own_problems(market)
    problem = _joined(market, own_problems)

    def planned(names: frozenset[str]) -> Trial[QPSolution] | None:
        found = QPSolver(closed(problem, names)).solve(np.zeros(0))
        if found.status == "infeasible":
            return None
        cost = found.require().objective
        return Trial(cost, cost, dict(zip(problem.variables, found.x.tolist(), strict=True)), found)

    chosen = choose_sides(problem.exclusive, planned)
    solution = chosen.answer
    elapsed = time.perf_counter() - started
    names = market.operator.parameter_names()
    where = {name: i for i, name in enumerate(problem.variables)}
    columns = np.array([[where[n] for n in row] for row in names], dtype=np.intp)
    schedules = []
    marginal_own = np.zeros(len(problem.variables))
    for own in own_problems:
        schedules.append(solution.x[[where[v] for v in own.variables]])
        marginal_own += _pull(problem, own, solution.nu, solution.sigma)
    price = -marginal_own[columns] / market.hours
    return WelfareOptimum(
        solution.x[columns], price, chosen.cost, chosen.bound, tuple(schedules), solution.solver, elapsed
    )


def battery_notes(window: Window, what: str, cost_usd: float, bound_usd: float) -> tuple[str, ...]:
    """A line where the directions of batteries are not proven to be the best ones."""
    if relative_gap(cost_usd, bound_usd) <= PROVEN:
        return ()
    return (
        f"window at step {window.first}: no battery charges and discharges at once; with the directions chosen the "
        f"{what} is {cost_usd:.2f} USD, and no choice leads below {bound_usd:.2f} USD",
    )


def _pull(problem: ParametricQP, own: ParametricQP, nu: Array, sigma: Array) -> Array:
    """Derivative of the Lagrangian of one aggregator's part with respect to the planner's variables (USD)."""
    where = {name: i for i, name in enumerate(problem.variables)}
    eq, ineq = set(own.eq_rows), set(own.ineq_rows)
    own_nu = np.array([v if name in eq else 0.0 for name, v in zip(problem.eq_rows, nu, strict=True)])
    own_sigma = np.array([v if name in ineq else 0.0 for name, v in zip(problem.ineq_rows, sigma, strict=True)])
    gradient = np.asarray(sp.csr_array(problem.eq_matrix).T @ own_nu + sp.csr_array(problem.ineq_matrix).T @ own_sigma)
    for name, c in zip(own.variables, own.cost, strict=True):
        gradient[where[name]] += c
    return gradient


class Welfare:
    """Mode in which the planner's solution is awarded at the price that supports it."""

    decides_alone, posts, limits = True, False, False

    def check(self, scenario: Scenario) -> None:
        """Any scenario will do."""

    def admit(self, market: Market) -> None:
        """Any agents will do."""

    def run(self, market: Market, window: Window, declared_p_mw: Array) -> Process:
        """Solve once and award when the gate closes."""
        best = optimum(market)
        refined = _refined(market, best)
        while refined.again:
            best = optimum(market)
            refined = _refined(market, best)
        p_mw = refined.p_mw
        yield market.env.timeout(max(0, window.closes_s - market.env.now))
        own = sum(
            a.adopt(p_mw[:, a.columns], schedule if p_mw is best.p_mw else None)
            for a, schedule in zip(market.aggregators, best.schedules, strict=True)
        )
        p_mw = p_mw if p_mw is best.p_mw else market.drawn_mw(p_mw)
        clearing = market.operator.settle(p_mw, best.price_usd_per_mwh)
        clearing = market.award(window, 0, clearing)
        return Outcome(
            clearing=clearing,
            own_cost_usd=own,
            solver=best.solver,
            solver_s=best.solver_s,
            notes=(*battery_notes(window, "social cost", best.social_cost_usd, best.bound_usd), *refined.notes),
        )

def _refined(market: Market, best: WelfareOptimum) -> Refined:
    own_usd = best.social_cost_usd - market.operator.clear(best.p_mw).cost_usd
    return market.operator.refine(best.p_mw, own_usd)
