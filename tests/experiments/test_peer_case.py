"""A case in the peer's tables, cleared in our form, against the same equations as one plain linear program."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize

from cosim.experiments.benchmarks.network import peer
from cosim.experiments.benchmarks.network.peer_case import OCTAGON, PeerCase

R, X = 0.08, 0.02
LOAD_P, LOAD_Q = 0.6, 0.3
RATING, AVAILABLE = 0.5, 0.4
IMPORT, UNIT = 1.0, 1.6


def tables() -> dict[str, dict[str, list[object]]]:
    """A source, a regulator of ratio 1 and a line to a single-phase load with an inverter; 0.98 is the lower limit."""
    bus = {
        "bus_type": ["SWING", "PQ", "PQ"],
        "id": [1, 2, 3],
        "phases": ["a"] * 3,
        "v_a": [1.0] * 3,
        "v_min": [0.98] * 3,
    }
    bus |= {"v_max": [1.05] * 3, "cvr_p": [0.0] * 3, "cvr_q": [0.0] * 3}
    bus |= {"pl_a": [0.0, 0.0, LOAD_P], "ql_a": [0.0, 0.0, LOAD_Q]}
    branch = {"fb": [1, 2], "tb": [2, 3], "phases": ["a", "a"], "r_aa": [0.0, R], "x_aa": [0.0, X]}
    unit = {"id": [3], "phases": ["a"], "p_a": [AVAILABLE], "s_a_max": [RATING], "q_a_min": [-9.0], "q_a_max": [9.0]}
    return {
        "bus_data": bus, "branch_data": branch, "gen_data": unit,
        "reg_data": {"fb": [1], "tb": [2], "phases": ["a"], "ratio_a": [1.0]},
        "cap_data": {"id": [], "phases": []}, "bat_data": {"id": [], "phases": []},
    }  # fmt: skip


def plain(extra_p: float = 0.0, extra_q: float = 0.0) -> float:
    """min import + units over (p, q): import = load - p; 1 - 2 r (P - p) - 2 x (Q - q) >= 0.98^2; octagon."""
    p_load, q_load = LOAD_P + extra_p, LOAD_Q + extra_q
    limit = 1.0 - 2 * R * p_load - 2 * X * q_load - 0.98**2
    sides = [(OCTAGON, 1.0), (1.0, OCTAGON), (1.0, -OCTAGON), (OCTAGON, -1.0)]
    found = scipy.optimize.linprog(
        [UNIT - IMPORT, 0.0], A_ub=[[-2 * R, -2 * X], *sides], b_ub=[limit, *[RATING] * 4],
        bounds=[(0, AVAILABLE), (-RATING, RATING)],
    )  # fmt: skip
    assert found.status == 0
    return float(found.fun) + IMPORT * p_load


def test_cost_and_prices_are_those_of_the_plain_program() -> None:
    objective, squares, p, q = PeerCase(tables()).solve(1.0, IMPORT, UNIT)
    assert objective == pytest.approx(plain(), rel=1e-9)
    assert np.sqrt(squares.min()) == pytest.approx(0.98, abs=1e-9)
    step = 1e-4
    assert p[2] == pytest.approx((plain(step) - plain(-step)) / (2 * step), rel=1e-6)
    assert q[2] == pytest.approx((plain(0.0, step) - plain(0.0, -step)) / (2 * step), rel=1e-6)
    assert p[2] > IMPORT + 0.01


def test_a_missing_peer_is_said_and_nothing_fails(capsys: pytest.CaptureFixture[str]) -> None:
    peer.main(["--peer-python", "/nowhere/python"])
    assert capsys.readouterr().out.startswith("Skipped: /nowhere/python cannot be run")
