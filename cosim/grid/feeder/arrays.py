"""A feeder as arrays over branches and phases, in which its linear power-flow equations are written.

Power is in MW per phase, voltage per unit of the nominal line-to-neutral voltage, so the base of impedance is
its square in kV, ohm. Arrays have three places per bus or branch, for phases a, b, c (or 1, 2 behind a centre
tap); the index of a missing phase is -1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cosim.constants import KILO, LEGS, PHASES
from cosim.grid.feeder.banks import across, bank_of
from cosim.grid.feeder.check import check_feeder
from cosim.grid.feeder.feeder import FEET_PER_MILE, PLACE, SPLIT, Branch, Bus, Feeder, Line, Load
from cosim.grid.feeder.phases import CENTERING, NOMINAL, NOMINAL_SPLIT

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Index = NDArray[np.intp]
SOURCE = "source"
"""Name of the branch that stands for the source in the names of states."""
FEEDERS_KEPT = 32
"""Of how many feeders the arrays are kept: a day's worth of one whose devices move every hour, and some more."""
LEG_PLACE = {**{leg: k for k, leg in enumerate(LEGS)}, "12": 0}


@dataclass(frozen=True, slots=True, eq=False)
class Loads:
    """Loads, capacitors and generators: one row each, or one for P and one for Q where these follow voltage apart.

    Attributes:
        bus: index of the bus; power: MW + j Mvar at nominal voltage; scaled: follows the load scale.
        exponent: (n,) power of the voltage across it that it follows.
        incidence: (n, 3) +1 at the phase (the leg's first), -1 at the leg's second; touched: where not 0.
        leg: place of the leg among ab, bc, ca; -1 for a phase.
        square: (n, 3) row that gives the squared voltage across the load from u of its bus, nominally.
    """

    bus: Index
    power: Complex
    scaled: NDArray[np.bool_]
    exponent: Real
    incidence: Real
    touched: NDArray[np.bool_]
    leg: Index
    square: Real


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """Arrays of a feeder. Branch k feeds bus k (in order of distance from the source); 0 is the source.

    Attributes:
        buses: in breadth-first order; branches: names in the same order.
        parent: bus that feeds each bus; -1 for the source.
        levels: buses by their distance from the source.
        phases: (n, 3) True where a bus has the phase. grounded: (n,).
        nominal: (n, 3) nominal phasors, each bus in a frame of its own.
        coupling: (n, 3, 3) ideal voltage ratio V_after = K V_parent; coupled: where K is not the identity.
        mixing: where K mixes phases, so that squares behind it depend on angles.
        square: (n, 3, 3) map of squared magnitudes that goes with the coupling, nominally.
        impedance: (n, 3, 3) per unit, after the coupling.
        shunt: (n, 3, 3) shunt admittance at each bus, per unit.
        line_square: (n, 3, 3) squared line-to-line voltages (ab, bc, ca; or 12) from u, nominally;
            line_scale: (n,) square of the nominal voltage to neutral over that between phases.
        p, q: (n, 3) state index of the flow entering a branch, by the phases of its upper bus; pc, qc: of the
            flow after its coupling, by those of its own bus (the same states where there is no coupling).
        u: (n, 3) state index of the squared voltages; node: (n, 3) index of each bus-phase among the nodes.
        source_pu: voltage of the source; no_load: (n, 3) squared voltages that it alone makes.
    """

    buses: tuple[Bus, ...]
    branches: tuple[str, ...]
    parent: Index
    levels: tuple[Index, ...]
    phases: NDArray[np.bool_]
    grounded: NDArray[np.bool_]
    nominal: Complex
    coupling: Real
    coupled: NDArray[np.bool_]
    mixing: NDArray[np.bool_]
    square: Real
    impedance: Complex
    shunt: Complex
    line_square: Real
    line_scale: Real
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


