"""LinDist3Flow: the linear three-phase power-flow equations of a feeder, and the networks that they make.

States are the active and reactive flow entering every branch per phase (MW, Mvar) and the squared voltage of
every bus-phase (per unit; centroid frame in three-wire sections). For a branch with impedance Z that carries
S from a bus with phasors V the current is I = conj(S / V), and

    u_j = T u_i - 2 Re(conj(V) Z I) + |Z I|^2          S_received = S - (Z I) conj(I)

The products of phasors in these laws are taken at an **operating point**. Without load the equations are the
lossless LinDist3Flow of Arnold and Sankur with phases (nearly) 120 degrees apart, after Gan and Low 2014; at
any other point the two quadratic terms enter with value and slope, and :func:`fixed_point` repeats this at
the network's own solution. In three-wire sections the squared voltages fix the angles between the phasors
exactly; where a neutral is present the angles come from a sweep along the branches, V_j = K V_i - Z I, with
the flows of the point. The fixed point is therefore the AC solution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cosim.errors import InputError, RunFailure
from cosim.grid.feeder.arrays import FEEDERS_KEPT, Structure, structure_of
from cosim.grid.feeder.banks import is_ground_source
from cosim.grid.feeder.circuit import CircuitFeeder
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.linear.assembly import Equations, Layout, matrix_of
from cosim.grid.linear.flow_laws import add_all, point_of
from cosim.grid.linear.network import FEW, LinearNetwork, Node, factorised
from cosim.grid.linear.outputs import same_everywhere, unbalance_at, unbalance_rows
from cosim.grid.linear.tree_solver import TreeSolver, kept

Real = NDArray[np.float64]
MAX_ITERATIONS = 60


@dataclass(frozen=True, slots=True, eq=False)
class OperatingPoint:
    """Where the equations are linearised: the states (ny,) of a network of the same feeder."""

    states: Real


def build(
    feeder: Feeder, load_scale: float = 1.0, point: OperatingPoint | None = None, losses: bool = True
) -> LinearNetwork:
    """Linear power flow of a feeder around an operating point.

    Args:
        feeder: the feeder.
        load_scale: factor on all base loads.
        point: where to linearise; when absent without load: voltages as couplings make them, no flow, no
            losses.
        losses: False drops the terms quadratic in the current, whatever the point.

    Raises:
        InputError: the feeder does not pass its check, or is not sayable (:func:`require_sayable`).
    """
    states = None if point is None else point.states[None]
    return build_many(feeder, np.array([load_scale]), states, losses)[0]


def build_many(feeder: Feeder, load_scale: Real, states: Real | None, losses: bool = True) -> list[LinearNetwork]:
    """Linear power flows of a feeder around many operating points, put together in one go.

    Args:
        feeder, losses: as in :func:`build`.
        load_scale: (points,) factor on all base loads.
        states: (points, ny) where to linearise; None for no load.
    """
    s = _structure(feeder)
    return _written(s, states, load_scale, losses).networks(s)


@lru_cache(maxsize=FEEDERS_KEPT)
def ground_sources(feeder: Feeder) -> tuple[str, ...]:
    """Transformers that draw ground current at their high side."""
    return tuple(t.name for t in feeder.transformers if is_ground_source(t))


def is_sayable(feeder: Feeder) -> bool:
    """Whether these equations say a feeder as it is: tables, without what :func:`require_sayable` refuses."""
    return not isinstance(feeder, CircuitFeeder) and not ground_sources(feeder)


def require_sayable(feeder: Feeder) -> None:
    """Refuse a feeder that these equations do not say as it is.

    Raises:
        InputError: a transformer draws ground current at its high side. That current follows from the sum of three
            phasors, of which squared voltages say nothing.
    """
    names = ground_sources(feeder)
    if names:
        raise InputError(
            f"feeder {feeder.name}: LinDist3Flow does not say the ground current that a grounded wye before a closed "
            "delta draws", key="network.model", value=f"lindist3flow (transformer {', '.join(names[:3])})",
            allowed="ac-linear, or network.dss on the circuit itself",
        )  # fmt: skip


def _structure(feeder: Feeder) -> Structure:
    """The arrays of a feeder that these equations say as it is; errors as its check and :func:`require_sayable`."""
    s = structure_of(feeder)
    require_sayable(feeder)
    return s


@dataclass(frozen=True, slots=True)
class _Written:
    """Equations at several operating points.

    Attributes:
        numbers: (points, entries) of the matrices; constant: (points, ny); unbalance: values and constants of the rows
            of the unbalance, (points, entries) and (points, rows).
    """

    numbers: Real
    constant: Real
    unbalance: tuple[Real, Real]

    def some(self, which: NDArray[np.bool_]) -> _Written:
        """The equations at some of the points."""
        values, constants = self.unbalance
        return _Written(self.numbers[which], self.constant[which], (values[which], constants[which]))

    def solve(self, s: Structure, demand: Real) -> Real:
        """(points, ny) states at a demand (points, ny), which adds to the constants."""
        right, layout = self.constant + demand, _layout_of(s)
        if len(right) > FEW:
            return tree_of(s).solve(self.numbers, right[..., None])[..., 0]
        each = [factorised(matrix_of(layout, a)).solve(b) for a, b in zip(self.numbers, right, strict=True)]
        return np.array(each).reshape(right.shape)

    def networks(self, s: Structure) -> list[LinearNetwork]:
        """The network of each point."""
        layout, tree, same = _layout_of(s), tree_of(s), same_everywhere(s)
        return [
            LinearNetwork(
                states=s.states, nodes=s.nodes, matrix=matrix_of(layout, numbers), constant=constant,
                unbalance=unbalance_rows(s, values, constants), tree=tree, **same,
            )
            for numbers, constant, values, constants in zip(self.numbers, self.constant, *self.unbalance, strict=True)
        ]  # fmt: skip


def _written(s: Structure, states: Real | None, load_scale: Real, losses: bool = True) -> _Written:
    """The equations of a feeder at operating points (points, ny), or without load."""
    at = point_of(s, states, len(load_scale))
    equations = Equations(len(s.states), len(load_scale), _layout_of(s))
    add_all(equations, s, at, load_scale, losses)
    return _Written(equations.numbers(), equations.constant[:, :-1].copy(), unbalance_at(s, at))


@lru_cache(maxsize=FEEDERS_KEPT)
def tree_of(s: Structure) -> TreeSolver:
    """Solver of the equations of a feeder: the states of a bus and of the branch that feeds it make a group."""
    layout, group = _layout_of(s), np.empty(len(s.states), dtype=np.intp)
    for states in (s.p, s.q, s.pc, s.qc, s.u):
        there = states >= 0
        group[states[there]] = np.nonzero(there)[0]
    return kept(TreeSolver, layout.indices, layout.indptr, group, s.parent)


@lru_cache(maxsize=FEEDERS_KEPT)
def _layout_of(s: Structure) -> Layout:
    """Places of the entries, which no operating point changes."""
    equations = Equations(len(s.states), 1)
    add_all(equations, s, point_of(s, None, 1), np.ones(1), losses=True)
    return equations.finish()


def nodes_of(feeder: Feeder) -> tuple[Node, ...]:
    """(bus, phase) of every node of the feeder's networks."""
    return _structure(feeder).nodes


