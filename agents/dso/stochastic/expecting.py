"""An operator that agrees on windows over scenarios of what may happen (Pritchard, Zakeri and Philpott 2010).

The demand p is agreed on before anybody knows the scenario w, and the dispatch follows what happens:

    C(p) = sum_w pi_w C_w(p),     C_w(p) = least cost of dispatch in scenario w at the demand p

C is convex and piecewise quadratic as the cost of a single clearing is, and so is all that is done with it. Its slope,
the price that is agreed on, is the sum of the scenarios' weighted duals: the expectation of the price in each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cosim.agents.dso.clearing import ClearingModel, ReducedStep
from cosim.agents.dso.linearisation import LINEARISATION_TOLERANCE, KnownPoints, NetworkModel, Point
from cosim.agents.dso.own_problem import OwnStep, OwnWindow
from cosim.agents.dso.stochastic.futures import Future, futures, side_by_side
from cosim.agents.dso.stochastic.load_shift import load_nodes, moved_with_load, parabolas
from cosim.agents.dso.window import WindowClearing
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.phases import Terminal
from cosim.grid.linear.network import LinearNetwork
from cosim.optimization.qp.solution import QPSolution
from cosim.protocol.roles import ScenarioPrices
from cosim.scenario.calendar import Window
from cosim.scenario.forecasts.drawing import Supposing
from cosim.scenario.schema import Scenario

Array = NDArray[np.float64]


class Expecting:
    """What an operator decides in an open window, on what is forecast or over scenarios; a part of its class."""

    scenario: Scenario
    terminals: tuple[Terminal, ...]
    reactive_ratio: Array
    price: Array
    hours: float
    load_scale: Array
    clearing_model: ClearingModel
    _first: int
    _length: int
    _known: dict[int, OwnWindow]
    _model: NetworkModel
    _points: KnownPoints
    _supposing: Supposing | None
    _window: WindowClearing | None
    _futures: tuple[Future, ...] = ()
    _forecast: WindowClearing | None = None
    _expected: WindowClearing | None = None
    _pieces: tuple[list[LinearNetwork], list[ReducedStep]] = ([], [])

    def feeder_at(self, t: int) -> Feeder:
        raise NotImplementedError

    def _linearised(
        self, steps: Sequence[int] | NDArray[np.intp], p_mw: Array, points: Sequence[Point], via: NetworkModel,
        tolerance: float | None = LINEARISATION_TOLERANCE, scale: Sequence[float] | None = None,
        own: Sequence[OwnStep] | None = None,
    ) -> tuple[list[LinearNetwork], list[ReducedStep]]:  # fmt: skip
        raise NotImplementedError

    def _clearing(
        self, networks: Sequence[LinearNetwork], reduced: Sequence[ReducedStep], p_low_mw: Array | None = None,
        p_high_mw: Array | None = None, model: ClearingModel | None = None, own: OwnWindow | None = None,
    ) -> WindowClearing:  # fmt: skip
        raise NotImplementedError

    def own_step(self, t: int) -> OwnStep:
        """What the operator decides in step ``t`` of the horizon, without the network and without what joins steps."""
        return self.clearing_model.own(t, self.price[t : t + 1]).steps[0]

    def _own(self, model: ClearingModel) -> OwnWindow:
        """What the operator decides in the open window, and what it costs."""
        if id(model) not in self._known:
            self._known[id(model)] = model.own(self._first, self.price[self._first : self._first + self._length])
        return self._known[id(model)]

    def injections(self, p_mw: Array, dispatch: Array) -> list[tuple[Terminal, float, float]]:
        """Demand (MW, Mvar) of everything controllable in a step: data centers and resources.

        Args:
            dispatch: (resources' variables,).
        """
        drawn = zip(self.terminals, p_mw.tolist(), (p_mw * self.reactive_ratio).tolist(), strict=True)
        model = self.clearing_model
        given = zip(model.ports, model.powers(dispatch), strict=True)
        return [*drawn, *((port.terminal, -p, -q) for port, (p, q) in given)]

    def _expect(self, window: Window, declared_p_mw: Array) -> None:
        """Take the open window's clearing over all scenarios in place of that on what is forecast."""
        self._forecast = self._window
        if self._supposing is None or window.stage == "real_time":
            return
        steps = slice(window.first, window.last_exclusive)
        self._futures = tuple(
            futures(
                self._supposing(window),
                lambda: self.clearing_model.own(window.first, self.price[steps]),
                lambda: self.load_scale[steps],
            )
        )
        networks, reduced = self._over(self._futures, window, declared_p_mw)
        self._window = self._expected = self._clearing(networks, reduced, own=side_by_side(self._futures))
        spec = self.scenario.market.stochastic
        self._pieces = (networks, reduced) if spec is not None and spec.worth else ([], [])

    @property
    def futures_weights(self) -> tuple[float, ...]:
        """Probabilities of the open window's scenarios."""
        return tuple(f.weight for f in self._futures)

    def _scenario_prices(self, solution: QPSolution) -> ScenarioPrices | None:
        """Prices of each scenario by itself, where aggregators mind risk."""
        spec = self.scenario.market.stochastic
        if spec is None or spec.risk is None or self._window is not self._expected or self._window is None:
            return None
        weights = np.array(self.futures_weights)
        p, q = (slope / (self.hours * weights[:, None, None]) for slope in self._window.scenario_slopes(solution))
        return ScenarioPrices(weights, p, q)

    def suppose(self, what: int | str) -> None:
        """Clear one scenario of the open window by its number as if it were certain, the ``forecast``, or ``all``."""
        if what == "all":
            self._window = self._expected
        elif what == "forecast":
            self._window = self._forecast
        else:
            own, some = self._futures[int(what)].own, slice(self._length * int(what), self._length * (int(what) + 1))
            networks, reduced = self._pieces
            alone = [replace(step, own=mine) for step, mine in zip(reduced[some], own.steps, strict=True)]
            self._window = self._clearing(networks[some], alone, own=own)

    def _over(
        self, some: Sequence[Future], window: Window, declared_p_mw: Array
    ) -> tuple[list[LinearNetwork], list[ReducedStep]]:
        """Networks and clearings of all scenarios, linearised as the scenario says."""
        spec = self.scenario.market.stochastic
        if spec is not None and spec.tangents == "step":
            return self._moved_with_load(some, window, declared_p_mw)
        return self._each_linearised(some, window, declared_p_mw)

    def _moved_with_load(
        self, some: Sequence[Future], window: Window, declared_p_mw: Array
    ) -> tuple[list[LinearNetwork], list[ReducedStep]]:
        """Those on one linearisation of each step, at the forecast, moved with the load."""
        via, model = self._model, self.clearing_model
        steps = np.arange(window.first, window.last_exclusive)
        scale, own = np.array([f.load_scale for f in some]), side_by_side(some)
        at = load_nodes(self.load_scale[steps], scale)
        points = [self._points.start(int(t), lambda *_: True) for t in steps]
        networks, reduced = self._linearised(steps, declared_p_mw, points, via)
        injections = [self.injections(p, point.dispatch) for p, point in zip(declared_p_mw, points, strict=True)]
        feeders, starts = [self.feeder_at(int(t)) for t in steps], [point.states for point in points]
        beside = [via.linearisation.at(feeders, k.tolist(), injections, starts) for k in at[1:]]
        drawn = np.concatenate([declared_p_mw, declared_p_mw * self.reactive_ratio], axis=1)
        inputs = [model.injections.at(point.dispatch, x) for point, x in zip(points, drawn, strict=True)]
        p_mw, q_mvar = (np.array(part) for part in zip(*inputs, strict=True))
        by_load = parabolas(model, [networks, *beside], at, p_mw, q_mvar)
        return networks * len(some), moved_with_load(model, reduced, by_load, scale, own.steps)

    def _each_linearised(
        self, some: Sequence[Future], window: Window, declared_p_mw: Array
    ) -> tuple[list[LinearNetwork], list[ReducedStep]]:
        """Those with the network of each linearised around the declared demand and the dispatch in it.

        The dispatch is that which the linearisation at the forecast dispatch leads to.
        """
        own, via = side_by_side(some), self._model
        steps = np.tile(np.arange(window.first, window.last_exclusive), len(some))
        p_mw = np.tile(declared_p_mw, (len(some), 1))
        scale = np.concatenate([f.load_scale for f in some]).tolist()
        points = [self._points.start(int(t), lambda *_: True) for t in steps]
        if self.scenario.network.losses:
            linear = self._linearised(steps, p_mw, points, via, None, scale, own.steps)
            trial = self._clearing(*linear, declared_p_mw, declared_p_mw, own=own)
            decided = trial.decided(trial.solve(declared_p_mw))[:, : self.clearing_model.resource_variables]
            there = [replace(point, dispatch=x) for point, x in zip(points, decided, strict=True)]
            points = via.linearisation.located(there, partial(trial.states, declared_p_mw, decided))
        return self._linearised(steps, p_mw, points, via, LINEARISATION_TOLERANCE, scale, own.steps)
