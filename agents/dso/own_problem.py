"""What the operator decides in a window and what it costs, without the network: a statement as arrays.

A variable has its place among those of a step, alike in all steps; a row that joins steps stands in the variables of
all steps, step after step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cosim.agents.dso.resources.statement import MARKET, Rows, Statement
from cosim.optimization.qp.dominated_rows import can_bind

Real = NDArray[np.float64]
Index = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class OwnStep:
    """What the operator decides in a step and what it costs, without the network, and without rows that join steps:

        min sum_i square_i x_i^2 + cost'x + constant   subject to   rows x <= rhs,   equalities x = eq_rhs

    Attributes:
        row_names, eq_names: of the rows; bounds of single variables are the last rows.
        low, high: (n,) bounds that every feasible x keeps.
        binding: bounds, and those rows of several variables that the bounds leave a chance to bind.
        exclusive: pairs of variables of which one at most is positive.
        constants: the parts of ``constant`` by resource.
        margins: (rows,) by how much each inequality of the network is tightened; None: not at all.
    """

    square: Real
    cost: Real
    constant: float
    rows: Real
    rhs: Real
    row_names: tuple[str, ...]
    equalities: Real
    eq_rhs: Real
    eq_names: tuple[str, ...]
    low: Real
    high: Real
    binding: Index
    exclusive: tuple[tuple[str, str], ...] = ()
    constants: Mapping[str, float] = field(default_factory=dict)
    margins: Real | None = None

    def tightened(self, rhs: Real) -> Real:
        """Right-hand sides of the network's inequalities, less the margins."""
        return rhs if self.margins is None else rhs - self.margins

    @property
    def hessian(self) -> sp.csr_array[np.float64]:
        """(n, n) of the cost."""
        there, n = np.flatnonzero(self.square), len(self.square)
        pointers = np.concatenate([[0], np.cumsum(self.square != 0)])
        return sp.csr_array((2.0 * self.square[there], there, pointers), shape=(n, n))

    def usd(self, x: Real) -> float:
        """Cost of a decision (USD)."""
        return float(x @ (0.5 * (2.0 * self.square * x) + self.cost) + self.constant)


@dataclass(frozen=True, slots=True)
class Joined:
    """Rows that join steps: ``matrix x = rhs`` or ``<= rhs`` in the variables of all steps of the window.

    Attributes:
        local: names without the step; last: (rows,) the last step of each.
    """

    matrix: sp.csr_array[np.float64]
    rhs: Real
    names: tuple[str, ...]
    local: tuple[str, ...]
    last: Index


@dataclass(frozen=True, slots=True)
class OwnWindow:
    """What the operator decides in a window.

    Attributes:
        steps: of each step what it alone decides.
        equalities, inequalities: rows that join steps.
    """

    steps: tuple[OwnStep, ...]
    equalities: Joined
    inequalities: Joined

    @property
    def tied(self) -> bool:
        """Whether rows join the steps."""
        return len(self.equalities.names) + len(self.inequalities.names) > 0


@dataclass(frozen=True, slots=True)
class Order:
    """Places of a statement's variables: (variables,) place of each, their names in order, how many are resources'."""

    place: Index
    names: tuple[str, ...]
    resources: int


def order_of(statement: Statement) -> Order:
    """Active power of all resources, their reactive power, what else they decide, then what the market has."""
    ranks = [v.rank for v in statement.variables]
    order = sorted(range(len(ranks)), key=lambda i: (ranks[i], i))
    place = np.empty(len(ranks), dtype=np.intp)
    place[order] = np.arange(len(ranks))
    return Order(place, tuple(statement.variables[i].name for i in order), sum(r < MARKET for r in ranks))


@dataclass(frozen=True, slots=True)
class _Entries:
    """Rows of one kind: (row, step, place, value) of their entries; first and last step, rhs and name of each row."""

    row: Index
    step: Index
    place: Index
    value: Real
    first: Index
    last: Index
    rhs: Real
    names: NDArray[np.object_]

    def dense_of_steps(self, steps: int, n: int) -> list[tuple[Real, Real, tuple[str, ...]]]:
        """For each step the rows that it alone has: matrix, rhs and names."""
        alone = np.flatnonzero(self.first == self.last)
        order = alone[np.argsort(self.first[alone], kind="stable")]
        where = np.full(len(self.rhs), -1)
        where[order] = np.arange(len(order))
        at = where[self.row]
        matrix = np.zeros((len(order), n))
        np.add.at(matrix, (at[at >= 0], self.place[at >= 0]), self.value[at >= 0])
        rhs, names = self.rhs[order], self.names[order]
        bounds = np.searchsorted(self.first[order], np.arange(steps + 1))
        return [(matrix[a:b], rhs[a:b], tuple(names[a:b])) for a, b in zip(bounds[:-1], bounds[1:], strict=True)]

    def joined(self, steps: int, n: int) -> Joined:
        """The rows of several steps."""
        rows = np.flatnonzero(self.first != self.last)
        where = np.full(len(self.rhs), -1)
        where[rows] = np.arange(len(rows))
        at = where[self.row]
        mine = at >= 0
        columns = self.step[mine] * n + self.place[mine]
        matrix = sp.csr_array((self.value[mine], (at[mine], columns)), shape=(len(rows), steps * n))
        matrix.sum_duplicates()
        names = tuple(f"{name}@{t}" for name, t in zip(self.names[rows], self.last[rows], strict=True))
        return Joined(matrix, self.rhs[rows], names, tuple(self.names[rows]), self.last[rows])


