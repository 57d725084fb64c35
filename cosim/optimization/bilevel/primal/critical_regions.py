"""Critical regions of a parametric QP: while the same rows bind, x and the duals are affine in the parameters.

On a critical region, a polyhedron of parameters, the price is affine with a positive semidefinite slope (it is the
gradient of the convex optimal value), so price'th is a convex quadratic. Where regions touch, the least payment over
all optimal duals is that of one of them, so that the closed regions give the optimistic payment wherever they cover.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import daqp
import numpy as np
import numpy.typing as npt
import scipy.linalg
import scipy.optimize

from cosim.optimization.bilevel.model.settlement import Settlement
from cosim.optimization.bilevel.settings import DEFAULT, SearchSettings
from cosim.optimization.qp.arrays import Vector
from cosim.optimization.qp.blocks import Block
from cosim.optimization.solvers.qp_solver import QPSolver

_SINGULAR = 1e-9
_NOISE = 1e-12
_INSIDE = 1e-9
_DEPENDENT = 1e-9
_REGULAR, _PROXIMAL = 1e-9, 1e-4
_OPEN, _EQUATION = 1e30, 5


@dataclass(frozen=True, slots=True)
class CriticalRegion:
    """One critical region of a block, with x, the duals and the payment as functions of its parameters th.

    Attributes:
        binding: (m,) which rows bind.
        answer, answer_at: x, nu and the duals of the binding rows, one after the other, are answer @ th + answer_at.
        hessian, linear: payment = 1/2 th'(hessian)th + linear'th; convex where the leader pays the whole price.
        matrix, rhs: the region is where matrix @ th <= rhs; rows have length one.
    """

    binding: npt.NDArray[np.bool_]
    answer: Vector
    answer_at: Vector
    hessian: Vector
    linear: Vector
    matrix: Vector
    rhs: Vector

    def holds(self, theta: Vector) -> bool:
        """Whether the parameters lie on the region."""
        return bool(np.all(self.matrix @ theta <= self.rhs + _INSIDE))

    def convex(self) -> tuple[Vector, Vector | None]:
        """The Hessian as a positive semidefinite matrix less another one, None where nothing is to be taken off."""
        values, vectors = np.linalg.eigh(self.hessian)
        if values.min(initial=0.0) >= -_NOISE * (1.0 + np.abs(values).max(initial=0.0)):
            return self.hessian, None
        off = (vectors * np.maximum(-values, 0.0)) @ vectors.T
        return self.hessian + off, off

    def payment(self, theta: Vector) -> float:
        """Price times parameters, as the region has it, inside or not."""
        return float(theta @ (0.5 * self.hessian @ theta + self.linear))

    def least(self, mu: Vector, lower: Vector, upper: Vector) -> float:
        """The least payment - mu'th on a convex region within a box; infinite where they do not meet, minus infinite
        where the solver gives up.
        """
        curved = self.hessian + _REGULAR * np.eye(len(mu))
        sense = np.zeros(len(mu) + len(self.rhs), dtype=np.int32)
        above = np.minimum(np.concatenate([upper, self.rhs]), _OPEN)
        below = np.concatenate([np.maximum(lower, -_OPEN), np.full(len(self.rhs), -_OPEN)])
        matrix = np.ascontiguousarray(self.matrix)
        _, value, flag, _ = daqp.solve(curved, self.linear - mu, matrix, above, below, sense)
        return float(value) if flag > 0 else np.inf if flag == -1 else -np.inf


class CriticalRegions:
    """The critical regions of one block, found where they are asked for, and kept.

    Args:
        block: a part of the follower whose parameters enter right-hand sides only.
        constant_theta: (k,) linear price that the follower's constant adds to each parameter.
        settlement: what the leader pays for the block's parameters, if not the whole price.
        settings: of the search.
    """

    def __init__(
        self,
        block: Block,
        constant_theta: Vector,
        settlement: Settlement | None = None,
        settings: SearchSettings = DEFAULT,
    ) -> None:
        self.block, self._settings = block, settings
        self._qp = replace(block.qp, constant_theta=constant_theta)
        self._hessian, self._eq, self._ineq = (
            matrix.toarray() for matrix in (block.qp.hessian, block.qp.eq_matrix, block.qp.ineq_matrix)
        )
        self._eq_theta, self._ineq_theta = block.qp.eq_theta.toarray(), block.qp.ineq_theta.toarray()
        settlement = Settlement.of(self._qp) if settlement is None else settlement
        self._constant = settlement.constant
        self._by_nu, self._by_sigma = settlement.by_nu.toarray(), settlement.by_sigma.toarray()
        self._rows = np.ascontiguousarray(np.vstack([self._eq, self._ineq]))
        self._known: dict[bytes, CriticalRegion | None] = {}
        # How many are known, those that exist, and where the rows of each begin among the rows of all.
        self._stacked = 0, list[CriticalRegion](), np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0)

    @cached_property
    def _solver(self) -> QPSolver:
        return QPSolver(self._qp)

    @property
    def usable(self) -> bool:
        """Whether the block is small enough for dense algebra."""
        return len(self._qp.variables) + len(self._qp.eq_rows) <= self._settings.largest_block

    def at(self, theta: Vector) -> CriticalRegion | None:
        """A region that contains these parameters; None where none is found.

        Of several known ones it is that with the least payment. Where regions meet, the rows that bind may not
        determine one; then a region nearby is taken.
        """
        qp = self._qp
        known = self._containing(theta)
        if known:
            return min(known, key=lambda region: region.payment(theta))
        found = self._read(theta)
        width = np.where(np.isfinite(qp.theta_upper - qp.theta_lower), qp.theta_upper - qp.theta_lower, 1.0)
        aside = np.random.default_rng(len(self._known))
        for reach in self._settings.nudges:
            if found is not None:
                return found
            moved = theta + reach * width * aside.uniform(-1.0, 1.0, len(theta))
            found = self._read(np.clip(moved, qp.theta_lower, qp.theta_upper))
        return found

    def _containing(self, theta: Vector) -> list[CriticalRegion]:
        """Known regions that contain these parameters; the rows of all are looked at together."""
        if not self._known:
            return []
        if self._stacked[0] != len(self._known):
            regions = [region for region in self._known.values() if region is not None]
            first = np.cumsum([0, *(len(region.rhs) for region in regions)])
            matrix = np.concatenate([np.zeros((0, len(theta))), *(region.matrix for region in regions)])
            rhs = np.concatenate([np.zeros(0), *(region.rhs for region in regions)]) + _INSIDE
            self._stacked = len(self._known), regions, first, matrix, rhs
        _, regions, first, matrix, rhs = self._stacked
        broken = np.concatenate([[0], np.cumsum(matrix @ theta > rhs)])[first]
        return [regions[i] for i in np.flatnonzero(broken[1:] == broken[:-1]).tolist()]

    def point(self, theta: Vector) -> tuple[Vector, Vector, Vector, npt.NDArray[np.bool_], float] | None:
        """The answer at these parameters: x, nu, sigma (m,), which rows bind (m,), and the payment."""
        region = self.at(theta)
        if region is None:
            return None
        n, p = len(self._qp.variables), len(self._qp.eq_rows)
        answer = region.answer @ theta + region.answer_at
        sigma = np.zeros(len(region.binding))
        sigma[region.binding] = np.maximum(answer[n + p :], 0.0)
        return answer[:n], answer[n : n + p], sigma, region.binding, region.payment(theta)

    def _read(self, theta: Vector) -> CriticalRegion | None:
        """The region whose rows the answer at these parameters shows as binding.

        Mostly the working set of a fast active-set method tells it, which linear algebra then proves right: a region
        that contains the parameters is where exactly its rows bind.
        """
        quick = self._active(theta)
        found = None if quick is None else self._with(quick)
        if found is not None and found.holds(theta):
            return found
        answer = self._solver.solve(theta)
        if not answer.optimal:
            return None
        qp = self._qp
        slack = qp.ineq_rhs + self._ineq_theta @ theta - self._ineq @ answer.x
        return self._with(self._independent(answer.x, answer.sigma > slack))

    def _active(self, theta: Vector) -> npt.NDArray[np.bool_] | None:
        """Rows with a dual in the working set of DAQP at these parameters; None where it gives up."""
        qp, p = self._qp, len(self._eq)
        eq = qp.eq_rhs + self._eq_theta @ theta
        above = np.concatenate([eq, np.minimum(qp.ineq_rhs + self._ineq_theta @ theta, _OPEN)])
        below = np.concatenate([eq, np.full(len(above) - p, -_OPEN)])
        sense = np.zeros(len(above), dtype=np.int32)
        sense[:p] = _EQUATION
        settings = {"eps_prox": _PROXIMAL, "primal_tol": _INSIDE}
        *_, flag, info = daqp.solve(self._hessian, qp.cost, self._rows, above, below, sense, **settings)
        return np.asarray(info["lam"])[p:] > 0.0 if flag > 0 else None

    def _with(self, binding: npt.NDArray[np.bool_]) -> CriticalRegion | None:
        """The region where exactly these rows bind, computed at most once."""
        key = binding.tobytes()
        if key not in self._known:
            self._known[key] = self._region(binding)
        return self._known[key]

    def across(self, region: CriticalRegion, row: int, theta: Vector) -> CriticalRegion | None:
        """The region beyond a facet of this one, near parameters on that facet; None at the end of the box."""
        qp = self._qp
        width = np.where(np.isfinite(qp.theta_upper - qp.theta_lower), qp.theta_upper - qp.theta_lower, 1.0)
        normal = region.matrix[row]
        reach = self._settings.facet_step * float(np.max(width * np.abs(normal), initial=0.0))
        beyond = np.clip(theta + reach * normal, qp.theta_lower, qp.theta_upper)
        if normal @ beyond <= region.rhs[row] + _INSIDE:
            return None
        found = self.at(beyond)
        return None if found is region else found

    def _independent(self, x: Vector, binding: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Of rows that bind, as many as do not depend on each other, first those that a basic dual needs."""
        held = np.vstack([self._eq, self._ineq[binding]])
        if np.linalg.matrix_rank(held) == len(held):
            return binding
        p, gradient = len(self._eq), self._hessian @ x + self._qp.cost
        basic, _ = scipy.optimize.nnls(np.vstack([held[:p], -held[:p], held[p:]]).T, -gradient)
        weight = basic[2 * p :]
        kept = np.zeros_like(binding)
        basis = scipy.linalg.orth(self._eq.T).T if p else np.zeros((0, len(x)))
        order = np.argsort(-weight, kind="stable")
        for i in np.flatnonzero(binding)[order].tolist():
            row = self._ineq[i]
            apart = row - basis.T @ (basis @ row)
            apart -= basis.T @ (basis @ apart)
            length = float(np.linalg.norm(apart))
            if length > _DEPENDENT * float(np.linalg.norm(row)):
                kept[i], basis = True, np.vstack([basis, apart / length])
        return kept

    def _region(self, binding: npt.NDArray[np.bool_]) -> CriticalRegion | None:
        """The region where exactly these rows bind; None if the conditions do not determine the answer."""
        qp = self._qp
        n, p = len(qp.variables), len(qp.eq_rows)
        held = np.vstack([self._eq, self._ineq[binding]])
        size = n + len(held)
        system = np.block([[self._hessian, held.T], [held, np.zeros((len(held), len(held)))]])
        right = np.zeros((size, 1 + len(qp.parameters)))
        right[:, 0] = np.concatenate([-qp.cost, qp.eq_rhs, qp.ineq_rhs[binding]])
        right[n:, 1:] = np.vstack([self._eq_theta, self._ineq_theta[binding]])
        try:
            solved = np.linalg.solve(system, right)
            solved += np.linalg.solve(system, right - system @ solved)
        except np.linalg.LinAlgError:
            return None
        error = np.abs(system @ solved - right).max(initial=0.0)
        if not np.all(np.isfinite(solved)) or error > _SINGULAR * (1.0 + np.abs(right).max(initial=0.0)):
            return None
        at, by = solved[:, 0], solved[:, 1:]
        back = np.vstack([self._by_nu, self._by_sigma[binding]]).T
        slope, price = -back @ by[n:], self._constant - back @ at[n:]
        matrix = np.vstack([-by[n + p :], self._ineq[~binding] @ by[:n] - self._ineq_theta[~binding]])
        rhs = np.concatenate([at[n + p :], qp.ineq_rhs[~binding] - self._ineq[~binding] @ at[:n]])
        matrix, rhs, empty = self._sides(matrix, rhs)
        return None if empty else CriticalRegion(binding, by, at, slope + slope.T, price, matrix, rhs)

    def _sides(self, matrix: Vector, rhs: Vector) -> tuple[Vector, Vector, bool]:
        """The rows that may bind somewhere in the box, at length one, and whether some row never holds."""
        qp = self._qp
        length = np.linalg.norm(matrix, axis=1)
        flat = length <= _NOISE * (1.0 + np.abs(rhs))
        empty = bool(np.any(rhs[flat] < -1e-7 * (1.0 + np.abs(rhs[flat]))))
        matrix, rhs = matrix[~flat] / length[~flat, None], rhs[~flat] / length[~flat]
        with np.errstate(invalid="ignore"):
            ends = np.where(matrix > 0, matrix * qp.theta_upper, matrix * qp.theta_lower)
        most = np.where(matrix == 0.0, 0.0, ends).sum(axis=1)
        return matrix[most > rhs], rhs[most > rhs], empty