def voltage_labels(s: Structure) -> tuple[tuple[str, str], ...]:
    """What limits apply to: (bus, leg) in three-wire sections, (bus, phase) where a neutral is present."""
    return tuple((bus.name, x) for bus in s.buses for x in (bus.phases if bus.grounded else LEGS))


def branch_labels(s: Structure) -> tuple[tuple[str, str], ...]:
    """(branch, phase of its upper bus) of every flow that enters a branch."""
    upper = [s.buses[k] for k in s.parent[1:]]
    return tuple(
        (name, x)
        for name, bus, sent in zip(s.branches[1:], upper, s.p[1:], strict=True)
        for x in bus.phases
        if sent[PLACE[x]] >= 0
    )


@lru_cache(maxsize=FEEDERS_KEPT)
def structure_of(feeder: Feeder) -> Structure:
    """Arrays of a feeder (computed once per feeder).

    Raises:
        InputError: the feeder does not pass its check.
    """
    check_feeder(feeder)
    buses, branches, parent = _ordered(feeder)
    grounded = np.array([b.grounded for b in buses])
    split = np.array([b.split for b in buses])
    phases = np.array([[x in b.phases for x in (SPLIT if b.split else PHASES)] + [False] * b.split for b in buses])
    coupling, impedance, shunt = _series_and_shunt(feeder, buses, branches, parent, grounded)
    present = phases[:, :, None] & phases[np.maximum(parent, 0)][:, None, :]
    off_identity = present & (coupling != np.eye(3))
    coupled = off_identity.any(axis=(1, 2))
    mixing = (off_identity & ~np.eye(3, dtype=bool)).any(axis=(1, 2))
    names = tuple(SOURCE if b is None else b.name for b in branches)
    entering = np.where(coupled[:, None], (present & (coupling != 0)).any(axis=1), phases)
    p, q, pc, qc, u, node, states = _numbering(buses, names, parent, phases, entering, coupled)
    order = {b.name: i for i, b in enumerate(buses)}
    nodes = tuple((b.name, x) for b in buses for x in b.phases)
    levels = _levels(parent)
    nominal = np.where(split[:, None], NOMINAL_SPLIT, NOMINAL)
    scale = np.array([(b.kv_neutral / b.kv_base) ** 2 for b in buses])
    square = square_map(coupling, products(nominal, grounded)[np.maximum(parent, 0)])
    line_square = line_squares(products(nominal, grounded), scale)
    return Structure(
        buses, names, parent, levels, phases, grounded, nominal, coupling, coupled, mixing, square, impedance, shunt,
        line_square, scale, p, q, pc, qc, u, node, _loads_of(feeder, order, line_square),
        feeder.source_pu,
        _no_load(feeder.source_pu, levels, parent, square, phases), states, nodes,
    )  # fmt: skip


def _series_and_shunt(
    feeder: Feeder,
    buses: tuple[Bus, ...],
    branches: tuple[Branch | None, ...],
    parent: Index,
    grounded: NDArray[np.bool_],
) -> tuple[Real, Complex, Complex]:
    """Coupling and impedance of each branch and shunt admittance at each bus, all (n, 3, 3), per unit."""
    n = len(buses)
    coupling = np.tile(np.eye(3), (n, 1, 1))
    impedance, shunt = np.zeros((n, 3, 3), dtype=complex), np.zeros((n, 3, 3), dtype=complex)
    at = np.array([k for k, b in enumerate(branches) if isinstance(b, Line)], dtype=np.intp)
    lines = [b for b in branches if isinstance(b, Line)]
    if lines:
        series, half = _lines_of(feeder, lines, np.array([buses[k].kv_neutral for k in at]), grounded[at])
        impedance[at] = series
        np.add.at(shunt, at, 1j * half)
        np.add.at(shunt, parent[at], 1j * half)
    for k, branch in enumerate(branches):
        if branch is not None and not isinstance(branch, Line):
            bank = bank_of(branch, buses[parent[k]], buses[k])
            coupling[k], impedance[k] = bank.coupling, bank.impedance
            shunt[k] += bank.shunt
            shunt[parent[k]] += bank.high_shunt
    return coupling, impedance, shunt


