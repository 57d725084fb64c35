"""Solving all steps on the tree against a dense solution of each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from cosim.grid.feeder.tables import read_feeder
from cosim.grid.linear import lindist3flow, tree_solver
from cosim.grid.linear.layered_solver import LayeredSolver
from cosim.grid.linear.network import FEW, solve_together
from cosim.grid.linear.tree_solver import TreeSolver, kept


def random_tree(rng: np.random.Generator, groups: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(states,) group of each state in any order, (groups,) parents, and (states, states) which entries there are."""
    parent = np.array([-1] + [int(rng.integers(0, k)) for k in range(1, groups)])
    group = rng.permutation(np.repeat(np.arange(groups), rng.integers(1, 5, groups)))
    near = group[:, None] == group
    near |= (parent[group][:, None] == group) | (group[:, None] == parent[group])
    there = near & (rng.random(near.shape) < 0.6)
    return group, parent, there | np.eye(len(group), dtype=bool)


@given(seed=st.integers(0, 10**6), groups=st.integers(1, 9), steps=st.integers(1, 3), columns=st.integers(0, 3))
def test_a_tree_is_solved_as_by_dense_elimination(seed: int, groups: int, steps: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    group, parent, there = random_tree(rng, groups)
    n = len(group)
    matrices = there * rng.normal(size=(steps, n, n)) + 8 * np.eye(n)
    pattern = sp.csc_array(there.astype(float))
    rows, columns_of = pattern.indices, np.repeat(np.arange(n), np.diff(pattern.indptr))
    right = rng.normal(size=(steps, n, columns)) * (rng.random((n, columns)) < 0.5)
    found = TreeSolver(pattern.indices, pattern.indptr, group, parent).solve(matrices[:, rows, columns_of], right)
    assert found == pytest.approx(np.linalg.solve(matrices, right), rel=1e-9, abs=1e-12)


def test_equations_that_go_round_in_a_loop_are_refused() -> None:
    loop = sp.csc_array(np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 0.0, 1.0]]))
    with pytest.raises(ValueError, match="tree"):
        TreeSolver(loop.indices, loop.indptr, np.arange(3), np.array([-1, 0, 1]))


def test_a_solver_is_made_once_for_equations_at_the_same_places_and_of_the_same_kind() -> None:
    chain = sp.csc_array(np.array([[1.0, 1.0], [1.0, 1.0]]))
    group, parent = np.arange(2), np.array([-1, 0])
    first = kept(TreeSolver, chain.indices, chain.indptr, group, parent)
    assert kept(TreeSolver, chain.indices.copy(), chain.indptr, group.copy(), parent) is first
    assert isinstance(kept(LayeredSolver, chain.indices, chain.indptr, group, parent), LayeredSolver)


@pytest.mark.parametrize("name", ["ieee13", "ieee37", "ieee123"])
def test_networks_of_many_steps_are_solved_as_each_by_itself(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    feeder, rng = read_feeder(name), np.random.default_rng(3)
    steps, nodes = FEW + 1, len(lindist3flow.nodes_of(feeder))
    p, q = 1e-3 * rng.random((2, steps, nodes))
    networks = lindist3flow.fixed_points(feeder, np.linspace(0.3, 0.9, steps), p, q, [None] * steps)
    monkeypatch.setattr(tree_solver, "LARGEST", 1)  # one step after the other, as on a large feeder
    together = np.array(solve_together(networks, p, q))
    apart = np.array([n.solve(p[k], q[k]) for k, n in enumerate(networks)])
    assert together == pytest.approx(apart, rel=1e-11, abs=1e-12)
    assert np.array(solve_together([replace(n, tree=None) for n in networks], p, q)) == pytest.approx(apart, abs=1e-12)
