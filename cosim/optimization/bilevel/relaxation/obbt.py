"""Proven bounds of a follower's duals, slacks and prices, block by block.

A follower often falls apart into blocks that share no variable (the hours of a day). Each bound is one linear
program over a block: its constraints, its stationarity, the parameters' box, and what complementarity says
about the pair in question. Other complementarities are left out, or decided both ways as far as effort allows, so every
bound is valid; where none exists it is infinite. Nothing is guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import highspy
import numpy as np
import scipy.sparse as sp

from cosim.optimization.bilevel.model.settlement import Settlement
from cosim.optimization.bilevel.model.single_level import SingleLevel, single_level
from cosim.optimization.bilevel.model.strong_duality import PaymentTerms, payment_terms
from cosim.optimization.bilevel.settings import DEFAULT, SearchSettings
from cosim.optimization.qp.arrays import Vector, columns, rows
from cosim.optimization.qp.best_first import BestFirst
from cosim.optimization.qp.blocks import split
from cosim.optimization.qp.conflicts import conflicts
from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.qp.two_sided import Limits
from cosim.optimization.solvers.backends import linear_program, quiet_highs

_MARGIN = 1e-6
_COMPLEMENTARY = 1e-7
_BEYOND = 1e-4


@dataclass(frozen=True)
class Cutoff:
    """Limits of all blocks that every point keeps whose cost is at most that of a known one (see `objective_cutoff`).

    Attributes:
        mu: (k,) multipliers of the follower's parameters.
        most: for each block (in the order of `blocks.split` by parameter) what payment_b - mu_b'th_b is at most;
            infinite where the block has no parameters.
        cost: of the known point.
        bound: L(mu).
        z: all variables of the single-level form at the known point.
    """

    mu: Vector
    most: Vector
    cost: float
    bound: float
    z: Vector


class FollowerBounds:
    """Bounds over all optima of a follower, for every parameter in its box. Each is computed when it is first needed.

    Args:
        follower: the problem.
        cutoff: limits that points with a lower cost than a known one keep; the bounds hold for such points only.
        effort: linear programs for each bound at most, each of which decides one more complementarity; 0 for one
            program without any.
        settings: of the search.
    """

    def __init__(
        self,
        follower: ParametricQP,
        effort: int = 0,
        cutoff: Cutoff | None = None,
        settings: SearchSettings = DEFAULT,
    ) -> None:
        self._follower, self._effort, self._cutoff, self._settings = follower, effort, cutoff, settings
        self.blocks = split(follower, by_parameter=cutoff is not None)
        self._home: dict[int, tuple[int, int]] = {}
        for b, block in enumerate(self.blocks):
            for inside, i in enumerate(block.ineq_rows):
                self._home[int(i)] = (b, inside)
        self._programs: dict[int, _Program] = {}
        self._known: dict[tuple[str, int], float] = {}

    def dual(self, row: int) -> float:
        """An upper bound of sigma[row]; 0 if the row can never bind."""
        return self._cached("dual", row)

    def slack(self, row: int) -> float:
        """An upper bound of the slack of a row wherever its dual is zero; 0 if the row always binds."""
        return self._cached("slack", row)

    def price(self, parameter: int, settlement: Settlement | None = None) -> tuple[float, float]:
        """Lower and upper bound of a parameter's price constant_theta - B'nu - W'sigma, or of its settlement."""
        settlement = Settlement.of(self._follower) if settlement is None else settlement
        lower = upper = float(settlement.constant[parameter])
        for b, block in enumerate(self.blocks):
            if parameter in block.parameters:
                part = settlement.part(block.eq_rows, block.ineq_rows, np.array([parameter]))
                low, high = self.settlement(b, part, 0)
                lower, upper = lower + low, upper + high
        return lower, upper

    def parameter(self, number: int) -> tuple[float, float]:
        """Lower and upper bound of a parameter: its box, or less where there is a cutoff."""
        low, high = float(self._follower.theta_lower[number]), float(self._follower.theta_upper[number])
        for b, block in enumerate(self.blocks if self._cutoff is not None else ()):
            for inside in np.flatnonzero(block.parameters == number).tolist():
                least, most = self._program(b).parameter(inside)
                low, high = max(low, least), min(high, most)
        return low, max(low, high)

    def settlement(self, block: int, settlement: Settlement, parameter: int) -> tuple[float, float]:
        """Lower and upper bound of what a block's duals make of a settlement for one parameter.

        Args:
            block: its place in `blocks`.
            settlement: over the block's rows, whose constant is left out.
            parameter: column of the settlement.
        """
        return self._program(block).settlement(settlement, parameter)

    def _cached(self, kind: str, row: int) -> float:
        key = (kind, row)
        if key not in self._known:
            b, inside = self._home[row]
            program = self._program(b)
            found = program.dual(inside) if kind == "dual" else program.slack(inside)
            if not np.isfinite(found) and self._plain is not None:
                found = self._plain.dual(row) if kind == "dual" else self._plain.slack(row)
            self._known[key] = found
        return self._known[key]

    @cached_property
    def _plain(self) -> FollowerBounds | None:
        """Bounds without the cutoff, for programs that HiGHS cannot solve with it."""
        return None if self._cutoff is None else FollowerBounds(self._follower, self._effort, settings=self._settings)

    def _program(self, b: int) -> _Program:
        if b not in self._programs:
            block, cutoff = self.blocks[b], self._cutoff
            limit = None
            if cutoff is not None and np.isfinite(cutoff.most[b]):
                linear = (self._follower.constant_theta - cutoff.mu)[block.parameters]
                limit = _Limit(payment_terms(block.qp), linear, float(cutoff.most[b]))
            self._programs[b] = _Program(block.qp, self._effort, limit, self._settings)
        return self._programs[b]


