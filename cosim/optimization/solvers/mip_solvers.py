"""Mixed-integer programs through Pyomo: HiGHS, SCIP and Gurobi, chosen by name or by what a model contains."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, TypeAlias

import numpy as np
import pyomo.environ as pyo
from pyomo.contrib.solver.common.factory import SolverFactory
from pyomo.contrib.solver.common.results import TerminationCondition

from cosim.errors import InputError, RunFailure
from cosim.optimization.qp.solution import NoSolution
from cosim.optimization.solvers.backends import introduce_highs

NAMES = ("auto", "highs", "scip", "gurobi")
_PYOMO = {"highs": "highs", "scip": "scip_direct", "gurobi": "gurobi_persistent"}
_MODULE = {"highs": "highspy", "scip": "pyscipopt", "gurobi": "gurobipy"}
_MAX_ROUNDS = 60


BOUND_TOLERANCE = 1e-6
"""By how much a solver's bound may lie above the optimum, because its linear programs hold only to its own tolerances;
relative, absolute below 1. Bounds are stated lower by that much."""


Indicator: TypeAlias = tuple[Any, bool, Any]
Product: TypeAlias = tuple[Any, Any, Any]


@dataclass(frozen=True, slots=True)
class SolverRun:
    """What a solver did: its name, the best objective and proven bound (minimisation), and how it ended."""

    solver: str
    objective: float
    bound: float
    status: str


def installed() -> tuple[str, ...]:
    """Names of the solvers that can be imported."""
    return tuple(name for name, module in _MODULE.items() if _is_there(module))


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # kept from being imported
        return False


def choose(
    name: str, *, squares: bool = False, sos: bool = False, indicators: bool = False, products: bool = False
) -> str:
    """The solver for a model: 'auto' takes HiGHS where there is neither SOS nor a quadratic term, else SCIP,
    else Gurobi.

    Args:
        name: one of `NAMES`.
        squares, indicators, products: whether the model has them, as in `solve_model`; sos: whether it has SOS1.

    Raises:
        InputError: for an unknown or missing solver, or one that cannot take the model.
    """
    have = installed()
    if name not in NAMES:
        raise InputError("unknown solver", key="solver", value=name, allowed=", ".join(NAMES))
    if name == "auto":
        order = ["scip", "gurobi", "highs"] if squares or products or sos else ["highs", "scip", "gurobi"]
        order = ["scip"] if indicators else order
        name = next((one for one in order if one in have and not (one == "highs" and (sos or products))), "")
        if not name:
            raise InputError("no solver for this model is installed", key="solver", allowed="highs, scip, gurobi")
    if name not in have:
        raise InputError("solver is not installed", key="solver", value=name, allowed=", ".join(have))
    if name != "scip" and indicators:
        raise InputError("indicator constraints go to SCIP only", key="solver", value=name, allowed="scip")
    if name == "highs" and products:
        raise InputError("HiGHS has no bilinear terms", key="solver", value=name, allowed="scip, gurobi")
    if name == "highs" and sos:
        why = "HiGHS has no SOS1, and for some pairs no bound could be proven"
        raise InputError(why, key="solver", value=name, allowed="scip, gurobi")
    return name


def solve_model(
    model: Any,
    solver: str = "auto",
    *,
    squares: Sequence[tuple[Any, Any]] = (),
    products: Sequence[Product] = (),
    indicators: Sequence[Indicator] = (),
    gap: float = 1e-6,
    time_limit_s: float = 300.0,
    started: bool = False,
) -> SolverRun:
    """Solve a Pyomo model and load the best point into it.

    Args:
        model: linear constraints, SOS1 and a linear objective to be minimised.
        solver: one of `NAMES`.
        squares: pairs (t, y) of variables that mean t >= y^2, with t in the objective. SCIP and Gurobi get
            them as quadratic rows; for HiGHS tangents are added until the gap is closed.
        products: triples (w, u, v) of variables that mean w >= u v, with w in the objective; not for HiGHS.
        indicators: triples (binary, value, variable): where the binary has the value the variable is at most 0.
        gap: relative gap at which to stop.
        time_limit_s: wall time; the best point so far is loaded.
        started: whether the values of integer variables that are not fixed stand for a point to begin with.

    Raises:
        InputError: see `choose`; also if a model is too large for Gurobi without a licence.
        NoSolution: it is infeasible or unbounded. RunFailure: no point was found, or the solver gave up.
    """
    sos = any(True for _ in model.component_data_objects(pyo.SOSConstraint, active=True, descend_into=True))
    has = {"squares": bool(squares), "indicators": bool(indicators), "products": bool(products)}
    name = choose(solver, sos=sos, **has)
    if name == "highs" and squares:
        return _tangents(model, squares, gap, time_limit_s, started)
    if squares or products:
        model.squares = pyo.ConstraintList()
        for t, y in squares:
            model.squares.add(t >= y * y)
        for w, u, v in products:
            model.squares.add(w >= u * v)
    began = time.perf_counter()
    try:
        return _once(model, name, gap, time_limit_s, indicators, started, nonconvex=bool(products))
    except RunFailure:
        left = time_limit_s - (time.perf_counter() - began)
        if name != "scip" or left <= 0:
            raise
        # SCIP's presolve has been seen to lose the feasible points of flat programs, and to leave linear programs that
        # its solver of them gives up on; without it neither happens.
        return _once(model, name, gap, left, indicators, started, bool(products), presolve=False)
    finally:
        if squares or products:
            model.del_component("squares")


def _once(
    model: Any,
    name: str,
    gap: float,
    time_limit_s: float,
    indicators: Sequence[Indicator] = (),
    started: bool = False,
    nonconvex: bool = False,
    presolve: bool = True,
) -> SolverRun:
    options: dict[str, Any] = {
        # Silent: SCIP keeps the interpreter's lock while it writes to a pipe that another thread has to empty.
        "scip": {"numerics/feastol": 1e-8, "display/verblevel": 0},
        "highs": {"mip_feasibility_tolerance": 1e-8},
        "gurobi": {"FeasibilityTol": 1e-9, "OptimalityTol": 1e-9, "IntFeasTol": 1e-9},
    }.get(name, {})
    if name == "scip" and not nonconvex:
        # Its cuts suffice for convex rows; the ordering inside its nonlinear solver has been seen to wait for ever.
        options["nlp/disable"] = True
    if not presolve:
        options["presolving/maxrounds"] = 0
    if name == "highs":
        introduce_highs()
    try:
        engine = _with_indicators(indicators) if indicators else SolverFactory(_PYOMO[name])
        more: dict[str, Any] = {}
        if started and name == "highs":
            engine = _started_highs()
        elif started:
            more["warmstart_discrete_vars"] = True
        found = engine.solve(
            model,
            time_limit=max(time_limit_s, 0.1),
            rel_gap=gap,
            threads=None if name == "scip" else 1,
            solver_options=options,
            load_solutions=False,
            raise_exception_on_nonoptimal_result=False,
            **more,
        )
    except (InputError, RunFailure):
        raise
    except Exception as error:
        if "too large" in str(error) or "size-limited" in str(error):
            raise InputError(
                "the model is too large for Gurobi without a licence", key="solver", value=name
            ) from error
        raise RunFailure(f"solver {name} gave up: {str(error)[:300]}") from error
    ended = {
        TerminationCondition.convergenceCriteriaSatisfied: "optimal",
        TerminationCondition.maxTimeLimit: "time limit",
        TerminationCondition.provenInfeasible: "infeasible",
        TerminationCondition.unbounded: "unbounded",
        TerminationCondition.infeasibleOrUnbounded: "infeasible or unbounded",
    }.get(found.termination_condition, found.termination_condition.name)
    if "bounded" in ended or ended == "infeasible":
        # Also where there is a point: what is called the best of an unbounded program means nothing.
        raise NoSolution(ended, solver=name)
    if found.incumbent_objective is None:
        raise RunFailure(f"solver {name} found no point: {ended}")
    found.solution_loader.load_vars()
    bound = found.objective_bound
    return SolverRun(
        name,
        float(found.incumbent_objective),
        -np.inf if bound is None else float(bound) - BOUND_TOLERANCE * max(1.0, abs(float(bound))),
        ended,
    )


def _with_indicators(indicators: Sequence[Indicator]) -> Any:
    """Pyomo's SCIP that is also told of indicator constraints, for which Pyomo has no component of its own."""
    from pyomo.contrib.solver.solvers.scip.scip_direct import ScipDirect

    class WithIndicators(ScipDirect):  # type: ignore[misc]
        def _create_solver_model(self, model: Any, config: Any) -> Any:
            made = super()._create_solver_model(model, config)
            known = self._pyomo_var_to_solver_var_map
            for binary, value, variable in indicators:
                for one in (binary, variable):
                    if one not in known:
                        self._add_var(one)
                self._solver_model.addConsIndicator(known[variable] <= 0.0, binvar=known[binary], activeone=value)
            return made

    return WithIndicators()


