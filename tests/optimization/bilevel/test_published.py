"""Published bilevel problems with known optima."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cosim.errors import InputError
from cosim.experiments.benchmarks.leader.published import express
from cosim.optimization.bilevel.solver import BilevelProblem, solve

NAMES = (
    "pineda_morales_2019",
    "dtu_tutorial_-8",
    "dempe_fobp_ex2",
    "bf_1982_01",
    "yalmip_t2",
    "audet_yalmip_t5",
    "mersha_dempe_ex1",
    "anandalingam_white_1990",
    "b_1991_01v",
    "cw_1988_01",
    "lh_1994_01",
    "bard_1983_effpoint",
    "conejo_dtmp",
    "besancon27",
    "jointc2",
    "b_1991_02_bilin",
    "b_1998_02_qp",
    "d_1978_01_qp",
    "sa_1981_01_qp",
    "tmh_2007_01",
    "as_1981_01_qp",
    "fanzeres2017_dual",
)
NOT_CONVEX = {"siddiqui_gabriel_qp": "the leader's objective is not convex"}
BOUNDED = ("pineda_morales_2019", "besancon27", "jointc2", "b_1998_02_qp", "d_1978_01_qp", "sa_1981_01_qp")


@pytest.fixture(scope="module")
def problems(reference: Path) -> dict[str, dict[str, Any]]:
    listed = json.loads((reference / "bilevel" / "problems.json").read_text())
    return {entry["name"]: entry for entry in listed}


def stated(problem: dict[str, Any]) -> BilevelProblem:
    follower, leader, payment = express(problem)
    return BilevelProblem(follower, leader, payment)


def test_every_published_problem_is_solved_or_refused_for_a_reason(problems: dict[str, Any]) -> None:
    assert set(problems) == set(NAMES) | set(NOT_CONVEX)
    for name, reason in NOT_CONVEX.items():
        with pytest.raises(ValueError, match=reason):
            express(problems[name])


@pytest.mark.parametrize("name", NAMES)
def test_branching_finds_the_published_optimum(problems: dict[str, Any], name: str) -> None:
    found = solve(stated(problems[name]), gap=1e-8, time_limit_s=30)
    assert found.leader_cost == pytest.approx(problems[name]["opt"], rel=1e-6, abs=1e-6)
    assert found.bound == pytest.approx(problems[name]["opt"], rel=1e-6, abs=1e-6)
    assert found.certificate.passed


@pytest.mark.parametrize("complementarity", ["big-m", "sos1", "indicator"])
@pytest.mark.parametrize("name", NAMES)
def test_scip_finds_the_published_optimum(problems: dict[str, Any], name: str, complementarity: str) -> None:
    pytest.importorskip("pyscipopt")
    found = solve(
        stated(problems[name]), solver="scip", complementarity=complementarity, gap=1e-8, time_limit_s=30
    )
    assert found.leader_cost == pytest.approx(problems[name]["opt"], rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", BOUNDED)
def test_highs_finds_the_published_optimum_where_all_bounds_are_proven(
    problems: dict[str, Any], name: str
) -> None:
    found = solve(stated(problems[name]), solver="highs", gap=1e-8, time_limit_s=30)
    assert found.leader_cost == pytest.approx(problems[name]["opt"], rel=1e-6, abs=1e-6)
    assert found.certificate.dual_margin > 0
    assert not found.certificate.sos1


def test_highs_refuses_where_a_bound_cannot_be_proven(problems: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="no bound could be proven"):
        solve(stated(problems["bf_1982_01"]), solver="highs")


@pytest.mark.parametrize("solver", ["branch", "scip", "highs"])
def test_pineda_and_morales_needs_no_big_m_from_the_user(problems: dict[str, Any], solver: str) -> None:
    """Trial-and-error M returns -6.05, -51.5 or -100.99 here, all called optimal."""
    found = solve(stated(problems["pineda_morales_2019"]), solver=solver, gap=1e-8)
    assert found.leader_cost == pytest.approx(-102.0, rel=1e-6)


def test_a_seller_with_a_kinked_price_takes_the_high_end(problems: dict[str, Any]) -> None:
    """At 20 offered the price is anything from 100 to 1000: revenue is 2,000 to 20,000."""
    found = solve(stated(problems["fanzeres2017_dual"]), gap=1e-8)
    assert found.certificate.payment_optimistic == pytest.approx(-20000, rel=1e-6)
    assert found.certificate.payment_pessimistic == pytest.approx(-2000, rel=1e-6)