@dataclass(frozen=True, slots=True)
class _Limit:
    """The row payment + linear'th <= most, with the payment by strong duality without its linear part in th."""

    terms: PaymentTerms
    linear: Vector
    most: float


class _Program:
    """The linear program of one block, re-solved from the last basis. Tangents stand for the limit's convex payment."""

    def __init__(self, follower: ParametricQP, effort: int, limit: _Limit | None, settings: SearchSettings) -> None:
        self._effort, self._limit, self._tangents, self._settings = effort, limit, 0, settings
        leader = ParametricQP.build(cost=np.zeros(len(follower.parameters)), variables=follower.parameters)
        self._level: SingleLevel = single_level(follower, leader, payment=False)
        qp = self._level.qp
        self._size = len(qp.variables)
        self._eq_count = len(qp.eq_rows)
        self._conflicts = conflicts(follower)
        open_end = np.full(self._size, np.inf)
        limits = Limits(qp.eq_rhs, np.full(len(qp.ineq_rhs), -np.inf), qp.ineq_rhs, -open_end, open_end)
        lp = linear_program(np.zeros(self._size), sp.csr_array(sp.vstack([qp.eq_matrix, qp.ineq_matrix])), limits)
        lp.sense_ = highspy.ObjSense.kMaximize
        self._solver = quiet_highs()
        self._solver.setOptionValue("presolve", "off")
        self._solver.passModel(lp)
        if limit is not None:
            self._tangent(np.zeros(len(follower.variables)))

    def _tangent(self, at: Vector) -> None:
        """Add the limit with the payment's squares replaced by their tangent at these variables of the follower."""
        assert self._limit is not None
        terms, level = self._limit.terms, self._level
        row, curved = np.zeros(self._size), terms.hessian @ at
        for place, values in (
            (level.x_at, terms.cost_x + curved), (level.nu_at, terms.cost_nu), (level.sigma_at, terms.cost_sigma),
            (level.theta_at, self._limit.linear),
        ):  # fmt: skip
            row[place] += values
        index = np.flatnonzero(row).astype(np.int32)
        most = self._limit.most + 0.5 * float(at @ curved)
        self._solver.addRow(-np.inf, most, len(index), index, row[index])
        self._tangents += 1

    def _beyond(self) -> Vector | None:
        """The follower's variables at the program's point if they break the limit by more than its tangents show."""
        if self._limit is None or self._tangents >= self._settings.obbt_tangents:
            return None
        z, level = np.array(self._solver.getSolution().col_value), self._level
        x = z[level.x_at]
        paid = self._limit.terms.of_follower(x, z[level.nu_at], z[level.sigma_at])
        paid += float(self._limit.linear @ z[level.theta_at])
        return x if paid > self._limit.most + _BEYOND * (1.0 + abs(self._limit.most)) else None

    def parameter(self, number: int) -> tuple[float, float]:
        objective = np.zeros(self._size)
        objective[self._level.theta_at[number]] = 1.0
        return -self._largest(-objective), self._largest(objective)

    def dual(self, row: int) -> float:
        objective = np.zeros(self._size)
        objective[self._level.sigma_at[row]] = 1.0
        return self._largest(objective, binding=row)

    def slack(self, row: int) -> float:
        follower, level = self._level.follower, self._level
        objective = np.zeros(self._size)
        objective[level.x_at] = -follower.ineq_matrix[[row]].toarray().ravel()
        objective[level.theta_at] += follower.ineq_theta[[row]].toarray().ravel()
        largest = self._largest(
            objective, zero=[int(level.sigma_at[row])], offset=float(follower.ineq_rhs[row])
        )
        return max(largest, 0.0)

    def settlement(self, settlement: Settlement, parameter: int) -> tuple[float, float]:
        level = self._level
        objective = np.zeros(self._size)
        objective[level.nu_at] = -columns(settlement.by_nu, [parameter]).toarray().ravel()
        objective[level.sigma_at] = -columns(settlement.by_sigma, [parameter]).toarray().ravel()
        if not np.any(objective):
            return 0.0, 0.0
        return -self._largest(-objective), self._largest(objective)

    def _largest(
        self,
        objective: Vector,
        binding: int | None = None,
        zero: list[int] | None = None,
        offset: float = 0.0,
    ) -> float:
        """The largest objective with a row binding and variables at zero, widened by the solver's tolerance.

        Where the linear program is unbounded, the pair that grows most along its ray is decided both ways, and so on,
        because complementarity may exclude the ray. The bound is infinite if a complementary ray remains, or after
        `obbt_programs` programs. With effort left, the pair that the optimum violates most is decided as well.
        """
        solver = self._solver
        solver.changeColsCost(self._size, np.arange(self._size, dtype=np.int32), objective)
        rows_bound = () if binding is None else (binding,)
        first = (rows_bound, tuple(zero or ()))
        queue, largest, programs = BestFirst[tuple[tuple[int, ...], tuple[int, ...]]](), -np.inf, 0
        queue.push(-np.inf, first)
        for bound, (held, gone) in queue:
            enough = programs > max(self._effort, 1) and bound > -np.inf
            if -bound <= largest or enough:
                queue.push(bound, (held, gone))
                break
            if programs > self._settings.obbt_programs and bound == -np.inf:
                return float("inf")
            programs += 1
            status, value, pair = self._node(held, gone)
            if status == "infeasible":
                continue
            if pair is None:
                # A solver without a verdict leaves what is known from above.
                largest = max(largest, value if status == "optimal" else -bound)
                continue
            for child in (((*held, pair), gone), (held, (*gone, int(self._level.sigma_at[pair])))):
                queue.push(-value, child, 2 * programs + len(child[0]))
        largest = max(largest, -queue.bound) if queue else largest
        if largest == -np.inf:
            return 0.0
        largest += offset
        return float(largest + _MARGIN * (1.0 + abs(largest)))

    def _node(self, held: tuple[int, ...], gone: tuple[int, ...]) -> tuple[str, float, int | None]:
        """Solve with these rows binding and these duals at zero; the pair to decide next, None if there is none."""
        solver, level = self._solver, self._level
        limits = level.qp.ineq_rhs
        for row in held:
            solver.changeRowBounds(self._eq_count + row, float(limits[row]), float(limits[row]))
        beside = rows(self._conflicts, np.array(held, dtype=np.int64)).indices
        gone = tuple({*gone, *level.sigma_at[beside].tolist()})
        for column in gone:
            solver.changeColBounds(column, -np.inf, 0.0)
        status, value, pair = self._run(held, gone)
        if status == highspy.HighsModelStatus.kOptimal and self._effort:
            pair = self._violated(set(held), set(gone))
        for row in held:
            solver.changeRowBounds(self._eq_count + row, -np.inf, float(limits[row]))
        for column in gone:
            solver.changeColBounds(column, -np.inf, np.inf)
        if status == highspy.HighsModelStatus.kOptimal:
            return "optimal", value, pair
        return ("infeasible" if status == highspy.HighsModelStatus.kInfeasible else "unbounded"), np.inf, pair

    def _violated(self, held: set[int], gone: set[int]) -> int | None:
        """The undecided pair with the largest dual * slack at the program's point."""
        level, z = self._level, np.array(self._solver.getSolution().col_value)
        product = np.maximum(z[level.sigma_at], 0.0) * np.maximum(level.slack(z), 0.0)
        product[[i for i, column in enumerate(level.sigma_at) if i in held or int(column) in gone]] = 0.0
        worst = int(np.argmax(product)) if len(product) else 0
        return worst if len(product) and product[worst] > _COMPLEMENTARY else None

    def _run(self, held: tuple[int, ...], gone: tuple[int, ...]) -> tuple[Any, float, int | None]:
        """Status and value of the program as it stands, and where it is unbounded the pair that grows along its ray.

        From the basis of the last program HiGHS sometimes ends without a status or without a ray. Then it starts
        without a basis and, if that fails too and there is no limit, by the interior-point method.
        """
        solver, open_ended = self._solver, highspy.HighsModelStatus.kUnbounded
        decided = (highspy.HighsModelStatus.kOptimal, highspy.HighsModelStatus.kInfeasible)
        for attempt in ("on", "afresh", "inside")[: 2 if self._limit is not None else 3]:
            if attempt != "on":
                solver.clearSolver()
            solver.setOptionValue("solver", "ipm" if attempt == "inside" else "choose")
            solver.run()
            while solver.getModelStatus() == highspy.HighsModelStatus.kOptimal:
                beyond = self._beyond()
                if beyond is None:
                    break
                self._tangent(beyond)
                solver.run()
            status = solver.getModelStatus()
            pair = self._runaway(set(held), set(gone)) if status == open_ended else None
            if status in decided or pair is not None:
                break
        solver.setOptionValue("solver", "choose")
        return status, float(solver.getInfo().objective_function_value), pair

    def _runaway(self, held: set[int], gone: set[int]) -> int | None:
        """The undecided pair whose dual or slack grows most along the unbounded ray of the program."""
        level = self._level
        found = self._solver.getPrimalRay()
        ray = np.asarray(found[-1], dtype=float)
        if ray.shape != (self._size,):
            return None
        follower = level.follower
        slack = follower.ineq_theta @ ray[level.theta_at] - follower.ineq_matrix @ ray[level.x_at]
        speed = np.maximum(ray[level.sigma_at], slack)
        decided = [i for i, column in enumerate(level.sigma_at) if i in held or int(column) in gone]
        speed[decided] = 0.0
        best = int(np.argmax(speed)) if len(speed) else 0
        return best if len(speed) and speed[best] > 1e-9 * max(1.0, float(np.abs(ray).max())) else None
