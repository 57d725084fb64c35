"""The AC power flow linearised at a solution of OpenDSS: the tangent of the full equations.

At every node but the source's the currents into the wires, into the base loads and into the demand add up to
zero::

    Y v + sum_l E_l' i_l(E_l v) + i_d(s, v) = 0        i_l(w) = conj(S_l f_l(|w|) / w),  w = E_l v

with Y from OpenDSS, E_l the phase or leg that load l lies across and f_l how its power follows voltage. The tangent
in dv uses dv and conj(dv), so real and imaginary parts are states. Demand at a node of a grounded bus draws
conj(s / v), on a three-wire bus with v in the centroid frame and the mean of the three currents taken out; demand on
a leg, which the network has as nodes of their own, draws conj(s / (v_a - v_b)) from one phase into the other. Squared
voltages, branch flows and the import are states as
well, each with its tangent, so that everything that depends on the operating point stands in ``matrix`` and
``constant`` and the outputs of the network only pick states.

At the operating point the network gives the voltages, flows and import of OpenDSS exactly; the slopes are those
of the AC equations. No matrix is inverted: one sparse factorisation serves all columns and adjoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cosim.constants import KILO
from cosim.errors import RunFailure
from cosim.grid.feeder.arrays import Structure
from cosim.grid.feeder.banks import across
from cosim.grid.feeder.circuit import CircuitFeeder, in_frames
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.phases import ALPHA, Terminal, terminal_map
from cosim.grid.linear.ac_pattern import Pattern, pattern_of
from cosim.grid.linear.circuit_pattern import circuit_pattern, parts_drawn
from cosim.grid.linear.network import Affine, LinearNetwork
from cosim.grid.opendss.circuit import AcCircuit, AcSolution

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Index = NDArray[np.intp]
Injection = tuple[Terminal, float, float]


@dataclass(slots=True)
class _Tangent:
    """Entries of ``matrix @ y == constant`` as they are collected, real and complex."""

    size: int
    rows: list[Index] = field(default_factory=list)
    columns: list[Index] = field(default_factory=list)
    values: list[Real] = field(default_factory=list)

    def add(self, rows: Index, columns: Index, values: Real | float) -> None:
        r, c, v = np.broadcast_arrays(rows, columns, values)
        self.rows.append(r.ravel())
        self.columns.append(c.ravel())
        self.values.append(v.ravel().astype(float))

    def add_complex(
        self, rows: tuple[Index, Index], columns: tuple[Index, Index], by: Complex, by_conjugate: Complex
    ) -> None:
        """Real and imaginary part of ``by dz + by_conjugate conj(dz)``, z's parts standing in ``columns``."""
        self.add(rows[0], columns[0], (by + by_conjugate).real)
        self.add(rows[0], columns[1], (by_conjugate - by).imag)
        self.add(rows[1], columns[0], (by + by_conjugate).imag)
        self.add(rows[1], columns[1], (by - by_conjugate).real)

    def matrix(self) -> sp.csc_array[np.float64]:
        entries = (np.concatenate(self.values), (np.concatenate(self.rows), np.concatenate(self.columns)))
        return sp.csc_array(sp.coo_array(entries, shape=(self.size, self.size)))


@dataclass(frozen=True, slots=True)
class _Point:
    """The operating point: phasors by voltage node, as they are and in the frame of their bus; demand (MW) by node;
    currents of a source that is not stiff."""

    v: Complex
    framed: Complex
    p: Real
    q: Real
    fed: Complex


