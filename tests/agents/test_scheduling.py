"""The aggregator's schedule: hand-made optima, conservation of work, and deadlines under any prices."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linprog

from cosim.agents.dca.datacenter import DataCenter
from cosim.agents.dca.scheduling import ScheduleModel, WindowWork
from cosim.agents.dca.workload import Ledger
from cosim.grid.feeder.phases import Terminal
from cosim.optimization.solvers.qp_solver import QPSolver
from cosim.scenario.schema import BatterySpec, WorkClassSpec

Array = NDArray[np.float64]
LATE = 5000.0


def site(name: str, pue: float = 1.0, battery: BatterySpec | None = None) -> DataCenter:
    """A site of 0.1 MW idle and 1 MW dynamic IT power."""
    terminal = Terminal(name, "delta", ("ab", "bc", "ca"))
    return DataCenter(name, (terminal,), 0.1, 1.0, pue, 1.0, 0.0, 5.0, battery)


class Day:
    """A schedule problem with its solver, for tests that set prices."""

    def __init__(self, sites: list[DataCenter], classes: list[WorkClassSpec], arrivals: Array) -> None:
        steps = arrivals.shape[2]
        self.model = ScheduleModel(sites, classes, steps, 1.0, LATE)
        self.ledger = Ledger(classes, arrivals, lambda _: steps)
        charge = np.array([0.0 if s.battery is None else s.battery.initial * s.battery.energy_kwh / 1e3 for s in sites])
        work = WindowWork(arrivals, self.ledger.may_wait(0, steps), self.ledger.backlog(0), charge)
        self.solver = QPSolver(self.model.at(work))

    def solve(self, price: Array) -> dict[str, float]:
        """Cheapest schedule at prices (steps, sites) USD/MWh, by variable name."""
        extra = np.zeros(len(self.model.column))
        extra[self.model.power_columns()] = price
        solution = self.solver.solve(np.zeros(0), extra_linear=extra)
        return dict(zip(self.model.column, map(float, solution.x), strict=True))


def test_power_is_pue_times_idle_and_work() -> None:
    day = Day([site("a", pue=1.4)], [WorkClassSpec(name="now", share=1.0)], np.array([[[0.3, 0.6]]]))
    x = day.solve(np.zeros((2, 1)))
    assert [x["p[0,0]"], x["p[0,1]"]] == pytest.approx([1.4 * 0.4, 1.4 * 0.7], abs=1e-6)


@pytest.mark.parametrize(("delay_cost", "hour"), [(0.0, 2), (4.0, 1), (30.0, 0)])
def test_work_waits_while_the_saving_beats_the_delay_cost(delay_cost: float, hour: int) -> None:
    # Prices 50, 30, 27: one hour saves 20, a second one 3 more.
    batch = WorkClassSpec(name="batch", share=1.0, max_delay_steps=2, delay_cost_usd_per_mwh_h=delay_cost)
    day = Day([site("a")], [batch], np.array([[[0.5, 0.0, 0.0]]]))
    x = day.solve(np.array([[50.0], [30.0], [27.0]]))
    assert x[f"served[0,0,{hour}]"] == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize(("cost", "moved"), [(9.0, 0.5), (11.0, 0.0)])
def test_work_moves_while_the_saving_beats_the_migration_cost(cost: float, moved: float) -> None:
    movable = WorkClassSpec(name="movable", share=1.0, movable=True, migration_cost_usd_per_mwh=cost)
    day = Day([site("a"), site("b")], [movable], np.array([[[0.5], [0.0]]]))
    x = day.solve(np.array([[40.0, 30.0]]))
    assert [x["sent[0,0,0]"], x["taken[0,1,0]"]] == pytest.approx([moved, moved], abs=1e-6)


def test_a_full_site_keeps_what_it_can_and_moves_the_rest() -> None:
    movable = WorkClassSpec(name="movable", share=1.0, movable=True)
    day = Day([site("a"), site("b")], [movable], np.array([[[0.8], [0.7]]]))
    x = day.solve(np.array([[10.0, 90.0]]))
    assert [x["served[0,0,0]"] + x["taken[0,0,0]"], x["waiting[0,0,0]"]] == pytest.approx([1.0, 0.0], abs=1e-6)


def test_a_battery_pays_for_its_losses() -> None:
    # Charging at 10 and giving back at 90: 0.1 MWh taken out costs 0.1 / 0.9^2 MWh put in.
    battery = BatterySpec(
        energy_kwh=1000, power_kw=100, efficiency=0.9, reserve=0.0, initial=0.0, wear_usd_per_mwh=0.0
    )
    day = Day([site("a", battery=battery)], [WorkClassSpec(name="now", share=1.0)], np.array([[[0.3, 0.3]]]))
    x = day.solve(np.array([[10.0], [90.0]]))
    assert x["p[0,0]"] - 0.4 == pytest.approx((0.4 - x["p[0,1]"]) / 0.81, abs=1e-6)


PRICES = st.lists(st.floats(-50, 150), min_size=12, max_size=12)


@cache
def random_day() -> Day:
    classes = [
        WorkClassSpec(name="now", share=0.5),
        WorkClassSpec(name="movable", share=0.2, movable=True, migration_cost_usd_per_mwh=3.0),
        WorkClassSpec(name="batch", share=0.3, movable=True, max_delay_steps=2, delay_cost_usd_per_mwh_h=1.0),
    ]
    arrivals = np.random.default_rng(5).uniform(0.05, 0.25, size=(3, 2, 6))
    return Day([site("a"), site("b", pue=1.3)], classes, arrivals)


@settings(max_examples=25)
@given(PRICES)
def test_all_work_is_served_whatever_the_prices(prices: list[float]) -> None:
    day = random_day()
    x = day.solve(np.array(prices).reshape(6, 2))
    served = sum(v for name, v in x.items() if name.startswith(("served[", "taken[")))
    assert served == pytest.approx(day.ledger.arrivals.sum(), abs=1e-5)


@settings(max_examples=25)
@given(PRICES)
def test_deadlines_hold_whatever_the_prices(prices: list[float]) -> None:
    day = random_day()
    x = day.solve(np.array(prices).reshape(6, 2))
    found = np.array(list(x.values()))
    day.ledger.served[:] = day.model.amounts(found, "served") + day.model.amounts(found, "sent")
    assert max(day.ledger.overdue(t).max() for t in range(6)) < 1e-5


def by_routes(price: Array, arrivals: Array, may_wait: Array, cost: tuple[float, float]) -> float:
    """Least cost of one movable class of work with a variable for every route from site to site (a plain LP).

    The sites are those of :func:`site`; ``cost`` is that of waiting and of moving. Idle power is left out.
    """
    sites, steps = arrivals.shape
    shape = (sites, sites, steps)
    routes = sites * sites * steps
    objective = np.zeros(routes + sites * steps)
    for j, i, t in np.ndindex(shape):
        objective[np.ravel_multi_index((j, i, t), shape)] = price[t, i] + cost[1] * (i != j)
    objective[routes:] = cost[0]
    queues, rhs = np.zeros((sites * steps, len(objective))), np.zeros(sites * steps)
    full = np.zeros((sites * steps, len(objective)))
    for n, (j, t) in enumerate(np.ndindex(sites, steps)):
        queues[n, routes + n], rhs[n] = 1.0, arrivals[j, t]
        if t > 0:
            queues[n, routes + n - 1] = -1.0
        for other in range(sites):
            queues[n, np.ravel_multi_index((j, other, t), shape)] = 1.0
            full[n, np.ravel_multi_index((other, j, t), shape)] = 1.0
    bounds = [(0.0, None)] * routes + [(0.0, float(most)) for most in may_wait.ravel()]
    found = linprog(objective, full, np.ones(sites * steps), queues, rhs, bounds)
    assert found.status == 0
    return float(found.fun)


@settings(max_examples=25)
@given(prices=st.lists(st.floats(-50, 150), min_size=12, max_size=12), seed=st.integers(0, 99))
def test_what_is_sent_and_taken_costs_what_the_best_routes_cost(prices: list[float], seed: int) -> None:
    price, arrivals = np.array(prices).reshape(4, 3), np.random.default_rng(seed).uniform(0.0, 0.9, (3, 4))
    work = WorkClassSpec(name="batch", share=1.0, movable=True, max_delay_steps=2, delay_cost_usd_per_mwh_h=1.0,
                         migration_cost_usd_per_mwh=3.0)  # fmt: skip
    day = Day([site("a"), site("b"), site("c")], [work], arrivals[None])
    x = day.solve(price)
    paid = sum(price[t, i] * (x[f"p[{i},{t}]"] - 0.1) for t, i in np.ndindex(4, 3))
    own = day.solver.qp.objective(np.array(list(x.values())))
    routes = by_routes(price, arrivals, day.ledger.may_wait(0, 4)[0], (1.0, 3.0))
    assert paid + own == pytest.approx(routes, rel=1e-7, abs=1e-6)


# -- rolling windows ------------------------------------------------------------------------------------------------

DELAY = 3
MIXED = (
    WorkClassSpec(name="now", share=0.3),
    WorkClassSpec(name="soon", share=0.3, max_delay_steps=1),
    WorkClassSpec(name="batch", share=0.4, movable=True, max_delay_steps=DELAY),
)
SITES = (site("a"), site("b", pue=1.5))


@cache
def rolling_model(steps: int, beyond: int) -> ScheduleModel:
    return ScheduleModel(SITES, MIXED, steps, 1.0, LATE, beyond)


def roll(arrivals: Array, price: Array, look_ahead: int) -> Ledger:
    """The books after rolling windows at prices (steps, sites) of the whole horizon."""
    horizon = arrivals.shape[2]
    ledger = Ledger(MIXED, arrivals, lambda _: horizon)
    for first in range(horizon):
        last = min(first + look_ahead, horizon)
        planned = ledger.planned_until(first, last)
        model = rolling_model(last - first, planned - last)
        work = WindowWork(
            arrivals[:, :, first:planned], ledger.may_wait(first, planned), ledger.backlog(first), np.zeros(len(SITES))
        )
        extra = np.zeros(len(model.column))
        extra[model.power_columns()] = price[first:last]
        x = QPSolver(model.at(work)).solve(np.zeros(0), extra_linear=extra).require().x
        ledger.commit(first, (model.amounts(x, "served") + model.amounts(x, "sent"))[:, :, 0])
    return ledger


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), look_ahead=st.integers(1, 2))
def test_nothing_is_late_where_the_last_steps_have_room_for_all_that_may_still_wait(
    seed: int, look_ahead: int
) -> None:
    """All work falls due with the horizon. At half load its last steps have room for whatever was put off before:
    0.3 + 3 * 0.4 of a site's hour at most, in four hours of which half is free.
    """
    rng = np.random.default_rng(seed)
    utilisation = np.append(rng.choice([0.6, 1.0], 5), 0.5 * np.ones(DELAY + 1))
    shares = np.array([c.share for c in MIXED])
    arrivals = shares[:, None, None] * np.ones((1, len(SITES), 1)) * utilisation
    ledger = roll(arrivals, rng.uniform(-20, 100, (len(utilisation), len(SITES))), look_ahead)
    assert max(float(ledger.overdue(t).max()) for t in range(len(utilisation))) <= 1e-6