def _lines_of(feeder: Feeder, lines: list[Line], kv: Real, grounded: NDArray[np.bool_]) -> tuple[Complex, Real]:
    """Series impedance and susceptance of half of each line, (k, 3, 3) per unit.

    In three-wire sections currents add up to zero, so the impedance is Pi Z Pi; a common term in all places of
    the susceptance moves no current where voltages add up to zero, so there the mean is taken off its mutual
    terms.
    """
    place = {code.name: k for k, code in enumerate(feeder.line_codes)}
    used = np.array([place[line.code] for line in lines], dtype=np.intp)
    r, x, b = (
        np.array([getattr(code, key) for code in feeder.line_codes])[used]
        for key in ("r_ohm_per_mile", "x_ohm_per_mile", "b_us_per_mile")
    )
    phases = np.zeros((len(lines), 3), dtype=bool)
    for k, line in enumerate(lines):
        phases[k, [PLACE[x] for x in line.phases]] = True
    present = phases[:, :, None] & phases[:, None, :]
    miles = np.array([line.length_ft for line in lines]) / FEET_PER_MILE
    series = np.where(present, r + 1j * x, 0.0) * (miles / kv**2)[:, None, None]
    half = np.where(present, b, 0.0)
    series = np.where(grounded[:, None, None], series, CENTERING @ series @ CENTERING)
    mutual = half[:, ~np.eye(3, dtype=bool)].mean(axis=1)
    half = half - np.where(grounded, 0.0, mutual)[:, None, None]
    return np.asarray(series), np.asarray(half * (1e-6 / 2 * miles * kv**2)[:, None, None])


def _levels(parent: Index) -> tuple[Index, ...]:
    """Buses by the number of branches between them and the source (they stand breadth first)."""
    depth = np.zeros(len(parent), dtype=np.intp)
    for k in range(1, len(parent)):
        depth[k] = depth[parent[k]] + 1
    cuts = np.flatnonzero(np.diff(depth)) + 1
    return tuple(np.split(np.arange(len(parent), dtype=np.intp), cuts))


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


def products(v: Complex, grounded: NDArray[np.bool_]) -> Real:
    """(..., n, 3, 3) rows that give 2 Re(V_a conj V_b) for ab, bc, ca (or 12, first) from the squares u of a bus.

    In a three-wire section it is u_c - u_a - u_b, exactly. Where a neutral is present it is 2 |V_a| |V_b| cos
    of the angle between the phasors ``v`` (..., n, 3), with the tangent of |V_a| |V_b| at ``v``.
    """
    following = np.roll(v, -1, axis=-1)
    cosine = (v * np.conj(following)).real / np.abs(v * following)
    ratio = np.abs(following) / np.abs(v)
    rows = np.zeros((*v.shape, 3))
    for k in range(3):
        rows[..., k, k] = np.where(grounded, cosine[..., k] * ratio[..., k], -1.0)
        rows[..., k, (k + 1) % 3] = np.where(grounded, cosine[..., k] / ratio[..., k], -1.0)
        rows[..., k, (k + 2) % 3] = np.where(grounded, 0.0, 1.0)
    return rows


def line_squares(product: Real, scale: Real) -> Real:
    """(..., n, 3, 3) squared line-to-line voltages, |V_a - V_b|^2 = u_a + u_b - 2 Re(V_a conj V_b), from u."""
    ends = np.eye(3) + np.roll(np.eye(3), 1, axis=1)
    return np.asarray((ends - product) * scale[:, None, None])


def square_map(coupling: Real, product: Real) -> Real:
    """(..., 3, 3) map of squared magnitudes u that goes with V' = K V, by the products at the bus of V."""
    result = coupling**2
    for k in range(3):
        both = coupling[..., k] * coupling[..., (k + 1) % 3]
        result = result + both[..., :, None] * product[..., k, None, :]
    return np.asarray(result)


