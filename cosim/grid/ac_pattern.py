"""Where the numbers of the AC tangent stand: states, nodes and blocks that no operating point changes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cosim.grid.admittance import admittance_of
from cosim.grid.feeder import LEGS, PLACE, Feeder
from cosim.grid.linear import Affine
from cosim.grid.structure import SOURCE, Structure, branch_labels, structure_of, voltage_labels

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Index = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """Indices of the tangent's states and entries; nodes are those of the structure.

    Attributes:
        re, im: (nn,) states of the voltage changes; p, q: (nn,) of the demand; u: (nv,) of the squared voltages;
            flow_p, flow_q: (nf,); source_p, source_q: () of the import.
        wire_rows, wire_columns, wire_values: entries of the wires' admittance, source nodes left out as rows;
            stiffness: (nn,) magnitude of each node's own admittance.
        block_rows, block_columns: pairs of nodes of one bus (not the source's) with its index ``block_bus`` and the
            places; block_share: part of the column node's demand current that the row node draws.
        first, second: (nv,) nodes that a voltage lies between (-1: the neutral); voltage_scale: (nv,).
        flow_node: (nf,) upper node of a flow; entering: its currents by node voltages, entry by entry in
            flow_rows, flow_columns, flow_values; frame_rows, frame_columns, frame_share: how the voltage in the
            frame of the upper bus follows from its nodes.
        source_nodes: nodes of the source; source_flows: flows that leave it. full: (nb, 3) nodes of the
            three-phase buses.
    """

    structure: Structure
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


@lru_cache(maxsize=8)
def pattern_of(feeder: Feeder) -> Pattern:
    """The pattern of a feeder (computed once per feeder).

    Raises:
        InputError: the feeder does not pass its check.
    """
    s = structure_of(feeder)
    admittance = admittance_of(feeder)
    voltages, flows = voltage_labels(s), branch_labels(s)
    nn, nv, nf = len(s.nodes), len(voltages), len(flows)
    cuts = np.cumsum([0, nn, nn, nn, nn, nv, nf, nf, 1, 1])
    re, im, p, q, u, fp, fq, sp_, sq = (np.arange(a, b) for a, b in zip(cuts[:-1], cuts[1:], strict=True))
    states = [f"{kind}[{bus},{x}]" for kind in ("re", "im", "p", "q") for bus, x in s.nodes]
    states += [f"u[{bus},{x}]" for bus, x in voltages]
    states += [f"{kind}[{name},{x}]" for kind in ("flow_p", "flow_q") for name, x in flows]
    states += ["import_p", "import_q"]
    source_nodes = s.node[0][s.node[0] >= 0]
    wires = sp.coo_array(admittance.network)
    inner = ~np.isin(wires.row, source_nodes)
    blocks = _blocks(s)
    first, second, scale = _voltage_nodes(s)
    entering = sp.coo_array(admittance.entering)
    upper, frame_rows, frame_columns, frame_share = _frames(s)
    full = s.node[s.phases.all(axis=1)]
    names = [b.name for b in s.buses if len(b.phases) == 3]
    size = len(states)
    return Pattern(
        structure=s, states=tuple(states), re=re, im=im, p=p, q=q, u=u, flow_p=fp, flow_q=fq,
        source_p=sp_[0], source_q=sq[0],
        wire_rows=wires.row[inner], wire_columns=wires.col[inner], wire_values=wires.data[inner],
        stiffness=np.abs(admittance.network.diagonal()),
        block_rows=blocks[0], block_columns=blocks[1], block_bus=blocks[2], block_row_place=blocks[3],
        block_column_place=blocks[4], block_share=blocks[5],
        first=first, second=second, voltage_scale=scale,
        flow_node=upper, entering=admittance.entering, flow_rows=entering.row, flow_columns=entering.col,
        flow_values=entering.data, frame_rows=frame_rows, frame_columns=frame_columns, frame_share=frame_share,
        source_nodes=source_nodes, source_flows=np.flatnonzero(np.isin(upper, source_nodes)),
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


def _picks(size: int, states: Index) -> sp.csc_array[np.float64]:
    entries = (np.ones(len(states)), (states, np.arange(len(states))))
    return sp.csc_array(sp.coo_array(entries, shape=(size, len(states))))


def _picked(size: int, states: Index, labels: tuple[tuple[str, str], ...]) -> Affine:
    return Affine(sp.csr_array(_picks(size, states).T), np.zeros(len(states)), labels)
