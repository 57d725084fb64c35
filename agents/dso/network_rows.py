"""Rows of the clearing that the network enters: import, voltage limits, branch ratings and unbalance.

A row stands in the operator's own variables x (units, slacks, import) and in outputs w of the network::

    own @ x + outputs @ w  (= or <=)  rhs

The outputs of a :class:`LinearNetwork` are affine in its states, and its states in the injections. With the states as
variables this is the explicit clearing; with the states solved for, the reduced one. Both take the rows from here, so
each law is stated once, and prices follow from the duals of these rows alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cosim.constants import LEGS, PHASES
from cosim.grid.feeder.limits import KINDS
from cosim.grid.feeder.phases import LINE_TO_CENTROID
from cosim.grid.linear.network import Affine, LinearNetwork, alike

Real = NDArray[np.float64]
Index = NDArray[np.intp]
FLOW_POLYGON_SIDES = 12
_INSCRIBED = math.cos(math.pi / FLOW_POLYGON_SIDES)
PARTS = ("import", "voltage", "congestion", "unbalance")
"""What a row's dual is a part of: the first holds the equations of the import, the others limits and prices."""


@dataclass(frozen=True, slots=True)
class OutputChoice:
    """Which outputs of a network a clearing looks at, in this order: import P, import Q, all squared voltages, P and
    Q of some branch-phases, unbalance parts of some buses.

    Attributes:
        voltages: how many squared voltages; flows, unbalance: chosen rows of the network's outputs of that name.
    """

    voltages: int
    flows: Index
    unbalance: Index

    @property
    def count(self) -> int:
        """How many outputs."""
        return 2 + self.voltages + 2 * len(self.flows) + len(self.unbalance)

    def of(self, network: LinearNetwork) -> Affine:
        """The chosen outputs of a network as one block of rows."""
        own = self.own(network)
        return _together([*self._shared(network), *([] if own is None else [own])], len(network.states))

    def shared(self, network: LinearNetwork) -> Affine:
        """Those of the chosen outputs whose rows networks of one feeder have in common; the first ones."""
        return _together(self._shared(network), len(network.states))

    def own(self, network: LinearNetwork) -> Affine | None:
        """Those of the chosen outputs that depend on where a network is linearised; None if none is chosen."""
        return _some(network.unbalance, self.unbalance) if len(self.unbalance) else None

    def back(self, networks: Sequence[LinearNetwork], weights: Real) -> list[Real]:
        """Weights of the states of each network, (ny, k), from those of the chosen outputs, (outputs, networks, k)."""
        found: dict[int, Real] = {}
        for places in alike(networks):
            shared = self.shared(networks[places[0]]).rows
            above, below = weights[: shared.shape[0], places], weights[shared.shape[0] :, places]
            on_states = (shared.T @ above.reshape(len(above), -1)).reshape(-1, *above.shape[1:])
            for k, i in enumerate(places):
                own = self.own(networks[i])
                found[i] = on_states[:, k] if own is None else on_states[:, k] + own.rows.T @ below[:, k]
        return [found[i] for i in range(len(networks))]

    def _shared(self, network: LinearNetwork) -> list[Affine]:
        parts = [network.import_p, network.import_q, network.voltages]
        return parts + ([_some(a, self.flows) for a in (network.flows_p, network.flows_q)] if len(self.flows) else [])


@dataclass(frozen=True, slots=True)
class NetworkRows:
    """Rows of one kind (equalities or inequalities) in own variables and outputs.

    Attributes:
        names: of the rows; part: index into ``PARTS`` of each, (k,).
        own: (k, own variables); outputs: (k, outputs); rhs: (k,).
        family: (k,) rows of equal number can be compared with each other: they differ in outputs and rhs only.
        kind: (k,) index into ``KINDS`` of the limit that a row is a part of, -1 for none; of: (k,) which one of its
            kind; looser: (k,) by how much the right-hand side grows if the limit is loosened by one unit (of PVUR: per
            unit of the mean squared voltage).
    """

    names: tuple[str, ...]
    part: Index
    own: sp.csr_array[np.float64]
    outputs: sp.csr_array[np.float64]
    rhs: Real
    family: Index
    kind: Index
    of: Index
    looser: Real


@dataclass(frozen=True, slots=True)
class _Family:
    """Rows under construction: entries (row, column, value) in own variables and in outputs."""

    names: tuple[str, ...]
    part: str
    own: tuple[Index, Index, Real]
    outputs: tuple[Index, Index, Real]
    rhs: Real
    kind: str = ""
    of: Index | None = None
    looser: Real | float = 0.0


def choose_outputs(network: LinearNetwork, rated: Mapping[str, float], priced: Sequence[str]) -> OutputChoice:
    """Outputs for ratings of these branches and an unbalance price at these buses."""
    return OutputChoice(
        voltages=len(network.voltages.labels),
        flows=np.array([i for i, label in enumerate(network.flows_p.labels) if label[0] in rated], dtype=np.intp),
        unbalance=np.array([i for i, x in enumerate(network.unbalance.labels) if x[0] in priced], dtype=np.intp),
    )


