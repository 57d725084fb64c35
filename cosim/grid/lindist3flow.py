"""LinDist3Flow: the linear three-phase power-flow equations of a feeder, one function per physical law.

States are the active and reactive flow entering every branch per phase (MW, Mvar) and the squared voltage of
every bus-phase (per unit; centroid frame in three-wire sections). For a branch with impedance Z that carries
S from a bus with phasors V the current is I = conj(S / V), and

    u_j = T u_i - 2 Re(conj(V) Z I) + |Z I|^2          S_received = S - (Z I) conj(I)

The products of phasors in these laws are taken at an **operating point**. Without load the equations are the
lossless LinDist3Flow of Arnold and Sankur with phases (nearly) 120 degrees apart, after Gan and Low 2014; at
any other point the two quadratic terms enter with value and slope, and :func:`fixed_point` repeats this at
the network's own solution. In three-wire sections the squared voltages fix the angles between the phasors
exactly; where a neutral is present the angles come from a sweep along the branches, V_j = K V_i - Z I, with
the flows of the point. The fixed point is therefore the AC solution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cosim.errors import RunFailure
from cosim.grid.equations import Equations, Layout
from cosim.grid.feeder import LEGS, PLACE, Feeder
from cosim.grid.linear import Affine, LinearNetwork, Node
from cosim.grid.phases import centroid_phasors, unbalance_slope
from cosim.grid.structure import (
    FEEDERS_KEPT,
    SOURCE,
    Structure,
    branch_labels,
    line_squares,
    products,
    square_map,
    structure_of,
    voltage_labels,
)

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Index = NDArray[np.intp]
MAX_ITERATIONS = 60
_UNIT = np.eye(3)


@dataclass(frozen=True, slots=True, eq=False)
class OperatingPoint:
    """Where the equations are linearised: the states (ny,) of a network of the same feeder."""

    states: Real


@dataclass(slots=True)
class _Point:
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


def build(
    feeder: Feeder, load_scale: float = 1.0, point: OperatingPoint | None = None, losses: bool = True
) -> LinearNetwork:
    """Linear power flow of a feeder around an operating point.

    Args:
        feeder: the feeder.
        load_scale: factor on all base loads.
        point: where to linearise; when absent without load: voltages as couplings make them, no flow, no
            losses.
        losses: False drops the terms quadratic in the current, whatever the point.

    Raises:
        InputError: the feeder does not pass its check.
    """
    states = None if point is None else point.states[None]
    return build_many(feeder, np.array([load_scale]), states, losses)[0]


def build_many(feeder: Feeder, load_scale: Real, states: Real | None, losses: bool = True) -> list[LinearNetwork]:
    """Linear power flows of a feeder around many operating points, put together in one go.

    Args:
        feeder, losses: as in :func:`build`.
        load_scale: (points,) factor on all base loads.
        states: (points, ny) where to linearise; None for no load.
    """
    s = structure_of(feeder)
    at = _point_of(s, states, len(load_scale))
    equations = Equations(len(s.states), len(load_scale), _layout_of(s))
    _add_all(equations, s, at, load_scale, losses)
    constants, unbalances = equations.constant[:, :-1], _unbalance(s, at)
    return [
        LinearNetwork(
            states=s.states, nodes=s.nodes, matrix=matrix, constant=constant.copy(), unbalance=unbalance,
            **_same_everywhere(s),
        )
        for matrix, constant, unbalance in zip(equations.matrices(), constants, unbalances, strict=True)
    ]  # fmt: skip


@lru_cache(maxsize=FEEDERS_KEPT)
def _layout_of(s: Structure) -> Layout:
    """Places of the entries, which no operating point changes."""
    equations = Equations(len(s.states), 1)
    _add_all(equations, s, _point_of(s, None, 1), np.ones(1), losses=True)
    return equations.finish()


def _add_all(e: Equations, s: Structure, at: _Point, load_scale: Real, losses: bool) -> None:
    add_source(e, s)
    add_voltage_drop(e, s, at, losses)
    add_power_balance(e, s)
    add_coupling(e, s, at)
    add_losses(e, s, at, losses)
    add_loads(e, s, at, load_scale)
    add_shunts(e, s, at)


def nodes_of(feeder: Feeder) -> tuple[Node, ...]:
    """(bus, phase) of every node of the feeder's networks."""
    return structure_of(feeder).nodes


def fixed_point(
    feeder: Feeder,
    load_scale: float = 1.0,
    p: Real | None = None,
    q: Real | None = None,
    tol: float = 1e-10,
    start: OperatingPoint | None = None,
) -> LinearNetwork:
    """The network linearised at its own solution for a given demand.

    Args:
        feeder, load_scale: as in :func:`build`.
        p, q: (nn,) net node demand in MW and Mvar on top of the base load; zero when absent.
        tol: largest movement of a state (MW, Mvar, squared per unit) between the last two solutions.
        start: where to begin; without load when absent.

    Raises:
        RunFailure: the demand has no solution, or none was found in 60 rounds.
    """
    nodes = len(structure_of(feeder).nodes)
    p, q = (np.zeros((1, nodes)) if x is None else np.asarray(x, dtype=float)[None] for x in (p, q))
    return fixed_points(feeder, np.array([load_scale]), p, q, [start], tol)[0]


