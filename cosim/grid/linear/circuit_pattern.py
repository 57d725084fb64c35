"""Where the numbers of the AC tangent stand for a feeder that is an OpenDSS circuit itself.

As for tables (:mod:`cosim.grid.linear.ac_pattern`), with three differences: a bus may have further nodes (a neutral
conductor of its own, whatever else), demand on a phase returns to that neutral, and the source is not stiff: what it
gives is its own current at a voltage that moves.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cosim.grid.feeder.arrays import FEEDERS_KEPT, SOURCE
from cosim.grid.feeder.circuit import CircuitFeeder, Wiring, voltage_places
from cosim.grid.feeder.feeder import PLACE
from cosim.grid.linear.ac_pattern import Pattern, numbering, picked, picks

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Index = NDArray[np.intp]


def parts_drawn(feeder: CircuitFeeder, phasors: Complex, load_scale: float) -> tuple[Index, Real, Real, Complex, Real]:
    """Row, incidence on the row's places, rated voltage, power and exponent of everything that is drawn already.

    Args:
        phasors: (rows, places) voltages at the operating point, at which the parts' laws are taken.
    """
    d = feeder.wiring.draws
    e = d.incidence(phasors.shape[1])
    across = (e * np.nan_to_num(phasors[d.bus])).sum(axis=1)
    part, power, exponent = d.terms(across, load_scale * feeder.wiring.load_mult)
    return d.bus[part], e[part], d.rated[part], power, exponent


@lru_cache(maxsize=FEEDERS_KEPT)
def circuit_pattern(feeder: CircuitFeeder) -> Pattern:
    """The pattern of a circuit (computed once per feeder)."""
    if not feeder.at_script:
        return _moved(circuit_pattern(feeder.as_in_script()), feeder)
    w, buses = feeder.wiring, feeder.buses
    row = feeder.bus_order
    three_wire = np.zeros(len(w.place), dtype=bool)
    three_wire[: len(buses)] = [not b.grounded and len(b.phases) == 3 for b in buses]
    direct, pairs = _demand(feeder)
    nodes = (*(label for label, _ in direct), *(label for label, _, _ in pairs))
    node = np.array([n for _, n in direct], dtype=np.intp)
    rows, columns, share = _shares(feeder, direct, three_wire)
    ends = np.array([(a, b) for _, a, b in pairs], dtype=np.intp).reshape(-1, 2)
    leg_rows, drawn = np.concatenate([ends[:, 0], ends[:, 1]]), np.concatenate([ends[:, 0], ends[:, 1]]) >= 0
    limited = [((b.name, x), w.place[row[b.name], i], -1 if k < 0 else w.place[row[b.name], k])
               for b in buses for x, i, k in voltage_places(b, w.neutral[row[b.name]])]  # fmt: skip
    voltages = tuple(label for label, _, _ in limited)
    fed = tuple((SOURCE, str(k)) for k in range(len(w.source_nodes)))
    numbers = numbering(w.nodes, nodes, voltages, (*w.flows, *fed))
    re, im, p, q, u, fp, fq, sp_, sq = numbers.states
    wires, entering = sp.coo_array(w.admittance), _entering(w)
    into = sp.coo_array(entering)
    upper = np.concatenate([w.place[w.flow_bus, w.flow_place], w.source_nodes])
    frames = _frames(feeder, upper, three_wire)
    here = np.arange(len(w.flows), len(upper))
    present = w.place >= 0
    block_bus, block_row, block_column = np.nonzero(present[:, :, None] & present[:, None, :])
    node_at = np.argwhere(present)[np.argsort(w.place[present])]
    full = [k for k, b in enumerate(buses) if len(b.phases) == 3]
    size = len(numbers.names)
    return Pattern(
        structure=feeder, rows=row, three_wire=three_wire, neutral=w.neutral,
        reading=np.arange(len(w.place)), places=w.place.shape[1], nodes=nodes, states=numbers.names,
        re=re, im=im, p=p, q=q, u=u, flow_p=fp, flow_q=fq, source_p=sp_[0], source_q=sq[0],
        wire_rows=wires.row, wire_columns=wires.col, wire_values=wires.data,
        stiffness=np.abs(w.admittance.diagonal()),
        block_rows=w.place[block_bus, block_row], block_columns=w.place[block_bus, block_column], block_bus=block_bus,
        block_row_place=block_row, block_column_place=block_column,
        node_bus=node_at[:, 0], node_place=node_at[:, 1],
        draw_rows=rows, draw_columns=columns, draw_node=node[columns], draw_share=share,
        leg_first=ends[:, 0], leg_second=ends[:, 1], leg_rows=leg_rows[drawn],
        leg_columns=np.tile(np.arange(len(ends)), 2)[drawn], leg_sign=np.repeat([1.0, -1.0], len(ends))[drawn],
        legs_from=len(direct),
        first=np.array([a for _, a, _ in limited], dtype=np.intp),
        second=np.array([b for _, _, b in limited], dtype=np.intp),
        voltage_scale=np.array([1 / 3 if not b.grounded else 1.0 for b in buses
                                for _ in voltage_places(b, -1)]),
        flow_node=upper, entering=entering, flow_rows=into.row, flow_columns=into.col, flow_values=into.data,
        frame_rows=frames[0], frame_columns=frames[1], frame_share=frames[2],
        source_nodes=np.zeros(0, dtype=np.intp), source_demand=np.zeros(0, dtype=np.intp), source_flows=here, fed=here,
        full=w.place[full][:, :3].reshape(-1, 3),
        unbalance_labels=tuple((buses[k].name, part) for k in full for part in ("re", "im")),
        demand_p=picks(size, p), demand_q=picks(size, q),
        import_p=picked(size, sp_, ((SOURCE, "p"),)), import_q=picked(size, sq, ((SOURCE, "q"),)),
        voltages=picked(size, u, voltages), flows_p=picked(size, fp[: len(w.flows)], w.flows),
        flows_q=picked(size, fq[: len(w.flows)], w.flows),
    )  # fmt: skip


def _moved(n: Pattern, feeder: CircuitFeeder) -> Pattern:
    """The pattern of a circuit where its devices stand elsewhere: numbers differ, their places do not."""
    w, entering = feeder.wiring, _entering(feeder.wiring)
    return replace(
        n, structure=feeder, wire_values=w.admittance.data, stiffness=np.abs(w.admittance.diagonal()),
        entering=entering, flow_values=entering.data, alike=n,
    )  # fmt: skip


def _entering(w: Wiring) -> sp.csr_array[np.complex128]:
    """Currents that enter the branches, and those that the source's inner impedance does not draw."""
    return sp.csr_array(sp.vstack([w.entering, -w.source_admittance]))


