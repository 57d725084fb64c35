"""Linear equations ``matrix @ y == constant`` whose numbers change while their places stay.

The laws of a network add their entries in the same order at every operating point. The first time their places are
put in order; after that only numbers are collected, for many operating points at once (a leading axis).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Index = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Where the entries of the equations go.

    Attributes:
        size: number of equations.
        kept: of each call of ``add`` the entries that are there, flat (-1 marked the others).
        order, starts: entries by place in the csc matrix, and where each place begins; entries at one place add up.
        indices, indptr: of the csc matrix; entries that happen to be zero are kept.
    """

    size: int
    kept: tuple[Index, ...]
    order: Index
    starts: Index
    indices: Index
    indptr: Index


@dataclass(slots=True)
class Equations:
    """Entries of ``count`` systems of ``size`` equations as they are collected; index -1 (a missing phase) is dropped.

    Values are scalars or have a leading axis of length ``count`` (or 1).
    """

    size: int
    count: int
    layout: Layout | None = None
    calls: int = 0
    rows: list[Index] = field(default_factory=list)
    columns: list[Index] = field(default_factory=list)
    kept: list[Index] = field(default_factory=list)
    values: list[Real] = field(default_factory=list)
    constant: Real = field(init=False)

    def __post_init__(self) -> None:
        self.constant = np.zeros((self.count, self.size + 1))  # one place more, where index -1 falls

    def add(self, rows: Index, columns: Index, values: Real | float) -> None:
        """Add ``values`` at ``rows`` x ``columns``, broadcast against each other."""
        shape = np.broadcast_shapes(np.shape(rows), np.shape(columns), np.shape(values)[1:])
        if self.layout is None:
            r, c = (np.broadcast_to(a, shape).ravel() for a in (rows, columns))
            kept = np.flatnonzero((r >= 0) & (c >= 0))
            self.rows.append(r[kept])
            self.columns.append(c[kept])
            self.kept.append(kept)
        else:
            kept = self.layout.kept[self.calls]
        self.calls += 1
        self.values.append(np.broadcast_to(values, (self.count, *shape)).reshape(self.count, -1)[:, kept])

    def add_complex(
        self,
        rows: tuple[Index, Index],
        columns: tuple[Index, Index],
        values: Complex,
        by_conjugate: Complex | None = None,
    ) -> None:
        """Add p + jq of the rows += values * z + by_conjugate * conj(z), z = p + jq of the columns."""
        plus, minus = (values, values) if by_conjugate is None else (values + by_conjugate, values - by_conjugate)
        self.add(rows[0], columns[0], plus.real)
        self.add(rows[0], columns[1], -minus.imag)
        self.add(rows[1], columns[0], plus.imag)
        self.add(rows[1], columns[1], minus.real)

    def add_constant(self, rows: Index, values: Real | float) -> None:
        """Add to the right-hand side."""
        shape = np.broadcast_shapes(np.shape(rows), np.shape(values)[1:])
        flat = np.broadcast_to(values, (self.count, *shape)).reshape(self.count, -1)
        np.add.at(self.constant.T, np.broadcast_to(rows, shape).ravel(), flat.T)

    def finish(self) -> Layout:
        """The layout of what was collected."""
        if self.layout is not None:
            return self.layout
        row, column = np.concatenate(self.rows), np.concatenate(self.columns)
        order = np.lexsort((row, column))
        row, column = row[order], column[order]
        first = np.flatnonzero(np.r_[True, (np.diff(row) != 0) | (np.diff(column) != 0)])
        indptr = np.searchsorted(column[first], np.arange(self.size + 1))
        return Layout(self.size, tuple(self.kept), order, first, row[first].astype(np.int32), indptr.astype(np.int32))

    def numbers(self) -> Real:
        """(points, entries) of the collected matrices, in the order of the layout."""
        layout = self.finish()
        return np.asarray(
            np.add.reduceat(np.concatenate(self.values, axis=1)[:, layout.order], layout.starts, axis=1)
        )


def matrix_of(layout: Layout, numbers: Real) -> sp.csc_array[np.float64]:
    """The (size, size) matrix of one operating point from its entries."""
    return sp.csc_array((numbers, layout.indices, layout.indptr), shape=(layout.size, layout.size))
