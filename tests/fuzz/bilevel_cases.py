"""Adversarial bilevel problems in 16 classes, seeded, and their optimum by enumeration of all complementarity patterns.

The enumeration knows nothing of cosim's solvers: for each pattern of which of dual and slack is zero it states the
polyhedron anew, decides by scipy's linear programs whether it is empty and whether cost falls along it without end, and
else minimises over it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import clarabel
import numpy as np
import scipy.optimize
import scipy.sparse as sp
from numpy.typing import NDArray

from cosim.optimization.bilevel.solver import BilevelProblem
from cosim.optimization.qp.parametric import ParametricQP

Array = NDArray[np.float64]
_LOOSE = 1e-9


@dataclass
class Draft:
    """A follower over x with parameters t, and a leader over t that may also look at x.

    Rows are lists, so that a class adds to them: (coefficients of x, right-hand side, coefficients of t).
    """

    n: int
    k: int
    curvature: Array
    cost: Array
    equations: list[tuple[Array, float, Array]] = field(default_factory=list)
    limits: list[tuple[Array, float, Array]] = field(default_factory=list)
    constant_t: Array | None = None
    t_low: Array | None = None
    t_high: Array | None = None
    own_t: Array | None = None
    own_curvature_t: Array | None = None
    own_x: Array | None = None
    leader_rows: list[tuple[Array, float]] = field(default_factory=list)
    payment: bool = True

    def unit(self, j: int, sign: float = 1.0) -> Array:
        return sign * np.eye(self.n)[j]

    def problem(self) -> BilevelProblem:
        """The draft as a bilevel problem."""
        n, k = self.n, self.k
        x, t = [f"x{j}" for j in range(n)], [f"t{j}" for j in range(k)]
        low, high = self.low(), self.high()

        def stack(rows: list[tuple[Array, float, Array]]) -> tuple[Array, Array, Array]:
            return (
                np.array([a for a, _, _ in rows]).reshape(-1, n),
                np.array([r for _, r, _ in rows], dtype=float),
                np.array([w for _, _, w in rows]).reshape(-1, k),
            )

        eq, ineq = stack(self.equations), stack(self.limits)
        follower = ParametricQP.build(
            hessian=np.diag(self.curvature), cost=self.cost,
            eq_matrix=eq[0], eq_rhs=eq[1], eq_theta=eq[2], ineq_matrix=ineq[0], ineq_rhs=ineq[1], ineq_theta=ineq[2],
            constant_theta=self.constant_t, variables=x, parameters=t, theta_lower=low, theta_upper=high,
        )  # fmt: skip
        looks = self.own_x is not None
        size = k + n if looks else k
        own = np.concatenate([self.own(), self.own_x]) if looks else self.own()
        curved = np.zeros(k) if self.own_curvature_t is None else self.own_curvature_t
        box = [(s * np.eye(size)[j], e) for j in range(k) for s, e in ((1.0, high[j]), (-1.0, -low[j]))]
        rows = [(np.concatenate([a, np.zeros(size - k)]), r) for a, r in self.leader_rows] + box
        leader = ParametricQP.build(
            hessian=np.diag(np.concatenate([curved, np.zeros(size - k)])), cost=own,
            ineq_matrix=np.array([a for a, _ in rows]), ineq_rhs=np.array([r for _, r in rows]),
            variables=t + (x if looks else []),
        )  # fmt: skip
        return BilevelProblem(follower, leader, self.payment)

    def own(self) -> Array:
        return np.zeros(self.k) if self.own_t is None else self.own_t

    def low(self) -> Array:
        return np.zeros(self.k) if self.t_low is None else self.t_low

    def high(self) -> Array:
        return np.full(self.k, 3.0) if self.t_high is None else self.t_high


def base(rng: np.random.Generator, *, curved: bool | None = None, k: int | None = None) -> Draft:
    """A market of two sources x that serve a demand of 1 + sum t, each within a capacity; dear help is open-ended."""
    k = int(rng.integers(1, 3)) if k is None else k
    curved = bool(rng.random() < 0.5) if curved is None else curved
    n = 3
    draft = Draft(n, k, np.zeros(n), np.concatenate([np.sort(rng.uniform(1, 20, size=2)), [40.0]]))
    if curved:
        draft.curvature = np.concatenate([rng.uniform(0.5, 4, size=2), [0.0]])
    draft.equations.append((np.ones(n), 1.0, np.ones(k)))
    draft.limits += [(draft.unit(j, -1.0), 0.0, np.zeros(k)) for j in range(n)]
    draft.limits += [(draft.unit(j), float(rng.uniform(0.5, 2.5)), np.zeros(k)) for j in range(2)]
    draft.own_t = rng.uniform(-30, 5, size=k)
    return draft


def degenerate_duals(rng: np.random.Generator) -> Draft:
    draft = base(rng)
    a, r, w = draft.limits[3]
    draft.limits.append((2.0 * a, 2.0 * r, w))
    draft.limits.append((np.array([1.0, 1.0, 0.0]), r + draft.limits[4][1], w))
    return draft


def duplicate_equations(rng: np.random.Generator) -> Draft:
    draft = base(rng)
    a, r, w = draft.equations[0]
    scale = float(rng.choice([1.0, -2.0, 0.5]))
    draft.equations.append((scale * a, scale * r, scale * w))
    return draft


def zero_rows(rng: np.random.Generator) -> Draft:
    draft = base(rng)
    draft.equations.append((np.zeros(3), 0.0, np.zeros(draft.k)))
    draft.limits.append((np.zeros(3), 0.0, np.zeros(draft.k)))
    draft.limits.append((np.zeros(3), 1.0, np.zeros(draft.k)))
    return draft


def unbounded_leader(rng: np.random.Generator) -> Draft:
    """At one t the follower has a single answer that no multiplier is bounded at; its price may fall for ever."""
    cheap, dear = np.sort(rng.uniform(1, 9, size=2))
    draft = Draft(2, 1, np.zeros(2), np.array([cheap, dear]))
    total = float(rng.integers(2, 4))
    draft.equations.append((np.ones(2), total, np.zeros(1)))
    draft.limits += [(draft.unit(0), 0.0, np.ones(1)), (draft.unit(1), 1.0, np.zeros(1))]
    draft.limits += [(draft.unit(j, -1.0), 0.0, np.zeros(1)) for j in range(2)]
    draft.own_t = rng.uniform(-2, 2, size=1) * float(rng.integers(0, 2))
    return draft


def unbounded_follower(rng: np.random.Generator) -> Draft:
    draft = base(rng, curved=False)
    draft.cost[2] = -float(rng.uniform(1, 5))
    draft.equations[0] = (np.array([1.0, 1.0, 0.0]), *draft.equations[0][1:])
    draft.limits = [row for row in draft.limits if row[1] > 0.0 or row[0][2] == 0.0]
    draft.limits.append((draft.unit(2, -1.0), 0.0, np.zeros(draft.k)))
    return draft


def follower_without_answer_for_some(rng: np.random.Generator) -> Draft:
    draft = base(rng)
    draft.limits.append((draft.unit(2), float(rng.uniform(0.0, 0.3)), np.zeros(draft.k)))
    return draft


def infeasible_leader(rng: np.random.Generator) -> Draft:
    draft = base(rng)
    if rng.random() < 0.5:
        draft.leader_rows.append((-np.ones(draft.k), -10.0))
    else:
        draft.limits.append((draft.unit(2), 0.0, np.zeros(draft.k)))
        draft.equations[0] = (draft.equations[0][0], 9.0, draft.equations[0][2])
    return draft


def many_answers(rng: np.random.Generator) -> Draft:
    draft = base(rng, curved=False)
    draft.cost[:2] = draft.cost[0]
    draft.own_x = rng.uniform(-3, 3, size=3)
    draft.own_x[2] = 1.0
    draft.payment = bool(rng.random() < 0.5)
    return draft


def wide_coefficients(rng: np.random.Generator) -> Draft:
    draft = base(rng)
    scales = 10.0 ** rng.integers(-3, 4, size=len(draft.limits))
    draft.limits = [(s * a, s * r, s * w) for s, (a, r, w) in zip(scales, draft.limits, strict=True)]
    s = 10.0 ** float(rng.integers(-3, 4))
    draft.equations = [(s * a, s * r, s * w) for a, r, w in draft.equations]
    return draft


def free_duals(rng: np.random.Generator) -> Draft:
    draft = base(rng, curved=True)
    draft.curvature[2] = 1.0
    draft.limits = draft.limits[3 : 3 + int(rng.integers(0, 2))]
    draft.equations.append((rng.normal(size=3), float(rng.normal()), rng.normal(size=draft.k)))
    return draft


def pinned_variables(rng: np.random.Generator) -> Draft:
    draft = base(rng)
    value = float(rng.uniform(0.1, 0.5))
    draft.limits[0] = (draft.unit(0, -1.0), -value, np.zeros(draft.k))
    draft.limits[3] = (draft.unit(0), value, np.zeros(draft.k))
    return draft


def linear_follower(rng: np.random.Generator) -> Draft:
    draft = base(rng, curved=False)
    draft.limits.append((rng.normal(size=3) * [1, 1, 0], float(rng.uniform(0.5, 3)), rng.normal(size=draft.k)))
    return draft


def quadratic_follower(rng: np.random.Generator) -> Draft:
    draft = base(rng, curved=True)
    draft.limits.append((rng.normal(size=3) * [1, 1, 0], float(rng.uniform(0.5, 3)), rng.normal(size=draft.k)))
    draft.own_curvature_t = rng.uniform(0, 5, size=draft.k)
    return draft


def ties_at_kinks(rng: np.random.Generator) -> Draft:
    draft = base(rng, curved=False, k=1)
    draft.cost = np.array([5.0, 10.0, 40.0])
    draft.limits[3:5] = [(draft.unit(j), 1.0, np.zeros(1)) for j in range(2)]
    # With this own worth of t the leader's cost at the kink t = 1 equals that at t = 0 or nearly so.
    draft.own_t = np.array([-5.0 + float(rng.choice([0.0, 1e-7, -1e-7]))])
    return draft


def integers_in_thousands(rng: np.random.Generator) -> Draft:
    draft = base(rng, curved=False)
    draft.cost = np.array([*(1000.0 * np.sort(rng.integers(1, 9, size=2))), 40000.0])
    draft.limits = [(a, round(r) * 100.0, w) for a, r, w in draft.limits]
    draft.equations = [(a, 100.0, w) for a, _, w in draft.equations]
    draft.t_high, draft.own_t = np.full(draft.k, 300.0), -1000.0 * rng.integers(0, 30, size=draft.k).astype(float)
    return draft


def empty_rows_and_bounds(rng: np.random.Generator) -> Draft:
    draft = base(rng)
    draft.limits.append((draft.unit(1), np.inf, np.zeros(draft.k)))
    draft.limits.append((np.zeros(3), np.inf, np.zeros(draft.k)))
    if rng.random() < 0.5:
        draft.t_high = np.full(draft.k, np.inf)
        draft.leader_rows.append((np.ones(draft.k), 2.0))
    if rng.random() < 0.3:
        draft.t_low = np.full(draft.k, -np.inf)
    return draft


CLASSES: dict[str, Callable[[np.random.Generator], Draft]] = {
    make.__name__: make
    for make in (
        degenerate_duals, duplicate_equations, zero_rows, unbounded_leader, unbounded_follower,
        follower_without_answer_for_some, infeasible_leader, many_answers, wide_coefficients, free_duals,
        pinned_variables, linear_follower, quadratic_follower, ties_at_kinks, integers_in_thousands,
        empty_rows_and_bounds,
    )
}  # fmt: skip


def enumerate_patterns(draft: Draft) -> tuple[str, float]:
    """'optimal', 'infeasible' or 'unbounded', and the leader's least cost."""
    n, k = draft.n, draft.k
    limits = [row for row in draft.limits if np.isfinite(row[1])]
    p, m = len(draft.equations), len(limits)
    size = k + n + p + m
    t, x, nu, sigma = slice(0, k), slice(k, k + n), slice(k + n, k + n + p), slice(k + n + p, size)
    hessian, cost = np.zeros((size, size)), np.zeros(size)
    cost[t] += draft.own()
    if draft.own_curvature_t is not None:
        hessian[t, t] += np.diag(draft.own_curvature_t)
    if draft.own_x is not None:
        cost[x] += draft.own_x
    if draft.payment:
        # price't with price = -B'nu - W'sigma; B t = A x - b, and sigma'W t = sigma'(G x - h) where sigma's = 0;
        # A'nu + G'sigma = -(H x + c). What remains is x'Hx + c'x + b'nu + h'sigma.
        hessian[x, x] += 2.0 * np.diag(draft.curvature)
        cost[x] += draft.cost
        cost[nu] += [r for _, r, _ in draft.equations]
        cost[sigma] += [r for _, r, _ in limits]
        if draft.constant_t is not None:
            cost[t] += draft.constant_t
    eq, eq_rhs = np.zeros((n + p, size)), np.zeros(n + p)
    eq[:n, x], eq_rhs[:n] = np.diag(draft.curvature), -draft.cost
    for i, (a, r, w) in enumerate(draft.equations):
        eq[:n, k + n + i] = a
        eq[n + i, x], eq[n + i, t], eq_rhs[n + i] = a, -w, r
    slack, slack_rhs = np.zeros((m, size)), np.zeros(m)
    for i, (a, r, w) in enumerate(limits):
        eq[:n, k + n + p + i] = a
        slack[i, x], slack[i, t], slack_rhs[i] = a, -w, r
    rows = [np.concatenate([a, np.zeros(size - k)]) for a, _ in draft.leader_rows]
    rows_rhs = [r for _, r in draft.leader_rows]
    box = [*zip(draft.low(), draft.high(), strict=True), *[(-np.inf, np.inf)] * (n + p)]
    best, found = np.inf, False
    patterns: list[tuple[bool, ...]] = [()]
    while patterns:
        pattern = patterns.pop()
        # Pairs beyond those decided keep both slack and dual: where even that has no point nothing below has.
        binds = np.array([*pattern, *[False] * (m - len(pattern))], dtype=bool)
        a_eq, b_eq = np.vstack([eq, slack[binds]]), np.concatenate([eq_rhs, slack_rhs[binds]])
        a_ub = np.vstack([slack[~binds], *rows]).reshape(-1, size)
        b_ub = np.concatenate([slack_rhs[~binds], rows_rhs])
        dual_zero = [i < len(pattern) and not pattern[i] for i in range(m)]
        bounds = [*box, *[(0.0, 0.0) if zero else (0.0, np.inf) for zero in dual_zero]]
        if not _linear(np.zeros(size), a_eq, b_eq, a_ub, b_ub, bounds)[0]:
            continue
        if len(pattern) < m:
            patterns += [(*pattern, False), (*pattern, True)]
            continue
        cone = [
            (0.0 if np.isfinite(low) else -1.0, 0.0 if np.isfinite(high) else 1.0) for low, high in bounds
        ]
        flat = np.vstack([a_eq, hessian])
        fall = _linear(cost, flat, np.zeros(len(flat)), a_ub, np.zeros(len(b_ub)), cone)[1]
        if fall < -1e-7 * (1.0 + np.abs(cost).max()):
            return "unbounded", -np.inf
        found = True
        best = min(best, _least(hessian, cost, a_eq, b_eq, a_ub, b_ub, bounds))
    return ("optimal", best) if found else ("infeasible", np.inf)