def _demand(
    feeder: CircuitFeeder,
) -> tuple[list[tuple[tuple[str, str], int]], list[tuple[tuple[str, str], int, int]]]:
    """Places for demand: at a node, against the ground or the centroid; and across two nodes.

    A phase of a bus without a neutral has demand of its own only where all three are there.
    """
    w, direct, pairs = feeder.wiring, [], []
    for k, bus in enumerate(feeder.buses):
        neutral = w.neutral[k]
        for x in bus.phases:
            at = int(w.place[k, PLACE[x]])
            if neutral >= 0 and bus.grounded:
                pairs.append(((bus.name, x), at, int(w.place[k, neutral])))
            elif bus.grounded or len(bus.phases) == 3:
                direct.append(((bus.name, x), at))
        for leg in bus.legs:
            first, second = (int(w.place[k, PLACE[x]]) for x in leg)
            pairs.append(((bus.name, leg), first, second))
    return direct, pairs


def _shares(
    feeder: CircuitFeeder, direct: list[tuple[tuple[str, str], int]], three_wire: NDArray[np.bool_]
) -> tuple[Index, Index, Real]:
    """(node, demand, share) of the current that a node draws for demand at a node of the same bus."""
    rows, columns, shares = [], [], []
    for k, ((bus, _), node) in enumerate(direct):
        row = feeder.bus_order[bus]
        for other in feeder.wiring.place[row, :3] if three_wire[row] else (node,):
            rows.append(int(other))
            columns.append(k)
            shares.append(float(other == node) - (1 / 3 if three_wire[row] else 0.0))
    return np.array(rows, dtype=np.intp), np.array(columns, dtype=np.intp), np.array(shares)


def _frames(
    feeder: CircuitFeeder, upper: Index, three_wire: NDArray[np.bool_]
) -> tuple[Index, Index, Real]:
    """The voltage at which a flow enters its branch, in the frame of its bus, as (flow, node, share) entries."""
    w = feeder.wiring
    rows, columns, shares = list(range(len(upper))), upper.tolist(), [1.0] * len(upper)
    for k, row in enumerate(w.flow_bus):
        against = w.place[row, :3] if three_wire[row] else w.place[row, w.neutral[row] : w.neutral[row] + 1]
        if three_wire[row] or w.neutral[row] >= 0:
            rows += [k] * len(against)
            columns += against.tolist()
            shares += [-1 / len(against)] * len(against)
    return np.array(rows, dtype=np.intp), np.array(columns, dtype=np.intp), np.array(shares)
