"""Batteries and flexible loads: independent programs, conservation of energy, differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

import cosim
from cosim.agents.dso.resources import Statement
from cosim.agents.dso.resources.inverter import inverter_polygon
from cosim.agents.dso.resources.kinds import shipped_kinds
from cosim.errors import InputError
from cosim.grid.feeder.phases import terminal_map
from cosim.optimization.solvers.qp_solver import solve_qp
from cosim.protocol.roles import Array
from cosim.scenario.modes import COMPARED
from cosim.simulation.runner import RunResult

from .conftest import Day, by_kw, opened

BATTERY: dict[str, Any] = {
    "name": "b1", "kind": "battery", "bus": "740", "connection": "per_phase", "energy_kwh": 600, "power_kw": 240,
    "s_kva": 270,
}  # fmt: skip
CHARGER: dict[str, Any] = {
    "name": "ev", "kind": "flexible_load", "bus": "736", "connection": "ab", "p_max_kw": 80, "energy_kwh": 250,
    "from_h": 11, "deadline_h": 17,
}  # fmt: skip
COOLING: dict[str, Any] = {
    "name": "cool", "kind": "flexible_load", "bus": "718", "p_max_kw": 60, "curtailed_usd_per_mwh": 55,
}  # fmt: skip
EMPTYING = {**BATTERY, "final": 0.2}
ALL = [EMPTYING, CHARGER, COOLING]
SHORT: dict[str, Any] = {"clock.start": "2024-07-15T10:00:00", "clock.steps": 8, "clock.window_steps": 8}
QUICK = settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])


def least_cost_by_highs(day: Day, p_mw: Array, battery: dict[str, Any], price: Array) -> float:
    """The clearing of a window with one battery, written out again as a linear program and solved by HiGHS.

    Variables of each step: import, P and Q of each leg, charged, discharged, charge, and the worst broken voltage limit
    each way. Losses, states and voltages come from the linear network's own response.
    """
    operator, model = day.operator, day.operator.clearing_model
    terminals = [port.terminal for port in model.ports]
    legs, steps = len(terminals), len(p_mw)
    width = 1 + 2 * legs + 3 + 2
    eta, power = battery["efficiency"], battery["power_kw"] / 1000
    full = battery["energy_kwh"] / 1000
    cost, low, high = np.zeros((3, steps, width))
    low[:], high[:] = -np.inf, np.inf
    eq, eq_rhs, ub, ub_rhs = [], [], [], []

    def row(t: int, entries: dict[int, float]) -> Array:
        out = np.zeros(steps * width)
        for column, value in entries.items():
            out[t * width + column] = value
        return out

    charged, discharged, charge, slack = 1 + 2 * legs, 2 + 2 * legs, 3 + 2 * legs, 4 + 2 * legs
    for t, network in enumerate(day.clearing.networks):
        p, q = np.zeros((2, len(network.nodes)))
        maps = [terminal_map(terminal, network.nodes) for terminal in terminals]
        for terminal, mw, ratio in zip(operator.terminals, p_mw[t], operator.reactive_ratio, strict=True):
            m = terminal_map(terminal, network.nodes)
            p, q = p + (m.pp + m.pq * ratio) * mw, q + (m.qp + m.qq * ratio) * mw
        base = network.solve(p, q)
        imported, volts = float(network.import_p.at(base)[0]), network.voltages.at(base)
        by_import, by_volts = np.zeros(2 * legs), np.zeros((len(volts), 2 * legs))
        for leg, m in enumerate(maps):
            for k, (dp, dq) in enumerate(((m.pp, m.qp), (m.pq, m.qq))):
                moved = network.solve(p - dp, q - dq)
                by_import[2 * leg + k] = float(network.import_p.at(moved)[0]) - imported
                by_volts[:, 2 * leg + k] = network.voltages.at(moved) - volts
        eq.append(row(t, {0: 1.0, **{1 + i: -float(v) for i, v in enumerate(by_import)}}))
        eq_rhs.append(imported)
        eq.append(row(t, {**{1 + 2 * leg: 1.0 for leg in range(legs)}, discharged: -1.0, charged: 1.0}))
        eq_rhs.append(0.0)
        moves = row(t, {charge: 1.0, charged: -operator.hours * eta, discharged: operator.hours / eta})
        if t > 0:
            moves[(t - 1) * width + charge] = -1.0
        eq.append(moves)
        eq_rhs.append(0.5 * full if t == 0 else 0.0)
        for i in range(len(volts)):
            slopes = {1 + j: float(v) for j, v in enumerate(by_volts[i])}
            ub.append(row(t, {**slopes, slack + 1: -1.0}))
            ub_rhs.append(operator.limits.v_max_pu**2 - volts[i])
            ub.append(row(t, {**{j: -v for j, v in slopes.items()}, slack: -1.0}))
            ub_rhs.append(volts[i] - operator.limits.v_min_pu**2)
        for leg in range(legs):
            for k in range(16):  # every side of the polygon, none left out
                angle = np.pi * (2 * k + 1) / 16
                ub.append(row(t, {1 + 2 * leg: np.cos(angle), 2 + 2 * leg: np.sin(angle)}))
                ub_rhs.append(battery["s_kva"] / 1000 / legs * np.cos(np.pi / 16))
            low[t, 1 + 2 * leg], high[t, 1 + 2 * leg] = -power / legs, power / legs
        ub.append(row(t, {charged: 1.0, discharged: 1.0}))
        ub_rhs.append(power)
        low[t, charged:], high[t, charged:charge] = 0.0, power
        high[t, charge] = full
        cost[t, 0], cost[t, discharged] = operator.hours * price[t], operator.hours * battery["wear_usd_per_mwh"]
        cost[t, slack:] = operator.hours * operator.limits.voltage_penalty_usd_per_pu2h
    low[-1, charge] = 0.5 * full
    found = linprog(
        cost.ravel(), sp.csr_array(np.array(ub)), np.array(ub_rhs), sp.csr_array(np.array(eq)), np.array(eq_rhs),
        np.column_stack([low.ravel(), high.ravel()]), method="highs",
    )  # fmt: skip
    assert found.status == 0, found.message
    return float(found.fun)


@pytest.mark.parametrize("connection", ["per_phase", "three_phase", "bc"])
def test_a_battery_is_dispatched_as_by_an_independent_linear_program(connection: str) -> None:
    battery = {**BATTERY, "connection": connection, "efficiency": 0.9, "wear_usd_per_mwh": 5.0,
               "reactive_cost_usd_per_mvar2h": 0.0}  # fmt: skip
    day = opened("ieee37_stress", {**SHORT, "generators": [], "svgs": [], "resources": [battery]})
    p_mw = 0.9 * day.declared_p_mw
    found = day.clearing.solve(p_mw)
    expected = least_cost_by_highs(day, p_mw, battery, day.operator.price)
    assert found.objective == pytest.approx(expected, rel=1e-6)


@QUICK
@given(
    efficiency=st.floats(0.7, 1.0), initial=st.floats(0.2, 0.9), lowest=st.floats(0.0, 0.2),
    prices=st.lists(st.floats(-300.0, 300.0), min_size=6, max_size=6),
)  # fmt: skip
def test_a_battery_conserves_energy_and_never_does_both(
    efficiency: float, initial: float, lowest: float, prices: list[float]
) -> None:
    """What it takes from the feeder is what it stores and loses; also where burning energy would pay."""
    battery = {**BATTERY, "efficiency": efficiency, "initial": initial, "lowest": lowest, "wear_usd_per_mwh": 0.0}
    market = {"price_usd_per_mwh": {"values": [*prices, *prices, *prices, *prices]}}
    day = opened("ieee37", {**SHORT, "clock.steps": 6, "clock.window_steps": 6, "resources": [battery],
                            "market": market})  # fmt: skip
    solution = day.clearing.solve(day.declared_p_mw)
    before = 0.6 * initial
    for t in range(6):
        v = day.clearing.values(t, day.declared_p_mw, solution).values
        given = sum(v[f"b1/p.{leg}"] for leg in ("ab", "bc", "ca"))
        taken, back, charge = v["b1/charged"], v["b1/discharged"], v["b1/charge"]
        assert given == pytest.approx(back - taken, abs=1e-7)
        assert charge - before == pytest.approx(efficiency * taken - back / efficiency, abs=1e-7)
        assert 0.6 * lowest - 1e-7 <= charge <= 0.6 + 1e-7
        if efficiency < 1.0:
            assert min(taken, back) <= 1e-7
        before = charge
    assert before >= 0.6 * initial - 1e-7


def test_prices_with_resources_at_work_are_derivatives_of_cost() -> None:
    """Finite differences of the whole window, battery and flexible loads answering, at random nodes and hours."""
    day = opened("ieee37_stress", {**SHORT, "resources": ALL})
    p_mw, ratio = 0.97 * day.declared_p_mw, day.operator.reactive_ratio
    solution = day.clearing.solve(p_mw)
    values = [day.clearing.values(t, p_mw, solution).values for t in range(8)]
    assert values[-1]["b1/charge"] == pytest.approx(0.12, abs=1e-7)
    assert any(1e-3 < -v["ev/p"] for v in values) and any(-v["cool/p"] < 0.06 - 1e-4 for v in values)
    prices = day.clearing.sensitivity(solution)
    p_price, q_price = day.clearing.terminal_prices(solution)
    assert prices == pytest.approx(p_price + ratio * q_price, abs=1e-6)
    qp = day.clearing.follower
    step = 1e-4
    for t in range(0, 8, 2):
        for k in range(3):
            cost = []
            for sign in (-1.0, 1.0):
                moved = p_mw.copy()
                moved[t, k] += sign * step
                cost.append(solve_qp(qp, day.clearing.theta(moved)).require().objective)
            left = (solution.objective - cost[0]) / step
            right = (cost[1] - solution.objective) / step
            assert left - 2e-2 <= prices[t, k] <= right + 2e-2


def test_prices_at_nodes_are_those_of_the_clearing_with_every_state_explicit() -> None:
    """One step, so that no row joins steps: the explicit problem has all there is."""
    charger = {**CHARGER, "energy_kwh": 60, "deadline_h": 12}
    day = opened("ieee37_stress", {**SHORT, "clock.start": "2024-07-15T11:00:00", "clock.steps": 1,
                                   "clock.window_steps": 1, "resources": [EMPTYING, charger, COOLING]})  # fmt: skip
    p_mw = 0.97 * day.declared_p_mw
    found = day.clearing.step(0, p_mw, day.clearing.solve(p_mw), 1.0)
    network = day.clearing.networks[0]
    qp = day.operator.clearing_model.at(network, day.operator.own_step(0))
    explicit = solve_qp(qp, np.concatenate([p_mw[0], p_mw[0] * day.operator.reactive_ratio])).require()
    assert found.cost_usd == pytest.approx(explicit.objective, rel=1e-7)
    flow = explicit.nu[: len(network.states)]
    for price, demand in zip(found.prices.total(), (network.demand_p, network.demand_q), strict=True):
        assert np.abs(price + demand.T @ flow).max() <= 1e-6 * np.abs(price).max()


@pytest.mark.parametrize("mode", [pytest.param("uncoordinated", marks=pytest.mark.slow), "decentralized", "welfare"])
def test_no_mode_burns_energy_where_its_price_is_negative(mode: str) -> None:
    """Were energy turned into heat, more would be drawn than fits into the battery; notes say where it would pay."""
    battery = {**BATTERY, "efficiency": 0.8, "wear_usd_per_mwh": 0.0}
    changes = {"clock.steps": 4, "clock.window_steps": 4, "resources": [battery], "generators": []}
    market = {"market.price_usd_per_mwh": {"values": [-200.0] * 24}}
    result = cosim.run("ieee37", mode=mode, overrides={**changes, **market})
    given = by_kw(result, "b1")
    charge = 300.0 + np.cumsum(np.where(given < 0, -0.8 * given, -given / 0.8))
    assert charge.max() <= 600.01 and charge[-1] == pytest.approx(600.0, abs=0.1)
    assert any("batteries would charge and discharge at once" in note for note in result.notes)


@pytest.mark.parametrize(
    ("mode", "changes"),
    [("decentralized", {"network.ac_rounds": 2}), ("uncoordinated", {"network.model": "ac-linear"})],
)
def test_resources_agree_with_ac_power_flow(mode: str, changes: dict[str, object]) -> None:
    """What is cleared on the AC tangent at the demand itself is as dear in AC power flow; energy is conserved."""
    short = {**SHORT, "clock.steps": 3, "clock.window_steps": 3}
    charger = {**CHARGER, "energy_kwh": 80, "deadline_h": 13}
    result = cosim.run("ieee37_stress", mode=mode, overrides={
        **short, **changes, "resources": [EMPTYING, charger, COOLING]})  # fmt: skip
    assert -by_kw(result, "ev").sum() == pytest.approx(80.0, abs=0.01)
    given = by_kw(result, "b1")
    assert np.where(given < 0, -0.95 * given, -given / 0.95).sum() == pytest.approx(-180.0, abs=0.01)
    assert abs(result.kpis["ac_import_excess"] or 0.0) < 1e-3


@pytest.fixture(scope="module", params=COMPARED)
def run_of_mode(request: pytest.FixtureRequest) -> RunResult:
    short = {**SHORT, "clock.steps": 4, "clock.window_steps": 4, "clock.start": "2024-07-15T11:00:00"}
    charger = {**CHARGER, "energy_kwh": 150, "deadline_h": 15}
    changes = {**short, "resources": [EMPTYING, charger, COOLING], "centralized.time_limit_s": 2.0}
    return cosim.run("ieee37_stress", mode=request.param, overrides=changes)


def test_every_mode_has_the_energy_by_its_deadline(run_of_mode: RunResult) -> None:
    assert -by_kw(run_of_mode, "ev").sum() == pytest.approx(150.0, abs=0.01)


def test_every_mode_draws_no_more_than_is_wanted(run_of_mode: RunResult) -> None:
    drawn = -by_kw(run_of_mode, "cool")
    assert drawn.min() >= -1e-4 and drawn.max() <= 60.0 + 1e-4
    reactive = run_of_mode.dispatch.query("unit == 'cool'")["q_kvar"].to_numpy()
    assert -reactive == pytest.approx(drawn * np.tan(np.arccos(0.95)), abs=1e-3)


def test_every_mode_sells_what_the_battery_may_give(run_of_mode: RunResult) -> None:
    """Energy is worth more than wear, so the charge ends where it may: 180 kWh lower."""
    given = by_kw(run_of_mode, "b1")
    stored = np.where(given < 0, -0.95 * given, -given / 0.95)
    assert stored.sum() == pytest.approx(-180.0, abs=0.01)


def test_a_rolling_market_carries_charge_and_energy_along() -> None:
    """Each window sees less than the day; the deadline and the charge at the end hold over all of them."""
    rolling = {**SHORT, "clock.steps": 5, "clock.market": "rolling", "clock.window_steps": 2, "clock.gate_s": 900}
    charger = {**CHARGER, "energy_kwh": 150, "deadline_h": 14}
    resources = {"resources": [EMPTYING, charger, COOLING]}
    result = cosim.run("ieee37_stress", mode="uncoordinated", overrides={**rolling, **resources})
    assert -by_kw(result, "ev").sum() == pytest.approx(150.0, abs=0.01)
    given = by_kw(result, "b1")
    charge = 300.0 + np.cumsum(np.where(given < 0, -0.95 * given, -given / 0.95))
    assert charge.min() >= -0.01 and charge.max() <= 600.01 and charge[-1] >= 120.0 - 0.01


def test_the_short_spellings_are_the_same_resources() -> None:
    short = opened("ieee37", {"clock.steps": 1})
    one = {"name": "dg720", "kind": "generator", "bus": "720", "p_max_kw": 300, "s_kva": 330, "cost_usd_per_mwh": 34,
           "cost_usd_per_mw2h": 20}  # fmt: skip
    plain = short.market.scenario.generators
    others = [{**g.model_dump(exclude={"kind"}), "kind": "pv" if g.kind == "pv" else "generator"} for g in plain[1:]]
    long = opened("ieee37", {"clock.steps": 1, "generators": [], "resources": [one, *others]})
    p_mw = short.declared_p_mw
    assert long.clearing.solve(p_mw).x.tolist() == short.clearing.solve(p_mw).x.tolist()


def test_the_polygon_of_a_device_that_draws_lies_on_both_sides() -> None:
    planes = inverter_polygon(0.5, 0.4, draws=True)
    angles = np.pi * (2 * np.arange(16) + 1) / 16
    full = [(np.cos(angle), np.sin(angle), 0.5 * np.cos(np.pi / 16)) for angle in angles]
    rng = np.random.default_rng(0)
    for p, q in rng.uniform([-0.4, -0.6], [0.4, 0.6], (2000, 2)):
        assert all(a * p + b * q <= c for a, b, c in planes) == all(a * p + b * q <= c for a, b, c in full)


def test_an_expression_joins_steps() -> None:
    window = Statement(4, 0.5)
    p = window.variable("p", 0.0, 1.0)
    ramp = p - window.before(p, 0.25)
    steps = np.concatenate([t[c != 0] for _, t, c in ramp.terms])
    assert steps.tolist() == [0, 1, 2, 3, 0, 1, 2] and ramp.constant.tolist() == [-0.25, 0.0, 0.0, 0.0]
    assert sorted(t[0] for _, t, c in (2.0 * p).sum().terms) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({**BATTERY, "initial": 0.1, "lowest": 0.2}, "below the lowest"),
        ({**BATTERY, "power_kw": 300}, "above s_kva"),
        ({**BATTERY, "final": 1.0, "power_kw": 10}, "cannot be charged"),
        ({**CHARGER, "curtailed_usd_per_mwh": 1}, "exactly one of"),
        ({**CHARGER, "from_h": 18}, "must be before"),
    ],
)
def test_what_cannot_be_meant_is_refused(section: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        opened("ieee37", {**SHORT, "resources": [section]})


def test_a_kind_is_one_file() -> None:
    assert shipped_kinds() == ["battery", "flexible_load", "generator", "pv", "svg"]
