"""AC power flow of many states of one network at once, by the current-injection fixed point.

With Y the admittance of the wires, w = E v the voltages across everything that draws, and i(w) what it draws::

    v = v0 - Y^-1 E' i(w)        i_l = conj(S_l f_l(|w_l|) / w_l)

is iterated over all states together: a product with a dense matrix on small networks, two triangular solves with many
right-hand sides on large ones. It is the iteration that OpenDSS runs state by state. What draws is the base case (the
feeder's loads, generation and sites) and one connection, which may be another one in every state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.linalg import splu

from cosim.constants import KILO
from cosim.errors import RunFailure
from cosim.grid.feeder.arrays import Structure
from cosim.grid.feeder.circuit import CircuitFeeder, Draws
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.phases import NOMINAL, Terminal
from cosim.grid.linear.ac_pattern import Pattern
from cosim.grid.linear.ac_tangent import members_across, table_loads, tangent_pattern
from cosim.grid.opendss.admittance import admittance_of
from cosim.grid.opendss.circuit import AcCircuit
from cosim.hosting.limits import Connection

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Index = NDArray[np.intp]
Flags = NDArray[np.bool_]
MOST_DENSE = 500
"""Draws of a base case up to which products with a dense matrix are quicker than triangular solves."""
MOST_ITERATIONS = 100
SETTLED_PU = 1e-9
"""Largest change of a voltage in the last iteration."""
LOWEST_PU = 0.3
"""Voltage across a draw, per unit of its own, below which an iteration is given up."""
SAME_PU = 1e-6
"""How far a circuit's own solution in OpenDSS may be from one of the equations here."""


@dataclass(frozen=True, slots=True, eq=False)
class Law:
    """How what is drawn follows the voltage across it: (m,) nominal voltage and exponent; of a circuit's own parts the
    law that they have outside their range as well (the first of all)."""

    nominal: Real
    exponent: Real
    own: Draws | None

    def factor(self, across: Real) -> Real:
        """(states, m) factor on the power at nominal voltage, by the magnitudes of voltages (states, m)."""
        u = across / self.nominal
        # integers are what almost all are, and much cheaper than powers
        found = np.where(self.exponent == 1.0, u, np.where(self.exponent == 2.0, u * u, 1.0))
        for k in np.flatnonzero(~np.isin(self.exponent, (0.0, 1.0, 2.0))):
            found[:, k] = u[:, k] ** self.exponent[k]
        if self.own is not None:
            here = u[:, : len(self.own.bus)]
            inside, current, impedance = self.own.law_at(here)
            found[:, : here.shape[1]] = np.where(inside, found[:, : here.shape[1]], (current + impedance * here) * here)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class States:
    """Solutions of the power flow.

    Attributes:
        solved: (states,) whether the iteration settled. v: (states, nn) voltages, per unit.
        across, connected: (states, m) and (states, k) voltages across the draws of the base case and the connection.
    """

    solved: Flags
    v: Complex
    across: Complex
    connected: Complex

    def some(self, at: Index) -> States:
        """Those of some states."""
        return States(self.solved[at], self.v[at], self.across[at], self.connected[at])

    def copy(self) -> States:
        """A copy to be changed."""
        return States(self.solved.copy(), self.v.copy(), self.across.copy(), self.connected.copy())

    def put(self, at: Index, states: States) -> None:
        """Put others in the places of some."""
        self.solved[at], self.v[at] = states.solved, states.v
        self.across[at], self.connected[at] = states.across, states.connected


