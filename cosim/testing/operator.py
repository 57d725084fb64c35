"""An own operator against :class:`cosim.protocol.roles.OperatorAgent`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from cosim.coordination.operators import Seat
from cosim.grid.opendss.circuit import AcSolution
from cosim.protocol.messages import Award
from cosim.protocol.roles import OPERATOR_METHODS, Clearing, Delivered
from cosim.results.tables import Tables
from cosim.scenario.calendar import Window
from cosim.scenario.own_code import imported
from cosim.simulation.simulation import Simulation
from cosim.testing.cases import COMMON, Array, Trial, import_path, is_table, raising, shape_of
from cosim.testing.report import Report

CHECKS = {
    **COMMON,
    "clearing": "clear and settle return a Clearing of the very demand that they are asked for, at a finite cost",
    "shapes": "prices are (steps, terminals) and finite",
    "unchanged": "what it is told (declared demand, prices) is not changed",
    "state": "clearing twice, or opening the same window again, says the same: only commit changes what comes next",
    "window": "it clears the window that was opened last, whatever was open before",
    "sign": "a price is positive where more demand costs more, and negative where it costs less",
    "duals": "price times more demand lies between what that much less saves and what that much more costs",
    "near": "clear_near chooses a demand within the largest powers, none of those tried being better at the price",
    "regret": "regret_usd is not negative, and not less than what another demand would gain",
    "awards": "each aggregator with sites on its feeder is awarded a demand once a window, of the window's first step",
    "delivered": "commit returns a Delivered with finite numbers, in which each data center draws what was settled",
    "balance": "the import that commit tells is near what AC power flow draws for the injections that it tells",
    "units": "power is in MW within, and the import of commit in kW",
}
_BY_RULE = ("opening_price", "clear_near", "regret_usd")
_LENGTHS = {"clock.steps": 4, "clock.window_steps": 2}
"""Two windows of the same length."""
_SAME = 1e-6
_SHARES = (1.0, 0.5, 0.8)
"""Of the declared demand, at which it is asked by hand."""
_PROBED, _PROBE = 4, 0.05
"""How many terminals are moved, and by how much of the largest power."""
_SOME_USD = 1e-6
_FACTOR, _NEAR = 100.0, 0.05
_HELD_USD_PER_MW2H = 50.0


def check_operator(
    agent: str | type[Any],
    *,
    parameters: Mapping[str, Any] | None = None,
    scenario: str | Path = "ieee37",
    folder: str | Path | None = None,
) -> Report:
    """Try an operator's class out in short runs, and say what of the contract it breaks.

    A class without the methods that negotiation needs runs without coordination. Prices that are not marginal costs are
    doubtful: a tariff may be meant, but then nobody is told what demand costs.

    Args:
        agent: ``package.module:Class``, or the class.
        parameters: what the scenario says to it.
        scenario: whose feeder it operates for a few hours, the first one of several.
        folder: in which its module is looked for first.

    Raises:
        InputError: the class cannot be imported, or the scenario cannot be used.
    """
    path = import_path(agent, folder)
    report = Report(path, CHECKS)
    kind = imported(path, "class", beside=None if folder is None else Path(folder) / "scenario.yaml")
    changes: dict[str, Any] = {"operator.agent": path, **_LENGTHS}
    if parameters:
        changes["operator.parameters"] = dict(parameters)
    if not all(hasattr(kind, name) for name in _BY_RULE):
        changes["mode"] = "uncoordinated"
    trial = Trial(report, scenario, changes)
    tables = trial.run_twice(lambda simulation: _watch(report, simulation))
    if tables is not None:
        _check_awards(report, tables, trial.simulation())
    by_hand, other = trial.simulation(), trial.simulation()
    if by_hand is not None and other is not None:
        _ask_by_hand(report, by_hand, other)
    return report


def _watch(report: Report, simulation: Simulation) -> None:
    _Watched(report, simulation.market.operator.seats[0])


@dataclass(slots=True)
class _Watched:
    """An operator whose methods are watched during a run."""

    report: Report
    seat: Seat
    agent: Any = field(init=False)
    settled: Clearing | None = None
    first: int = 0
    delivered: Delivered | None = None

    def __post_init__(self) -> None:
        self.agent = self.seat.operator
        for name in OPERATOR_METHODS:
            if hasattr(self, f"_{name}"):
                setattr(self.agent, name, partial(getattr(self, f"_{name}"), getattr(self.agent, name)))

    def _open_window(self, own: Any, window: Window, declared_p_mw: Array) -> None:
        self.first = window.first
        self._told("open_window", lambda: own(window, declared_p_mw), declared_p_mw)

    def _clear(self, own: Any, p_mw: Array) -> Any:
        return self._cleared("clear", self._told("clear", lambda: own(p_mw), p_mw), p_mw)

    def _settle(self, own: Any, p_mw: Array, support: Array | None) -> Any:
        asked = [p_mw] if support is None else [p_mw, support]
        self.settled = self._cleared("settle", self._told("settle", lambda: own(p_mw, support), *asked), p_mw)
        return self.settled

    def _told(self, method: str, call: Callable[[], Any], *given: Array) -> Any:
        """Call a method, and see that what it was given stays as it was."""
        before = [values.copy() for values in given]
        with raising(self.report, method):
            found = call()
        same = all(np.array_equal(a, b) for a, b in zip(before, given, strict=True))
        self.report.demand(same, "unchanged", f"{method} changed what it was told")
        for values, kept in zip(given, before, strict=True):
            if values.flags.writeable:
                values[...] = kept
        return found

    def _cleared(self, method: str, found: Any, p_mw: Array) -> Any:
        """Look at what a clearing says."""
        if not self.report.demand(isinstance(found, Clearing), "clearing", f"{method} returned {shape_of(found)}"):
            return found
        same = np.array_equal(found.p_mw, p_mw) and math.isfinite(found.cost_usd)
        told = f"{method} returned a clearing of another demand, or at a cost of {found.cost_usd!r} USD"
        self.report.demand(same, "clearing", told)
        for what, price in (("active", found.prices.p_usd_per_mwh), ("reactive", found.prices.q_usd_per_mvarh)):
            told = f"{what} prices of {method} are {shape_of(price)}, expected {p_mw.shape}"
            self.report.demand(is_table(price, *p_mw.shape), "shapes", told)
        return found

    def _commit(self, own: Any, t: int) -> Any:
        with raising(self.report, "commit"):
            found = own(t)
        if not self.report.demand(isinstance(found, Delivered), "delivered", f"commit returned {shape_of(found)}"):
            return found
        self.delivered = found
        numbers = (found.p_sub_kw, found.q_sub_kvar, found.cost_usd, found.slack_kwh)
        self.report.demand(all(map(math.isfinite, numbers)), "delivered", f"commit told {numbers}")
        if self.settled is not None:
            told_mw = np.array([p for _, p, _ in found.injections])
            for expected in self.settled.p_mw[t - self.first]:
                apart = float(np.abs(told_mw - expected).min(initial=np.inf))
                told = f"in step {t} no injection that commit tells is the {expected:.6g} MW that were settled"
                self.report.demand(apart <= _SAME * max(1.0, abs(expected)), "delivered", told)
        return found

    def _rows(self, own: Any, t: int, ac: AcSolution) -> Any:
        with raising(self.report, "rows"):
            rows = own(t, ac)
        if self.delivered is not None and ac.converged:
            told_kw, ac_kw = self.delivered.p_sub_kw, ac.p_source_kw
            told = f"in step {t} commit told an import of {told_kw:.6g} kW, AC power flow draws {ac_kw:.6g} kW"
            if abs(told_kw) * _FACTOR < abs(ac_kw) or abs(told_kw) > _FACTOR * abs(ac_kw):
                self.report.add("units", told)
            else:
                near = abs(told_kw - ac_kw) <= _NEAR * max(abs(ac_kw), 1.0)
                self.report.demand(near, "balance", told, broken=False)
        return rows


def _check_awards(report: Report, tables: Tables, simulation: Simulation | None) -> None:
    """See in the log of messages that each aggregator was awarded something once a window."""
    if simulation is None:
        return
    market, calendar = simulation.market, simulation.prepared.calendar
    seat = market.operator.seats[0]
    loads = set(seat.columns.tolist())
    buyers = [a.name for a in market.aggregators if loads & set(range(a.columns.start, a.columns.stop))]
    sent = tables.messages[(tables.messages["kind"] == Award.kind) & (tables.messages["sender"] == seat.operator.name)]
    found = sorted(zip(sent["step"].tolist(), sent["receiver"], strict=True))
    expected = sorted((window.first, name) for window in calendar.windows() for name in buyers)
    told = f"awards of (step, aggregator) {found[:6]}, expected {expected[:6]}"
    report.demand(found == expected, "awards", told)


def _ask_by_hand(report: Report, simulation: Simulation, other: Simulation) -> None:
    """Ask an operator in two windows, and another one of its class in the second window alone."""
    try:
        first, second = list(simulation.prepared.calendar.windows())[:2]
        asked = _Asked(report, simulation)
        asked.in_window(first)
        later = asked.cost_of(second)
        fresh = _Asked(report, other).cost_of(second)
        told = f"the second window costs {later:.8g} USD after the first one, and {fresh:.8g} USD alone"
        report.demand(abs(later - fresh) <= 1e-4 * max(1.0, abs(fresh)), "window", told)
    except Exception as error:
        report.add("raised", f"asked by hand, it raised {type(error).__name__}: {error}")


class _Asked:
    """An operator that is asked by hand, without a market around it."""

    def __init__(self, report: Report, simulation: Simulation) -> None:
        self.report, self.simulation, self.market = report, simulation, simulation.market
        self.seat = self.market.operator.seats[0]
        self.agent: Any = self.seat.operator
        agents: list[Any] = list(self.market.aggregators)
        loads = [load for a in agents for load in a.terminals()]
        self.p_max_mw = np.array([loads[k].p_max_mw for k in self.seat.columns])

    def _opened(self, window: Window) -> Array:
        declared = self.seat.own(self.market.declared(window))
        self.agent.open_window(window, declared.copy())
        return declared

    def _cost(self, p_mw: Array) -> float:
        return float(self.agent.clear(p_mw.copy()).cost_usd)

    def _paid_usd(self, price: Array, p_mw: Array) -> float:
        return self.market.hours * float((price * p_mw).sum())

    def cost_of(self, window: Window) -> float:
        """What the declared demand of a window costs, just opened."""
        return self._cost(self._opened(window))

    def in_window(self, window: Window) -> None:
        """All questions about one window."""
        declared = self._opened(window)
        points = [share * declared for share in _SHARES]
        clearings = [self.agent.clear(p.copy()) for p in points]
        again = self.agent.clear(declared.copy())
        self._opened(window)
        anew = self.agent.clear(declared.copy())
        costs = [float(c.cost_usd) for c in (clearings[0], again, anew)]
        same = max(costs) - min(costs) <= 1e-4 * max(1.0, abs(costs[0]))
        told = f"the same demand costs {costs[0]:.8g}, cleared again {costs[1]:.8g}, opened again {costs[2]:.8g} USD"
        self.report.demand(same, "state", told)
        self._check_prices(points[1])
        prices = [self._effective(c) for c in clearings]
        if hasattr(self.agent, "clear_near"):
            self._check_near(points, prices[0])
        if hasattr(self.agent, "regret_usd"):
            self._check_regret(points, prices[0])

    def _effective(self, clearing: Clearing) -> Array:
        ratio = np.asarray(self.agent.reactive_ratio)
        return np.asarray(clearing.prices.p_usd_per_mwh + ratio * clearing.prices.q_usd_per_mvarh)

    def _check_prices(self, p_mw: Array) -> None:
        """Price against what a little more and a little less demand cost, terminal by terminal: a price that supports
        the demand lies between the two slopes (a subgradient of a convex cost)."""
        price, cost = self._effective(self.agent.clear(p_mw.copy())), self._cost(p_mw)
        for k in range(min(_PROBED, p_mw.shape[1])):
            step = np.zeros_like(p_mw)
            step[:, k] = np.minimum(_PROBE * self.p_max_mw[k], p_mw[:, k])
            paid = self._paid_usd(price, step)
            more, less = self._cost(p_mw + step) - cost, cost - self._cost(p_mw - step)
            told = f"at terminal {k} more costs {more:.6g} USD, less saves {less:.6g}, and the price asks {paid:.6g}"
            certain = more * less > 0 and min(abs(more), abs(less)) > _SOME_USD
            self.report.demand(not certain or paid * more >= 0, "sign", told)
            slack = 1e-4 * max(abs(more), abs(less)) + _SOME_USD
            marginal = min(less, more) - slack <= paid <= max(less, more) + slack
            self.report.demand(marginal, "duals", told, broken=False)

    def _check_near(self, points: list[Array], price: Array) -> None:
        """What clear_near chooses against the demands that were tried."""
        held = points[0]
        chosen = np.asarray(self.agent.clear_near(held.copy(), price.copy(), _HELD_USD_PER_MW2H).p_mw)
        if not self.report.demand(is_table(chosen, *held.shape), "near", f"clear_near chose {shape_of(chosen)}"):
            return
        over = float(np.maximum(chosen - self.p_max_mw, -chosen).max())
        self.report.demand(over <= _SAME, "near", f"clear_near chose up to {over:.4g} MW beyond the largest powers")

        def worth(p_mw: Array) -> float:
            apart = 0.5 * _HELD_USD_PER_MW2H * self.market.hours * float(((p_mw - held) ** 2).sum())
            return self._cost(p_mw) - self._paid_usd(price, p_mw) + apart

        found, best = worth(chosen), min(map(worth, points))
        told = f"clear_near chose a demand that is {found - best:.4g} USD worse than another"
        self.report.demand(found <= best + _SAME * max(1.0, abs(best)), "near", told)

    def _check_regret(self, points: list[Array], price: Array) -> None:
        """What regret_usd says of each demand against the gain of the others."""
        left = [self._cost(p) - self._paid_usd(price, p) for p in points]
        for (p_mw, own), (_, others) in permutations(zip(points, left, strict=True), 2):
            regret = float(self.agent.regret_usd(p_mw.copy(), price.copy()))
            self.report.demand(regret >= 0, "regret", f"regret_usd says {regret:.6g} USD")
            shown = own - others
            told = f"regret_usd says {regret:.4g} USD, and another demand is {shown:.4g} USD better at the price"
            kept = shown <= regret + _SAME * max(1.0, abs(own))
            self.report.demand(kept, "regret", told, broken=False)
