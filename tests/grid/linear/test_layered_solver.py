"""Equations in layers, solved together, against a dense or a sparse solution of each step."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from cosim.grid.feeder.phases import Terminal
from cosim.grid.feeder.tables import read_feeder
from cosim.grid.linear import ac_tangent
from cosim.grid.linear.layered_solver import LayeredSolver
from cosim.grid.linear.network import FEW, LinearNetwork, affine_together, solve_together
from cosim.grid.opendss.circuit import AcCircuit
from tests.grid.linear.test_tree_solver import random_tree


def random_layers(rng: np.random.Generator, groups: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(states,) group of each state, -1 outside the core, (groups,) parents, and which entries there are."""
    core, parent, near = random_tree(rng, groups)
    given_, later = (int(k) for k in rng.integers(1, 6, 2))
    n = len(core) + given_ + later
    there = np.eye(n, dtype=bool)
    there[: len(core), : len(core)] = near
    there[: len(core), len(core) : len(core) + given_] = rng.random((len(core), given_)) < 0.4
    there[n - later :] |= np.tril(rng.random((later, n)) < 0.4, n - later - 1)
    order = rng.permutation(n)
    group = np.concatenate([core, np.full(given_ + later, -1)])
    return group[order], parent, there[np.ix_(order, order)]


@given(seed=st.integers(0, 10**6), groups=st.integers(1, 7), steps=st.integers(1, 3), columns=st.integers(1, 3))
def test_layers_are_solved_as_by_dense_elimination(seed: int, groups: int, steps: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    group, parent, there = random_layers(rng, groups)
    n = len(group)
    matrices = there * rng.normal(size=(steps, n, n)) + 8 * np.eye(n)
    pattern = sp.csc_array(there.astype(float))
    values = matrices[:, pattern.indices, np.repeat(np.arange(n), np.diff(pattern.indptr))]
    right = rng.normal(size=(steps, n, columns)) * (rng.random((n, columns)) < 0.5)
    solver, oracle = LayeredSolver(pattern.indices, pattern.indptr, group, parent), np.linalg.solve(matrices, right)
    assert solver.solve(values, right) == pytest.approx(oracle, rel=1e-9, abs=1e-12)
    wanted = np.flatnonzero(rng.random(n) < 0.3)
    assert solver.solve(values, right, wanted)[:, wanted] == pytest.approx(oracle[:, wanted], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 1.0, 1.0]], id="later states in a circle"),
        pytest.param([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]], id="the core holds a later state"),
    ],
)
def test_equations_without_layers_are_refused(entries: list[list[float]]) -> None:
    pattern = sp.csc_array(np.array(entries))
    with pytest.raises(ValueError, match="layers"):
        LayeredSolver(pattern.indices, pattern.indptr, np.array([0, -1, -1]), np.array([-1]))


def tangents(name: str) -> list[LinearNetwork]:
    """AC tangents at more operating points than are factorised one by one."""
    feeder = read_feeder(name)
    circuit, bus = AcCircuit(feeder), next(b for b in reversed(feeder.buses) if len(b.phases) == 3)
    terminal = Terminal(bus.name, "wye", "abc") if bus.grounded else Terminal(bus.name, "delta", ("ab", "bc", "ca"))
    scales = np.linspace(0.4, 1.0, FEW + 1).tolist()
    return ac_tangent.linearised([ac_tangent.require(circuit, k, [(terminal, 90.0 * k, 20.0)]) for k in scales])


@pytest.mark.parametrize("name", ["ieee13", "ieee37", "ieee123"])
def test_tangents_of_many_steps_are_solved_as_each_by_a_sparse_factorisation(name: str) -> None:
    networks, rng = tangents(name), np.random.default_rng(3)
    p, q = 1e-2 * rng.random((2, len(networks), len(networks[0].nodes)))
    for network, found, active, reactive in zip(networks, solve_together(networks, p, q), p, q, strict=True):
        there = network.solve(active, reactive)
        for output in (network.voltages, network.flows_p, network.flows_q, network.import_p, network.unbalance):
            assert output.at(found) == pytest.approx(output.at(there), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", ["ieee13", "ieee37"])
def test_outputs_of_tangents_by_injections_are_those_of_each_by_itself(name: str) -> None:
    networks = tangents(name)
    first, rng = networks[0], np.random.default_rng(4)
    some = np.zeros((len(first.nodes), 4))
    some[rng.integers(0, len(first.nodes), 4), np.arange(4)] = 1.0
    injected = np.asarray(first.demand_p @ some + first.demand_q @ some[:, ::-1])
    values, slopes = affine_together(networks, lambda n: n.voltages, lambda n: n.unbalance, injected)
    count = len(first.voltages.constant)
    for k, network in enumerate(networks):
        for output, rows in ((network.voltages, slice(count)), (network.unbalance, slice(count, None))):
            base, by_injection = network.affine_in(output, injected)
            assert values[k, rows] == pytest.approx(base, abs=1e-9)
            assert slopes[k, rows] == pytest.approx(by_injection, rel=1e-8, abs=1e-8)
