"""Published bilevel problems, read from strings into arrays: polynomials of degree two at most, by `ast`.

A problem has variables ``x`` (leader) and ``y`` (follower) with their bounds, objectives ``F`` and ``f``, rows ``G``
and ``g`` that are at most zero, equations ``h``, and its known optimum ``opt``.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cosim.optimization.qp.parametric import ParametricQP

type_of_terms = dict[tuple[str, ...], float]


def polynomial(text: str) -> type_of_terms:
    """The terms of a polynomial: sorted names of the factors -> coefficient."""
    return _terms(ast.parse(text.strip(), mode="eval").body)


def _terms(node: ast.AST) -> type_of_terms:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return {(): float(node.value)}
    if isinstance(node, ast.Name):
        return {(node.id,): 1.0}
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return {key: -value for key, value in _terms(node.operand).items()}
    if isinstance(node, ast.BinOp):
        left, right = _terms(node.left), _terms(node.right)
        if isinstance(node.op, ast.Add | ast.Sub):
            sign = 1.0 if isinstance(node.op, ast.Add) else -1.0
            return {key: left.get(key, 0.0) + sign * right.get(key, 0.0) for key in {**left, **right}}
        if isinstance(node.op, ast.Div) and set(right) == {()}:
            return {key: value / right[()] for key, value in left.items()}
        if isinstance(node.op, ast.Pow) and right == {(): 2.0}:
            right, node = left, ast.BinOp(node.left, ast.Mult(), node.left)
        if isinstance(node.op, ast.Mult):
            out: type_of_terms = {}
            for a, x in left.items():
                for b, y in right.items():
                    key = tuple(sorted(a + b))
                    out[key] = out.get(key, 0.0) + x * y
            return out
    raise ValueError(f"not a polynomial: {ast.dump(node)}")


def quadratic(
    terms: type_of_terms, names: Sequence[str]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], float]:
    """Hessian, gradient and constant of a polynomial over these names."""
    at = {name: i for i, name in enumerate(names)}
    hessian, gradient, constant = np.zeros((len(names), len(names))), np.zeros(len(names)), 0.0
    for key, value in terms.items():
        if len(key) > 2:
            raise ValueError("degree above two")
        if len(key) == 2:
            hessian[at[key[0]], at[key[1]]] += value
            hessian[at[key[1]], at[key[0]]] += value
        elif len(key) == 1:
            gradient[at[key[0]]] += value
        else:
            constant += value
    return hessian, gradient, constant


def _linear_rows(texts: Sequence[str], names: Sequence[str]) -> tuple[list[Any], list[float]]:
    matrix, right = [], []
    for text in texts:
        hessian, gradient, constant = quadratic(polynomial(text), names)
        if np.any(hessian):
            raise ValueError("a constraint is not linear")
        matrix.append(gradient)
        right.append(-constant)
    return matrix, right


def _with_bounds(
    texts: Sequence[str], names: Sequence[str], box: Mapping[str, Sequence[float | None]]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Rows <= 0 and the bounds of some variables as one matrix and right-hand side."""
    matrix, right = _linear_rows(texts, names)
    for name, (lower, upper) in box.items():
        unit = np.array([float(other == name) for other in names])
        if lower is not None:
            matrix.append(-unit)
            right.append(-float(lower))
        if upper is not None:
            matrix.append(unit)
            right.append(float(upper))
    return np.array(matrix).reshape(len(right), len(names)), np.array(right)


def _require_convex(hessian: np.ndarray[Any, Any], whose: str) -> None:
    if len(hessian) and np.linalg.eigvalsh(hessian)[0] < -1e-9:
        raise ValueError(f"the {whose}'s objective is not convex")


def express(problem: Mapping[str, Any]) -> tuple[ParametricQP, ParametricQP, bool]:
    """Follower, leader and whether the leader's objective is the follower's price.

    Raises:
        ValueError: if the problem is not a convex quadratic leader over a convex quadratic follower.
    """
    upper, lower = list(problem["x"]), list(problem["y"])
    names = upper + lower
    payment = "lam" in problem["F"]
    if payment:
        # Revenue of a seller whose capacity q1 is the parameter: -lam * g1 is minus the dual of g1 <= q1
        # times q1,
        # for g1 < q1 makes that dual zero and the remaining price is the same.
        assert problem["F"] == "-lam0*g1" and problem["g"] == ["g1-q1"]
        hessian, gradient, constant = np.zeros((len(names), len(names))), np.zeros(len(names)), 0.0
    else:
        hessian, gradient, constant = quadratic(polynomial(problem["F"]), names)
    _require_convex(hessian, "leader")
    matrix, right = _with_bounds(problem["G"], names, problem["x"])
    leader = ParametricQP.build(
        hessian=hessian,
        cost=gradient,
        constant=constant,
        ineq_matrix=matrix,
        ineq_rhs=right,
        variables=names,
        ineq_rows=[f"leader {i}" for i in range(len(right))],
    )
    k = len(upper)
    hessian, gradient, constant = quadratic(polynomial(problem["f"]), names)
    _require_convex(hessian[k:, k:], "follower")
    matrix, right = _with_bounds(problem["g"], names, problem["y"])
    equal, value = _with_bounds([_equation(text) for text in problem["h"]], names, {})
    follower = ParametricQP.build(
        hessian=hessian[k:, k:],
        cost=gradient[k:],
        cost_theta=hessian[k:, :k],
        constant=constant,
        eq_matrix=equal[:, k:],
        eq_rhs=value,
        eq_theta=-equal[:, :k],
        ineq_matrix=matrix[:, k:],
        ineq_rhs=right,
        ineq_theta=-matrix[:, :k],
        variables=lower,
        parameters=upper,
        theta_lower=[-np.inf if box[0] is None else box[0] for box in problem["x"].values()],
        theta_upper=[np.inf if box[1] is None else box[1] for box in problem["x"].values()],
    )
    return follower, leader, payment


def _equation(text: str) -> str:
    left, right = text.split("=")
    return f"({left})-({right})"