class PowerFlow:
    """The network of a feeder with its base draws and some connections.

    Args:
        feeder: with its devices as they stand.
        terminals: where injections of the base case are; connections: any one of which may draw.

    Attributes:
        pattern: where voltages and flows of the feeder stand. fixed: (m,) MW + j Mvar of the base draws at nominal
            voltage without load and injections; scaled: (m,) what a load scale of 1 adds; injected: (m, 2 terminals)
            what a kW and a kvar of each terminal add.
    """

    def __init__(self, feeder: Feeder, terminals: Sequence[Terminal], connections: Sequence[Connection]) -> None:
        self.pattern = n = tangent_pattern(feeder)
        self._nn = len(n.node_bus)
        node = _nodes(n)
        loads, e, law, self.fixed, self.scaled = _loads(feeder, n)
        rows, e_injected, member_share = _members(n, terminals)
        bus, e = np.concatenate([loads, rows]), np.concatenate([e, e_injected])
        count = len(loads)
        self._law = Law(np.concatenate([law.nominal, np.ones(len(rows))]),
                        np.concatenate([law.exponent, np.zeros(len(rows))]), law.own)  # fmt: skip
        self.fixed, self.scaled = (np.concatenate([x, np.zeros(len(rows))]) for x in (self.fixed, self.scaled))
        self.injected = np.zeros((count + len(rows), 2 * len(terminals)), dtype=complex)
        for k, (terminal, share) in enumerate(member_share):
            self.injected[count + k, 2 * terminal : 2 * terminal + 2] = np.array([1, 1j]) * share / KILO
        self._e = _incidence(node, bus, e, self._nn)
        self._connect(n, node, connections)
        self._factor(feeder, n)
        self.width = 4 * (self._nn + self._e.shape[0])
        """Numbers that a state needs while it is worked on."""

    def _connect(self, n: Pattern, node: Index, connections: Sequence[Connection]) -> None:
        """Ends and shares of the members of each connection, as many for all; those that are not there share 0."""
        found = []
        for c in connections:
            rows, e, share = _members(n, c.terminals)
            found.append((rows, e, [part * c.share[k] for k, part in share]))
        k, count = max((len(rows) for rows, _, _ in found), default=1), max(len(found), 1)
        self._first, self._second = (np.full((count, k), self._nn, dtype=np.intp) for _ in range(2))
        self.shares = np.zeros((count, k))
        for i, (rows, e, shares) in enumerate(found):
            for m, row in enumerate(rows):
                self._first[i, m], self._second[i, m] = _ends(node[row], e[m], self._nn)
                self.shares[i, m] = shares[m]

    def _factor(self, feeder: Feeder, n: Pattern) -> None:
        """Factors of the admittance, voltages without any draw, and on small networks what draws do to voltages."""
        if isinstance(n.structure, CircuitFeeder):
            y = sp.csc_array(n.structure.wiring.admittance)
            self._free = np.arange(self._nn)
            self._lu = splu(y)
            self._v0 = self._lu.solve(_supplied(feeder, self, y))
        else:
            y = sp.csr_array(admittance_of(feeder).network)
            held = n.source_nodes
            self._free = np.setdiff1d(np.arange(self._nn), held)
            self._lu = splu(sp.csc_array(y[self._free][:, self._free]))
            self._v0 = np.zeros(self._nn, dtype=complex)
            self._v0[held] = n.structure.source_pu * NOMINAL[n.node_place[held]]
            self._v0[self._free] = self._lu.solve(-(y[self._free] @ self._v0))
        m = self._e.shape[0]
        self._dense = m <= MOST_DENSE
        self._w0 = self._e @ self._v0
        ends, at = _padded(self._v0), np.arange(len(self._first))
        w = ends[self._first] - ends[self._second]
        with np.errstate(divide="ignore", invalid="ignore"):
            i = np.where(self.shares > 0, np.conj(self.shares / w), 0.0)
        moved = self._voltages(np.zeros((len(at), m), dtype=complex), i, at, dense=False) - self._v0
        ends = _padded(moved)
        drop = np.abs(ends[at[:, None], self._first] - ends[at[:, None], self._second])
        self._impedance = drop.max(axis=1, initial=0.0)  # pu per MVA
        if not self._dense:
            return
        self._z = -self.moved(np.asarray(self._e.toarray(), dtype=complex))  # (m, nn), by unit currents
        self._zb = np.ascontiguousarray((self._e @ self._z.T).T)
        c, k = self._first.shape
        units = np.zeros((c * k, self._nn + 1), dtype=complex)
        at = np.arange(c * k)
        units[at, self._first.ravel()] += 1.0
        units[at, self._second.ravel()] -= 1.0
        reached = -self.moved(units[:, :-1])
        self._zn = reached.reshape(c, k, self._nn)
        self._zbc = np.asarray((self._e @ reached.T).T).reshape(c, k, m)
        ends = _padded(self._z)
        self._zcb = (ends[:, self._first] - ends[:, self._second]).transpose(1, 0, 2).copy()  # (c, m, k)
        ends = _padded(reached).reshape(c, k, -1)
        here, by = np.arange(c)[:, None, None], np.arange(k)[:, None]
        self._zcc = ends[here, by, self._first[:, None]] - ends[here, by, self._second[:, None]]  # (c, k by, k at)

    def moved(self, current: Complex) -> Complex:
        """(states, nn) change of the voltages by currents (states, nn) drawn at the nodes."""
        v = np.zeros(current.shape, dtype=complex)
        if len(current):
            v[:, self._free] = -self._lu.solve(np.ascontiguousarray(current[:, self._free]).T).T
        return v

    def drawn(self, load_scale: Real, injections: Real) -> Complex:
        """(states, m) power of the base draws at nominal voltage, MW + j Mvar.

        Args:
            load_scale: (states,). injections: (states, 2 terminals) kW and kvar of each terminal in turn.
        """
        return np.asarray(self.fixed + load_scale[:, None] * self.scaled + injections @ self.injected.T)

    def first_draw_mva(self, which: Index, drop_pu: float) -> Real:
        """(states,) draw that lowers the voltage at each connection by about so much, by the impedance there."""
        return np.asarray(drop_pu / np.maximum(self._impedance[which], 1e-12))

    def connected_at(self, states: States, which: Index) -> States:
        """Solutions of the base case as a start with other connections."""
        v, at = _padded(states.v), np.arange(len(which))[:, None]
        across = v[at, self._first[which]] - v[at, self._second[which]]
        return States(states.solved, states.v, states.across, across)

    def base(self, power: Complex, start: States | None = None) -> States:
        """Solve base cases: (states, m) power at nominal voltage."""
        which = np.zeros(len(power), dtype=np.intp)
        return self.solve(power, which, np.zeros(len(power), dtype=complex), start)

    def solve(self, power: Complex, which: Index, drawn_mva: Complex, start: States | None = None) -> States:
        """Solve states.

        Args:
            power: (states, m) of the base draws at nominal voltage.
            which, drawn_mva: (states,) the connection that draws, and what it draws.
            start: from where; without any draw by default.
        """
        count, c = len(power), which
        connected = self.shares[c] * drawn_mva[:, None]
        w = np.tile(self._w0, (count, 1)) if start is None else start.across.copy()
        ends = _padded(self._v0)
        wc = ends[self._first[c]] - ends[self._second[c]] if start is None else start.connected.copy()
        v = np.zeros((count, self._nn), dtype=complex)
        solved, rest = np.zeros(count, dtype=bool), np.arange(count)
        for _ in range(MOST_ITERATIONS):
            ib = self._currents(power[rest], w[rest])
            with np.errstate(divide="ignore", invalid="ignore"):
                ic = np.where(connected[rest] == 0, 0.0, np.conj(connected[rest] / wc[rest]))
            new, new_c, new_v = self._reached(ib, ic, c[rest])
            change = np.maximum(np.abs(new - w[rest]).max(axis=1, initial=0.0),
                                np.abs(new_c - wc[rest]).max(axis=1, initial=0.0))  # fmt: skip
            w[rest], wc[rest] = new, new_c
            done = change <= SETTLED_PU
            at = rest[done]
            v[at] = self._voltages(ib[done], ic[done], c[at]) if new_v is None else new_v[done]
            solved[at] = True
            alive = np.abs(new_c) >= LOWEST_PU
            lost = ~(alive | (connected[rest] == 0)).all(axis=1) | ~np.isfinite(change)
            rest = rest[~done & ~lost]
            if not len(rest):
                break
        return States(solved, v, w, wc)

    def own_currents(self, power: Complex, v: Complex) -> Complex:
        """(nn,) currents that base draws (1, m) take from the nodes at voltages (nn,)."""
        return np.asarray(self._e.T @ self._currents(power, np.asarray(self._e @ v)[None])[0])

    def _currents(self, power: Complex, w: Complex) -> Complex:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            i = np.conj(power * self._law.factor(np.abs(w)) / w)
        return np.where(power == 0, 0.0, i)

    def _reached(self, ib: Complex, ic: Complex, c: Index) -> tuple[Complex, Complex, Complex | None]:
        """Voltages across base draws and connection by their currents; all voltages where they are needed for it."""
        ends = _padded(self._v0)
        if self._dense:
            w = self._w0 - ib @ self._zb - np.einsum("bk,bkm->bm", ic, self._zbc[c])
            wc = ends[self._first[c]] - ends[self._second[c]]
            wc = wc - np.einsum("bm,bmk->bk", ib, self._zcb[c]) - np.einsum("bj,bjk->bk", ic, self._zcc[c])
            return w, wc, None
        v = self._voltages(ib, ic, c)
        ends = _padded(v)
        at = np.arange(len(v))[:, None]
        return np.asarray((self._e @ v.T).T), ends[at, self._first[c]] - ends[at, self._second[c]], v

    def _voltages(self, ib: Complex, ic: Complex, c: Index, dense: bool = True) -> Complex:
        """(states, nn) voltages by the currents of base draws and connection."""
        if self._dense and dense:
            return np.asarray(self._v0 - ib @ self._z - np.einsum("bk,bkn->bn", ic, self._zn[c]))
        current = _padded(np.asarray((self._e.T @ ib.T).T))
        at = np.arange(len(ib))
        for k in range(ic.shape[1]):
            current[at, self._first[c, k]] += ic[:, k]
            current[at, self._second[c, k]] -= ic[:, k]
        return np.asarray(self._v0 + self.moved(current[:, :-1]))


