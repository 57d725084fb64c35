"""The centralized mode: aggregators lead who know the operator's problem (Stackelberg)."""

from __future__ import annotations

import time

from cosim.coordination.base import Market, Outcome, Process
from cosim.coordination.leaders import ALL, EACH, Remembered, decide
from cosim.errors import InputError
from cosim.optimization.solvers.mip_solvers import installed
from cosim.protocol.roles import Array
from cosim.scenario.calendar import Window
from cosim.scenario.schema import Scenario


class Centralized:
    """The bilevel optimum as a single-level program, with its certificate."""

    decides_alone, posts, limits = True, False, False

    def __init__(self) -> None:
        self._remembered = Remembered()

    def check(self, scenario: Scenario) -> None:
        """Refuse takers of prices that do not pay for reactive power, a leader that is not there, and a solver that is
        missing or cannot take the formulation.
        """
        spec = scenario.centralized
        if scenario.market.settlement == "active" and spec.leader not in (ALL, EACH) and len(scenario.aggregators) > 1:
            raise InputError(
                "takers of prices that cover active power only do not join the operator in one optimum",
                key="market.settlement",
                value="active",
                allowed=f"active+reactive, or centralized.leader {ALL} or {EACH}",
            )
        who = (ALL, EACH, *(a.name for a in scenario.aggregators))
        if spec.leader not in who:
            raise InputError(
                "no such leader", key="centralized.leader", value=spec.leader, allowed=", ".join(who)
            )
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

    def admit(self, market: Market) -> None:
        """Any agents will do."""

    def run(self, market: Market, window: Window, declared_p_mw: Array) -> Process:
        """Solve once, award when the gate closes at the operator's prices that the leader counted on."""
        yield market.env.timeout(max(0, window.closes_s - market.env.now))
        market.tell("solving for the leader")
        started = time.perf_counter()
        decision = decide(market, self._remembered)
        refined = market.operator.refine(decision.p_mw, None)
        known = [decision]
        while refined.again:
            known.append(decide(market, self._remembered))
            refined = market.operator.refine(known[-1].p_mw, None)
        decision = next(d for d in known if d.p_mw is refined.p_mw)
        elapsed = time.perf_counter() - started
        own = sum(a.adopt(decision.p_mw[:, a.columns], decision.schedules[a.name]) for a in market.aggregators)
        settle = market.operator.settle_active if market.settles_active else market.operator.settle
        clearing = settle(decision.p_mw, decision.price)
        clearing = market.award(window, 0, clearing)
        return Outcome(
            clearing=clearing,
            own_cost_usd=own,
            certificate=decision.certificate,
            gap=decision.gap,
            solver=", ".join(sorted({s.solver for s in decision.solutions.values()})),
            solver_s=elapsed,
            notes=(*decision.notes, *refined.notes),
        )
