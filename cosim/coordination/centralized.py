"""The centralized mode: the aggregators as one leader who knows the operator's problem (Stackelberg)."""

from __future__ import annotations

import time
from dataclasses import asdict

import numpy as np

from cosim.clock import Window
from cosim.coordination.base import Market, Outcome, Process
from cosim.coordination.welfare import optimum
from cosim.errors import InputError
from cosim.interfaces import Array
from cosim.optimization.bilevel import BilevelProblem, BilevelSolution, solve
from cosim.optimization.parametric import join
from cosim.optimization.solvers import installed
from cosim.scenario import Scenario


class Centralized:
    """The bilevel optimum as a single-level program, with its certificate."""

    def check(self, scenario: Scenario) -> None:
        """Refuse settlement on active power alone, and a solver that is missing or cannot take the formulation."""
        if scenario.market.settlement == "active":
            raise InputError(
                "the centralized mode prices active and reactive power together",
                key="market.settlement",
                value="active",
                allowed="active+reactive",
            )
        spec = scenario.centralized
        if spec.solver == "branch" and spec.formulation != "strong-duality":
            raise InputError(
                "the branch solver works on strong duality",
                key="centralized.formulation",
                value=spec.formulation,
                allowed="strong-duality",
            )
        have = ("auto", "branch", *installed())
        if spec.solver not in have:
            raise InputError(
                "the solver is not installed", key="centralized.solver", value=spec.solver, allowed=", ".join(have)
            )

    def run(self, market: Market, window: Window, declared_p_mw: Array) -> Process:
        """Solve once, award when the gate closes at the operator's prices that the leader counted on."""
        yield market.env.timeout(max(0, window.closes_s - market.env.now))
        market.tell("solving for the leader")
        started = time.perf_counter()
        names = market.operator.parameter_names()
        while True:
            problem = stackelberg_problem(market)
            solution = stackelberg(market, problem)
            where = {name: i for i, name in enumerate(problem.leader.variables)}
            p_mw = np.array([[solution.leader_x[where[n]] for n in row] for row in names])
            if not market.operator.refine(p_mw):
                break
        elapsed = time.perf_counter() - started
        own = 0.0
        for a in market.aggregators:
            variables = a.problem([row[a.columns] for row in names]).variables
            own += a.adopt(p_mw[:, a.columns], solution.leader_x[[where[v] for v in variables]])
        position = {name: i for i, name in enumerate(problem.follower.parameters)}
        price = np.array([[solution.price[position[n]] for n in row] for row in names]) / market.hours
        clearing = market.operator.settle(p_mw, price)
        market.award(window, 0, clearing)
        return Outcome(
            clearing=clearing,
            own_cost_usd=own,
            certificate=asdict(solution.certificate),
            gap=solution.gap,
            solver=solution.solver,
            solver_s=elapsed,
        )


def stackelberg_problem(market: Market) -> BilevelProblem:
    """The open window as a bilevel problem: all aggregators together lead, the operator follows."""
    names = market.operator.parameter_names()
    leader = join([a.problem([row[a.columns] for row in names]) for a in market.aggregators])
    return BilevelProblem(follower=market.operator.follower(), leader=leader)


def stackelberg(market: Market, problem: BilevelProblem) -> BilevelSolution:
    """The leader's optimum, started from the welfare optimum.

    Raises:
        RunFailure: the certificate does not hold, or the solver found nothing.
    """
    spec = market.scenario.centralized
    start = optimum(market).p_mw.ravel()

    def told(best: float, bound: float, gap: float) -> None:
        market.tell(f"best {best:.2f} USD, bound {bound:.2f} USD, gap {100 * gap:.3f} %")

    by_tree = spec.solver == "auto" and spec.formulation == "strong-duality"
    return solve(
        problem,
        formulation=spec.formulation,
        solver="branch" if by_tree else spec.solver,
        complementarity=spec.complementarity,
        bits=spec.bits,
        gap=spec.gap,
        time_limit_s=spec.time_limit_s,
        start=start,
        progress=told,
    )
