"""The operator's clearing: conservation of energy, capability of units, screening, ramps and connections."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cosim.agents.dso.resources import inverter_polygon
from cosim.errors import InputError
from cosim.grid.phases import terminal_map
from cosim.interfaces import Array

from .conftest import Day, opened

SHARE = st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3)
SAME_DAY = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def demand(day: Day, shares: list[float]) -> Array:
    return np.tile(np.array(shares) * day.operator.p_max_mw, (24, 1))


@SAME_DAY
@given(SHARE)
def test_every_demand_clears_and_generators_stay_within_their_rating(stressed: Day, shares: list[float]) -> None:
    p_mw = demand(stressed, shares)
    solution = stressed.clearing.solve(p_mw)
    for t in (0, 12, 19):
        values = stressed.clearing.step(t, p_mw, solution, 1.0).values
        for g, unit in enumerate(stressed.operator.resources.generators):
            assert math.hypot(values[f"gen_p[{g}]"], values[f"gen_q[{g}]"]) <= unit.s_mva + 1e-7


@SAME_DAY
@given(SHARE)
def test_the_states_of_a_cleared_step_solve_the_power_flow(stressed: Day, shares: list[float]) -> None:
    p_mw = demand(stressed, shares)
    solution = stressed.clearing.solve(p_mw)
    result = stressed.clearing.step(12, p_mw, solution, 1.0)
    network, operator = result.network, stressed.operator
    p, q = np.zeros(len(network.nodes)), np.zeros(len(network.nodes))
    drawn = [(t, a, a * r) for t, a, r in zip(operator.terminals, p_mw[12], operator.reactive_ratio, strict=True)]
    drawn += [
        (u.terminal, -result.values[f"gen_p[{g}]"], -result.values[f"gen_q[{g}]"])
        for g, u in enumerate(operator.resources.generators)
    ]
    for terminal, active, reactive in drawn:
        m = terminal_map(terminal, network.nodes)
        p += m.pp * active + m.pq * reactive
        q += m.qp * active + m.qq * reactive
    assert result.states == pytest.approx(network.solve(p, q), abs=1e-8)
    assert result.values["p_sub"] == pytest.approx(float(network.import_p.at(result.states)[0]), abs=1e-8)


def test_cost_by_step_adds_up_to_the_window(stressed: Day) -> None:
    solution = stressed.clearing.solve(stressed.declared_p_mw)
    steps = [stressed.clearing.step(t, stressed.declared_p_mw, solution, 1.0).cost_usd for t in range(24)]
    assert sum(steps) == pytest.approx(solution.objective, rel=1e-9)


def test_the_inverter_polygon_lies_inside_the_circle_and_touches_it() -> None:
    planes = inverter_polygon(0.5, 0.5)
    for angle in np.linspace(-math.pi / 2, math.pi / 2, 721):
        reach = min(c / (a * math.cos(angle) + b * math.sin(angle)) for a, b, c in planes
                    if a * math.cos(angle) + b * math.sin(angle) > 1e-9)  # fmt: skip
        assert 0.5 * math.cos(math.pi / 16) - 1e-9 <= reach <= 0.5 + 1e-9


def test_ramp_limits_hold_between_steps() -> None:
    day = opened("ieee37", {"generators.dg720.ramp_kw_per_step": 20})
    solution = day.clearing.solve(day.declared_p_mw)
    output = [day.clearing.step(t, day.declared_p_mw, solution, 1.0).values["gen_p[0]"] for t in range(24)]
    assert np.abs(np.diff(output)).max() == pytest.approx(0.02, abs=1e-6)


def test_nothing_is_left_to_dispatch_is_fine() -> None:
    day = opened("ieee37", {"generators": [], "clock.steps": 2})
    assert day.operator.clear(day.declared_p_mw).cost_usd > 0


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"datacenters.dc718.bus": "999"}, "no such bus"),
        ({"datacenters.dc718.connection": "a"}, "no such phase"),
        ({"generators.dg720.bus": "nowhere"}, "no such bus"),
        ({"network.branch_rating_kva": {"1-2": 100}}, "no such branch"),
        ({"network.unbalance": {"price_usd_per_pct2h": 1, "buses": ["999"]}}, "no such bus"),
        ({"network.taps": {"reg1.zz": 3}}, "no such regulator tap"),
        ({"operator.agent": "no.such:Thing"}, "cannot be imported"),
        ({"network.feeder": "ieee38"}, "feeder"),
    ],
)
def test_what_is_not_on_the_feeder_is_refused(overrides: dict[str, object], told: str) -> None:
    with pytest.raises(InputError, match=told):
        opened("ieee37", {**overrides, "clock.steps": 1})


def test_a_branch_rating_makes_a_congestion_price() -> None:
    day = opened("ieee37", {"clock.steps": 1, "network.branch_rating_kva": {"711-740": 300}})
    solution = day.clearing.solve(day.declared_p_mw)
    prices = day.clearing.step(0, day.declared_p_mw, solution, 1.0).prices
    behind = [n for n, (bus, _) in enumerate(prices.nodes) if bus == "740"]
    assert prices.active["congestion"][behind].max() > 1.0


def test_an_unbalance_price_makes_an_unbalance_part() -> None:
    buses = {"price_usd_per_pct2h": 5.0, "buses": ["740"]}
    day = opened("ieee37_svg", {"clock.steps": 1, "network.unbalance": buses})
    solution = day.clearing.solve(day.declared_p_mw)
    prices = day.clearing.step(0, day.declared_p_mw, solution, 1.0).prices
    assert np.abs(prices.active["unbalance"]).max() > 1e-3