def _numbering(
    buses: tuple[Bus, ...],
    names: tuple[str, ...],
    parent: Index,
    phases: NDArray[np.bool_],
    entering: NDArray[np.bool_],
    coupled: NDArray[np.bool_],
) -> tuple[Index, Index, Index, Index, Index, Index, tuple[str, ...]]:
    """Indices of the states (flows entering branches, flows after couplings, squared voltages) and nodes."""
    states: list[str] = []
    own: list[tuple[str, ...]] = [(*SPLIT, "") if b.split else PHASES for b in buses]
    upper = [own[max(k, 0)] for k in parent]

    def number(
        kind: str, owners: tuple[str, ...], labels: list[tuple[str, ...]], mask: NDArray[np.bool_]
    ) -> Index:
        index = np.full(mask.shape, -1, dtype=np.intp)
        rows, places = np.nonzero(mask)
        index[mask] = np.arange(len(states), len(states) + len(rows))
        states.extend(f"{kind}[{owners[k]},{labels[k][x]}]" for k, x in zip(rows, places, strict=True))
        return index

    after = phases & coupled[:, None]
    p, q = number("p", names, upper, entering), number("q", names, upper, entering)
    pc, qc = number("p_after", names, own, after), number("q_after", names, own, after)
    u = number("u", tuple(b.name for b in buses), own, phases)
    node = np.where(phases, np.cumsum(phases).reshape(phases.shape) - 1, -1).astype(np.intp)
    uncoupled = ~coupled[:, None]
    return p, q, np.where(uncoupled, p, pc), np.where(uncoupled, q, qc), u, node, tuple(states)


def _no_load(
    source_pu: float, levels: tuple[Index, ...], parent: Index, square: Real, phases: NDArray[np.bool_]
) -> Real:
    """(n, 3) squared voltages without any current; 1 in the place of a missing phase."""
    u = np.full(phases.shape, source_pu**2)
    for level in levels[1:]:
        after = np.einsum("kab,kb->ka", square[level], u[parent[level]])
        u[level] = np.where(phases[level], after, 1.0)
    return u


def _powers_of(load: Load) -> list[tuple[complex, float]]:
    """Powers (kW + j kvar at nominal voltage) and exponents of the rows that a load is."""
    by_p, by_q = load.exponents
    if by_p == by_q:
        return [(complex(load.p_kw, load.q_kvar), by_p)]
    return [(complex(load.p_kw, 0.0), by_p), (complex(0.0, load.q_kvar), by_q)]


def _loads_of(feeder: Feeder, order: dict[str, int], line_square: Real) -> Loads:
    """Loads; capacitors as constant impedance and generators as constant power that ignore the load scale."""
    rows = [
        (x.bus, x.phases, exponent, power / KILO, True) for x in feeder.loads for power, exponent in _powers_of(x)
    ]
    rows += [(x.bus, x.phases, 2.0, complex(0.0, -x.kvar_on) / KILO, False) for x in feeder.capacitors]
    rows += [(x.bus, x.phases, 0.0, -complex(x.p_kw, x.q_kvar) / KILO, False) for x in feeder.generators]
    bus = np.array([order[r[0]] for r in rows], dtype=np.intp)
    incidence = np.array([across(r[1]) for r in rows]).reshape(-1, 3)
    leg = np.array([-1 if len(r[1]) == 1 else LEG_PLACE[r[1]] for r in rows], dtype=np.intp)
    square = np.where((leg < 0)[:, None], incidence**2, line_square[bus, leg])
    return Loads(
        bus=bus,
        power=np.array([r[3] for r in rows], dtype=complex),
        scaled=np.array([r[4] for r in rows], dtype=bool),
        exponent=np.array([r[2] for r in rows], dtype=float),
        incidence=incidence,
        touched=incidence != 0,
        leg=leg,
        square=square,
    )
