"""The aggregator's schedule over a window, stated once as a Pyomo block.

    minimise   delay cost * waiting work + migration cost * moved work + battery wear + late cost * overdue work
               + cost of work that is dropped + cost of backup generation
    subject to queues per class and origin, site capacity, the power model, batteries and connection ratings.

Work is dropped, and a generator behind the meter runs, where a site's agreement says what that costs. A limit on what
is drawn from the grid is a further row for each terminal and step (:meth:`ScheduleModel.within`).

A rolling window is followed by steps that are planned but not bid for: what waits at its end must fit into them with
what arrives there, or be late. They have no power and no cost but that of being late.

What it pays for energy is added by whoever solves it: a price vector on ``p`` (negotiation), the operator's own
cost (welfare), or the operator's duals (bilevel). Power in MW, work and energy in MWh, money in USD.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyomo.core as pyo
import scipy.sparse as sp
from numpy.typing import NDArray

from cosim.agents.dca.datacenter import DataCenter
from cosim.agents.storage import Storage
from cosim.constants import KILO
from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.qp.pyomo_compile import CompiledBlock, compile_block
from cosim.optimization.qp.transform import with_rows
from cosim.scenario.schema import WorkClassSpec

Array = NDArray[np.float64]
WORK = ("served", "sent", "taken", "waiting", "lost")
"""What becomes of work (MWh): served where it arrived or sent elsewhere, taken from elsewhere, waiting, dropped."""


@dataclass(frozen=True, slots=True)
class WindowWork:
    """What a window has to do; axes are (classes, sites, planned steps) unless said otherwise, in MWh.

    Attributes:
        arrived: work that arrives in each step.
        may_wait: most work that may still wait at the end of each step.
        backlog: (classes, sites) work waiting at the start.
        charge_mwh: (sites,) battery charge at the start.
    """

    arrived: Array
    may_wait: Array
    backlog: Array
    charge_mwh: Array


class ScheduleModel:
    """The schedule problem for windows of ``steps`` steps, compiled once; the window's work enters as numbers.

    Args:
        beyond: steps after the window that are planned as well, as far as capacity and deadlines go.
    """

    def __init__(
        self,
        sites: Sequence[DataCenter],
        classes: Sequence[WorkClassSpec],
        steps: int,
        hours: float,
        late_cost_usd_per_mwh: float,
        beyond: int = 0,
    ) -> None:
        self.sites, self.classes, self.steps, self.hours = tuple(sites), tuple(classes), steps, hours
        self.planned = steps + beyond
        m = self.block = pyo.ConcreteModel()
        add_queues(m, self.sites, self.classes, self.planned, steps)
        add_batteries(m, self.sites, steps, hours)
        add_backup(m, self.sites, steps)
        add_power(m, self.sites, steps, self.planned, hours)
        add_cost(m, self.sites, self.classes, steps, hours, late_cost_usd_per_mwh)
        self.compiled: CompiledBlock = compile_block(m, parameters=[])
        self.column = {name: i for i, name in enumerate(self.compiled.instance().variables)}
        self._work_columns = {name: self._columns_of(name) for name in (*WORK, "late")}

    @property
    def terminal_count(self) -> int:
        """Terminals of all sites together."""
        return sum(len(s.terminals) for s in self.sites)

    def power_columns(self) -> NDArray[np.intp]:
        """(steps, terminals) columns of the power drawn at each terminal."""
        return np.array(
            [[self.column[f"p[{n},{t}]"] for n in range(self.terminal_count)] for t in range(self.steps)],
            dtype=np.intp,
        )

    def _columns_of(self, name: str) -> NDArray[np.intp]:
        """(classes, sites, planned steps) columns of the variables of this name, -1 where there is none."""
        shape = len(self.classes), len(self.sites), self.planned
        found = [self.column.get(f"{name}[{k},{j},{t}]", -1) for k, j, t in np.ndindex(shape)]
        return np.array(found, dtype=np.intp).reshape(shape)

    def amounts(self, x: Array, name: str) -> Array:
        """(classes, sites, planned steps) MWh that a solution calls by one of the names in :data:`WORK`."""
        return np.append(x, 0.0)[self._work_columns[name]]

    @cached_property
    def _site_of(self) -> NDArray[np.intp]:
        """(variables,) number of the site whose work or battery a variable is of; that of its first index for power,
        which has no cost."""
        places = [name.partition("[")[2].rstrip("]").split(",") for name in self.column]
        return np.array([int(place[1] if len(place) == 3 else place[0]) for place in places], dtype=np.intp)

    def site_costs_usd(self, costs: Array, columns: NDArray[np.intp]) -> Array:
        """(sites,) what some variables cost each site: work where it waits or was sent from, wear of its battery.

        Args:
            costs: (variables,) USD of each.
        """
        out = np.zeros(len(self.sites))
        priced = columns[costs[columns] != 0.0]
        np.add.at(out, self._site_of[priced], costs[priced])
        return out

    def step_columns(self, name: str, count: int, t: int) -> NDArray[np.intp]:
        """(count,) columns in step ``t`` of the variables ``name[0,t]``, ``name[1,t]``, ..., -1 where there is none."""
        return np.array([self.column.get(f"{name}[{i},{t}]", -1) for i in range(count)], dtype=np.intp)

    def limited_costs_usd(self, costs: Array, t: int) -> dict[tuple[int, str], float]:
        """What being limited costs in step ``t`` (USD), by number of the site and unit: ``backup``, ``lost_work``."""
        found = {}
        backup = self.step_columns("backup", len(self.sites), t)
        lost = self._work_columns["lost"][:, :, t]
        for i in range(len(self.sites)):
            if backup[i] >= 0:
                found[i, "backup"] = float(costs[backup[i]])
            if (mine := lost[:, i][lost[:, i] >= 0]).size:
                found[i, "lost_work"] = float(costs[mine].sum())
        return found

    def within(self, qp: ParametricQP, most_mw: Array) -> ParametricQP:
        """The problem of a window in which each terminal draws at most so much (steps, terminals) from the grid.

        In the planned steps after the window a site with an agreement counts on its firm part alone.
        """
        columns = self.power_columns().ravel()
        rows, places, rhs = [*range(len(columns))], [*columns.tolist()], [*most_mw.ravel().tolist()]
        for i, t in np.ndindex(len(self.sites), self.planned - self.steps):
            if self.sites[i].agreement is not None:
                inward = [self._work_columns[name][:, i, self.steps + t] for name in ("served", "taken")]
                mine = np.concatenate(inward)
                places += mine[mine >= 0].tolist()
                rows += [len(rhs)] * int((mine >= 0).sum())
                rhs.append(self.sites[i].within(self.sites[i].firm_mw) * self.hours)
        matrix = sp.csr_array((np.ones(len(rows)), (rows, places)), shape=(len(rhs), len(qp.variables)))
        return with_rows(qp, matrix, np.array(rhs), tuple(f"connection[{i}]" for i in range(len(rhs))))

    def late_columns(self) -> NDArray[np.intp]:
        """Columns of what is late at the end of a step (MWh), of every class, origin and planned step."""
        late, waiting = self._work_columns["late"], self._work_columns["waiting"]
        return np.where(late < 0, waiting, late).ravel()

    def booked(self, x: Array, work: WindowWork) -> Array:
        """The schedule with what waits and what is late as it follows from what is served and sent.

        A solver leaves errors of milliwatt-hours in the queues, which the cost of late work would make visible.
        """
        served, sent, lost = (np.maximum(self.amounts(x, name), 0.0) for name in ("served", "sent", "lost"))
        waiting = np.maximum(work.backlog[:, :, None] + (work.arrived - served - sent - lost).cumsum(axis=2), 0.0)
        return self.with_queues(x, waiting, np.maximum(waiting - work.may_wait, 0.0))

    def with_queues(self, x: Array, waiting: Array, late: Array, first: int = 0) -> Array:
        """The schedule with these amounts (classes, sites, steps from ``first`` on; MWh) waiting and late."""
        x = x.copy()
        for name, amount in (("waiting", waiting), ("late", late)):
            columns = self._work_columns[name][:, :, first : first + amount.shape[2]]
            x[columns[columns >= 0]] = amount[columns >= 0]
        return x

    def at(self, work: WindowWork) -> ParametricQP:
        """The problem of one window."""
        m = self.block
        for key, param in m.arrived.items():
            param.set_value(float(work.arrived[key]))
        for key, param in m.may_wait.items():
            param.set_value(float(work.may_wait[key]))
        for key, param in m.start.items():
            param.set_value(float(work.backlog[key]))
        for key, param in m.start_charge.items():
            param.set_value(float(work.charge_mwh[key]))
        return replace(self.compiled.instance(), exclusive=self.exclusive)

    @cached_property
    def exclusive(self) -> tuple[tuple[str, str], ...]:
        """Charge and discharge of each battery in each step: a battery does one of them at a time.

        Without losses only their difference counts, and there is nothing to choose.
        """
        lossy = [(i, t) for i, t in self.block.battery_step if _storage(self.sites[i]).lossy]
        return tuple((f"battery_in[{i},{t}]", f"battery_out[{i},{t}]") for i, t in lossy)


def add_queues(
    m: pyo.ConcreteModel, sites: Sequence[DataCenter], classes: Sequence[WorkClassSpec], steps: int, window: int
) -> None:
    """Each class waits at the site where it arrived, and is served there or, if movable, sent to be served anywhere.

    waiting[t] = waiting[t-1] + arrived[t] - served[t] - sent[t] - lost[t],   waiting[t] - late[t] <= may_wait[t]
    sum over sites of sent[t] = sum over sites of taken[t]

    Moving costs the same between any two sites, so it does not matter which of them work goes between. What waits of a
    class that may not wait at all is late, and needs no variable of its own for that. Work may be dropped in the first
    ``window`` steps if it may wait or move and the agreement of the site where it arrived says what that costs.
    """
    n_k, n_i = range(len(classes)), range(len(sites))
    m.queue = pyo.Set(initialize=[(k, j, t) for k in n_k for j in n_i for t in range(steps)], dimen=3)
    moves = [k for k in n_k if classes[k].movable and len(sites) > 1]
    m.moving = pyo.Set(initialize=[q for q in m.queue if q[0] in moves], dimen=3)
    m.deferrable = pyo.Set(initialize=[q for q in m.queue if classes[q[0]].max_delay_steps > 0], dimen=3)
    m.arrived = pyo.Param(m.queue, mutable=True, initialize=0.0)
    m.may_wait = pyo.Param(m.queue, mutable=True, initialize=0.0)
    m.start = pyo.Param(n_k, n_i, mutable=True, initialize=0.0)
    m.served = pyo.Var(m.queue, bounds=(0, None))
    m.sent = pyo.Var(m.moving, bounds=(0, None))
    m.taken = pyo.Var(m.moving, bounds=(0, None))
    m.waiting = pyo.Var(m.queue, bounds=(0, None))
    m.late = pyo.Var(m.deferrable, bounds=(0, None))
    elastic = [k for k in n_k if k in moves or classes[k].max_delay_steps > 0]
    droppable = [j for j in n_i if sites[j].lost_usd_per_mwh is not None]
    m.dropped = pyo.Set(initialize=[(k, j, t) for k in elastic for j in droppable for t in range(window)], dimen=3)
    m.lost = pyo.Var(m.dropped, bounds=(0, None))

    def queue(m: pyo.ConcreteModel, k: int, j: int, t: int) -> object:
        before = m.waiting[k, j, t - 1] if t > 0 else m.start[k, j]
        sent = m.sent[k, j, t] if (k, j, t) in m.moving else 0.0
        sent += m.lost[k, j, t] if (k, j, t) in m.dropped else 0.0
        return m.waiting[k, j, t] == before + m.arrived[k, j, t] - m.served[k, j, t] - sent

    def moved(m: pyo.ConcreteModel, k: int, t: int) -> object:
        return sum(m.sent[k, j, t] for j in n_i) == sum(m.taken[k, j, t] for j in n_i)

    def deadline(m: pyo.ConcreteModel, k: int, j: int, t: int) -> object:
        return m.waiting[k, j, t] - m.late[k, j, t] <= m.may_wait[k, j, t]

    m.queue_equation = pyo.Constraint(m.queue, rule=queue)
    m.moved_equation = pyo.Constraint(moves, range(steps), rule=moved)
    m.deadline = pyo.Constraint(m.deferrable, rule=deadline)


def add_batteries(m: pyo.ConcreteModel, sites: Sequence[DataCenter], steps: int, hours: float) -> None:
    """UPS batteries, by the laws of :mod:`cosim.agents.storage`, between the reserve and full.

    Each window ends with at least the charge that the horizon began with, so that none lives off the next one. Were
    it the charge that the window itself began with, a rolling horizon would drain the battery step by step.

    A battery charges or discharges, never both at once, which would turn energy into heat where the price is negative
    (:attr:`ScheduleModel.exclusive`). in + out <= power is the convex hull of that choice.
    """
    owners = [i for i, s in enumerate(sites) if s.battery is not None]
    m.owner = pyo.Set(initialize=owners)
    m.battery_step = pyo.Set(initialize=[(i, t) for i in owners for t in range(steps)], dimen=2)
    m.start_charge = pyo.Param(m.owner, mutable=True, initialize=0.0)

    store = {i: _storage(sites[i]) for i in owners}
    m.battery_in = pyo.Var(m.battery_step, bounds=lambda _, i, t: (0.0, store[i].power_mw))
    m.battery_out = pyo.Var(m.battery_step, bounds=lambda _, i, t: (0.0, store[i].power_mw))
    m.charge = pyo.Var(m.battery_step, bounds=lambda _, i, t: (store[i].lowest_mwh, store[i].full_mwh))

    def balance(m: pyo.ConcreteModel, i: int, t: int) -> object:
        before = m.charge[i, t - 1] if t > 0 else m.start_charge[i]
        return m.charge[i, t] == store[i].charge_after(before, m.battery_in[i, t], m.battery_out[i, t], hours)

    m.charge_equation = pyo.Constraint(m.battery_step, rule=balance)

    def one_way(m: pyo.ConcreteModel, i: int, t: int) -> object:
        return store[i].at_once(m.battery_in[i, t], m.battery_out[i, t]) <= store[i].power_mw

    m.one_way = pyo.Constraint(m.battery_step, rule=one_way)
    m.charge_kept = pyo.Constraint(m.owner, rule=lambda m, i: -m.charge[i, steps - 1] <= -store[i].kept_mwh)


def add_backup(m: pyo.ConcreteModel, sites: Sequence[DataCenter], steps: int) -> None:
    """Generators behind the meter (MW)."""
    owners = [i for i, s in enumerate(sites) if s.backup_mw > 0]
    m.backup_step = pyo.Set(initialize=[(i, t) for i in owners for t in range(steps)], dimen=2)
    m.backup = pyo.Var(m.backup_step, bounds=lambda _, i, t: (0.0, sites[i].backup_mw))


def add_power(m: pyo.ConcreteModel, sites: Sequence[DataCenter], steps: int, planned: int, hours: float) -> None:
    """Site power from its work, battery and backup, shared among its terminals within their rating.

    In the planned steps after the window work is limited by the site's capacity and connection, without the battery.
    """
    terminals = [(i, leg) for i, s in enumerate(sites) for leg in range(len(s.terminals))]
    of_site = [[n for n, (i, _) in enumerate(terminals) if i == site] for site in range(len(sites))]
    m.p = pyo.Var(
        range(len(terminals)),
        range(steps),
        bounds=lambda _, n, t: (0.0, sites[terminals[n][0]].terminal_max_mw),
    )
    m.site_step = pyo.Set(initialize=[(i, t) for i in range(len(sites)) for t in range(steps)], dimen=2)
    inward: dict[tuple[int, int], list[Any]] = {}
    for k, i, t in m.queue:
        inward.setdefault((i, t), []).append(m.served[k, i, t])
    for k, i, t in m.moving:
        inward[i, t].append(m.taken[k, i, t])

    def capacity(m: pyo.ConcreteModel, i: int, t: int) -> object:
        most_mw = sites[i].work_capacity_mw if t < steps else sites[i].connected_work_mw
        return sum(inward[i, t]) <= most_mw * hours

    def power(m: pyo.ConcreteModel, i: int, t: int) -> object:
        battery = m.battery_in[i, t] - m.battery_out[i, t] if i in m.owner else 0.0
        backup = m.backup[i, t] if (i, t) in m.backup_step else 0.0
        drawn = sites[i].power_mw(sum(inward[i, t]) / hours) + battery - backup
        return sum(m.p[n, t] for n in of_site[i]) == drawn

    m.capacity = pyo.Constraint(range(len(sites)), range(planned), rule=capacity)
    m.power_equation = pyo.Constraint(m.site_step, rule=power)


def add_cost(
    m: pyo.ConcreteModel,
    sites: Sequence[DataCenter],
    classes: Sequence[WorkClassSpec],
    steps: int,
    hours: float,
    late_cost_usd_per_mwh: float,
) -> None:
    """The aggregator's own cost: waiting (per MWh and hour), moving, battery wear, overdue and dropped work, backup."""
    delay = [c.delay_cost_usd_per_mwh_h * hours for c in classes]
    waiting = sum(delay[k] * m.waiting[k, j, t] for k, j, t in m.queue if t < steps)
    moving = sum(classes[k].migration_cost_usd_per_mwh * m.sent[k, j, t] for k, j, t in m.moving if t < steps)
    wear = sum(_storage(sites[i]).wear_usd(m.battery_out[i, t], hours) for i, t in m.battery_step)
    late = sum(
        late_cost_usd_per_mwh * (m.late[index] if index in m.deferrable else m.waiting[index]) for index in m.queue
    )
    lost = sum((sites[j].lost_usd_per_mwh or 0.0) * m.lost[k, j, t] for k, j, t in m.dropped)
    backup = sum(hours * _backup_usd_per_mwh(sites[i]) * m.backup[i, t] for i, t in m.backup_step)
    m.cost = pyo.Objective(expr=waiting + moving + wear + late + lost + backup)


def _backup_usd_per_mwh(site: DataCenter) -> float:
    backup = None if site.agreement is None else site.agreement.backup
    return 0.0 if backup is None else backup.cost_usd_per_mwh


def _storage(site: DataCenter) -> Storage:
    """What a site's battery can do; it keeps the charge that the horizon began with."""
    battery = site.battery
    assert battery is not None
    full = battery.energy_kwh / KILO
    return Storage(
        power_mw=battery.power_kw / KILO,
        lowest_mwh=battery.reserve * full,
        full_mwh=full,
        kept_mwh=battery.initial * battery.energy_kwh / KILO,
        efficiency=battery.efficiency,
        wear_usd_per_mwh=battery.wear_usd_per_mwh,
    )
