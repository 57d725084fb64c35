"""What is read off the states of LinDist3Flow: import, voltages, flows, and the tangent of unbalance."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cosim.constants import LEGS
from cosim.grid.feeder.arrays import FEEDERS_KEPT, SOURCE, Structure, branch_labels, voltage_labels
from cosim.grid.feeder.feeder import PLACE
from cosim.grid.feeder.phases import unbalance_slope
from cosim.grid.linear.flow_laws import Point
from cosim.grid.linear.network import Affine

Real = NDArray[np.float64]
Index = NDArray[np.intp]
_UNIT = np.eye(3)


@lru_cache(maxsize=FEEDERS_KEPT)
def same_everywhere(s: Structure) -> dict[str, Any]:
    """The parts of a network that depend neither on the load nor on the operating point."""
    return {
        "demand_p": _incidence(s, s.pc),
        "demand_q": _incidence(s, s.qc),
        "import_p": _picked(s, s.p[:1], ((SOURCE, "p"),), together=True),
        "import_q": _picked(s, s.q[:1], ((SOURCE, "q"),), together=True),
        "voltages": _voltages(s),
        "flows_p": _picked(s, s.p[1:], branch_labels(s)),
        "flows_q": _picked(s, s.q[1:], branch_labels(s)),
    }


def _incidence(s: Structure, rows: Index) -> sp.csc_array[np.float64]:
    """Demand of each node in the balance row of its bus-phase."""
    entries = (np.ones(len(s.nodes)), (rows[s.phases], s.node[s.phases]))
    return sp.csc_array(sp.coo_array(entries, shape=(len(s.states), len(s.nodes))))


def _rows(
    s: Structure, columns: Index, values: Real, constant: Real, labels: tuple[tuple[str, str], ...]
) -> Affine:
    """Affine outputs from (k, m) columns and values; index -1 is dropped, explicit zeros are kept."""
    kept = columns >= 0
    row = np.broadcast_to(np.arange(len(columns))[:, None], columns.shape)
    entries = (values[kept], (row[kept], columns[kept]))
    rows = sp.csr_array(sp.coo_array(entries, shape=(len(columns), len(s.states))))
    return Affine(rows, constant, labels)


def _picked(
    s: Structure, states: Index, labels: tuple[tuple[str, str], ...], together: bool = False
) -> Affine:
    """Outputs that are single states, or the sum of all of them."""
    columns = states[states >= 0]
    columns = columns[None, :] if together else columns[:, None]
    return _rows(s, columns, np.ones(columns.shape), np.zeros(len(columns)), labels)


def _voltages(s: Structure) -> Affine:
    columns, values = [], []
    for k, bus in enumerate(s.buses):
        for x in (PLACE[phase] for phase in bus.phases) if bus.grounded else range(len(LEGS)):
            columns.append(s.u[k])
            values.append(_UNIT[x] if bus.grounded else s.line_square[k, x])
    places = np.where(np.array(values) != 0, np.array(columns), -1)
    return _rows(s, places, np.array(values), np.zeros(len(values)), voltage_labels(s))


def unbalance_at(s: Structure, at: Point) -> tuple[Real, Real]:
    """Tangent of V2/V1 (percent) at each point, from the squared line-to-line voltages.

    Returns:
        (points, entries) values of the rows, and (points, rows) constants, for :func:`unbalance_rows`.
    """
    full, _, _ = _full_buses(s)
    square = np.einsum("...kab,...kb->...ka", at.line_square[:, full], at.u[:, full])
    value, gradient = unbalance_slope(square)
    by_u = np.einsum("...ka,...kab->...kb", gradient, at.line_square[:, full])
    rest = value - (by_u * at.u[:, full]).sum(axis=-1)
    values = 100 * np.stack([by_u.real, by_u.imag], axis=2).reshape(len(at.u), -1)
    return values, 100 * np.stack([rest.real, rest.imag], axis=2).reshape(len(at.u), -1)


def unbalance_rows(s: Structure, values: Real, constant: Real) -> Affine:
    """The outputs of one point from the values and constants of :func:`unbalance_at`."""
    _, columns, labels = _full_buses(s)
    starts, shape = np.arange(0, len(columns) + 1, 3), (len(labels), len(s.states))
    return Affine(sp.csr_array((values, columns, starts), shape=shape), constant, labels)


@lru_cache(maxsize=FEEDERS_KEPT)
def _full_buses(s: Structure) -> tuple[Index, Index, tuple[tuple[str, str], ...]]:
    """Three-phase buses, the states of their squared voltages (two rows each), and the labels of the rows."""
    full = np.flatnonzero(s.phases.all(axis=1))
    labels = tuple((s.buses[k].name, part) for k in full for part in ("re", "im"))
    return full, np.repeat(s.u[full], 2, axis=0).ravel(), labels
