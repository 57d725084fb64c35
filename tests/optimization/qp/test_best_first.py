"""The queue of a branch and bound: order and bound against sorting all nodes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosim.optimization.qp.best_first import BestFirst

NODES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=20)


@given(NODES)
def test_nodes_come_by_bound_then_tie_then_age(nodes: list[tuple[int, int]]) -> None:
    queue = BestFirst[int]()
    for number, (bound, tie) in enumerate(nodes):
        queue.push(bound, number, tie)
    assert [node for _, node in queue] == sorted(range(len(nodes)), key=lambda i: (*nodes[i], i))


@given(NODES, st.integers(0, 3))
def test_the_bound_is_the_least_of_open_and_closed_nodes(nodes: list[tuple[int, int]], closed: int) -> None:
    queue = BestFirst[int]()
    queue.close(closed)
    for number, (bound, _) in enumerate(nodes):
        queue.push(bound, number)
    for bound, node in queue:
        assert min(queue.bound, bound) == min([closed, bound, *(nodes[i][0] for i in queue.nodes)])
        assert node not in queue.nodes
    assert queue.bound == closed and not queue


def test_an_empty_queue_bounds_nothing() -> None:
    assert BestFirst[int]().bound == np.inf


def test_children_that_are_pushed_while_iterating_come_in_their_turn() -> None:
    """A knapsack by branch and bound over its linear relaxation, against all subsets."""
    value, weight, room = np.array([6.0, 10.0, 12.0, 7.0]), np.array([1.0, 2.0, 3.0, 2.0]), 5.0
    queue, best = BestFirst[tuple[int, ...]](), 0.0

    def relaxed(taken: tuple[int, ...]) -> float:
        left, total = room - float(weight[[i for i, t in enumerate(taken) if t]].sum()), 0.0
        if left < 0:
            return np.inf
        total = float(value[[i for i, t in enumerate(taken) if t]].sum())
        for i in sorted(range(len(taken), 4), key=lambda i: -value[i] / weight[i]):
            share = min(1.0, left / weight[i])
            left, total = left - share * weight[i], total + share * value[i]
        return -total

    queue.push(relaxed(()), ())
    for bound, taken in queue:
        if bound >= -best:
            break
        if len(taken) == 4:
            best = max(best, -bound)
            continue
        for choice in (0, 1):
            if (child := relaxed((*taken, choice))) < np.inf:
                queue.push(child, (*taken, choice))
    subsets = [[i for i in range(4) if k >> i & 1] for k in range(16)]
    assert best == pytest.approx(max(value[s].sum() for s in subsets if weight[s].sum() <= room))