def build(circuit: AcCircuit, load_scale: float = 1.0, injections: Sequence[Injection] = ()) -> LinearNetwork:
    """Solve the AC power flow and linearise it there.

    Args:
        circuit: the feeder in OpenDSS.
        load_scale: factor on the base loads.
        injections: (terminal, kW, kvar) of the controllable devices at the operating point, demand positive.

    Returns:
        A network whose node demand includes these injections (at zero demand it is an extrapolation to none).

    Raises:
        RunFailure: the AC power flow has no solution there.
    """
    solution = circuit.solve(load_scale, injections)
    if not solution.converged:
        raise RunFailure(
            f"feeder {circuit.feeder.name}: no AC solution within 0.8 to 1.2 pu to linearise at "
            f"(load scale {load_scale:g})"
        )
    pattern = tangent_pattern(circuit.feeder)
    at = operating_point(pattern, circuit, injections)
    tangent, constant = _Tangent(len(pattern.states)), np.zeros(len(pattern.states))
    phasors = circuit.node_phasors_in(pattern.structure)
    own, conjugate = _load_tangents(pattern, phasors, load_scale, injections)
    _add_currents(tangent, constant, pattern, at, own, conjugate)
    _add_demand(tangent, pattern)
    _add_voltages(tangent, constant, pattern, at)
    _add_flows(tangent, constant, pattern, at)
    _add_import(tangent, constant, pattern, at, solution)
    return LinearNetwork(
        states=pattern.states,
        nodes=pattern.nodes,
        matrix=tangent.matrix(),
        constant=constant,
        demand_p=pattern.demand_p,
        demand_q=pattern.demand_q,
        import_p=pattern.import_p,
        import_q=pattern.import_q,
        voltages=pattern.voltages,
        flows_p=pattern.flows_p,
        flows_q=pattern.flows_q,
        unbalance=_unbalance(pattern, at),
    )


def tangent_pattern(feeder: Feeder) -> Pattern:
    """Where the numbers of a feeder's tangent stand."""
    return circuit_pattern(feeder) if isinstance(feeder, CircuitFeeder) else pattern_of(feeder)


def operating_point(pattern: Pattern, circuit: AcCircuit, injections: Sequence[Injection]) -> _Point:
    """The last solution of a circuit, and the demand of injections (kW, kvar) there."""
    phasors = circuit.node_phasors_in(pattern.structure)
    framed = in_frames(phasors, pattern.three_wire, pattern.neutral)
    p, q = np.zeros((2, len(pattern.nodes)))
    for terminal, kw, kvar in injections:
        t = terminal_map(terminal, pattern.nodes)
        p += (t.pp * kw + t.pq * kvar) / KILO
        q += (t.qp * kw + t.qq * kvar) / KILO
    fed = circuit.source_currents() if len(pattern.fed) else np.zeros(0, dtype=complex)
    places = pattern.node_bus, pattern.node_place
    return _Point(phasors[places], framed[places], p, q, fed)


def _load_tangents(
    n: Pattern, phasors: Complex, load_scale: float, injections: Sequence[Injection]
) -> tuple[Complex, Complex]:
    """(n, k, k) slope of the currents that loads draw at each bus, by dv and by conj(dv)."""
    if isinstance(n.structure, CircuitFeeder):
        bus, e, nominal, power, exponent = parts_drawn(n.structure, phasors, load_scale)
    else:
        bus, e, nominal, power, exponent = table_loads(n.structure, load_scale)
    members = [
        (n.rows[t.bus], member, complex(kw, kvar) / KILO / len(t.phases))
        for t, kw, kvar in injections
        for member in t.phases
    ]
    bus = np.concatenate([bus, np.array([m[0] for m in members], dtype=np.intp)])
    e = np.concatenate([e, _across(n, [m[:2] for m in members], phasors.shape[1])])
    nominal = np.concatenate([nominal, np.ones(len(members))])
    power = np.concatenate([power, np.array([m[2] for m in members], dtype=complex)])
    exponent = np.concatenate([exponent, np.zeros(len(members))])
    w = (e * np.where(np.isnan(phasors[bus]), 0.0, phasors[bus])).sum(axis=1)
    current = np.conj(power * (np.abs(w) / nominal) ** exponent / w)
    # i = conj(S) |w|^k / conj(w): d|w|^k = k |w|^k Re(dw / w), and -dconj(w) / conj(w) of the quotient
    by, by_conjugate = current * exponent / 2 / w, current * (exponent / 2 - 1) / np.conj(w)
    outer = e[:, :, None] * e[:, None, :]
    own, conjugate = np.zeros((2, len(phasors), phasors.shape[1], phasors.shape[1]), dtype=complex)
    np.add.at(own, bus, by[:, None, None] * outer)
    np.add.at(conjugate, bus, by_conjugate[:, None, None] * outer)
    return own, conjugate


