"""What is decided over a window of steps, written down as arrays: variables, rows, cost, and what meets the network.

A variable has one value in each step. An :class:`Expression` is affine in variables, with one entry for each of k
rows: ``p`` has an entry for each step, ``p[1:]`` leaves out the first one, ``window.before(charge, start)`` is what
``charge`` was a step earlier. Rows may join steps: ramps, state of charge, energy by a deadline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from cosim.grid.feeder.phases import Terminal

Real = NDArray[np.float64]
Index = NDArray[np.intp]
Number: TypeAlias = "float | Real"

ACTIVE, REACTIVE, OTHER, MARKET = range(4)
"""Order of the variables: active power of all resources, reactive power, what else they decide, then the market's."""


class Expression:
    """An affine expression of variables, one entry a row.

    Attributes:
        terms: (variable, step of each row (k,), coefficient of each row (k,)).
        constant: (k,).
    """

    __array_ufunc__ = None
    __slots__ = ("constant", "terms")

    def __init__(self, terms: Sequence[tuple[int, Index, Real]], constant: Real) -> None:
        self.terms, self.constant = tuple(terms), constant

    def __len__(self) -> int:
        return len(self.constant)

    def __getitem__(self, rows: slice | Index) -> Expression:
        return Expression([(v, t[rows], c[rows]) for v, t, c in self.terms], self.constant[rows])

    def __add__(self, other: Expression | Number) -> Expression:
        if isinstance(other, Expression):
            return Expression((*self.terms, *other.terms), self.constant + other.constant)
        return Expression(self.terms, self.constant + other)

    def __mul__(self, factor: Number) -> Expression:
        return Expression([(v, t, c * factor) for v, t, c in self.terms], self.constant * factor)

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self) -> Expression:
        return self * -1.0

    def __sub__(self, other: Expression | Number) -> Expression:
        return self + (-other)

    def __rsub__(self, other: Number) -> Expression:
        return -self + other

    def __truediv__(self, divisor: Number) -> Expression:
        return self * (1.0 / divisor)

    def sum(self) -> Expression:
        """The entries added up: one row of all of them."""
        rows = [(v, t[k : k + 1], c[k : k + 1]) for v, t, c in self.terms for k in range(len(t))]
        return Expression(rows, self.constant.sum(keepdims=True))


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of every step: whose, its name there, rank in the order, bounds and implied range, each (steps,)."""

    owner: str
    local: str
    rank: int
    lower: Real
    upper: Real
    least: Real
    most: Real

    @property
    def name(self) -> str:
        """Name among all variables of a step."""
        return f"{self.owner}/{self.local}" if self.owner else self.local


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows ``expression <= rhs`` (or ``= rhs``); names in one step differ. The constant is taken to the right."""

    names: tuple[str, ...]
    equal: bool
    expression: Expression
    rhs: Real


@dataclass(frozen=True, slots=True)
class Port:
    """A terminal through which variables (their numbers, or none) inject active and reactive power."""

    owner: str
    terminal: Terminal
    p: int | None
    q: int | None


