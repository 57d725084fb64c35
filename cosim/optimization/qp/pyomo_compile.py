"""A Pyomo block, once, into arrays: afterwards only the values of its mutable parameters are read again.

The block may hold linear constraints and one convex quadratic objective to be minimised. Coefficients may be
mutable Pyomo Params or expressions of them; variables named as parameters (`theta`) stay symbolic in the
result.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyomo.core as pyo
import scipy.sparse as sp
from pyomo.core.base.param import ParamData
from pyomo.repn import generate_standard_repn

from cosim.errors import InputError
from cosim.optimization.qp.arrays import Indices, Matrix, Vector
from cosim.optimization.qp.parametric import ParametricQP

_NATIVE = (int, float, np.floating, np.integer)


@dataclass
class _Entries:
    """Coefficients of one array: where they go, their signs, and which of them must be read again."""

    row: list[int] = field(default_factory=list)
    column: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    plain: list[tuple[int, Any, float]] = field(default_factory=list)
    symbolic: list[tuple[int, Any, float]] = field(default_factory=list)

    def add(self, row: int, column: int, coefficient: Any, sign: float = 1.0) -> None:
        """Put sign * coefficient at (row, column); entries at one place add up."""
        at = len(self.value)
        self.row.append(row)
        self.column.append(column)
        if type(coefficient) in (int, float) or isinstance(coefficient, _NATIVE):
            self.value.append(sign * float(coefficient))
        elif not coefficient.is_potentially_variable() and coefficient.is_constant():
            self.value.append(sign * float(pyo.value(coefficient)))
        else:
            self.value.append(0.0)
            (self.plain if isinstance(coefficient, ParamData) else self.symbolic).append(
                (at, coefficient, sign)
            )

    def finish(self, shape: tuple[int, ...]) -> _Layout:
        return _Layout(
            row=np.array(self.row, dtype=np.int64),
            column=np.array(self.column, dtype=np.int64),
            base=np.array(self.value, dtype=float),
            plain=self.plain,
            symbolic=self.symbolic,
            shape=shape,
        )


@dataclass
class _Layout:
    """One array ready to be filled: constants in place, readers for the rest."""

    row: Indices
    column: Indices
    base: Vector
    plain: list[tuple[int, Any, float]]
    symbolic: list[tuple[int, Any, float]]
    shape: tuple[int, ...]
    constant: Matrix = None
    """The matrix, once it was asked for, if nothing in it ever changes."""

    def values(self) -> Vector:
        if not self.plain and not self.symbolic:
            return self.base
        out = self.base.copy()
        for at, param, sign in self.plain:
            out[at] = sign * param._value
        for at, expression, sign in self.symbolic:
            out[at] = sign * pyo.value(expression)
        return out

    def vector(self) -> Vector:
        return np.bincount(self.row, weights=self.values(), minlength=self.shape[0]).astype(float)

    def matrix(self) -> Matrix:
        if self.constant is not None:
            return self.constant
        matrix = sp.csr_array((self.values(), (self.row, self.column)), shape=self.shape)
        if not self.plain and not self.symbolic:
            self.constant = matrix
        return matrix


@dataclass(frozen=True)
class CompiledBlock:
    """A compiled block; `instance()` gives its ParametricQP at the present values of its mutable Params.

    Attributes:
        variables, parameters: Pyomo variables in the order of the columns and of the parameters.
        variable_names, parameter_names, eq_names, ineq_names: what the ParametricQP will call them.
        layouts: where the coefficients go and which must be read again.
    """

    variables: tuple[Any, ...]
    parameters: tuple[Any, ...]
    variable_names: tuple[str, ...]
    parameter_names: tuple[str, ...]
    eq_names: tuple[str, ...]
    ineq_names: tuple[str, ...]
    layouts: dict[str, _Layout]

    def instance(self) -> ParametricQP:
        """A fresh ParametricQP with the mutable Params' present values; Pyomo expressions are not rebuilt.

        Raises:
            InputError: if a Param or bound has no number to give.
        """
        built = self.layouts
        try:
            vectors = {name: layout.vector() for name, layout in built.items() if len(layout.shape) == 1}
            matrices = {name: layout.matrix() for name, layout in built.items() if len(layout.shape) == 2}
        except (TypeError, ValueError) as error:
            raise InputError(f"a coefficient of a compiled block has no value: {error}") from error
        half = matrices.pop("hessian")
        constant = float(vectors.pop("constant")[0])
        for name, array in vectors.items():
            if np.any(np.isnan(array)):
                raise InputError("a coefficient of a compiled block is not a number", key=name)
        numbers: dict[str, Any] = {**vectors, **matrices}
        return ParametricQP(
            hessian=sp.csr_array(half + half.T),
            constant=constant,
            variables=self.variable_names,
            parameters=self.parameter_names,
            eq_rows=self.eq_names,
            ineq_rows=self.ineq_names,
            **numbers,
        )


def compile_block(
    block: Any, variables: Iterable[Any] | None = None, parameters: Sequence[Any] = ()
) -> CompiledBlock:
    """Compile the active constraints and the active objective of a Pyomo block and its sub-blocks.

    Args:
        block: the block; its objective (at most one) must be minimised, its constraints linear.
        variables: columns to begin with, in this order (VarData); others follow in order of appearance. Fixed
            variables are coefficients, read again by every `instance()`.
        parameters: VarData that become the parameters th, whether fixed or not; they may appear linearly in
            constraints, times a constant or one variable in the objective, and their bounds are the box of
            th.

    Raises:
        InputError: for a nonlinear constraint, a maximised or nonconvex-looking objective (th times th), or
            more than one objective.
    """
    fixed = [v for v in parameters if v.fixed]
    try:
        for v in fixed:
            v.fixed = False
        return _Compiler(variables, parameters).run(block)
    finally:
        for v in fixed:
            v.fixed = True


class _Compiler:
    def __init__(self, variables: Iterable[Any] | None, parameters: Sequence[Any]) -> None:
        self.parameters = tuple(parameters)
        self.theta = {id(v): i for i, v in enumerate(self.parameters)}
        self.variables: list[Any] = []
        self.names: list[str] = []  # Pyomo spells a name out anew each time it is asked for
        self.column: dict[int, int] = {}
        for v in variables or ():
            self.place(v)
        self.entries = {
            name: _Entries()
            for name in (
                "hessian", "cost", "cost_theta", "constant", "constant_theta", "eq_matrix", "eq_rhs",
                "eq_theta",
                "ineq_matrix", "ineq_rhs", "ineq_theta", "theta_lower", "theta_upper",
            )
        }  # fmt: skip
        self.eq: list[str] = []
        self.ineq: list[str] = []

    def place(self, v: Any) -> int:
        if id(v) not in self.column:
            self.column[id(v)] = len(self.variables)
            self.variables.append(v)
            self.names.append(v.name)
        return self.column[id(v)]

    def run(self, block: Any) -> CompiledBlock:
        for constraint in block.component_data_objects(pyo.Constraint, active=True, descend_into=True):
            self.constraint(constraint)
        objectives = list(block.component_data_objects(pyo.Objective, active=True, descend_into=True))
        if len(objectives) > 1:
            raise InputError("a block has more than one objective", key=block.name, value=len(objectives))
        for objective in objectives:
            self.objective(objective)
        for v, name in zip(tuple(self.variables), tuple(self.names), strict=True):
            self.bounds(v, name)
        for i, v in enumerate(self.parameters):
            lower, upper = v.lower, v.upper
            self.entries["theta_lower"].add(i, 0, -np.inf if lower is None else lower)
            self.entries["theta_upper"].add(i, 0, np.inf if upper is None else upper)
        n, k, p, m = len(self.variables), len(self.parameters), len(self.eq), len(self.ineq)
        shapes: dict[str, tuple[int, ...]] = {
            "hessian": (n, n), "cost": (n,), "cost_theta": (n, k), "constant": (1,), "constant_theta": (k,),
            "eq_matrix": (p, n), "eq_rhs": (p,), "eq_theta": (p, k),
            "ineq_matrix": (m, n), "ineq_rhs": (m,), "ineq_theta": (m, k),
            "theta_lower": (k,), "theta_upper": (k,),
        }  # fmt: skip
        return CompiledBlock(
            variables=tuple(self.variables),
            parameters=self.parameters,
            variable_names=tuple(self.names),
            parameter_names=tuple(v.name for v in self.parameters),
            eq_names=tuple(self.eq),
            ineq_names=tuple(self.ineq),
            layouts={name: entries.finish(shapes[name]) for name, entries in self.entries.items()},
        )

    def constraint(self, constraint: Any) -> None:
        name = constraint.name
        lower, body, upper = constraint.to_bounded_expression()
        repn = generate_standard_repn(body, compute_values=False, quadratic=False)
        if repn.nonlinear_expr is not None:
            raise InputError("a constraint of a compiled block is not linear", key=name)
        if constraint.equality:
            self.row("eq", name, repn, upper, 1.0)
            return
        if lower is not None:
            self.row("ineq", f"{name}:lo", repn, lower, -1.0)
        if upper is not None:
            self.row("ineq", f"{name}:up", repn, upper, 1.0)

    def row(self, kind: str, name: str, repn: Any, side: Any, sign: float) -> None:
        """Add sign * body (<= or =) sign * side as a row; parameters and constants go to the right."""
        rows = self.eq if kind == "eq" else self.ineq
        at = len(rows)
        rows.append(name)
        self.entries[f"{kind}_rhs"].add(at, 0, side, sign)
        self.entries[f"{kind}_rhs"].add(at, 0, repn.constant, -sign)
        for coefficient, v in zip(repn.linear_coefs, repn.linear_vars, strict=True):
            theta = self.theta.get(id(v))
            if theta is None:
                self.entries[f"{kind}_matrix"].add(at, self.place(v), coefficient, sign)
            else:
                self.entries[f"{kind}_theta"].add(at, theta, coefficient, -sign)

    def bounds(self, v: Any, name: str) -> None:
        for side, bound, sign in (("lo", v.lower, -1.0), ("up", v.upper, 1.0)):
            if bound is None:
                continue
            at = len(self.ineq)
            self.ineq.append(f"{name}:{side}")
            self.entries["ineq_rhs"].add(at, 0, bound, sign)
            self.entries["ineq_matrix"].add(at, self.place(v), sign)

    def objective(self, objective: Any) -> None:
        if objective.sense != pyo.minimize:
            raise InputError("a compiled block must be minimised", key=objective.name)
        repn = generate_standard_repn(objective.expr, compute_values=False, quadratic=True)
        if repn.nonlinear_expr is not None:
            raise InputError("the objective of a compiled block is not quadratic", key=objective.name)
        self.entries["constant"].add(0, 0, repn.constant)
        for coefficient, v in zip(repn.linear_coefs, repn.linear_vars, strict=True):
            theta = self.theta.get(id(v))
            if theta is None:
                self.entries["cost"].add(self.place(v), 0, coefficient)
            else:
                self.entries["constant_theta"].add(theta, 0, coefficient)
        for coefficient, (v, w) in zip(repn.quadratic_coefs, repn.quadratic_vars, strict=True):
            first, second = self.theta.get(id(v)), self.theta.get(id(w))
            if first is not None and second is not None:
                raise InputError(
                    "a product of two parameters in an objective", key=objective.name, value=v.name
                )
            if first is not None:
                self.entries["cost_theta"].add(self.place(w), first, coefficient)
            elif second is not None:
                self.entries["cost_theta"].add(self.place(v), second, coefficient)
            else:
                # Half of the Hessian; instance() adds its transpose.
                self.entries["hessian"].add(self.place(v), self.place(w), coefficient)
