"""Bilevel problems: a leader sets the parameters of a follower's QP and pays the follower's price for them.

    minimise    own cost + price'th        over the leader's variables, among them th
    subject to  the leader's rows, and (x, nu, sigma) optimal for the follower
    with        price = constant_theta - B'nu - W'sigma

or another settlement than the follower's whole price (see `settlement`);
optimistic where the follower has more than one optimum or price: the leader's choice, whose other end the
certificate reports.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cosim.errors import InputError, RunFailure
from cosim.optimization.bilevel.mip.complementarity import COMPLEMENTARITIES
from cosim.optimization.bilevel.mip.formulation import Repairs, Start, solve_mip
from cosim.optimization.bilevel.model.certificate import Certificate, certify
from cosim.optimization.bilevel.model.infeasibility import reason
from cosim.optimization.bilevel.model.settlement import Settlement, SettlementShares
from cosim.optimization.bilevel.model.single_level import SingleLevel, check_names, single_level
from cosim.optimization.bilevel.model.strong_duality import (
    payment_by_strong_duality,
    require_right_hand_sides,
    without_open_rows,
)
from cosim.optimization.bilevel.primal.incumbents import Incumbents
from cosim.optimization.bilevel.relaxation.obbt import Cutoff
from cosim.optimization.bilevel.relaxation.relaxation import Relaxation
from cosim.optimization.bilevel.relaxation.settlement_split import find_shares
from cosim.optimization.bilevel.relaxation.verdict import verdict
from cosim.optimization.bilevel.settings import DEFAULT, SearchSettings
from cosim.optimization.bilevel.tree.cache import SearchCache
from cosim.optimization.bilevel.tree.complementarity_tree import BranchAndBound, Progress
from cosim.optimization.bilevel.tree.objective_cutoff import find_cutoff
from cosim.optimization.qp.arrays import Vector, relative_gap
from cosim.optimization.qp.parametric import ParametricQP, Theta
from cosim.optimization.qp.presolve import Presolved, empty_ranges, presolve
from cosim.optimization.qp.solution import NoSolution
from cosim.optimization.solvers.mip_solvers import BOUND_TOLERANCE

FORMULATIONS = ("strong-duality", "kkt-mccormick")
SOLVERS = ("branch", "auto", "highs", "scip", "gurobi")
_ROUNDING = 1e-7


@dataclass(frozen=True)
class BilevelProblem:
    """A leader over a follower.

    Attributes:
        follower: a QP whose parameters the leader sets. With a payment they may enter right-hand sides only.
        leader: a QP without parameters. Its variables include by name every follower parameter; it may also
            name follower variables, in its cost or in rows that couple it to the follower's answer.
        payment: whether the leader pays price'th.
        settlement: what it pays for each unit of the parameters, if not the whole price.
    """

    follower: ParametricQP
    leader: ParametricQP
    payment: bool = True
    settlement: Settlement | None = None

    def __post_init__(self) -> None:
        check_names(self.follower, self.leader)
        if self.payment:
            require_right_hand_sides(self.follower)
        if self.settlement is not None:
            self.settlement.require(self.follower)
            if not self.payment:
                raise InputError("a settlement without a payment", key="settlement")


@dataclass(frozen=True)
class BilevelSolution:
    """The best point found, what it costs, and how good it can be at most.

    Attributes:
        leader_x: the leader's variables, in their order.
        theta: the follower's parameters, in their order.
        x, nu, sigma: the follower's answer and duals.
        price: constant_theta - B'nu - W'sigma, per parameter; what is settled, if that is something else.
        leader_cost: the leader's own cost plus the payment.
        payment: price'th; 0 if the leader pays nothing.
        bound, gap: a proven lower bound of the leader's cost, and (leader_cost - bound) / max(1,
            |leader_cost|).
        nodes: nodes of the tree (0 where the solver does not say).
        time_s: wall time, presolve and certificate included.
        solver: which one was used, 'branch', 'highs', 'scip' or 'gurobi'.
        status: 'optimal' (the gap was reached), 'time limit', or what else kept the gap open ('solver tolerance').
        certificate: the follower cleared again.
    """

    leader_x: Vector
    theta: Vector
    x: Vector
    nu: Vector
    sigma: Vector
    price: Vector
    leader_cost: float
    payment: float
    bound: float
    gap: float
    nodes: int
    time_s: float
    solver: str
    status: str
    certificate: Certificate


def solve(
    problem: BilevelProblem,
    formulation: str = "strong-duality",
    solver: str = "branch",
    *,
    complementarity: str = "big-m",
    bits: int = 6,
    gap: float = 1e-4,
    time_limit_s: float = 300.0,
    start: Theta | None = None,
    dual_bounds: Mapping[str, float] | None = None,
    repairs: Repairs | None = None,
    progress: Progress | None = None,
    cache: SearchCache | None = None,
    settings: SearchSettings = DEFAULT,
) -> BilevelSolution:
    """Solve a bilevel problem to a global optimum within a gap, and certify the answer.

    Args:
        problem: leader and follower.
        formulation: 'strong-duality' (exact) or 'kkt-mccormick' (the payment discretised; needs a MIP
            solver).
        solver: 'branch' (tree over complementarities), or a MIP by 'highs', 'scip', 'gurobi' or 'auto'.
        complementarity: 'big-m' or 'indicator' (proven bounds only, SOS1 where there is none) or 'sos1'; for MIP
            solvers.
        bits: binaries per parameter in 'kkt-mccormick'.
        gap: relative gap, absolute below one unit of money.
        time_limit_s: wall time; then the best point so far is returned with its gap.
        start: parameter values of a good point, for a first incumbent.
        dual_bounds: bounds of follower duals by row name that the caller can prove, for MIP solvers.
        repairs: what helps MIP solvers; all of it if left out.
        progress: called now and then with the best cost, the bound and the gap ('branch').
        cache: what earlier solves found out about blocks that come back, and where this one leaves it ('branch').
        settings: tuning numbers of the search, for studies of the search itself.

    Raises:
        InputError: for an unknown option, a formulation the solver cannot take, or a missing solver.
        RunFailure: if there is no feasible point (it names the families of limits that cannot hold together), the
            problem is unbounded, no point was found in time, or the certificate fails.
    """
    began = time.perf_counter()
    for key, value, allowed in (
        ("formulation", formulation, FORMULATIONS),
        ("solver", solver, SOLVERS),
        ("complementarity", complementarity, COMPLEMENTARITIES),
    ):
        if value not in allowed:
            raise InputError("unknown option of a bilevel solve", key=key, value=value, allowed=", ".join(allowed))
    if solver == "branch" and formulation != "strong-duality":
        raise InputError(
            "the branch solver works on strong duality",
            key="formulation",
            value=formulation,
            allowed="strong-duality",
        )
    empty = empty_ranges(problem.follower, problem.leader)
    if empty:
        raise NoSolution("infeasible", f"; these limits cannot hold together: range of {', '.join(empty)}")
    presolved = presolve(
        problem.follower, problem.leader, fixed=settings.remove_fixed, separate=settings.remove_separate
    )
    shares = None
    if problem.settlement is not None:
        shares = find_shares(presolved.qp, problem.settlement.of_rows(presolved.rows), settings)
    first = None if start is None else problem.follower.theta_vector(start)
    task = _Task(problem, presolved, shares, first, gap, began, time_limit_s, settings)
    if solver == "branch":
        return _by_branch(task, progress, cache)
    repairs = Repairs() if repairs is None else repairs
    return _by_mip(task, formulation, solver, complementarity, bits, dual_bounds, repairs)


@dataclass(frozen=True, slots=True)
class _Task:
    """What is to be solved: the problem before and after presolve, a first point, and when to stop."""

    problem: BilevelProblem
    presolved: Presolved
    shares: SettlementShares | None
    first: Vector | None
    gap: float
    began: float
    time_limit_s: float
    settings: SearchSettings

    @property
    def deadline(self) -> float:
        """`time.perf_counter()` at which to stop."""
        return self.began + self.time_limit_s

    def left_s(self) -> float:
        """Time until then."""
        return self.deadline - time.perf_counter()

    def level(self) -> SingleLevel:
        """The single-level form."""
        problem = self.problem
        return single_level(self.presolved.qp, problem.leader, payment=problem.payment, shares=self.shares)

    def nothing(self, status: str, why: str = "") -> NoSolution:
        """The error for a problem without a best point."""
        return NoSolution(status, why or reason(self.problem.leader, self.problem.follower, status))


def _by_branch(task: _Task, progress: Progress | None, cache: SearchCache | None) -> BilevelSolution:
    level = task.level()
    relaxation = Relaxation(level, task.settings)
    result = BranchAndBound(
        relaxation,
        gap=task.gap,
        time_limit_s=task.left_s(),
        start=task.first,
        payment=task.problem.payment,
        progress=progress,
        cache=cache,
    ).run()
    if result.z is None or result.decisions is None or result.status == "unbounded":
        raise task.nothing(result.status)
    z = result.z
    if not result.exact:
        z = _better_of(task.problem, level, z, relaxation.sharpen(result.decisions))
    point = _Point(z[level.leader_at], z[level.x_at], z[level.nu_at], np.maximum(z[level.sigma_at], 0.0))
    return _finish(task, point, result.bound, result.nodes, "branch", result.status)


def _better_of(problem: BilevelProblem, level: SingleLevel, found: Vector, sharp: Vector | None) -> Vector:
    """The sharpened point where there is one and it does not cost the leader more.

    Both costs are the true ones: where duals are barely determined, a relaxation may report less than its point costs.
    """
    if sharp is None:
        return found

    def cost(z: Vector) -> float:
        own = problem.leader.objective(z[level.leader_at])
        if not problem.payment:
            return own
        return own + float(level.follower.price(z[level.nu_at], z[level.sigma_at]) @ z[level.theta_at])

    before, after = cost(found), cost(sharp)
    return sharp if after <= before + _ROUNDING * max(1.0, abs(before)) else found


def _by_mip(
    task: _Task,
    formulation: str,
    solver: str,
    complementarity: str,
    bits: int,
    dual_bounds: Mapping[str, float] | None,
    repairs: Repairs,
) -> BilevelSolution:
    problem, presolved = task.problem, task.presolved
    kept = set(presolved.qp.ineq_rows)
    # MIP solvers take infinite values for large ones: what has no lower end must not reach them.
    status = verdict(task.level(), task.deadline, task.settings)
    if status != "bounded":
        raise task.nothing(status)
    known, cutoff = _known(task, repairs)
    try:
        answer = solve_mip(
            presolved.qp,
            problem.leader,
            payment=problem.payment,
            shares=task.shares,
            formulation=formulation,
            complementarity=complementarity,
            solver=solver,
            bits=bits,
            gap=task.gap,
            time_limit_s=task.left_s(),
            dual_bounds={name: value for name, value in (dual_bounds or {}).items() if name in kept},
            repairs=repairs,
            start=known,
            cutoff=cutoff,
            settings=task.settings,
        )
    except NoSolution as error:
        if known is not None:
            raise RunFailure(f"{error}, although a point is known") from error
        raise task.nothing(error.status, error.why) from error
    big = np.full(len(problem.follower.ineq_rows), np.inf)
    big[presolved.rows] = answer.conditions.dual_bounds
    run = answer.run
    return _finish(
        task,
        _Point(answer.leader_x, answer.x, answer.nu, answer.sigma),
        run.bound if cutoff is None else min(run.bound, cutoff.cost),
        0,
        run.solver,
        run.status,
        dual_bounds=big,
        discretisation=answer.discretisation,
        sos1=answer.conditions.sos1,
        counted=run.objective if formulation == "kkt-mccormick" else None,
    )


def _known(task: _Task, repairs: Repairs) -> tuple[Start | None, Cutoff | None]:
    """A point to begin with, and what better ones keep, as far as repairs ask for it."""
    if not task.problem.payment or not (repairs.start or repairs.tighten):
        return None, None
    level, cutoff = task.level(), None
    if repairs.tighten and task.shares is None:
        cutoff = find_cutoff(level, task.first, task.gap, task.deadline, task.settings)
    if not repairs.start:
        return None, cutoff
    z = None if cutoff is None else cutoff.z
    if z is None and task.first is not None:
        points = Incumbents(Relaxation(level, task.settings), payment=True, regions=None, deadline=task.deadline)
        points.at(task.first)
        z = points.z
    return None if z is None else Start(z[level.theta_at], z[level.sigma_at], level.slack(z)), cutoff


@dataclass(frozen=True, slots=True)
class _Point:
    """A point in the variables of the leader and of the follower after presolve."""

    leader_x: Vector
    x: Vector
    nu: Vector
    sigma: Vector


def _finish(
    task: _Task,
    point: _Point,
    bound: float,
    nodes: int,
    solver: str,
    status: str,
    *,
    dual_bounds: Vector | None = None,
    discretisation: float = 0.0,
    sos1: tuple[str, ...] = (),
    counted: float | None = None,
) -> BilevelSolution:
    """Put a point into the follower's full rows, certify it, and count what the leader really pays.

    Args:
        counted: the objective that the solver counted with, where it is not the payment by strong duality.
    """
    problem, leader_x, nu = task.problem, point.leader_x, point.nu
    follower, leader = problem.follower, problem.leader
    x, sigma = task.presolved.recover(point.x, nu, point.sigma)
    at = {name: i for i, name in enumerate(leader.variables)}
    theta = leader_x[[at[name] for name in follower.parameters]]
    price = follower.price(nu, sigma) if problem.settlement is None else problem.settlement.price(nu, sigma)
    own = leader.objective(leader_x)
    payment = float(price @ theta) if problem.payment else 0.0
    in_terms = None
    if problem.payment and counted is not None:
        in_terms = counted - own
    elif problem.payment and task.shares is not None:
        in_terms = payment_by_strong_duality(task.presolved.qp, theta, point.x, nu, point.sigma, task.shares)
    elif problem.payment:
        in_terms = payment_by_strong_duality(without_open_rows(follower), theta, x, nu, sigma)
    certificate = certify(
        follower, theta, x, nu, sigma, payment=in_terms, dual_bounds=dual_bounds, discretisation=discretisation,
        sos1=sos1, settlement=problem.settlement,
    ).require()  # fmt: skip
    cost = own + payment
    bound = min(bound, cost)
    if status == "optimal" and counted is None and relative_gap(cost, bound) > task.gap + 2.0 * BOUND_TOLERANCE:
        status = "solver tolerance"  # what the solver took for optimal was a little infeasible
    return BilevelSolution(
        leader_x=leader_x,
        theta=theta,
        x=x,
        nu=nu,
        sigma=sigma,
        price=price,
        leader_cost=cost,
        payment=payment,
        bound=bound,
        gap=relative_gap(cost, bound),
        nodes=nodes,
        time_s=time.perf_counter() - task.began,
        solver=solver,
        status=status,
        certificate=certificate,
    )