def _entries(rows: Sequence[Rows], place: Index) -> _Entries:
    """The entries of rows, zeros left out."""
    none = np.zeros(0, dtype=np.intp)
    row, step, column, value = [none], [none], [none], [np.zeros(0)]
    start = 0
    for family in rows:
        k = len(family.rhs)
        for variable, t, c in family.expression.terms:
            there = np.flatnonzero(c)
            row.append(start + there)
            step.append(t[there])
            column.append(np.full(len(there), place[variable]))
            value.append(c[there])
        start += k
    rows_, steps_ = np.concatenate(row), np.concatenate(step)
    first, last = np.full(start, np.iinfo(np.intp).max), np.full(start, -1)
    np.minimum.at(first, rows_, steps_)
    np.maximum.at(last, rows_, steps_)
    first, last = np.where(last < 0, 0, first), np.maximum(last, 0)
    names = np.array([name for family in rows for name in family.names], dtype=object)
    rhs = np.concatenate([np.zeros(0), *(family.rhs for family in rows)])
    return _Entries(rows_, steps_, np.concatenate(column), np.concatenate(value), first, last, rhs, names)


def own_window(statement: Statement, order: Order) -> OwnWindow:
    """The arrays of a statement, whose variables are in this order."""
    steps, n, place = statement.steps, len(order.names), order.place
    lower, upper, least, most = np.zeros((4, steps, n))
    for i, v in zip(place.tolist(), statement.variables, strict=True):
        lower[:, i], upper[:, i], least[:, i], most[:, i] = v.lower, v.upper, v.least, v.most
    linear, constant, square = np.zeros((steps, n)), np.zeros(steps), np.zeros((steps, n))
    constants: dict[str, Real] = {}
    for owner, expression in statement.linear:
        for variable, at, c in expression.terms:
            np.add.at(linear, (at, place[variable]), c)
        constant += expression.constant
        if expression.constant.any():
            constants[owner] = constants.get(owner, 0.0) + expression.constant
    for variable, usd in statement.square:
        square[:, place[variable]] += usd
    found = {equal: _entries([r for r in statement.rows if r.equal == equal], place) for equal in (True, False)}
    eq, ineq = (found[equal].dense_of_steps(steps, n) for equal in (True, False))
    pairs = tuple((order.names[place[a]], order.names[place[b]]) for a, b in statement.exclusive)
    out = []
    for t in range(steps):
        matrix, rhs, names = _with_bounds(*ineq[t], lower[t], upper[t], order.names)
        fixed = {owner: float(usd[t]) for owner, usd in constants.items()}
        out.append(
            OwnStep(
                square[t], linear[t], float(constant[t]), matrix, rhs, names, *eq[t], least[t], most[t],
                _binding(matrix, rhs, least[t], most[t]), pairs, fixed,
            )
        )  # fmt: skip
    return OwnWindow(tuple(out), found[True].joined(steps, n), found[False].joined(steps, n))


def _binding(rows: Real, rhs: Real, low: Real, high: Real) -> Index:
    """Rows of one variable, and those of several that the bounds leave a chance to bind."""
    several = np.flatnonzero(np.count_nonzero(rows, axis=1) > 1)
    if not len(several):
        return np.arange(len(rhs))
    return np.delete(np.arange(len(rhs)), several[~can_bind(rows[several], rhs[several], low, high)])


def _with_bounds(
    matrix: Real, rhs: Real, names: tuple[str, ...], lower: Real, upper: Real, variables: tuple[str, ...]
) -> tuple[Real, Real, tuple[str, ...]]:
    """Inequalities with the bounds of the variables as rows behind them: the lower, then the upper one of each."""
    sides = np.column_stack([-lower, upper]).ravel()
    there = np.flatnonzero(np.isfinite(sides))
    rows = np.zeros((len(there), len(variables)))
    rows[np.arange(len(there)), there // 2] = np.where(there % 2 == 0, -1.0, 1.0)
    named = tuple(f"{variables[i // 2]}:{'lo' if i % 2 == 0 else 'up'}" for i in there.tolist())
    return np.vstack([matrix, rows]), np.concatenate([rhs, sides[there]]), names + named
