"""Phases against direct phasor computation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosim.errors import InputError
from cosim.grid.feeder.phases import (
    CENTROID_TO_LINE,
    LINE_TO_CENTROID,
    NOMINAL,
    Complex,
    Terminal,
    centroid,
    centroid_phasors,
    line_to_line,
    lvur,
    phase_magnitudes,
    pvur,
    sequence,
    terminal_map,
    terminal_shares,
    unbalance_phasor,
    unbalance_slope,
    vuf,
    vuf_from_line,
)

LEGS = ("ab", "bc", "ca")
NODES = (("x", "a"), ("n", "a"), ("n", "b"), ("n", "c"))


def phasors_near_nominal(seed: int, spread: float = 0.05) -> Complex:
    rng = np.random.default_rng(seed)
    return np.asarray(NOMINAL * (1 + spread * (rng.standard_normal(3) + 1j * rng.standard_normal(3))))


def phase_power_of_delta(legs: dict[str, complex], v: Complex) -> Complex:
    """Power of each phase from the currents of delta devices: the definition."""
    currents = np.zeros(3, dtype=complex)
    for leg, power in legs.items():
        first, second = "abc".index(leg[0]), "abc".index(leg[1])
        current = np.conj(power / (v[first] - v[second]))
        currents[first] += current
        currents[second] -= current
    return np.asarray(v * np.conj(currents))


@pytest.mark.parametrize("leg", LEGS)
def test_a_delta_leg_loads_its_phases_as_the_currents_say(leg: str) -> None:
    t = terminal_map(Terminal("n", "delta", (leg,)), NODES)
    p, q = 0.3, -0.2
    exact = phase_power_of_delta({leg: complex(p, q)}, NOMINAL)
    assert t.pp[1:] * p + t.pq[1:] * q == pytest.approx(exact.real, abs=1e-14)
    assert t.qp[1:] * p + t.qq[1:] * q == pytest.approx(exact.imag, abs=1e-14)


def test_the_delta_map_at_other_angles_is_exact_too() -> None:
    v = phasors_near_nominal(1)
    t = terminal_map(Terminal("n", "delta", LEGS), NODES, v)
    exact = phase_power_of_delta(dict.fromkeys(LEGS, (0.6 + 0.3j) / 3), v)
    assert t.pp[1:] * 0.6 + t.pq[1:] * 0.3 == pytest.approx(exact.real, abs=1e-14)
    assert t.qp[1:] * 0.6 + t.qq[1:] * 0.3 == pytest.approx(exact.imag, abs=1e-14)


def test_the_delta_map_has_the_textbook_numbers() -> None:
    t = terminal_map(Terminal("n", "delta", ("ab",)), NODES)
    r = 1 / (2 * np.sqrt(3))
    assert t.pp == pytest.approx([0, 0.5, 0.5, 0])
    assert t.pq == pytest.approx([0, r, -r, 0])
    assert t.qp == pytest.approx([0, -r, r, 0])
    assert t.qq == pytest.approx([0, 0.5, 0.5, 0])


@given(
    st.sampled_from(["delta", "wye"]),
    st.sets(st.integers(0, 2), min_size=1),
    st.floats(-5, 5),
    st.floats(-5, 5),
)
def test_a_terminal_neither_makes_nor_loses_power(kind: str, members: set[int], p: float, q: float) -> None:
    names = LEGS if kind == "delta" else ("a", "b", "c")
    t = terminal_map(Terminal("n", kind, tuple(names[k] for k in sorted(members))), NODES)
    assert (t.pp * p + t.pq * q).sum() == pytest.approx(p, abs=1e-12)
    assert (t.qp * p + t.qq * q).sum() == pytest.approx(q, abs=1e-12)
    assert t.pp[0] == t.qq[0] == 0


def test_a_balanced_delta_is_a_balanced_wye() -> None:
    delta = terminal_shares(Terminal("n", "delta", LEGS))
    assert delta == pytest.approx(terminal_shares(Terminal("n", "wye", ("a", "b", "c"))))


def test_a_missing_phase_is_named() -> None:
    with pytest.raises(InputError, match="no phase b"):
        terminal_map(Terminal("x", "delta", ("ab",)), NODES)


@pytest.mark.parametrize(
    ("kind", "members"),
    [("star", ("a",)), ("delta", ("ba",)), ("wye", ("ab",)), ("wye", ()), ("wye", ("a", "a"))],
)
def test_a_terminal_of_unknown_kind_is_refused(kind: str, members: tuple[str, ...]) -> None:
    with pytest.raises(InputError):
        Terminal("n", kind, members)


@pytest.mark.parametrize("seed", range(5))
def test_line_to_line_squares_are_linear_in_the_centroid_frame(seed: int) -> None:
    v = phasors_near_nominal(seed)
    w = np.abs(line_to_line(v)) ** 2 / 3
    u = np.abs(centroid(v)) ** 2
    assert pytest.approx(w, rel=1e-13) == CENTROID_TO_LINE @ u
    assert pytest.approx(u, rel=1e-13) == LINE_TO_CENTROID @ w
    assert phase_magnitudes(np.sqrt(w)) == pytest.approx(np.sqrt(u))


@pytest.mark.parametrize("seed", range(5))
def test_squares_fix_the_phasors_of_a_three_wire_bus(seed: int) -> None:
    v = centroid(phasors_near_nominal(seed))
    v = v * np.exp(-1j * np.angle(v[0]))
    assert centroid_phasors(np.abs(v) ** 2) == pytest.approx(v, abs=1e-12)


def test_sequences_rebuild_the_phasors() -> None:
    zero, positive, negative = 0.03 + 0.01j, 1.01 - 0.02j, -0.02 + 0.015j
    a = np.exp(2j * np.pi / 3)
    v = np.array(
        [
            zero + positive + negative,
            zero + a**2 * positive + a * negative,
            zero + a * positive + a**2 * negative,
        ]
    )
    assert sequence(v) == pytest.approx(np.array([zero, positive, negative]))
    assert vuf(v) == pytest.approx(100 * abs(negative / positive))


@pytest.mark.parametrize("seed", range(5))
def test_the_beta_formula_is_the_fortescue_ratio(seed: int) -> None:
    v = phasors_near_nominal(seed)
    assert vuf_from_line(np.abs(line_to_line(v))) == pytest.approx(vuf(v), rel=1e-7)


@pytest.mark.parametrize("seed", range(5))
def test_squares_give_the_unbalance_phasor(seed: int) -> None:
    line = line_to_line(phasors_near_nominal(seed))
    _, positive, negative = sequence(line)
    # relative to V1, as V1 sets the frame: X = V2 conj(V1) over |V1|^2
    assert unbalance_phasor(np.abs(line) ** 2) == pytest.approx(negative / positive, rel=1e-10)


def test_the_slope_of_the_unbalance_phasor_is_its_derivative() -> None:
    w = np.abs(line_to_line(phasors_near_nominal(7))) ** 2 / 3
    value, slope = unbalance_slope(w)
    assert value == pytest.approx(unbalance_phasor(w))
    for k in range(3):
        step = 1e-6 * np.eye(3)[k]
        numeric = (unbalance_phasor(w + step) - unbalance_phasor(w - step)) / 2e-6
        assert slope[k] == pytest.approx(complex(numeric), abs=1e-8)


def test_rates_are_the_largest_deviation_from_the_mean() -> None:
    assert lvur([1.02, 1.0, 0.95]) == pytest.approx(100 * 0.04 / 0.99)
    assert pvur([1.02, 1.0, 0.95]) == pytest.approx(100 * 0.04 / 0.99)


def test_measures_work_on_many_buses_at_once() -> None:
    v = np.stack([phasors_near_nominal(k) for k in range(4)])
    assert vuf(v) == pytest.approx([float(vuf(row)) for row in v])
    assert lvur(np.abs(v)) == pytest.approx([float(lvur(row)) for row in np.abs(v)])