def _padded(v: Complex) -> Complex:
    """Voltages with a last column, of the ground, that is zero."""
    return np.concatenate([v, np.zeros((*v.shape[:-1], 1), dtype=complex)], axis=-1)


def _nodes(n: Pattern) -> Index:
    """(rows, places) voltage node at each place of a bus, -1 where there is none."""
    node = np.full((int(n.node_bus.max()) + 1, n.places), -1, dtype=np.intp)
    node[n.node_bus, n.node_place] = np.arange(len(n.node_bus))
    return node


def _loads(feeder: Feeder, n: Pattern) -> tuple[Index, Real, Law, Complex, Complex]:
    """Row, incidence, law, power without load scale, and what a load scale of 1 adds, of a feeder's own draws."""
    if isinstance(n.structure, CircuitFeeder):
        w = n.structure.wiring
        d = w.draws
        scaled = np.where(d.scaled, d.power * w.load_mult, 0.0)
        return d.bus, d.incidence(n.places), Law(d.rated, d.exponent, d), np.where(d.scaled, 0.0, d.power), scaled
    assert isinstance(n.structure, Structure)
    bus, e, nominal, power, exponent = table_loads(n.structure, 1.0)
    fixed = table_loads(n.structure, 0.0)[3]
    return bus, e, Law(nominal, exponent, None), fixed, power - fixed


