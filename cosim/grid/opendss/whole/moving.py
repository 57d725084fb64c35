"""Regulators and capacitors of an OpenDSS circuit that its own controls move: their positions, and the circuit there.

OpenDSS says what an element's admittance is at each of its positions; nothing here knows how a tap changes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cosim.grid.feeder.circuit import Movable, Wiring
from cosim.grid.feeder.feeder import Bus
from cosim.grid.opendss.importer.importer import CONTROLS
from cosim.grid.opendss.importer.naming import NODE_HALF, NODE_PHASE, listed
from cosim.grid.opendss.importer.reading import Properties, RawCircuit
from cosim.grid.opendss.whole.ends import Ends, entering_currents, upper_bus
from cosim.grid.opendss.whole.standing import SAME_TAP, is_open, states_of, tap_of

Complex = NDArray[np.complex128]
Index = NDArray[np.intp]
MOST_TAPS = 128
"""A regulator with more positions than this stays where it is."""


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    """An element that controls may move; see :class:`Movable`."""

    ends: Ends
    winding: int
    tap: float
    tap_step: float
    first: int
    standing: int
    commands: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Moves:
    """What controls move.

    Attributes:
        wired: the circuit with an entry, if only of nought, wherever what moves has a part.
        movable: what moves. controls: that move it. idle: controls in service that act in no run.
    """

    wired: Wiring
    movable: tuple[Movable, ...]
    controls: tuple[str, ...]
    idle: tuple[str, ...]


def controls_in_service(raw: RawCircuit) -> list[str]:
    """All controls of a circuit, as ``class.name``."""
    return [f"{kind}.{name}" for kind, elements in raw.elements.items() for name, p in elements.items()
            if p.get("Enabled", True) and (kind.endswith("control") or kind in CONTROLS)]  # fmt: skip


def moves_of(
    dss: Any, raw: RawCircuit, elements: Sequence[Ends], buses: Sequence[Bus], wired: Wiring,
    labels: Sequence[tuple[str, int]], distance: Mapping[str, int],
) -> Moves:  # fmt: skip
    """What the RegControls and CapControls of a circuit move.

    Args:
        dss: the context of the circuit, its devices where the script's own solution leaves them; afterwards they stand
            elsewhere.
        labels: (bus, node) of the nodes of ``wired``.
    """
    number = {label: k for k, label in enumerate(labels)}
    ends = {e.name: e for e in elements if all(node == 0 or (bus, node) in number for bus, node in e.at)}
    found: dict[str, _Candidate] = {}
    moving: list[str] = []
    bus_of = {bus.name: bus for bus in buses}
    for control, candidate in _candidates(dss, raw, ends):
        if candidate is None or not _unit(candidate, bus_of):
            continue
        if found.setdefault(candidate.ends.name, candidate).winding == candidate.winding:
            moving.append(control)
    idle = tuple(name for name in controls_in_service(raw) if name not in moving)
    if not found:
        return Moves(wired, (), (), idle)
    own = _own_admittances(dss, list(found.values()))
    number_of_flow = {label: k for k, label in enumerate(wired.flows)}
    parts = []
    for name, c in found.items():
        at = np.array([number.get(label, -1) for label in c.ends.at])
        kept = np.flatnonzero(at >= 0)
        rows, columns = (x.ravel() for x in np.meshgrid(at[kept], at[kept], indexing="ij"))
        scale = wired.base_kv[at[kept]]
        values = own[name][:, kept[:, None], kept] * scale[:, None] * scale
        flow_rows, flow_values = np.zeros((0, len(kept)), dtype=np.intp), np.zeros((len(c.commands), 0), dtype=complex)
        upper = upper_bus(c.ends, distance)
        flows = [number_of_flow[name, x] for x in ("a", "b", "c", "1", "2") if (name, x) in number_of_flow]
        if flows:
            entering = [entering_currents(c.ends, y, bus_of[upper], number, wired.base_kv) for y in own[name]]
            flow_values = np.array([[row[kept] for row in x.values()] for x in entering]).reshape(len(entering), -1)
            flow_rows = np.repeat(np.array(flows, dtype=np.intp)[:, None], len(kept), axis=1)
        parts.append((c, (rows, columns), values.reshape(len(values), -1),
                      (flow_rows.ravel(), np.tile(at[kept], len(flow_rows))), flow_values))  # fmt: skip
    admittance = _with_entries(wired.admittance, [p[1] for p in parts])
    entering_all = _with_entries(wired.entering, [p[3] for p in parts])
    movable = tuple(
        Movable(c.ends.name, "capacitor" if c.winding == 0 else "regulator", _unit(c, bus_of), c.winding, c.tap,
                c.tap_step, c.first, c.standing, c.commands, _entries(admittance, *at), values,
                _entries(entering_all, *flow_at), flow_values)
        for c, at, values, flow_at, flow_values in parts
    )  # fmt: skip
    return Moves(replace(wired, admittance=admittance, entering=entering_all), movable, tuple(moving), idle)


def _candidates(
    dss: Any, raw: RawCircuit, ends: Mapping[str, Ends]
) -> Iterator[tuple[str, _Candidate | None]]:
    """Each RegControl and CapControl in service with what it moves; None for what stays where it is."""
    for name, p in raw.of("regcontrol").items():
        if p["Enabled"]:
            transformer = str(p["Transformer"]).lower()
            e = ends.get(f"transformer.{transformer}")
            of = raw.of("transformer").get(transformer)
            whole = f"transformer.{transformer}" not in raw.open_conductors
            yield f"regcontrol.{name}", _regulator(dss, e, of, int(p["TapWinding"])) if e and of and whole else None
    for name, p in raw.of("capcontrol").items():
        if p["Enabled"]:
            e = ends.get(f"capacitor.{str(p['Capacitor']).lower()}")
            yield f"capcontrol.{name}", None if e is None or e.joins else _capacitor(dss, e)


def _regulator(dss: Any, e: Ends, p: Properties, winding: int) -> _Candidate | None:
    """A transformer whose tap moves; None if its taps are no steps."""
    lowest, highest, count = (float(listed(p[key])[winding - 1]) for key in ("MinTap", "MaxTap", "NumTaps"))
    if not 0 < count <= MOST_TAPS or highest <= lowest:
        return None
    step = (highest - lowest) / count
    tap = tap_of(dss, e.name, winding)
    standing = round((tap - (lowest + highest) / 2) / step)
    positions = np.arange(standing - MOST_TAPS, standing + MOST_TAPS + 1)
    taps = tap + (positions - standing) * step
    there = (taps >= lowest - SAME_TAP) & (taps <= highest + SAME_TAP)
    if not there[MOST_TAPS]:
        return None
    commands = tuple((f"{e.name}.wdg={winding} tap={x!r}",) for x in taps[there].tolist())
    return _Candidate(e, winding, tap, step, int(positions[there][0]), standing, commands)


def _capacitor(dss: Any, e: Ends) -> _Candidate | None:
    """A capacitor at one bus that is switched; None if other steps than its first ones are in service."""
    states = states_of(dss, e.name)
    on, steps = sum(states), len(states)
    opened = is_open(dss, e.name)
    if states != [1] * on + [0] * (steps - on) or (opened and on and steps > 1):
        return None
    commands = tuple(
        (f"{e.name}.states=[{' '.join(['1'] * k + ['0'] * (steps - k))}]", f"{'close' if k else 'open'} {e.name} 1")
        for k in range(steps + 1)
    )
    return _Candidate(e, 0, 0.0, 0.0, 0, 0 if opened else on, commands)


def _own_admittances(dss: Any, candidates: Sequence[_Candidate]) -> dict[str, Complex]:
    """(positions, conductors, conductors) admittance of each element at each of its positions, siemens."""
    own: dict[str, list[Complex]] = {c.ends.name: [] for c in candidates}
    for k in range(max(len(c.commands) for c in candidates)):
        here = [c for c in candidates if k < len(c.commands)]
        for c in here:
            for command in c.commands[k]:
                dss.Text.Command(command)
        dss.YMatrix.BuildYMatrixD(1, 0)
        for c in here:
            dss.Circuit.SetActiveElement(c.ends.name)
            y = np.asarray(dss.CktElement.YPrim(), dtype=float).view(complex)
            own[c.ends.name].append(y.reshape(len(c.ends.at), -1))
    return {name: np.array(found) for name, found in own.items()}


def _unit(c: _Candidate, buses: Mapping[str, Bus]) -> str:
    """The phases or the leg that the winding or the capacitor lies across."""
    per = len(c.ends.at) // len(c.ends.buses)
    start = per * max(c.winding - 1, 0)
    at = c.ends.at[start : start + per] if c.winding else c.ends.at
    bus = buses.get(at[0][0])
    letters = NODE_HALF if bus is not None and bus.split else NODE_PHASE
    found = "".join(sorted({letters[node] for _, node in at if node in letters}))
    return {"ac": "ca"}.get(found, found)


def _with_entries(
    matrix: sp.csr_array[np.complex128], at: Sequence[tuple[Index, Index]]
) -> sp.csr_array[np.complex128]:
    """A matrix with entries of nought wherever it has none at these rows and columns."""
    old = sp.coo_array(matrix)
    rows = np.concatenate([old.row, *(r for r, _ in at)])
    columns = np.concatenate([old.col, *(c for _, c in at)])
    data = np.concatenate([old.data, np.zeros(len(rows) - old.nnz, dtype=complex)])
    found = sp.csr_array(sp.coo_array((data, (rows, columns)), shape=matrix.shape))
    found.sort_indices()
    return found


def _entries(matrix: sp.csr_array[np.complex128], rows: Index, columns: Index) -> Index:
    """Places of entries in the data of a matrix with sorted columns."""
    width = matrix.shape[1]
    keys = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr)) * width + matrix.indices
    return np.asarray(np.searchsorted(keys, rows * width + columns), dtype=np.intp)
