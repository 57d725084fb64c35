"""The reduced clearing against the explicit one: same statement, states solved for or left as variables."""

from __future__ import annotations

import numpy as np
import pytest

from cosim.experiments.benchmarks.leader.reduction import reduce
from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.qp.solution import QPSolution
from cosim.optimization.solvers.qp_solver import solve_qp
from cosim.protocol.roles import Array

from .conftest import opened

STEP = 2
OVERRIDES: dict[str, dict[str, object]] = {
    "limits": {"network.branch_rating_kva": {"711-740": 300}},
    "limits by bus": {"network.voltage_limits": [{"buses": ["740", "718"], "v_min_pu": 0.975}]},
    "unbalance": {"network.unbalance": {"price_usd_per_pct2h": 5.0, "buses": ["740", "718"]}},
    "reactive": {"market.reactive_price_usd_per_mvarh": 4.0, "market.slope_usd_per_mwh_per_mw": 3.0},
    "unbalance limit": {"network.unbalance": {"limit_pct": 1.0, "buses": ["740", "718"]}},
    "phase rate limit": {"network.unbalance": {"pvur_limit_pct": 0.5, "buses": ["740", "718"]}},
    "tangent": {"network.model": "ac-linear"},
}


def by_elimination(qp: ParametricQP, kept: frozenset[str], theta: Array) -> QPSolution:
    """The explicit problem's solution by the general elimination: its rows span ten decades, too many for a solver."""
    smaller = reduce(qp, kept)
    return smaller.recover(solve_qp(smaller.qp, theta).require(), theta)


@pytest.mark.parametrize(
    ("name", "share"),
    [("ieee37_stress", 1.0), ("ieee37_stress_svg", 0.6), pytest.param("ieee37_stress", 0.6, marks=pytest.mark.slow),
     pytest.param("ieee37_stress_svg", 1.0, marks=pytest.mark.slow)],
)  # fmt: skip
@pytest.mark.parametrize("kind", OVERRIDES)
def test_cost_and_prices_are_those_of_the_explicit_clearing(name: str, kind: str, share: float) -> None:
    start = {"clock.start": "2024-07-15T10:00:00", "clock.steps": 3}
    day = opened(name, {**start, **OVERRIDES[kind]})
    p_mw = share * day.declared_p_mw
    found = day.clearing.step(STEP, p_mw, day.clearing.solve(p_mw), 1.0)
    model, network = day.operator.clearing_model, day.clearing.networks[STEP]
    qp = model.at(network, day.operator.own_step(STEP))
    theta = np.concatenate([p_mw[STEP], p_mw[STEP] * day.operator.reactive_ratio])
    explicit = solve_qp(qp, theta).require() if kind != "tangent" else by_elimination(qp, model.kept, theta)
    assert found.cost_usd == pytest.approx(explicit.objective, rel=1e-7)
    states = explicit.x[len(model.variables) :]
    assert found.states == pytest.approx(states, abs=2e-6)
    flow = explicit.nu[: len(network.states)]
    active, reactive = found.prices.total()
    largest = np.abs(active).max()
    assert np.abs(active + network.demand_p.T @ flow).max() <= 1e-6 * largest
    assert np.abs(reactive + network.demand_q.T @ flow).max() <= 1e-6 * largest


def test_rows_that_were_left_out_hold_with_room_to_spare() -> None:
    """Any demand and dispatch in their boxes keep every dropped limit, or a kept one of its family is tighter."""
    day = opened("ieee37_stress", {"clock.start": "2024-07-15T10:00:00", "clock.steps": 1})
    window, rng = day.clearing, np.random.default_rng(0)
    model, operator, network = window.model, day.operator, window.networks[0]
    (step,) = model.reduced([network], [operator.own_step(0)])
    kept = set(window._network_rows[0].tolist())
    matrix, rhs, by_theta = step.inequalities
    low, high = np.maximum(step.own.low, -1e3), np.minimum(step.own.high, 1e3)
    slack = [model.place[f"{side}_slack"] for side in ("v_low", "v_high", "flow")]
    for _ in range(200):
        x = rng.uniform(low, high)
        x[slack] = 0.0
        p = rng.uniform(0.0, operator.p_max_mw)
        room = rhs + by_theta @ np.concatenate([p, p * operator.reactive_ratio]) - matrix @ x
        for family in range(model.inequalities.family.max() + 1):
            rows = np.flatnonzero(model.inequalities.family == family)
            dropped = [i for i in rows if i not in kept]
            stayed = [i for i in rows if i in kept]
            tightest = min((room[i] for i in stayed), default=np.inf)
            assert min((room[i] for i in dropped), default=np.inf) >= min(tightest, 0.0) - 1e-9
