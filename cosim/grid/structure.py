"""A feeder as arrays over branches and phases, in which its linear power-flow equations are written.

Power is in MW per phase, voltage per unit of the nominal line-to-neutral voltage, so the base of impedance is
kV^2 / 3 ohm with kV line to line. Arrays have three places per bus or branch, for phases a, b, c; the index
of a missing phase is -1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cosim.grid.feeder import FEET_PER_MILE, LEGS, PHASES, Branch, Bus, Feeder, Line, Regulator, Transformer
from cosim.grid.feeder_check import check_feeder
from cosim.grid.phases import CENTERING, CENTROID_TO_LINE, GROUNDED_TO_LINE

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Index = NDArray[np.intp]
KILO = 1000.0
SOURCE = "source"
"""Name of the branch that stands for the source in the names of states."""


@dataclass(frozen=True, slots=True, eq=False)
class Loads:
    """Loads and capacitors: one row each.

    Attributes:
        bus: index of the bus; power: MW + j Mvar at nominal voltage; scaled: follows the load scale.
        model: ``PQ``, ``I`` or ``Z``.
        incidence: (n, 3) +1 at the phase (the leg's first), -1 at the leg's second; touched: where not 0.
        square: (n, 3) row that gives the squared voltage across the load from u of its bus.
    """

    bus: Index
    power: Complex
    scaled: NDArray[np.bool_]
    model: tuple[str, ...]
    incidence: Real
    touched: NDArray[np.bool_]
    square: Real


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """Arrays of a feeder. Branch k feeds bus k (in order of distance from the source); 0 is the source.

    Attributes:
        buses: in breadth-first order; branches: names in the same order.
        parent: bus that feeds each bus; -1 for the source.
        phases: (n, 3) True where a bus has the phase. grounded: (n,).
        coupling: (n, 3, 3) ideal voltage ratio V_after = K V_parent; coupled: where K is not the identity.
        square: (n, 3, 3) map of squared magnitudes that goes with the coupling.
        impedance: (n, 3, 3) per unit, after the coupling.
        charging: (n, 3, 3) shunt susceptance at each bus, per unit.
        line_square: (n, 3, 3) squared line-to-line voltages (ab, bc, ca) from u.
        p, q: (n, 3) state index of the flow entering a branch; pc, qc: of the flow after its coupling.
        u: (n, 3) state index of the squared voltages; node: (n, 3) index of each bus-phase among the nodes.
        source_pu: voltage of the source; no_load: (n, 3) squared voltages that it alone makes.
    """

    buses: tuple[Bus, ...]
    branches: tuple[str, ...]
    parent: Index
    phases: NDArray[np.bool_]
    grounded: NDArray[np.bool_]
    coupling: Real
    coupled: NDArray[np.bool_]
    square: Real
    impedance: Complex
    charging: Real
    line_square: Real
    p: Index
    q: Index
    pc: Index
    qc: Index
    u: Index
    node: Index
    loads: Loads
    source_pu: float
    no_load: Real
    states: tuple[str, ...]
    nodes: tuple[tuple[str, str], ...]


@lru_cache(maxsize=8)
def structure_of(feeder: Feeder) -> Structure:
    """Arrays of a feeder (computed once per feeder).

    Raises:
        InputError: the feeder does not pass its check.
    """
    check_feeder(feeder)
    buses, branches, parent = _ordered(feeder)
    n = len(buses)
    grounded = np.array([b.grounded for b in buses])
    phases = np.array([[x in b.phases for x in PHASES] for b in buses])
    coupling, square = np.tile(np.eye(3), (n, 1, 1)), np.tile(np.eye(3), (n, 1, 1))
    impedance = np.zeros((n, 3, 3), dtype=complex)
    charging = np.zeros((n, 3, 3))
    for k, branch in enumerate(branches):
        if branch is None:
            continue
        start = buses[parent[k]]
        coupling[k] = coupling_of(branch, start, buses[k])
        square[k] = square_map(coupling[k], start.grounded)
        impedance[k] = _impedance_of(feeder, branch, buses[k])
        if isinstance(branch, Line):
            half = _charging_of(feeder, branch, buses[k])
            charging[k] += half
            charging[parent[k]] += half
    coupled = np.array([not np.array_equal(matrix, np.eye(3)) for matrix in coupling])
    names = tuple(SOURCE if b is None else b.name for b in branches)
    p, q, pc, qc, u, node, states = _numbering(buses, names, phases, coupled)
    order = {b.name: i for i, b in enumerate(buses)}
    nodes = tuple((b.name, x) for b in buses for x in b.phases)
    line_square = np.where(grounded[:, None, None], GROUNDED_TO_LINE, CENTROID_TO_LINE)
    return Structure(
        buses, names, parent, phases, grounded, coupling, coupled, square, impedance, charging, line_square,
        p, q, pc, qc, u, node, _loads_of(feeder, order, line_square), feeder.source_pu,
        _no_load(feeder.source_pu, parent, square, phases), states, nodes,
    )  # fmt: skip


def _ordered(feeder: Feeder) -> tuple[tuple[Bus, ...], tuple[Branch | None, ...], Index]:
    """Buses breadth first from the source, the branch that feeds each, and the position of its other end."""
    at: dict[str, list[Branch]] = {b.name: [] for b in feeder.buses}
    for branch in feeder.branches:
        at[branch.from_bus].append(branch)
        at[branch.to_bus].append(branch)
    order, feeding, parent = [feeder.source_bus], list[Branch | None]([None]), [-1]
    for k, here in enumerate(order):  # grows while it is walked
        for branch in at[here]:
            if branch is feeding[k]:
                continue
            order.append(branch.to_bus if here == branch.from_bus else branch.from_bus)
            feeding.append(branch)
            parent.append(k)
    return tuple(feeder.bus_by_name[name] for name in order), tuple(feeding), np.array(parent, dtype=np.intp)


def coupling_of(branch: Branch, start: Bus, end: Bus) -> Real:
    """(3, 3) ideal voltage ratio of a branch in per unit: V_after = K V_before, in the frames of its buses.

    An open-delta regulator with units ab and cb keeps phase b and stretches V_ab by a1 and V_cb by a2. A
    delta-wye transformer takes V_a - V_c over sqrt 3 as V_a (its low side lags by 30 degrees).
    """
    if isinstance(branch, Line):
        return np.eye(3)
    if isinstance(branch, Regulator):
        if branch.connection == "wye":
            return np.diag([branch.ratio(x) if x in branch.taps else 1.0 for x in PHASES])
        shared = PHASES.index(next(iter(branch.taps))[1])
        matrix = np.zeros((3, 3))
        matrix[:, shared] = 1.0
        for unit in branch.taps:
            k, a = PHASES.index(unit[0]), branch.ratio(unit)
            matrix[k, k], matrix[k, shared] = a, 1 - a
        return np.asarray(CENTERING @ matrix @ CENTERING)
    ratio = branch.kv_low / branch.kv_high * start.kv_base / end.kv_base
    if abs(ratio - 1) < 1e-12:
        ratio = 1.0
    if branch.conn_high == branch.conn_low:
        return ratio * np.eye(3)
    lagging = np.array([[1.0, 0.0, -1.0], [-1.0, 1.0, 0.0], [0.0, -1.0, 1.0]])
    return np.asarray(ratio / np.sqrt(3) * lagging)


def square_map(coupling: Real, grounded: bool) -> Real:
    """(3, 3) map of squared phase magnitudes u that goes with V' = K V.

    Uses 2 Re(V_b conj V_c) = u_a - u_b - u_c, exact in the centroid frame, and -(u_b + u_c) / 2 where a
    neutral is present (phases 120 degrees apart).
    """
    result = coupling**2
    for a in range(3):
        b, c = (a + 1) % 3, (a + 2) % 3
        product = np.zeros(3)
        product[[b, c]] = -0.5 if grounded else -1.0
        product[a] = 0.0 if grounded else 1.0
        result = result + np.outer(coupling[:, b] * coupling[:, c], product)
    return np.asarray(result)


def _impedance_of(feeder: Feeder, branch: Branch, end: Bus) -> Complex:
    """(3, 3) series impedance per unit; in three-wire sections currents add up to zero, so it is Pi Z Pi."""
    matrix = np.zeros((3, 3), dtype=complex)
    if isinstance(branch, Line):
        code = feeder.code_by_name[branch.code]
        per_mile = np.array(code.r_ohm_per_mile) + 1j * np.array(code.x_ohm_per_mile)
        present = np.array([x in branch.phases for x in PHASES])
        per_unit = branch.length_ft / FEET_PER_MILE * 3 / end.kv_base**2
        matrix = np.where(np.outer(present, present), per_mile, 0.0) * per_unit
    elif isinstance(branch, Transformer):
        on_base = (branch.kv_low / end.kv_base) ** 2 * 3 / (branch.kva / KILO) / 100
        matrix = (branch.r_percent + 1j * branch.x_percent) * on_base * np.eye(3)
    return matrix if end.grounded else np.asarray(CENTERING @ matrix @ CENTERING)


def _charging_of(feeder: Feeder, line: Line, bus: Bus) -> Real:
    """(3, 3) susceptance of half a line per unit.

    A common term in all places moves no current where voltages add up to zero, so three-wire sections take
    the mean off the mutual terms.
    """
    present = np.array([x in line.phases for x in PHASES])
    per_mile = np.where(
        np.outer(present, present), np.array(feeder.code_by_name[line.code].b_us_per_mile), 0.0
    )
    if not bus.grounded:
        per_mile = per_mile - per_mile[~np.eye(3, dtype=bool)].mean()
    return np.asarray(per_mile * 1e-6 * line.length_ft / FEET_PER_MILE / 2 * bus.kv_base**2 / 3)


def _numbering(
    buses: tuple[Bus, ...], names: tuple[str, ...], phases: NDArray[np.bool_], coupled: NDArray[np.bool_]
) -> tuple[Index, Index, Index, Index, Index, Index, tuple[str, ...]]:
    """Indices of the states (flows entering branches, flows after couplings, squared voltages) and nodes."""
    states: list[str] = []

    def number(kind: str, owners: tuple[str, ...], mask: NDArray[np.bool_]) -> Index:
        index = np.full(mask.shape, -1, dtype=np.intp)
        for k, x in zip(*np.nonzero(mask), strict=True):
            index[k, x] = len(states)
            states.append(f"{kind}[{owners[k]},{PHASES[x]}]")
        return index

    after = phases & coupled[:, None]
    p, q = number("p", names, phases), number("q", names, phases)
    pc, qc = number("p_after", names, after), number("q_after", names, after)
    u = number("u", tuple(b.name for b in buses), phases)
    node = np.where(phases, np.cumsum(phases).reshape(phases.shape) - 1, -1).astype(np.intp)
    uncoupled = ~coupled[:, None]
    return p, q, np.where(uncoupled, p, pc), np.where(uncoupled, q, qc), u, node, tuple(states)


def _no_load(source_pu: float, parent: Index, square: Real, phases: NDArray[np.bool_]) -> Real:
    """(n, 3) squared voltages without any current; 1 in the place of a missing phase."""
    u = np.full(phases.shape, source_pu**2)
    for k in range(1, len(u)):
        u[k] = np.where(phases[k], square[k] @ u[parent[k]], 1.0)
    return u


def _loads_of(feeder: Feeder, order: dict[str, int], line_square: Real) -> Loads:
    """Loads, and capacitors as constant-impedance loads that do not follow the load scale."""
    rows = [(x.bus, x.phases, x.model, complex(x.p_kw, x.q_kvar) / KILO, True) for x in feeder.loads]
    rows += [(x.bus, x.phases, "Z", complex(0.0, -x.kvar) / KILO, False) for x in feeder.capacitors]
    bus = np.array([order[r[0]] for r in rows], dtype=np.intp)
    square = [
        line_square[b, LEGS.index(r[1])] if len(r[1]) == 2 else np.eye(3)[PHASES.index(r[1])]
        for b, r in zip(bus, rows, strict=True)
    ]
    incidence = np.array([[(r[1][0] == x) - 1.0 * (r[1][1:] == x) for x in PHASES] for r in rows]).reshape(
        -1, 3
    )
    return Loads(
        bus=bus,
        power=np.array([r[3] for r in rows], dtype=complex),
        scaled=np.array([r[4] for r in rows], dtype=bool),
        model=tuple(r[2] for r in rows),
        incidence=incidence,
        touched=incidence != 0,
        square=np.array(square, dtype=float).reshape(-1, 3),
    )
