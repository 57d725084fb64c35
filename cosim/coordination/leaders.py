"""Who leads: some aggregators over the operator, and over the others as takers of its prices or with fixed demand."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from cosim.constants import KILO
from cosim.coordination.base import Market
from cosim.coordination.welfare import optimum
from cosim.errors import InputError
from cosim.optimization.bilevel.mip.formulation import Repairs
from cosim.optimization.bilevel.model.settlement import Settlement
from cosim.optimization.bilevel.solver import BilevelProblem, BilevelSolution, solve
from cosim.optimization.bilevel.tree.cache import SearchCache
from cosim.optimization.qp.arrays import relative_gap
from cosim.optimization.qp.exclusive import Trial, choose_sides, closed, overlapping
from cosim.optimization.qp.parametric import ParametricQP, join
from cosim.protocol.roles import AggregatorAgent, Array

ALL, EACH = "all", "each"
_DIRECTIONS = 12
"""Leader's problems solved at most for the directions of batteries."""
_LEAST_S = 1.0
"""Time that each of them gets at least."""


@dataclass(slots=True)
class Decision:
    """What the leaders decided, and what everybody does then.

    Attributes:
        p_mw: (steps, terminals) demand of all aggregators; price: likewise, the operator's, in USD/MWh, reactive part
            included if it is settled.
        schedules: for each aggregator the variables of its problem.
        solutions: the last bilevel solution of each leader by name.
        notes: what a reader should know of how it came about.
    """

    p_mw: Array
    price: Array
    schedules: dict[str, Array] = field(default_factory=dict)
    solutions: dict[str, BilevelSolution] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def gap(self) -> float:
        """The widest gap of a leader's optimum to its proven bound."""
        return max(s.gap for s in self.solutions.values())

    @property
    def certificate(self) -> dict[str, object]:
        """The certificate, leader by leader if there are several."""
        found: dict[str, dict[str, object]] = {name: asdict(s.certificate) for name, s in self.solutions.items()}
        return next(iter(found.values())) if len(found) == 1 else dict(found)


@dataclass(slots=True)
class Remembered:
    """What a window leaves to the next one that shares steps with it: demand by name, and what is known of blocks."""

    p_mw: dict[str, float] = field(default_factory=dict)
    cache: SearchCache = field(default_factory=SearchCache)


def decide(market: Market, remembered: Remembered | None = None) -> Decision:
    """The open window as ``centralized.leader`` has it: all together, one, or each in turn.

    Args:
        remembered: of the windows before; the decision is added to it.

    Raises:
        RunFailure: a certificate does not hold, or the solver found nothing.
    """
    start = optimum(market)
    schedules = {a.name: x for a, x in zip(market.aggregators, start.schedules, strict=True)}
    decision = Decision(start.p_mw.copy(), start.price_usd_per_mwh, schedules)
    chosen = market.scenario.centralized.leader
    if chosen == EACH:
        decision = _in_turn(market, decision)
        decision.notes += _open_gaps(decision)
        return decision
    remembered = Remembered() if remembered is None else remembered
    leaders = [a for a in market.aggregators if chosen in (ALL, a.name)]
    lead(market, leaders, decision, ALL if chosen == ALL else chosen, remembered=remembered)
    remembered.p_mw = dict(_pairs(_names(market), decision.p_mw))
    decision.notes += _open_gaps(decision)
    return decision


def _open_gaps(decision: Decision) -> tuple[str, ...]:
    """A note on each leader whose optimum was not proven to the gap that was asked for."""
    return tuple(
        f"the optimum of leader {name} is not proven: the search ended with '{s.status}' at "
        + (f"a gap of {100 * s.gap:.3g} %" if np.isfinite(s.gap) else "no bound at all")
        for name, s in decision.solutions.items()
        if s.status != "optimal"
    )


def _in_turn(market: Market, decision: Decision) -> Decision:
    """Gauss-Seidel over leaders: each finds its optimum with the others' demand as it last was.

    A point that no leader leaves is an equilibrium among leaders (of an EPEC; Hobbs, Metzler and Pang 2000). It need
    not exist, and turns need not find it: then the run says how far demand still moves, or after how many sweeps it
    comes back.
    """
    spec = market.scenario.centralized
    seen: list[bytes] = []
    for sweep in range(1, spec.max_sweeps + 1):
        before = decision.p_mw.copy()
        for a in market.aggregators:
            others = [b for b in market.aggregators if b is not a]
            lead(market, [a], decision, a.name, fixed=others)
        moved_kw = KILO * float(np.abs(decision.p_mw - before).max())
        if moved_kw <= spec.settled_kw:
            decision.notes = (f"leaders settled after {sweep} sweeps: no demand moved by more than {moved_kw:.3f} kW",)
            return decision
        mark = np.round(KILO * decision.p_mw / spec.settled_kw).astype(np.int64).tobytes()
        if mark in seen:
            period = len(seen) - seen.index(mark)
            decision.notes = (
                f"leaders did not settle: demand comes back after {period} sweeps, moving by {moved_kw:.1f} kW",
            )
            return decision
        seen.append(mark)
    decision.notes = (
        f"leaders did not settle in {spec.max_sweeps} sweeps: demand still moves by {moved_kw:.1f} kW in a sweep",
    )
    return decision


