"""Points of a bilevel problem from one piece per block of the follower: a convex QP in the leader's variables alone.

With a piece chosen for every block the whole problem is min of own cost + sum of the pieces' payments over the
leader's rows and the pieces' sides. The local search walks over sides that hold the optimum back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from cosim.optimization.bilevel.model.single_level import SingleLevel
from cosim.optimization.bilevel.primal.critical_regions import BlockPieces, Piece
from cosim.optimization.bilevel.relaxation.relaxation import DUAL_ZERO, SLACK_ZERO, Decisions
from cosim.optimization.bilevel.settings import DEFAULT, SearchSettings
from cosim.optimization.qp.arrays import Indices, Vector, rows
from cosim.optimization.qp.blocks import Block, split
from cosim.optimization.qp.two_sided import Limits, full_form, place_rows, two_sided
from cosim.optimization.solvers.backends import Piqp
from cosim.optimization.solvers.ordering import joining_last

_TOLERANCE = 1e-9
_BETTER = 1e-8
_PATIENT_ITERATIONS = 100
_PULL = 1e-6
_SETTLED = 1e-6
_TOUCH = 1e-8


@dataclass(frozen=True, slots=True)
class Patch:
    """The optimum of one choice of pieces.

    Attributes:
        pieces: one per block.
        cost: the leader's whole cost.
        y: the leader's variables.
        pull: per block, the multipliers of its piece's sides.
        bounds: those of the leader's variables' bounds, of upper ones less those of lower ones.
    """

    pieces: tuple[Piece, ...]
    cost: float
    y: Vector
    pull: tuple[Vector, ...]
    bounds: Vector


class Patchwork:
    """All pieces of a follower and the leader over them; make it with `patchwork`.

    Args:
        level: the problem.
        blocks: of the follower.
        least: relative improvement below which the search does not go on.

    Attributes:
        solves: QPs solved so far.
    """

    def __init__(
        self, level: SingleLevel, blocks: Sequence[BlockPieces], least: float, settings: SearchSettings = DEFAULT
    ) -> None:
        leader, follower = level.leader, level.follower
        place = {name: i for i, name in enumerate(leader.variables)}
        self._level, self.blocks, self._least, self._settings = level, tuple(blocks), least, settings
        self._whole = level.products is None
        at = np.array([place[name] for name in follower.parameters], dtype=np.int64)
        self._at = [at[block.block.parameters] for block in self.blocks]
        put = place_rows(leader)
        self._rows, self._eq_rows = rows(leader.ineq_matrix, put.first_rows), leader.eq_matrix
        if settings.order_rows:
            self._rows, self._eq_rows = joining_last(self._rows, self._at), joining_last(self._eq_rows, self._at)
        self._limits, self._possible = two_sided(put, len(leader.variables), leader.eq_rhs, leader.ineq_rhs)
        low, high = self._limits.x_lower.copy(), self._limits.x_upper.copy()
        low[at], high[at] = np.maximum(low[at], follower.theta_lower), np.minimum(high[at], follower.theta_upper)
        self._low, self._high = low, np.maximum(low, high)
        self._tried: set[tuple[int, ...]] = set()
        self.solves = 0

    def at(self, theta: Vector) -> tuple[Piece, ...] | None:
        """One piece per block at these parameters of the whole follower; None if a block has none to offer."""
        found = [block.at(theta[block.block.parameters]) for block in self.blocks]
        return None if any(piece is None for piece in found) else tuple(p for p in found if p is not None)

    def theta(self, y: Vector) -> Vector:
        """The follower's parameters among the leader's variables."""
        out = np.zeros(len(self._level.follower.parameters))
        for block, at in zip(self.blocks, self._at, strict=True):
            out[block.block.parameters] = y[at]
        return out

    def solve(self, pieces: Sequence[Piece], patient: bool = True, near: Vector | None = None) -> Patch | None:
        """The best point with these pieces; None if they do not go together, which without patience is concluded from
        many iterations.

        Args:
            near: values of the leader's variables thereabouts. Few sides bind, mostly of those that are close; the
                others are put in where they turn out to be broken.
        """
        closest = self._settings.closest_facets
        if near is not None and closest:
            kept = [_closest(piece, near[at], closest) for piece, at in zip(pieces, self._at, strict=True)]
            for _ in range(self._settings.facet_rounds):
                found = self._optimum(pieces, kept, patient)
                if found is None:
                    return None
                broken = [
                    piece.matrix @ found.y[at] > piece.rhs + _TOUCH for piece, at in zip(pieces, self._at, strict=True)
                ]
                if not any(np.any(b & ~k) for b, k in zip(broken, kept, strict=True)):
                    return found
                kept = [b | k for b, k in zip(broken, kept, strict=True)]
        return self._optimum(pieces, [np.ones(len(piece.rhs), dtype=bool) for piece in pieces], patient)

    def _optimum(
        self, pieces: Sequence[Piece], kept: Sequence[npt.NDArray[np.bool_]], patient: bool
    ) -> Patch | None:
        """As `solve`, with only these sides of each piece."""
        leader, n = self._level.leader, len(self._level.leader.variables)
        counts = [int(np.count_nonzero(of)) for of in kept]
        cost, entries, squares, concave = leader.cost.copy(), [], [], []
        first = 0
        for piece, at, of, count in zip(pieces, self._at, kept, counts, strict=True):
            cost[at] += piece.linear
            size = len(at)
            curved, off = (piece.hessian, None) if self._whole else piece.convex()
            if off is not None:
                concave.append((off, at))
            squares.append((curved.ravel(), np.repeat(at, size), np.tile(at, size)))
            entries.append((piece.matrix[of].ravel(), np.repeat(first + np.arange(count), size), np.tile(at, count)))
            first += count
        hessian = leader.hessian + _gather(squares, (n, n))
        matrix = sp.vstack([self._rows, _gather(entries, (first, n))])
        sides = [piece.rhs[of] for piece, of in zip(pieces, kept, strict=True)]
        upper = np.concatenate([self._limits.upper, *sides])
        lower = np.concatenate([self._limits.lower, np.full(first, -np.inf)])
        limits = Limits(leader.eq_rhs, lower, upper, self._low, self._high)
        self.solves += 1
        form = full_form(hessian, self._eq_rows, matrix)
        limit = _PATIENT_ITERATIONS if patient else self._settings.impatient_iterations
        solver = Piqp(form, _TOLERANCE, max_iterations=limit, patient=patient)
        raw = solver.solve(cost, None, limits)
        if raw.status != "optimal":
            return None
        for _ in range(self._settings.concave_rounds if concave else 0):
            # A tangent lies above what is concave, so that each step is at least as good as the one before.
            tangent = cost.copy()
            for off, at in concave:
                tangent[at] -= off @ raw.x[at]
            again = solver.solve(tangent, None, limits)
            if again.status != "optimal" or np.abs(again.x - raw.x).max() <= _SETTLED:
                break
            raw = again
        value = float(cost @ raw.x + 0.5 * raw.x @ (hessian @ raw.x)) + leader.constant
        value -= sum(0.5 * float(raw.x[at] @ (off @ raw.x[at])) for off, at in concave)
        pull = [np.zeros(len(piece.rhs)) for piece in pieces]
        first = self._rows.shape[0]
        for mine, of, count in zip(pull, kept, counts, strict=True):
            mine[of] = raw.rows[first : first + count]
            first += count
        return Patch(tuple(pieces), value, raw.x, tuple(pull), raw.bounds)

    def descend(
        self, start: Sequence[Piece], deadline: float, others: Sequence[Sequence[Piece]] = (), known: float = np.inf
    ) -> Patch | None:
        """Walk from one choice of pieces to better ones until none is near; what was tried before is not tried again.

        Args:
            start: one piece per block.
            deadline: `time.perf_counter()` at which to stop.
            others: per block, further pieces to try.
            known: cost of a patch that has been walked on from; another name of the same point is not walked on from.
        """
        best = self._new(start, patient=True)
        if best is None or abs(best.cost - known) <= self._enough(best.cost):
            return best
        return self.onward(best, deadline, others)

    def onward(self, best: Patch, deadline: float, others: Sequence[Sequence[Piece]] = ()) -> Patch:
        """Walk on from a patch; see `descend`."""
        for _ in range(self._settings.descent_steps):
            better = self._step(best, others, deadline)
            if better is None:
                return best
            best = better
        return best

    def _step(self, now: Patch, others: Sequence[Sequence[Piece]], deadline: float) -> Patch | None:
        """The first better neighbour: all held-back blocks moved on together, then one block at a time."""
        if time.perf_counter() > deadline:
            return None
        least = self._enough(now.cost)
        every = range(len(self.blocks)) if self._settings.move_together else ()
        strongest = [move for b in every for move in self._moves(now, b, 1)]
        together = list(now.pieces)
        for _, b, piece in strongest:
            together[b] = piece
        if len(strongest) > 1 and sum(gain for gain, _, _ in strongest) < -least:
            found = self._new(together, near=now.y)
            if found is not None and found.cost < now.cost - least:
                return found
        given = others if others else [()] * len(self.blocks)
        moves = [move for b, more in enumerate(given) for move in self._moves(now, b, None, more)]
        for gain, b, piece in sorted(moves, key=lambda move: move[0])[: self._settings.single_moves]:
            if gain >= -least or time.perf_counter() > deadline:
                return None
            single = list(now.pieces)
            single[b] = piece
            found = self._new(single, near=now.y)
            if found is not None and found.cost < now.cost - least:
                return found
        return None

    def _enough(self, cost: float) -> float:
        """A difference of costs that is worth a step."""
        return max(self._least, _BETTER) * max(1.0, abs(cost))

    def _new(self, pieces: Sequence[Piece], patient: bool = False, near: Vector | None = None) -> Patch | None:
        """The best point with these pieces, unless they were tried before."""
        key = tuple(id(piece) for piece in pieces)
        if key in self._tried:
            return None
        self._tried.add(key)
        return self.solve(pieces, patient, near)

    def _moves(
        self, now: Patch, b: int, most: int | None, others: Sequence[Piece] = ()
    ) -> list[tuple[float, int, Piece]]:
        """Other pieces for one block, each with a bound of what it changes the cost by (see `_change`).

        Args:
            most: across how many sides to look, those with the largest multipliers; None for all.
            others: further pieces.
        """
        block, piece, theta, pull = self.blocks[b], now.pieces[b], now.y[self._at[b]], now.pull[b]
        found = []
        for row in np.argsort(-pull, kind="stable")[:most].tolist():
            if pull[row] <= _PULL * max(1.0, float(pull.max())):
                break
            found.append(block.across(piece, row, theta))
        different = {id(other): other for other in (*found, *others) if other is not None and other is not piece}
        return [(self._change(now, b, other), b, other) for other in different.values()]

    def _change(self, now: Patch, b: int, other: Piece) -> float:
        """The cost changes at least by this when a block takes another piece.

        At the multipliers mu that hold the patch, the leader and the blocks are each at their least of own cost + mu'th
        and payment - mu'th; with another piece only that block's least is another one.
        """
        piece, at = now.pieces[b], self._at[b]
        theta = now.y[at]
        mu = piece.hessian @ theta + piece.linear + piece.matrix.T @ now.pull[b]
        if not self._whole or not self._settings.screen_moves:  # not convex
            return float(other.payment(theta) - piece.payment(theta) - 0.1 * now.pull[b].max(initial=0.0))
        return other.least(mu, self._low[at], self._high[at]) - float(piece.payment(theta) - mu @ theta)

    def point(self, patch: Patch) -> tuple[Vector, Decisions]:
        """All variables of the single-level form at a patch, and its pattern."""
        level, follower = self._level, self._level.follower
        x, nu, sigma = (np.zeros(len(of)) for of in (follower.variables, follower.eq_rows, follower.ineq_rows))
        decisions = np.full(len(sigma), DUAL_ZERO, dtype=np.int8)
        for block, piece, at in zip(self.blocks, patch.pieces, self._at, strict=True):
            answer = piece.answer @ patch.y[at] + piece.answer_at
            of, n, p = block.block, len(block.block.variables), len(block.block.eq_rows)
            x[of.variables], nu[of.eq_rows] = answer[:n], answer[n : n + p]
            binding = of.ineq_rows[piece.binding]
            sigma[binding] = np.maximum(answer[n + p :], 0.0)
            decisions[binding] = SLACK_ZERO
        z = np.zeros(len(level.qp.variables))
        for place, values in ((level.x_at, x), (level.nu_at, nu), (level.sigma_at, sigma), (level.leader_at, patch.y)):
            z[place] = values
        return level.complete(z), decisions


def patchwork(
    level: SingleLevel,
    *,
    payment: bool,
    least: float = 0.0,
    known: Callable[[Block, Vector], BlockPieces] | None = None,
    settings: SearchSettings = DEFAULT,
) -> Patchwork | None:
    """The patchwork of a problem; None where pieces cannot serve.

    They need a payment, a leader that does not name follower variables, each parameter in a block, and blocks small
    enough for dense algebra.

    Args:
        known: what gives the critical regions of a block (and the constant of its parameters), as found so far.
    """
    follower, leader = level.follower, level.leader
    if not payment or set(leader.variables) & set(follower.variables) or not np.all(np.isfinite(follower.ineq_rhs)):
        return None
    parts = split(follower, by_parameter=True)
    if sum(len(part.parameters) for part in parts) != len(follower.parameters):
        return None
    constants = [follower.constant_theta[part.parameters] for part in parts]
    if level.products is not None:
        charges = [level.charge.part(part.eq_rows, part.ineq_rows, part.parameters) for part in parts]
        blocks = [BlockPieces(*one, settings) for one in zip(parts, constants, charges, strict=True)]
    else:
        blocks = [
            BlockPieces(part, constant, settings=settings) if known is None else known(part, constant)
            for part, constant in zip(parts, constants, strict=True)
        ]
    return Patchwork(level, blocks, least, settings) if all(block.usable for block in blocks) else None


def _closest(piece: Piece, theta: Vector, count: int) -> npt.NDArray[np.bool_]:
    """Which sides of a piece are the closest ones to some parameters, or beyond them."""
    distance = piece.rhs - piece.matrix @ theta
    if len(distance) <= count:
        return np.ones(len(distance), dtype=bool)
    near: npt.NDArray[np.bool_] = distance <= max(float(np.partition(distance, count)[count]), _TOUCH)
    return near


def _gather(parts: Sequence[tuple[Vector, Indices, Indices]], shape: tuple[int, int]) -> sp.csr_array:
    if not parts:
        return sp.csr_array(shape)
    value = np.concatenate([part[0] for part in parts])
    row, column = (np.concatenate([part[i] for part in parts]) for i in (1, 2))
    return sp.csr_array((value, (row, column)), shape=shape)
