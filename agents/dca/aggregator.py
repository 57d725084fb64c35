"""The data center aggregator: decides when and where its computing runs."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import mesa
import numpy as np
import simpy
from numpy.typing import NDArray

from cosim.agents.dca import reporting
from cosim.agents.dca.answers import RiskAverse, anticipating
from cosim.agents.dca.capacity import check_agreements, check_capacity
from cosim.agents.dca.datacenter import agreed, datacenter_of
from cosim.agents.dca.drawing import ADOPTED_MW, drawing, punctual
from cosim.agents.dca.reporting import WorkResult
from cosim.agents.dca.scheduling import ScheduleModel, WindowWork
from cosim.agents.dca.workload import Ledger, arrivals_mwh
from cosim.constants import KILO
from cosim.optimization.qp.exclusive import closed, overlapping
from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.qp.solution import QPSolution
from cosim.optimization.qp.transform import rename
from cosim.optimization.solvers.cutting_planes import CutModel
from cosim.optimization.solvers.proximal import ProximalSolver
from cosim.optimization.solvers.qp_solver import FINE, QPSolver
from cosim.protocol.desk import AggregatorDesk, bidding
from cosim.protocol.messages import Bid, PricePosting
from cosim.protocol.roles import TerminalLoad
from cosim.results.columns import Columns
from cosim.scenario.calendar import Window
from cosim.scenario.preparation import Prepared
from cosim.scenario.schema import DataCenterSpec

Array = NDArray[np.float64]
_PROMPT_WEIGHT = 1e3


class DataCenterAggregator(mesa.Agent):  # type: ignore[misc]
    """Agent of an aggregator; see :class:`cosim.coordination.base.AggregatorAgent` for what it does.

    Args:
        model: the Mesa model.
        name: its name, the address of its messages.
        prepared: the scenario with its feeders and series.
        sites: its data centers.
        first_column: number of its first terminal among all terminals.
    """

    def __init__(
        self,
        model: mesa.Model,
        name: str,
        prepared: Prepared,
        sites: Sequence[DataCenterSpec],
        first_column: int,
    ) -> None:
        super().__init__(model)
        scenario = prepared.scenario
        self.name = name
        feeders = [prepared.feeder_of(spec) for spec in sites]
        self.sites = tuple(
            datacenter_of(on.feeder, spec, f"datacenters.{spec.name}")
            for on, spec in zip(feeders, sites, strict=True)
        )
        self._feeders = tuple(on.name for on in feeders)
        self.columns = slice(first_column, first_column + sum(len(s.terminals) for s in self.sites))
        self.hours = prepared.calendar.step_hours
        self._risk = None if scenario.market.stochastic is None else scenario.market.stochastic.risk
        self._spec = scenario.workload
        self._utilisation = prepared.utilisation
        self._on_arrival_mw = [np.empty(len(self._utilisation)) for _ in self.sites]  # of each terminal of a site
        self.ledger = Ledger(self._spec.classes, self._learn(), prepared.calendar.end_of_work)
        self.charge_mwh = np.array(
            [0.0 if s.battery is None else s.battery.initial * s.battery.energy_kwh / KILO for s in self.sites]
        )
        self.reactive_ratio = np.array([s.reactive_ratio for s in self.sites for _ in s.terminals])
        self._models: dict[tuple[int, int], ScheduleModel] = {}
        step_kw = scenario.market.bid_step_kw
        self._bid_step_mw = None if step_kw is None else step_kw / KILO
        self._rating_mw = np.array([s.terminal_max_mw for s in self.sites for _ in s.terminals])
        self._settles_reactive = scenario.market.settlement == "active+reactive"
        self._x: Array | None = None
        self._bid_mw: Array | None = None

    def _learn(self) -> Array:
        """(classes, sites, steps) MWh of work that arrives, as far as is known."""
        self._seen = np.array(self._utilisation)
        arrivals = arrivals_mwh(self._spec, self.sites, self._seen, self.hours)
        for drawn, site, work in zip(self._on_arrival_mw, self.sites, arrivals.sum(axis=0) / self.hours, strict=True):
            drawn[:] = site.draw_mw(work) / len(site.terminals)
        return arrivals

    def terminals(self) -> list[TerminalLoad]:
        """What the operators are told of the sites on their feeders."""
        return [
            TerminalLoad(
                s.name if len(s.terminals) == 1 else f"{s.name}.{t.phases[0]}",
                t,
                s.terminal_max_mw,
                s.reactive_ratio,
                drawn,
                feeder,
                None if s.agreement is None else agreed(s),
            )
            for s, drawn, feeder in zip(self.sites, self._on_arrival_mw, self._feeders, strict=True)
            for t in s.terminals
        ]

    # -- the window -------------------------------------------------------------------------------------------

    def run(self, env: simpy.Environment, desk: AggregatorDesk) -> Generator[simpy.Event, Any, None]:
        """Its process: it answers postings by :meth:`respond` and adopts its award; see :func:`bidding`."""
        return bidding(self, env, desk)

    def open_window(self, window: Window) -> Array:
        """Set up the schedule of a window; returns the demand (steps, terminals) of running work on arrival."""
        if not np.array_equal(self._seen, self._utilisation, equal_nan=True):
            self.ledger.learn(self._learn())
        self._tracks = False
        steps, planned = window.steps, self.ledger.planned_until(window.first, window.last_exclusive)
        beyond = planned - window.last_exclusive
        if (steps, beyond) not in self._models:
            self._models[steps, beyond] = ScheduleModel(
                self.sites, self._spec.classes, steps, self.hours, self._spec.late_cost_usd_per_mwh, beyond
            )
        self._model = self._models[steps, beyond]
        self._window = window
        self._work = WindowWork(
            arrived=self.ledger.arrivals[:, :, window.first : planned],
            may_wait=self.ledger.may_wait(window.first, planned),
            backlog=self.ledger.backlog(window.first),
            charge_mwh=self.charge_mwh,
        )
        self._columns = self._model.power_columns()
        self._whole = self._model.at(self._work)
        last = np.array([int(v.rstrip("]").rsplit(",", 1)[1]) for v in self._whole.variables])
        self._of_step = [np.flatnonzero(last == t) for t in range(steps)]
        return self._begin(self._whole, self._rating_mw)

    def limit(self, p_max_mw: Array) -> Array:
        """Draw at most so much (steps, own terminals) for the rest of the window, the firm part where it is nan; the
        demand if work runs on arrival as far as that allows."""
        firm = np.array([s.firm_mw / len(s.terminals) for s in self.sites for _ in s.terminals])
        most = np.minimum(np.where(np.isnan(p_max_mw), firm, p_max_mw), self._rating_mw)
        return self._begin(self._model.within(self._whole, most), most)

    def _begin(self, qp: ParametricQP, most_mw: Array) -> Array:
        """Schedule by this problem from now on, first with work run on arrival; its demand (steps, own terminals)."""
        self._closed, self._open, self._most_mw = frozenset[str](), qp, most_mw
        self._take_up(qp)
        self._cuts, self._cut_rounds = CutModel(self._qp, self._columns), set[int]()
        self._x = self._on_arrival = self._prompt().x
        self._stay_punctual()
        self._bid_mw = self._x[self._columns]
        return self._bid_mw

    def _take_up(self, qp: ParametricQP) -> None:
        """Answer from this schedule problem from now on."""
        self._qp = qp
        self._solver = QPSolver(qp, tolerance=FINE)
        self._near = ProximalSolver(self._solver, self._columns)

    def _close_overlaps(self, x: Array) -> bool:
        """Hold the smaller flow of each battery that charges and discharges at once in a schedule at zero, for the
        rest of the window; whether there was one.

        A window's answers then come from one convex problem again, so that rounds of prices and bids can settle.
        """
        values = dict(zip(self._open.variables, x.tolist(), strict=True)) if self._open.exclusive else {}
        both = overlapping(self._open.exclusive, values)
        if both:
            self._closed |= {smaller for smaller, _ in both}
            self._take_up(closed(self._open, self._closed))
            self._stay_punctual()
            self._cuts.problem = self._qp
        return bool(both)

    def notes(self) -> tuple[str, ...]:
        """What a reader of the run should know of the window's schedule."""
        steps = sorted({self._window.first + int(v.rstrip("]").rsplit(",", 1)[1]) for v in self._closed})
        if not steps:
            return ()
        return (
            f"window at step {self._window.first}: at the prices posted, {self.name} would charge and discharge a "
            f"battery at once in steps {', '.join(map(str, steps))}; it kept to one direction in each, which its "
            "regret takes as given",
        )

    def _prompt(self) -> QPSolution:
        """As early and as local as possible: waiting and moving cost far more than anything else."""
        extra = np.zeros(len(self._qp.variables))
        for name, column in self._model.column.items():
            if name.startswith(("waiting[", "sent[", "battery_", "lost[", "backup[")):
                extra[column] = _PROMPT_WEIGHT
        return self._solver.solve(np.zeros(0), extra_linear=extra).require()

    def _stay_punctual(self) -> None:
        """On a grid of bids, and in delivery, draw only what leaves no more work late than running it on arrival."""
        self._drawer = self._near
        if self._bid_step_mw is not None or self._tracks:
            self._drawer = ProximalSolver(QPSolver(self._punctual(), tolerance=FINE), self._columns)

    def _punctual(self) -> ParametricQP:
        """The window's problem with no more late than if all work ran on arrival; see :func:`punctual`."""
        return punctual(self._qp, self._model.late_columns(), self._on_arrival)

    def check_capacity(self) -> None:
        """Refuse work that cannot be done in time even with all flexibility used, or that no limit may touch and the
        firm part of a connection does not carry (call after a window opened).

        Raises:
            InputError: naming how much work is too much.
        """
        latest = self._solver.solve(np.zeros(0)).require()
        late = (self._model.amounts(latest.x, "waiting") - self._work.may_wait)[:, :, : self._window.steps]
        check_capacity(self.sites, self._work.arrived, late, self.hours)
        check_agreements(self.sites, self._spec.classes, self.ledger.arrivals, self.hours)

    # -- what coordination asks -------------------------------------------------------------------------------

    def charged(self, price_p: Array, price_q: Array) -> Array:
        """Price per MWh drawn that the aggregator pays: reactive power counts if it is settled."""
        return price_p + self.reactive_ratio * price_q if self._settles_reactive else price_p

    def respond(self, posting: PricePosting) -> Bid:
        """Cheapest demand at what is posted: a price, perhaps with a target to stay near, a tangent of the operator's
        cost to reckon with, or slopes of the price. On a grid, cost and regret are of what would be drawn for the bid.
        """
        x, price, averse = self._best(posting)
        while self._close_overlaps(x):
            x, price, averse = self._best(posting)
        p = drawn = np.clip(x[self._columns], 0.0, None)
        if self._bid_step_mw is not None:
            p = self._on_grid(p, self._bid_step_mw)
            x = self._drawn(p)
            drawn = np.clip(x[self._columns], 0.0, None)
        self._x, self._bid_mw, own = x, p, self._qp.objective(x)
        return Bid(
            sender=self.name,
            receiver=posting.sender,
            step=posting.step,
            round=posting.round,
            p_mw=p,
            q_mvar=p * self.reactive_ratio,
            regret_usd=self._regret(price, drawn, own) if averse is None else averse.regret_usd(drawn, own),
            cost_usd=own,
            price_usd_per_mwh=None if posting.cut_cost_usd is None else price,
        )

    def _best(self, posting: PricePosting) -> tuple[Array, Array, RiskAverse | None]:
        """The cheapest schedule at what is posted, the price it answers, and what risk it was chosen for."""
        price = self.charged(posting.price_p_usd_per_mwh, posting.price_q_usd_per_mvarh)
        averse = RiskAverse.of(posting, self._risk, self.hours, self._qp, self._columns)
        if averse is not None:
            found = averse.minimum(posting.target_p_mw, self.hours * posting.penalty())
            return found.x[: len(self._qp.variables)], price, averse
        if posting.cut_cost_usd is not None:
            return *self._against_cuts(posting), None
        if posting.price_slope_usd_per_mw2h is not None:
            return anticipating(self._punctual(), self._columns, self.hours, price, posting), price, None
        return self._solve(self.hours * price, posting.target_p_mw, self.hours * posting.penalty()).x, price, None

    def _on_grid(self, p_mw: Array, step_mw: float) -> Array:
        """The nearest power that may be bid, and drawn."""
        return np.asarray(step_mw * np.minimum(np.round(p_mw / step_mw), np.floor(self._most_mw / step_mw)))

    def _regret(self, price: Array, p: Array, own: float) -> float:
        """What a demand costs more than the best one at this price (USD)."""
        free = self._solve(self.hours * price).x
        best = self._qp.objective(free) + float((self.hours * price * free[self._columns]).sum())
        return max(0.0, own + float((self.hours * price * p).sum()) - best)

    def _against_cuts(self, posting: PricePosting) -> tuple[Array, Array]:
        """Schedule against all tangents of the operator's cost told in this window, and the price they come to."""
        cost, at, slope = posting.cut_cost_usd, posting.cut_p_mw, posting.cut_slope_usd_per_mwh
        if cost is None or at is None or slope is None or posting.target_p_mw is None:
            raise ValueError("a tangent of the operator's cost needs cost, demand, slope and target")
        if posting.fresh and posting.round not in self._cut_rounds:
            self._cuts = CutModel(self._qp, self._columns)
        if posting.round not in self._cut_rounds:
            self._cut_rounds.add(posting.round)
            self._cuts.add(cost[:, 0], self.hours * slope, at)
        found = self._cuts.minimise(posting.target_p_mw, self.hours * posting.penalty())
        return found.x, found.slope / self.hours

    def _solve(self, linear: Array, near: Array | None = None, penalty: float | Array = 0.0) -> QPSolution:
        return self._near.solve(linear, near, penalty)

    def problem(self, names: Sequence[Sequence[str]]) -> ParametricQP:
        """The window's schedule with the power variables under the given names."""
        new = {
            self._whole.variables[self._columns[t, n]]: names[t][n]
            for t in range(len(names))
            for n in range(len(names[t]))
        }
        return rename(self._whole, lambda v: new.get(v, f"{self.name}.{v}"), lambda row: f"{self.name}.{row}")

    def adopt(self, p_mw: Array, solution: Array | None = None) -> float:
        """Commit to a demand: with a solution of :meth:`problem` as it is, else the cheapest schedule that draws it.

        On a grid of bids it is the nearest schedule to the demand among those that leave no more work late than running
        it on arrival would.

        Returns:
            Own cost of the window in USD.
        """
        if solution is not None:
            self._x, self._bid_mw = solution, p_mw
        elif self._x is None or self._bid_mw is None or np.abs(self._bid_mw - p_mw).max() > ADOPTED_MW:
            self._x, self._bid_mw = self._drawn(p_mw), p_mw
        self._x = self._model.booked(self._x, self._work)
        return self._qp.objective(self._x)

    def _drawn(self, p_mw: Array) -> Array:
        """The schedule that draws this power, or the nearest, no battery charged and discharged at once."""
        x = drawing(self._drawer, self._columns, p_mw)
        while self._close_overlaps(x):
            x = drawing(self._drawer, self._columns, p_mw)
        return x

    def deliver(self, window: Window, p_mw: Array | None, p_max_mw: Array | None = None) -> Array:
        """Schedule anew what is left of a window when its first step is delivered, with the work that has arrived.

        Args:
            p_mw: (steps, own terminals) what was agreed on; None: nothing, so that work runs on arrival.
            p_max_mw: see :meth:`limit`; None: no limits.

        Returns:
            (steps, own terminals) what is drawn, MW: the nearest to that, over all steps left, in which no work is late
            that need not be. Work above the forecast is done.
        """
        self.open_window(window)
        if p_max_mw is not None:
            self.limit(p_max_mw)
        if p_mw is not None:
            self._tracks = True
            self._stay_punctual()
            self._x = self._model.booked(self._drawn(p_mw), self._work)
        return self.drawn_mw()

    def drawn_mw(self) -> Array:
        """(steps, own terminals) what the adopted schedule draws."""
        if self._x is None:
            raise RuntimeError("the aggregator was asked for its power before a window was opened")
        return np.clip(self._x[self._columns], 0.0, None)

    # -- after the window -------------------------------------------------------------------------------------

    def commit(self, t: int) -> tuple[float, dict[str, Columns]]:
        """Do the work of step ``t`` (of the horizon) as scheduled, and book it; own cost (USD) and table rows."""
        result = self._work_of(t)
        self.site_costs_usd = {s.name: float(x) for s, x in zip(self.sites, result.site_costs_usd, strict=True)}
        self.unit_costs_usd = {(self.sites[i].name, unit): x for (i, unit), x in result.limited_usd.items()}
        return result.own_cost_usd, {
            "demand": reporting.demand_rows(self.sites, t, result),
            "work": reporting.work_rows(self.ledger, self.sites, t, result),
        }

    def _work_of(self, t: int) -> WorkResult:
        assert self._x is not None
        local = t - self._window.first
        done, sent, taken, lost = (
            np.maximum(self._model.amounts(self._x, name)[:, :, local], 0.0)
            for name in ("served", "sent", "taken", "lost")
        )
        served_at = done + taken
        self.ledger.commit(t, done + sent + lost)
        waiting, late = self.ledger.backlog(t + 1), self.ledger.overdue(t)
        # what is booked, not what the window's solution says: it knows nothing of a watt served too much before
        x = self._model.with_queues(self._x, waiting[:, :, None], late[:, :, None], local)
        for i in self._model.block.owner:
            self.charge_mwh[i] = x[self._model.column[f"charge[{i},{local}]"]]
        costs = self._qp.cost * x
        limited = self._model.limited_costs_usd(costs, local)
        of_sites = self._model.site_costs_usd(costs, self._of_step[local])
        for (i, _), usd in limited.items():
            of_sites[i] -= usd
        return WorkResult(
            arrived=self._work.arrived[:, :, local],
            served_at=served_at,
            waiting=waiting,
            late=late,
            utilisation=served_at.sum(axis=0) / self.hours / np.array([s.dynamic_mw for s in self.sites]),
            power_mw=x[self._columns[local]],
            own_cost_usd=float(self._qp.cost[self._of_step[local]] @ x[self._of_step[local]]),
            site_costs_usd=of_sites,
            lost=lost,
            backup_mw=np.append(x, 0.0)[self._model.step_columns("backup", len(self.sites), local)],
            limited_usd=limited,
        )
