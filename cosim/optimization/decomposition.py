"""A stronger bound for bilevel problems whose follower falls apart into blocks: Lagrangian decomposition.

Give leader and follower a copy each of the parameters th and price their difference by mu:

    L(mu) = min over the leader's rows of  own cost + mu'th   +   sum over blocks b of  c_b(mu_b),
    c_b(mu_b) = min over the exact optimality conditions of block b of  payment_b - mu_b'th_b

For every mu, L(mu) is a lower bound, and at its best the bound is that of the convex hulls of all blocks,
where the relaxation of `relaxation` only has each block's convex relaxation. c_b is a small bilevel problem
of its own, solved by the same tree. mu moves by a proximal bundle method; the blocks' patterns, put together,
make good incumbents.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import scipy.sparse as sp

from cosim.optimization.arrays import Indices, Vector, csr
from cosim.optimization.bounds import Block, split
from cosim.optimization.parametric import ParametricQP
from cosim.optimization.qp_solvers import QPSolver
from cosim.optimization.relaxation import Decisions, Relaxation, SingleLevel, single_level

Minimise = Callable[[Relaxation, float], tuple[float, float, Vector, Decisions] | None]
_ROUNDS = 40
_LOOK_BACK = 3
_WORTH = 0.3


@dataclass
class _Part:
    """One block, its own single-level form, and the columns (th, payment, pattern) found so far."""

    block: Block
    relaxation: Relaxation
    plain_cost: Vector
    at_leader: Indices
    columns: list[tuple[Vector, float, Decisions]] = field(default_factory=list)


class Decomposition:
    """The Lagrangian bound of one single-level form; make it with `decompose`.

    Args:
        level: the whole problem.
        blocks: of its follower, each parameter in exactly one.
        minimise: solves a small relaxation to a gap: (bound, objective, z, decisions), or None.
    """

    def __init__(self, level: SingleLevel, blocks: list[Block], minimise: Minimise) -> None:
        self._level, self._minimise = level, minimise
        leader, follower = level.leader, level.follower
        place = {name: i for i, name in enumerate(leader.variables)}
        self._parts = []
        for block in blocks:
            qp = replace(block.qp, constant_theta=follower.constant_theta[block.parameters])
            names = qp.parameters
            own = ParametricQP.build(cost=np.zeros(len(names)), variables=names)
            part = Relaxation(single_level(qp, own, payment=True))
            where = np.array([place[name] for name in names], dtype=np.int64)
            self._parts.append(_Part(block, part, part.cost.copy(), where))
        self._theta_at_leader = np.array([place[name] for name in follower.parameters], dtype=np.int64)
        self._leader = self._with_box(leader)
        self._leader_solver = QPSolver(self._leader)
        self.solves = 0

    def _with_box(self, leader: ParametricQP) -> ParametricQP:
        """The leader with the follower's box of th among its rows."""
        follower, at = self._level.follower, self._theta_at_leader
        eye = sp.eye_array(len(leader.variables), format="csr")
        size = (len(leader.ineq_rows) + 2 * len(at), len(leader.variables))
        return replace(
            leader,
            ineq_matrix=csr(sp.vstack([leader.ineq_matrix, eye[at], -eye[at]]), size),
            ineq_rhs=np.concatenate([leader.ineq_rhs, follower.theta_upper, -follower.theta_lower]),
            ineq_theta=csr(None, (size[0], 0)),
            ineq_rows=tuple(f"row {i}" for i in range(size[0])),
        )

    def run(
        self,
        missing: Callable[[float], float],
        propose: Callable[[Vector, Decisions | None], None],
        gap: float,
        deadline: float,
    ) -> float:
        """The best bound found.

        Args:
            missing: how far a bound still is from being good enough; not positive when it is.
            propose: is offered parameters, and a pattern of the whole follower, as a possible incumbent.
            gap: gap to which the blocks are solved.
            deadline: `time.perf_counter()` at which to stop.
        """
        mu = self._first_multipliers()
        if mu is None:
            return -np.inf
        best, center = -np.inf, mu
        history: list[float] = []
        width = float(np.mean(self._level.follower.theta_upper - self._level.follower.theta_lower))
        step = 0.15 * max(float(np.mean(np.abs(mu[self._theta_at_leader]))), 1e-6) / max(width, 1e-9)
        for _ in range(_ROUNDS):
            value = self._evaluate(mu, gap)
            if value is None:
                break
            if value > best:
                best, center, step = value, mu, 1.5 * step
            else:
                step *= 0.4
            history.append(best)
            found = self._master(center, step)
            if found is None:
                break
            mu, theta, pattern = found
            propose(theta, pattern)
            if missing(best) <= 0 or time.perf_counter() > deadline:
                break
            if len(history) > _LOOK_BACK and best - history[-1 - _LOOK_BACK] < _WORTH * missing(best):
                break
        return best

    def _first_multipliers(self) -> Vector | None:
        """Minus the gradient of the leader's side at the convex relaxation, in the leader's variables."""
        level = self._level
        found = QPSolver(level.qp, "piqp").solve()
        if not found.optimal:
            return None
        leader = level.leader
        first = 2 * len(level.follower.ineq_rows)
        y = found.x[level.leader_at]
        gradient = leader.cost + leader.hessian @ y + leader.eq_matrix.T @ found.nu[: len(leader.eq_rows)]
        gradient = gradient + leader.ineq_matrix.T @ found.sigma[first : first + len(leader.ineq_rows)]
        mu = np.zeros(len(leader.variables))
        mu[self._theta_at_leader] = -gradient[self._theta_at_leader]
        return mu

    def _evaluate(self, mu: Vector, gap: float) -> float | None:
        """L(mu), and a new column of every block."""
        own = self._leader_solver.solve(extra_linear=mu)
        if not own.optimal:
            return None
        total = own.objective
        for part in self._parts:
            level = part.relaxation.level
            part.relaxation.cost = part.plain_cost.copy()
            part.relaxation.cost[level.theta_at] -= mu[part.at_leader]
            found = self._minimise(part.relaxation, gap / 4)
            if found is None:
                return None
            bound, objective, z, decisions = found
            total += bound
            theta = z[level.theta_at]
            part.columns.append((theta, objective + float(mu[part.at_leader] @ theta), decisions))
        return total

    def _master(self, center: Vector, step: float) -> tuple[Vector, Vector, Decisions] | None:
        """The leader against mixtures of the blocks' columns, with a quadratic penalty on their difference.

        Returns:
            The next multipliers, the leader's parameters, and the pattern of each block's heaviest column.
        """
        leader = self._leader
        n = len(leader.variables)
        counts = [len(part.columns) for part in self._parts]
        first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        mixture = np.zeros((n, first[-1]))
        paid, member = np.zeros(first[-1]), np.zeros((len(counts), first[-1]))
        for b, part in enumerate(self._parts):
            for k, (theta, value, _) in enumerate(part.columns):
                mixture[part.at_leader, first[b] + k] = theta
                paid[first[b] + k], member[b, first[b] + k] = value, 1.0
        keep = np.zeros(n)
        keep[self._theta_at_leader] = 1.0
        difference = sp.csr_array(np.hstack([np.diag(keep), -mixture]))
        wide = sp.block_diag([leader.hessian, sp.csr_array((first[-1], first[-1]))])
        master = ParametricQP.build(
            hessian=wide + step * (difference.T @ difference),
            cost=np.concatenate([leader.cost, paid]) + difference.T @ center,
            eq_matrix=sp.block_diag([leader.eq_matrix, sp.csr_array(member)]),
            eq_rhs=np.concatenate([leader.eq_rhs, np.ones(len(counts))]),
            ineq_matrix=sp.block_diag([leader.ineq_matrix, -sp.eye_array(first[-1])]),
            ineq_rhs=np.concatenate([leader.ineq_rhs, np.zeros(first[-1])]),
        )
        found = QPSolver(master, "piqp", tolerance=1e-8, polish=False, accept=1e-2).solve()
        if not found.optimal:
            return None
        pattern = np.zeros(len(self._level.follower.ineq_rows), dtype=np.int8)
        for b, part in enumerate(self._parts):
            weight = found.x[n + first[b] : n + first[b + 1]]
            pattern[part.block.ineq_rows] = part.columns[int(np.argmax(weight))][2]
        return center + step * (difference @ found.x), found.x[self._theta_at_leader], pattern


def decompose(level: SingleLevel, *, payment: bool, minimise: Minimise) -> Decomposition | None:
    """The decomposition of a problem, or None where it has nothing to offer.

    It needs a payment, at least two blocks, a bounded box, each parameter in exactly one block, and a leader
    that does not name follower variables.
    """
    follower, leader = level.follower, level.leader
    bounded = np.all(np.isfinite(follower.theta_lower)) and np.all(np.isfinite(follower.theta_upper))
    if not payment or not bounded or set(leader.variables) & set(follower.variables):
        return None
    blocks = split(follower)
    used = np.concatenate([block.parameters for block in blocks]) if blocks else np.zeros(0)
    rows_known = sum(len(block.ineq_rows) for block in blocks) == len(follower.ineq_rows)
    if (
        len(blocks) < 2
        or not rows_known
        or not np.array_equal(np.sort(used), np.arange(len(follower.parameters)))
    ):
        return None
    return Decomposition(level, blocks, minimise)
