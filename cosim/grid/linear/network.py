"""A linear power flow: states defined by the demand at the nodes, and what is read off from them.

Demand ``p`` (MW), ``q`` (Mvar) at every node (bus-phase) comes on top of the base load. The states ``y``
solve

    matrix @ y == constant + demand_p @ p + demand_q @ q

and every output is affine in ``y``. The sparsity pattern of the matrix does not depend on the operating point
or the load, so that a model that was compiled once takes new numbers without new structure.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.linalg import SuperLU, splu

Real = NDArray[np.float64]
Node = tuple[str, str]
COLUMNS = 16
"""How many right-hand sides are solved for at a time."""


@dataclass(frozen=True, slots=True)
class Affine:
    """Outputs ``rows @ y + constant``.

    Attributes:
        rows: (k, ny); constant: (k,).
        labels: what each row is, such as (bus, leg) or (branch, phase).
    """

    rows: sp.csr_array[np.float64]
    constant: Real
    labels: tuple[Node, ...]

    def at(self, y: Real) -> Real:
        """(k,) values at the states ``y``."""
        return np.asarray(self.rows @ y + self.constant)


@dataclass(frozen=True, slots=True, eq=False)
class LinearNetwork:
    """Linear power flow of a feeder at an operating point.

    Attributes:
        states: names of the states, (ny,).
        nodes: (bus, phase) of every node, (nn,).
        matrix: (ny, ny), nonsingular; explicit zeros kept.
        constant: (ny,); demand_p, demand_q: (ny, nn).
        import_p, import_q: one row, MW and Mvar drawn from the source.
        voltages: squared magnitudes, per unit; labels (bus, leg) on three-wire buses, (bus, phase) on
            grounded ones.
        flows_p, flows_q: MW and Mvar entering each branch at its source side; labels (branch, phase).
        unbalance: per three-phase bus the real and imaginary part of V2/V1 (line to line), percent; labels
            (bus, ``re`` or ``im``); tangent at the operating point.
    """

    states: tuple[str, ...]
    nodes: tuple[Node, ...]
    matrix: sp.csc_array[np.float64]
    constant: Real
    demand_p: sp.csc_array[np.float64]
    demand_q: sp.csc_array[np.float64]
    import_p: Affine
    import_q: Affine
    voltages: Affine
    flows_p: Affine
    flows_q: Affine
    unbalance: Affine
    _factors: list[SuperLU] = field(default_factory=list, init=False, repr=False)

    def solve(self, p: Real, q: Real) -> Real:
        """States (ny,) at node demand ``p`` (MW) and ``q`` (Mvar), both (nn,)."""
        return self.states_at(self.constant + self.demand_p @ p + self.demand_q @ q)

    def states_at(self, right: Real) -> Real:
        """States (ny,) at a right-hand side (ny,)."""
        return np.asarray(self._lu.solve(right))

    def response(self, output: Affine, columns_p: Real, columns_q: Real) -> Real:
        """Derivative of an output with respect to injections.

        Args:
            output: k rows.
            columns_p, columns_q: (nn, m) node demand caused by one unit of each injection, MW and Mvar.

        Returns:
            (k, m) array.
        """
        right = self.demand_p @ columns_p + self.demand_q @ columns_q
        return self._slopes(output, right.toarray() if sp.issparse(right) else np.asarray(right))

    def affine_in(self, output: Affine, injected: Real) -> tuple[Real, Real]:
        """An output as an affine function of m injections: values (k,) without them and derivatives (k, m).

        Args:
            output: k rows.
            injected: (ny, m) ``demand_p @ p + demand_q @ q`` of one unit of each injection.
        """
        return output.at(self.states_at(self.constant)), self._slopes(output, injected)

    def adjoint(self, state_weights: Real) -> tuple[Real, Real]:
        """Gradient of ``state_weights' y`` with respect to node demand.

        Args:
            state_weights: (ny, k).

        Returns:
            Derivatives with respect to p and to q, each (nn, k).
        """
        weights = np.asarray(state_weights, dtype=float)
        multipliers = self._lu.solve(weights, "T")
        return np.asarray(self.demand_p.T @ multipliers), np.asarray(self.demand_q.T @ multipliers)

    def _slopes(self, output: Affine, right: Real) -> Real:
        """(k, m) what right-hand sides (ny, m) make of an output, a few at a time: all their states fill no cache."""
        slopes = np.empty((len(output.constant), right.shape[1]))
        for first in range(0, right.shape[1], COLUMNS):
            block = slice(first, first + COLUMNS)
            slopes[:, block] = output.rows @ self._lu.solve(np.asfortranarray(right[:, block]))
        return slopes

    @property
    def _lu(self) -> SuperLU:
        if not self._factors:
            self._factors.append(splu(self.matrix, relax=1, panel_size=1))  # states hang together like a tree
        return self._factors[0]

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the factorisation, which cannot be pickled and is cheap to redo."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.init}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_factors", [])

