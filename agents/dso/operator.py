"""The distribution system operator: clears the feeder and says what power costs where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import mesa
import numpy as np
from numpy.typing import NDArray

from cosim.agents.dso import reporting
from cosim.agents.dso.ac_dispatch import AcDispatch, WindowData
from cosim.agents.dso.accounts import AccountBook
from cosim.agents.dso.chance import chance_limits
from cosim.agents.dso.clearing import ClearingModel, ReducedStep
from cosim.agents.dso.devices import moving_devices
from cosim.agents.dso.envelopes import EnvelopeBook
from cosim.agents.dso.limits import limits_of
from cosim.agents.dso.linearisation import (
    LINEARISATION_TOLERANCE,
    Around,
    KnownPoints,
    Linearisation,
    NetworkModel,
    Point,
    window_around,
)
from cosim.agents.dso.own_problem import OwnStep, OwnWindow
from cosim.agents.dso.refinement import Refinement
from cosim.agents.dso.resources.kinds import resources_of, symbols_of
from cosim.agents.dso.stochastic.expecting import Expecting
from cosim.agents.dso.window import StepResult, WindowClearing
from cosim.constants import KILO
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.linear import ac_tangent
from cosim.grid.linear.lindist3flow import is_sayable
from cosim.grid.linear.network import LinearNetwork
from cosim.grid.opendss.circuit import AcSolution
from cosim.optimization.bilevel.model.settlement import Settlement
from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.qp.solution import QPSolution
from cosim.optimization.solvers.proximal import proximal_gradient
from cosim.protocol.envelopes import Envelope, SharingRule
from cosim.protocol.roles import Array, Clearing, Delivered, Prices, Refined, TerminalLoad
from cosim.results.columns import Columns
from cosim.scenario.calendar import Window
from cosim.scenario.preparation import PreparedFeeder


class DistributionSystemOperator(Expecting, mesa.Agent):  # type: ignore[misc]
    """Agent of the operator; see :class:`cosim.coordination.base.OperatorAgent` for what it does.

    Args:
        model: the Mesa model.
        prepared: its feeder with the series, and the scenario as it is for this feeder alone.
        loads: the data-center terminals on its feeder.
    """

    def __init__(self, model: mesa.Model, prepared: PreparedFeeder, loads: Sequence[TerminalLoad]) -> None:
        super().__init__(model)
        scenario, feeder = prepared.scenario, prepared.feeder
        self.name = scenario.operator.name
        self.scenario, self.feeder = scenario, feeder
        self.terminals = tuple(load.terminal for load in loads)
        self.p_max_mw = np.array([load.p_max_mw for load in loads])
        self.reactive_ratio = np.array([load.reactive_ratio for load in loads])
        self.hours = prepared.calendar.step_hours
        self.load_scale, self.price = prepared.load_scale, prepared.price_usd_per_mwh
        self.resources = resources_of(prepared)
        self.limits, self._margins = limits_of(scenario, feeder), dict[int, Array]()
        self._chance = chance_limits(prepared, self.resources, self._margins)
        self.linearisation = Linearisation(feeder, scenario.network)
        self.clearing_model = self._compiled(self.linearisation.first(float(self.load_scale[0])))
        self._model = NetworkModel(self.linearisation, self.clearing_model)
        self._accounts = AccountBook(self.clearing_model, self.hours)
        self._devices, self._live = moving_devices(prepared, loads, self.resources), prepared.live
        self._supposing = prepared.supposing
        self._following = self._devices if scenario.network.follows(*scenario.modes) else None
        self._window: WindowClearing | None = None
        self._first, self._results = 0, dict[int, StepResult]()
        self._points = KnownPoints(self.clearing_model.resource_variables, round(24 / self.hours))
        self._connected = tuple(loads), prepared.limits
        self._opened, self._known = tuple[str, ...](), dict[int, OwnWindow]()
        self._refinement: Refinement | None = None
        self._settled: tuple[Array, QPSolution] | None = None
        self._writer = reporting.StepRows(scenario, feeder, len(self.price))

    def _compiled(self, network: LinearNetwork) -> ClearingModel:
        """The clearing of a step, compiled for networks of this structure."""
        market = self.scenario.market
        return ClearingModel(
            network, self.terminals, self.resources, self.limits, self.hours,
            market.slope_usd_per_mwh_per_mw, market.reactive_price_usd_per_mvarh, self._margins,
        )  # fmt: skip

    # -- the window -------------------------------------------------------------------------------------------

    @property
    def looks_ahead(self) -> bool:
        """Whether what it decides in a step of the open window hangs together with what it decides in others."""
        return self._own(self.clearing_model).tied

    def open_window(self, window: Window, declared_p_mw: Array) -> None:
        """Open a window on what is forecast, and, where there are scenarios of what may happen, over these."""
        self._open(window, declared_p_mw)
        self._expect(window, declared_p_mw)

    def _open(self, window: Window, declared_p_mw: Array) -> None:
        """Linearise each step around the declared demand and the dispatch that it leads to.

        Clearing and linearising take turns (:meth:`Point.towards`), until the dispatch moves by less than
        ``settled_mw`` or the rounds are used up; steps that have settled stay as they are. Then the linearisation
        stays, so that all modes of a window share one statement of the physics. Steps start where
        :class:`KnownPoints` knows one.
        """
        self._first, self._refinement, self._length = window.first, None, window.steps
        self._commit_until = window.commit_until
        self._opened, self._known = (), {}
        if self._live:  # what was found on other forecasts has no part in what is found on these
            self._points.drop(window.first)
            if self._devices is not None:
                self._devices.forget(window.first)
        steps = np.arange(window.first, window.last_exclusive)
        points = [self._points.start(int(t), self._stand_alike) for t in steps]
        around = partial(self._around, steps, declared_p_mw)
        if self._chance is not None:  # the window without margins says where it is linearised
            self._chance.loosen()
            points, via = self._linear(around, points)
            at_load = partial(self._linearised, steps, declared_p_mw, points, via, LINEARISATION_TOLERANCE)
            self._chance.tighten(self.clearing, window.first, at_load, declared_p_mw, [x.dispatch for x in points])
            self._known = {}
        points, _ = self._linear(around, points)
        self._points.keep(window.first, points)

    def _linear(self, around: Around[WindowClearing], points: list[Point]) -> tuple[list[Point], NetworkModel]:
        """Set up the open window by :meth:`_around`, of LinDist3Flow where AC power flow has no solution on the way and
        LinDist3Flow says the feeder."""
        stands_in = self.scenario.network.model == "ac-linear" and is_sayable(self.feeder)
        other = (lambda: self._fallback) if stands_in else None
        self._window, points, via, note = window_around(around, points, self._model, other)
        self._opened = (f"window at step {self._first}: {note}",) if note else ()
        return points, via

    @cached_property
    def _fallback(self) -> NetworkModel:
        """LinDist3Flow, for points at which AC power flow has no solution."""
        spec = self.scenario.network.model_copy(update={"model": "lindist3flow"})
        linearisation = Linearisation(self.feeder, spec)
        return NetworkModel(linearisation, self._compiled(linearisation.first(float(self.load_scale[0]))))

    def _around(
        self, steps: NDArray[np.intp], declared_p_mw: Array, points: Sequence[Point], via: NetworkModel
    ) -> tuple[WindowClearing, list[Point]]:
        """The clearing of steps linearised around the declared demand and its dispatch, and the points where."""
        points = list(points)
        moving = np.arange(len(steps))
        mine, injected = via.clearing.resource_variables, via.clearing.injections.own
        for _ in range(via.linearisation.trials(points)):
            there, before = declared_p_mw[moving], [points[i] for i in moving]
            linear = self._linearised(steps[moving], there, before, via, None)
            trial = self._clearing(*linear, there, there, via.clearing)
            cleared = trial.decided(trial.solve(there))[:, :mine]
            after = [point.towards(x) for point, x in zip(before, cleared, strict=True)]
            moved_to = np.array([point.dispatch for point in after])
            after = via.linearisation.located(after, partial(trial.states, there, moved_to))
            for i, point in zip(moving, after, strict=True):
                points[i] = point
            moved = np.abs(moved_to - [point.dispatch for point in before])[:, injected].max(axis=1, initial=0.0)
            settled = moved < via.linearisation.settled_mw
            if settled.all():
                break
            if not self._own(via.clearing).tied:
                moving = moving[~settled]
        return self._clearing(*self._linearised(steps, declared_p_mw, points, via), model=via.clearing), points

    def envelope(self, forecast_p_mw: Array, rule: SharingRule) -> Envelope:
        """Limits of the sites in the open window, at the dispatch that it leads to at a demand."""
        dispatch = self._ac_dispatch.dispatch_of(self.clearing, forecast_p_mw)
        found = self._envelopes.limits(self._first, self._window_data, dispatch, forecast_p_mw, rule, self._following)
        self._envelopes.tell(self._first, found.limit_mw)
        return found

    def follow(self, window: Window, p_mw: Array) -> None:
        """Open a window anew around what is drawn in it, devices that follow what is drawn acting on that."""
        if self._following is not None:
            self._following.follow(window.first, p_mw)
            self._points.forget(range(window.first, window.last_exclusive))
        self._open(window, p_mw)

    def feeder_at(self, t: int) -> Feeder:
        """The feeder with its regulators and capacitors as they stand in step ``t``."""
        return self.feeder if self._devices is None else self._devices.feeder_at(t)

    def _stand_alike(self, t: int, other: int) -> bool:
        return self._devices is None or self._devices.positions(t) == self._devices.positions(other)

    def refine(self, p_mw: Array, own_usd: float | None, last: bool = False) -> Refined:
        """Judge what was agreed on by AC power flow; see :mod:`cosim.agents.dso.refinement`."""
        rounds = self.scenario.network.ac_rounds
        if rounds == 0 or self.clearing.scenarios > 1:
            return Refined(p_mw, notes=self._opened)
        if self._refinement is None:
            name = f"window at step {self._first}"
            self._refinement = Refinement(self._ac_dispatch, self._window_data(), rounds, name)
        refinement, window = self._refinement, self.clearing
        dispatch = self._ac_dispatch.dispatch_of(window, p_mw)
        if own_usd is None:
            refined = refinement.decided(window, p_mw, dispatch, last)
        else:
            refined = refinement.agreed(window, p_mw, dispatch, own_usd, last)
        self._window = refinement.window or window
        if refinement.point is not None:
            for t, there in enumerate(refinement.point.dispatch, self._first):
                self._points.at(t, there)
        return refined

    @cached_property
    def _envelopes(self) -> EnvelopeBook:
        return EnvelopeBook(*self._connected, self._ac_dispatch, self.reactive_ratio, self.hours)

    @cached_property
    def _ac_dispatch(self) -> AcDispatch:
        """Judge of a dispatch by AC power flow; its clearing is compiled anew unless it is made of tangents already."""
        circuit, model = self.linearisation.circuit, self.clearing_model
        if self.scenario.network.model != "ac-linear":
            model = self._compiled(ac_tangent.build(circuit, float(self.load_scale[0])))
        return AcDispatch(circuit, model, self.limits, self.reactive_ratio)

    def _window_data(self) -> WindowData:
        model = self._ac_dispatch.model
        steps = range(self._first, self._first + self._length)
        own = self._own(model)

        def clear(places: NDArray[np.intp], networks: Sequence[LinearNetwork], p_mw: Array | None) -> WindowClearing:
            reduced = model.reduced(networks, [own.steps[i] for i in places])
            return self._clearing(networks, reduced, p_mw, p_mw, model)

        scale = [float(self.load_scale[t]) for t in steps]
        feeders = [self.feeder_at(t) for t in steps]
        return WindowData(feeders, scale, own.steps, own.tied, self.injections, clear)

    def _clearing(
        self,
        networks: Sequence[LinearNetwork],
        reduced: Sequence[ReducedStep],
        p_low_mw: Array | None = None,
        p_high_mw: Array | None = None,
        model: ClearingModel | None = None,
        own: OwnWindow | None = None,
    ) -> WindowClearing:
        """Clearing of steps for any demand within the ratings, or within these limits.

        Args:
            own: what is decided in all scenarios of the window, whose networks these are; None: on what is forecast.
        """
        count = len(networks) if own is None else self._length
        low = np.zeros((count, len(self.terminals))) if p_low_mw is None else p_low_mw
        high = np.tile(self.p_max_mw, (count, 1)) if p_high_mw is None else p_high_mw
        names = [[f"p[{k}@{t}]" for k in range(len(self.terminals))] for t in range(self._first, self._first + count)]
        model = model or self.clearing_model
        own = own or self._own(model)
        joined = own if len(networks) == len(own.steps) else None
        return WindowClearing(model, networks, reduced, self.reactive_ratio, low, high, names, joined)

    def _linearised(
        self,
        steps: Sequence[int] | NDArray[np.intp],
        p_mw: Array,
        points: Sequence[Point],
        via: NetworkModel,
        tolerance: float | None = LINEARISATION_TOLERANCE,
        scale: Sequence[float] | None = None,
        own: Sequence[OwnStep] | None = None,
    ) -> tuple[list[LinearNetwork], list[ReducedStep]]:
        """Networks of some steps at their points, and the clearings on them; of what is forecast, or in scenarios."""
        injections = [self.injections(p, point.dispatch) for p, point in zip(p_mw, points, strict=True)]
        scale = [float(self.load_scale[t]) for t in steps] if scale is None else scale
        feeders = [self.feeder_at(int(t)) for t in steps]
        networks = via.linearisation.at(feeders, scale, injections, [point.states for point in points], tolerance)
        if own is None:
            own = [self._own(via.clearing).steps[int(t) - self._first] for t in steps]
        return networks, via.clearing.reduced(networks, own)

    @property
    def clearing(self) -> WindowClearing:
        """The open window's clearing problem."""
        if self._window is None:
            raise RuntimeError("the operator was asked before a window was opened")
        return self._window

    # -- what coordination asks -------------------------------------------------------------------------------

    def clear(self, p_mw: Array) -> Clearing:
        """Least-cost clearing at a demand (steps, terminals)."""
        solution = self.clearing.solve(p_mw)
        costs = self.clearing.step_costs(solution)
        return Clearing(p_mw, solution.objective, self._prices(solution), costs)

    def opening_price(self, steps: int) -> Array:
        """Price of energy at the source in each step of the open window, the same at every terminal."""
        return np.repeat(self.price[self._first : self._first + steps, None], len(self.terminals), axis=1)

    def clear_near(self, p_mw: Array, price: Array, penalty: float | Array) -> Clearing:
        """min cost - price'p + 1/2 (p - p_mw)' penalty (p - p_mw) over the demand the feeder may be asked to serve."""
        h = self.hours
        chosen, cost, solution = self.clearing.choose(-h * price, p_mw, h * penalty)
        # What the operator would be paid at the margin of what it chose; its duals price reactive power apart.
        effective = price + proximal_gradient(penalty, p_mw - chosen)
        reactive = self._prices(solution).q_usd_per_mvarh
        return Clearing(chosen, cost, Prices(effective - reactive * self.reactive_ratio, reactive))

    def regret_usd(self, p_mw: Array, price: Array) -> float:
        """cost(p) - price'p - min over p of the same, in USD; never negative."""
        chosen, cost, _ = self.clearing.choose(-self.hours * price)
        there = cost - self.hours * float((price * chosen).sum())
        return max(0.0, self.clearing.solve(p_mw).objective - self.hours * float((price * p_mw).sum()) - there)

    def follower(self) -> ParametricQP:
        """The open window's clearing, demand as parameters."""
        return self.clearing.follower

    def parameter_names(self) -> list[list[str]]:
        """Names of the parameters, (steps, terminals)."""
        return [list(row) for row in self.clearing.labels]

    def settle(self, p_mw: Array, support: Array | None) -> Clearing:
        """Clear at the final demand; among the optimal duals take those nearest to the supporting price."""
        return self._settle(p_mw, support)

    def active_settlement(self) -> Settlement:
        """What active power alone is charged in the open window's clearing."""
        return self.clearing.active_settlement

    def settle_active(self, p_mw: Array, price: Array) -> Clearing:
        """Clear at the final demand; among the optimal duals take those whose active price is nearest to this one."""
        return self._settle(p_mw, price, self.clearing.active_settlement)

    def _settle(self, p_mw: Array, target: Array | None, settlement: Settlement | None = None) -> Clearing:
        """Clear at the final demand, with the optimal duals whose prices, or charges, are nearest to a target."""
        solution = self.clearing.solve(p_mw)
        if target is not None:
            solution = self.clearing.nearest_dual(solution, p_mw, self.hours * target, settlement)
        self._settled, self._results = (p_mw, solution), {}
        return Clearing(p_mw, solution.objective, self._prices(solution))

    def result(self, t: int) -> StepResult:
        """Everything about step ``t`` (of the horizon) of the settled window."""
        if self._settled is None:
            raise RuntimeError("the operator was asked for a result before a window was settled")
        (p_mw, solution), k = self._settled, t - self._first
        if t not in self._results:  # the steps that the window commits are worked out together
            steps = range(t, max(self._commit_until, t + 1))
            found = self.clearing.results([s - self._first for s in steps], p_mw, solution, self.hours)
            self._results = dict(zip(steps, found, strict=True))
            for book in (self._accounts, self._writer):
                book.expect(found)
        result = self._results[t]
        return result if self._chance is None else self._chance.priced(result, k, self.clearing, p_mw, solution)

    def commit(self, t: int) -> Delivered:
        """Take step ``t`` of the settled window as delivered."""
        result = self._committed = self.result(t)
        values, p_mw = result.values, self._settled[0][t - self._first]  # type: ignore[index]
        for resource in self.resources:
            resource.delivered(t, self.clearing_model.decisions_of(resource, result.x))
        return Delivered(
            injections=tuple(self.injections(p_mw, result.x[: self.clearing_model.resource_variables])),
            p_sub_kw=KILO * values["p_sub"],
            q_sub_kvar=KILO * values["q_sub"],
            cost_usd=result.cost_usd,
            slack_kwh=reporting.slack_kwh(self.limits, self.hours, values),
            feeder=self.feeder_at(t),
            accounts=self._accounts.of(result),
        )

    def notes(self) -> tuple[str, ...]:
        """What a reader of the run should know of how the open window was cleared."""
        return reporting.one_direction_notes(self.name, self._first, self.clearing.closed_steps)

    def symbols(self) -> Mapping[str, dict[str, Any]]:
        """What a map needs of each resource, by its name."""
        return symbols_of(self.resources)

    def rows(self, t: int, ac: AcSolution) -> dict[str, Columns]:
        """Prices, dispatch, voltages, unbalance, flows and positions of devices of the step committed last."""
        result = self._committed
        return {
            **self._writer.rows(self.clearing.model, t, result, ac),
            "taps": {} if self._devices is None else self._devices.rows(t),
        }

    # -- prices -----------------------------------------------------------------------------------------------

    def _prices(self, solution: QPSolution) -> Prices:
        p, q = self.clearing.terminal_prices(solution)
        return Prices(p / self.hours, q / self.hours, self._scenario_prices(solution))
