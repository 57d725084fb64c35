"""The admittance of a feeder's wires as OpenDSS has it: lines, transformers, regulators and capacitors.

Power is in MW per phase and voltage per unit of the nominal line-to-neutral voltage, so that S = v conj(Y v).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cosim.errors import RunFailure
from cosim.grid.feeder.arrays import FEEDERS_KEPT, Structure, branch_labels, structure_of
from cosim.grid.feeder.feeder import PLACE, Branch, Feeder, Line, Regulator
from cosim.grid.opendss.commands import circuit_commands, floating_neutrals
from cosim.grid.opendss.context import new_context

Complex = NDArray[np.complex128]


@dataclass(frozen=True, slots=True, eq=False)
class Admittance:
    """Linear part of a feeder.

    Attributes:
        network: (nn, nn) currents that leave the nodes into the wires, by node voltages; nodes of the structure.
        entering: (nf, nn) currents that enter the branches at their upper bus, by node voltages; rows in the order
            of :func:`cosim.grid.feeder.arrays.branch_labels`.
    """

    network: sp.csr_array[np.complex128]
    entering: sp.csr_array[np.complex128]


@lru_cache(maxsize=FEEDERS_KEPT)
def admittance_of(feeder: Feeder) -> Admittance:
    """Admittance of a feeder without its loads and generators (computed once per feeder).

    Raises:
        InputError: the feeder does not pass its check.
    """
    s = structure_of(feeder)
    dss = new_context()
    for command in circuit_commands(feeder, loads=False):
        dss.Text.Command(command)
    dss.Text.Command("solve mode=direct")
    where = {f"{bus.lower()}.{PLACE[x] + 1}": n for n, (bus, x) in enumerate(s.nodes)}
    base = np.array([b.kv_neutral for b in s.buses for _ in b.phases])
    values, indices, starts = dss.YMatrix.getYsparse()
    names = [name.lower() for name in dss.Circuit.YNodeOrder()]
    ends = {(t.name, side): bus for t in feeder.transformers for side, bus in (("high", t.from_bus), ("low", t.to_bus))}
    neutrals = {f"{ends[key].lower()}.{node}" for key, node in floating_neutrals(feeder).items()}
    if set(names) != set(where) | neutrals:
        raise RunFailure(f"feeder {feeder.name}: OpenDSS has other nodes than the tables")
    whole = sp.csc_array((values, indices, starts), shape=(len(names),) * 2)
    kept = np.array([k for k, name in enumerate(names) if name in where], dtype=np.intp)
    place = np.array([where[names[k]] for k in kept], dtype=np.intp)
    ours = sp.coo_array(_reduced(whole, kept) if neutrals else whole)
    rows, columns = place[ours.row], place[ours.col]
    entries = (ours.data * base[rows] * base[columns], (rows, columns))
    network = sp.csr_array(sp.coo_array(entries, shape=(len(where),) * 2))
    return Admittance(network, _entering(dss, feeder, s, where, base))


def _reduced(y: sp.csc_array[np.complex128], kept: NDArray[np.intp]) -> sp.csc_array[np.complex128]:
    """The admittance between some nodes where no current enters the others (Kron reduction)."""
    left = np.setdiff1d(np.arange(y.shape[0]), kept)
    out, back = y[kept][:, left], y[left][:, kept]
    inverse = sp.csc_array(np.linalg.inv(y[left][:, left].toarray()))
    return sp.csc_array(y[kept][:, kept] - out @ inverse @ back)


def _entering(
    dss: Any, feeder: Feeder, s: Structure, where: dict[str, int], base: NDArray[np.float64]
) -> sp.csr_array[np.complex128]:
    """Rows of the elements' own admittances at the upper bus of each branch."""
    branches = {b.name: b for b in feeder.branches}
    number = {label: k for k, label in enumerate(branch_labels(s))}
    rows, columns, values = [], [], []
    for name, above in zip(s.branches[1:], s.parent[1:], strict=True):
        upper = s.buses[above].name
        for element in _elements(branches[name]):
            dss.Circuit.SetActiveElement(element)
            buses = [bus.lower().split(".")[0] for bus in dss.CktElement.BusNames()]
            conductors = dss.CktElement.NumConductors()
            at = [
                where.get(f"{buses[c // conductors]}.{node}", -1) for c, node in enumerate(dss.CktElement.NodeOrder())
            ]
            own = np.asarray(dss.CktElement.YPrim(), dtype=float).view(complex).reshape(len(at), len(at))
            own = _without_neutral(own, [k for k, node in enumerate(dss.CktElement.NodeOrder()) if node and at[k] < 0])
            for i, node in enumerate(at):
                if node >= 0 and s.nodes[node][0] == upper:
                    row = number[name, s.nodes[node][1]]
                    rows.append(np.full(len(at), row))
                    columns.append(at)
                    values.append(own[i] * base[node])
    r, c, v = np.concatenate(rows), np.concatenate(columns), np.concatenate(values)
    kept = c >= 0  # the neutral, at no voltage
    entries = (v[kept] * base[c[kept]], (r[kept], c[kept]))
    return sp.csr_array(sp.coo_array(entries, shape=(len(number), len(base))))


def _without_neutral(own: Complex, floating: list[int]) -> Complex:
    """An element's admittance with no current from outside at its floating neutrals."""
    if not floating:
        return own
    through = own[:, floating] @ np.linalg.solve(own[np.ix_(floating, floating)], own[floating])
    return np.asarray(own - through)


def _elements(branch: Branch) -> list[str]:
    """Names in OpenDSS of the elements that make up a branch."""
    if isinstance(branch, Line):
        return [f"line.{branch.name}"]
    if isinstance(branch, Regulator):
        through = [f"line.{branch.name}-through"] if branch.connection == "open-delta" else []
        return [f"transformer.{branch.name}-{unit}" for unit in branch.taps] + through
    if branch.three_phase:
        return [f"transformer.{branch.name}"]
    return [f"transformer.{branch.name}-{high}" for high, _ in branch.windings]
