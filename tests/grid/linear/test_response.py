"""The strongest response of voltage to demand: what the search on large feeders finds is the largest of all."""

from __future__ import annotations

import numpy as np
import pytest

from cosim.experiments.benchmarks.synthetic import synthetic_feeder
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.tables import read_feeder
from cosim.grid.linear import lindist3flow, response
from cosim.grid.linear.network import FEW


def by_identity(feeder: Feeder) -> float:
    network = lindist3flow.build(feeder, losses=False)
    identity = np.eye(len(network.nodes))
    return float(np.abs(network.response(network.voltages, identity, np.zeros_like(identity))).max())


@pytest.mark.parametrize("name", ["ieee13", "ieee37", "ieee123", "made"])
def test_it_is_the_largest_of_all_pairs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    feeder = synthetic_feeder(300) if name == "made" else read_feeder(name)
    assert response.strongest_response(feeder) == pytest.approx(by_identity(feeder), rel=1e-12)
    monkeypatch.setattr(response, "ALL_NODES", 0)
    assert response.strongest_response(feeder) == pytest.approx(by_identity(feeder), rel=1e-12)


@pytest.mark.parametrize("more", [0, FEW])
def test_many_fixed_points_are_the_fixed_point_of_each(more: int) -> None:
    """Also of more than are factorised one by one."""
    feeder = read_feeder("ieee123")
    nodes = len(lindist3flow.nodes_of(feeder))
    rng, scale = np.random.default_rng(0), np.append([0.4, 1.0, 0.7], np.linspace(0.2, 0.9, more))
    p, q = 0.002 * rng.random((2, len(scale), nodes))
    start = lindist3flow.fixed_point(feeder, 0.7)
    warm = lindist3flow.OperatingPoint(start.solve(np.zeros(nodes), np.zeros(nodes)))
    together = lindist3flow.fixed_points(feeder, scale, p, q, [None, None, warm, *[None] * more])
    for k, network in enumerate(together):
        alone = lindist3flow.fixed_point(feeder, float(scale[k]), p[k], q[k])
        assert network.solve(p[k], q[k]) == pytest.approx(alone.solve(p[k], q[k]), abs=1e-9)
        assert np.abs(network.matrix - alone.matrix).max() <= 1e-8
