"""One case: where its devices stand step by step, what its base case breaks, and the limits of some connections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from cosim.errors import RunFailure
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.limits import NetworkLimits
from cosim.grid.feeder.phases import Terminal
from cosim.grid.feeder.positions import at_positions
from cosim.grid.opendss.controlled import ControlledCircuit
from cosim.hosting.beside import largest_beside
from cosim.hosting.cases import Case
from cosim.hosting.cells import Searched, interpolated
from cosim.hosting.drivers import Drivers, drivers_of
from cosim.hosting.limits import NOTHING, Connection, Element
from cosim.hosting.power_flow import PowerFlow, States
from cosim.hosting.rows import Rows, checked_buses
from cosim.hosting.search import NO_SOLUTION, Problem, largest
from cosim.hosting.surroundings import Injection, Surroundings
from cosim.hosting.switching import Switched, switched
from cosim.scenario.calendar import since_midnight_s

Real = NDArray[np.float64]
Index = NDArray[np.intp]
Flags = NDArray[np.bool_]
NUMBERS_AT_ONCE = 8_000_000
"""Voltages and rows of states that are worked on together; more only need memory."""
UNSUPPLIED, UNSOLVED = -3, -4
"""Numbers of elements in a case that no row stands for: no supply; no solution."""


@dataclass(frozen=True)
class Asked:
    """What is searched: draws up to ``cap_kw``, with an SVG of ``svg_kvar`` beside the connection or without; limits
    that the base case breaks left out or not; ``seed`` of the points at which interpolated limits are searched."""

    cap_kw: float
    left_out: bool
    svg_kvar: float | None
    seed: int


@dataclass(frozen=True, eq=False)
class Standing:
    """A case with the places of its devices.

    Attributes:
        feeders: the feeder as its devices stand, each different one once; of_step: (steps,) which; -1 where its
            controls found no rest, so that there is no base case.
    """

    case: Case
    switched: Switched
    feeders: tuple[Feeder, ...]
    of_step: Index


@dataclass(frozen=True, eq=False)
class Base:
    """What the base case of some steps breaks; steps count among all.

    Attributes:
        found: (number of steps, worst value) by the element that is broken.
        broken, unsolved: steps in which something is, and in which there is no solution.
    """

    found: dict[Element, tuple[int, float]]
    broken: Index
    unsolved: Index


@dataclass(frozen=True, eq=False)
class Part:
    """Limits of some connections in some steps of a case, (connections, steps) each.

    Attributes:
        steps: numbers of the steps. binding: counts among ``elements``.
    """

    steps: Index
    p_kw: Real
    binding: Index
    q_kvar: Real
    elements: tuple[Element, ...]
    error: float
    searched: int
    base: Base | None


def standing(around: Surroundings, case: Case) -> Standing:
    """The feeder in a case, its regulators and capacitors settled on the base case of each step where they may move.

    Each step's controls start from where the step before left them, as in a run.
    """
    found = switched(around.feeder, case)
    feeder = found.feeder
    if around.controls == "fixed" or not feeder.controlled:
        return Standing(case, found, (feeder,), np.zeros(around.steps, dtype=np.intp))
    circuit, injections = ControlledCircuit(feeder), _there(around.injections, feeder)
    number: dict[object, int] = {}
    feeders: list[Feeder] = []
    of_step = np.full(around.steps, -1, dtype=np.intp)
    first_s = since_midnight_s(around.start)
    for t in range(around.steps):
        drawn = [(i.terminal, float(i.p_kw[t]), float(i.q_kvar[t])) for i in injections]
        try:
            places = circuit.settle(float(around.load_scale[t]), drawn, first_s + t * around.step_s)
        except RunFailure:
            circuit.move_to(replace(feeder))
            continue
        if places not in number:
            number[places] = len(feeders)
            feeders.append(at_positions(feeder, places))
        of_step[t] = number[places]
    return Standing(case, found, tuple(feeders), of_step)


def limits_of(
    around: Surroundings, at: Standing, groups: Sequence[int], connections: Sequence[Connection], asked: Asked,
    with_base: bool,
) -> Part:  # fmt: skip
    """The largest draw of connections in the steps of a case in which its devices stand as in some of its feeders.

    Args:
        groups: numbers of the feeders. with_base: say what the base case breaks as well.
    """
    steps = np.flatnonzero(np.isin(at.of_step, groups))
    shape = len(connections), len(steps)
    p, q = np.full(shape, np.nan), np.zeros(shape)
    binding = np.full(shape, UNSOLVED, dtype=np.intp)
    supplied = np.array([not set(c.buses) & at.switched.without_supply for c in connections], dtype=bool)
    p[~supplied], binding[~supplied] = 0.0, UNSUPPLIED
    there = [c for c, alive in zip(connections, supplied, strict=True) if alive]
    names: dict[Element, int] = {}
    errors, searched, bases = [0.0], 0, []
    with threadpool_limits(1):  # many small products: threads of their own only wait for each other
        for k in groups if there or with_base else ():
            here = np.flatnonzero(at.of_step[steps] == k)
            net = _Network(around, at, at.feeders[k], steps[here], there)
            if with_base:
                bases.append(net.base_case(steps[here]))
            if not there:
                continue
            search = _Searcher(net, asked)
            found = interpolated(net.drivers.points, len(there), search, asked.cap_kw, asked.left_out, asked.seed)
            errors.append(found.error)
            searched += found.searched
            block, points = np.ix_(np.flatnonzero(supplied), here), net.drivers.steps
            p[block], q[block] = found.x_kw[:, points], found.q_kvar[:, points]
            binding[block] = _named(found.binding, net.rows.elements, names)[:, points]
    base = together(bases) if with_base else None
    return Part(steps, p, binding, q, tuple(names), max(errors), searched, base)


def together(bases: Sequence[Base]) -> Base:
    """What base cases of different steps break."""
    found: dict[Element, tuple[int, float]] = {}
    for base in bases:
        for element, (count, worst) in base.found.items():
            before, value = found.get(element, (0, worst))
            pick = min if element.kind == "voltage low" else max
            found[element] = before + count, pick(value, worst)
    none = np.zeros(0, dtype=np.intp)
    return Base(
        found, np.concatenate([none, *(b.broken for b in bases)]), np.concatenate([none, *(b.unsolved for b in bases)])
    )


def _named(binding: Index, elements: Sequence[Element], names: dict[Element, int]) -> Index:
    """Numbers of elements in the order in which they are first met, which ``names`` keeps."""
    result = np.full(binding.shape, NOTHING, dtype=np.intp)
    for number in np.unique(binding).tolist():
        if number == NOTHING:
            continue
        known = elements[number] if number >= 0 else Element("solution", "", "", np.nan, "")
        known = known if known.limit == known.limit else Element(known.kind, known.name, known.phase, 0.0, "")
        result[binding == number] = names.setdefault(known, len(names))
    return result


class _Network:
    """A feeder with its devices where they stand in some steps, what drives it then, and some connections."""

    def __init__(
        self, around: Surroundings, at: Standing, feeder: Feeder, steps: Index, connections: Sequence[Connection]
    ) -> None:
        injections = _there(around.injections, feeder)
        terminals: list[Terminal] = [i.terminal for i in injections]
        self.connections = connections
        self.flow = PowerFlow(feeder, terminals, connections)
        drawn_at = frozenset(t.bus for t in (*terminals, *(t for c in connections for t in c.terminals)))
        self.rows = Rows(self.flow.pattern, _limits(around.limits, at), checked_buses(self.flow.pattern, drawn_at))
        columns = [around.load_scale, *(x for i in injections for x in (i.p_kw, i.q_kvar))]
        self.drivers: Drivers = drivers_of(np.stack([np.asarray(c, dtype=float)[steps] for c in columns], axis=1))
        self.width = self.flow.width + 12 * self.rows.count

    def powers(self, points: Real) -> NDArray[np.complex128]:
        series = self.drivers.series(points)
        return self.flow.drawn(series[:, 0], series[:, 1:])

    def base(self, points: Real, start: States | None = None) -> tuple[States, Real]:
        """Solutions and rows of the base case at some points."""
        states = self.flow.base(self.powers(points), start)
        return states, self.rows.values(states.v)

    def base_case(self, steps: Index) -> Base:
        """What the base case of the steps breaks, whose numbers are given."""
        bases, rows, of_step = [], self.rows, self.drivers.steps
        last: States | None = None
        times = np.bincount(of_step, minlength=len(self.drivers.points))
        for part in _parts(len(self.drivers.points), self.width):
            near = None if last is None else last.some(np.zeros(len(part), dtype=np.intp))
            states, values = self.base(self.drivers.points[part], near)
            solved = np.flatnonzero(states.solved)
            last = states.some(solved[-1:]) if len(solved) else last  # points are in order: the next ones are near
            lost = self.lost(states, values)
            low, high = (flags & ~lost[:, None] for flags in rows.broken(values))
            found = {}
            for side, flags, pick in ((0, low, np.min), (1, high, np.max)):
                for row in np.flatnonzero(flags.any(axis=0)).tolist():
                    worst = rows.told(row, float(pick(values[flags[:, row], row])))
                    found[rows.elements[row + side * rows.count]] = int(times[part[flags[:, row]]].sum()), worst
            broken = np.isin(of_step, part[(low | high).any(axis=1)])
            bases.append(Base(found, steps[broken], steps[np.isin(of_step, part[lost])]))
        return together(bases)

    def lost(self, states: States, values: Real) -> Flags:
        """Whether base cases have no solution in which loads keep their model."""
        return ~states.solved | self.rows.outside_model(np.where(states.solved[:, None], values, 1.0))


class _Searcher:
    """Searches of largest draws by points and connections."""

    def __init__(self, net: _Network, asked: Asked) -> None:
        self._net, self._cap, self._left_out, self._svg_kvar = net, asked.cap_kw, asked.left_out, asked.svg_kvar
        self._ratio = np.array([c.reactive_ratio for c in net.connections])

    def __call__(self, points: Real, which: Index) -> Searched:
        parts = [self._search(points[part], which[part]) for part in _parts(len(points), self._net.width)]
        return Searched(*(np.concatenate([getattr(p, key) for p in parts])
                          for key in ("x_kw", "binding", "rows", "own_kw", "second_kw", "q_kvar")))  # fmt: skip

    def _search(self, points: Real, which: Index) -> Searched:
        net = self._net
        different, back = np.unique(points, axis=0, return_inverse=True)
        back = np.asarray(back).reshape(-1)
        states, values = net.base(different)
        lost = net.lost(states, values)
        ok = np.flatnonzero(~lost[back])
        at, who = back[ok], which[ok]
        power = net.powers(different)[at]
        problem = Problem(
            power, who, self._ratio[who], np.zeros(len(ok)), net.flow.connected_at(states.some(at), who), values[at],
            net.rows.bounds(values[at], self._left_out),
        )  # fmt: skip
        q = problem.q_kvar
        if self._svg_kvar is None:
            found = largest(net.flow, net.rows, problem, self._cap)
        else:
            found, q = largest_beside(net.flow, net.rows, problem, self._cap, self._svg_kvar)
        if len(ok) == len(points):
            return Searched(found.x_kw, found.binding, found.rows, found.own_kw, found.second_kw, q)
        count, k = len(points), found.rows.shape[1]
        result = Searched(
            np.full(count, np.nan), np.full(count, NO_SOLUTION, dtype=np.intp), np.zeros((count, k), dtype=np.intp),
            np.full((count, k), np.inf), np.full((count, k), np.inf), np.zeros(count),
        )  # fmt: skip
        result.x_kw[ok], result.binding[ok], result.rows[ok] = found.x_kw, found.binding, found.rows
        result.own_kw[ok], result.second_kw[ok], result.q_kvar[ok] = found.own_kw, found.second_kw, q
        return result


def _parts(count: int, width: int) -> list[Index]:
    """States in parts that fit into memory."""
    size = max(1, NUMBERS_AT_ONCE // width)
    return [np.arange(first, min(first + size, count)) for first in range(0, count, size)] or [np.arange(0)]


def _there(injections: Sequence[Injection], feeder: Feeder) -> list[Injection]:
    """Injections at buses that have supply."""
    return [i for i in injections if i.terminal.bus in feeder.bus_by_name]


def _limits(limits: NetworkLimits, at: Standing) -> NetworkLimits:
    """Limits of a case: with the ratings of its ties."""
    ratings = dict(limits.phase_kva) | dict(at.switched.tie_kva) if limits.phase_kva else limits.phase_kva
    return replace(limits, phase_kva=ratings)
