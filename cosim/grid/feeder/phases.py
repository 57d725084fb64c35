"""Phases: how devices load them, the centroid frame of three-wire sections, sequences and unbalance.

In a three-wire section the reference of line-to-neutral voltages is free. The **centroid frame** puts it at
Va + Vb + Vc = 0. With ``u = |V|^2`` per phase (per unit of the nominal line-to-neutral voltage) and
``W = |V|^2`` line to line (per unit of the nominal line-to-line voltage)::

    3 W_ab = 2 u_a + 2 u_b - u_c        3 u_a = 2 W_ab + 2 W_ca - W_bc

both exactly, so line-to-line limits are linear in ``u``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cosim.constants import LEGS, PHASES
from cosim.errors import InputError
from cosim.grid.feeder.feeder import PLACE, SPLIT, SPLIT_LEG

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

ALPHA = np.exp(2j * np.pi / 3)
NOMINAL: Complex = np.array([1.0, ALPHA**2, ALPHA])
"""Nominal phasors of phases a, b, c: a turn of -120 degrees from each to the next."""
NOMINAL_SPLIT: Complex = np.array([1.0, -1.0, ALPHA])
"""Nominal phasors of the halves 1 and 2 of a centre-tapped winding (the third place is not used)."""
CENTROID_TO_LINE: Real = np.array([[2.0, 2.0, -1.0], [-1.0, 2.0, 2.0], [2.0, -1.0, 2.0]]) / 3
"""W (ab, bc, ca) of u (a, b, c)."""
LINE_TO_CENTROID: Real = np.array([[2.0, -1.0, 2.0], [2.0, 2.0, -1.0], [-1.0, 2.0, 2.0]]) / 3
"""u (a, b, c) of W (ab, bc, ca)."""
CENTERING: Real = np.eye(3) - 1 / 3
"""Takes the mean from three phasors: the projection on the centroid frame."""


@dataclass(frozen=True, slots=True)
class Terminal:
    """Where a device meets a bus; its power is shared equally by ``phases``.

    Attributes:
        connection: ``delta`` with legs (``ab``, ``bc``, ``ca``; ``12``) or ``wye`` with phases (``a``, ``b``,
            ``c``; ``1``, ``2``).
    """

    bus: str
    connection: str
    phases: tuple[str, ...]

    def __post_init__(self) -> None:
        members = {"delta": (*LEGS, SPLIT_LEG), "wye": (*PHASES, *SPLIT)}.get(self.connection)
        if members is None:
            raise InputError(
                "unknown connection", key=f"terminal {self.bus}", value=self.connection, allowed="delta, wye"
            )
        known = set(self.phases) <= set(members) and len(set(self.phases)) == len(self.phases)
        if not self.phases or not known:
            raise InputError(
                "unknown phases", key=f"terminal {self.bus}", value=self.phases, allowed=", ".join(members)
            )


@dataclass(frozen=True, slots=True)
class TerminalMap:
    """What a terminal's P and Q put on each node: p = pp P + pq Q, q = qp P + qq Q; all (nodes,)."""

    pp: Real
    pq: Real
    qp: Real
    qq: Real


def delta_shares(leg: str, phasors: Complex = NOMINAL) -> Complex:
    """Complex share of a leg's power that each phase (a, b, c) carries: V_x / (V_x - V_y) for leg xy.

    With nominal phasors the shares are 1/2 -+ j/(2 sqrt 3). They add up to 1 for any phasors.

    Args:
        leg: two phases, such as ``ab``.
        phasors: (3,) or (..., 3) voltages of a, b, c in any common frame of reference.
    """
    first, second = PLACE[leg[0]], PLACE[leg[1]]
    shares: Complex = np.zeros(np.shape(phasors), dtype=np.complex128)
    across = phasors[..., first] - phasors[..., second]
    shares[..., first] = phasors[..., first] / across
    shares[..., second] = -phasors[..., second] / across
    return shares


