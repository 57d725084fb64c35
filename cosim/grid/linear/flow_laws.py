"""The laws of LinDist3Flow, one function each, written at operating points; the equations are in
:mod:`cosim.grid.linear.lindist3flow`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cosim.errors import RunFailure
from cosim.grid.feeder.arrays import Structure, line_squares, products, square_map
from cosim.grid.feeder.phases import centroid_phasors
from cosim.grid.linear.assembly import Equations

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Index = NDArray[np.intp]


@dataclass(slots=True)
class Point:
    """Operating points as arrays with a leading axis: squared voltages, phasors before and after couplings, flows.

    ``product`` gives 2 Re(V_a conj V_b) and ``line_square`` the squared line-to-line voltages of each bus
    from u, as (..., n, 3, 3) rows.
    """

    u: Real
    v: Complex
    v_after: Complex
    flow: Complex
    product: Real
    line_square: Real


def point_of(s: Structure, states: Real | None, count: int) -> Point:
    """Phasors and flows at operating points; places of missing phases hold nominal phasors and no flow."""
    if states is None:
        u = np.broadcast_to(s.no_load, (count, *s.u.shape))
        flow = np.zeros(u.shape, dtype=complex)
    else:
        u = np.where(s.phases, states[:, s.u], 1.0)
        flow = np.where(s.phases, states[:, s.pc] + 1j * states[:, s.qc], 0.0)
        if not (np.isfinite(states).all() and u.min() > 0):
            raise RunFailure("the power flow has no solution: a squared voltage fell to zero")
    v = np.sqrt(u) * s.nominal
    three_wire = ~s.grounded
    v[:, three_wire] = centroid_phasors(u[:, three_wire])
    if states is not None and s.grounded.any():
        _sweep(s, v, flow)
    upstream = v[:, np.maximum(s.parent, 0)]
    v_after = np.where(s.phases, _coupled(s, slice(None), upstream), s.nominal)
    product = products(v, s.grounded)
    return Point(u, v, v_after, flow, product, line_squares(product, s.line_scale))


def _coupled(s: Structure, k: Index | slice, upstream: Complex) -> Complex:
    """K V of the branches ``k``; phases that their upper bus does not have count as 0."""
    present = s.phases[np.maximum(s.parent[k], 0)]
    return np.asarray(np.einsum("kab,...kb->...ka", s.coupling[k], np.where(present, upstream, 0.0)))


def _sweep(s: Structure, v: Complex, flow: Complex) -> None:
    """Turn the phasors of grounded buses to the angles that the flows make, V_j = K V_i - Z conj(S / K V_i)."""
    for level in s.levels[1:]:
        after = np.where(s.phases[level], _coupled(s, level, v[:, s.parent[level]]), s.nominal[level])
        raw = after - np.einsum("kab,...kb->...ka", s.impedance[level], np.conj(flow[:, level] / after))
        turned = np.abs(v[:, level]) * raw / np.abs(raw)
        v[:, level] = np.where(s.grounded[level][:, None], turned, v[:, level])


def add_all(e: Equations, s: Structure, at: Point, load_scale: Real, losses: bool) -> None:
    """All laws, always in the same order.

    Args:
        load_scale: (points,) factor on the base loads that follow it.
        losses: False drops the terms quadratic in the current.
    """
    add_source(e, s)
    add_voltage_drop(e, s, at, losses)
    add_power_balance(e, s)
    add_coupling(e, s, at)
    add_losses(e, s, at, losses)
    add_loads(e, s, at, load_scale)
    add_shunts(e, s, at)


def add_source(e: Equations, s: Structure) -> None:
    """The source holds its bus at a given balanced voltage."""
    e.add(s.u[0], s.u[0], 1.0)
    e.add_constant(s.u[0], s.source_pu**2)


def add_voltage_drop(e: Equations, s: Structure, at: Point, losses: bool) -> None:
    """u_j = T u_i - 2 Re(conj(V) Z I) + |Z I|^2, the last term with value and slope at the point."""
    rows = s.u[1:, :, None]
    e.add(s.u[1:], s.u[1:], 1.0)
    structural = np.where(s.square[1:] != 0, s.u[s.parent[1:], None, :], -1)
    square = np.where(s.square != 0, square_map(s.coupling, at.product[:, np.maximum(s.parent, 0)]), 0.0)
    e.add(rows, structural, -square[:, 1:])
    z = s.impedance
    by_current = 2 * np.conj(at.v_after)[..., None] * z / np.conj(at.v_after)[..., None, :]
    if losses:
        drop = z / np.conj(at.v_after)[..., None, :]  # Z I = drop conj(S)
        at_point = np.einsum("...ab,...b->...a", drop, np.conj(at.flow))
        by_current = by_current - 2 * np.conj(at_point)[..., None] * drop
        e.add_constant(s.u[1:], -(np.abs(at_point[:, 1:]) ** 2))
    present = z[1:] != 0
    e.add(rows, np.where(present, s.pc[1:, None, :], -1), by_current[:, 1:].real)
    e.add(rows, np.where(present, s.qc[1:, None, :], -1), by_current[:, 1:].imag)


def add_power_balance(e: Equations, s: Structure) -> None:
    """What a branch delivers to its bus leaves it by others (demand, load and losses are added apart)."""
    above = s.parent[1:]
    for sent, delivered in ((s.p, s.pc), (s.q, s.qc)):
        e.add(delivered, delivered, 1.0)
        e.add(delivered[above], sent[1:], -1.0)


def add_coupling(e: Equations, s: Structure, at: Point) -> None:
    """An ideal coupling V' = K V passes power: I = K' I', hence S = diag(V) K' diag(1 / V') S'."""
    k = np.flatnonzero(s.coupled)
    upstream = at.v[:, s.parent[k]]
    transfer = upstream[..., None] * np.swapaxes(s.coupling[k], 1, 2) / at.v_after[:, k][..., None, :]
    e.add(s.p[k], s.p[k], 1.0)
    e.add(s.q[k], s.q[k], 1.0)
    there = np.swapaxes(s.coupling[k], 1, 2) != 0
    columns = tuple(np.where(there, x[k][:, None, :], -1) for x in (s.pc, s.qc))
    e.add_complex((s.p[k][:, :, None], s.q[k][:, :, None]), (columns[0], columns[1]), -transfer)


def add_losses(e: Equations, s: Structure, at: Point, losses: bool) -> None:
    """What a branch delivers is less by the loss (Z I) conj(I), with value and slope at the point."""
    drop = s.impedance / np.conj(at.v_after)[..., None, :]
    at_point = np.einsum("...ab,...b->...a", drop, np.conj(at.flow))
    current = at.flow / at.v_after  # conj(I)
    if not losses:
        drop, at_point = np.zeros_like(drop), np.zeros_like(at_point)
    by_conjugate = drop * current[..., None]
    own = (at_point / at.v_after)[..., None] * np.eye(3)
    present = s.impedance != 0
    rows_p, rows_q = s.pc[:, :, None], s.qc[:, :, None]
    p, q = (np.where(present, x[:, None, :], -1) for x in (s.pc, s.qc))
    # d loss = by_conjugate conj(dS) + own dS
    e.add(rows_p, p, -(by_conjugate + own).real)
    e.add(rows_p, q, -(by_conjugate - own).imag)
    e.add(rows_q, p, -(by_conjugate + own).imag)
    e.add(rows_q, q, (by_conjugate - own).real)
    loss = at_point * current  # homogeneous of degree two: value - slope * point = -value
    e.add_constant(s.pc, -loss.real)
    e.add_constant(s.qc, -loss.imag)


def add_loads(e: Equations, s: Structure, at: Point, load_scale: Real) -> None:
    """Loads, linear in the squared voltage across them, split between phases by phasors at the point."""
    loads = s.loads
    if not len(loads.bus):
        return
    square = np.where((loads.leg < 0)[:, None], loads.square, at.line_square[:, loads.bus, loads.leg])
    across = (square * at.u[:, loads.bus]).sum(axis=-1)
    fixed, slope = tangent_in_square(loads.exponent, across)
    on_phase = load_shares(s, at) * (loads.power * np.where(loads.scaled, load_scale[:, None], 1.0))[..., None]
    p, q = s.pc[loads.bus], s.qc[loads.bus]
    constant = on_phase * fixed[..., None]
    e.add_constant(p, constant.real)
    e.add_constant(q, constant.imag)
    vary = loads.exponent != 0
    by_u = (on_phase * slope[..., None])[..., None] * square[..., None, :]
    columns = np.where((vary[:, None] & (loads.square != 0))[:, None, :], s.u[loads.bus][:, None, :], -1)
    for rows, values in ((p, by_u.real), (q, by_u.imag)):
        e.add(np.where(loads.touched, rows, -1)[:, :, None], columns, -values)


def load_shares(s: Structure, at: Point) -> Complex:
    """(..., loads, 3) complex share of each load's power on phases a, b, c: V_x / (V_x - V_y) for a leg xy."""
    v = at.v[:, s.loads.bus]
    across = (s.loads.incidence * v).sum(axis=-1, keepdims=True)
    delta = s.loads.touched.sum(axis=1, keepdims=True) == 2
    return np.asarray(np.where(delta, s.loads.incidence * v / across, s.loads.incidence))


def tangent_in_square(exponent: Real, square: Real) -> tuple[Real, Real]:
    """Demand V^k per unit of nominal demand as ``fixed + slope * W``, W = V^2: its tangent at W.

    Exact for constant power (k = 0) and impedance (k = 2).

    Args:
        exponent: (n,) k. square: (..., n) W.
    """
    root, half = np.sqrt(square), exponent / 2
    return np.asarray((1 - half) * root**exponent), np.asarray(half * (root ** (exponent - 1) / root))


def add_shunts(e: Equations, s: Structure, at: Point) -> None:
    """A shunt draws V_a conj(Y_ab V_b), with |V_a| |V_b| taken as the mean of the two squares."""
    unit = at.v / np.abs(at.v)
    drawn = np.conj(s.shunt) * unit[..., None] * np.conj(unit)[..., None, :] / 2
    present = s.shunt != 0
    own, other = (np.where(present, x, -1) for x in (s.u[:, :, None], s.u[:, None, :]))
    for rows, values in ((s.pc[:, :, None], drawn.real), (s.qc[:, :, None], drawn.imag)):
        e.add(rows, own, -values)
        e.add(rows, other, -values)
