"""The relaxation of a block by linear programs: tangents bound the squares from below (outer approximation), and the
simplex method starts each node from the basis of the last one.

    minimise  c'z + sum_g t_g     with     t_g >= (H w)_g'z_g - 1/2 w_g'H_g w_g     for tangents at points w

per group g of variables that share entries of the Hessian. A tangent is valid everywhere, so that all nodes share the
tangents. Every optimum is a lower bound of the relaxation.
"""

from __future__ import annotations

from dataclasses import replace

import highspy
import numpy as np
import scipy.sparse as sp
import scipy.sparse.csgraph

from cosim.optimization.bilevel.relaxation.relaxation import Decisions, Point, Relaxation
from cosim.optimization.qp.arrays import Indices, Vector, rows, stacked
from cosim.optimization.qp.two_sided import Form, Limits
from cosim.optimization.solvers.backends import linear_program, quiet_highs

_ACCURACY = 1e-9
_ROUNDING = 1e-10


class TangentRelaxation(Relaxation):
    """A relaxation for trees of many nodes. Where the linear program fails, the quadratic program is solved instead.

    Attributes:
        enough: how far a bound may lie below the optimum. Tangents may cause `tangent_share` of it, or of the violation
            of complementarity where that is more.
        suffices: a value at which no further tangents are added.
    """

    enough: float = 0.0
    suffices: float = np.inf
    _program: _Program | None = None

    def allowed(self, broken: float, value: float) -> float:
        """How far a value may lie below the optimum at a point that violates complementarity by `broken`."""
        return max(self.settings.tangent_share * max(self.enough, broken), _ROUNDING * (1.0 + abs(value)))

    def _answer(self, decisions: Decisions, limits: Limits, proof: bool) -> Point:
        if not self.settings.linear_programs:
            return super()._answer(decisions, limits, proof)
        if self._program is None:
            self._program = _Program(self._form, limits)
        program, form = self._program, self._form
        program.put(form, self.cost, limits)
        for _ in range(self.settings.tangent_rounds):
            status = program.run(self.settings.warm_start)
            if status == "infeasible":
                return self._nothing(status)
            if status != "optimal":
                break
            value = program.value + self.level.qp.constant
            z, below = program.z, program.below()
            broken, short = float(self.violations(z, decisions).sum() + self.errors(z).sum()), float(below.sum())
            if value >= self.suffices or short <= self.allowed(broken, value) or not program.add(z, below):
                reduced_cost = program.reduced_cost[self.level.theta_at]
                return Point("optimal", z, value, np.zeros(self.pairs), reduced_cost, short)
        found = super()._answer(decisions, limits, proof)
        if found.status == "optimal":
            program.add(found.z, np.full(program.groups, np.inf))
        return found


