"""What a dispatch costs in AC power flow, and the dispatch that costs least at a given demand.

The operator's cost F of a demand p and a dispatch u is that of the clearing with the import, voltages, flows and
unbalance that AC power flow gives: limits that are broken there have their price. Power flow is smooth in (p, u), and
cost is convex in what power flow gives, so F is convex of a smooth function. The clearing on the tangent at a point is
that function with the smooth part linearised (Gauss-Newton), and it never promises less than the slope of F along the
way to its optimum. A step of that way that is taken only if F falls by a fair share of the promise therefore exists at
any point that the clearing would leave, and F never rises (Burke 1985, Descent methods for composite nondifferentiable
optimization problems, Mathematical Programming 33).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cosim.agents.dso.clearing import ClearingModel, Limits
from cosim.agents.dso.own_problem import OwnStep
from cosim.agents.dso.window import WindowClearing
from cosim.constants import KILO
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.phases import Terminal
from cosim.grid.linear import ac_tangent
from cosim.grid.linear.network import LinearNetwork, solve_together
from cosim.grid.opendss.circuit import AcCircuit

Array = NDArray[np.float64]
Index = NDArray[np.intp]
ROUNDS = 40
"""Tangents taken at most on the way to the least cost at a given demand."""
TRIALS = 6
"""Lengths of a step tried at most."""
FAIR = 0.4
"""Share of the promised gain that a step must bring; 0.5 is what a parabola brings at its lowest point."""
SHORTEST, LONGEST = 0.1, 0.5
"""Bounds of the factor by which a step is shortened at a time."""
STEADY = 1e-8
"""Gain, promised or brought, relative to the cost of a step of the market, not worth another tangent."""


def shortened(length: float, gain: float, change: float) -> float:
    """Length of the next trial: the lowest point of the parabola through slope, start and the trial before.

    Args:
        length: of the trial before; gain: promised for the whole way; change: of the cost at the trial (infinite where
            it has no AC solution).
    """
    curved = change + length * gain
    lowest = 0.5 * length * gain / curved if np.isfinite(curved) and curved > 0 else 0.0
    return length * min(max(lowest, SHORTEST), LONGEST)


@dataclass(frozen=True, slots=True)
class WindowData:
    """What does not change while a window is linearised anew.

    Attributes:
        feeders, load_scale, own: of each step.
        tied: whether rows join the steps.
        injections: (terminal, MW, Mvar) of everything controllable at a step's demand and dispatch.
        clear: the clearing of some steps (indices) on networks, for demand within limits (by default the ratings).
    """

    feeders: Sequence[Feeder]
    load_scale: Sequence[float]
    own: Sequence[OwnStep]
    tied: bool
    injections: Callable[[Array, Array], Sequence[tuple[Terminal, float, float]]]
    clear: Callable[[Index, Sequence[LinearNetwork], Array | None], WindowClearing]

    @property
    def count(self) -> int:
        """Steps of the window."""
        return len(self.own)


@dataclass(frozen=True, slots=True)
class AcPoint:
    """Demand and dispatch of a window in AC power flow.

    Attributes:
        p_mw: (steps, terminals); dispatch: (steps, resources' variables) what resources do.
        networks: the tangent of each step; None where AC power flow has no solution.
        costs_usd: (steps,) operator's cost, infinite without a solution.
        broken_pu: (steps,) by how much the worst voltage is beyond its limit.
    """

    p_mw: Array
    dispatch: Array
    networks: tuple[LinearNetwork | None, ...]
    costs_usd: Array
    broken_pu: Array

    @property
    def cost_usd(self) -> float:
        """Operator's cost of the window."""
        return float(self.costs_usd.sum())

    def tangents(self, steps: Index | None = None) -> list[LinearNetwork]:
        """The tangents of some steps (by default all), each of which has a solution."""
        chosen = range(len(self.networks)) if steps is None else steps
        return [n for n in (self.networks[t] for t in chosen) if n is not None]

    def of(self, steps: Index) -> AcPoint:
        """Some steps of this point."""
        networks = tuple(self.networks[t] for t in steps)
        return AcPoint(
            self.p_mw[steps], self.dispatch[steps], networks, self.costs_usd[steps], self.broken_pu[steps]
        )

    def with_steps(self, steps: Index, other: AcPoint) -> AcPoint:
        """This point with some steps as in another one, whose steps they are in order."""
        networks = list(self.networks)
        for t, network in zip(steps.tolist(), other.networks, strict=True):
            networks[t] = network
        changed = {}
        for name in ("p_mw", "dispatch", "costs_usd", "broken_pu"):
            values = getattr(self, name).copy()
            values[steps] = getattr(other, name)
            changed[name] = values
        return replace(self, networks=tuple(networks), **changed)


class AcDispatch:
    """The operator's dispatch judged by AC power flow.

    Args:
        circuit: the feeder in OpenDSS.
        model: the clearing, compiled with a tangent of the AC power flow.
        limits: what is kept.
        ratio: (terminals,) Mvar per MW.
    """

    def __init__(self, circuit: AcCircuit, model: ClearingModel, limits: Limits, ratio: Array) -> None:
        self._circuit, self.model, self._limits, self._ratio = circuit, model, limits, ratio

    def at(self, data: WindowData, p_mw: Array, dispatch: Array, steps: Index | None = None) -> AcPoint:
        """AC power flow, tangent and cost at a demand and dispatch.

        Args:
            p_mw, dispatch: of ``steps`` (by default of the whole window), see :class:`AcPoint`.
        """
        steps = np.arange(data.count) if steps is None else steps
        solved = self.solved(data, p_mw, dispatch, steps)
        networks: list[LinearNetwork | None] = [None] * len(steps)
        costs, broken = np.full((2, len(steps)), np.inf)
        there = [i for i, point in enumerate(solved) if point is not None]
        tangents = ac_tangent.linearised([point for point in solved if point is not None])
        decided = [self._decided(dispatch[i]) for i in there]
        for i, network, x, states in zip(
            there, tangents, decided, self._states(tangents, decided, p_mw[there]), strict=True
        ):
            networks[i] = network
            costs[i], broken[i] = self._cost(network, data.own[steps[i]], x, states)
        return AcPoint(p_mw, dispatch, tuple(networks), costs, broken)

    def solved(
        self, data: WindowData, p_mw: Array, dispatch: Array, steps: Index
    ) -> list[ac_tangent.AcPoint | None]:
        """AC power flow at a demand and dispatch of ``steps``, None where it has no solution; see :meth:`at`."""
        found = []
        for i, t in enumerate(steps.tolist()):
            self._circuit.move_to(data.feeders[t])
            in_kw = [(a, KILO * p, KILO * q) for a, p, q in data.injections(p_mw[i], dispatch[i])]
            found.append(ac_tangent.solved(self._circuit, data.load_scale[t], in_kw))
        return found

    def _decided(self, dispatch: Array) -> Array:
        """(own variables,) of a step with what resources do, the others nought."""
        x = np.zeros(len(self.model.variables))
        x[: len(dispatch)] = dispatch
        return x

    def _states(self, networks: Sequence[LinearNetwork], decided: Sequence[Array], p_mw: Array) -> list[Array]:
        """States of the networks of some steps at what is decided and drawn there."""
        if not networks:
            return []
        at = self.model.injections.at
        demand = [at(x, np.concatenate([p, p * self._ratio])) for x, p in zip(decided, p_mw, strict=True)]
        return solve_together(networks, np.array([p for p, _ in demand]), np.array([q for _, q in demand]))

    def _cost(self, network: LinearNetwork, own: OwnStep, x: Array, states: Array) -> tuple[float, float]:
        """Cost (USD) of a step where a network says what flows, and the worst voltage beyond its limit (pu).

        Each row of the clearing has one own variable: the import or an unbalance part, which it defines, or a slack,
        which is as large as the worst of its rows demands.
        """
        model, x = self.model, x.copy()
        outputs = model.outputs.of(network).at(states)
        defined, limited = (
            (rows.own.indices, (rhs - rows.outputs @ outputs) / rows.own.data)
            for rows, rhs in (
                (model.equalities, model.equalities.rhs),
                (model.inequalities, own.tightened(model.inequalities.rhs)),
            )
        )
        x[defined[0]] = defined[1]
        np.maximum.at(x, *limited)
        volts = np.sqrt(np.maximum(outputs[2 : 2 + model.outputs.voltages], 0.0))
        low, high = model.voltage_range
        beyond = max((low - volts).max(), (volts - high).max(), 0.0)
        return own.usd(x), float(beyond)

    def dispatch_of(self, window: WindowClearing, p_mw: Array) -> Array:
        """(steps, resources' variables) what a window dispatches at a demand."""
        solution = window.solve(p_mw)
        mine = self.model.resource_variables
        return np.array([window.own(t, solution)[:mine] for t in range(len(p_mw))]).reshape(len(p_mw), mine)

    def least_cost(self, data: WindowData, start: AcPoint) -> AcPoint:
        """The dispatch of least cost in AC power flow at the demand of a point, which is where the way begins.

        The clearing on its tangents dispatches nothing else. No step costs more than at the start; a window in which
        AC power flow has no solution stays as it is.
        """
        if not np.isfinite(start.cost_usd):
            return start
        point, left, lengths = start, np.arange(data.count), np.ones(data.count)
        for _ in range(ROUNDS):
            p_mw, costs = point.p_mw[left], point.costs_usd[left]
            window = data.clear(left, point.tangents(left), p_mw)
            way = self.dispatch_of(window, p_mw) - point.dispatch[left]
            gain = costs - window.costs(window.solve(p_mw))
            least = STEADY * np.maximum(np.abs(costs), np.abs(costs).mean())
            if data.tied:
                gain, least = np.full(len(left), gain.sum()), np.full(len(left), least.sum())
            onward = gain > least
            point = self._step(data, point, left[onward], way[onward], gain[onward], lengths)
            fell = costs - point.costs_usd[left]
            left = left[(np.full(len(left), fell.sum()) if data.tied else fell) > least]
            if len(left) == 0:
                break
        return point

    def _step(
        self, data: WindowData, point: AcPoint, steps: Index, way: Array, gain: Array, lengths: Array
    ) -> AcPoint:
        """The point after a step along a way, each step of the market by a length of its own unless they are tied.

        Args:
            lengths: (steps of the window,) where trials begin; changed to where they begin next.
        """
        for _ in range(TRIALS):
            if len(steps) == 0:
                break
            length = lengths[steps]
            trial = self.at(data, point.p_mw[steps], point.dispatch[steps] + length[:, None] * way, steps)
            change = trial.costs_usd - point.costs_usd[steps]
            if data.tied:
                change = np.full(len(steps), change.sum())
            good = change <= -FAIR * length * gain
            point = point.with_steps(steps[good], trial.of(np.flatnonzero(good)))
            shorter = [shortened(*x) for x in zip(length, gain, change, strict=True)]
            lengths[steps] = np.where(good, np.minimum(1.0, 2 * length), shorter)
            steps, way, gain = steps[~good], way[~good], gain[~good]
        return point