def terminal_shares(terminal: Terminal, phasors: Complex | None = None) -> Complex:
    """(3,) complex share of a terminal's power on phases a, b, c (or 1, 2); the shares add up to 1."""
    if phasors is None:
        phasors = NOMINAL_SPLIT if terminal.phases[0][0] in SPLIT else NOMINAL
    shares: Complex = np.zeros(3, dtype=np.complex128)
    for member in terminal.phases:
        if terminal.connection == "delta":
            shares += delta_shares(member, phasors)
        else:
            shares[PLACE[member]] += 1.0
    return np.asarray(shares / len(terminal.phases))


def terminal_map(
    terminal: Terminal, nodes: Sequence[tuple[str, str]], phasors: Complex | None = None
) -> TerminalMap:
    """Map of a terminal's power to the nodes of a network.

    Args:
        terminal: the terminal.
        nodes: (bus, phase) of every node. A network that has nodes for legs as well takes the power of a delta
            terminal there; otherwise it is shared between phases.
        phasors: (3,) voltages of phases a, b, c at the bus, to share it by; nominal by default.

    Raises:
        InputError: a phase of the terminal is not among the nodes.
    """
    on_node = np.zeros(len(nodes), dtype=complex)
    present = {phase: n for n, (bus, phase) in enumerate(nodes) if bus == terminal.bus}
    if terminal.connection == "delta" and phasors is None and set(terminal.phases) <= set(present):
        on_node[[present[leg] for leg in terminal.phases]] = 1 / len(terminal.phases)
        return TerminalMap(on_node.real.copy(), on_node.imag, on_node.imag.copy(), on_node.real.copy())
    shares = terminal_shares(terminal, phasors)
    touched = {phase for member in terminal.phases for phase in member}
    for phase in sorted(touched):
        if phase in present:
            on_node[present[phase]] = shares[PLACE[phase]]
        else:
            raise InputError(
                f"bus {terminal.bus} has no phase {phase}",
                key=f"terminal {terminal.bus}", value=terminal.phases,
                allowed=", ".join(present) or "a bus of the feeder",
            )  # fmt: skip
    # p + jq = share (P + jQ)
    return TerminalMap(on_node.real.copy(), -on_node.imag, on_node.imag.copy(), on_node.real.copy())


def line_to_line(phasors: Complex) -> Complex:
    """Voltages ab, bc, ca of the phasors a, b, c (last axis), in the same unit."""
    return np.asarray(phasors - np.roll(phasors, -1, axis=-1))


def centroid(phasors: Complex) -> Complex:
    """Phasors a, b, c (last axis) moved to the centroid frame: their sum becomes zero."""
    return np.asarray(phasors - phasors.mean(axis=-1, keepdims=True))


def centroid_phasors(u: Real) -> Complex:
    """Phasors of a three-wire bus from its squared magnitudes in the centroid frame, phase a at angle 0.

    Three phasors that add up to zero form a triangle, so their magnitudes fix the angles between them
    exactly.

    Args:
        u: (..., 3) squared magnitudes of a, b, c; they must satisfy the triangle inequality.
    """
    magnitude = np.sqrt(u)
    ua, ub, uc = (u[..., k] for k in range(3))
    cos_ab = (uc - ua - ub) / (2 * magnitude[..., 0] * magnitude[..., 1])
    cos_ca = (ub - uc - ua) / (2 * magnitude[..., 2] * magnitude[..., 0])
    angle_b = -np.arccos(np.clip(cos_ab, -1.0, 1.0))
    angle_c = np.arccos(np.clip(cos_ca, -1.0, 1.0))
    return magnitude * np.exp(1j * np.stack([np.zeros_like(ua), angle_b, angle_c], axis=-1))


def sequence(phasors: Complex) -> Complex:
    """Zero, positive and negative sequence (last axis) of phasors a, b, c, after Fortescue."""
    matrix = np.array([[1, 1, 1], [1, ALPHA, ALPHA**2], [1, ALPHA**2, ALPHA]]) / 3
    return np.asarray(phasors @ matrix.T)


