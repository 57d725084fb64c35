"""An aggregator that minds risk: against a linear program written by hand, and its place in a negotiation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from cosim.agents.dca.answers import RiskAverse, cvar
from cosim.errors import InputError
from cosim.optimization.qp.parametric import ParametricQP
from cosim.scenario.loading import load_scenario
from cosim.scenario.preparation import prepare
from cosim.simulation.simulation import Simulation

from .test_stochastic import FORECASTS

STEPS, ENERGY, MOST = 4, 3.0, 2.0


def schedule(wear: np.ndarray) -> ParametricQP:
    """Energy to be drawn over some steps, at most so much in each, with a cost of its own by step."""
    return ParametricQP.build(
        cost=wear, eq_matrix=np.ones((1, STEPS)), eq_rhs=[ENERGY],
        ineq_matrix=np.vstack([-np.eye(STEPS), np.eye(STEPS)]), ineq_rhs=[0.0] * STEPS + [MOST] * STEPS,
    )  # fmt: skip


def by_hand(wear: np.ndarray, price: np.ndarray, weights: np.ndarray, beta: float, alpha: float) -> float:
    """The same minimum by HiGHS, as a linear program in schedule, level and each scenario's excess over it."""
    count = len(weights)
    cost = np.concatenate([wear + (1 - beta) * weights @ price, [beta], beta / (1 - alpha) * weights])
    rows = np.hstack([price, -np.ones((count, 1)), -np.eye(count)])
    equal = np.concatenate([np.ones(STEPS), np.zeros(1 + count)])[None]
    bounds = [(0, MOST)] * STEPS + [(None, None)] + [(0, None)] * count
    found = linprog(cost, rows, np.zeros(count), equal, [ENERGY], bounds, method="highs")
    return float(found.fun)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.0, 1.0), st.sampled_from([0.0, 0.5, 0.8, 0.95]))
def test_the_risk_averse_optimum_is_that_of_a_linear_program(seed: int, beta: float, alpha: float) -> None:
    rng = np.random.default_rng(seed)
    price, weights, wear = rng.normal(50, 20, (6, STEPS)), rng.dirichlet(np.ones(6)), rng.uniform(0, 5, STEPS)
    averse = RiskAverse(schedule(wear), np.arange(STEPS)[:, None], price[:, :, None], weights, beta, alpha)
    found = averse.minimum()
    assert found.objective == pytest.approx(by_hand(wear, price, weights, beta, alpha), rel=1e-6)
    p_mw = found.x[:STEPS, None]
    assert averse.charge_usd(p_mw) + wear @ p_mw[:, 0] == pytest.approx(found.objective, rel=1e-6)
    assert averse.regret_usd(p_mw, float(wear @ p_mw[:, 0])) <= 1e-5


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.0, 0.95))
def test_cvar_is_the_largest_mean_with_a_bounded_density(seed: int, alpha: float) -> None:
    rng = np.random.default_rng(seed)
    values, weights = rng.normal(size=7), rng.dirichlet(np.ones(7))
    found = linprog(-values, A_eq=np.ones((1, 7)), b_eq=[1.0], bounds=[(0, w / (1 - alpha)) for w in weights])
    assert cvar(values, weights, alpha) == pytest.approx(-found.fun, rel=1e-7, abs=1e-9)


def negotiated(rule: str, risk: dict[str, float] | None) -> Any:
    changes = {"clock.start": "2024-07-15T15:00:00", "clock.steps": 3, "clock.window_steps": 3, "forecasts": FORECASTS,
               "market.stochastic": {"scenarios": 4, "risk": risk}, "decentralized.rule": rule,
               "decentralized.tolerance": 1e-4}  # fmt: skip
    return Simulation(prepare(*load_scenario("ieee37", changes)))


def test_both_sides_agree_where_the_aggregator_minds_risk() -> None:
    (outcome,) = negotiated("best_response", {"beta": 0.8, "alpha": 0.7}).run().outcomes
    assert outcome.converged and sum(outcome.regrets_usd) <= 1e-4 * outcome.clearing.cost_usd
    told = outcome.clearing.prices.scenarios
    mean = np.tensordot(told.weights, told.p_usd_per_mwh, axes=1)
    assert mean == pytest.approx(outcome.clearing.prices.p_usd_per_mwh, rel=1e-7)


def test_no_weight_on_risk_is_no_risk() -> None:
    (one,) = negotiated("best_response", {"beta": 0.0, "alpha": 0.9}).run().outcomes
    (other,) = negotiated("best_response", None).run().outcomes
    assert one.clearing.cost_usd == pytest.approx(other.clearing.cost_usd, rel=1e-4)


@pytest.mark.parametrize("changes", [{"decentralized.rule": "admm"}, {"mode": "welfare"}])
def test_risk_where_no_prices_of_scenarios_are_answered_is_refused(changes: dict[str, Any]) -> None:
    stochastic = {"scenarios": 2, "risk": {"beta": 0.5}}
    found = {"forecasts": FORECASTS, "market.stochastic": stochastic, "clock.steps": 2, "clock.window_steps": 2}
    with pytest.raises(InputError) as error:
        Simulation(prepare(*load_scenario("ieee37", {**found, **changes})))
    assert error.value.key == "market.stochastic.risk"