def table_loads(s: Structure, load_scale: float) -> tuple[Index, Real, Real, Complex, Real]:
    """Bus, incidence on its phases, nominal voltage, power and exponent of the loads of a feeder's tables."""
    loads = s.loads
    # capacitors are in the wires' admittance already
    wires = np.array([m == "Z" for m in loads.model], dtype=bool) & ~loads.scaled
    bus, e = loads.bus[~wires], loads.incidence[~wires]
    nominal = np.where(np.abs(e).sum(axis=1) == 2, 1 / np.sqrt(s.line_scale[bus]), 1.0)
    power = loads.power[~wires] * np.where(loads.scaled[~wires], load_scale, 1.0)
    exponent = np.array([{"PQ": 0.0, "I": 1.0, "Z": 2.0}[m] for m in loads.model])[~wires]
    return bus, e, nominal, power, exponent


def _across(n: Pattern, members: Sequence[tuple[int, str]], places: int) -> Real:
    """(m, places) rows that give the voltage across phases or legs of some buses; a phase goes to its neutral."""
    e = np.zeros((len(members), places))
    for k, (row, member) in enumerate(members):
        e[k, :3] = across(member)
        if len(member) == 1 and n.neutral is not None and n.neutral[row] >= 0:
            e[k, n.neutral[row]] = -1.0
    return e


def _add_currents(t: _Tangent, constant: Real, pattern: Pattern, at: _Point, own: Complex, conjugate: Complex) -> None:
    """Currents at the nodes add up to zero; the source's nodes stay where they are."""
    n = pattern
    fixed = n.source_nodes
    t.add(n.re[fixed], n.re[fixed], 1.0)
    t.add(n.im[fixed], n.im[fixed], 1.0)
    # each row per unit of its own admittance, which spans ten decades between a jumper and a floating winding
    i, j, y = n.wire_rows, n.wire_columns, n.wire_values / n.stiffness[n.wire_rows]
    t.add_complex((n.re[i], n.im[i]), (n.re[j], n.im[j]), y, np.zeros_like(y))
    i, j = n.block_rows, n.block_columns
    places = n.block_bus, n.block_row_place, n.block_column_place
    stiff = n.stiffness[i]
    t.add_complex((n.re[i], n.im[i]), (n.re[j], n.im[j]), own[places] / stiff, conjugate[places] / stiff)
    # demand: conj(s / v), on three-wire buses less the mean of the three
    i, j = n.draw_rows, n.draw_columns
    share: Complex = np.asarray(n.draw_share / np.conj(at.framed[n.draw_node]) / n.stiffness[i])
    _draw(t, constant, n, at, i, j, share)
    # and conj(s / (v_a - v_b)) from one phase of a leg into the other
    across_leg = np.conj(at.v[n.leg_first] - at.v[n.leg_second])[n.leg_columns]
    j = n.leg_columns + n.legs_from
    of_leg: Complex = np.asarray(n.leg_sign / across_leg / n.stiffness[n.leg_rows])
    _draw(t, constant, n, at, n.leg_rows, j, of_leg)


def _draw(t: _Tangent, constant: Real, n: Pattern, at: _Point, rows: Index, columns: Index, share: Complex) -> None:
    """Currents share * conj(demand), less what the operating point has of them already."""
    t.add_complex((n.re[rows], n.im[rows]), (n.p[columns], n.q[columns]), np.zeros_like(share), share)
    drawn = share * (at.p[columns] - 1j * at.q[columns])
    np.add.at(constant, n.re[rows], drawn.real)
    np.add.at(constant, n.im[rows], drawn.imag)


def _add_demand(t: _Tangent, pattern: Pattern) -> None:
    """The demand at each node, as states."""
    t.add(pattern.p, pattern.p, 1.0)
    t.add(pattern.q, pattern.q, 1.0)


def _add_voltages(t: _Tangent, constant: Real, pattern: Pattern, at: _Point) -> None:
    """|w|^2 per unit of each limited voltage: phase to neutral, or line to line."""
    n = pattern
    w = at.v[n.first] - np.where(n.second >= 0, at.v[n.second], 0.0)
    scale = n.voltage_scale
    t.add(n.u, n.u, 1.0)
    for node, sign in ((n.first, -1.0), (n.second, 1.0)):
        there = node >= 0
        for part, value in ((n.re, w.real), (n.im, w.imag)):
            t.add(n.u[there], part[node[there]], (sign * 2 * scale * value)[there])
    constant[n.u] = scale * np.abs(w) ** 2


