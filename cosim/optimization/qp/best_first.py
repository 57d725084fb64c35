"""Open nodes of a branch and bound, taken best bound first (Land and Doig 1960)."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from typing import Generic, TypeVar

import numpy as np

Node = TypeVar("Node")


class BestFirst(Generic[Node]):
    """A queue of open nodes, least lower bound first; of equal bounds the lower `tie` comes first, then the older node.

    Iterating removes nodes from the queue; others may be added meanwhile.

    Attributes:
        closed: least bound of the closed nodes: those that are neither branched on nor infeasible.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, int, Node]] = []
        self._order = itertools.count()
        self.closed = np.inf

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[tuple[float, Node]]:
        while self._heap:
            bound, _, _, node = heapq.heappop(self._heap)
            yield bound, node

    @property
    def nodes(self) -> list[Node]:
        """All open nodes, in no particular order."""
        return [node for _, _, _, node in self._heap]

    @property
    def bound(self) -> float:
        """The least bound of open and closed nodes: a lower bound of the whole, infinite where there are none."""
        return min(self._heap[0][0], self.closed) if self._heap else self.closed

    def push(self, bound: float, node: Node, tie: int = 0) -> None:
        """Add an open node."""
        heapq.heappush(self._heap, (bound, tie, next(self._order), node))

    def close(self, bound: float) -> None:
        """Close a node with this lower bound: it is not branched on any further."""
        self.closed = min(self.closed, bound)

    def clear(self) -> None:
        """Forget the open nodes."""
        self._heap.clear()