def import_equation(kind: str, variable: int) -> _Family:
    """The import at the source, MW (``p``) or Mvar (``q``): own variable - output = 0."""
    zero, output = np.zeros(1, dtype=np.intp), np.array([{"p": 0, "q": 1}[kind]])
    own = (zero, np.array([variable]), np.ones(1))
    return _Family((f"import_{kind}_equation",), "import", own, (zero, output, -np.ones(1)), np.zeros(1))


def voltage_limits(
    choice: OutputChoice, low_slack: int, high_slack: int, v_min_pu: Real, v_max_pu: Real
) -> list[_Family]:
    """Squared voltage between its limits, softened by the worst violation of the step (one slack each way).

    Args:
        v_min_pu, v_max_pu: (voltages,) limits of each.
    """
    n = choice.voltages
    every, w = np.arange(n), 2 + np.arange(n)
    families = []
    for name, sign, slack, limit in (
        ("v_low", -1.0, low_slack, -(v_min_pu**2)),
        ("v_high", 1.0, high_slack, v_max_pu**2),
    ):
        families.append(
            _Family(
                names=tuple(f"{name}[{i}]:up" for i in range(n)),
                part="voltage",
                own=(every, np.full(n, slack), np.full(n, -1.0)),
                outputs=(every, w, np.full(n, sign)),
                rhs=limit,
                kind=f"voltage_{name[2:]}",
                of=every,
                looser=2 * np.sqrt(np.abs(limit)),
            )
        )
    return families


def branch_limits(choice: OutputChoice, slack: int, rating_mva: Real) -> list[_Family]:
    """Apparent power of each phase within a polygon inscribed in a third of its branch's rating, softened.

    Args:
        choice: its ``flows`` are the rated branch-phases.
        slack: own variable by which the worst rating of the step is exceeded (MVA).
        rating_mva: three-phase rating of the branch of each.
    """
    n = len(choice.flows)
    every = np.arange(n)
    p, q = 2 + choice.voltages + every, 2 + choice.voltages + n + every
    families = []
    for k in range(FLOW_POLYGON_SIDES):
        families.append(
            _Family(
                names=tuple(f"branch_limit[{i},{k}]:up" for i in choice.flows),
                part="congestion",
                own=(every, np.full(n, slack), np.full(n, -1.0)),
                outputs=(np.tile(every, 2), np.concatenate([p, q]), np.repeat(_side(k), n)),
                rhs=np.asarray(rating_mva) / 3 * _INSCRIBED,
                kind="rating",
                of=every,
                looser=_INSCRIBED,
            )
        )
    return families


def unbalance_equations(choice: OutputChoice, variables: Index) -> _Family:
    """Real and imaginary part of the (linearised) voltage unbalance factor in percent: own variable - output = 0."""
    n = len(choice.unbalance)
    every = np.arange(n)
    outputs = (every, choice.count - n + every, np.full(n, -1.0))
    names = tuple(f"unbalance_equation[{i}]" for i in choice.unbalance)
    return _Family(names, "unbalance", (every, np.asarray(variables), np.ones(n)), outputs, np.zeros(n))


def unbalance_limits(choice: OutputChoice, slack: int, limit_pct: float) -> list[_Family]:
    """(Linearised) V2/V1 of each bus within a polygon inscribed in the circle of the limit, percent, softened.

    Args:
        choice: its ``unbalance`` are real and imaginary part of one bus after the other.
        slack: own variable by which the worst limit of the step is exceeded (percent).
    """
    n = len(choice.unbalance) // 2
    every, first = np.arange(n), choice.count - len(choice.unbalance)
    real, imaginary = first + 2 * every, first + 2 * every + 1
    families = []
    for k in range(FLOW_POLYGON_SIDES):
        normal = _side(k)
        families.append(
            _Family(
                names=tuple(f"unbalance_limit[{i},{k}]:up" for i in choice.unbalance[::2]),
                part="unbalance",
                own=(every, np.full(n, slack), np.full(n, -1.0)),
                outputs=(np.tile(every, 2), np.concatenate([real, imaginary]), np.repeat(normal, n)),
                rhs=np.full(n, limit_pct * _INSCRIBED),
                kind="vuf",
                of=every,
                looser=_INSCRIBED,
            )
        )
    return families


