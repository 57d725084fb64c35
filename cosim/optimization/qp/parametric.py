"""ParametricQP: a convex quadratic program whose right-hand sides and linear costs move with parameters.

    minimise    1/2 x'Hx + (c + C th)'x + constant + constant_theta'th
    subject to  A x  = b + B th      (dual nu, free)
                G x <= h + W th      (dual sigma >= 0; bounds of variables are rows of G)

with the Lagrangian

    L = objective + nu'(A x - b - B th) + sigma'(G x - h - W th)

so that stationarity reads H x + c + C th + A'nu + G'sigma = 0 and the optimal value v(th) has the gradient
dv/dth = C'x + constant_theta - B'nu - W'sigma. Everything in this package keeps these signs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp

from cosim.errors import InputError
from cosim.optimization.qp.arrays import Matrix, Vector, block_diagonal, columns, csr
from cosim.optimization.qp.solution import QPSolution

Theta: TypeAlias = "Mapping[str, float] | Vector"


@dataclass(frozen=True)
class ParametricQP:
    """A convex QP in n variables, k parameters, p equalities and m inequalities (signs: see the module).

    Attributes:
        hessian: H, (n, n), symmetric positive semidefinite.
        cost: c, (n,).
        cost_theta: C, (n, k).
        eq_matrix, eq_rhs, eq_theta: A (p, n), b (p,), B (p, k).
        ineq_matrix, ineq_rhs, ineq_theta: G (m, n), h (m,), W (m, k); an infinite h is a row that never
            binds.
        constant: a number added to the objective.
        constant_theta: (k,), the part of the objective that is linear in the parameters alone.
        variables, parameters, eq_rows, ineq_rows: unique names of the columns and rows.
        theta_lower, theta_upper: (k,), the box in which the parameters lie; infinite where open.
        exclusive: pairs of variables (not negative) of which one at most is positive. They are no part of the convex
            program, whose solvers leave them out; see `exclusive.choose_sides`.
    """

    hessian: Matrix
    cost: Vector
    cost_theta: Matrix
    eq_matrix: Matrix
    eq_rhs: Vector
    eq_theta: Matrix
    ineq_matrix: Matrix
    ineq_rhs: Vector
    ineq_theta: Matrix
    constant: float
    constant_theta: Vector
    variables: tuple[str, ...]
    parameters: tuple[str, ...]
    eq_rows: tuple[str, ...]
    ineq_rows: tuple[str, ...]
    theta_lower: Vector
    theta_upper: Vector
    exclusive: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        n, k, p, m = len(self.variables), len(self.parameters), len(self.eq_rows), len(self.ineq_rows)
        shapes = {
            "hessian": (n, n), "cost": (n,), "cost_theta": (n, k),
            "eq_matrix": (p, n), "eq_rhs": (p,), "eq_theta": (p, k),
            "ineq_matrix": (m, n), "ineq_rhs": (m,), "ineq_theta": (m, k),
            "constant_theta": (k,), "theta_lower": (k,), "theta_upper": (k,),
        }  # fmt: skip
        for name, shape in shapes.items():
            if len(shape) == 2 and not isinstance(getattr(self, name), sp.csr_array):
                object.__setattr__(self, name, sp.csr_array(getattr(self, name), dtype=float))
            found = getattr(self, name).shape
            if found != shape:
                raise InputError(
                    "array of wrong shape in a ParametricQP", key=name, value=found, allowed=str(shape)
                )
        for name in ("variables", "parameters", "eq_rows", "ineq_rows"):
            names = getattr(self, name)
            if len(set(names)) != len(names):
                seen: set[str] = set()
                twice = next(x for x in names if x in seen or seen.add(x))  # type: ignore[func-returns-value]
                raise InputError("a name appears twice in a ParametricQP", key=name, value=twice)

    @classmethod
    def build(
        cls,
        *,
        hessian: object = None,
        cost: Iterable[float] = (),
        cost_theta: object = None,
        eq_matrix: object = None,
        eq_rhs: Iterable[float] = (),
        eq_theta: object = None,
        ineq_matrix: object = None,
        ineq_rhs: Iterable[float] = (),
        ineq_theta: object = None,
        constant: float = 0.0,
        constant_theta: Iterable[float] | None = None,
        variables: Sequence[str] | None = None,
        parameters: Sequence[str] | None = None,
        eq_rows: Sequence[str] | None = None,
        ineq_rows: Sequence[str] | None = None,
        theta_lower: Iterable[float] | None = None,
        theta_upper: Iterable[float] | None = None,
    ) -> ParametricQP:
        """Build from dense or sparse arrays; what is left out is zero, columns and rows without names are numbered.

        The number of variables is that of `cost`, the number of rows that of the right-hand sides, and the
        number of parameters that of `parameters` or of `theta_lower`.
        """
        c, b, h = _vector(cost), _vector(eq_rhs), _vector(ineq_rhs)
        lower = None if theta_lower is None else _vector(theta_lower)
        k = len(parameters) if parameters is not None else 0 if lower is None else len(lower)
        n, p, m = len(c), len(b), len(h)
        return cls(
            hessian=csr(hessian, (n, n)),
            cost=c,
            cost_theta=csr(cost_theta, (n, k)),
            eq_matrix=csr(eq_matrix, (p, n)),
            eq_rhs=b,
            eq_theta=csr(eq_theta, (p, k)),
            ineq_matrix=csr(ineq_matrix, (m, n)),
            ineq_rhs=h,
            ineq_theta=csr(ineq_theta, (m, k)),
            constant=float(constant),
            constant_theta=np.zeros(k) if constant_theta is None else _vector(constant_theta),
            variables=tuple(variables) if variables is not None else tuple(f"x{i}" for i in range(n)),
            parameters=tuple(parameters) if parameters is not None else tuple(f"theta{i}" for i in range(k)),
            eq_rows=tuple(eq_rows) if eq_rows is not None else tuple(f"eq{i}" for i in range(p)),
            ineq_rows=tuple(ineq_rows) if ineq_rows is not None else tuple(f"in{i}" for i in range(m)),
            theta_lower=np.full(k, -np.inf) if lower is None else lower,
            theta_upper=np.full(k, np.inf) if theta_upper is None else _vector(theta_upper),
        )

    def theta_vector(self, theta: Theta | None) -> Vector:
        """The parameter values as a vector in the order of `parameters`; a mapping must name each exactly
        once.
        """
        if theta is None:
            theta = {}
        if isinstance(theta, Mapping):
            wrong = set(theta) ^ set(self.parameters)
            if wrong:
                raise InputError("missing or unknown parameter of a QP", key="theta", value=min(wrong))
            theta = np.array([theta[name] for name in self.parameters], dtype=float)
        values = np.asarray(theta, dtype=float)
        if values.shape != (len(self.parameters),) or not np.all(np.isfinite(values)):
            raise InputError(
                "the parameters of a QP must be one finite number each",
                key="theta",
                value=values.shape,
                allowed=str((len(self.parameters),)),
            )
        return values

    def fix(self, values: Mapping[str, float]) -> ParametricQP:
        """The same problem with these parameters replaced by their values."""
        unknown = set(values) - set(self.parameters)
        if unknown:
            raise InputError("unknown parameter of a QP", key="fix", value=min(unknown))
        gone = [i for i, name in enumerate(self.parameters) if name in values]
        stay = [i for i, name in enumerate(self.parameters) if name not in values]
        at = np.array([values[self.parameters[i]] for i in gone], dtype=float)
        return replace(
            self,
            cost=self.cost + columns(self.cost_theta, gone) @ at,
            cost_theta=columns(self.cost_theta, stay),
            eq_rhs=self.eq_rhs + columns(self.eq_theta, gone) @ at,
            eq_theta=columns(self.eq_theta, stay),
            ineq_rhs=self.ineq_rhs + columns(self.ineq_theta, gone) @ at,
            ineq_theta=columns(self.ineq_theta, stay),
            constant=self.constant + float(self.constant_theta[gone] @ at),
            constant_theta=self.constant_theta[stay],
            parameters=tuple(self.parameters[i] for i in stay),
            theta_lower=self.theta_lower[stay],
            theta_upper=self.theta_upper[stay],
        )

    def with_theta_box(
        self, lower: Mapping[str, float] | Vector, upper: Mapping[str, float] | Vector
    ) -> ParametricQP:
        """The same problem with another box for its parameters; a mapping changes only those it names."""
        box = []
        for side, old in ((lower, self.theta_lower), (upper, self.theta_upper)):
            if isinstance(side, Mapping):
                side = np.array(
                    [side.get(name, old[i]) for i, name in enumerate(self.parameters)], dtype=float
                )
            box.append(np.asarray(side, dtype=float))
        if np.any(box[0] > box[1]):
            raise InputError("empty parameter box", key=self.parameters[int(np.argmax(box[0] > box[1]))])
        return replace(self, theta_lower=box[0], theta_upper=box[1])

    def free(self, names: Collection[str]) -> ParametricQP:
        """The same problem in which these parameters are variables, their box becoming rows NAME:lo and
        NAME:up.

        Raises:
            InputError: for an unknown name, or a parameter that multiplies variables in the objective (the
                freed problem would not be convex).
        """
        unknown = set(names) - set(self.parameters)
        if unknown:
            raise InputError("unknown parameter of a QP", key="free", value=min(unknown))
        gone = [i for i, name in enumerate(self.parameters) if name in names]
        stay = [i for i, name in enumerate(self.parameters) if name not in names]
        if columns(self.cost_theta, gone).count_nonzero():
            raise InputError(
                "a parameter that multiplies variables in the objective cannot be freed", key="free"
            )
        n, f = len(self.variables), len(gone)
        freed = tuple(self.parameters[i] for i in gone)
        lower, upper = self.theta_lower[gone], self.theta_upper[gone]
        has_lo, has_up = np.flatnonzero(np.isfinite(lower)), np.flatnonzero(np.isfinite(upper))
        eye = sp.eye_array(f, format="csr")
        box = csr(sp.vstack([-eye[has_lo], eye[has_up]]) if f else None, (len(has_lo) + len(has_up), f))
        return ParametricQP(
            hessian=csr(sp.block_diag([self.hessian, sp.csr_array((f, f))]), (n + f, n + f)),
            cost=np.concatenate([self.cost, self.constant_theta[gone]]),
            cost_theta=csr(
                sp.vstack([columns(self.cost_theta, stay), sp.csr_array((f, len(stay)))]), (n + f, len(stay))
            ),
            eq_matrix=csr(
                sp.hstack([self.eq_matrix, -columns(self.eq_theta, gone)]), (len(self.eq_rows), n + f)
            ),
            eq_rhs=self.eq_rhs,
            eq_theta=columns(self.eq_theta, stay),
            ineq_matrix=csr(
                sp.vstack(
                    [
                        sp.hstack([self.ineq_matrix, -columns(self.ineq_theta, gone)]),
                        sp.hstack([sp.csr_array((box.shape[0], n)), box]),
                    ]
                ),
                (len(self.ineq_rows) + box.shape[0], n + f),
            ),
            ineq_rhs=np.concatenate([self.ineq_rhs, -lower[has_lo], upper[has_up]]),
            ineq_theta=csr(
                sp.vstack([columns(self.ineq_theta, stay), sp.csr_array((box.shape[0], len(stay)))]),
                (len(self.ineq_rows) + box.shape[0], len(stay)),
            ),
            constant=self.constant,
            constant_theta=self.constant_theta[stay],
            variables=self.variables + freed,
            parameters=tuple(self.parameters[i] for i in stay),
            eq_rows=self.eq_rows,
            ineq_rows=(
                self.ineq_rows
                + tuple(f"{freed[i]}:lo" for i in has_lo)
                + tuple(f"{freed[i]}:up" for i in has_up)
            ),
            theta_lower=self.theta_lower[stay],
            theta_upper=self.theta_upper[stay],
            exclusive=self.exclusive,
        )

    def sensitivity(self, solution: QPSolution) -> Vector:
        """The gradient of the optimal value with respect to the parameters, (k,): prices."""
        gradient: Vector = self.price(solution.nu, solution.sigma) + self.cost_theta.T @ solution.x
        return gradient

    def price(self, nu: Vector, sigma: Vector) -> Vector:
        """The part of the gradient that duals make: constant_theta - B'nu - W'sigma, (k,)."""
        return price_of_duals(self.constant_theta, self.eq_theta, self.ineq_theta, nu, sigma)

    def objective(self, x: Vector, theta: Theta | None = None) -> float:
        """The objective at x and theta."""
        at = self.theta_vector(theta)
        value = 0.5 * x @ (self.hessian @ x) + (self.cost + self.cost_theta @ at) @ x
        return float(value + self.constant + self.constant_theta @ at)


def price_of_duals(constant: Vector, by_nu: Matrix, by_sigma: Matrix, nu: Vector, sigma: Vector) -> Vector:
    """constant - by_nu'nu - by_sigma'sigma, (k,): what duals charge for each of k things."""
    price: Vector = constant - by_nu.T @ nu - by_sigma.T @ sigma
    return price


def join(problems: Sequence[ParametricQP]) -> ParametricQP:
    """The sum of problems in which variables of the same name, and parameters of the same name, are the same.

    Objectives are added, rows are put together (their names must differ), and a shared parameter's box is the
    intersection of its boxes. Two agents' problems joined after `free` are their common optimum.
    """
    variables = tuple(dict.fromkeys(name for qp in problems for name in qp.variables))
    parameters = tuple(dict.fromkeys(name for qp in problems for name in qp.parameters))
    into_x = [selector(qp.variables, variables) for qp in problems]
    into_theta = [selector(qp.parameters, parameters) for qp in problems]
    lower, upper = np.full(len(parameters), -np.inf), np.full(len(parameters), np.inf)
    for qp, put in zip(problems, into_theta, strict=True):
        where = put.indices
        lower[where] = np.maximum(lower[where], qp.theta_lower)
        upper[where] = np.minimum(upper[where], qp.theta_upper)
    n, k = len(variables), len(parameters)
    maps = list(zip(problems, into_x, into_theta, strict=True))
    p, m = sum(len(qp.eq_rows) for qp in problems), sum(len(qp.ineq_rows) for qp in problems)
    return ParametricQP(
        hessian=csr(sum((x.T @ qp.hessian @ x for qp, x, _ in maps), start=sp.csr_array((n, n))), (n, n)),
        cost=sum((x.T @ qp.cost for qp, x, _ in maps), start=np.zeros(n)),
        cost_theta=csr(
            sum((x.T @ qp.cost_theta @ t for qp, x, t in maps), start=sp.csr_array((n, k))), (n, k)
        ),
        eq_matrix=csr(sp.vstack([qp.eq_matrix @ x for qp, x, _ in maps]), (p, n)),
        eq_rhs=np.concatenate([qp.eq_rhs for qp in problems]),
        eq_theta=csr(sp.vstack([qp.eq_theta @ t for qp, _, t in maps]), (p, k)),
        ineq_matrix=csr(sp.vstack([qp.ineq_matrix @ x for qp, x, _ in maps]), (m, n)),
        ineq_rhs=np.concatenate([qp.ineq_rhs for qp in problems]),
        ineq_theta=csr(sp.vstack([qp.ineq_theta @ t for qp, _, t in maps]), (m, k)),
        constant=sum(qp.constant for qp in problems),
        constant_theta=sum((t.T @ qp.constant_theta for qp, _, t in maps), start=np.zeros(k)),
        variables=variables,
        parameters=parameters,
        eq_rows=tuple(name for qp in problems for name in qp.eq_rows),
        ineq_rows=tuple(name for qp in problems for name in qp.ineq_rows),
        theta_lower=lower,
        theta_upper=upper,
        exclusive=tuple(dict.fromkeys(pair for qp in problems for pair in qp.exclusive)),
    )


def stack(problems: Sequence[ParametricQP]) -> ParametricQP:
    """Independent problems side by side (block diagonal); every name must be unique among them."""
    for field in ("variables", "parameters"):
        names = [name for qp in problems for name in getattr(qp, field)]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError("stacked problems share a name", key=field, value=twice)
    fields: dict[str, Any] = {}
    for name in _SPARSE:
        fields[name] = block_diagonal([getattr(qp, name) for qp in problems])
    for name in _DENSE:
        fields[name] = np.concatenate([np.zeros(0), *(getattr(qp, name) for qp in problems)])
    for name in _NAMES:
        fields[name] = tuple(label for qp in problems for label in getattr(qp, name))
    return ParametricQP(**fields, constant=sum(qp.constant for qp in problems))


_SPARSE = ("hessian", "cost_theta", "eq_matrix", "eq_theta", "ineq_matrix", "ineq_theta")
_DENSE = ("cost", "eq_rhs", "ineq_rhs", "constant_theta", "theta_lower", "theta_upper")
_NAMES = ("variables", "parameters", "eq_rows", "ineq_rows", "exclusive")


def selector(own: Sequence[str], everyone: Sequence[str]) -> Matrix:
    """(own, everyone) with a one where two names are the same: it takes a part of a vector out of the whole."""
    place = {name: i for i, name in enumerate(everyone)}
    where = np.array([place[name] for name in own], dtype=np.int64)
    return sp.csr_array((np.ones(len(own)), (np.arange(len(own)), where)), shape=(len(own), len(everyone)))


def _vector(values: Iterable[float]) -> Vector:
    return np.array(values if isinstance(values, np.ndarray) else list(values), dtype=float)
