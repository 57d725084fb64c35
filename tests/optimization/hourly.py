"""A made-up day: 24 small followers that do not see each other, and one leader that couples them over the
hours.
"""

from __future__ import annotations

import numpy as np

from cosim.optimization.qp.parametric import ParametricQP, stack


def hour(rng: np.random.Generator, tag: str, price: float, load: float, slope: float = 0.0) -> ParametricQP:
    """12 variables (purchase, 3 + 3 outputs, 5 soft-limit slacks), about 60 rows, 3 parameters in right-hand
    sides.
    """
    n, k = 12, 3
    p, q, slack = slice(1, 4), slice(4, 7), slice(7, 12)
    hessian, cost = np.zeros((n, n)), np.zeros(n)
    hessian[0, 0] = slope
    hessian[p, p] = np.diag(rng.uniform(8.0, 25.0, 3))
    hessian[q, q] = 0.5 * np.eye(3)
    cost[0], cost[p], cost[slack] = price, rng.uniform(25.0, 55.0, 3), 2000.0
    matrix, right, theta = [], [], []

    def add(row: np.ndarray, limit: float, by_theta: np.ndarray) -> None:
        matrix.append(row)
        right.append(limit)
        theta.append(by_theta)

    resistance = rng.uniform(0.01, 0.05, (18, 1)) * rng.uniform(0.5, 1.5, (18, 3))
    for i in range(18):
        row = np.zeros(n)
        row[p], row[q] = resistance[i], 0.7 * resistance[i]
        base = 1.0 - 0.02 * load * rng.uniform(0.5, 1.2)
        low, high = -row.copy(), row.copy()
        low[7], high[8] = -1.0, -1.0
        add(low, base - 0.92, -resistance[i])
        add(high, 1.06 - base, resistance[i])
    for i, limit in ((0, 1.9), (1, 1.3), (2, 1.3)):
        row = np.zeros(n)
        row[0], row[9 + i] = (1.0 if i == 0 else 0.5), -1.0
        row[1 + i] -= 0.3 * (i > 0)
        add(row, limit, np.zeros(3) if i == 0 else -0.3 * np.eye(3)[i])
    for j in (1, 2, 3):
        for sign in (1.0, -1.0):
            row = np.zeros(n)
            row[j], row[j + 3] = 1.0, sign
            add(row, 0.8, np.zeros(3))
        for at, low, high in ((j, 0.0, 0.6), (j + 3, -0.3, 0.3)):
            unit = np.eye(n)[at]
            add(-unit, -low, np.zeros(3))
            add(unit, high, np.zeros(3))
    for at in (0, *range(7, 12)):
        add(-np.eye(n)[at], 0.0, np.zeros(3))
    balance = np.zeros(n)
    balance[0], balance[p] = 1.0, 1.0
    return ParametricQP.build(
        hessian=hessian, cost=cost,
        eq_matrix=balance[None, :], eq_rhs=[load], eq_theta=np.ones((1, k)),
        ineq_matrix=np.array(matrix), ineq_rhs=right, ineq_theta=np.array(theta),
        theta_lower=np.full(k, 0.05), theta_upper=np.full(k, 0.6),
        variables=[f"{tag}x{i}" for i in range(n)], parameters=[f"{tag}th{i}" for i in range(k)],
        eq_rows=[f"{tag}balance"], ineq_rows=[f"{tag}row{i}" for i in range(len(right))],
    )  # fmt: skip


def day(seed: int, hours: int = 24, slope: float = 0.0) -> tuple[ParametricQP, ParametricQP]:
    """Follower and leader of a day; the leader needs a given total of each th and may shift it at a small
    cost.
    """
    rng = np.random.default_rng(seed)
    shape = 0.6 + 0.4 * np.sin(np.arange(hours) / hours * 2 * np.pi - 1.5)
    follower = stack(
        [
            hour(rng, f"h{t} ", 25 + 30 * shape[t] + 5 * rng.random(), 0.5 + 0.9 * shape[t], slope)
            for t in range(hours)
        ]
    )
    names = [f"h{t} th{i}" for t in range(hours) for i in range(3)]
    cost = np.array([0.2 * t * (i + 1) for t in range(hours) for i in range(3)])
    total = np.zeros((3, len(names)))
    for i in range(3):
        total[i, i::3] = 1.0
    ramp = np.zeros((2 * 3 * (hours - 1), len(names)))
    for r, (t, i) in enumerate((t, i) for t in range(hours - 1) for i in range(3)):
        ramp[2 * r, 3 * (t + 1) + i], ramp[2 * r, 3 * t + i] = 1.0, -1.0
        ramp[2 * r + 1] = -ramp[2 * r]
    leader = ParametricQP.build(
        cost=cost, eq_matrix=total, eq_rhs=np.full(3, 0.3 * hours), ineq_matrix=ramp,
        ineq_rhs=np.full(len(ramp), 0.2), variables=names,
        eq_rows=[f"total {i}" for i in range(3)], ineq_rows=[f"ramp {i}" for i in range(len(ramp))],
    )  # fmt: skip
    return follower, leader