def fixed_point(
    feeder: Feeder,
    load_scale: float = 1.0,
    p: Real | None = None,
    q: Real | None = None,
    tol: float = 1e-10,
    start: OperatingPoint | None = None,
) -> LinearNetwork:
    """The network linearised at its own solution for a given demand.

    Args:
        feeder, load_scale: as in :func:`build`.
        p, q: (nn,) net node demand in MW and Mvar on top of the base load; zero when absent.
        tol: largest movement of a state (MW, Mvar, squared per unit) between the last two solutions.
        start: where to begin; without load when absent.

    Raises:
        RunFailure: the demand has no solution, or none was found in 60 rounds.
    """
    nodes = len(_structure(feeder).nodes)
    p, q = (np.zeros((1, nodes)) if x is None else np.asarray(x, dtype=float)[None] for x in (p, q))
    return fixed_points(feeder, np.array([load_scale]), p, q, [start], tol)[0]


def fixed_points(
    feeder: Feeder,
    load_scale: Real,
    p: Real,
    q: Real,
    starts: Sequence[OperatingPoint | None],
    tol: float = 1e-10,
) -> list[LinearNetwork]:
    """The networks linearised at their own solutions for many demands, each as :func:`fixed_point` finds it.

    Args:
        feeder, tol: as in :func:`fixed_point`.
        load_scale: (points,); p, q: (points, nn) net node demand.
        starts: where each begins.
    """
    s, count = _structure(feeder), len(load_scale)
    same = same_everywhere(s)
    demand = np.asarray((same["demand_p"] @ p.T + same["demand_q"] @ q.T).T)
    states = np.zeros((count, len(s.states)))
    cold = np.array([k for k, start in enumerate(starts) if start is None], dtype=np.intp)
    if len(cold):
        unloaded = _written(s, None, load_scale[cold])
        states[cold] = unloaded.solve(s, demand[cold])
    for k, start in enumerate(starts):
        if start is not None:
            states[k] = start.states
    left = np.arange(count)
    networks: dict[int, LinearNetwork] = {}
    for _ in range(MAX_ITERATIONS):
        written = _written(s, states[left], load_scale[left])
        after = written.solve(s, demand[left])
        settled = np.abs(after - states[left]).max(axis=1) <= tol
        networks |= dict(zip(left[settled].tolist(), written.some(settled).networks(s), strict=True))
        states[left] = after
        left = left[~settled]
        if len(left) == 0:
            return [networks[k] for k in range(count)]
    raise RunFailure(
        f"feeder {feeder.name}: the power flow did not settle in {MAX_ITERATIONS} linearisations"
    )
