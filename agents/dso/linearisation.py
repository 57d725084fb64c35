"""Which linear power flow the operator clears with, and where it is linearised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cosim.agents.dso.clearing import ClearingModel
from cosim.constants import KILO
from cosim.errors import RunFailure
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.phases import Terminal, terminal_map
from cosim.grid.linear import ac_tangent, lindist3flow
from cosim.grid.linear.lindist3flow import OperatingPoint
from cosim.grid.linear.network import LinearNetwork
from cosim.grid.opendss.circuit import AcCircuit
from cosim.scenario.schema import NetworkSpec

Real = NDArray[np.float64]
Injection = tuple[Terminal, float, float]
W = TypeVar("W")
LINEARISATION_ROUNDS = 5
"""Linearisations of a window at most; one less where an earlier window has been."""
LINEARISATION_TOLERANCE = 1e-8
ROUGHLY = 1e-4
"""How closely a linearisation meets its own solution while the dispatch still moves."""
SETTLED_MW = 5e-4
"""How far dispatch may still move between rounds where it counts as settled, in a feeder of the usual size."""
USUAL_KW = 2457.0
"""Base load that tolerances are stated for: that of IEEE 37. They are in proportion to the base load of a feeder."""
MIXED = 3
"""How many clearings of a step are mixed."""
DAMPED = 0.5
"""Which part of the way a point goes to what clearing leads to."""
ALIKE = 1e-6
"""Changes that differ by less, relative to the largest, say nothing about where to go."""
LEAST_SIZE = 1e-3
"""Smallest size of a feeder that power flow is made more exact for: beyond it is rounding."""


@dataclass(frozen=True, slots=True)
class Point:
    """Where a step is linearised: dispatch (resources' variables,) and states, and where it was on the way there.

    Attributes:
        before: where the step was linearised before in this window, each with what clearing there changed.
        known: whether an earlier window has been near.
    """

    dispatch: Real
    states: OperatingPoint | None
    before: tuple[tuple[Real, Real], ...] = ()
    known: bool = False

    def towards(self, cleared: Real) -> Point:
        """The point after the clearing that was linearised here: nearer to a dispatch that clears to itself.

        Losses of a linearised network are linear in what is dispatched, so that reactive dispatch jumps back and forth.
        Anderson's mixing over the last clearings finds what it jumps about: the change that clearing makes is taken to
        be linear in the dispatch, and the next point is half-way from where the change would be least to what clearing
        there would lead to, within the range of what has been cleared.
        Source: D. G. Anderson 1965, Iterative procedures for nonlinear integral equations, J. ACM 12.
        """
        tried = (*self.before, (self.dispatch, cleared - self.dispatch))[-MIXED:]
        dispatch, change = (np.array(part) for part in zip(*tried, strict=True))
        mixed = self.dispatch + DAMPED * change[-1]
        if len(tried) > 1:
            weights = np.linalg.lstsq(np.diff(change, axis=0).T, change[-1], rcond=ALIKE)[0]
            mixed = mixed - np.diff(dispatch + DAMPED * change, axis=0).T @ weights
            mixed = np.clip(mixed, (dispatch + change).min(axis=0), (dispatch + change).max(axis=0))
        return Point(mixed, None, tried, self.known)


class KnownPoints:
    """Points that windows have looked at: where the linearisation of a step begins.

    Args:
        variables: how many the resources have in a step. day: steps of a day.
    """

    def __init__(self, variables: int, day: int) -> None:
        self._variables, self._day = variables, day
        self._points: dict[int, Point] = {}

    def start(self, t: int, stand_alike: Callable[[int, int], bool]) -> Point:
        """Where an earlier window ended in step ``t``, else where the same step of the day before did.

        Args:
            stand_alike: whether devices stand alike in two steps.
        """
        if t in self._points:
            return self._points[t]
        if t - self._day in self._points:
            point = self._points[t - self._day]
            return point if stand_alike(t, t - self._day) else replace(point, states=None)
        return Point(np.zeros(self._variables), None)

    def keep(self, first: int, points: Sequence[Point]) -> None:
        """Remember the points of a window from step ``first`` on, and forget what no later window asks for."""
        self._points = {t: p for t, p in self._points.items() if t >= first - self._day}
        self._points |= {t: replace(point, before=(), known=True) for t, point in enumerate(points, first)}

    def at(self, t: int, dispatch: Real) -> None:
        """The point of step ``t`` moves to another dispatch."""
        self._points[t] = replace(self._points[t], dispatch=dispatch)

    def drop(self, first: int) -> None:
        """Forget the points from step ``first`` on."""
        self._points = {t: p for t, p in self._points.items() if t < first}

    def forget(self, steps: Sequence[int]) -> None:
        """Begin at the dispatch of these steps alone: their devices have moved, so the network has other states."""
        for t in steps:
            if t in self._points:
                self._points[t] = replace(self._points[t], states=None)


class Linearisation:
    """The network model of a scenario.

    Args:
        feeder: the feeder.
        spec: which model, and whether with losses (the AC tangent always has them).

    Attributes:
        settled_mw: by how much dispatch may move between rounds of linearisation and clearing that count as settled.
    """

    def __init__(self, feeder: Feeder, spec: NetworkSpec) -> None:
        self._feeder, self.losses = feeder, spec.losses
        size = feeder.load_kw / USUAL_KW if feeder.load_kw > 0 else 1.0
        self.settled_mw = SETTLED_MW * size
        # Power flow compares MW and squared voltages alike; those are as exact in a large feeder as in the usual one.
        self._exactness = min(1.0, max(size, LEAST_SIZE))
        self._circuit = AcCircuit(feeder) if spec.model == "ac-linear" else None
        self._maps: dict[tuple[Terminal, ...], tuple[sp.csr_array, ...]] = {}

    def trials(self, points: Sequence[Point]) -> int:
        """How often to clear, at most, in order to find where to linearise: only losses depend on that."""
        return LINEARISATION_ROUNDS - 1 - all(point.known for point in points) if self.losses else 0

    def located(self, points: Sequence[Point], states: Callable[[], Sequence[Real]]) -> list[Point]:
        """Points with the states of their networks, where :meth:`at` makes use of them; AC power flow begins anew.

        Args:
            states: works out those of each point, (ny,).
        """
        if self._circuit is not None:
            return list(points)
        return [replace(p, states=OperatingPoint(y)) for p, y in zip(points, states(), strict=True)]

    @property
    def circuit(self) -> AcCircuit:
        """The feeder in OpenDSS."""
        return self._circuit or AcCircuit(self._feeder)

    def first(self, load_scale: float) -> LinearNetwork:
        """A network to compile a clearing with: every other has its structure."""
        if self._circuit is None:
            return lindist3flow.build(self._feeder, losses=self.losses)
        return ac_tangent.build(self._circuit, load_scale)

    def at(
        self,
        feeders: Sequence[Feeder],
        load_scale: Sequence[float],
        injections: Sequence[Sequence[Injection]],
        starts: Sequence[OperatingPoint | None],
        tolerance: float | None = LINEARISATION_TOLERANCE,
    ) -> list[LinearNetwork]:
        """The networks at the operating points of several steps; steps of one feeder are linearised together.

        Args:
            feeders: the feeder with its devices as they stand in each step, one object for the same positions.
            load_scale: factor on the base loads, one for each step.
            injections: (terminal, MW, Mvar) of everything controllable, demand positive; the same terminals in
                each step.
            starts: states of an earlier network of the same model and positions near each point.
            tolerance: how closely LinDist3Flow meets its own solution (MW, Mvar, squared per unit) in a feeder of the
                usual size; of a smaller one more closely. None: LinDist3Flow is linearised at the states where it
                starts, if all steps have some; they need not solve the power flow, as its equations say so.

        Raises:
            RunFailure: the power flow has no solution there.
        """
        found: dict[int, LinearNetwork] = {}
        for first in dict.fromkeys(map(id, feeders)):
            places = [i for i, feeder in enumerate(feeders) if id(feeder) == first]
            networks = self._of_feeder(
                feeders[places[0]], [load_scale[i] for i in places], [injections[i] for i in places],
                [starts[i] for i in places], tolerance,
            )  # fmt: skip
            found |= dict(zip(places, networks, strict=True))
        return [found[i] for i in range(len(feeders))]

    def _of_feeder(
        self,
        feeder: Feeder,
        load_scale: Sequence[float],
        injections: Sequence[Sequence[Injection]],
        starts: Sequence[OperatingPoint | None],
        tolerance: float | None,
    ) -> list[LinearNetwork]:
        """As :meth:`at`, for steps in which the devices stand alike."""
        if self._circuit is not None:
            self._circuit.move_to(feeder)
            in_kw = [[(terminal, KILO * p, KILO * q) for terminal, p, q in step] for step in injections]
            circuit, steps = self._circuit, zip(load_scale, in_kw, strict=True)
            return ac_tangent.linearised([ac_tangent.require(circuit, k, step) for k, step in steps])
        scale = np.array(load_scale)
        if not self.losses:
            return lindist3flow.build_many(feeder, scale, None, losses=False)
        known = [start for start in starts if start is not None]
        if tolerance is None and len(known) == len(starts):
            return lindist3flow.build_many(feeder, scale, np.array([start.states for start in known]))
        p, q = self._node_demand(injections)
        exact = (ROUGHLY if tolerance is None else tolerance) * self._exactness
        return lindist3flow.fixed_points(feeder, scale, p, q, starts, exact)

    def _node_demand(self, injections: Sequence[Sequence[Injection]]) -> tuple[Real, Real]:
        """(steps, nodes) demand of injections, MW and Mvar."""
        terminals = tuple(terminal for terminal, _, _ in injections[0])
        if terminals not in self._maps:
            nodes = lindist3flow.nodes_of(self._feeder)
            maps = [terminal_map(terminal, nodes) for terminal in terminals]
            empty = np.zeros((0, len(nodes)))
            self._maps[terminals] = tuple(
                sp.csr_array(np.vstack([empty, *(getattr(m, name) for m in maps)]))
                for name in ("pp", "pq", "qp", "qq")
            )
        pp, pq, qp, qq = self._maps[terminals]
        power = np.array([[(p, q) for _, p, q in step] for step in injections]).reshape(len(injections), -1, 2)
        p, q = power[..., 0], power[..., 1]
        return np.asarray(p @ pp + q @ pq), np.asarray(p @ qp + q @ qq)


@dataclass(frozen=True, slots=True)
class NetworkModel:
    """A linear model of the network, and the clearing compiled with it."""

    linearisation: Linearisation
    clearing: ClearingModel


Around: TypeAlias = Callable[[Sequence[Point], NetworkModel], tuple[W, list[Point]]]
"""A window and its points, linearised from some points on by a model."""


def window_around(
    around: Around[W], points: Sequence[Point], tangent: NetworkModel, other: Callable[[], NetworkModel] | None
) -> tuple[W, list[Point], NetworkModel, str]:
    """A window, its points, the model that it is linearised by, and a note if that is another one.

    Where AC power flow has no solution at a point on the way, LinDist3Flow has one below 0.8 pu too, and its dispatch
    lifts voltages: the tangent is taken there, or where there is none either, the window is left to LinDist3Flow and
    the note says so.

    Args:
        other: makes LinDist3Flow; None where there is nothing else.

    Raises:
        RunFailure: the power flow has no solution.
    """
    try:
        return *around(points, tangent), tangent, ""
    except RunFailure:
        if other is None:
            raise
    window, found = around([replace(point, states=None) for point in points], other())
    found = [replace(point, states=None) for point in found]
    try:
        return *around(found, tangent), tangent, ""
    except RunFailure as failure:
        return window, found, other(), f"{failure}; it is linearised by LinDist3Flow instead"