class Statement:
    """A window under statement: resources add to it what they decide.

    Args:
        steps: of the window; hours: length of a step; first: the window's first step in the horizon.
    """

    def __init__(self, steps: int, hours: float, first: int = 0) -> None:
        self.steps, self.hours, self.first = steps, hours, first
        self.owner = ""
        self.variables: list[Variable] = []
        self.rows: list[Rows] = []
        self.linear: list[tuple[str, Expression]] = []
        self.square: list[tuple[int, Number]] = []
        self.ports: list[Port] = []
        self.exclusive: list[tuple[int, int]] = []
        self._every = np.arange(steps)

    @property
    def horizon(self) -> Index:
        """(steps,) the steps of the window as steps of the horizon."""
        return self.first + self._every

    def variable(
        self,
        name: str,
        lower: Number = -np.inf,
        upper: Number = np.inf,
        *,
        within: tuple[Number, Number] = (-np.inf, np.inf),
        rank: int = OTHER,
    ) -> Expression:
        """A variable with a value in each step.

        Args:
            lower, upper: bounds, for all steps or (steps,); an infinite one is none.
            within: range that other rows leave it, which finds rows that cannot bind.
        """
        low, high, least, most = (np.broadcast_to(np.asarray(x, float), self.steps) for x in (lower, upper, *within))
        implied = np.maximum(low, least), np.minimum(high, most)
        self.variables.append(Variable(self.owner, name, rank, low, high, *implied))
        return Expression([(len(self.variables) - 1, self._every, np.ones(self.steps))], np.zeros(self.steps))

    def active(self, name: str, lower: Number, upper: Number) -> Expression:
        """Active power that a resource generates (MW); drawn if negative."""
        return self.variable(name, lower, upper, rank=ACTIVE)

    def reactive(
        self, name: str, lower: Number = -np.inf, upper: Number = np.inf, *,
        within: tuple[Number, Number] = (-np.inf, np.inf),
    ) -> Expression:  # fmt: skip
        """Reactive power that a resource generates (Mvar)."""
        return self.variable(name, lower, upper, within=within, rank=REACTIVE)

    def inject(self, terminal: Terminal, p: Expression | None, q: Expression | None) -> None:
        """Let a variable generate active power (MW), and one reactive power (Mvar), at a terminal."""
        self.ports.append(Port(self.owner, terminal, _number(p), _number(q)))

    def at_most(self, name: str, expression: Expression, limit: Number) -> None:
        """Rows expression <= limit."""
        rhs = np.broadcast_to(np.asarray(limit, float), len(expression)) - expression.constant
        self._add([name] * len(expression), False, expression, rhs)

    def equal(self, name: str, expression: Expression, value: Number | Expression) -> None:
        """Rows expression = value."""
        both = expression - value if isinstance(value, Expression) else expression - np.asarray(value, float)
        self._add([name] * len(both), True, both, -both.constant)

    def within(self, name: str, expression: Expression, reach: Number) -> None:
        """Rows -reach <= expression <= reach."""
        k = len(expression)
        both = np.repeat(np.arange(k), 2)
        sign = np.tile([1.0, -1.0], k)
        limit = np.repeat(np.broadcast_to(np.asarray(reach, float), k), 2)
        rows = expression[both] * sign
        self._add([f"{name}_up", f"{name}_down"] * k, False, rows, limit - rows.constant)

    def before(self, expression: Expression, start: float) -> Expression:
        """An expression of every step as it was a step earlier; before the first one it is a number."""
        later = (self._every > 0).astype(float)
        terms = [(v, np.maximum(t - 1, 0), np.concatenate([[0.0], c[:-1]])) for v, t, c in expression.terms]
        constant = np.concatenate([[start], expression.constant[:-1]])
        return Expression([(v, t, c * later) for v, t, c in terms], constant)

    def cost(self, expression: Expression) -> None:
        """Add an expression (USD) to the cost of the steps of its variables; it has an entry for each step."""
        self.linear.append((self.owner, expression))

    def square_cost(self, variable: Expression, usd: Number) -> None:
        """Add usd * variable^2 to the cost of each step."""
        number = _number(variable)
        assert number is not None
        self.square.append((number, usd))

    def one_of(self, a: Expression, b: Expression) -> None:
        """Of two variables that are never negative, at most one is positive in a step."""
        first, second = _number(a), _number(b)
        assert first is not None and second is not None
        self.exclusive.append((first, second))

    def _add(self, names: Sequence[str], equal: bool, expression: Expression, rhs: Real) -> None:
        self.rows.append(Rows(tuple(self._named(name) for name in names), equal, expression, rhs))

    def _named(self, name: str) -> str:
        return f"{self.owner}/{name}" if self.owner else name


def _number(expression: Expression | None) -> int | None:
    """The variable that an expression is."""
    if expression is None:
        return None
    if len(expression.terms) != 1:
        raise ValueError("a variable is expected here, not an expression of several")
    return expression.terms[0][0]