def lead(
    market: Market,
    leaders: Collection[AggregatorAgent],
    decision: Decision,
    name: str,
    fixed: Collection[AggregatorAgent] = (),
    remembered: Remembered | None = None,
) -> None:
    """Take up in a decision the optimum of these leaders; who neither leads nor is fixed takes prices."""
    whole = stackelberg_problem(market, leaders, fixed, decision.p_mw)
    names = _names(market)
    at = dict(_pairs(names, decision.p_mw))
    if remembered is not None:
        at |= {n: p for n, p in remembered.p_mw.items() if n in at}
    start = np.array([at[n] for n in whole.follower.parameters])
    hint = _by_name(market, leaders, decision)
    cache = None if remembered is None else remembered.cache
    problem, solution = _with_directions(market, whole, start, cache, hint)
    for a, schedule, p_mw in schedules(market, problem, solution, fixed):
        decision.schedules[a.name] = schedule
        decision.p_mw[:, a.columns] = p_mw
    decision.price = _operators_price(market, problem.follower, solution)
    decision.solutions[name] = solution
    decision.notes += _notes_of_directions(market, whole, problem, solution, name)


def _notes_of_directions(
    market: Market, whole: BilevelProblem, held: BilevelProblem, solution: BilevelSolution, name: str
) -> tuple[str, ...]:
    """What a reader should know of the directions of batteries that a leader's solution was found with."""
    notes = []
    if held.leader is not whole.leader and solution.gap > market.scenario.centralized.gap:
        notes.append(
            f"leader {name}: no battery charges and discharges at once; the directions chosen cost "
            f"{solution.leader_cost:.2f} USD, and no choice costs less than {solution.bound:.2f} USD"
        )
    if held.follower is not whole.follower:
        notes.append(f"leader {name}: the bound takes the directions of price takers' batteries as given")
    return tuple(notes)


def schedules(
    market: Market, problem: BilevelProblem, solution: BilevelSolution, fixed: Collection[AggregatorAgent] = ()
) -> Iterator[tuple[AggregatorAgent, Array, Array]]:
    """What each aggregator that is not fixed does in a solution: the variables of its problem, and its demand (steps,
    own terminals).
    """
    found = dict(zip(problem.follower.variables, solution.x, strict=True))
    found |= dict(zip(problem.leader.variables, solution.leader_x, strict=True))
    names = _names(market)
    for a in market.aggregators:
        if a not in fixed:
            own = a.problem(names[:, a.columns].tolist()).variables
            p_mw = np.array([[found[n] for n in row] for row in names[:, a.columns]])
            yield a, np.array([found[v] for v in own]), p_mw


def stackelberg_problem(
    market: Market,
    leaders: Collection[AggregatorAgent] | None = None,
    fixed: Collection[AggregatorAgent] = (),
    p_mw: Array | None = None,
) -> BilevelProblem:
    """The open window as a bilevel problem: the leaders (None: all aggregators, as one) lead, the rest follows.

    Aggregators that take prices answer together with the operator: at given demand of the leaders, the market of
    operator and takers clears where the sum of their costs is least, at its dual price.

    Args:
        fixed: aggregators whose demand stays as in ``p_mw`` (steps, terminals).
    """
    leaders = market.aggregators if leaders is None else leaders
    names = _names(market)
    follower = market.operator.follower()
    if fixed and p_mw is not None:
        follower = follower.fix(
            {n: float(p) for a in fixed for n, p in _pairs(names[:, a.columns], p_mw[:, a.columns])}
        )
    takers = [a for a in market.aggregators if a not in leaders and a not in fixed]
    if takers:
        follower = follower.free({str(n) for a in takers for n in names[:, a.columns].ravel()})
        follower = join([follower, *(a.problem(names[:, a.columns].tolist()) for a in takers)])
    leader = join([a.problem(names[:, a.columns].tolist()) for a in leaders])
    settlement = _active_settlement(market, follower) if market.settles_active else None
    return BilevelProblem(follower, leader, settlement=settlement)


