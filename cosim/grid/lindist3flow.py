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

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cosim.errors import RunFailure
from cosim.grid.feeder import LEGS, PLACE, Feeder
from cosim.grid.linear import Affine, LinearNetwork, Node
from cosim.grid.phases import centroid_phasors, unbalance_slope
from cosim.grid.structure import (
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
    """An operating point as arrays: squared voltages, phasors before and after couplings, flows.

    ``product`` gives 2 Re(V_a conj V_b) and ``line_square`` the squared line-to-line voltages of each bus
    from u, as (n, 3, 3) rows.
    """

    u: Real
    v: Complex
    v_after: Complex
    flow: Complex
    product: Real
    line_square: Real


@dataclass(slots=True)
class _Equations:
    """Entries of ``matrix @ y == constant`` as they are collected; index -1 (a missing phase) is dropped."""

    size: int
    rows: list[Index] = field(default_factory=list)
    columns: list[Index] = field(default_factory=list)
    values: list[Real] = field(default_factory=list)
    constant: Real = field(init=False)

    def __post_init__(self) -> None:
        self.constant = np.zeros(self.size + 1)  # one place more, where index -1 falls

    def add(self, rows: Index, columns: Index, values: Real | float) -> None:
        """Add ``values`` at ``rows`` x ``columns``, broadcast against each other."""
        r, c, v = (np.ravel(a) for a in np.broadcast_arrays(rows, columns, values))
        kept = (r >= 0) & (c >= 0)
        self.rows.append(r[kept])
        self.columns.append(c[kept])
        self.values.append(v[kept])

    def add_complex(self, rows: tuple[Index, Index], columns: tuple[Index, Index], values: Complex) -> None:
        """Add p + jq of the rows += values * (p + jq of the columns)."""
        self.add(rows[0], columns[0], values.real)
        self.add(rows[0], columns[1], -values.imag)
        self.add(rows[1], columns[0], values.imag)
        self.add(rows[1], columns[1], values.real)

    def add_constant(self, rows: Index, values: Real | float) -> None:
        """Add to the right-hand side."""
        r, v = np.broadcast_arrays(rows, values)
        np.add.at(self.constant, r.ravel(), v.ravel())

    def matrix(self) -> sp.csc_array[np.float64]:
        """The collected matrix, explicit zeros kept, duplicates added up."""
        entries = (np.concatenate(self.values), (np.concatenate(self.rows), np.concatenate(self.columns)))
        return sp.csc_array(sp.coo_array(entries, shape=(self.size, self.size)))


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
    s = structure_of(feeder)
    at = _point_of(s, point)
    equations = _Equations(len(s.states))
    add_source(equations, s)
    add_voltage_drop(equations, s, at, losses)
    add_power_balance(equations, s)
    add_coupling(equations, s, at)
    add_losses(equations, s, at, losses)
    add_loads(equations, s, at, load_scale)
    add_shunts(equations, s, at)
    return LinearNetwork(
        states=s.states,
        nodes=s.nodes,
        matrix=equations.matrix(),
        constant=equations.constant[:-1].copy(),
        unbalance=_unbalance(s, at),
        **_same_everywhere(s),
    )


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
    point = start
    nodes = len(structure_of(feeder).nodes)
    p, q = (np.zeros(nodes) if x is None else np.asarray(x, dtype=float) for x in (p, q))
    before: Real | None = None if start is None else start.states
    for _ in range(MAX_ITERATIONS):
        network = build(feeder, load_scale, point)
        y = network.solve(p, q)
        if before is not None and np.abs(y - before).max() <= tol:
            return network
        before, point = y, OperatingPoint(y)
    raise RunFailure(
        f"feeder {feeder.name}: the power flow did not settle in {MAX_ITERATIONS} linearisations"
    )


def _point_of(s: Structure, point: OperatingPoint | None) -> _Point:
    """Phasors and flows at an operating point; places of missing phases hold nominal phasors and no flow."""
    if point is None:
        u, flow = s.no_load, np.zeros(s.u.shape, dtype=complex)
    else:
        u = np.where(s.phases, point.states[s.u], 1.0)
        flow = np.where(s.phases, point.states[s.pc] + 1j * point.states[s.qc], 0.0)
        if not (np.isfinite(point.states).all() and u.min() > 0):
            raise RunFailure("the power flow has no solution: a squared voltage fell to zero")
    v = np.sqrt(u) * s.nominal
    three_wire = ~s.grounded
    v[three_wire] = centroid_phasors(u[three_wire])
    if point is not None and s.grounded.any():
        _sweep(s, v, flow)
    upstream = v[np.maximum(s.parent, 0)]
    v_after = np.where(s.phases, _coupled(s, slice(None), upstream), s.nominal)
    product = products(v, s.grounded)
    return _Point(u, v, v_after, flow, product, line_squares(product, s.line_scale))


def _coupled(s: Structure, k: Index | slice, upstream: Complex) -> Complex:
    """K V of the branches ``k``; phases that their upper bus does not have count as 0."""
    present = s.phases[np.maximum(s.parent[k], 0)]
    return np.asarray(np.einsum("kab,kb->ka", s.coupling[k], np.where(present, upstream, 0.0)))


def _sweep(s: Structure, v: Complex, flow: Complex) -> None:
    """Turn the phasors of grounded buses to the angles that the flows make, V_j = K V_i - Z conj(S / K V_i)."""
    for level in s.levels[1:]:
        after = np.where(s.phases[level], _coupled(s, level, v[s.parent[level]]), s.nominal[level])
        raw = after - np.einsum("kab,kb->ka", s.impedance[level], np.conj(flow[level] / after))
        turned = np.abs(v[level]) * raw / np.abs(raw)
        v[level] = np.where(s.grounded[level][:, None], turned, v[level])


def add_source(e: _Equations, s: Structure) -> None:
    """The source holds its bus at a given balanced voltage."""
    e.add(s.u[0], s.u[0], 1.0)
    e.add_constant(s.u[0], s.source_pu**2)


def add_voltage_drop(e: _Equations, s: Structure, at: _Point, losses: bool) -> None:
    """u_j = T u_i - 2 Re(conj(V) Z I) + |Z I|^2, the last term with value and slope at the point."""
    rows = s.u[1:, :, None]
    e.add(s.u[1:], s.u[1:], 1.0)
    structural = np.where(s.square[1:] != 0, s.u[s.parent[1:], None, :], -1)
    square = np.where(s.square != 0, square_map(s.coupling, at.product[np.maximum(s.parent, 0)]), 0.0)
    e.add(rows, structural, -square[1:])
    z = s.impedance
    by_current = 2 * np.conj(at.v_after)[:, :, None] * z / np.conj(at.v_after)[:, None, :]
    if losses:
        drop = z / np.conj(at.v_after)[:, None, :]  # Z I = drop conj(S)
        at_point = np.einsum("kab,kb->ka", drop, np.conj(at.flow))
        by_current = by_current - 2 * np.conj(at_point)[:, :, None] * drop
        e.add_constant(s.u[1:], -(np.abs(at_point[1:]) ** 2))
    present = z[1:] != 0
    e.add(rows, np.where(present, s.pc[1:, None, :], -1), by_current[1:].real)
    e.add(rows, np.where(present, s.qc[1:, None, :], -1), by_current[1:].imag)


def add_power_balance(e: _Equations, s: Structure) -> None:
    """What a branch delivers to its bus leaves it by others (demand, load and losses are added apart)."""
    above = s.parent[1:]
    for sent, delivered in ((s.p, s.pc), (s.q, s.qc)):
        e.add(delivered, delivered, 1.0)
        e.add(delivered[above], sent[1:], -1.0)


def add_coupling(e: _Equations, s: Structure, at: _Point) -> None:
    """An ideal coupling V' = K V passes power: I = K' I', hence S = diag(V) K' diag(1 / V') S'."""
    k = np.flatnonzero(s.coupled)
    upstream = at.v[s.parent[k]]
    transfer = upstream[:, :, None] * np.swapaxes(s.coupling[k], 1, 2) / at.v_after[k][:, None, :]
    e.add(s.p[k], s.p[k], 1.0)
    e.add(s.q[k], s.q[k], 1.0)
    there = np.swapaxes(s.coupling[k], 1, 2) != 0
    columns = tuple(np.where(there, x[k][:, None, :], -1) for x in (s.pc, s.qc))
    e.add_complex((s.p[k][:, :, None], s.q[k][:, :, None]), (columns[0], columns[1]), -transfer)


def add_losses(e: _Equations, s: Structure, at: _Point, losses: bool) -> None:
    """What a branch delivers is less by the loss (Z I) conj(I), with value and slope at the point."""
    drop = s.impedance / np.conj(at.v_after)[:, None, :]
    at_point = np.einsum("kab,kb->ka", drop, np.conj(at.flow))
    current = at.flow / at.v_after  # conj(I)
    if not losses:
        drop, at_point = np.zeros_like(drop), np.zeros_like(at_point)
    by_conjugate = drop * current[:, :, None]
    own = (at_point / at.v_after)[:, :, None] * np.eye(3)
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


def add_loads(e: _Equations, s: Structure, at: _Point, load_scale: float) -> None:
    """ZIP loads, linear in the squared voltage across them, split between phases by phasors at the point."""
    loads = s.loads
    if not loads.model:
        return
    square = np.where((loads.leg < 0)[:, None], loads.square, at.line_square[loads.bus, loads.leg])
    across = (square * at.u[loads.bus]).sum(axis=1)
    fixed, slope = zip_coefficients(loads.model, across)
    on_phase = load_shares(s, at) * (loads.power * np.where(loads.scaled, load_scale, 1.0))[:, None]
    p, q = s.pc[loads.bus], s.qc[loads.bus]
    constant = on_phase * fixed[:, None]
    e.add_constant(p, constant.real)
    e.add_constant(q, constant.imag)
    vary = np.array([m != "PQ" for m in loads.model])
    by_u = (on_phase * slope[:, None])[:, :, None] * square[:, None, :]
    columns = np.where((vary[:, None] & (loads.square != 0))[:, None, :], s.u[loads.bus][:, None, :], -1)
    for rows, values in ((p, by_u.real), (q, by_u.imag)):
        e.add(np.where(loads.touched, rows, -1)[:, :, None], columns, -values)


def load_shares(s: Structure, at: _Point) -> Complex:
    """(loads, 3) complex share of each load's power on phases a, b, c: V_x / (V_x - V_y) for a leg xy."""
    v = at.v[s.loads.bus]
    across = (s.loads.incidence * v).sum(axis=1, keepdims=True)
    delta = s.loads.touched.sum(axis=1, keepdims=True) == 2
    return np.asarray(np.where(delta, s.loads.incidence * v / across, s.loads.incidence))


def zip_coefficients(models: tuple[str, ...], square: Real) -> tuple[Real, Real]:
    """Demand per unit of nominal demand as ``fixed + slope * W``: PQ and Z exactly, I by its tangent at W."""
    root = np.sqrt(square)
    kind = np.array(models)
    fixed = np.select([kind == "PQ", kind == "I"], [1.0, root / 2], 0.0)
    slope = np.select([kind == "Z", kind == "I"], [1.0, 0.5 / root], 0.0)
    return np.asarray(fixed), np.asarray(slope)


def add_shunts(e: _Equations, s: Structure, at: _Point) -> None:
    """A shunt draws V_a conj(Y_ab V_b), with |V_a| |V_b| taken as the mean of the two squares."""
    unit = at.v / np.abs(at.v)
    drawn = np.conj(s.shunt) * unit[:, :, None] * np.conj(unit)[:, None, :] / 2
    present = s.shunt != 0
    own, other = (np.where(present, x, -1) for x in (s.u[:, :, None], s.u[:, None, :]))
    for rows, values in ((s.pc[:, :, None], drawn.real), (s.qc[:, :, None], drawn.imag)):
        e.add(rows, own, -values)
        e.add(rows, other, -values)


@lru_cache(maxsize=8)
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


def _unbalance(s: Structure, at: _Point) -> Affine:
    """Tangent of V2/V1 (percent) at the point, from the squared line-to-line voltages."""
    full = np.flatnonzero(s.phases.all(axis=1))
    square = np.einsum("kab,kb->ka", at.line_square[full], at.u[full])
    value, gradient = unbalance_slope(square)
    by_u = np.einsum("ka,kab->kb", gradient, at.line_square[full])
    rest = value - (by_u * at.u[full]).sum(axis=1)
    columns = np.repeat(s.u[full], 2, axis=0)
    values = 100 * np.stack([by_u.real, by_u.imag], axis=1).reshape(-1, 3)
    constant = 100 * np.stack([rest.real, rest.imag], axis=1).ravel()
    labels = tuple((s.buses[k].name, part) for k in full for part in ("re", "im"))
    return _rows(s, columns, values, constant, labels)