class _Program:
    """The linear program in HiGHS.

    Attributes:
        groups: how many groups of variables have squares.
        value, z, reduced_cost: of the last optimum: its value, variables, and reduced costs.
    """

    def __init__(self, form: Form, limits: Limits) -> None:
        n = form.hessian.shape[0]
        self._hessian, self._form, self._limits, self._size = sp.csr_array(form.hessian), form, limits, n
        self._hessian.eliminate_zeros()
        self._at, self._group, self.groups = _groups(self._hessian)
        self._eq_count = form.eq_matrix.shape[0]
        every = np.arange(n)
        matrix = stacked(n + self.groups, [[(form.eq_matrix, every, 1.0)], [(form.row_matrix, every, 1.0)]])
        self._cost = np.zeros(n)
        self.value, self.z, self.reduced_cost = -np.inf, np.zeros(n), np.zeros(n)
        wider = replace(
            limits,
            x_lower=np.concatenate([limits.x_lower, np.zeros(self.groups)]),
            x_upper=np.concatenate([limits.x_upper, np.full(self.groups, np.inf)]),
        )
        lp = linear_program(np.concatenate([self._cost, np.ones(self.groups)]), matrix, wider)
        self._solver = quiet_highs()
        for option, value in {
            "presolve": "off", "solver": "simplex", "primal_feasibility_tolerance": _ACCURACY,
            "dual_feasibility_tolerance": _ACCURACY,
        }.items():  # fmt: skip
            self._solver.setOptionValue(option, value)
        self._solver.passModel(lp)

    def put(self, form: Form, cost: Vector, limits: Limits) -> None:
        """Replace costs, limits, and the numbers of the rows; the sparsity pattern stays."""
        solver, before = self._solver, self._limits
        which = np.flatnonzero(cost != self._cost).astype(np.int32)
        if len(which):
            solver.changeColsCost(len(which), which, cost[which])
            self._cost = cost.copy()
        moved = (limits.x_lower != before.x_lower) | (limits.x_upper != before.x_upper)
        which = np.flatnonzero(moved).astype(np.int32)
        if len(which):
            solver.changeColsBounds(len(which), which, limits.x_lower[which], limits.x_upper[which])
        which = np.flatnonzero((limits.lower != before.lower) | (limits.upper != before.upper)).astype(np.int32)
        if len(which):
            solver.changeRowsBounds(len(which), self._eq_count + which, limits.lower[which], limits.upper[which])
        if form is not self._form:
            now, old = form.row_matrix, self._form.row_matrix
            column = np.repeat(np.arange(now.shape[1]), np.diff(now.indptr))
            for e in np.flatnonzero(now.data != old.data).tolist():
                solver.changeCoeff(self._eq_count + int(now.indices[e]), int(column[e]), float(now.data[e]))
        self._form, self._limits = form, limits

    def run(self, warm: bool) -> str:
        """'optimal', 'infeasible' or 'open'."""
        solver = self._solver
        for afresh in (not warm, True):
            if afresh:
                solver.clearSolver()
            solver.run()
            status = solver.getModelStatus()
            if status == highspy.HighsModelStatus.kOptimal:
                found = solver.getSolution()
                self.value = solver.getObjectiveValue()
                self._found = np.array(found.col_value)
                self.z, self.reduced_cost = self._found[: self._size], np.array(found.col_dual)[: self._size]
                return "optimal"
            if status == highspy.HighsModelStatus.kInfeasible:
                return "infeasible"
        return "open"

    def below(self) -> Vector:
        """(groups,) by how much the tangents lie below the squares at the last optimum."""
        squares = 0.5 * (self._hessian @ self.z) * self.z
        of_group = np.bincount(self._group, squares[self._at], minlength=self.groups)
        error: Vector = np.maximum(of_group - self._found[self._size :], 0.0)
        return error

    def add(self, z: Vector, below: Vector) -> bool:
        """Add tangents at a point for groups whose tangents lie below their squares by more than rounding; False if
        there are none.
        """
        which = below > _ROUNDING * (1.0 + abs(self.value)) / max(self.groups, 1)
        if not np.any(which):
            return False
        slope, mine = self._hessian @ z, which[self._group]
        at, row = self._at[mine], (np.cumsum(which) - 1)[self._group[mine]]
        count = int(which.sum())
        most = np.bincount(row, 0.5 * slope[at] * z[at])
        # Row by row the slopes, then -1 for the group's own variable.
        order = np.argsort(np.concatenate([row, np.arange(count)]), kind="stable")
        index = np.concatenate([at, self._size + np.flatnonzero(which)])[order]
        value = np.concatenate([slope[at], -np.ones(count)])[order]
        first = np.concatenate([[0], np.cumsum(np.bincount(row) + 1)[:-1]])
        self._solver.addRows(
            count, np.full(count, -np.inf), most, len(index), first.astype(np.int32), index.astype(np.int32), value
        )
        return True


def _groups(hessian: sp.csr_array) -> tuple[Indices, Indices, int]:
    """The variables that have squares, the group of each, and how many groups there are."""
    at = np.unique(np.concatenate([np.flatnonzero(np.diff(hessian.indptr)), hessian.indices])).astype(np.int64)
    if not len(at):
        return at, at, 0
    count, label = scipy.sparse.csgraph.connected_components(rows(hessian, at)[:, at], directed=False)
    return at, label.astype(np.int64), int(count)