def fixed_points(
    feeder: Feeder,
    load_scale: Real,
    p: Real,
    q: Real,
    starts: Sequence[OperatingPoint | None],
    tol: float = 1e-10,
) -> list[LinearNetwork]:
    """The networks linearised at their own solutions for many demands, each as :func:`fixed_point` finds it.

    Args:
        feeder, tol: as in :func:`fixed_point`.
        load_scale: (points,); p, q: (points, nn) net node demand.
        starts: where each begins.
    """
    count = len(load_scale)
    states = np.zeros((count, len(structure_of(feeder).states)))
    cold = np.array([k for k, start in enumerate(starts) if start is None], dtype=np.intp)
    for k, network in zip(cold, build_many(feeder, load_scale[cold], None), strict=True) if len(cold) else ():
        states[k] = network.solve(p[k], q[k])
    for k, start in enumerate(starts):
        if start is not None:
            states[k] = start.states
    left = np.arange(count)
    networks: dict[int, LinearNetwork] = {}
    for _ in range(MAX_ITERATIONS):
        built = build_many(feeder, load_scale[left], states[left])
        after = np.array([network.solve(p[k], q[k]) for k, network in zip(left, built, strict=True)])
        settled = np.abs(after - states[left]).max(axis=1) <= tol
        networks |= {int(k): n for k, n, done in zip(left, built, settled, strict=True) if done}
        states[left] = after
        left = left[~settled]
        if len(left) == 0:
            return [networks[k] for k in range(count)]
    raise RunFailure(
        f"feeder {feeder.name}: the power flow did not settle in {MAX_ITERATIONS} linearisations"
    )


def _point_of(s: Structure, states: Real | None, count: int) -> _Point:
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
    return _Point(u, v, v_after, flow, product, line_squares(product, s.line_scale))


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


def add_source(e: Equations, s: Structure) -> None:
    """The source holds its bus at a given balanced voltage."""
    e.add(s.u[0], s.u[0], 1.0)
    e.add_constant(s.u[0], s.source_pu**2)


def add_voltage_drop(e: Equations, s: Structure, at: _Point, losses: bool) -> None:
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


def add_coupling(e: Equations, s: Structure, at: _Point) -> None:
    """An ideal coupling V' = K V passes power: I = K' I', hence S = diag(V) K' diag(1 / V') S'."""
    k = np.flatnonzero(s.coupled)
    upstream = at.v[:, s.parent[k]]
    transfer = upstream[..., None] * np.swapaxes(s.coupling[k], 1, 2) / at.v_after[:, k][..., None, :]
    e.add(s.p[k], s.p[k], 1.0)
    e.add(s.q[k], s.q[k], 1.0)
    there = np.swapaxes(s.coupling[k], 1, 2) != 0
    columns = tuple(np.where(there, x[k][:, None, :], -1) for x in (s.pc, s.qc))
    e.add_complex((s.p[k][:, :, None], s.q[k][:, :, None]), (columns[0], columns[1]), -transfer)


def add_losses(e: Equations, s: Structure, at: _Point, losses: bool) -> None:
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


def add_loads(e: Equations, s: Structure, at: _Point, load_scale: Real) -> None:
    """ZIP loads, linear in the squared voltage across them, split between phases by phasors at the point."""
    loads = s.loads
    if not loads.model:
        return
    square = np.where((loads.leg < 0)[:, None], loads.square, at.line_square[:, loads.bus, loads.leg])
    across = (square * at.u[:, loads.bus]).sum(axis=-1)
    fixed, slope = zip_coefficients(loads.model, across)
    on_phase = load_shares(s, at) * (loads.power * np.where(loads.scaled, load_scale[:, None], 1.0))[..., None]
    p, q = s.pc[loads.bus], s.qc[loads.bus]
    constant = on_phase * fixed[..., None]
    e.add_constant(p, constant.real)
    e.add_constant(q, constant.imag)
    vary = np.array([m != "PQ" for m in loads.model])
    by_u = (on_phase * slope[..., None])[..., None] * square[..., None, :]
    columns = np.where((vary[:, None] & (loads.square != 0))[:, None, :], s.u[loads.bus][:, None, :], -1)
    for rows, values in ((p, by_u.real), (q, by_u.imag)):
        e.add(np.where(loads.touched, rows, -1)[:, :, None], columns, -values)


def load_shares(s: Structure, at: _Point) -> Complex:
    """(..., loads, 3) complex share of each load's power on phases a, b, c: V_x / (V_x - V_y) for a leg xy."""
    v = at.v[:, s.loads.bus]
    across = (s.loads.incidence * v).sum(axis=-1, keepdims=True)
    delta = s.loads.touched.sum(axis=1, keepdims=True) == 2
    return np.asarray(np.where(delta, s.loads.incidence * v / across, s.loads.incidence))


