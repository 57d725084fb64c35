"""The operator's cost in AC power flow, and the dispatch of least cost at a given demand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cosim.agents.dso import DistributionSystemOperator
from cosim.agents.dso.ac_dispatch import AcDispatch, AcPoint, WindowData, shortened
from cosim.experiments.benchmarks.network.ac_rounds import overrides
from cosim.experiments.benchmarks.network.ac_slopes import AcSlopes
from cosim.grid.feeder.phases import Terminal
from cosim.grid.feeder.tables import read_feeder
from cosim.grid.opendss.circuit import AcCircuit
from cosim.scenario.loading import load_scenario
from cosim.scenario.preparation import prepare
from cosim.simulation.simulation import Simulation

Opened = tuple[Simulation, DistributionSystemOperator, AcDispatch, WindowData, AcPoint]


@pytest.fixture(scope="module")
def opened() -> Opened:
    """A window of IEEE 13 with random units, at work on arrival and nothing dispatched."""
    changes: dict[str, Any] = {**overrides(read_feeder("ieee13"), "ieee13", 0, 1), "mode": "uncoordinated"}
    simulation = Simulation(prepare(*load_scenario("ieee37", changes)))
    simulation.run()
    operator = simulation.market.operators[0]
    assert isinstance(operator, DistributionSystemOperator)
    data, ac = operator._window_data(), operator._ac_dispatch
    p_mw = operator._settled[0]  # type: ignore[index]
    nothing = np.zeros((data.count, ac.model.resource_variables))
    return simulation, operator, ac, data, ac.at(data, p_mw, nothing)


def test_cost_is_that_of_the_ac_import_and_of_the_worst_ac_voltage(opened: Opened) -> None:
    _, operator, _, data, point = opened
    circuit, limits = AcCircuit(operator.feeder), operator.limits
    for t in range(data.count):
        injections = operator.injections(point.p_mw[t], point.dispatch[t])
        found = circuit.solve(data.load_scale[t], [(a, 1000 * p, 1000 * q) for a, p, q in injections])
        squares = np.array(list(found.voltages.values())) ** 2
        broken = max(0.0, limits.v_min_pu**2 - squares.min()) + max(0.0, squares.max() - limits.v_max_pu**2)
        cost = operator.price[t] * found.p_source_kw / 1000 + limits.voltage_penalty_usd_per_pu2h * broken
        assert point.costs_usd[t] == pytest.approx(operator.hours * cost, rel=1e-6)


def test_the_least_cost_is_what_scipy_finds_with_opendss_in_the_loop(opened: Opened) -> None:
    simulation, operator, ac, data, start = opened
    least, oracle = ac.least_cost(data, start), AcSlopes(simulation)
    assert (least.costs_usd <= start.costs_usd + 1e-9).all()
    anywhere = Terminal("671", "wye", ("a",))
    for t in (0, int(np.argmax(start.broken_pu))):
        assert least.costs_usd[t] == pytest.approx(oracle.least_cost_usd(t, anywhere, 0.0), rel=2e-6)


def test_a_start_without_an_ac_solution_stays_as_it_is(opened: Opened) -> None:
    _, _, ac, data, start = opened
    far = ac.at(data, start.p_mw + 50.0, start.dispatch)
    assert np.isinf(far.costs_usd).all()
    assert ac.least_cost(data, far) is far


@pytest.mark.parametrize("curvature", [2.5, 4.0, 9.0])
def test_a_step_is_shortened_to_the_lowest_point_of_a_parabola(curvature: float) -> None:
    """Of -gain x + curvature / 2 x^2, which is gain / curvature."""
    gain = 1.0
    assert shortened(1.0, gain, -gain + curvature / 2) == pytest.approx(gain / curvature)


def test_a_step_without_an_ac_solution_is_shortened_most() -> None:
    assert shortened(1.0, 1.0, np.inf) == pytest.approx(0.1)
