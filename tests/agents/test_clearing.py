"""The operator's clearing: conservation of energy, capability of units, screening, ramps and connections."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cosim
from cosim.agents.dso.resources.generator import Generator
from cosim.agents.dso.resources.inverter import inverter_polygon
from cosim.errors import InputError
from cosim.grid.feeder.phases import phase_magnitudes, pvur, terminal_map
from cosim.grid.feeder.tables import read_feeder, write_feeder
from cosim.protocol.roles import Array

from .conftest import Day, opened

SHARE = st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3)
SAME_DAY = settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])


def demand(day: Day, shares: list[float]) -> Array:
    return np.tile(np.array(shares) * day.operator.p_max_mw, (24, 1))


@SAME_DAY
@given(SHARE)
def test_every_demand_clears_and_generators_stay_within_their_rating(stressed: Day, shares: list[float]) -> None:
    p_mw = demand(stressed, shares)
    solution = stressed.clearing.solve(p_mw)
    for t in (0, 12, 19):
        values = stressed.clearing.step(t, p_mw, solution, 1.0).values
        for unit in stressed.operator.resources:
            assert isinstance(unit, Generator)
            assert math.hypot(values[f"{unit.name}/p"], values[f"{unit.name}/q"]) <= unit.s_mva + 1e-7


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
        (u.terminals[0], -result.values[f"{u.name}/p"], -result.values[f"{u.name}/q"])
        for u in operator.resources
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
    output = [day.clearing.step(t, day.declared_p_mw, solution, 1.0).values["dg720/p"] for t in range(24)]
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


VUF_LIMIT = {"limit_pct": 0.5, "buses": ["718", "736", "740"]}


def vuf_pct(day: Day, t: int, p_mw: Array) -> Array:
    """VUF of the linear model at the limited buses of a cleared step."""
    solution = day.clearing.solve(p_mw)
    network, choice = day.clearing.networks[t], day.operator.clearing_model.outputs
    parts = network.unbalance.at(day.clearing.values(t, p_mw, solution).states)[choice.unbalance]
    return np.asarray(np.hypot(parts[::2], parts[1::2]))


def test_a_limit_of_unbalance_is_kept_by_generators_of_each_leg() -> None:
    evening = {"clock.start": "2024-07-15T20:00:00", "clock.steps": 1}
    free = opened("ieee37_svg", {**evening, "network.unbalance": {**VUF_LIMIT, "limit_pct": 50}})
    kept = opened("ieee37_svg", {**evening, "network.unbalance": VUF_LIMIT})
    assert vuf_pct(free, 0, free.declared_p_mw).max() > 0.6
    assert vuf_pct(kept, 0, kept.declared_p_mw).max() <= 0.5 + 1e-9


def test_a_limit_of_unbalance_that_binds_has_a_price() -> None:
    day = opened("ieee37_svg", {"clock.start": "2024-07-15T20:00:00", "clock.steps": 1, "network.unbalance": VUF_LIMIT})
    solution = day.clearing.solve(day.declared_p_mw)
    prices = day.clearing.step(0, day.declared_p_mw, solution, 1.0).prices
    assert np.abs(prices.active["unbalance"]).max() > 1e-3


def test_a_limit_of_unbalance_that_nothing_can_keep_is_broken_at_the_price_cap() -> None:
    impossible = {**VUF_LIMIT, "limit_pct": 0.01}
    day = opened("ieee37", {"clock.steps": 1, "network.unbalance": impossible, "generators": []})
    broken = day.clearing.values(0, day.declared_p_mw, day.clearing.solve(day.declared_p_mw)).values["vuf_slack"]
    assert broken == pytest.approx(vuf_pct(day, 0, day.declared_p_mw).max(), abs=0.05)


def test_a_limit_of_unbalance_nowhere_is_refused() -> None:
    with pytest.raises(InputError, match="needs the buses"):
        opened("ieee37", {"network.unbalance": {"limit_pct": 1.0}})


PVUR_LIMIT = {"pvur_limit_pct": 0.5, "buses": ["718", "736", "740"]}
EVENING = {"clock.start": "2024-07-15T20:00:00", "clock.steps": 1}


def pvur_pct(day: Day, p_mw: Array) -> dict[str, float]:
    """PVUR by its definition at the limited buses of a cleared step, from the linear model's voltages."""
    network, solution = day.clearing.networks[0], day.clearing.solve(p_mw)
    squares = network.voltages.at(day.clearing.values(0, p_mw, solution).states)
    line = dict(zip(network.voltages.labels, np.sqrt(squares), strict=True))
    buses = day.operator.limits.unbalance_buses
    return {b: float(pvur(phase_magnitudes([line[b, x] for x in ("ab", "bc", "ca")]))) for b in buses}


