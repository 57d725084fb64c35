"""The two-sided form of a quadratic program, in which solvers expect it.

minimise 1/2 x'Px + c'x   subject to   Ax = b,  lower <= Gx <= upper,  x_lower <= x <= x_upper

Rows of an inequality form with one variable become bounds here, and rows with proportional coefficients the two sides
of one row.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from cosim.optimization.qp.arrays import Indices, Matrix, Vector
from cosim.optimization.qp.parametric import ParametricQP

NOTHING, BOUND, ROW = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Form:
    """The matrices of the two-sided form, fixed for the life of a solver; csc, the Hessian with its full
    diagonal.
    """

    hessian: Matrix
    eq_matrix: Matrix
    row_matrix: Matrix


@dataclass(frozen=True, slots=True)
class Limits:
    """The vectors of the two-sided form that may change from solve to solve; infinite where open."""

    eq_rhs: Vector
    lower: Vector
    upper: Vector
    x_lower: Vector
    x_upper: Vector


@dataclass(frozen=True, slots=True)
class Bounds:
    """Inequalities of one variable each: their rows, their variables, and what those are multiplied with, all (k,)."""

    rows: Indices
    variables: Indices
    scales: Vector


@dataclass(frozen=True)
class Placement:
    """Where each row of G went in the two-sided form: nowhere, a variable's bound, or one side of a row."""

    kind: Indices
    place: Indices
    scale: Vector
    first_rows: Indices

    @cached_property
    def sides(self) -> dict[tuple[int, bool], tuple[Indices, Indices, Vector]]:
        """Rows that are the upper (True) or lower sides of bounds and of rows, their places, and their scales."""
        found = {}
        for kind in (BOUND, ROW):
            for upper in (True, False):
                mine = np.flatnonzero((self.kind == kind) & ((self.scale > 0) == upper))
                found[kind, upper] = mine, self.place[mine], self.scale[mine]
        return found

    @property
    def bounds(self) -> Bounds:
        """The rows that are bounds."""
        mine = np.flatnonzero(self.kind == BOUND)
        return Bounds(mine, self.place[mine], self.scale[mine])


def full_form(hessian: Matrix, eq_matrix: Matrix, row_matrix: Matrix) -> Form:
    """A Form whose Hessian stores its whole diagonal, so that the diagonal may change in place."""
    return Form(full_diagonal(hessian), sp.csc_array(eq_matrix), sp.csc_array(row_matrix))


def full_diagonal(hessian: Matrix) -> Matrix:
    """A Hessian that stores its whole diagonal, as csc."""
    n = hessian.shape[0]
    pattern = sp.coo_array(hessian)
    every = np.arange(n)
    data = np.concatenate([pattern.data, np.zeros(n)])
    index = (np.concatenate([pattern.coords[0], every]), np.concatenate([pattern.coords[1], every]))
    return sp.csc_array((data, index), shape=(n, n))


def with_diagonal(hessian: Matrix, diagonal: Vector | None) -> Matrix:
    """A Hessian with something added to its (stored) diagonal; the pattern stays."""
    if diagonal is None:
        return hessian
    column = np.repeat(np.arange(hessian.shape[1]), np.diff(hessian.indptr))
    data = hessian.data.copy()
    data[hessian.indices == column] += diagonal
    return sp.csc_array((data, hessian.indices, hessian.indptr), shape=hessian.shape)


def place_rows(qp: ParametricQP) -> Placement:
    """Find for each row of G its place in the two-sided form."""
    m = len(qp.ineq_rows)
    place, scale = np.zeros(m, dtype=np.int64), np.ones(m)
    matrix = qp.ineq_matrix.copy()
    matrix.eliminate_zeros()
    matrix.sort_indices()
    entries, first = np.diff(matrix.indptr), matrix.indptr[:-1]
    kind = np.where(entries == 0, NOTHING, ROW)
    # Of the rows with one variable the first of each side is its bound.
    single = np.flatnonzero(entries == 1)
    at, value = matrix.indices[first[single]].astype(np.int64), matrix.data[first[single]]
    _, bounds = np.unique(2 * at + (value > 0), return_index=True)
    kind[single[bounds]], place[single[bounds]], scale[single[bounds]] = BOUND, at[bounds], value[bounds]
    first_rows: list[int] = []
    first_value: list[float] = []
    alike: dict[tuple[bytes, bytes], list[int]] = {}
    used: set[tuple[int, bool]] = set()
    lead = matrix.data[np.minimum(first, max(len(matrix.data) - 1, 0))] if len(matrix.data) else np.ones(m)
    # Bytes of the columns and of the coefficients over the first one, by which rows are compared.
    at_bytes, over_first = matrix.indices.tobytes(), (matrix.data / np.repeat(lead, entries)).tobytes()
    pointers, width, leads = matrix.indptr.tolist(), matrix.indices.itemsize, lead.tolist()
    for i in np.flatnonzero(kind == ROW).tolist():
        start, end = pointers[i], pointers[i + 1]
        group = alike.setdefault((at_bytes[width * start : width * end], over_first[8 * start : 8 * end]), [])
        for where in group:
            ratio = leads[i] / first_value[where]
            if (where, ratio > 0) not in used:
                place[i], scale[i] = where, ratio
                break
        else:
            where, ratio = len(first_rows), 1.0
            place[i] = where
            group.append(where)
            first_rows.append(i)
            first_value.append(leads[i])
        used.add((where, ratio > 0))
    return Placement(kind, place, scale, np.array(first_rows, dtype=np.int64))


def two_sided(put: Placement, variables: int, eq_rhs: Vector, rhs: Vector) -> tuple[Limits, bool]:
    """The sides of the two-sided form for these right-hand sides, and False if an empty row or box excludes any x."""
    sides: dict[int, tuple[Vector, Vector]] = {}
    for kind, size in ((BOUND, variables), (ROW, len(put.first_rows))):
        lower, upper = np.full(size, -np.inf), np.full(size, np.inf)
        for is_upper, side in ((True, upper), (False, lower)):
            mine, place, scale = put.sides[kind, is_upper]
            side[place] = rhs[mine] / scale
        sides[kind] = (lower, upper)
    empty = rhs[put.kind == NOTHING]
    possible = bool(np.all(empty >= -1e-9))
    for lower, upper in sides.values():
        crossed = lower > upper
        if np.any(crossed):
            # A gap of rounding size is closed; a wider one leaves no feasible point.
            possible &= bool(np.all(lower[crossed] - upper[crossed] <= 1e-9 * (1 + np.abs(upper[crossed]))))
            lower[crossed] = upper[crossed]
    return Limits(eq_rhs, *sides[ROW], *sides[BOUND]), possible
