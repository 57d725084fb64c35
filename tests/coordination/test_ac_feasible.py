"""Successive linearisation: what is agreed on holds in AC power flow, not only in the linear model."""

from __future__ import annotations

from typing import Any

import pytest

from cosim.simulation.runner import RunResult

from .conftest import evening_of, kpi

# Hours around noon, in which the lower limit binds at the optimum.
AC: dict[str, Any] = {"network__model": "ac-linear", "clock__start": "2024-07-15T10:00:00", "clock__steps": 3}
HELD_PU = 1e-4


@pytest.fixture(scope="module", params=[("welfare", "admm"), ("decentralized", "admm"), ("decentralized", "bundle")])
def refined(request: pytest.FixtureRequest) -> RunResult:
    mode, rule = request.param
    return evening_of("ieee37_stress", mode, network__ac_rounds=5, decentralized__rule=rule, **AC)


def test_limits_hold_in_ac_power_flow(refined: RunResult) -> None:
    assert kpi(refined, "ac_v_min_pu") >= 0.95 - HELD_PU
    assert kpi(refined, "ac_v_max_pu") <= 1.05 + HELD_PU


def test_the_limit_is_used_to_the_full(refined: RunResult) -> None:
    """Held, not avoided: the lowest voltage is at the limit."""
    assert kpi(refined, "ac_v_min_pu") <= 0.95 + HELD_PU


def test_where_it_was_linearised_last_the_model_is_the_ac_power_flow(refined: RunResult) -> None:
    assert kpi(refined, "ac_error_max_pu") <= HELD_PU


def test_agreement_and_optimum_are_found_on_the_last_linearisation(refined: RunResult) -> None:
    assert refined.steps["converged"].all()
    assert abs(kpi(refined, "welfare_gap")) <= 1e-5


def test_without_rounds_the_linearisation_at_the_declared_demand_stays() -> None:
    once = evening_of("ieee37_stress", "welfare", **AC)
    again = evening_of("ieee37_stress", "welfare", network__ac_rounds=5, **AC)
    assert kpi(again, "ac_error_max_pu") < kpi(once, "ac_error_max_pu")