def vuf(phasors: Complex) -> Real:
    """Voltage unbalance factor |V2| / |V1| (IEC 61000-4-30), percent, of phasors on the last axis."""
    parts = np.abs(sequence(phasors))
    return np.asarray(100 * parts[..., 2] / parts[..., 1])


def vuf_from_line(v_line: ArrayLike) -> Real:
    """Voltage unbalance factor, percent, from the three line-to-line magnitudes (last axis), any unit.

    Exact, because the three voltages close a triangle; the formula of IEC 61000-4-30 and CIGRE with
    beta = sum V^4 / (sum V^2)^2.
    """
    square = np.asarray(v_line, dtype=float) ** 2
    beta = (square**2).sum(axis=-1) / square.sum(axis=-1) ** 2
    root = np.sqrt(np.clip(3 - 6 * beta, 0.0, 1.0))
    return np.asarray(100 * np.sqrt((1 - root) / (1 + root)))


def lvur(v_line: ArrayLike) -> Real:
    """Line voltage unbalance rate (NEMA MG 1), percent: largest deviation from the mean line magnitude."""
    return _rate(v_line)


def pvur(v_phase: ArrayLike) -> Real:
    """Phase voltage unbalance rate (IEEE 141), percent: largest deviation from the mean phase magnitude.

    On three-wire buses give the magnitudes of the centroid frame.
    """
    return _rate(v_phase)


def _rate(magnitudes: ArrayLike) -> Real:
    v = np.asarray(magnitudes, dtype=float)
    mean = v.mean(axis=-1, keepdims=True)
    return np.asarray(100 * np.abs(v - mean).max(axis=-1) / mean[..., 0])


def phase_magnitudes(v_line: ArrayLike) -> Real:
    """Magnitudes a, b, c in the centroid frame from ab, bc, ca, each in per unit of its nominal voltage."""
    square = np.asarray(v_line, dtype=float) ** 2
    return np.asarray(np.sqrt(square @ LINE_TO_CENTROID.T))


def unbalance_phasor(squares: ArrayLike) -> Complex:
    """V2 / V1 of the line-to-line voltages from their squared magnitudes (ab, bc, ca; last axis), a ratio.

    With X = V2 conj(V1) the squares are W_ab = |V1|^2 + |V2|^2 + 2 Re X and so on, so that exactly
    3 X = W_ab + alpha W_bc + alpha^2 W_ca; |V1|^2 is the larger root of z^2 - (sum W / 3) z + |X|^2 = 0.
    """
    w = np.asarray(squares, dtype=float)
    x, positive = _cross_and_positive(w)
    return np.asarray(x / positive)


def unbalance_slope(squares: Real) -> tuple[Complex, Complex]:
    """Value and gradient of :func:`unbalance_phasor` at ``squares`` (3,): complex scalar and (3,)."""
    x, positive = _cross_and_positive(squares)
    turns = np.array([1.0, ALPHA, ALPHA**2]) / 3
    mean = squares.mean(axis=-1)
    gap = 2 * positive - mean  # derivative of z^2 - mean z + |X|^2 in z
    dx2 = 2 * (np.conj(x)[..., None] * turns).real
    d_positive = (positive[..., None] / 3 - dx2) / gap[..., None]
    gradient = turns / positive[..., None] - (x / positive**2)[..., None] * d_positive
    return np.asarray(x / positive), np.asarray(gradient)


def _cross_and_positive(w: Real) -> tuple[Complex, Real]:
    x = np.asarray((w[..., 0] + ALPHA * w[..., 1] + ALPHA**2 * w[..., 2]) / 3)
    mean = w.mean(axis=-1)
    return x, np.asarray((mean + np.sqrt(np.clip(mean**2 - 4 * np.abs(x) ** 2, 0.0, None))) / 2)