def _active_settlement(market: Market, follower: ParametricQP) -> Settlement:
    """What the leaders pay where only active power is settled; the follower has the operator's rows alone."""
    whole = market.operator.follower()
    if (follower.eq_rows, follower.ineq_rows) != (whole.eq_rows, whole.ineq_rows):
        raise InputError("settlement on active power takes no price takers", key="market.settlement", value="active")
    at = {name: i for i, name in enumerate(whole.parameters)}
    mine = np.array([at[name] for name in follower.parameters], dtype=np.int64)
    return market.operator.active_settlement().of_parameters(mine)


def _with_directions(
    market: Market, problem: BilevelProblem, start: Array, cache: SearchCache | None, hint: dict[str, float]
) -> tuple[BilevelProblem, BilevelSolution]:
    """The leader's optimum in which no battery charges and discharges at once, and the problem it belongs to.

    Batteries of leaders are chosen for by a short tree, whose bound the solution bears. Those of price takers are part
    of the follower, which has to stay convex: where one overlaps, its smaller flow is held at zero, and the bound holds
    for takers that keep these directions.
    """
    began, given = time.perf_counter(), market.scenario.centralized
    takers: frozenset[str] = frozenset()
    while True:
        base = problem if not takers else replace(problem, follower=closed(problem.follower, takers))

        def led(names: frozenset[str], base: BilevelProblem = base) -> Trial[tuple[BilevelProblem, BilevelSolution]]:
            held = base if not names else replace(base, leader=closed(base.leader, names))
            left = max(_LEAST_S, given.time_limit_s - (time.perf_counter() - began))
            found = _solve(market, held, start, cache, left)
            values = dict(zip(held.leader.variables, found.leader_x.tolist(), strict=True))
            return Trial(found.leader_cost, found.bound, values, (held, found))

        chosen = choose_sides(problem.leader.exclusive, led, gap=given.gap, limit=_DIRECTIONS, hint=hint)
        held, solution = chosen.answer
        answered = dict(zip(held.follower.variables, solution.x.tolist(), strict=True))
        both = overlapping(problem.follower.exclusive, answered)
        if not both:
            gap = relative_gap(solution.leader_cost, chosen.bound)
            return held, replace(solution, bound=chosen.bound, gap=gap)
        takers |= {smaller for smaller, _ in both}


def _solve(
    market: Market, problem: BilevelProblem, start: Array, cache: SearchCache | None, time_limit_s: float
) -> BilevelSolution:
    """The leader's optimum, from a good point."""
    spec = market.scenario.centralized
    by_tree = spec.solver == "auto" and spec.formulation == "strong-duality"

    def told(best: float, bound: float, gap: float) -> None:
        market.tell(f"best {best:.2f} USD, bound {bound:.2f} USD, gap {100 * gap:.3f} %")

    return solve(
        problem,
        formulation=spec.formulation,
        solver="branch" if by_tree else spec.solver,
        complementarity=spec.complementarity,
        bits=spec.bits,
        gap=spec.gap,
        time_limit_s=time_limit_s,
        repairs=Repairs(tighten=spec.tighten, cut=spec.cut, start=spec.start),
        start=start,
        progress=told,
        cache=cache,
    )


def _operators_price(market: Market, follower: ParametricQP, solution: BilevelSolution) -> Array:
    """(steps, terminals) USD/MWh: what the operator's own rows charge for demand, at every terminal."""
    whole = market.operator.follower()
    nu = dict(zip(follower.eq_rows, solution.nu, strict=True))
    sigma = dict(zip(follower.ineq_rows, solution.sigma, strict=True))
    settlement = market.operator.active_settlement() if market.settles_active else Settlement.of(whole)
    price = settlement.price(np.array([nu[r] for r in whole.eq_rows]), np.array([sigma[r] for r in whole.ineq_rows]))
    at = dict(zip(whole.parameters, price, strict=True))
    return np.array([[at[n] for n in row] for row in _names(market)]) / market.hours


def _by_name(market: Market, aggregators: Collection[AggregatorAgent], decision: Decision) -> dict[str, float]:
    """What these aggregators do in a decision, by the names of their problems' variables."""
    names, found = _names(market), dict[str, float]()
    for a in aggregators:
        own = a.problem(names[:, a.columns].tolist()).variables
        found |= dict(zip(own, decision.schedules[a.name].tolist(), strict=True))
    return found


def _names(market: Market) -> np.ndarray[tuple[int, int], np.dtype[np.str_]]:
    """(steps, terminals) names of the operator's parameters."""
    return np.array(market.operator.parameter_names(), dtype=np.str_)


def _pairs(names: np.ndarray[tuple[int, int], np.dtype[np.str_]], values: Array) -> Iterator[tuple[str, float]]:
    return zip(names.ravel().tolist(), values.ravel().tolist(), strict=True)
