"""The simulation itself: SimPy's clock drives Mesa's agents through the windows of the market."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import mesa
import numpy as np
import simpy

from cosim.coordination import coordination_of
from cosim.coordination.base import Market, Outcome, RoundRecord
from cosim.coordination.delivery import DeliveredStep
from cosim.coordination.operators import Operators, Seat
from cosim.coordination.settlement import Positions, Stage
from cosim.coordination.stochastic import worth
from cosim.coordination.welfare import optimum
from cosim.errors import InputError, RunFailure
from cosim.grid.opendss.circuit import AcSolution
from cosim.protocol.channel import Channel, MessageRecord
from cosim.protocol.roles import AGGREGATOR_METHODS, OPERATOR_METHODS, Array, TerminalLoad
from cosim.results.spool import Shelf
from cosim.scenario.calendar import Window
from cosim.scenario.forecasts.information import information_of
from cosim.scenario.own_code import OWN_CODE, agent_class, import_own_code, told
from cosim.scenario.preparation import Prepared, PreparedFeeder, naming_file
from cosim.scenario.schema import Scenario
from cosim.simulation.accounting import Accounting
from cosim.simulation.books import Books
from cosim.simulation.place import Place

_TOGETHER = 1 << 13
Progress = Callable[[int, int, str], None]


def _silent(done: int, total: int, text: str) -> None:
    """Progress that nobody looks at."""


@contextmanager
def _creating(import_path: str, key: str) -> Iterator[None]:
    """Say which of a user's own classes raised what while an agent of it was created; ours may show where."""
    try:
        yield
    except (InputError, RunFailure):
        raise
    except Exception as error:
        if import_path.startswith(OWN_CODE):
            raise
        raise InputError(f"an agent of this class cannot be created ({type(error).__name__}: {error})", key=key,
                         value=import_path) from error  # fmt: skip


