"""Where the numbers of the AC tangent stand: states, nodes and blocks that no operating point changes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cosim.constants import LEGS
from cosim.grid.feeder.arrays import FEEDERS_KEPT, SOURCE, Structure, branch_labels, structure_of, voltage_labels
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
        nodes: where demand enters: the voltage nodes, then the legs of every bus.
        re, im: (nn,) states of the voltage changes; p, q: (nd,) of the demand; u: (nv,) of the squared voltages;
            flow_p, flow_q: (nf,); source_p, source_q: () of the import.
        wire_rows, wire_columns, wire_values: entries of the wires' admittance, source nodes left out as rows;
            stiffness: (nn,) magnitude of each node's own admittance.
        block_rows, block_columns: pairs of nodes of one bus (not the source's) with its index ``block_bus`` and the
            places; block_share: part of the column node's demand current that the row node draws.
        leg_first, leg_second: (nl,) voltage nodes of each leg; leg_rows, leg_columns, leg_sign: where and with
            what sign the current of a leg (numbered among legs) is drawn, source nodes left out.
        first, second: (nv,) nodes that a voltage lies between (-1: the neutral); voltage_scale: (nv,).
        flow_node: (nf,) upper node of a flow; entering: its currents by node voltages, entry by entry in
            flow_rows, flow_columns, flow_values; frame_rows, frame_columns, frame_share: how the voltage in the
            frame of the upper bus follows from its nodes.
        source_nodes: voltage nodes of the source; source_demand: its demand nodes; source_flows: flows that
            leave it. full: (nb, 3) nodes of the
            three-phase buses.
    """

    structure: Structure
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
    block_share: Real
    leg_first: Index
    leg_second: Index
    leg_rows: Index
    leg_columns: Index
    leg_sign: Real
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
    full: Index
    unbalance_labels: tuple[tuple[str, str], ...]
    demand_p: sp.csc_array[np.float64]
    demand_q: sp.csc_array[np.float64]
    import_p: Affine
    import_q: Affine
    voltages: Affine
    flows_p: Affine
    flows_q: Affine


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
    nn, nd, nv, nf = len(s.nodes), len(nodes), len(voltages), len(flows)
    cuts = np.cumsum([0, nn, nn, nd, nd, nv, nf, nf, 1, 1])
    re, im, p, q, u, fp, fq, sp_, sq = (np.arange(a, b) for a, b in zip(cuts[:-1], cuts[1:], strict=True))
    states = [f"{kind}[{bus},{x}]" for kind in ("re", "im") for bus, x in s.nodes]
    states += [f"{kind}[{bus},{x}]" for kind in ("p", "q") for bus, x in nodes]
    states += [f"u[{bus},{x}]" for bus, x in voltages]
    states += [f"{kind}[{name},{x}]" for kind in ("flow_p", "flow_q") for name, x in flows]
    states += ["import_p", "import_q"]
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
    full = s.node[s.phases.all(axis=1)]
    names = [b.name for b in s.buses if len(b.phases) == 3]
    size = len(states)
    return Pattern(
        structure=s, nodes=nodes, states=tuple(states), re=re, im=im, p=p, q=q, u=u, flow_p=fp, flow_q=fq,
        source_p=sp_[0], source_q=sq[0],
        wire_rows=wires.row[inner], wire_columns=wires.col[inner], wire_values=wires.data[inner],
        stiffness=np.abs(admittance.network.diagonal()),
        block_rows=blocks[0], block_columns=blocks[1], block_bus=blocks[2], block_row_place=blocks[3],
        block_column_place=blocks[4], block_share=blocks[5],
        leg_first=leg_first, leg_second=leg_second, leg_rows=leg_rows[leg_inner],
        leg_columns=np.tile(np.arange(len(leg_first)), 2)[leg_inner], leg_sign=leg_sign[leg_inner],
        first=first, second=second, voltage_scale=scale,
        flow_node=upper, entering=in_frame, flow_rows=entering.row, flow_columns=entering.col,
        flow_values=entering.data, frame_rows=frame_rows, frame_columns=frame_columns, frame_share=frame_share,
        source_nodes=source_nodes,
        source_demand=np.array([k for k, node in enumerate(nodes) if node[0] == source_name], dtype=np.intp),
        source_flows=np.flatnonzero(np.isin(upper, source_nodes)),
        full=full, unbalance_labels=tuple((name, part) for name in names for part in ("re", "im")),
        demand_p=_picks(size, p), demand_q=_picks(size, q),
        import_p=_picked(size, sp_, ((SOURCE, "p"),)), import_q=_picked(size, sq, ((SOURCE, "q"),)),
        voltages=_picked(size, u, voltages), flows_p=_picked(size, fp, flows), flows_q=_picked(size, fq, flows),
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


def _picks(size: int, states: Index) -> sp.csc_array[np.float64]:
    entries = (np.ones(len(states)), (states, np.arange(len(states))))
    return sp.csc_array(sp.coo_array(entries, shape=(size, len(states))))


def _picked(size: int, states: Index, labels: tuple[tuple[str, str], ...]) -> Affine:
    return Affine(sp.csr_array(_picks(size, states).T), np.zeros(len(states)), labels)