def phase_rate_limits(
    labels: Sequence[tuple[str, str]], buses: Sequence[str], slack: int, limit_pct: float
) -> list[_Family]:
    """Phase voltage unbalance rate (PVUR) of three-phase buses: no magnitude farther from the mean, softened.

    With squared magnitudes u of mean m and a limit r the rows are (1 - 2r + r^2/2) m <= u <= (1 + 2r) m. They need no
    operating point and never allow more than the limit: magnitudes that deviate by up to r have squares whose mean is
    between 1 + r^2/2 and 1 + 2r^2/3 of the mean magnitude's square. On three-wire buses u are those of the centroid
    frame, linear in the squared line-to-line voltages.

    Args:
        labels: of the squared voltages, which are the outputs from the third on.
        buses: where it is limited; those without three phases have no such rate.
        slack: own variable by which the worst limit of the step is exceeded (percent; of u twice as much).
    """
    place = {label: 2 + i for i, label in enumerate(labels)}
    full = three_phase_squares(labels, buses)
    n, rate = 3 * len(full), limit_pct / 100
    every = np.arange(n)
    columns = np.array([[place[bus, x] for x in names] for bus, names, _ in full], dtype=np.intp).reshape(-1, 3)
    squares = np.array([u for _, _, u in full]).reshape(-1, 3, 3)
    mean = squares.mean(axis=1, keepdims=True)
    families = []
    for side, rows, looser in (
        ("high", squares - (1 + 2 * rate) * mean, 2 / 100),
        ("low", (1 - 2 * rate + rate**2 / 2) * mean - squares, (2 - rate) / 100),
    ):
        families.append(
            _Family(
                names=tuple(f"pvur_{side}[{bus},{k}]:up" for bus, _, _ in full for k in range(3)),
                part="unbalance",
                own=(every, np.full(n, slack), np.full(n, -2 / 100)),
                outputs=(np.repeat(every, 3), np.repeat(columns, 3, axis=0).ravel(), rows.ravel()),
                rhs=np.zeros(n),
                kind="pvur",
                of=every // 3,
                looser=looser,
            )
        )
    return families


def three_phase_squares(
    labels: Sequence[tuple[str, str]], buses: Sequence[str]
) -> list[tuple[str, Sequence[str], Real]]:
    """Those of some buses that have three phases: name, members of its squared voltages, and the matrix that makes the
    squared phase magnitudes of them."""
    known = set(labels)
    maps: tuple[tuple[Sequence[str], Real], ...] = ((PHASES, np.eye(3)), (LEGS, LINE_TO_CENTROID))
    return [(bus, names, u) for bus in buses for names, u in maps if all((bus, x) in known for x in names)]


def _side(k: int) -> Real:
    """(2,) unit normal of a side of the polygons that stand for circles."""
    angle = math.pi * (2 * k + 1) / FLOW_POLYGON_SIDES
    return np.array([math.cos(angle), math.sin(angle)])


def gather(families: Sequence[_Family], own: int, outputs: int) -> NetworkRows:
    """Families one below the other.

    Args:
        families: of equalities or of inequalities.
        own, outputs: how many own variables and outputs there are.
    """
    sizes = [len(f.names) for f in families]
    starts = np.cumsum([0, *sizes])

    def block(entries: Sequence[tuple[Index, Index, Real]], columns: int) -> sp.csr_array[np.float64]:
        row = np.concatenate(
            [np.zeros(0, dtype=np.intp), *(r + s for (r, _, _), s in zip(entries, starts, strict=False))]
        )
        column = np.concatenate([np.zeros(0, dtype=np.intp), *(c for _, c, _ in entries)])
        value = np.concatenate([np.zeros(0), *(v for _, _, v in entries)])
        return sp.csr_array(sp.coo_array((value, (row, column)), shape=(int(starts[-1]), columns)))

    return NetworkRows(
        names=tuple(name for f in families for name in f.names),
        part=np.repeat(np.array([PARTS.index(f.part) for f in families], dtype=np.intp), sizes),
        own=block([f.own for f in families], own),
        outputs=block([f.outputs for f in families], outputs),
        rhs=np.concatenate([np.zeros(0), *(f.rhs for f in families)]),
        family=np.repeat(np.arange(len(families)), sizes),
        kind=np.repeat(np.array([_kind_number(f.kind) for f in families], dtype=np.intp), sizes),
        of=np.concatenate([np.zeros(0, dtype=np.intp), *(_places(f) for f in families)]),
        looser=np.concatenate([np.zeros(0), *(np.broadcast_to(f.looser, len(f.names)) for f in families)]),
    )


def _kind_number(kind: str) -> int:
    return KINDS.index(kind) if kind else -1


def _places(family: _Family) -> Index:
    return np.zeros(len(family.names), dtype=np.intp) if family.of is None else family.of


def _some(output: Affine, rows: Index) -> Affine:
    return Affine(sp.csr_array(output.rows[rows]), output.constant[rows], tuple(output.labels[i] for i in rows))


def _together(parts: Sequence[Affine], states: int) -> Affine:
    """Outputs one below the other; put together by hand, because it is done for every step of every window."""
    matrices = [part.rows for part in parts]
    starts = np.cumsum([0, *(m.nnz for m in matrices)])
    pointers = [m.indptr[1:] + s for m, s in zip(matrices, starts[:-1], strict=True)]
    entries = (
        np.concatenate([m.data for m in matrices]),
        np.concatenate([m.indices for m in matrices]),
        np.concatenate([np.zeros(1, dtype=np.intp), *pointers]),
    )
    count = sum(m.shape[0] for m in matrices)
    return Affine(sp.csr_array(entries, shape=(count, states)), np.concatenate([p.constant for p in parts]), ())
