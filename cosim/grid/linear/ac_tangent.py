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
of the AC equations. No matrix is inverted. The tangents of many steps are put together in one go; those of a radial
feeder are solved together too (:mod:`cosim.grid.linear.layered_solver`), others by a sparse factorisation each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cosim.constants import KILO
from cosim.errors import RunFailure
from cosim.grid.feeder.arrays import FEEDERS_KEPT, Structure
from cosim.grid.feeder.banks import across
from cosim.grid.feeder.circuit import CircuitFeeder, in_frames
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.phases import ALPHA, Terminal, terminal_map
from cosim.grid.linear.ac_pattern import Pattern, pattern_of
from cosim.grid.linear.assembly import Equations, Layout, matrix_of
from cosim.grid.linear.circuit_pattern import circuit_pattern, parts_drawn
from cosim.grid.linear.layered_solver import LayeredSolver
from cosim.grid.linear.network import Affine, LinearNetwork
from cosim.grid.linear.tree_solver import kept
from cosim.grid.opendss.circuit import AcCircuit, AcState

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Index = NDArray[np.intp]
Injection: TypeAlias = tuple[Terminal, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class AcPoint:
    """A solution of the AC power flow to linearise at.

    Attributes:
        pattern: of the feeder with its devices as they stand. state: of the power flow.
        load_scale: factor on the base loads. injections: (terminal, kW, kvar).
    """

    pattern: Pattern
    state: AcState
    load_scale: float
    injections: Sequence[Injection]


@dataclass(frozen=True, slots=True, eq=False)
class _Points:
    """Operating points of one pattern (leading axis): phasors by voltage node, as they are and in the frame of their
    bus; demand (MW) by node; currents of a source that is not stiff; power that the source gives (MVA); slopes of the
    loads' currents (points, rows, k, k), by dv and by conj(dv)."""

    v: Complex
    framed: Complex
    p: Real
    q: Real
    fed: Complex
    source: Complex
    own: Complex
    conjugate: Complex


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
    return linearised([require(circuit, load_scale, injections)])[0]


def solved(circuit: AcCircuit, load_scale: float, injections: Sequence[Injection]) -> AcPoint | None:
    """The AC power flow with the circuit's devices as they stand, None without a solution (see :func:`build`)."""
    state = circuit.state(load_scale, injections)
    return None if state is None else AcPoint(tangent_pattern(circuit.feeder), state, load_scale, injections)


def require(circuit: AcCircuit, load_scale: float, injections: Sequence[Injection]) -> AcPoint:
    """As :func:`solved`.

    Raises:
        RunFailure: the AC power flow has no solution there.
    """
    point = solved(circuit, load_scale, injections)
    if point is None:
        raise RunFailure(
            f"feeder {circuit.feeder.name}: no AC solution within 0.8 to 1.2 pu to linearise at "
            f"(load scale {load_scale:g})"
        )
    return point


def linearised(points: Sequence[AcPoint]) -> list[LinearNetwork]:
    """The tangents at some points, those with one pattern put together in one go."""
    found: dict[int, LinearNetwork] = {}
    for pattern in dict.fromkeys(point.pattern for point in points):
        places = [i for i, point in enumerate(points) if point.pattern is pattern]
        found |= dict(zip(places, _networks(pattern, [points[i] for i in places]), strict=True))
    return [found[i] for i in range(len(points))]


def tangent_pattern(feeder: Feeder) -> Pattern:
    """Where the numbers of a feeder's tangent stand."""
    return circuit_pattern(feeder) if isinstance(feeder, CircuitFeeder) else pattern_of(feeder)


def _networks(n: Pattern, points: Sequence[AcPoint]) -> list[LinearNetwork]:
    at = _together(n, points)
    layout = _layout_of(n.alike or n)
    equations = Equations(len(n.states), len(points), layout)
    _add_all(equations, n, at)
    tree = None if isinstance(n.structure, CircuitFeeder) else _solver_of(n)
    unbalance = _unbalance(n, at)
    return [
        LinearNetwork(
            states=n.states, nodes=n.nodes, matrix=matrix_of(layout, numbers), constant=constant,
            demand_p=n.demand_p, demand_q=n.demand_q, import_p=n.import_p, import_q=n.import_q, voltages=n.voltages,
            flows_p=n.flows_p, flows_q=n.flows_q, unbalance=own, tree=tree,
        )
        for numbers, constant, own in zip(equations.numbers(), equations.constant[:, :-1], unbalance, strict=True)
    ]  # fmt: skip


@lru_cache(maxsize=FEEDERS_KEPT)
def _layout_of(n: Pattern) -> Layout:
    """Places of the entries, which no operating point changes."""
    ones, none = np.ones((1, len(n.node_bus)), dtype=complex), np.zeros((1, len(n.nodes)))
    slopes = np.zeros((1, len(n.reading), n.places, n.places), dtype=complex)
    fed = np.zeros((1, len(n.fed)), dtype=complex)
    equations = Equations(len(n.states), 1)
    with np.errstate(divide="ignore", invalid="ignore"):  # the places alone count
        _add_all(equations, n, _Points(ones, ones, none, none, fed, np.zeros(1, dtype=complex), slopes, slopes))
    return equations.finish()


@lru_cache(maxsize=FEEDERS_KEPT)
def _solver_of(n: Pattern) -> LayeredSolver:
    """Solver of the equations of a radial feeder: the voltages of each bus make a group, the rest follows from them."""
    assert isinstance(n.structure, Structure)
    layout, group = _layout_of(n), np.full(len(n.states), -1, dtype=np.intp)
    group[n.re] = group[n.im] = n.node_bus
    return kept(LayeredSolver, layout.indices, layout.indptr, group, n.structure.parent)


def _together(n: Pattern, points: Sequence[AcPoint]) -> _Points:
    """What the tangent needs of operating points."""
    phasors = np.array([point.state.phasors for point in points])[:, n.reading]
    framed = np.array([in_frames(v, n.three_wire, n.neutral) for v in phasors])
    maps: dict[Terminal, Real] = {}
    demand = np.zeros((len(points), 2, len(n.nodes)))
    for k, point in enumerate(points):
        for terminal, kw, kvar in point.injections:
            if terminal not in maps:
                t = terminal_map(terminal, n.nodes)
                maps[terminal] = np.array([[t.pp, t.pq], [t.qp, t.qq]]) / KILO
            m = maps[terminal]
            demand[k] += m[:, 0] * kw + m[:, 1] * kvar
    own, conjugate = (np.array(part) for part in zip(*map(_slopes_at, [n] * len(points), points, phasors), strict=True))
    places = slice(None), n.node_bus, n.node_place
    return _Points(
        phasors[places], framed[places], demand[:, 0], demand[:, 1],
        np.array([point.state.fed for point in points]), np.array([point.state.source_mva for point in points]),
        own, conjugate,
    )  # fmt: skip


def _slopes_at(n: Pattern, point: AcPoint, phasors: Complex) -> tuple[Complex, Complex]:
    """(n, k, k) slope of the currents that loads draw at each bus, by dv and by conj(dv)."""
    if isinstance(n.structure, CircuitFeeder):
        bus, e, nominal, power, exponent = parts_drawn(n.structure, phasors, point.load_scale)
    else:
        bus, e, nominal, power, exponent = table_loads(n.structure, point.load_scale)
    members = [
        (n.rows[t.bus], member, complex(kw, kvar) / KILO / len(t.phases))
        for t, kw, kvar in point.injections
        for member in t.phases
    ]
    bus = np.concatenate([bus, np.array([m[0] for m in members], dtype=np.intp)])
    e = np.concatenate([e, members_across(n, [m[:2] for m in members], phasors.shape[1])])
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
    wires = (loads.exponent == 2) & ~loads.scaled
    bus, e = loads.bus[~wires], loads.incidence[~wires]
    nominal = np.where(np.abs(e).sum(axis=1) == 2, 1 / np.sqrt(s.line_scale[bus]), 1.0)
    power = loads.power[~wires] * np.where(loads.scaled[~wires], load_scale, 1.0)
    return bus, e, nominal, power, loads.exponent[~wires]


def members_across(n: Pattern, members: Sequence[tuple[int, str]], places: int) -> Real:
    """(m, places) rows that give the voltage across phases or legs of some buses; a phase goes to its neutral."""
    e = np.zeros((len(members), places))
    for k, (row, member) in enumerate(members):
        e[k, :3] = across(member)
        if len(member) == 1 and n.neutral is not None and n.neutral[row] >= 0:
            e[k, n.neutral[row]] = -1.0
    return e


def _add_all(t: Equations, n: Pattern, at: _Points) -> None:
    """All equations of the tangent."""
    _add_currents(t, n, at)
    _add_demand(t, n)
    _add_voltages(t, n, at)
    _add_flows(t, n, at)
    _add_import(t, n, at)


def _add_currents(t: Equations, n: Pattern, at: _Points) -> None:
    """Currents at the nodes add up to zero; the source's nodes stay where they are."""
    fixed = n.source_nodes
    t.add(n.re[fixed], n.re[fixed], 1.0)
    t.add(n.im[fixed], n.im[fixed], 1.0)
    # each row per unit of its own admittance, which spans ten decades between a jumper and a floating winding
    i, j, y = n.wire_rows, n.wire_columns, n.wire_values / n.stiffness[n.wire_rows]
    t.add_complex((n.re[i], n.im[i]), (n.re[j], n.im[j]), y[None])
    i, j = n.block_rows, n.block_columns
    places = slice(None), n.block_bus, n.block_row_place, n.block_column_place
    stiff = n.stiffness[i]
    t.add_complex((n.re[i], n.im[i]), (n.re[j], n.im[j]), at.own[places] / stiff, at.conjugate[places] / stiff)
    # demand: conj(s / v), on three-wire buses less the mean of the three
    i, j = n.draw_rows, n.draw_columns
    share: Complex = np.asarray(n.draw_share / np.conj(at.framed[:, n.draw_node]) / n.stiffness[i])
    _draw(t, n, at, i, j, share)
    # and conj(s / (v_a - v_b)) from one phase of a leg into the other
    across_leg = np.conj(at.v[:, n.leg_first] - at.v[:, n.leg_second])[:, n.leg_columns]
    j = n.leg_columns + n.legs_from
    of_leg: Complex = np.asarray(n.leg_sign / across_leg / n.stiffness[n.leg_rows])
    _draw(t, n, at, n.leg_rows, j, of_leg)


def _draw(t: Equations, n: Pattern, at: _Points, rows: Index, columns: Index, share: Complex) -> None:
    """Currents share * conj(demand), less what the operating point has of them already."""
    t.add_complex((n.re[rows], n.im[rows]), (n.p[columns], n.q[columns]), np.zeros_like(share), share)
    drawn = share * (at.p[:, columns] - 1j * at.q[:, columns])
    t.add_constant(n.re[rows], drawn.real)
    t.add_constant(n.im[rows], drawn.imag)


def _add_demand(t: Equations, n: Pattern) -> None:
    """The demand at each node, as states."""
    t.add(n.p, n.p, 1.0)
    t.add(n.q, n.q, 1.0)


def _add_voltages(t: Equations, n: Pattern, at: _Points) -> None:
    """|w|^2 per unit of each limited voltage: phase to neutral, or line to line."""
    w = at.v[:, n.first] - np.where(n.second >= 0, at.v[:, n.second], 0.0)
    scale = n.voltage_scale
    t.add(n.u, n.u, 1.0)
    for node, sign in ((n.first, -1.0), (n.second, 1.0)):
        there = node >= 0
        for part, value in ((n.re, w.real), (n.im, w.imag)):
            t.add(n.u[there], part[node[there]], (sign * 2 * scale * value)[:, there])
    t.add_constant(n.u, scale * np.abs(w) ** 2)


def entering(n: Pattern, at: Complex, framed: Complex, fed: Complex) -> tuple[Complex, Complex]:
    """(points, nf) voltage in the frame of its bus at which each flow enters its branch, and its current.

    Args:
        at, framed: (points, nn) voltages of the nodes as they are and in the frames of their buses.
        fed: (points, k) currents of a source that is not stiff.
    """
    current = np.asarray((n.entering @ at.T).T)
    v = framed[:, n.flow_node]
    current[:, n.fed], v[:, n.fed] = fed, at[:, n.flow_node[n.fed]]
    return v, current


def entering_now(circuit: AcCircuit) -> tuple[Complex, Complex]:
    """(nf,) the same in the last solution of a circuit."""
    n = tangent_pattern(circuit.feeder)
    phasors = circuit.node_phasors[n.reading]
    framed = in_frames(phasors, n.three_wire, n.neutral)
    fed = circuit.source_currents() if len(n.fed) else np.zeros(0, dtype=complex)
    places = n.node_bus, n.node_place
    v, current = entering(n, phasors[places][None], framed[places][None], fed[None])
    return v[0], current[0]


def _add_flows(t: Equations, n: Pattern, at: _Points) -> None:
    """Power that enters each branch, v conj(i), at the voltage in the frame of its upper bus."""
    v, current = entering(n, at.v, at.framed, at.fed)
    power = v * np.conj(current)
    t.add(n.flow_p, n.flow_p, 1.0)
    t.add(n.flow_q, n.flow_q, 1.0)
    k, j = n.flow_rows, n.flow_columns
    by_conjugate = -v[:, k] * np.conj(n.flow_values)
    t.add_complex((n.flow_p[k], n.flow_q[k]), (n.re[j], n.im[j]), np.zeros_like(by_conjugate), by_conjugate)
    k, j, share = n.frame_rows, n.frame_columns, n.frame_share
    by: Complex = np.asarray(-share * np.conj(current)[:, k])
    t.add_complex((n.flow_p[k], n.flow_q[k]), (n.re[j], n.im[j]), by)
    t.add_constant(n.flow_p, power.real)
    t.add_constant(n.flow_q, power.imag)


def _add_import(t: Equations, n: Pattern, at: _Points) -> None:
    """What the source gives: the flows that enter the branches at its bus, the demand there, and what is constant."""
    for row, flows, demand, value, injected in (
        (n.source_p, n.flow_p, n.p, at.source.real, at.p),
        (n.source_q, n.flow_q, n.q, at.source.imag, at.q),
    ):
        leaving = flows[n.source_flows]
        t.add(row, row, 1.0)
        t.add(row, leaving, -1.0)
        t.add(row, demand[n.source_demand], -1.0)
        rest = value - t.constant[:, leaving].sum(axis=1) - injected[:, n.source_demand].sum(axis=1)
        t.add_constant(row[None], rest[:, None])


def _unbalance(n: Pattern, at: _Points) -> list[Affine]:
    """V2/V1 of the line-to-line voltages, percent, with its slope by the phasors of each three-phase bus."""
    v = at.v[:, n.full]
    line = v - np.roll(v, -1, axis=2)
    # positive and negative sequence of the line voltages, as rows that act on v
    turns = np.array([[1, ALPHA, ALPHA**2], [1, ALPHA**2, ALPHA]]) / 3
    on_v = turns - np.roll(turns, 1, axis=1)
    positive, negative = (line @ row for row in turns)
    ratio = negative / positive
    slope = 100 * (on_v[1] - ratio[..., None] * on_v[0]) / positive[..., None]
    # real part: Re(slope) dre - Im(slope) dim; imaginary part: Im(slope) dre + Re(slope) dim
    real, imaginary = (np.concatenate(parts, axis=2) for parts in ((slope.real, -slope.imag), (slope.imag, slope.real)))
    values = np.stack([real, imaginary], axis=2).reshape(len(v), -1)
    columns = np.repeat(np.concatenate([n.re[n.full], n.im[n.full]], axis=1), 2, axis=0).ravel()
    starts, shape = np.arange(0, len(columns) + 1, 6), (2 * len(n.full), len(n.states))
    constants = 100 * np.stack([ratio.real, ratio.imag], axis=2).reshape(len(v), -1)
    return [
        Affine(sp.csr_array((value, columns, starts), shape=shape), constant, n.unbalance_labels)
        for value, constant in zip(values, constants, strict=True)
    ]
