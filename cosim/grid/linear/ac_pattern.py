"""Where the numbers of the AC tangent stand: states, nodes and blocks that no operating point changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cosim.constants import LEGS
from cosim.grid.feeder.arrays import FEEDERS_KEPT, SOURCE, Structure, branch_labels, structure_of, voltage_labels
from cosim.grid.feeder.circuit import CircuitFeeder
from cosim.grid.feeder.feeder import PLACE, Feeder
from cosim.grid.linear.network import Affine, Node
from cosim.grid.opendss.admittance import admittance_of

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Index = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """Indices of the tangent's states and entries; voltage nodes are those of the structure.

    Attributes:
        rows: row of each bus by name; three_wire, neutral: frames of the rows
            (:func:`cosim.grid.feeder.circuit.in_frames`); reading: which row of the circuit's phasors each is, which
            have so many places.
        nodes: where demand enters: the voltage nodes, then the legs of every bus.
        re, im: (nn,) states of the voltage changes; p, q: (nd,) of the demand; u: (nv,) of the squared voltages;
            flow_p, flow_q: (nf,); source_p, source_q: () of the import.
        wire_rows, wire_columns, wire_values: entries of the wires' admittance, source nodes left out as rows;
            stiffness: (nn,) magnitude of each node's own admittance.
        node_bus, node_place: (nn,) bus and place of each voltage node.
        block_rows, block_columns: pairs of nodes of one bus (not a stiff source's) with its index ``block_bus`` and the
            places.
        draw_rows, draw_columns: nodes that draw, and demand that they draw for, draw_node: voltage node of that demand;
            draw_share: the part of it.
        leg_first, leg_second: (nl,) voltage nodes of each leg, -1 the ground; leg_rows, leg_columns, leg_sign: where
            and with what sign the current of a leg (numbered among legs) is drawn, source nodes left out; legs_from:
            demand before them.
        first, second: (nv,) nodes that a voltage lies between (-1: the neutral); voltage_scale: (nv,).
        flow_node: (nf,) upper node of a flow; entering: its currents by node voltages, entry by entry in
            flow_rows, flow_columns, flow_values; frame_rows, frame_columns, frame_share: how the voltage in the
            frame of the upper bus follows from its nodes.
        source_nodes: voltage nodes that a stiff source holds; source_demand: its demand nodes; source_flows: flows
            that leave it; fed: those of them whose current OpenDSS says, because it is not in ``entering`` alone.
        full: (nb, 3) nodes of the three-phase buses.
        alike: the pattern whose numbers stand at the same places, devices elsewhere; None for the pattern itself.
    """

    structure: Structure | CircuitFeeder
    rows: Mapping[str, int]
    three_wire: NDArray[np.bool_]
    neutral: Index | None
    reading: Index
    places: int
    nodes: tuple[Node, ...]
    states: tuple[str, ...]
    re: Index
    im: Index
    p: Index
    q: Index
    u: Index
    flow_p: Index
    flow_q: Index
    source_p: Index
    source_q: Index
    wire_rows: Index
    wire_columns: Index
    wire_values: Complex
    stiffness: Real
    block_rows: Index
    block_columns: Index
    block_bus: Index
    block_row_place: Index
    block_column_place: Index
    node_bus: Index
    node_place: Index
    draw_rows: Index
    draw_columns: Index
    draw_node: Index
    draw_share: Real
    leg_first: Index
    leg_second: Index
    leg_rows: Index
    leg_columns: Index
    leg_sign: Real
    legs_from: int
    first: Index
    second: Index
    voltage_scale: Real
    flow_node: Index
    entering: sp.csr_array[np.complex128]
    flow_rows: Index
    flow_columns: Index
    flow_values: Complex
    frame_rows: Index
    frame_columns: Index
    frame_share: Real
    source_nodes: Index
    source_demand: Index
    source_flows: Index
    fed: Index
    full: Index
    unbalance_labels: tuple[tuple[str, str], ...]
    demand_p: sp.csc_array[np.float64]
    demand_q: sp.csc_array[np.float64]
    import_p: Affine
    import_q: Affine
    voltages: Affine
    flows_p: Affine
    flows_q: Affine
    alike: Pattern | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Numbering:
    """Names of all states, and the states of re, im, p, q, u, flow_p, flow_q and the import's p and q."""

    names: tuple[str, ...]
    states: tuple[Index, ...]


def numbering(
    voltage_nodes: Sequence[str], nodes: Sequence[Node], voltages: Sequence[Node], flows: Sequence[Node]
) -> Numbering:
    """States of the tangent, in its order."""
    nn, nd, nv, nf = len(voltage_nodes), len(nodes), len(voltages), len(flows)
    cuts = np.cumsum([0, nn, nn, nd, nd, nv, nf, nf, 1, 1])
    names = [f"{kind}[{node}]" for kind in ("re", "im") for node in voltage_nodes]
    names += [f"{kind}[{bus},{x}]" for kind in ("p", "q") for bus, x in nodes]
    names += [f"u[{bus},{x}]" for bus, x in voltages]
    names += [f"{kind}[{name},{x}]" for kind in ("flow_p", "flow_q") for name, x in flows]
    names += ["import_p", "import_q"]
    return Numbering(tuple(names), tuple(np.arange(a, b) for a, b in zip(cuts[:-1], cuts[1:], strict=True)))


@lru_cache(maxsize=FEEDERS_KEPT)
def pattern_of(feeder: Feeder) -> Pattern:
    """The pattern of a feeder (computed once per feeder).

    Raises:
        InputError: the feeder does not pass its check.
    """
    s = structure_of(feeder)
    admittance = admittance_of(feeder)
    voltages, flows = voltage_labels(s), branch_labels(s)
    nodes = (*s.nodes, *((bus.name, leg) for bus in s.buses for leg in bus.legs))
    nn = len(s.nodes)
    numbers = numbering([f"{bus},{x}" for bus, x in s.nodes], nodes, voltages, flows)
    re, im, p, q, u, fp, fq, sp_, sq = numbers.states
    source_nodes = s.node[0][s.node[0] >= 0]
    wires = sp.coo_array(admittance.network)
    inner = ~np.isin(wires.row, source_nodes)
    blocks = _blocks(s)
    leg_first, leg_second = _leg_nodes(s)
    leg_rows = np.concatenate([leg_first, leg_second])
    leg_inner = ~np.isin(leg_rows, source_nodes)
    leg_sign = np.repeat([1.0, -1.0], len(leg_first))
    source_name = s.buses[0].name
    first, second, scale = _voltage_nodes(s)
    in_frame = sp.csr_array(_without_mean(s) @ admittance.entering)
    entering = sp.coo_array(in_frame)
    upper, frame_rows, frame_columns, frame_share = _frames(s)
    node_bus, node_place = np.nonzero(s.phases)
    full, listed = s.node[s.phases.all(axis=1)], {bus.name: k for k, bus in enumerate(feeder.buses)}
    names = [b.name for b in s.buses if len(b.phases) == 3]
    size = len(numbers.names)
    return Pattern(
        structure=s, rows={bus.name: k for k, bus in enumerate(s.buses)}, three_wire=~s.grounded, neutral=None,
        reading=np.array([listed[bus.name] for bus in s.buses], dtype=np.intp), places=3,
        nodes=nodes, states=numbers.names, re=re, im=im, p=p, q=q, u=u, flow_p=fp, flow_q=fq,
        source_p=sp_[0], source_q=sq[0],
        wire_rows=wires.row[inner], wire_columns=wires.col[inner], wire_values=wires.data[inner],
        stiffness=np.abs(admittance.network.diagonal()),
        block_rows=blocks[0], block_columns=blocks[1], block_bus=blocks[2], block_row_place=blocks[3],
        block_column_place=blocks[4], node_bus=node_bus, node_place=node_place,
        draw_rows=blocks[0], draw_columns=blocks[1], draw_node=blocks[1], draw_share=blocks[5],
        leg_first=leg_first, leg_second=leg_second, leg_rows=leg_rows[leg_inner],
        leg_columns=np.tile(np.arange(len(leg_first)), 2)[leg_inner], leg_sign=leg_sign[leg_inner],
        legs_from=nn,
        first=first, second=second, voltage_scale=scale,
        flow_node=upper, entering=in_frame, flow_rows=entering.row, flow_columns=entering.col,
        flow_values=entering.data, frame_rows=frame_rows, frame_columns=frame_columns, frame_share=frame_share,
        source_nodes=source_nodes,
        source_demand=np.array([k for k, node in enumerate(nodes) if node[0] == source_name], dtype=np.intp),
        source_flows=np.flatnonzero(np.isin(upper, source_nodes)), fed=np.zeros(0, dtype=np.intp),
        full=full, unbalance_labels=tuple((name, part) for name in names for part in ("re", "im")),
        demand_p=picks(size, p), demand_q=picks(size, q),
        import_p=picked(size, sp_, ((SOURCE, "p"),)), import_q=picked(size, sq, ((SOURCE, "q"),)),
        voltages=picked(size, u, voltages), flows_p=picked(size, fp, flows), flows_q=picked(size, fq, flows),
    )  # fmt: skip


def _blocks(s: Structure) -> tuple[Index, Index, Index, Index, Index, Real]:
    """All pairs of nodes of one bus, the source's left out, with the share of demand current."""
    pairs = s.phases[:, :, None] & s.phases[:, None, :]
    pairs[0] = False
    bus, row, column = np.nonzero(pairs)
    same = (row == column).astype(float)
    share = np.where(s.grounded[bus], same, same - 1 / 3)
    return s.node[bus, row], s.node[bus, column], bus, row, column, share


def _leg_nodes(s: Structure) -> tuple[Index, Index]:
    pairs = [(s.node[k, PLACE[leg[0]]], s.node[k, PLACE[leg[1]]]) for k, bus in enumerate(s.buses) for leg in bus.legs]
    both = np.array(pairs, dtype=np.intp).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _voltage_nodes(s: Structure) -> tuple[Index, Index, Real]:
    first, second, scale = [], [], []
    for k, bus in enumerate(s.buses):
        for label in bus.phases if bus.grounded else LEGS:
            first.append(s.node[k, PLACE[label[0]]])
            second.append(s.node[k, PLACE[label[1]]] if len(label) == 2 else -1)
            scale.append(s.line_scale[k] if len(label) == 2 else 1.0)
    return np.array(first, dtype=np.intp), np.array(second, dtype=np.intp), np.array(scale)


def _frames(s: Structure) -> tuple[Index, Index, Index, Real]:
    """Upper node of every flow, and the voltage in the frame of its bus as (flow, node, share) entries."""
    upper: list[int] = []
    rows: list[int] = []
    columns: list[int] = []
    shares: list[float] = []
    for k in range(1, len(s.buses)):
        above = s.parent[k]
        for x in np.flatnonzero(s.p[k] >= 0):
            row, node = len(upper), s.node[above, x]
            upper.append(node)
            if s.grounded[above]:
                rows.append(row)
                columns.append(node)
                shares.append(1.0)
                continue
            for other in s.node[above]:
                rows.append(row)
                columns.append(other)
                shares.append((other == node) - 1 / 3)
    return (
        np.array(upper, dtype=np.intp), np.array(rows, dtype=np.intp), np.array(columns, dtype=np.intp),
        np.array(shares),
    )  # fmt: skip


def _without_mean(s: Structure) -> sp.csr_array[np.float64]:
    """(nf, nf) takes the mean from the three currents of a branch that enter it at a three-wire bus.

    What charges a line against the ground flows in all three phases alike; it carries no power in the frame of
    such a bus, and the per-phase flows of LinDist3Flow leave it out too.
    """
    blocks = []
    for k in range(1, len(s.buses)):
        count = int((s.p[k] >= 0).sum())
        mean = 0.0 if s.grounded[s.parent[k]] or count < 3 else 1 / 3
        blocks.append(np.eye(count) - mean)
    return sp.csr_array(sp.block_diag(blocks))


def picks(size: int, states: Index) -> sp.csc_array[np.float64]:
    """(size, k) a unit in each of some states."""
    entries = (np.ones(len(states)), (states, np.arange(len(states))))
    return sp.csc_array(sp.coo_array(entries, shape=(size, len(states))))


def picked(size: int, states: Index, labels: tuple[tuple[str, str], ...]) -> Affine:
    """Outputs that are single states."""
    return Affine(sp.csr_array(picks(size, states).T), np.zeros(len(states)), labels)
