"""Sparse linear equations whose core is a tree, with states that are given before it and states that follow from it.

The equations fall into layers. A given state stands alone in its equation (demand at a node); the states of the core
make a tree of groups (voltages of the buses, see :mod:`cosim.grid.linear.tree_solver`); every further state stands in
no equation but its own and those of later states (squared voltages, flows, the import). Only the core is eliminated,
and of the others those are worked out that are asked for.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cosim.grid.linear.tree_solver import Sums, TreeSolver

Real = NDArray[np.float64]
Index = NDArray[np.intp]


class LayeredSolver:
    """Equations in layers whose entries always stand at the same places.

    Args:
        indices, indptr: of the (states, states) csc matrix.
        group: (states,) group of each state of the core and of the equation of the same number; -1 of the others.
        parent: (groups,) the group above each; -1 for the source's.

    Raises:
        ValueError: the core is not a tree, or the other states do not fall into layers.
    """

    def __init__(self, indices: Index, indptr: Index, group: Index, parent: Index) -> None:
        count = len(group)
        row, column = np.asarray(indices, dtype=np.intp), np.repeat(np.arange(count), np.diff(indptr))
        core, inside = np.flatnonzero(group >= 0), group >= 0
        alone = np.bincount(row, minlength=count) == 1
        given = alone & ~inside
        self._row, self._column, self._core = row, column, core
        own = np.flatnonzero(row == column)
        self._diagonal = np.empty(count, dtype=np.intp)
        self._diagonal[row[own]] = own
        self._given = np.flatnonzero(given)
        among = np.flatnonzero(inside[row] & inside[column])
        number = np.cumsum(inside) - 1
        starts = np.searchsorted(number[column[among]], np.arange(len(core) + 1))
        self._among = among
        self._tree = TreeSolver(number[row[among]], starts, group[core], parent)
        self._into = np.flatnonzero(inside[row] & ~inside[column])
        if len(own) < count or not given[column[self._into]].all():
            raise ValueError("the equations do not fall into layers")
        self._later = _layers(row, column, inside | given)

    def solve(self, values: Real, right: Real, wanted: Index | None = None) -> Real:
        """Solutions of all steps.

        Args:
            values: (steps, entries) of the matrices. right: (steps, states, m).
            wanted: states that are asked for; by default all. What nothing wanted follows from is not worked out.

        Returns:
            (steps, states, m); arbitrary where it is not worked out.

        Raises:
            numpy.linalg.LinAlgError: a block is singular.
        """
        found = right.copy()
        found[:, self._given] /= values[:, self._diagonal[self._given], None]
        drawn = found[:, self._given].any(axis=(0, 2))
        loaded = np.zeros(right.shape[1], dtype=bool)
        loaded[self._given] = drawn
        self._subtract(found, values, self._into[loaded[self._column[self._into]]])
        found[:, self._core] = self._tree.solve(values[:, self._among], found[:, self._core])
        for states, entries in self._needed(wanted):
            self._subtract(found, values, entries)
            found[:, states] /= values[:, self._diagonal[states], None]
        return found

    def _subtract(self, found: Real, values: Real, entries: Index) -> None:
        """Take what states before have in some equations, at these entries, off their right-hand sides."""
        every = np.arange(found.shape[2])
        products = values[:, entries, None] * found[:, self._column[entries]]
        Sums.at(self._row[entries]).subtract(found, products, every)

    def _needed(self, wanted: Index | None) -> list[tuple[Index, Index]]:
        """Of each later layer the states that are wanted or lead to those, and the entries of their equations."""
        if wanted is None:
            return self._later
        needed = np.zeros(len(self._diagonal), dtype=bool)
        needed[wanted] = True
        chosen = []
        for states, entries in reversed(self._later):
            kept = entries[needed[self._row[entries]]]
            needed[self._column[kept]] = True
            chosen.append((states[needed[states]], kept))
        return chosen[::-1]


def _layers(row: Index, column: Index, known: NDArray[np.bool_]) -> list[tuple[Index, Index]]:
    """States after the core in the order in which they follow, and the entries of their equations off the diagonal."""
    known, found = known.copy(), []
    off = np.flatnonzero(row != column)
    while not known.all():
        waiting = np.zeros(len(known), dtype=bool)
        waiting[row[off[~known[column[off]]]]] = True
        states = np.flatnonzero(~known & ~waiting)
        if len(states) == 0:
            raise ValueError("the equations do not fall into layers")
        now = np.zeros(len(known), dtype=bool)
        now[states] = True
        found.append((states, off[now[row[off]]]))
        known |= now
    return found
