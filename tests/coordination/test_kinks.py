"""Where limits of neighbouring buses are nearly parallel: the settlement is the leader's, the certificate holds it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from cosim.coordination.leaders import Decision, decide, stackelberg_problem
from cosim.optimization.bilevel.model.settlement import Settlement
from cosim.optimization.solvers.qp_solver import solve_qp
from cosim.scenario.loading import load_scenario
from cosim.scenario.preparation import prepare
from cosim.simulation.simulation import Simulation

CASES = Path(__file__).parents[3] / "shared" / "cases"
BOTH = pytest.mark.parametrize("name", ["active", "whole"])


@cache
def decided(name: str) -> tuple[Simulation, Decision]:
    """The leader's decision of a day that ends at a kink of LinDist3Flow's limits, its window still open."""
    path = CASES / f"kink_settlement_{name}.yaml"
    if not path.is_file():
        pytest.skip(f"no reference data: {path.name}")
    changes = {"mode": "centralized", "network.model": "lindist3flow", "network.controls": "fixed"}
    simulation = Simulation(prepare(*load_scenario(path, changes)))
    window = next(iter(simulation.prepared.calendar.windows()))
    simulation.market.operator.open_window(window, simulation.market.declared(window))
    return simulation, decide(simulation.market)


@BOTH
def test_what_is_settled_is_what_the_leader_counted_on(name: str) -> None:
    simulation, decision = decided(name)
    market, (solution,) = simulation.market, decision.solutions.values()
    settle = market.operator.settle_active if market.settles_active else market.operator.settle
    clearing = settle(decision.p_mw, decision.price)
    assert market.payment_usd(clearing.p_mw, clearing.prices) == pytest.approx(solution.payment, rel=1e-6)


@BOTH
@pytest.mark.parametrize("further_mw", [-1e-9, -1e-10, 0.0, 1e-10, 1e-9])
def test_the_certificate_holds_what_a_clearing_charges_there_and_a_milliwatt_further(
    name: str, further_mw: float
) -> None:
    simulation, decision = decided(name)
    (solution,) = decision.solutions.values()
    problem = stackelberg_problem(simulation.market)
    theta = solution.theta + further_mw
    answer = solve_qp(problem.follower, theta).require()
    settlement = Settlement.of(problem.follower) if problem.settlement is None else problem.settlement
    paid = float(np.asarray(settlement.price(answer.nu, answer.sigma)) @ theta)
    certificate = solution.certificate
    near = 1e-6 * abs(paid)
    assert certificate.payment_optimistic - near <= paid <= certificate.payment_pessimistic + near
