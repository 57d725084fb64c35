"""Transformers and regulators as banks of single-phase units: one law for every connection.

Unit k has a high winding across e_k'V of its bus and a low winding across f_k'V' of the next one, with the
ratio n_k and the series impedance z_k on its low side::

    f_k'V' = n_k e_k'V - z_k i_k            I' = F'i     (currents that leave the low windings)

With the rows e_k and f_k stacked into E and F, V' = K V - Z I' with K = F+ diag(n) E and Z = F+ z (F+)'. The
pseudoinverse F+ gives the voltages themselves where the low windings go to the neutral, and those of the
centroid frame (V'a + V'b + V'c = 0) where they lie across legs. It is exact for wye, open-delta and
centre-tapped banks, and for closed deltas of equal units. Where a neutral floats the currents of the three units
add up to zero, so that only voltages less their mean act, and the rows of E and F are those of the phases less their
mean.

A current c that circulates in the low windings, F'c = 0, is of no concern to the low bus. If E'c is not zero it enters
at the high bus, as with grounded wye windings and a closed delta: such a bank is a source of ground current for the
high side, I0 = n^2 V0 / z. AC power flow has it; the law above does not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cosim.constants import KILO
from cosim.grid.feeder.feeder import PLACE, UNGROUNDED, Branch, Bus, Line, Regulator, Transformer
from cosim.grid.feeder.phases import CENTERING

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]


@dataclass(frozen=True, slots=True, eq=False)
class Bank:
    """What a transformer or regulator is to the power flow, per unit (voltages to neutral, MW per phase).

    Attributes:
        coupling: (3, 3) ideal voltage ratio K. impedance: (3, 3) series impedance Z after it.
        shunt: (3, 3) admittance at the low bus: no-load loss and magnetising current; high_shunt: at the high bus.
    """

    coupling: Real
    impedance: Complex
    shunt: Complex
    high_shunt: Complex = field(default_factory=lambda: np.zeros((3, 3), dtype=complex))


def bank_of(branch: Branch, start: Bus, end: Bus) -> Bank:
    """The bank of a transformer or regulator between two buses; a line is the identity without impedance."""
    if isinstance(branch, Line):
        return Bank(np.eye(3), np.zeros((3, 3), dtype=complex), np.zeros((3, 3), dtype=complex))
    if isinstance(branch, Regulator):
        return _regulator(branch, start, end)
    return _transformer(branch, start, end)


def across(member: str) -> Real:
    """(3,) row that gives the voltage across a phase (to neutral) or a leg from the three phase voltages."""
    row = np.zeros(3)
    row[PLACE[member[0]]] = 1.0
    if len(member) == 2:
        row[PLACE[member[1]]] = -1.0
    return row


@lru_cache(maxsize=256)
def _incidence(high: tuple[str, ...], low: tuple[str, ...], floating: bool = False) -> tuple[Real, Real, Real]:
    """E (k, 3), F (k, 3) and F+ (3, k); a centre-tapped winding counts as two, the second reversed."""
    e, f = [], []
    for h, x in zip(high, low, strict=True):
        if x == "12":
            e += [across(h), across(h)]
            f += [across("1"), -across("2")]
        else:
            e.append(across(h))
            f.append(across(x))
    if floating:
        e, f = list(np.array(e) @ CENTERING), list(np.array(f) @ CENTERING)
    return np.array(e), np.array(f), np.linalg.pinv(np.array(f))


def _coupling(
    high: tuple[str, ...], low: tuple[str, ...], ratio: Real, one_frame: bool, floating: bool = False
) -> Real:
    e, f, inverse = _incidence(high, low, floating)
    if len(set(ratio)) == 1 and np.array_equal(e, f) and one_frame:
        return np.asarray(ratio[0] * np.eye(3))  # the same, and plainer
    coupling = inverse @ (ratio[:, None] * e)
    return np.where(np.abs(coupling) > 1e-12, coupling, 0.0)


def _regulator(r: Regulator, start: Bus, end: Bus) -> Bank:
    units = tuple(r.taps)
    ratio = np.array([r.ratio(unit) for unit in units])
    _, _, inverse = _incidence(units, units)
    rated = start.kv_neutral if r.connection == "wye" else start.kv_base
    per_unit = 0.0 if r.kva is None else (rated / end.kv_neutral) ** 2 / (r.kva / KILO)
    z = complex(r.r_percent, r.x_percent) / 100 * per_unit * ratio**2
    coupling = _coupling(units, units, ratio, start.grounded == end.grounded)
    return Bank(coupling, inverse @ (z[:, None] * inverse.T), np.zeros((3, 3), dtype=complex))


def _transformer(t: Transformer, start: Bus, end: Bus) -> Bank:
    high, low = zip(*t.windings, strict=True)
    e, f, inverse = _incidence(high, low, t.floating)
    kv_high, kv_low = winding_kv(t)
    ratio = kv_low / kv_high * start.kv_neutral / end.kv_neutral
    if abs(ratio - 1) < 1e-12:
        ratio = 1.0
    mva = t.kva / KILO / len(high)
    per_unit = (kv_low / end.kv_neutral) ** 2 / mva
    z = complex(t.r_percent, t.x_percent) / 100 * per_unit * np.eye(len(f), dtype=complex)
    if t.conn_low == "split":
        # both halves share the high winding: from Z of high to half and of half to half, the part they share
        shared = complex(t.r_percent - t.r_low_percent, t.x_percent - t.x_low_percent / 2) / 100 * per_unit
        z = z + np.kron(np.eye(len(high)), np.array([[0, 1], [1, 0]])) * shared
    coupling = _coupling(high, low, np.full(len(f), ratio), start.grounded == end.grounded, t.floating)
    drawn = complex(t.no_load_percent, -t.magnetizing_percent) / 100
    at_low, at_high = drawn / per_unit, drawn / ((kv_high / start.kv_neutral) ** 2 / mva)
    if t.conn_low == "split":
        f = f[::2]  # on the first half, as OpenDSS has it
    low_shunt, high_shunt = at_low * f.T @ f, np.zeros((3, 3), dtype=complex)
    if t.core_side == "high":
        low_shunt, high_shunt = high_shunt, at_high * e.T @ e
    if (t.conn_high, t.conn_low) == ("wye", UNGROUNDED):
        high_shunt = high_shunt + at_high / 3  # the mean of the phases, which the floating side does not have
    return Bank(coupling, inverse @ z @ inverse.T, low_shunt, high_shunt)


def is_ground_source(t: Transformer) -> bool:
    """Whether currents that circulate in the low windings enter at the high bus (E'c for F'c = 0)."""
    high, low = zip(*t.windings, strict=True)
    e, f, inverse = _incidence(high, low, t.floating)
    circulating = np.eye(len(f)) - f @ inverse
    return bool(np.abs(e.T @ circulating).max() > 1e-9)


def winding_kv(t: Transformer) -> tuple[float, float]:
    """Rated voltage of one high and one low winding, kV."""
    if not t.three_phase:
        return t.kv_high, t.kv_low
    kv = [v if c == "delta" else v / np.sqrt(3) for v, c in ((t.kv_high, t.conn_high), (t.kv_low, t.conn_low))]
    return float(kv[0]), float(kv[1])