class Simulation(mesa.Model):  # type: ignore[misc]
    """One run: a Mesa model whose agents act when the SimPy clock lets them.

    Random numbers come from one seed sequence, spawned for the model and the channel, so that a run is a function
    of its scenario, mode and seed.

    Args:
        prepared: what the scenario names, read and checked.
        foresight: whether agents know beforehand what happens, whatever the scenario says of forecasts.

    Raises:
        InputError: the scenario asks for what its mode, its agents or its feeder cannot do; nothing has run then.
    """

    def __init__(self, prepared: Prepared, foresight: bool = False) -> None:
        for_model, for_channel = np.random.SeedSequence(prepared.scenario.seed).spawn(2)
        super().__init__(rng=np.random.default_rng(for_model))
        self.prepared = prepared
        self.env = simpy.Environment()
        channel = Channel(self.env, prepared.scenario.channel, np.random.default_rng(for_channel))
        self._progress: Progress = _silent
        self._done = 0
        self.books = Books()
        self._places = tuple(Place(f) for f in prepared.feeders)
        with naming_file(prepared.path):
            for place in self._places:
                place.check()
            import_own_code(prepared.scenario, prepared.path)
            mode = coordination_of(prepared.scenario.mode)
            mode.check(prepared.scenario)
            self.information = None if foresight else information_of(prepared)
            self.market = self._wire(channel, prepared if self.information is None else self.information.told())
            self._stage = Stage(self.market, mode, self.information)
            self._real_time = self._positions = None
            if prepared.calendar.real_time is not None:
                self._real_time = self._stage.second(self.information)
                self._positions = Positions(self.market, self._real_time.market, self.information)
            self._check_capacity()
            self._stage.join()
            if self._real_time is not None:
                self._real_time.join(beside=self._stage)
        spec = prepared.scenario.market.stochastic
        self._works_out_worth = self.information is not None and spec is not None and spec.worth
        self.books.notes += [] if self.information is None else self.information.notes()
        self.books.notes += [] if self._positions is None else self._positions.notes()
        delivers = self._real_time or self._stage
        self._accounting = Accounting(delivers.market, self._loads, prepared)

    def _wire(self, channel: Channel, prepared: Prepared) -> Market:
        """Create the agents that the scenario names and put them around one market.

        Args:
            prepared: with series as the agents know them.
        """
        scenario = prepared.scenario
        specs = {d.name: d for d in scenario.datacenters}
        aggregators, loads = [], []
        column = 0
        for spec in scenario.aggregators:
            names = spec.datacenters or tuple(specs)
            kind = agent_class(spec.agent, f"aggregators.{spec.name}.agent", AGGREGATOR_METHODS)
            sites = [specs[n] for n in names]
            besides = told(kind, spec.parameters, f"aggregators.{spec.name}.parameters")
            with _creating(spec.agent, f"aggregators.{spec.name}.agent"):
                agent = kind(self, spec.name, prepared, sites, column, **besides)
            column = agent.columns.stop
            aggregators.append(agent)
            loads += agent.terminals()
        self._loads = tuple(loads)
        seats = Operators([self._seat(f, loads) for f in prepared.feeders])
        hours = prepared.calendar.step_hours
        return Market(
            seats, tuple(aggregators), self.env, channel, scenario, hours, prepared.tariff_usd_per_mwh,
            prepared.own_tariffs_usd_per_mwh, self._tell,
        )  # fmt: skip

    def _seat(self, prepared: PreparedFeeder, loads: Sequence[TerminalLoad]) -> Seat:
        """The operator of a feeder, created for the terminals that lie on it."""
        columns = np.array([k for k, load in enumerate(loads) if load.feeder == prepared.name], dtype=np.intp)
        spec = prepared.scenario.operator
        with prepared.part.naming_keys():
            kind = agent_class(spec.agent, "operator.agent", OPERATOR_METHODS)
            besides = told(kind, spec.parameters, "operator.parameters")
            with _creating(spec.agent, "operator.agent"):
                return Seat(kind(self, prepared, [loads[k] for k in columns], **besides), prepared.name, columns)

    def _tell(self, text: str, made: RoundRecord | None = None, posted_usd_per_mwh: Array | None = None) -> None:
        if made is not None:
            self.books.shelf.see("posted", {
                "round": made.round, "price_residual": made.price_residual,
                "power_residual_kw": made.power_residual_kw, "price_usd_per_mwh": posted_usd_per_mwh,
            })  # fmt: skip
        self._progress(self._done, self.prepared.calendar.steps, f"step {self._done}: {text}")

    def _check_capacity(self) -> None:
        """Let the aggregators that can refuse the first window's work before anything runs."""
        if self.information is not None:
            self.information.check()
        self.market.declared(next(iter(self.prepared.calendar.windows())))
        if self.information is not None and self.information.uncertain("workload.utilisation"):
            return  # more work than can be done may be forecast, or happen: it is late then, and the notes say so
        for a in self.market.aggregators:
            check = getattr(a, "check_capacity", None)
            if check is not None:
                check()

    def run(self, progress: Progress | None = None, shelf: Shelf | None = None) -> Books:
        """Run the whole horizon; returns the books.

        Args:
            progress: called with (steps done, steps in all, what is being done).
            shelf: where the rows of the tables go; by default into memory.
        """
        self._progress = progress or _silent
        if shelf is not None:
            self.books.shelf = shelf
        process = self.env.process(self._clock())
        self.env.run(until=process)
        self._take_messages(self.market.channel.log)
        for name in sorted(self._accounting.unknown):
            self.books.notes.append(f"operator {name} does not say who drew and gave what: its feeder has no accounts")
        for seat, place in zip(self.market.operator.seats, self._places, strict=True):
            self.books.notes += [seat.named(note) for note in place.notes()]
        return self.books

    def _clock(self) -> Generator[Any, Any, None]:
        """The market's clock: window after window, each agreed on by the agents' processes, one Mesa step for each."""
        calendar = self.prepared.calendar
        for window in calendar.windows():
            yield self.env.timeout(max(0, window.opens_s - self.env.now))
            self._done = window.first
            self._tell("linearising")
            if self.information is not None:
                self.information.open(window)
            if window.stage == "real_time":
                yield from self._in_real_time(window)
            else:
                outcome = yield from self._agreed(self._stage, window)
                if self._positions is not None:
                    self._positions.hold(window, outcome)
                # After that, as the network may have been linearised anew.
                whole = replace(window, commit_until=window.last_exclusive)
                comparable = calendar.market != "rolling" and self._stage.delivery.as_agreed(whole)
                yardstick = optimum(self.market) if comparable else None
                if self._works_out_worth:
                    self.books.worth.append(worth(self.market))
                self._take(window, outcome, None if yardstick is None else yardstick.bound_usd)
            self.step()
        yield self.env.timeout(max(0, calendar.end_s - self.env.now))
        self._progress(calendar.steps, calendar.steps, "done")

    def _in_real_time(self, window: Window) -> Generator[Any, Any, None]:
        """A window of the second of two settlements: agreed on anew where anything is known that was not day ahead."""
        stage, positions = self._real_time, self._positions
        assert stage is not None and positions is not None, "the calendar has real-time windows"
        day, held = positions.day
        if positions.stand(window):
            yield self.env.timeout(max(0, window.closes_s - self.env.now))
            delivered = stage.delivery.one(day, held, window.first)
            if delivered.anew:
                positions.leave()
            self._deliver(stage, held, iter([delivered]))
            return
        if window.first == day.first:
            self.market.channel.next_settlement()
        self._take(window, (yield from self._agreed(stage, window)), 0.0)  # the optimum of the day counts once

    def _agreed(self, stage: Stage, window: Window) -> Generator[Any, Any, Outcome]:
        """What a window is agreed on at."""
        declared = self.market.declared(window)
        self.books.notes += stage.session.open(window, declared)
        outcome: Outcome = yield from stage.session.agree(window, declared)
        return outcome

    def base_cases(self) -> list[AcSolution]:
        """AC solution of each feeder alone at peak load, its devices as in the tables."""
        return [place.base_case() for place in self._places]

    def _take(self, window: Window, outcome: Outcome, welfare_usd: float | None) -> None:
        """Commit the window's steps and write them, and what it was agreed on at, into the books."""
        books = self.books
        books.outcomes.append(outcome)
        books.notes += outcome.notes
        for a in self.market.aggregators:
            books.notes += _noted(a)
        for seat in self.market.operator.seats:
            books.notes += [seat.named(note) for note in _noted(seat.operator)]
        books.welfare_usd = (
            None if books.welfare_usd is None or welfare_usd is None else books.welfare_usd + welfare_usd
        )
        rounds, named = outcome.rounds, {"stage": window.stage} if window.stage else {}
        books.add(
            "rounds",
            {
                "step": window.first, **named, "round": [r.round for r in rounds], "time": [r.time_s for r in rounds],
                "price_residual": [r.price_residual for r in rounds],
                "power_residual_kw": [r.power_residual_kw for r in rounds],
                "dca_cost_usd": [r.dca_cost_usd for r in rounds], "dso_cost_usd": [r.dso_cost_usd for r in rounds],
            },
        )  # fmt: skip
        if window.stage == "day_ahead":
            held = [DeliveredStep(t, outcome.clearing, t - window.first) for t in window.taken]
            self._note_limited_prices(self._stage.market.scenario, held, " day ahead")
        stage = self._stage if window.stage != "real_time" or self._real_time is None else self._real_time
        self._deliver(stage, outcome, stage.delivery.steps(window, outcome))

    def _deliver(self, stage: Stage, outcome: Outcome, steps: Iterator[DeliveredStep]) -> None:
        """Commit steps, each before the next is asked for, and write them into the books."""
        books, delivered = self.books, []
        for step in steps:
            self._take_step(stage, step, outcome)
            for table, columns in outcome.rows:
                if columns["step"] == step.t:
                    books.add(table, columns)
            delivered.append(step)
            if step.anew:
                for seat in self.market.operator.seats:
                    books.notes += [seat.named(note) for note in _noted(seat.operator)]
        for columns in self._accounting.rows():
            books.add("accounts", columns)
        self._note_limited_prices(stage.market.scenario, delivered)
        self._take_messages(self.market.channel.drain())
        books.pack(_TOGETHER)

    def _take_messages(self, records: Sequence[MessageRecord]) -> None:
        self.books.add(
            "messages",
            {
                "sent": [r.sent_s for r in records], "received": [r.received_s for r in records],
                "sender": [r.sender for r in records], "receiver": [r.receiver for r in records],
                "kind": [r.kind for r in records], "step": [r.step for r in records],
                "round": [r.round for r in records],
            },
        )  # fmt: skip

    def _note_limited_prices(
        self, scenario: Scenario, delivered: Sequence[DeliveredStep], when: str = ""
    ) -> None:
        """Say in which steps the floor or the cap was charged instead of the price."""
        if not delivered:
            return
        price = np.array([d.clearing.prices.p_usd_per_mwh[d.local] for d in delivered])
        met: dict[str, list[int]] = {}
        for agent, spec in zip(self.market.aggregators, scenario.aggregators, strict=True):
            for name, limit in zip(("floor", "cap"), scenario.price_limits(spec), strict=True):
                own = f" of {spec.name}" if getattr(spec, f"price_{name}_usd_per_mwh") is not None else ""
                here = (price[:, agent.columns] == limit).any(axis=1)
                steps = [d.t for d, met_here in zip(delivered, here, strict=True) if limit is not None and met_here]
                if steps:
                    met.setdefault(f"the price {name}{own} of {limit:g} USD/MWh", []).extend(steps)
        for what, steps in met.items():
            listed = ", ".join(map(str, sorted(set(steps))))
            self.books.notes.append(f"{what} was charged{when} in steps {listed}")

    def _take_step(self, stage: Stage, delivered: DeliveredStep, outcome: Outcome) -> None:
        t, local, market, prepared = delivered.t, delivered.local, stage.market, self.prepared
        payments, held = market.payments_of_step_usd(delivered.clearing, local), None
        if self._positions is not None:
            settled = self._positions.settled(t, delivered.clearing, local)
            payments, held = self._positions.payments_usd(settled), settled.held
            self.books.add("deviations", self._positions.rows(t, settled, self._accounting.terminals))
        found = [
            self._take_feeder(seat, place, t, payment)
            for seat, place, payment in zip(market.operator.seats, self._places, payments, strict=True)
        ]
        own, own_costs = 0.0, {}
        for a in market.aggregators:
            own_cost, tables = a.commit(t)
            own, own_costs[a.name] = own + own_cost, own_cost
            for table, columns in tables.items():
                self.books.add(table, columns)
        self._accounting.step(t, local, delivered.clearing, own_costs, held)
        sums = {key: sum(feeder[key] for feeder in found) for key in found[0]}
        # of a single feeder what it is; else the mean over the feeders, whose own prices are in the table of feeders
        price = sums.pop("price_sub_usd_per_mwh") / len(found)
        self.books.add(
            "steps",
            {
                "step": t,
                "time": prepared.calendar.timestamp(t),
                "mode": prepared.scenario.mode,
                "market": prepared.scenario.clock.market,
                "price_sub_usd_per_mwh": price,
                "dca_own_cost_usd": own,
                "social_cost_usd": sums["dso_cost_usd"] + own,
                "rounds": len(outcome.rounds),
                "converged": outcome.converged,
                **sums,
            },
        )

    def _take_feeder(self, seat: Seat, place: Place, t: int, payment_usd: float) -> dict[str, float]:
        """Commit a step on one feeder, write it into the books, and return its part of the step's sums."""
        delivered = seat.operator.commit(t)
        ac = place.solve(t, delivered)
        self._accounting.feeder(t, seat, delivered.accounts, place.circuit, ac.converged)
        rows = dict(seat.operator.rows(t, ac))
        told = [("limits", columns) for columns in place.limit_rows(t, rows.pop("limits", {}), ac)]
        for table, columns in [*rows.items(), *told]:
            self.books.add(table, {**columns, "feeder": seat.feeder} if columns and seat.feeder else columns)
        if not ac.converged:
            self.books.notes.append(seat.named(f"step {t}: the AC power flow did not converge"))
        found = {
            "price_sub_usd_per_mwh": float(place.prepared.price_usd_per_mwh[t]),
            "p_sub_kw": delivered.p_sub_kw,
            "q_sub_kvar": delivered.q_sub_kvar,
            "dso_cost_usd": delivered.cost_usd,
            "dca_payment_usd": payment_usd,
            "slack_kwh": delivered.slack_kwh,
            "p_sub_ac_kw": ac.p_source_kw,
            "losses_ac_kw": ac.losses_kw,
        }
        self.books.add("feeders", {"step": t, "feeder": seat.feeder, **found} if seat.feeder else {})
        return found


def _noted(agent: object) -> Sequence[str]:
    """Notes of an agent on the window that was agreed on last, if it makes any."""
    notes = getattr(agent, "notes", None)
    return notes() if callable(notes) else ()