def entering(n: Pattern, at: _Point) -> tuple[Complex, Complex]:
    """(nf,) voltage in the frame of its bus at which each flow enters its branch, and its current."""
    current = n.entering @ at.v
    v = at.framed[n.flow_node]
    current[n.fed], v[n.fed] = at.fed, at.v[n.flow_node[n.fed]]
    return v, current


def _add_flows(t: _Tangent, constant: Real, pattern: Pattern, at: _Point) -> None:
    """Power that enters each branch, v conj(i), at the voltage in the frame of its upper bus."""
    n = pattern
    v, current = entering(n, at)
    power = v * np.conj(current)
    t.add(n.flow_p, n.flow_p, 1.0)
    t.add(n.flow_q, n.flow_q, 1.0)
    k, j = n.flow_rows, n.flow_columns
    by_conjugate = -v[k] * np.conj(n.flow_values)
    t.add_complex((n.flow_p[k], n.flow_q[k]), (n.re[j], n.im[j]), np.zeros_like(by_conjugate), by_conjugate)
    k, j, share = n.frame_rows, n.frame_columns, n.frame_share
    by: Complex = np.asarray(-share * np.conj(current)[k])
    t.add_complex((n.flow_p[k], n.flow_q[k]), (n.re[j], n.im[j]), by, np.zeros_like(by))
    constant[n.flow_p], constant[n.flow_q] = power.real, power.imag


def _add_import(t: _Tangent, constant: Real, pattern: Pattern, at: _Point, solution: AcSolution) -> None:
    """What the source gives: the flows that enter the branches at its bus, the demand there, and what is constant."""
    n = pattern
    given = (solution.p_source_kw / KILO, solution.q_source_kvar / KILO)
    for row, flows, demand, value, injected in (
        (n.source_p, n.flow_p, n.p, given[0], at.p),
        (n.source_q, n.flow_q, n.q, given[1], at.q),
    ):
        leaving = flows[n.source_flows]
        t.add(row, row, 1.0)
        t.add(np.broadcast_to(row, leaving.shape), leaving, -1.0)
        t.add(np.broadcast_to(row, n.source_demand.shape), demand[n.source_demand], -1.0)
        constant[row] = value - constant[leaving].sum() - injected[n.source_demand].sum()


def _unbalance(pattern: Pattern, at: _Point) -> Affine:
    """V2/V1 of the line-to-line voltages, percent, with its slope by the phasors of each three-phase bus."""
    n = pattern
    v = at.v[n.full]
    line = v - np.roll(v, -1, axis=1)
    # positive and negative sequence of the line voltages, as rows that act on v
    turns = np.array([[1, ALPHA, ALPHA**2], [1, ALPHA**2, ALPHA]]) / 3
    on_v = turns - np.roll(turns, 1, axis=1)
    positive, negative = (line @ row for row in turns)
    ratio = negative / positive
    slope = 100 * (on_v[1] - ratio[:, None] * on_v[0]) / positive[:, None]
    # real part: Re(slope) dre - Im(slope) dim; imaginary part: Im(slope) dre + Re(slope) dim
    values = np.stack(
        [np.stack([slope.real, -slope.imag], axis=2), np.stack([slope.imag, slope.real], axis=2)], axis=1
    )
    columns = np.stack([n.re[n.full], n.im[n.full]], axis=2)
    columns = np.broadcast_to(columns[:, None], values.shape)
    rows = np.broadcast_to(np.arange(2 * len(v)).reshape(-1, 2, 1, 1), values.shape)
    entries = (values.ravel(), (rows.ravel(), columns.ravel()))
    matrix = sp.csr_array(sp.coo_array(entries, shape=(2 * len(v), len(n.states))))
    constant = 100 * np.stack([ratio.real, ratio.imag], axis=1).ravel()
    return Affine(matrix, np.asarray(constant), n.unbalance_labels)
