"""Sparse linear equations of a tree, solved for many steps together as dense arrays.

The states of a radial feeder fall into groups, one a bus with the branch that feeds it, and the equations of a group
hold states of its own, of the group above it and of the groups below it. Elimination from the leaves to the source
therefore fills nothing beyond these blocks: the groups of one depth are eliminated together, for all steps at once,
with one call of LAPACK, which pivots within each block. No step is factorised apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]
Index = NDArray[np.intp]
LARGEST = 1 << 22
"""How many numbers of a solution are worked on at a time: steps beyond that wait, so that memory stays small."""


def at_a_time(states: int, columns: int) -> int:
    """How many steps are worked on at a time, with so many right-hand sides each."""
    return max(1, LARGEST // max(1, states * (columns + 3)))


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Adds contributions that go to the same place: their order by place, where each place begins, the places."""

    order: Index
    starts: Index
    places: Index

    @staticmethod
    def at(places: Index) -> Sums:
        order = np.argsort(places, kind="stable")
        first = np.flatnonzero(np.r_[True, np.diff(places[order]) != 0]) if len(places) else order
        return Sums(order, first, places[order][first])

    def subtract(self, target: Real, contributions: Real, used: Index) -> None:
        """Take (steps, contributions, used) off ``target`` (steps, places, m) in these of its columns."""
        if len(self.places) and len(used):
            sums = np.add.reduceat(contributions[:, self.order], self.starts, axis=1)
            target[:, self.places[:, None], used] -= sums


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """Groups of one depth and size.

    Attributes:
        states: (groups, size). above: (groups, width) states of the group above that their equations hold; the number
            of states in all where there are fewer.
        own: where the groups' blocks begin among all, and where they end.
        down_place, down_entry: places in the (groups, size, width) blocks of the states above, and the entries.
        up_entry, up_group, up_state: entries of these groups' states in the equations of the group above.
        to_blocks, to_right: where their elimination changes the blocks above and the right-hand sides.
    """

    states: Index
    above: Index
    own: tuple[int, int]
    down_place: Index
    down_entry: Index
    up_entry: Index
    up_group: Index
    up_state: Index
    to_blocks: Sums
    to_right: Sums


class _Places:
    """Where the numbers of the equations stand, found once; arguments and errors as of :class:`TreeSolver`.

    Attributes:
        row, column: (entries,) of the matrix; own: entries within a group; down, up: entries in equations of a group
            that hold states of the group above, and in equations of the group above that hold states of a group.
        batches: groups of one depth and size together, the deepest first.
        numbers: how many numbers the groups' own blocks have.
    """

    def __init__(self, indices: Index, indptr: Index, group: Index, parent: Index) -> None:
        self._group = group
        self.row, self.column = np.asarray(indices, dtype=np.intp), np.repeat(np.arange(len(group)), np.diff(indptr))
        here, there, above = group[self.row], group[self.column], np.append(parent, -1)
        self.own, self.down, self.up = (
            np.flatnonzero(kind) for kind in (here == there, above[here] == there, above[there] == here)
        )
        if len(self.own) + len(self.down) + len(self.up) != len(self.row):
            raise ValueError("the equations do not make a tree of these groups")
        self._size = size = np.bincount(group, minlength=len(parent))
        order = np.argsort(group, kind="stable")
        self._states = np.split(order, np.cumsum(size)[:-1])
        self._local = np.empty(len(group), dtype=np.intp)
        self._local[order] = np.arange(len(group)) - np.repeat(np.cumsum(size) - size, size)
        kinds: dict[tuple[int, int], list[int]] = {}
        for k, (depth, n) in enumerate(zip(_depths(parent).tolist(), size.tolist(), strict=True)):
            if n:
                kinds.setdefault((-depth, n), []).append(k)
        self.batches = [np.array(kinds[kind]) for kind in sorted(kinds)]
        self._first, self.numbers = np.zeros(len(parent), dtype=np.intp), 0
        for which in self.batches:
            area = int(size[which[0]]) ** 2
            self._first[which] = self.numbers + area * np.arange(len(which))
            self.numbers += area * len(which)
        self._number = np.zeros(len(parent), dtype=np.intp)  # of each group within its batch
        for which in self.batches:
            self._number[which] = np.arange(len(which))
        self._down_of, self._up_of = _by_group(here[self.down], len(parent)), _by_group(there[self.up], len(parent))

    def of(self, row: Index, column: Index) -> Index:
        """Places of entries of groups' own blocks among all of these."""
        k = self._group[row]
        return np.asarray(self._first[k] + self._local[row] * self._size[k] + self._local[column])

    def batch(self, which: Index) -> _Batch:
        """What is done with these groups, which are of one depth and size."""
        n, count = int(self._size[which[0]]), len(self._group)
        down = self.down[np.concatenate([self._down_of[k] for k in which])]
        up = self.up[np.concatenate([self._up_of[k] for k in which])]
        number, column = self._number[self._group[self.row[down]]], self.column[down]
        pairs, place = np.unique(number * count + column, return_inverse=True)  # (group, state above) that occur
        owner = pairs // count
        spot = np.arange(len(pairs)) - np.searchsorted(owner, owner)
        width = int(spot.max(initial=-1)) + 1
        above = np.full((len(which), width), count, dtype=np.intp)
        above[owner, spot] = pairs % count
        of_up = self._number[self._group[self.column[up]]]
        there = above[of_up]
        known = there < count
        rows = np.broadcast_to(self.row[up][:, None], there.shape)
        blocks = np.full(there.shape, self.numbers, dtype=np.intp)
        blocks[known] = self.of(rows[known], there[known])
        first = int(self._first[which[0]])
        return _Batch(
            states=np.array([self._states[k] for k in which]), above=above, own=(first, first + n * n * len(which)),
            down_place=(number * n + self._local[self.row[down]]) * width + spot[place], down_entry=down,
            up_entry=up, up_group=of_up, up_state=self._local[self.column[up]],
            to_blocks=Sums.at(blocks.ravel()), to_right=Sums.at(self.row[up]),
        )  # fmt: skip