def _linear(
    cost: Array, a_eq: Array, b_eq: Array, a_ub: Array, b_ub: Array, bounds: list[tuple[float, float]]
) -> tuple[bool, float]:
    found = scipy.optimize.linprog(cost, a_ub, b_ub, a_eq, b_eq, bounds, method="highs")
    return found.status == 0, float(found.fun) if found.status == 0 else np.nan


def _least(
    hessian: Array, cost: Array, a_eq: Array, b_eq: Array, a_ub: Array, b_ub: Array, bounds: list[tuple[float, float]]
) -> float:
    if not hessian.any():
        return _linear(cost, a_eq, b_eq, a_ub, b_ub, bounds)[1]
    low, high = (np.array(side) for side in zip(*bounds, strict=True))
    unit = np.eye(len(cost))
    fixed = low == high
    has_low, has_high = np.isfinite(low) & ~fixed, np.isfinite(high) & ~fixed
    zero = np.vstack([a_eq, unit[fixed]])
    less = np.vstack([a_ub, unit[has_high], -unit[has_low]])
    rhs = np.concatenate([b_eq, low[fixed], b_ub, high[has_high], -low[has_low]])
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    cones = [clarabel.ZeroConeT(len(zero)), clarabel.NonnegativeConeT(len(less))]
    matrix = sp.csc_matrix(np.vstack([zero, less]))
    solver = clarabel.DefaultSolver(sp.csc_matrix(np.triu(hessian)), cost, matrix, rhs, cones, settings)
    found = solver.solve()
    assert str(found.status) in ("Solved", "AlmostSolved", "PrimalInfeasible"), found.status
    return float(found.obj_val) if "Solved" in str(found.status) else np.inf