def _members(n: Pattern, terminals: Sequence[Terminal]) -> tuple[Index, Real, list[tuple[int, float]]]:
    """Row and incidence of every phase or leg of some terminals, with the number of the terminal and its share."""
    members = [(n.rows[t.bus], x) for t in terminals for x in t.phases]
    share = [(k, 1 / len(t.phases)) for k, t in enumerate(terminals) for _ in t.phases]
    return np.array([row for row, _ in members], dtype=np.intp), members_across(n, members, n.places), share


def _ends(node: Index, e: Real, ground: int) -> tuple[int, int]:
    first, second = (np.flatnonzero(e == sign) for sign in (1.0, -1.0))
    return (int(node[first[0]]) if len(first) else ground), (int(node[second[0]]) if len(second) else ground)


def _incidence(node: Index, bus: Index, e: Real, nn: int) -> sp.csr_array[np.float64]:
    """(m, nn) voltages across draws by those of the nodes."""
    rows, places = np.nonzero(e)
    entries = e[rows, places], (rows, node[bus[rows], places])
    return sp.csr_array(sp.coo_array(entries, shape=(len(bus), nn)))


def _supplied(feeder: Feeder, flow: PowerFlow, y: sp.csc_array[np.complex128]) -> Complex:
    """(nn,) currents that the source of a circuit feeds behind its inner admittance, from a solution of OpenDSS.

    Raises:
        RunFailure: the circuit has no solution, or another one than the equations here.
    """
    circuit, n = AcCircuit(feeder), flow.pattern
    if circuit.state(1.0, ()) is None:
        raise RunFailure(f"feeder {feeder.name}: the circuit as it is has no AC solution")
    v = circuit.node_phasors[n.node_bus, n.node_place]
    own = flow.drawn(np.ones(1), np.zeros((1, flow.injected.shape[1])))
    fed = np.asarray(y @ v + flow.own_currents(own, v))
    assert isinstance(n.structure, CircuitFeeder)
    supply = np.zeros(len(v), dtype=complex)
    supply[n.structure.wiring.source_nodes] = fed[n.structure.wiring.source_nodes]
    if not np.abs(splu(y).solve(supply - fed)).max() <= SAME_PU:
        raise RunFailure(f"feeder {feeder.name}: OpenDSS's solution is not that of the equations here")
    return supply