def test_a_limit_of_the_phase_rate_is_kept_and_hardly_more_than_kept() -> None:
    free = opened("ieee37_svg", {**EVENING, "network.unbalance": {**PVUR_LIMIT, "pvur_limit_pct": 20}})
    kept = opened("ieee37_svg", {**EVENING, "network.unbalance": PVUR_LIMIT})
    assert max(pvur_pct(free, free.declared_p_mw).values()) > 0.6
    assert max(pvur_pct(kept, kept.declared_p_mw).values()) == pytest.approx(0.5, abs=0.005)
    assert max(pvur_pct(kept, kept.declared_p_mw).values()) <= 0.5 + 1e-9


@pytest.mark.parametrize(
    ("feeder", "bus"), [("ieee13", "671"), pytest.param("ieee37", "740", marks=pytest.mark.slow)]
)
def test_a_limit_of_the_phase_rate_holds_in_ac(feeder: str, bus: str) -> None:
    svg = {"name": "svg", "bus": bus, "kvar": 600, "mode": "per_leg"}
    overrides = {
        "clock.steps": 2, "network.feeder": feeder, "network.source_pu": None, "network.v_max_pu": 1.1,
        "generators": [], "svgs": [svg], "workload.site_weight": {}, "remove": ["datacenters"],
        "datacenters": [{"name": "dc", "bus": bus, "it_peak_kw": 300, "it_idle_kw": 90, "pue": 1.2}],
    }  # fmt: skip

    def highest(limit: float) -> float:
        unbalance = {"pvur_limit_pct": limit, "buses": [bus]}
        result = cosim.run("ieee37", mode="uncoordinated", overrides={**overrides, "network.unbalance": unbalance})
        return float(result.unbalance.query("bus == @bus")["pvur_pct"].max())

    free = highest(20.0)
    assert highest(0.7 * free) <= 0.7 * free + 0.01 < free


def test_a_limit_of_the_phase_rate_that_nothing_can_keep_is_broken_at_the_price_cap() -> None:
    impossible = {**PVUR_LIMIT, "pvur_limit_pct": 0.01}
    day = opened("ieee37", {"clock.steps": 1, "network.unbalance": impossible, "generators": []})
    broken = day.clearing.values(0, day.declared_p_mw, day.clearing.solve(day.declared_p_mw)).values["pvur_slack"]
    assert broken == pytest.approx(max(pvur_pct(day, day.declared_p_mw).values()) - 0.01, rel=0.05)


def test_a_limit_of_the_phase_rate_needs_three_phases() -> None:
    changes = {"network.feeder": "ieee13", "network.unbalance": {"pvur_limit_pct": 1.0, "buses": ["611"]}}
    one = {"name": "dc", "bus": "671", "it_peak_kw": 300, "it_idle_kw": 90, "pue": 1.2}
    with pytest.raises(InputError, match="no such bus with three phases"):
        opened("ieee37", {**changes, "generators": [], "datacenters": [one], "remove": ["datacenters"]})


def rated_feeder(folder: Path, amps: float) -> Path:
    """The IEEE 37 feeder with this ampacity on the line to bus 740."""
    feeder = read_feeder("ieee37")
    lines = tuple(replace(line, amps=amps) if line.name == "711-740" else line for line in feeder.lines)
    write_feeder(replace(feeder, lines=lines), folder)
    return folder


def test_ratings_of_the_feeder_limit_as_those_of_the_scenario_do(tmp_path: Path) -> None:
    by_feeder = opened("ieee37", {
        "clock.steps": 1, "network.feeder": str(rated_feeder(tmp_path / "rated", 36.0)), "network.feeder_ratings": True,
    })  # fmt: skip
    kva = 3 * 36.0 * 4.8 / 3**0.5
    by_scenario = opened("ieee37", {"clock.steps": 1, "network.branch_rating_kva": {"711-740": kva}})
    cost = by_scenario.operator.clear(by_scenario.declared_p_mw).cost_usd
    assert by_feeder.operator.clear(by_feeder.declared_p_mw).cost_usd == pytest.approx(cost, rel=1e-9)
    free = opened("ieee37", {"clock.steps": 1})
    assert cost > free.operator.clear(free.declared_p_mw).cost_usd + 0.1