def _started_highs() -> Any:
    """Pyomo's HiGHS that begins with the values of the integer variables and completes them."""
    from pyomo.contrib.solver.solvers.highs import Highs

    class Started(Highs):  # type: ignore[misc]
        def _solve(self) -> Any:
            known = [(self._pyomo_var_to_solver_var_map[i], v[0]) for i, v in self._vars.items()]
            known = [(at, v) for at, v in known if v.is_integer() and v.value is not None]
            index = np.array([at for at, _ in known], dtype=np.int32)
            self._solver_model.setSolution(len(known), index, np.array([float(v.value) for _, v in known]))
            return super()._solve()

    return Started()


def _tangents(
    model: Any, squares: Sequence[tuple[Any, Any]], gap: float, time_limit_s: float, started: bool
) -> SolverRun:
    """Outer approximation: each MILP is a lower bound, its point with t = y^2 an upper one, and gives new
    tangents.
    """
    began = time.perf_counter()
    objective = next(model.component_data_objects(pyo.Objective, active=True))
    model.tangents = pyo.ConstraintList()

    def tangent(t: Any, y: Any, at: float) -> None:
        model.tangents.add(t >= 2.0 * at * y - at * at)

    for t, y in squares:
        low, high = (pyo.value(end) for end in (y.lower, y.upper))
        ends = (low, high) if low is not None and high is not None else (-1.0, 1.0)
        for at in np.linspace(ends[0], ends[1], 5):
            tangent(t, y, float(at))
    best, bound, kept, status = np.inf, -np.inf, [], "time limit"
    everyone = list(model.component_data_objects(pyo.Var, descend_into=True))
    for number in range(_MAX_ROUNDS):
        left = time_limit_s - (time.perf_counter() - began)
        if left <= 0:
            break
        run = _once(model, "highs", gap / 4, left, started=started or number > 0)
        bound = max(bound, run.bound)
        for t, y in squares:
            at = float(pyo.value(y))
            if t.value < at * at - 1e-12:
                tangent(t, y, at)
            t.set_value(at * at, skip_validation=True)
        value = float(pyo.value(objective))
        if value < best:
            best, kept = value, [v.value for v in everyone]
        # No closer than bounds are stated.
        if best - bound <= (gap + 2.0 * BOUND_TOLERANCE) * max(1.0, abs(best)):
            status = "optimal"
            break
    if not np.isfinite(best):
        raise RunFailure("solver highs found no point within the time limit")
    for v, value in zip(everyone, kept, strict=True):
        v.set_value(value, skip_validation=True)
    model.del_component("tangents")
    return SolverRun("highs", best, bound, status)
