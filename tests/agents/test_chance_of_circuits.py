"""Limits by chance on an OpenDSS circuit whose own controls move: margins against OpenDSS, the price against costs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from cosim.constants import KILO, PRICE_PARTS
from cosim.experiments.benchmarks.leader.reduction import reduce
from cosim.grid.opendss.circuit import AcCircuit
from cosim.optimization.solvers.qp_solver import solve_qp
from tests.grid.dss_circuits import MOVING_RING
from tests.simulation.test_dss_run import scenario

from .conftest import Day, opened

PROBABILITY, LOAD_STD = 0.95, 0.05
CLOSER = 0.02
"""Share of the load of the finite difference."""


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    """Two hours of a ring whose regulator and capacitor stand elsewhere in each; the load alone errs."""
    chance = {"probability": PROBABILITY, "load_std": LOAD_STD}
    limits = {"v_min_pu": 0.975, "v_max_pu": 1.08, "ac_rounds": 0, "chance": chance}
    folder, loads = tmp_path_factory.mktemp("chance"), {"values": [1.5, 0.2]}
    return opened(str(scenario(folder, "ring", MOVING_RING, load_scale=loads, **limits)))


@pytest.mark.parametrize("t", [0, 1])
def test_margins_are_slopes_of_opendss_where_the_devices_stand(t: int, day: Day) -> None:
    operator, network = day.operator, day.clearing.networks[t]
    circuit = AcCircuit(operator.feeder)
    circuit.move_to(operator.feeder_at(t))
    decided = day.clearing.own(t, day.clearing.solve(day.declared_p_mw))
    dispatch = decided[: operator.clearing_model.resource_variables]
    kw = [(a, KILO * p, KILO * q) for a, p, q in operator.injections(day.declared_p_mw[t], dispatch)]
    squares = [
        np.array([circuit.solve(float(operator.load_scale[t]) * (1 + sign * CLOSER), kw).voltages[x] ** 2
                  for x in network.voltages.labels])
        for sign in (1, -1)
    ]  # fmt: skip
    slopes = np.abs(squares[0] - squares[1]) / (2 * CLOSER)
    margins = operator.clearing_model.margins[t][: len(slopes)]
    assert slopes.max() > 1e-2
    assert margins == pytest.approx(norm.ppf(PROBABILITY) * LOAD_STD * slopes, rel=2e-2, abs=2e-3 * slopes.max())


def test_the_parts_of_a_price_add_up_to_the_derivative_of_the_cost(day: Day) -> None:
    """Also the part ``risk``, which margins add; the cost is that of the clearing with demand a little moved."""
    operator, t = day.operator, 0
    p_mw = 1.3 * day.declared_p_mw
    operator.settle(p_mw, None)
    result = operator.result(t)
    network, step = day.clearing.networks[t], operator.own_step(t)
    theta = np.concatenate([p_mw[t], p_mw[t] * operator.reactive_ratio])

    def cost(node: int, mw: float, margins: bool) -> float:
        shifted = replace(network, constant=network.constant + mw * network.demand_p[:, [node]].toarray().ravel())
        own = step if margins else replace(step, margins=None)
        return solve_qp(reduce(operator.clearing_model.at(shifted, own), operator.clearing_model.kept).qp,
                        theta).require().objective  # fmt: skip

    assert set(result.prices.active) == set(PRICE_PARTS)
    total, risk = result.prices.total()[0], result.prices.active["risk"]
    assert np.abs(risk).max() > 1.0
    for node in (int(np.abs(risk).argmax()), 3, len(total) // 2):
        slopes = [(cost(node, 1e-4, m) - cost(node, -1e-4, m)) / 2e-4 for m in (True, False)]
        assert total[node] == pytest.approx(slopes[0], rel=1e-4)
        assert risk[node] == pytest.approx(slopes[0] - slopes[1], rel=1e-4, abs=1e-3)
