"""A linear power flow: states defined by the demand at the nodes, and what is read off from them.

Demand ``p`` (MW), ``q`` (Mvar) at every node (bus-phase) comes on top of the base load. The states ``y``
solve

    matrix @ y == constant + demand_p @ p + demand_q @ q

and every output is affine in ``y``. The sparsity pattern of the matrix does not depend on the operating point
or the load, so that a model that was compiled once takes new numbers without new structure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.linalg import SuperLU, splu

from cosim.grid.linear.layered_solver import LayeredSolver
from cosim.grid.linear.tree_solver import TreeSolver, at_a_time

Real = NDArray[np.float64]
Node = tuple[str, str]
COLUMNS = 16
"""How many right-hand sides are solved for at a time."""
FEW = 4
"""Up to how many networks are quicker factorised one by one than solved together on the tree of their feeder."""


def factorised(matrix: sp.csc_array[np.float64]) -> SuperLU:
    """Sparse factors of the equations of a feeder, whose states hang together like a tree or nearly so."""
    return splu(matrix, relax=1, panel_size=1)


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
        tree: solves the equations of several networks together, if their feeder is a tree.
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
    tree: TreeSolver | LayeredSolver | None = None
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
        multipliers = self.multipliers(state_weights)
        return np.asarray(self.demand_p.T @ multipliers), np.asarray(self.demand_q.T @ multipliers)

    def multipliers(self, state_weights: Real) -> Real:
        """(ny, k) gradient of ``state_weights' y`` with respect to the constants of the equations."""
        return np.asarray(self._lu.solve(np.asarray(state_weights, dtype=float), "T"))

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
            self._factors.append(factorised(self.matrix))
        return self._factors[0]

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the factorisation, which cannot be pickled and is cheap to redo."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.init}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_factors", [])



def alike(networks: Sequence[LinearNetwork]) -> list[list[int]]:
    """Places of networks that belong together: of one feeder, with its devices at the same positions."""
    groups: dict[int, list[int]] = {}
    for i, network in enumerate(networks):
        groups.setdefault(id(network.demand_p), []).append(i)
    return list(groups.values())


def solve_together(networks: Sequence[LinearNetwork], p: Real, q: Real) -> list[Real]:
    """States of several networks at node demand ``p`` (MW) and ``q`` (Mvar), both (networks, nn).

    A feeder may have more states where its devices stand otherwise, so that each network has an array of its own.
    """
    found: dict[int, Real] = {}
    for places in alike(networks):
        some, first = [networks[i] for i in places], networks[places[0]]
        demand = (first.demand_p @ p[places].T + first.demand_q @ q[places].T).T
        right = np.array([n.constant for n in some]) + demand
        tree = _solver_of(some)
        if tree is None:
            solved = [n.states_at(r) for n, r in zip(some, right, strict=True)]
        else:
            solved = list(tree.solve(_numbers(some), right[..., None])[..., 0])
        found |= dict(zip(places, solved, strict=True))
    return [found[i] for i in range(len(networks))]


def adjoints_together(networks: Sequence[LinearNetwork], state_weights: Sequence[Real]) -> list[tuple[Real, Real]]:
    """:meth:`LinearNetwork.adjoint` of several networks.

    Args:
        state_weights: of each network (ny, k).
    """
    found: dict[int, tuple[Real, Real]] = {}
    for places in alike(networks):
        first = networks[places[0]]
        multipliers = np.stack([networks[i].multipliers(state_weights[i]) for i in places], axis=1)
        flat, shape = multipliers.reshape(len(multipliers), -1), (len(first.nodes), *multipliers.shape[1:])
        p, q = (np.asarray(m.T @ flat).reshape(shape) for m in (first.demand_p, first.demand_q))
        found |= {i: (p[:, k], q[:, k]) for k, i in enumerate(places)}
    return [found[i] for i in range(len(networks))]


def affine_together(
    networks: Sequence[LinearNetwork],
    outputs: Callable[[LinearNetwork], Affine],
    own: Callable[[LinearNetwork], Affine | None],
    injected: Real,
) -> tuple[Real, Real]:
    """Outputs of networks that belong together as affine functions of m injections.

    Args:
        networks: :func:`alike`.
        outputs: what is looked at that all of them have in common; own: what differs, below it, or None.
        injected: (ny, m), see :meth:`LinearNetwork.affine_in`.

    Returns:
        Values (networks, k) without the injections, and derivatives (networks, k, m).
    """
    first = networks[0]
    shared = outputs(first)
    apart = [own(n) for n in networks]
    tree = _solver_of(networks)
    if tree is None:
        each = [n.affine_in(_below(shared, o), injected) for n, o in zip(networks, apart, strict=True)]
        return np.array([e[0] for e in each]), np.array([e[1] for e in each])
    wanted = np.unique(np.concatenate([shared.rows.indices, *(o.rows.indices for o in apart[:1] if o is not None)]))
    together = at_a_time(len(first.states), injected.shape[1] + 1)
    parts = []
    for i in range(0, len(networks), together):
        some, own_rows = networks[i : i + together], apart[i : i + together]
        right = np.empty((len(some), *injected.shape[:1], injected.shape[1] + 1))
        right[:, :, 0] = [n.constant for n in some]
        right[:, :, 1:] = injected
        states = tree.solve(_numbers(some), right, wanted)
        flat = states.transpose(1, 0, 2).reshape(len(first.states), -1)
        values = (shared.rows @ flat).reshape(-1, len(some), right.shape[2]).transpose(1, 0, 2)
        more = [o.rows @ y for o, y in zip(own_rows, states, strict=True) if o is not None]
        parts.append(np.concatenate([values, np.array(more)], axis=1) if more else values)
    values = np.concatenate(parts)
    constants = [_below_constant(shared, o) for o in apart]
    return values[:, :, 0] + np.array(constants), values[:, :, 1:]


def _solver_of(networks: Sequence[LinearNetwork]) -> TreeSolver | LayeredSolver | None:
    """What solves the equations of networks that belong together; None where each is to be factorised by itself."""
    return networks[0].tree if len(networks) > FEW else None


def _numbers(networks: Sequence[LinearNetwork]) -> Real:
    return np.array([n.matrix.data for n in networks])


def _below_constant(upper: Affine, lower: Affine | None) -> Real:
    return upper.constant if lower is None else np.concatenate([upper.constant, lower.constant])


def _below(upper: Affine, lower: Affine | None) -> Affine:
    """Outputs one below the other."""
    if lower is None:
        return upper
    rows = sp.csr_array(sp.vstack([upper.rows, lower.rows]))
    return Affine(rows, _below_constant(upper, lower), (*upper.labels, *lower.labels))
