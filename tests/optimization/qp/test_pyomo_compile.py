"""Compiling a Pyomo block."""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo
import pytest

from cosim.errors import InputError
from cosim.optimization.qp.pyomo_compile import compile_block
from cosim.optimization.solvers.qp_solver import solve_qp


def block() -> pyo.ConcreteModel:
    m = pyo.ConcreteModel()
    m.price = pyo.Param(mutable=True, initialize=3.0)
    m.cap = pyo.Param(mutable=True, initialize=4.0)
    m.x = pyo.Var([1, 2], bounds=(0, None))
    m.y = pyo.Var(bounds=(-1, m.cap))
    m.demand = pyo.Var(bounds=(0, 5))
    m.tariff = pyo.Var(bounds=(-1, 1))
    m.balance = pyo.Constraint(expr=m.x[1] + m.x[2] + m.y == m.demand + 1)
    m.band = pyo.Constraint(expr=(-2, m.x[1] - m.price * m.y + 1, m.cap))
    m.side = pyo.Constraint(expr=m.x[1] >= 0.5 * m.demand - 1)
    m.cost = pyo.Objective(
        expr=m.price * m.x[1] ** 2 + m.x[1] * m.x[2] + 2 * m.x[2] ** 2 + m.price * m.x[2] + 4 * m.y
        + m.tariff * m.x[1] + m.cap * m.demand + 7
    )  # fmt: skip
    return m


def test_arrays_are_those_of_the_block() -> None:
    m = block()
    qp = compile_block(m, parameters=[m.demand, m.tariff]).instance()
    assert set(qp.variables) == {"x[1]", "x[2]", "y"}
    assert qp.parameters == ("demand", "tariff")
    at = {name: i for i, name in enumerate(qp.variables)}
    assert qp.hessian[at["x[1]"], at["x[1]"]] == 6
    assert qp.hessian[at["x[1]"], at["x[2]"]] == qp.hessian[at["x[2]"], at["x[1]"]] == 1
    assert qp.cost[at["x[2]"]] == 3
    assert qp.cost_theta[at["x[1]"], 1] == 1
    assert (qp.constant, list(qp.constant_theta)) == (7, [4, 0])
    assert (list(qp.theta_lower), list(qp.theta_upper)) == ([0, -1], [5, 1])
    assert qp.eq_rows == ("balance",)
    assert set(qp.ineq_rows) == {"band:lo", "band:up", "side:up", "x[1]:lo", "x[2]:lo", "y:lo", "y:up"}


def test_optimum_is_that_of_the_pyomo_model() -> None:
    m = block()
    compiled = compile_block(m, parameters=[m.demand, m.tariff])
    for price, cap, demand, tariff in ((3, 4, 2, 0.5), (1, 2, 5, -1), (5, 1, 0, 1)):
        m.price, m.cap = price, cap
        found = solve_qp(compiled.instance(), {"demand": demand, "tariff": tariff}).require()
        m.demand.fix(demand)
        m.tariff.fix(tariff)
        pyo.SolverFactory("highs").solve(m)
        assert found.objective == pytest.approx(pyo.value(m.cost), rel=1e-6)
        m.demand.unfix()
        m.tariff.unfix()


def test_mutable_values_are_read_again_without_compiling() -> None:
    m = block()
    compiled = compile_block(m, parameters=[m.demand, m.tariff])
    before = compiled.instance()
    m.price, m.cap = 10.0, 6.0
    after = compiled.instance()
    assert before.hessian[after.variables.index("x[1]"), after.variables.index("x[1]")] == 6
    assert after.hessian[after.variables.index("x[1]"), after.variables.index("x[1]")] == 20
    assert after.ineq_rhs[after.ineq_rows.index("y:up")] == 6
    assert after.ineq_rhs[after.ineq_rows.index("band:up")] == 5


def test_a_fixed_parameter_variable_is_still_a_parameter() -> None:
    m = block()
    m.demand.fix(2.0)
    qp = compile_block(m, parameters=[m.demand, m.tariff]).instance()
    assert qp.eq_theta.toarray() == pytest.approx(np.array([[1.0, 0.0]]))
    assert m.demand.fixed


def test_variables_that_are_named_come_first() -> None:
    m = block()
    compiled = compile_block(m, variables=[m.y], parameters=[m.demand, m.tariff])
    assert compiled.variables[0] is m.y and compiled.instance().variables[0] == "y"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.add_component("bad", pyo.Constraint(expr=m.x[1] * m.x[2] <= 1)), "not linear"),
        (lambda m: m.add_component("bad", pyo.Objective(expr=m.y)), "more than one objective"),
        (lambda m: m.cost.set_value(m.demand * m.tariff), "two parameters"),
        (lambda m: m.cost.set_value(m.y**3), "not quadratic"),
        (lambda m: setattr(m.cost, "sense", pyo.maximize), "minimised"),
    ],
)
def test_what_is_not_a_parametric_qp_is_refused(change: object, message: str) -> None:
    m = block()
    change(m)  # type: ignore[operator]
    with pytest.raises(InputError, match=message):
        compile_block(m, parameters=[m.demand, m.tariff])
