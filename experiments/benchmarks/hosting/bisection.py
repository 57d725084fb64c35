"""The largest draw of a connection by bisection in OpenDSS, one bus and hour at a time: what hourly limits must be."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.flows import flow_ends
from cosim.grid.feeder.limits import LimitBook, NetworkLimits
from cosim.grid.linear.branch_flows import ac_flows
from cosim.grid.opendss.circuit import AcCircuit
from cosim.hosting import Connection, Surroundings

Real = NDArray[np.float64]
RESOLUTION_KW = 0.05
MARGIN_PU, MARGIN_SHARE = 1e-4, 1e-3
"""How much worse than in the base case a limit may be that it breaks: a voltage, and a rating as a share."""


class Bisection:
    """Bisections on one feeder with its devices as they stand.

    Args:
        feeder: as it stands. limits: voltages and ratings.

    Attributes:
        solved: number of power flows so far.
    """

    def __init__(self, feeder: Feeder, limits: NetworkLimits) -> None:
        self._circuit, self._limits = AcCircuit(feeder), limits
        self._labels: tuple[tuple[str, str], ...] = ()
        self.solved = 0

    def largest_kw(
        self, around: Surroundings, step: int, connection: Connection, cap_kw: float, q_kvar: float = 0.0
    ) -> float:
        """The largest draw up to ``cap_kw`` that keeps all limits; nan without a base case.

        Args:
            q_kvar: drawn beside the connection.
        """
        base = self._values(around, step, connection, 0.0, 0.0)
        if base is None:
            return float("nan")
        low, high = self._bounds(base)
        if self._holds(around, step, connection, cap_kw, q_kvar, low, high):
            return cap_kw
        good, bad = 0.0, cap_kw
        while bad - good > RESOLUTION_KW:
            middle = (good + bad) / 2
            if self._holds(around, step, connection, middle, q_kvar, low, high):
                good = middle
            else:
                bad = middle
        return good

    def _bounds(self, base: Real) -> tuple[Real, Real]:
        book, count = self._book, len(self._labels)
        rated = book.limit[2 * count :]
        low = np.concatenate([book.limit[:count], np.full(len(rated), -np.inf)])
        high = np.concatenate([book.limit[count : 2 * count], rated])
        margin = np.concatenate([np.full(count, MARGIN_PU), MARGIN_SHARE * rated])
        return np.minimum(low, base - margin), np.maximum(high, base + margin)

    def _holds(
        self, around: Surroundings, step: int, connection: Connection, p_kw: float, q_kvar: float, low: Real,
        high: Real,
    ) -> bool:  # fmt: skip
        values = self._values(around, step, connection, p_kw, q_kvar)
        return values is not None and bool(((values >= low) & (values <= high)).all())

    def _values(
        self, around: Surroundings, step: int, connection: Connection, p_kw: float, q_kvar: float
    ) -> Real | None:
        """Voltages (pu) and apparent powers (kVA) of the rated flows; None without a solution."""
        drawn = [(i.terminal, float(i.p_kw[step]), float(i.q_kvar[step])) for i in around.injections]
        q = connection.reactive_ratio * p_kw + q_kvar
        drawn += [(t, p_kw * s, q * s) for t, s in zip(connection.terminals, connection.share, strict=True)]
        solution = self._circuit.solve(float(around.load_scale[step]), drawn)
        self.solved += 1
        if not solution.converged:
            # the iteration is known to miss a solution now and then where windings float: from the start again
            solution = self._circuit.solve(float(around.load_scale[step]), drawn)
            if not solution.converged:
                return None
        v = _array(solution.voltages)
        if not self._labels:
            self._labels = tuple(solution.voltages)
            self._book = LimitBook(self._limits, self._labels, flow_ends(self._circuit.feeder).labels)
        flows = ac_flows(self._circuit) if self._limits.phase_kva else None
        return self._book.values(v, flows, {}, {})[len(v) :]


def _array(values: Mapping[tuple[str, str], float]) -> Real:
    return np.fromiter(values.values(), dtype=float)