def zip_coefficients(models: tuple[str, ...], square: Real) -> tuple[Real, Real]:
    """Demand per unit of nominal demand as ``fixed + slope * W``: PQ and Z exactly, I by its tangent at W."""
    root = np.sqrt(square)
    kind = np.array(models)
    fixed = np.select([kind == "PQ", kind == "I"], [1.0, root / 2], 0.0)
    slope = np.select([kind == "Z", kind == "I"], [1.0, 0.5 / root], 0.0)
    return np.asarray(fixed), np.asarray(slope)


def add_shunts(e: Equations, s: Structure, at: _Point) -> None:
    """A shunt draws V_a conj(Y_ab V_b), with |V_a| |V_b| taken as the mean of the two squares."""
    unit = at.v / np.abs(at.v)
    drawn = np.conj(s.shunt) * unit[..., None] * np.conj(unit)[..., None, :] / 2
    present = s.shunt != 0
    own, other = (np.where(present, x, -1) for x in (s.u[:, :, None], s.u[:, None, :]))
    for rows, values in ((s.pc[:, :, None], drawn.real), (s.qc[:, :, None], drawn.imag)):
        e.add(rows, own, -values)
        e.add(rows, other, -values)


@lru_cache(maxsize=FEEDERS_KEPT)
def _same_everywhere(s: Structure) -> dict[str, Any]:
    """The parts of a network that depend neither on the load nor on the operating point."""
    return {
        "demand_p": _incidence(s, s.pc),
        "demand_q": _incidence(s, s.qc),
        "import_p": _picked(s, s.p[:1], ((SOURCE, "p"),), together=True),
        "import_q": _picked(s, s.q[:1], ((SOURCE, "q"),), together=True),
        "voltages": _voltages(s),
        "flows_p": _picked(s, s.p[1:], branch_labels(s)),
        "flows_q": _picked(s, s.q[1:], branch_labels(s)),
    }


def _incidence(s: Structure, rows: Index) -> sp.csc_array[np.float64]:
    """Demand of each node in the balance row of its bus-phase."""
    entries = (np.ones(len(s.nodes)), (rows[s.phases], s.node[s.phases]))
    return sp.csc_array(sp.coo_array(entries, shape=(len(s.states), len(s.nodes))))


def _rows(
    s: Structure, columns: Index, values: Real, constant: Real, labels: tuple[tuple[str, str], ...]
) -> Affine:
    """Affine outputs from (k, m) columns and values; index -1 is dropped, explicit zeros are kept."""
    kept = columns >= 0
    row = np.broadcast_to(np.arange(len(columns))[:, None], columns.shape)
    entries = (values[kept], (row[kept], columns[kept]))
    rows = sp.csr_array(sp.coo_array(entries, shape=(len(columns), len(s.states))))
    return Affine(rows, constant, labels)


def _picked(
    s: Structure, states: Index, labels: tuple[tuple[str, str], ...], together: bool = False
) -> Affine:
    """Outputs that are single states, or the sum of all of them."""
    columns = states[states >= 0]
    columns = columns[None, :] if together else columns[:, None]
    return _rows(s, columns, np.ones(columns.shape), np.zeros(len(columns)), labels)


def _voltages(s: Structure) -> Affine:
    columns, values = [], []
    for k, bus in enumerate(s.buses):
        for x in (PLACE[phase] for phase in bus.phases) if bus.grounded else range(len(LEGS)):
            columns.append(s.u[k])
            values.append(_UNIT[x] if bus.grounded else s.line_square[k, x])
    places = np.where(np.array(values) != 0, np.array(columns), -1)
    return _rows(s, places, np.array(values), np.zeros(len(values)), voltage_labels(s))


def _unbalance(s: Structure, at: _Point) -> list[Affine]:
    """Tangent of V2/V1 (percent) at each point, from the squared line-to-line voltages."""
    full, columns, labels = _full_buses(s)
    square = np.einsum("...kab,...kb->...ka", at.line_square[:, full], at.u[:, full])
    value, gradient = unbalance_slope(square)
    by_u = np.einsum("...ka,...kab->...kb", gradient, at.line_square[:, full])
    rest = value - (by_u * at.u[:, full]).sum(axis=-1)
    values = 100 * np.stack([by_u.real, by_u.imag], axis=2).reshape(len(at.u), -1)
    constant = 100 * np.stack([rest.real, rest.imag], axis=2).reshape(len(at.u), -1)
    starts, shape = np.arange(0, len(columns) + 1, 3), (len(labels), len(s.states))
    return [
        Affine(sp.csr_array((v, columns, starts), shape=shape), c, labels)
        for v, c in zip(values, constant, strict=True)
    ]


@lru_cache(maxsize=FEEDERS_KEPT)
def _full_buses(s: Structure) -> tuple[Index, Index, tuple[tuple[str, str], ...]]:
    """Three-phase buses, the states of their squared voltages (two rows each), and the labels of the rows."""
    full = np.flatnonzero(s.phases.all(axis=1))
    labels = tuple((s.buses[k].name, part) for k in full for part in ("re", "im"))
    return full, np.repeat(s.u[full], 2, axis=0).ravel(), labels
