"""Locational prices against the definition: how much more the optimum costs when demand at a node grows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cosim.agents.dso.clearing import ClearingModel
from cosim.experiments.benchmarks.leader.reduction import reduce
from cosim.grid.linear import lindist3flow
from cosim.grid.linear.network import LinearNetwork
from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.solvers.qp_solver import solve_qp
from cosim.protocol.roles import Array

from .conftest import Day, opened

EPSILON_MW = 1e-4
NIGHT, NOON, EVENING = 3, 12, 19


def explicit(day: Day, t: int, network: LinearNetwork | None = None) -> ParametricQP:
    """The clearing of one step with every network state explicit."""
    model: ClearingModel = day.operator.clearing_model
    return model.at(network or day.clearing.networks[t], day.operator.own_step(t))


def theta(day: Day, p_mw: Array) -> Array:
    return np.concatenate([p_mw, p_mw * day.operator.reactive_ratio])


def cost_with(day: Day, t: int, p_mw: Array, node: int, extra_mw: float, reactive: bool) -> float:
    """Optimal cost of a step when one node draws a little more."""
    network = day.clearing.networks[t]
    column = (network.demand_q if reactive else network.demand_p)[:, [node]].toarray().ravel()
    shifted = replace(network, constant=network.constant + extra_mw * column)
    reduced = reduce(explicit(day, t, shifted), day.operator.clearing_model.kept).qp
    return solve_qp(reduced, theta(day, p_mw)).require().objective


@pytest.mark.parametrize("t", [NIGHT, NOON, EVENING])
@pytest.mark.parametrize("reactive", [False, True])
def test_price_is_the_derivative_of_the_optimal_cost(
    stressed: Day, binding: Array, t: int, reactive: bool
) -> None:
    solution = stressed.clearing.solve(binding)
    prices = stressed.clearing.step(t, binding, solution, 1.0).prices
    total = prices.total()[1 if reactive else 0]
    here = cost_with(stressed, t, binding[t], 0, 0.0, reactive)
    for node in np.random.default_rng(t).choice(len(total), size=7, replace=False):
        up = (cost_with(stressed, t, binding[t], node, EPSILON_MW, reactive) - here) / EPSILON_MW
        down = (here - cost_with(stressed, t, binding[t], node, -EPSILON_MW, reactive)) / EPSILON_MW
        assert_between(float(total[node]), down, up)


def assert_between(price: float, below: float, above: float) -> None:
    """The price equals the central difference to 1e-5, or lies between the one-sided ones at a kink."""
    tolerance = 1e-5 * max(abs(price), 1.0)
    central = 0.5 * (below + above)
    kink = abs(above - below) > 1e-2 * max(abs(price), 1.0)
    if kink:
        assert below - tolerance <= price <= above + tolerance
    else:
        assert price == pytest.approx(central, abs=tolerance)


def test_steps_worked_out_together_are_those_worked_out_alone(stressed: Day, binding: Array) -> None:
    solution, steps = stressed.clearing.solve(binding), [EVENING, NIGHT, NOON]
    for t, found in zip(steps, stressed.clearing.results(steps, binding, solution, 1.0), strict=True):
        alone = stressed.clearing.step(t, binding, solution, 1.0)
        np.testing.assert_array_equal(found.states, alone.states)
        np.testing.assert_array_equal(found.prices.total(), alone.prices.total())
        assert (found.values, found.cost_usd) == (alone.values, alone.cost_usd)


def test_parts_add_up_to_the_duals_of_the_explicit_power_flow(stressed: Day, binding: Array) -> None:
    solution = stressed.clearing.solve(binding)
    for t in (NIGHT, NOON, EVENING):
        prices = stressed.clearing.step(t, binding, solution, 1.0).prices
        duals = solve_qp(explicit(stressed, t), theta(stressed, binding[t])).require()
        network = stressed.clearing.networks[t]
        flow = np.array([n.startswith("flow_equation[") for n in explicit(stressed, t).eq_rows])
        expected = -(network.demand_p.T @ duals.nu[flow])
        assert sum(prices.active[k] for k in prices.parts) == pytest.approx(expected, rel=1e-7, abs=1e-6)


def test_reduced_and_explicit_clearing_cost_the_same(stressed: Day, binding: Array) -> None:
    reduced = stressed.clearing.solve(binding).objective
    whole = sum(solve_qp(explicit(stressed, t), theta(stressed, binding[t])).require().objective for t in range(24))
    assert reduced == pytest.approx(whole, rel=1e-7)


def test_parts_add_up_to_the_price_of_the_clearings_own_parameters(stressed: Day, binding: Array) -> None:
    """The adjoint gives the parts, the duals of the reduced clearing the whole; they meet by the chain rule."""
    solution = stressed.clearing.solve(binding)
    p, q = stressed.clearing.terminal_prices(solution)
    for t in range(24):
        prices = stressed.clearing.step(t, binding, solution, 1.0).prices
        for k, terminal in enumerate(stressed.operator.terminals):
            active, reactive = prices.at_terminal(terminal)
            whole = sum(active.values()), sum(reactive.values())
            assert whole == pytest.approx((p[t, k], q[t, k]), rel=1e-9, abs=1e-9)


def test_broken_limits_add_at_most_the_penalty_times_the_strongest_response(stressed: Day) -> None:
    p_mw = np.asarray(1.3 * stressed.declared_p_mw)
    prices = stressed.clearing.step(NOON, p_mw, stressed.clearing.solve(p_mw), 1.0).prices
    network = stressed.clearing.networks[NOON]
    identity = np.eye(len(network.nodes))
    strongest = np.abs(network.response(network.voltages, identity, np.zeros_like(identity))).max()
    bound = stressed.operator.limits.voltage_penalty_usd_per_pu2h * strongest
    assert 0.0 < np.abs(prices.active["voltage"]).max() <= bound * (1 + 1e-9)


def test_the_penalty_is_the_cap_at_the_strongest_response_of_the_unloaded_feeder(stressed: Day) -> None:
    network = lindist3flow.build(stressed.operator.feeder, losses=False)
    identity = np.eye(len(network.nodes))
    strongest = np.abs(network.response(network.voltages, identity, np.zeros_like(identity))).max()
    limits = stressed.operator.limits
    assert limits.voltage_penalty_usd_per_pu2h * strongest == pytest.approx(limits.price_cap_usd_per_mwh)


def test_without_limits_or_losses_one_price_holds_everywhere(stressed: Day) -> None:
    flat = lindist3flow.build(stressed.operator.feeder, 0.4, losses=False)
    operator = stressed.operator
    model = ClearingModel(flat, operator.terminals, (), operator.limits, operator.hours)
    qp = model.at(flat, model.own(0, np.array([40.0])).steps[0])
    duals = solve_qp(qp, np.zeros(len(qp.parameters))).require()
    flow = np.array([n.startswith("flow_equation[") for n in qp.eq_rows])
    constant_power = [n for n, (bus, _) in enumerate(flat.nodes) if bus == "799"]
    assert -(flat.demand_p.T @ duals.nu[flow])[constant_power] == pytest.approx(40.0, rel=1e-6)


@pytest.mark.parametrize("what", ["limit_pct", "pvur_limit_pct"])
def test_price_with_a_limit_of_unbalance_is_the_derivative_too(what: str) -> None:
    limit = {what: 0.5, "buses": ["718", "736", "740"]}
    day = opened("ieee37_svg", {"clock.start": "2024-07-15T20:00:00", "clock.steps": 1, "network.unbalance": limit})
    demand = 0.95 * day.declared_p_mw
    prices = day.clearing.step(0, demand, day.clearing.solve(demand), 1.0).prices
    assert np.abs(prices.active["unbalance"]).max() > 1e-2
    total, here = prices.total()[0], cost_with(day, 0, demand[0], 0, 0.0, False)
    for node in np.random.default_rng(5).choice(len(total), size=6, replace=False):
        up = (cost_with(day, 0, demand[0], node, EPSILON_MW, False) - here) / EPSILON_MW
        down = (here - cost_with(day, 0, demand[0], node, -EPSILON_MW, False)) / EPSILON_MW
        assert_between(float(total[node]), down, up)