def _by_group(group: Index, count: int) -> list[Index]:
    """Places of entries by the group that each belongs to."""
    order = np.argsort(group, kind="stable")
    return np.split(order, np.cumsum(np.bincount(group, minlength=count))[:-1])


class TreeSolver:
    """Equations whose entries always stand at the same places, on a tree of groups.

    Args:
        indices, indptr: of the (states, states) csc matrix.
        group: (states,) group of each state and of the equation of the same number.
        parent: (groups,) the group above each; -1 for the source's.

    Raises:
        ValueError: an equation holds states that are neither of its group nor of one next to it.
    """

    def __init__(self, indices: Index, indptr: Index, group: Index, parent: Index) -> None:
        self._count = len(group)
        places = _Places(indices, indptr, group, parent)
        self._numbers, self._own_entry = places.numbers, places.own
        self._own_place = places.of(places.row[places.own], places.column[places.own])
        self._batches = [places.batch(which) for which in places.batches]

    def solve(self, values: Real, right: Real, wanted: Index | None = None) -> Real:
        """Solutions of all steps.

        Args:
            values: (steps, entries) of the matrices. right: (steps, states, m).
            wanted: states that are asked for; all are found anyway, because each hangs together with all.

        Returns:
            (steps, states, m).

        Raises:
            numpy.linalg.LinAlgError: a block is singular.
        """
        together = at_a_time(*right.shape[1:])
        parts = range(0, len(values), together)
        found = [self._solved(values[i : i + together], right[i : i + together]) for i in parts]
        return found[0] if len(found) == 1 else np.concatenate([np.zeros((0, *right.shape[1:])), *found])

    def _solved(self, values: Real, right: Real) -> Real:
        steps, _, m = right.shape
        blocks = np.zeros((steps, self._numbers + 1))  # the last place takes what has none
        blocks[:, self._own_place] = values[:, self._own_entry]
        right = right.copy()
        eliminated = []
        for b in self._batches:
            groups, n = b.states.shape
            width = b.above.shape[1]
            down = np.zeros((steps, groups * n * width))
            down[:, b.down_place] = values[:, b.down_entry]
            own = blocks[:, b.own[0] : b.own[1]].reshape(steps, groups, n, n)
            here = right[:, b.states]
            used = np.flatnonzero(here.any(axis=(0, 1, 2)))  # most injections enter elsewhere
            both = np.concatenate([down.reshape(steps, groups, n, width), here[..., used]], axis=3)
            solved = np.linalg.solve(own, both)
            eliminated.append((used, solved))
            if len(b.up_entry):
                moved = values[:, b.up_entry, None] * solved[:, b.up_group, b.up_state]
                b.to_blocks.subtract(blocks[..., None], moved[:, :, :width].reshape(steps, -1, 1), np.zeros(1, np.intp))
                b.to_right.subtract(right, moved[:, :, width:], used)
        found = np.zeros((steps, self._count + 1, m))
        for b, (used, solved) in zip(reversed(self._batches), reversed(eliminated), strict=True):
            width = b.above.shape[1]
            here = -solved[..., :width] @ found[:, b.above]
            here[..., used] += solved[..., width:]
            found[:, b.states] = here
        return found[:, :-1]


S = TypeVar("S")
_KEPT: dict[bytes, Any] = {}
KEPT = 32
"""How many solvers are kept."""


def kept(solver: Callable[[Index, Index, Index, Index], S], *places: Index) -> S:
    """The solver of equations at these places, made once: taps that move leave places alone, as a rule.

    Args:
        solver: its class. places: its arguments, see :class:`TreeSolver`.
    """
    key = hashlib.sha256(repr(solver).encode())
    for part in places:
        key.update(part.tobytes())
    digest = key.digest()
    if digest not in _KEPT:
        if len(_KEPT) >= KEPT:
            _KEPT.clear()
        _KEPT[digest] = solver(*places)
    found: S = _KEPT[digest]
    return found


def _depths(parent: Index) -> Index:
    """(groups,) how many groups are above each; parents come before their children."""
    depth = np.zeros(len(parent), dtype=np.intp)
    for k, above in enumerate(parent.tolist()):
        depth[k] = 0 if above < 0 else depth[above] + 1
    return depth
